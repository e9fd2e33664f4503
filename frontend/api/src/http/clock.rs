//! The clock of a connection: for what its client is waited for, and until when.
//!
//! ```text
//!          byte read          request begins         last answer ends
//! Silent ────────────► Head ────────────────► busy ────────────► Idle
//!   first_byte_timeout  │ ▲ head_timeout                          │ idle_timeout
//!                       │ └──────────── byte read, HTTP/1 ────────┘
//!                       ▼ hyper closes (from any phase)
//!                     Linger: unread bytes are dropped so that the last answer is read
//! ```
//!
//! A connection is busy while a request is not answered whole; then the service answers for
//! the time ([`super::read_body`] has a time-out). In every phase a client that takes no byte of
//! what is written is dropped after `write_stall`.
//!
//! HTTP/2 differs in that bytes of an idle connection are no request: pings and settings leave
//! it idle. What they may add up to is bounded, by [`IDLE_WINDOWS_MAX`]. It is told to go away
//! before it is closed. A request whose headers never end keeps the client from answering our
//! pings, which ends it.
//!
//! # Invariants
//! - Every phase has a deadline unless the connection is busy; when it passes, the connection is
//!   dropped.
//!
//! # Cost
//! One timer a connection, moved only when a deadline comes nearer: a client that sends whole
//! requests moves it never. A poll reads the clock once.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

use super::HttpLimits;

/// Windows of its connection that an HTTP/2 client may send between two requests: pings and
/// settings, and at most one window of bodies that were on their way when they were refused.
const IDLE_WINDOWS_MAX: usize = 4;

/// Where a connection is between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Phase {
    Silent = 0,
    Head = 1,
    Idle = 2,
    Linger = 3,
}

/// What socket and service tell the watch. All on one thread: the atomics are only for `Send`.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// The phase, and above it how often it changed, so that no change goes unseen.
    state: AtomicU64,
    /// Requests that are not answered whole.
    exchanges: AtomicUsize,
    /// Bytes were read or written.
    moved: AtomicBool,
    /// The client does not take what is written.
    blocked: AtomicBool,
    /// No further request is begun.
    closing: AtomicBool,
    /// Answers ask the client to leave.
    leaving: AtomicBool,
    /// The port closes.
    stopping: AtomicBool,
    /// HTTP/2.
    multiplexed: AtomicBool,
    /// Bytes read since the last request.
    idle_bytes: AtomicUsize,
    /// Requests that have begun.
    requests: AtomicUsize,
    /// HTTP/1: the head that came last names a length.
    has_length: AtomicBool,
}

impl Activity {
    const PHASE_BITS: u32 = 2;

