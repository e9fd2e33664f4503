//! Sleeping until instants of the monotonic clock, without spinning.
//!
//! The kernel rounds a sleep up by the *slack* of the thread, 50 µs unless told otherwise, so that
//! it may wake several threads at once. [`exact`] does away with that for the calling thread.

use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::{clock_nanosleep_absolute, set_current_timer_slack};
use rustix::time::{ClockId, clock_gettime};

/// Lets the calling thread sleep to the nanosecond, as far as the kernel can.
///
/// # Errors
/// If the system does not allow it.
pub fn exact() -> io::Result<()> {
    Ok(set_current_timer_slack(NonZeroU64::new(1))?)
}

/// The monotonic clock.
///
/// # Panics
/// Never: it does not run backwards from zero.
#[must_use]
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    time.try_into().expect("monotonic time is not negative")
}

/// Sleeps until the clock says `at`; not at all if that has passed.
///
/// # Errors
/// If `at` is beyond what the system can express.
pub fn sleep_until(at: Duration) -> io::Result<()> {
    let at = at.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        match clock_nanosleep_absolute(ClockId::Monotonic, &at) {
            Err(Errno::INTR) => {}
            ended => return Ok(ended?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_wakes_early() {
        exact().expect("allowed");
        for us in [0, 50, 1_000] {
            let at = now() + Duration::from_micros(us);
            sleep_until(at).expect("a near instant");
            assert!(now() >= at);
        }
    }
}
