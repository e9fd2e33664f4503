//! How long to wait before a process that ended is started again.
//!
//! The delay doubles from [`DELAY_MIN`] to [`DELAY_MAX`]; half of it is random, so that replicas
//! that failed together do not start together.
//!
//! # Invariants
//! - A delay is at least half of [`DELAY_MIN`] and at most [`DELAY_MAX`].

use std::time::Duration;

/// Delay after the first failure.
pub(super) const DELAY_MIN: Duration = Duration::from_millis(100);
/// Longest delay.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(60);
/// A process that ran this long was healthy: its end is a first failure again.
pub(super) const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Failures in a row of one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a process that ended after `ran`, and says how long to wait.
    pub(super) fn ended(&mut self, ran: Duration, random: &mut fastrand::Rng) -> Duration {
        if ran >= HEALTHY_AFTER {
            self.failures = 0;
        }
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let delay = DELAY_MIN.saturating_mul(factor).min(DELAY_MAX);
        delay.mul_f64(0.5 + random.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, DELAY_MAX, DELAY_MIN, HEALTHY_AFTER};

    #[test]
    fn doubles_up_to_the_cap_with_half_of_it_random() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::default();
        let mut whole = DELAY_MIN;
        for _ in 0..100 {
            let delay = backoff.ended(Duration::ZERO, &mut random);
            assert!(
                delay >= whole / 2 && delay <= whole,
                "{delay:?} of {whole:?}"
            );
            whole = (whole * 2).min(DELAY_MAX);
        }
        assert_eq!(whole, DELAY_MAX);
    }

    #[test]
    fn starts_over_after_a_healthy_run() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff { failures: 20 };
        assert!(backoff.ended(HEALTHY_AFTER, &mut random) <= DELAY_MIN);
    }
}
