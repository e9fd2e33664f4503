//! Sleeps to the microsecond, without spinning.
//!
//! tokio's own timers round to a millisecond. This one is a timerfd that the runtime's epoll waits
//! for with the sockets, so that an intended send time is met as well as the kernel wakes a thread,
//! and the server under test keeps its cores.
//!
//! # Cost
//! Two system calls a sleep: arming, and the wait that the runtime makes anyway.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Sleeps until offsets from its origin.
pub(crate) struct Pacer {
    timer: AsyncFd<OwnedFd>,
    origin: Instant,
}

impl Pacer {
    /// A pacer whose time starts now.
    pub(crate) fn start() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "an `OwnedFd` keeps what its unsafe successor asks for"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self {
            timer,
            origin: Instant::now(),
        })
    }

    /// The start of its time.
    pub(crate) fn origin(&self) -> Instant {
        self.origin
    }

    /// Waits until `at`, and not at all if that has passed.
    ///
    /// # Cancel safety
    /// Safe: what an earlier wait left armed is armed anew, and what it left ready is waited for
    /// again.
    pub(crate) async fn until(&self, at: Duration) -> io::Result<()> {
        loop {
            let left = at.saturating_sub(self.origin.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            self.arm(left)?;
            // Each expiry is an edge of its own, and arming sets the count back: nothing to read.
            self.timer.readable().await?.clear_ready();
        }
    }

    fn arm(&self, left: Duration) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Duration::ZERO.try_into().expect("zero"),
            it_value: left.try_into().map_err(|_| io::ErrorKind::InvalidInput)?,
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn never_wakes_early_and_wakes_again_and_again() {
        let pacer = Pacer::start().unwrap();
        for us in [200, 500, 400, 2_000, 2_100] {
            let at = Duration::from_micros(us);
            pacer.until(at).await.unwrap();
            assert!(pacer.origin().elapsed() >= at);
        }
    }

    #[tokio::test]
    async fn a_wait_that_was_given_up_does_not_end_the_next_one_early() {
        let pacer = Pacer::start().unwrap();
        let soon = Duration::from_millis(1);
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            _ = pacer.until(soon) => {}
        }
        tokio::time::sleep(2 * soon).await;
        let later = pacer.origin().elapsed() + 3 * soon;
        pacer.until(later).await.unwrap();
        assert!(pacer.origin().elapsed() >= later);
    }
}
