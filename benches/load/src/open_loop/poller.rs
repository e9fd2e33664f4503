//! Sleeps until a socket is ready, an instant has come or another thread calls.
//!
//! An epoll with edges, and a timerfd in it: epoll's own time-outs have milliseconds where the
//! kernel is older than 5.11, and are rounded by a thread's slack of 50 us where it is not.
//!
//! # Cost
//! One system call a sleep, and one for each instant that is slept until. An instant that a socket
//! was ready before is not armed again.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// Events taken at once.
const EVENTS_MAX: usize = 256;
/// Marks the events of timer and caller: they have ended the wait, and need no more.
const NO_SOCKET: u64 = u64::MAX;
/// Does not sleep.
const NOT_AT_ALL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What [`Poller::wait`] waits for.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// What the timer was armed for.
    armed: Duration,
}

/// Ends a wait of a [`Poller`], from any thread.
#[derive(Debug)]
pub(super) struct Caller(OwnedFd);

/// What happened to a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) index: usize,
    pub(super) flags: EventFlags,
}

impl Poller {
    /// A poller of nothing yet, and what calls it.
    pub(super) fn new() -> io::Result<(Self, Caller)> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        for descriptor in [&call, &timer] {
            // Nothing is read: each call and each expiry is an edge of its own.
            let flags = EventFlags::IN | EventFlags::ET;
            epoll::add(&epoll, descriptor, EventData::new_u64(NO_SOCKET), flags)?;
        }
        let armed = Duration::MAX;
        let poller = Self {
            epoll,
            timer,
            armed,
        };
        Ok((poller, Caller(call)))
    }

    /// Waits for a socket too, until it is closed.
    pub(super) fn add(&self, socket: impl AsFd, index: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(index as u64);
        Ok(epoll::add(&self.epoll, socket, data, flags)?)
    }

    /// Sleeps until the instant `until`, where it is `now`, or until something happens; `ready` is
    /// then what did, which may be nothing.
    pub(super) fn wait(
        &mut self,
        now: Duration,
        until: Duration,
        ready: &mut Vec<Ready>,
    ) -> io::Result<()> {
        ready.clear();
        let mut events = [MaybeUninit::uninit(); EVENTS_MAX];
        let time = (until <= now).then_some(&NOT_AT_ALL);
        if time.is_none() {
            self.arm(now, until)?;
        }
        let events = match epoll::wait(&self.epoll, &mut events[..], time) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => &[],
            Err(error) => return Err(error.into()),
        };
        let sockets = events.iter().filter(|event| event.data.u64() != NO_SOCKET);
        ready.extend(sockets.map(|event| Ready {
            index: event.data.u64() as usize,
            flags: event.flags,
        }));
        Ok(())
    }

    /// Arms the timer, unless it is: for an instant to come it has not expired.
    fn arm(&mut self, now: Duration, until: Duration) -> io::Result<()> {
        if self.armed == until {
            return Ok(());
        }
        let left = Timespec::try_from(until - now).map_err(|_| io::ErrorKind::InvalidInput)?;
        let once = Itimerspec {
            it_interval: NOT_AT_ALL,
            it_value: left,
        };
        // This also takes back an expiry that was not waited for.
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.armed = until;
        Ok(())
    }
}

impl Caller {
    /// Ends the wait of now, or else the next one.
    pub(super) fn call(&self) {
        // Full: it was called already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    const ZERO: Duration = Duration::ZERO;

    fn waited(poller: &mut Poller, time: Duration) -> Vec<Ready> {
        let mut ready = Vec::new();
        poller.wait(ZERO, time, &mut ready).unwrap();
        ready
    }

    #[test]
    fn never_wakes_early_where_nothing_happens() {
        let (mut poller, _caller) = Poller::new().unwrap();
        let (started, mut ready) = (Instant::now(), Vec::new());
        for us in [0, 1, 300, 301, 1_000, 3_100] {
            let until = Duration::from_micros(us);
            poller.wait(started.elapsed(), until, &mut ready).unwrap();
            assert!(ready.is_empty());
            assert!(started.elapsed() >= until, "{until:?}");
        }
    }

    #[test]
    fn an_instant_that_a_call_came_before_is_still_waited_for() {
        let (mut poller, caller) = Poller::new().unwrap();
        let (started, mut ready) = (Instant::now(), Vec::new());
        let until = Duration::from_millis(100);
        caller.call();
        for _ in 0..2 {
            poller.wait(started.elapsed(), until, &mut ready).unwrap();
        }
        assert!(started.elapsed() >= until);
    }

    #[test]
    fn an_expiry_that_was_not_waited_for_does_not_end_the_next_wait() {
        let (mut poller, caller) = Poller::new().unwrap();
        let (started, mut ready) = (Instant::now(), Vec::new());
        let [soon, later] = [2, 6].map(Duration::from_millis);
        caller.call();
        poller.wait(started.elapsed(), soon, &mut ready).unwrap();
        std::thread::sleep(soon);
        let later = started.elapsed() + later;
        poller.wait(started.elapsed(), later, &mut ready).unwrap();
        assert!(started.elapsed() >= later);
    }

    #[test]
    fn a_call_ends_the_wait_that_comes_after_it_and_only_that() {
        let (mut poller, caller) = Poller::new().unwrap();
        caller.call();
        caller.call();
        assert!(waited(&mut poller, LONG).is_empty());
        let (started, time) = (Instant::now(), Duration::from_millis(2));
        waited(&mut poller, time);
        assert!(started.elapsed() >= time);
    }

    #[test]
    fn a_socket_is_told_by_its_index_once_an_edge() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let (mut poller, _caller) = Poller::new().unwrap();
        poller.add(&far, 7).unwrap();
        let mut is_readable = || {
            let ready = waited(&mut poller, LONG);
            assert_eq!((ready.len(), ready[0].index), (1, 7));
            ready[0].flags.contains(EventFlags::IN)
        };
        assert!(!is_readable(), "it can be written to at first");
        near.write_all(b"x").unwrap();
        assert!(is_readable());
        assert!(waited(&mut poller, ZERO).is_empty());
    }
}