    pub(super) fn enter(&self, phase: Phase) {
        let changes = (self.state.load(Relaxed) >> Self::PHASE_BITS) + 1;
        self.state
            .store(changes << Self::PHASE_BITS | phase as u64, Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        Self::phase_of(self.state.load(Relaxed))
    }

    fn phase_of(state: u64) -> Phase {
        match state & ((1 << Self::PHASE_BITS) - 1) {
            0 => Phase::Silent,
            1 => Phase::Head,
            2 => Phase::Idle,
            _ => Phase::Linger,
        }
    }

    /// The client speaks HTTP/2; it has no request yet.
    pub(super) fn multiplex(&self) {
        self.multiplexed.store(true, Relaxed);
        self.enter(Phase::Idle);
    }

    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Relaxed)
    }

    /// The number of the request whose head comes, if what is read now is of a head: HTTP/1, and
    /// nothing in progress. Of clients that do not wait for their answers heads go unseen.
    pub(super) fn head(&self) -> Option<usize> {
        let is_head = !self.is_multiplexed() && !self.is_busy();
        is_head.then(|| self.requests.load(Relaxed))
    }

    /// The head that comes names a length.
    pub(super) fn name_length(&self) {
        self.has_length.store(true, Relaxed);
    }

    /// Whether the head that came named one.
    pub(super) fn take_length(&self) -> bool {
        self.has_length.swap(false, Relaxed)
    }

    pub(super) fn begin_exchange(&self) {
        self.exchanges.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.idle_bytes.store(0, Relaxed);
    }

    pub(super) fn end_exchange(&self) {
        let last = self.exchanges.fetch_sub(1, Relaxed) == 1;
        if last && self.phase() != Phase::Linger {
            self.enter(Phase::Idle);
        }
    }

    fn is_busy(&self) -> bool {
        self.exchanges.load(Relaxed) > 0
    }

    pub(super) fn read(&self, bytes: usize) {
        self.moved.store(true, Relaxed);
        if self.is_multiplexed() {
            if !self.is_busy() {
                self.idle_bytes.fetch_add(bytes, Relaxed);
            }
        } else if matches!(self.phase(), Phase::Silent | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    /// Passes on the outcome of a write.
    pub(super) fn wrote<T>(&self, outcome: Poll<T>) -> Poll<T> {
        let blocked = outcome.is_pending();
        self.blocked.store(blocked, Relaxed);
        if !blocked {
            self.moved.store(true, Relaxed);
        }
        outcome
    }

    pub(super) fn ask_to_leave(&self) {
        self.leaving.store(true, Relaxed);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Whether the connection is to end after what is in progress. While the port asks its clients
    /// to leave, HTTP/1 does so in its answers, and HTTP/2 once it has had something to answer.
    pub(super) fn is_due(&self) -> bool {
        let asked = self.is_multiplexed() && self.requests.load(Relaxed) > 0;
        self.is_stopping() || (self.is_leaving() && asked)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }
}

/// Why a connection must not go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// The client let a deadline pass.
    Expired,
    /// It is open, or idle, for long enough: the client is told, and what is in progress ends.
    Farewell,
}

/// The clock of a connection.
pub(super) struct Watch<'a> {
    limits: &'a HttpLimits,
    /// From when on it is closed between two requests.
    old: Instant,
    /// The state last seen, and since when.
    state: u64,
    since: Instant,
    busy: bool,
    multiplexed: bool,
    /// When bytes last moved.
    moved: Instant,
    blocked: Option<Instant>,
    /// Since when no further request is begun.
    closing: Option<Instant>,
    /// When the alarm rings.
    armed: Instant,
}

impl<'a> Watch<'a> {
    pub(super) fn new(limits: &'a HttpLimits, now: Instant) -> Self {
        Watch {
            limits,
            old: now + limits.age_max,
            state: 0,
            since: now,
            busy: false,
            multiplexed: false,
            moved: now,
            blocked: None,
            closing: None,
            armed: now + limits.first_byte_timeout,
        }
    }

    /// When the alarm rings first.
    pub(super) fn armed(&self) -> Instant {
        self.armed
    }

    /// From now on no further request is begun.
    pub(super) fn close(&mut self, activity: &Activity) {
        self.closing = Some(Instant::now());
        activity.closing.store(true, Relaxed);
    }

