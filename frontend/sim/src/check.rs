//! Whether a model that a front end has learned bears what advice says it does.
//!
//! The batcher that serves runs on a virtual clock, with latencies as they were learned and
//! independent arrivals. It knows the latency from the start, as it does where advice is asked
//! for.

use skysail_core::batching::{Policy, Window, WindowOptions};

use crate::load::Load;
use crate::pace::Pace;
use crate::run::{Setting, run};
use crate::traffic::Traffic;
use crate::truth::{Form, Noise, Shape};

/// Queries of a run, if it is not longer by [`OBJECTIVES`].
const QUERIES: f64 = 20_000.0;
/// Objectives that a run lasts at least: of an overload a queue bears one.
const OBJECTIVES: f64 = 20.0;
/// Queries of a run at most.
const QUERIES_MAX: f64 = 2e6;
/// An objective of so many of the largest batches is as good as one without end.
const BATCHES_MAX: f64 = 50.0;
/// Share in time at which a rate is borne.
const BORNE: f64 = 0.99;
/// Halvings of the interval in which the highest rate is searched.
const HALVINGS: usize = 8;

/// A model with its replicas, as they were learned.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Seconds of a batch on a typical replica.
    pub alpha: f64,
    /// Seconds of each row there.
    pub beta: f64,
    /// Standard deviation of the logarithm of a batch's time.
    pub sigma: f64,
    /// Most rows of a batch.
    pub rows_max: usize,
    /// Replicas.
    pub replicas: usize,
    /// Slowness of the first of them, where the others are typical.
    pub first: f64,
    /// Seconds from arrival to deadline.
    pub objective: f64,
}

/// What came of a rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checked {
    /// Queries a second.
    pub rate: f64,
    /// Share of them answered in time.
    pub in_time: f64,
    /// 99th percentile of the seconds of an answer.
    pub p99: f64,
}

impl Known {
    /// Simulates `rate` queries a second; the same seed gives the same.
    #[must_use]
    pub fn check(&self, rate: f64, seed: u64) -> Checked {
        let setting = self.setting(seed);
        let length = (QUERIES / rate).max(OBJECTIVES * setting.objective);
        let length = length.min(QUERIES_MAX / rate);
        let arrivals = Load::Poisson(1.0).arrivals(rate, length, seed);
        let traffic = Traffic::of_one(&arrivals, setting.objective, length);
        let options = WindowOptions {
            profile: Some((self.alpha, self.beta)),
            ..WindowOptions::default()
        };
        let policy = || Box::new(Window::new(options.clone())) as Box<dyn Policy>;
        let outcome = run(&setting, &policy, &traffic, 1);
        Checked {
            rate,
            in_time: outcome.all.goodput(),
            p99: outcome.all.p99(),
        }
    }

    /// The highest rate, up to twice `around`, of which 99 % are in time; 0 if it is none.
    #[must_use]
    pub fn bears(&self, around: f64, seed: u64) -> f64 {
        let (mut low, mut high) = (0.0, 2.0 * around);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if self.check(middle, seed).in_time >= BORNE {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    fn setting(&self, seed: u64) -> Setting {
        let shape = Shape {
            name: "learned",
            alpha: self.alpha,
            beta: self.beta,
            form: Form::Affine,
            rows_max: self.rows_max,
        };
        let endless = BATCHES_MAX * shape.seconds(self.rows_max as f64);
        let objective = self.objective.min(endless);
        Setting {
            noise: Noise {
                seed,
                sigma: self.sigma,
                straggler_every: f64::INFINITY,
            },
            pace: Pace {
                first: self.first,
                ..Pace::EVEN
            },
            ..Setting::new(shape, objective, self.replicas, seed)
        }
    }
}

#[cfg(test)]
mod tests {
    use skysail_core::batching::{Curve, Learned, Situation};

    use super::*;
    use crate::truth::SHAPES;

    /// What the front end would have learned of a model.
    fn learned(known: &Known, margin: f64) -> Learned {
        Learned {
            alpha: known.alpha,
            beta: known.beta,
            curve: Curve::affine(known.alpha, known.beta),
            margin,
            mean_ratio: 1.0,
            quantile: 0.9,
            patience: 0.0,
            seen: known.rows_max as f64,
            rate: 0.0,
            slowness: vec![1.0; known.replicas],
            residuals: Vec::new(),
        }
    }

    fn situation<'a>(known: &Known, learned: &'a Learned) -> Situation<'a> {
        Situation {
            learned,
            replicas: vec![1.0; known.replicas],
            rows_max: known.rows_max,
            size_max: None,
            allowed_sizes: Vec::new(),
            cost_mean: 1.0,
            objective: known.objective,
        }
    }

    /// The advice is that of an analysis; the simulator is what it is worth.
    #[test]
    fn what_is_advised_is_about_what_is_borne() {
        // Within 20 ms of a batch of 5 ms and more, chance takes more than the analysis knows of.
        for (shape, objective, replicas) in [
            (SHAPES[1], 0.020, 4),
            (SHAPES[2], 0.020, 4),
            (SHAPES[2], 0.100, 1),
        ] {
            let known = Known {
                alpha: shape.alpha,
                beta: shape.beta,
                sigma: 0.1,
                rows_max: shape.rows_max,
                replicas,
                first: 1.0,
                objective,
            };
            let learned = learned(&known, 1.12);
            let advised = situation(&known, &learned).capacity().rate;
            let borne = known.bears(advised, 3) / advised;
            let name = shape.name;
            assert!(
                (0.7..1.1).contains(&borne),
                "{name} {objective} x{replicas}: {borne} of what is advised"
            );
        }
    }

    #[test]
    fn a_seed_gives_the_same_and_too_much_is_not_borne() {
        let known = Known {
            alpha: 5e-3,
            beta: 1e-3,
            sigma: 0.1,
            rows_max: 64,
            replicas: 2,
            first: 2.0,
            objective: 0.050,
        };
        assert_eq!(known.check(500.0, 1), known.check(500.0, 1));
        assert!(known.check(200.0, 1).in_time > 0.99);
        assert!(known.check(3_000.0, 1).in_time < 0.9);
    }
}
