//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// The first wait, before jitter.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// The longest wait: a front end that restarts is served again well within 5 s.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Waits that double from [`WAIT_MIN`] to [`WAIT_MAX`], each cut by up to half at random, so
/// that containers do not come back all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { wait: WAIT_MIN }
    }
}

impl Backoff {
    pub(super) fn next_wait(&mut self) -> Duration {
        let wait = self.wait.mul_f64(0.5 + 0.5 * fastrand::f64());
        self.wait = (2 * self.wait).min(WAIT_MAX);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_second_with_jitter() {
        let mut backoff = Backoff::default();
        let mut whole = WAIT_MIN;
        for _ in 0..10 {
            let wait = backoff.next_wait();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            whole = (2 * whole).min(WAIT_MAX);
        }
        assert_eq!(whole, WAIT_MAX);
    }
}
