//! When requests are to be sent: seeded random processes and recorded traces.
//!
//! A process is a renewal process of unit mean, its *gaps*, run through a *rate* that may change
//! with time: a gap of 1 is the time in which one arrival is expected. So every kind of gap goes
//! with every kind of rate; exponential gaps under a rate that a two-state chain switches are the
//! Markov-modulated Poisson process (MMPP).
//!
//! # Invariants
//! - Instants never go back; they are offsets from the start of the run.
//! - The same configuration and seed give the same instants.
//!
//! # Cost
//! One or a few random numbers an arrival, no allocation.

mod rate;
mod trace;

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Exp1, Gamma};

use rate::Segments;
pub use rate::{Bursts, Rate, Step};
pub use trace::{TRACE_LINES_MAX, Trace, TraceError, TraceUnit};

/// Most arrivals a second that a process is made for.
pub const RATE_MAX: f64 = 1e6;
/// Largest coefficient of variation of [`Gaps::Gamma`]; beyond it nearly all gaps are zero.
pub const CV_MAX: f64 = 20.0;

/// How gaps between arrivals vary.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Gaps {
    /// All alike.
    Constant,
    /// Exponential: a Poisson process.
    Exponential,
    /// Gamma with this coefficient of variation; 1 is exponential, more comes in bursts.
    Gamma {
        /// Standard deviation of a gap over its mean.
        cv: f64,
    },
}

/// What is wrong with the numbers of a process.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrivalsError {
    /// A rate is no rate.
    #[error("rate {0} is not above 0 and at most {RATE_MAX} a second")]
    Rate(f64),
    /// A coefficient of variation is none.
    #[error("coefficient of variation {0} is not above 0 and at most {CV_MAX}")]
    Cv(f64),
    /// Bursts are no bursts.
    #[error("bursts need a ratio above 1 and times above 0, not ratio {0}")]
    Bursts(f64),
    /// A schedule has no step, or one without a length.
    #[error("a schedule needs at least one step, and each step a time above 0")]
    Steps,
}

/// The instants of a process, as offsets from the start; endless unless its rate ends.
#[derive(Debug)]
pub struct Arrivals {
    gap: Gap,
    segments: Segments,
    rng: Xoshiro256PlusPlus,
    at_s: f64,
    /// The rate at `at_s`, and the time for which it still holds.
    rate: f64,
    left_s: f64,
}

#[derive(Debug)]
enum Gap {
    Constant,
    Exponential,
    Gamma(Gamma<f64>),
}

impl Arrivals {
    /// A process of `gaps` under `rate`.
    ///
    /// # Errors
    /// [`ArrivalsError`] where a number is out of bounds.
    pub fn new(gaps: Gaps, rate: &Rate, seed: u64) -> Result<Self, ArrivalsError> {
        let gap = match gaps {
            Gaps::Constant => Gap::Constant,
            Gaps::Exponential => Gap::Exponential,
            Gaps::Gamma { cv } if cv > 0.0 && cv <= CV_MAX => {
                let square = cv * cv;
                Gap::Gamma(Gamma::new(1.0 / square, square).expect("positive and finite"))
            }
            Gaps::Gamma { cv } => return Err(ArrivalsError::Cv(cv)),
        };
        Ok(Self {
            gap,
            segments: Segments::new(rate)?,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            at_s: 0.0,
            rate: 0.0,
            left_s: 0.0,
        })
    }
}

impl Gap {
    fn sample(&self, rng: &mut Xoshiro256PlusPlus) -> f64 {
        match self {
            Gap::Constant => 1.0,
            Gap::Exponential => Exp1.sample(rng),
            Gap::Gamma(gamma) => gamma.sample(rng),
        }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let mut gap = self.gap.sample(&mut self.rng);
        while gap > self.rate * self.left_s {
            gap -= self.rate * self.left_s;
            if self.left_s > 0.0 {
                self.at_s += self.left_s;
            }
            (self.rate, self.left_s) = self.segments.next(&mut self.rng)?;
        }
        // No gap passes through no time, also where the rate holds for ever.
        if gap > 0.0 {
            self.at_s += gap / self.rate;
            self.left_s -= gap / self.rate;
        }
        Some(Duration::from_secs_f64(self.at_s))
    }
}

#[cfg(test)]
mod tests;
