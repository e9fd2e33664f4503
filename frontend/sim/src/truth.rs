//! How long batches really take: a profile, noise, and now and then a straggler.
//!
//! What changes while a run lasts, or differs between hosts, is [`crate::pace`]'s.

use fastrand::Rng;

use crate::draw::log_normal;

/// What rounding to nanoseconds may take from a share of a tile.
const ROUNDING: f64 = 1e-6;

/// Rows that a model computes for a batch of `b`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `b`: the latency is affine.
    Affine,
    /// The next multiple of this, as kernels do that compute tiles.
    Tiles(usize),
    /// At least so many: up to there rows are free.
    Knee(usize),
}

impl Form {
    /// Rows computed for so many.
    #[must_use]
    pub fn computed(self, rows: f64) -> f64 {
        match self {
            Form::Affine => rows,
            Form::Tiles(tile) => (rows / tile as f64).ceil() * tile as f64,
            Form::Knee(least) => rows.max(least as f64),
        }
    }

    /// The most rows for which at most so many are computed. Where the latency is flat a
    /// rounded nanosecond must not cost a whole tile.
    #[must_use]
    pub fn rows_within(self, computed: f64) -> f64 {
        let share = |rows: usize| computed / rows as f64 + ROUNDING;
        match self {
            Form::Affine => computed,
            Form::Tiles(tile) => share(tile).floor() * tile as f64,
            Form::Knee(least) if share(least) < 1.0 => 0.0,
            Form::Knee(_) => computed,
        }
    }
}

/// `alpha + beta b` seconds for a batch for which `b` rows are computed.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its name in tables.
    pub name: &'static str,
    /// Seconds of a batch.
    pub alpha: f64,
    /// Seconds of a row that is computed.
    pub beta: f64,
    /// Which rows are computed.
    pub form: Form,
    /// Most rows.
    pub rows_max: usize,
}

/// The profiles of the grid.
pub const SHAPES: [Shape; 3] = [
    Shape {
        name: "linear",
        alpha: 0.2e-3,
        beta: 0.005e-3,
        form: Form::Affine,
        rows_max: 512,
    },
    Shape {
        name: "mlp",
        alpha: 1e-3,
        beta: 0.05e-3,
        form: Form::Affine,
        rows_max: 256,
    },
    Shape {
        name: "gpu",
        alpha: 5e-3,
        beta: 1e-3,
        form: Form::Affine,
        rows_max: 64,
    },
];

/// Sigma of the log-normal noise.
pub const SIGMA: f64 = 0.1;
/// One batch in so many is a straggler.
pub const STRAGGLER_EVERY: f64 = 333.0;
/// It takes that many times as long.
pub const STRAGGLER: f64 = 10.0;

impl Shape {
    /// Seconds of a batch, without noise.
    #[must_use]
    pub fn seconds(&self, rows: f64) -> f64 {
        self.alpha + self.beta * self.form.computed(rows)
    }

    /// The largest batch within so many seconds, at least 1.
    #[must_use]
    pub fn rows_within(&self, seconds: f64) -> usize {
        let computed = (seconds - self.alpha) / self.beta + 1e-9;
        (self.form.rows_within(computed) as usize).clamp(1, self.rows_max)
    }

    /// Queries a second that `replicas` bear within an objective: the largest batch that may
    /// be computed while a query waits for a replica, less what stragglers take.
    #[must_use]
    pub fn capacity(&self, replicas: usize, objective: f64) -> f64 {
        self.rate(replicas, objective) / Noise::usual(0).work()
    }

    /// The same without stragglers.
    #[must_use]
    pub fn rate(&self, replicas: usize, objective: f64) -> f64 {
        let share = 1.0 + 1.0 / replicas as f64;
        let rows = self.rows_within(objective / share) as f64;
        replicas as f64 * rows / self.seconds(rows)
    }
}

/// The noise of every batch of a run, known by replica and number.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Of the run.
    pub seed: u64,
    /// Sigma of the log-normal factor.
    pub sigma: f64,
    /// One batch in so many is a straggler; infinite: none.
    pub straggler_every: f64,
}

impl Noise {
    /// As in the grid.
    #[must_use]
    pub fn usual(seed: u64) -> Self {
        Noise {
            seed,
            sigma: SIGMA,
            straggler_every: STRAGGLER_EVERY,
        }
    }

    /// Mean time of a batch, in shares of the one without stragglers.
    #[must_use]
    pub fn work(&self) -> f64 {
        1.0 + (STRAGGLER - 1.0) / self.straggler_every
    }

    /// The factor on the time of a replica's batch.
    #[must_use]
    pub fn factor(&self, replica: usize, batch: u64) -> f64 {
        let stream = self.seed ^ (replica as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut rng = Rng::with_seed(stream ^ batch.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let usual = log_normal(&mut rng, self.sigma);
        if rng.f64() * self.straggler_every < 1.0 {
            usual * STRAGGLER
        } else {
            usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_mean_one_and_stragglers_are_rare() {
        let noise = Noise::usual(3);
        let factors: Vec<_> = (0..100_000).map(|batch| noise.factor(2, batch)).collect();
        let late = factors.iter().filter(|factor| **factor > 4.0).count();
        assert!((200..400).contains(&late), "{late}");
        let usual = factors.iter().filter(|factor| **factor <= 4.0);
        let mean = usual.sum::<f64>() / (factors.len() - late) as f64;
        assert!((mean - 1.0).abs() < 0.005, "{mean}");
    }

    #[test]
    fn no_straggler_comes_where_none_is_asked_for() {
        let noise = Noise {
            straggler_every: f64::INFINITY,
            ..Noise::usual(3)
        };
        assert!((0..50_000).all(|batch| noise.factor(0, batch) < 4.0));
        assert_eq!(noise.work(), 1.0);
    }

    #[test]
    fn a_size_within_a_time_takes_at_most_that_and_one_more_row_takes_longer() {
        for form in [Form::Affine, Form::Tiles(32), Form::Knee(48)] {
            let shape = Shape {
                name: "any",
                alpha: 2e-3,
                beta: 0.1e-3,
                form,
                rows_max: 256,
            };
            for micros in (7_000..25_000).step_by(37) {
                let seconds = f64::from(micros) * 1e-6;
                let rows = shape.rows_within(seconds) as f64;
                assert!(shape.seconds(rows) <= seconds + 1e-8, "{form:?} {micros}");
                assert!(shape.seconds(rows + 1.0) > seconds, "{form:?} {micros}");
            }
        }
    }
}
