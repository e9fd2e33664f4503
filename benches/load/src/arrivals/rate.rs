//! The rate of a process over time: constant, a schedule of steps, or bursts.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Exp1};

use super::{ArrivalsError, RATE_MAX};

/// How many arrivals a second are expected, over time.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rate {
    /// Always this many a second.
    Constant(f64),
    /// Each step in turn; the process ends with the last one.
    Steps(Vec<Step>),
    /// A two-state Markov chain; with exponential gaps this is an MMPP.
    Bursts(Bursts),
}

/// A rate for some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Arrivals a second.
    pub rate: f64,
    /// For how long.
    pub time: Duration,
}

/// A rate that is higher for exponentially distributed times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Arrivals a second over both states, in the long run.
    pub rate_mean: f64,
    /// Rate inside a burst over the rate outside; above 1.
    pub ratio: f64,
    /// Mean length of a burst.
    pub burst_mean: Duration,
    /// Mean time between bursts.
    pub calm_mean: Duration,
}

/// The rates of a run, one after the other.
#[derive(Debug)]
pub(super) enum Segments {
    Constant(f64),
    Steps(std::vec::IntoIter<Step>),
    Bursts {
        calm_rate: f64,
        bursts: Bursts,
        /// The state of the next segment; `None` before the first.
        in_burst: Option<bool>,
    },
}

impl Segments {
    pub(super) fn new(rate: &Rate) -> Result<Self, ArrivalsError> {
        match rate {
            Rate::Constant(rate) => Ok(Segments::Constant(checked(*rate)?)),
            Rate::Steps(steps) => {
                if steps.is_empty() || steps.iter().any(|step| step.time.is_zero()) {
                    return Err(ArrivalsError::Steps);
                }
                for step in steps {
                    checked(step.rate)?;
                }
                Ok(Segments::Steps(steps.clone().into_iter()))
            }
            Rate::Bursts(bursts) => {
                let mean = checked(bursts.rate_mean)?;
                let has_times = !bursts.burst_mean.is_zero() && !bursts.calm_mean.is_zero();
                if !has_times || !bursts.ratio.is_finite() || bursts.ratio <= 1.0 {
                    return Err(ArrivalsError::Bursts(bursts.ratio));
                }
                let share = bursts.share();
                Ok(Segments::Bursts {
                    calm_rate: mean / (1.0 - share + share * bursts.ratio),
                    bursts: *bursts,
                    in_burst: None,
                })
            }
        }
    }

    /// The next rate and the seconds for which it holds; `None` after the last.
    pub(super) fn next(&mut self, rng: &mut Xoshiro256PlusPlus) -> Option<(f64, f64)> {
        match self {
            Segments::Constant(rate) => Some((*rate, f64::INFINITY)),
            Segments::Steps(steps) => steps
                .next()
                .map(|step| (step.rate, step.time.as_secs_f64())),
            Segments::Bursts {
                calm_rate,
                bursts,
                in_burst,
            } => {
                // Stationary from the start.
                let now = in_burst.unwrap_or_else(|| rng.random_bool(bursts.share()));
                *in_burst = Some(!now);
                let (rate, mean) = if now {
                    (*calm_rate * bursts.ratio, bursts.burst_mean)
                } else {
                    (*calm_rate, bursts.calm_mean)
                };
                let length: f64 = Exp1.sample(rng);
                Some((rate, length * mean.as_secs_f64()))
            }
        }
    }
}

impl Bursts {
    /// The share of time inside bursts.
    fn share(&self) -> f64 {
        let (burst, calm) = (self.burst_mean.as_secs_f64(), self.calm_mean.as_secs_f64());
        burst / (burst + calm)
    }
}

fn checked(rate: f64) -> Result<f64, ArrivalsError> {
    if rate > 0.0 && rate <= RATE_MAX {
        Ok(rate)
    } else {
        Err(ArrivalsError::Rate(rate))
    }
}