    /// Takes in what happened, and waits for the next deadline.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        activity: &Activity,
        mut timer: Pin<&mut Sleep>,
    ) -> Poll<Alarm> {
        loop {
            let now = Instant::now();
            self.look(activity, now);
            let (expiry, farewell) = (self.expiry(), self.farewell());
            if self.is_flooded(activity) || expiry.is_some_and(|expiry| expiry <= now) {
                return Poll::Ready(Alarm::Expired);
            }
            if farewell.is_some_and(|farewell| farewell <= now) {
                return Poll::Ready(Alarm::Farewell);
            }
            let deadline = expiry.into_iter().chain(farewell).min();
            // When closing, only the time-outs are left; this is a mere upper bound.
            let deadline = deadline.unwrap_or_else(|| now + self.limits.age_max);
            if deadline < self.armed || self.armed <= now {
                self.armed = deadline;
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    fn is_flooded(&self, activity: &Activity) -> bool {
        let window = self.limits.connection_window_bytes as usize;
        activity.idle_bytes.load(Relaxed) / IDLE_WINDOWS_MAX > window
    }

    fn look(&mut self, activity: &Activity, now: Instant) {
        let state = activity.state.load(Relaxed);
        if state != self.state {
            (self.state, self.since) = (state, now);
        }
        self.busy = activity.is_busy();
        self.multiplexed = activity.is_multiplexed();
        if activity.moved.swap(false, Relaxed) {
            self.moved = now;
        }
        let blocked = activity.blocked.load(Relaxed);
        self.blocked = blocked.then(|| self.blocked.unwrap_or(now).max(self.moved));
    }

    /// When the client's time is up, if it is the client that is waited for.
    fn expiry(&self) -> Option<Instant> {
        let limits = self.limits;
        let phase = match Activity::phase_of(self.state) {
            Phase::Linger => Some(self.since + limits.linger),
            _ if self.busy => None,
            Phase::Silent => Some(self.since + limits.first_byte_timeout),
            Phase::Head => Some(self.since + limits.head_timeout),
            Phase::Idle if self.multiplexed => self.closing.map(|at| self.last_word(at)),
            Phase::Idle => Some(self.moved.max(self.since) + limits.idle_timeout),
        };
        let blocked = self.blocked.map(|since| since + limits.write_stall);
        phase.into_iter().chain(blocked).min()
    }

    /// Until when an HTTP/2 client that was told to go may take what is left: as long as
    /// something moves, but pings move as well.
    fn last_word(&self, closing: Instant) -> Instant {
        let told = self.since.max(closing);
        let silent = self.moved.max(told) + self.limits.linger;
        silent.min(told + self.limits.write_stall)
    }

    /// When the client is told to go.
    fn farewell(&self) -> Option<Instant> {
        if self.closing.is_some() {
            return None;
        }
        let idle = Activity::phase_of(self.state) == Phase::Idle && !self.busy;
        let tired = (idle && self.multiplexed).then(|| self.since + self.limits.idle_timeout);
        tired.into_iter().chain([self.old]).min()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use super::*;

    /// What rings next, and after how long.
    async fn next(watch: &mut Watch<'_>, activity: &Activity) -> (Alarm, Duration) {
        let begin = Instant::now();
        let mut timer = pin!(tokio::time::sleep_until(watch.armed()));
        let alarm = poll_fn(|cx| watch.poll(cx, activity, timer.as_mut())).await;
        (alarm, begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_of_http1_has_its_time() {
        let limits = HttpLimits::default();
        let activity = Activity::default();
        let mut watch = Watch::new(&limits, Instant::now());
        let silent = next(&mut watch, &activity).await;
        assert_eq!(silent, (Alarm::Expired, limits.first_byte_timeout));
        activity.read(1);
        let head = next(&mut watch, &activity).await;
        assert_eq!(head, (Alarm::Expired, limits.head_timeout));
        activity.begin_exchange();
        activity.end_exchange();
        let idle = next(&mut watch, &activity).await;
        assert_eq!(idle, (Alarm::Expired, limits.idle_timeout));
        activity.enter(Phase::Linger);
        let linger = next(&mut watch, &activity).await;
        assert_eq!(linger, (Alarm::Expired, limits.linger));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_has_its_age_and_what_its_client_does_not_take() {
        let limits = HttpLimits::default();
        let activity = Activity::default();
        let mut watch = Watch::new(&limits, Instant::now());
        activity.begin_exchange();
        activity.begin_exchange();
        activity.end_exchange();
        let old = next(&mut watch, &activity).await;
        assert_eq!(old, (Alarm::Farewell, limits.age_max));
        assert!(activity.wrote(Poll::<()>::Pending).is_pending());
        watch.close(&activity);
        let stalled = next(&mut watch, &activity).await;
        assert_eq!(stalled, (Alarm::Expired, limits.write_stall));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_of_http2_is_told_first_and_then_has_a_last_word() {
        let limits = HttpLimits::default();
        let activity = Activity::default();
        let mut watch = Watch::new(&limits, Instant::now());
        activity.multiplex();
        let idle = next(&mut watch, &activity).await;
        assert_eq!(idle, (Alarm::Farewell, limits.idle_timeout));
        watch.close(&activity);
        let last = next(&mut watch, &activity).await;
        assert_eq!(last, (Alarm::Expired, limits.linger));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_of_an_idle_connection_of_http2_are_bounded_and_those_of_bodies_are_not() {
        let limits = HttpLimits::default();
        let activity = Activity::default();
        let mut watch = Watch::new(&limits, Instant::now());
        let much = (IDLE_WINDOWS_MAX + 1) * limits.connection_window_bytes as usize;
        activity.multiplex();
        activity.begin_exchange();
        activity.read(much);
        let old = next(&mut watch, &activity).await;
        assert_eq!(old, (Alarm::Farewell, limits.age_max));
        activity.end_exchange();
        activity.read(much);
        let flooded = next(&mut watch, &activity).await;
        assert_eq!(flooded, (Alarm::Expired, Duration::ZERO));
    }
}
