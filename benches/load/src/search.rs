//! The search for the highest rate that holds: bracket by doubling, then bisect. Pure.
//!
//! A rate that fails is measured again, and fails only if it does so twice: one hiccup of the
//! machine would otherwise end the search far below the truth.
//!
//! # Invariants
//! - `low < high`; every rate asked for lies between them once both are known.
//! - It ends: within [`STEPS_MAX`] measurements, whatever they say.

use crate::arrivals::RATE_MAX;

/// The search ends when the bracket is this narrow: high over low.
pub const RATIO_END: f64 = 1.05;
/// Nothing holds if this rate does not.
pub const RATE_MIN: f64 = 1.0;
/// Most measurements: twice the doublings from [`RATE_MIN`] to [`RATE_MAX`] and the bisections.
pub const STEPS_MAX: u32 = 2 * (20 + 5);

/// What is known so far.
#[derive(Clone, Debug)]
pub struct Search {
    low: Option<f64>,
    high: Option<f64>,
    next: f64,
    failed_once: bool,
}

impl Search {
    /// Starts with `rate`, kept within the bounds.
    #[must_use]
    pub fn new(rate: f64) -> Self {
        Self {
            low: None,
            high: None,
            next: rate.clamp(RATE_MIN, RATE_MAX),
            failed_once: false,
        }
    }

    /// The rate to measure next; `None` when the search is over.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let is_over = match (self.low, self.high) {
            (Some(low), Some(high)) => high / low <= RATIO_END,
            (Some(low), None) => low >= RATE_MAX,
            (None, Some(high)) => high <= RATE_MIN,
            (None, None) => false,
        };
        (!is_over).then_some(self.next)
    }

    /// What the measurement of [`rate`](Self::rate) said.
    pub fn told(&mut self, holds: bool) {
        if !holds && !self.failed_once {
            self.failed_once = true;
            return;
        }
        self.failed_once = false;
        if holds {
            self.low = Some(self.next);
        } else {
            self.high = Some(self.next);
        }
        self.next = match (self.low, self.high) {
            (Some(low), Some(high)) => (low * high).sqrt(),
            (Some(low), None) => (low * 2.0).min(RATE_MAX),
            (None, Some(high)) => (high / 2.0).max(RATE_MIN),
            (None, None) => self.next,
        };
    }

    /// The highest rate that held.
    #[must_use]
    pub fn highest(&self) -> Option<f64> {
        self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches for `capacity`; gives what it found, and after how many measurements.
    fn found(start: f64, capacity: f64) -> (Option<f64>, u32) {
        let mut search = Search::new(start);
        let mut steps = 0;
        while let Some(rate) = search.rate() {
            search.told(rate <= capacity);
            steps += 1;
        }
        (search.highest(), steps)
    }

    #[test]
    fn finds_the_capacity_from_any_start() {
        for capacity in [1.0, 3.7, 100.0, 4_321.0, 999_999.0] {
            for start in [1.0, 90.0, 50_000.0, 1e6] {
                let (rate, steps) = found(start, capacity);
                let rate = rate.expect("something holds");
                assert!(
                    rate <= capacity && capacity / rate <= RATIO_END,
                    "{rate} of {capacity}"
                );
                assert!(steps <= STEPS_MAX, "{steps}");
            }
        }
    }

    #[test]
    fn ends_where_nothing_or_everything_holds() {
        assert_eq!(found(1000.0, 0.0).0, None);
        assert_eq!(found(1000.0, 1e9).0, Some(RATE_MAX));
        assert!(found(1e6, 0.0).1 <= STEPS_MAX);
    }

    #[test]
    fn a_single_failure_is_measured_again() {
        let mut search = Search::new(100.0);
        search.told(false);
        assert_eq!(search.rate(), Some(100.0));
        search.told(true);
        assert_eq!(search.rate(), Some(200.0));
        search.told(false);
        search.told(false);
        assert_eq!(search.highest(), Some(100.0));
        let rate = search.rate().expect("not over");
        assert!(rate > 100.0 && rate < 200.0);
    }
}
