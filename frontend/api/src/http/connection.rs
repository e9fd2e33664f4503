//! One connection: hyper under our own clock.
//!
//! hyper's header time-out also runs while a connection idles, allocates a timer a request and
//! cannot tell a silent client from an idle one. So its timers are off, and this module watches
//! the connection from both sides: the socket below hyper and the service above it.
//!
//! ```text
//!          byte read          service called         answered
//! Silent ────────────► Head ────────────────► Busy ────────────► Idle
//!   first_byte_timeout  │ ▲ head_timeout                          │ idle_timeout
//!                       │ └───────────────── byte read ───────────┘
//!                       ▼ hyper closes (from any phase)
//!                     Linger: unread bytes are dropped so that the last answer is read
//! ```
//!
//! In `Busy` the service answers for the time ([`super::read_body`] has a time-out). In every
//! phase a client that takes no byte of what is written is dropped after `write_stall`.
//!
//! # Invariants
//! - Every phase but `Busy` has a deadline; when it passes, the connection is dropped.
//! - After the signal to stop, or at `age_max`, no further request is begun.
//!
//! # Cost
//! One timer a connection, moved only when a deadline comes nearer: a client that sends whole
//! requests moves it never. A poll reads the clock once.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::{HttpLimits, json_answer};
use crate::access::Peer;

/// Serves one connection to its end. Errors of the connection are nobody's but the client's.
pub(super) async fn drive<S, B>(
    stream: TcpStream,
    limits: &HttpLimits,
    service: S,
    mut stopped: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body + From<Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let peer = stream
        .peer_addr()
        .map(|peer| Peer(peer.ip().to_canonical()))
        .ok();
    let activity = Arc::new(Activity::default());
    let socket = WatchedSocket::new(stream, Arc::clone(&activity));
    let seen = Arc::clone(&activity);
    let watched = service_fn(move |mut request: Request<Incoming>| {
        seen.enter(Phase::Busy);
        peer.map(|peer| request.extensions_mut().insert(peer));
        let outcome = match refusal::<B>(&request, limits) {
            None => Ok(service.call(request)),
            Some(response) => Err(response),
        };
        let activity = Arc::clone(&seen);
        async move {
            let response = match outcome {
                Ok(answering) => answering.await,
                Err(response) => Ok(response),
            };
            activity.enter(Phase::Idle);
            response
        }
    });
    let mut connection = pin!(builder(limits).serve_connection(socket, watched));
    let mut stop = pin!(async move { stopped.wait_for(|stopped| *stopped).await.is_ok() });
    let mut watch = Watch::new(limits, Instant::now());
    let mut alarm = pin!(tokio::time::sleep_until(watch.armed));
    poll_fn(|cx| {
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if watch.closing || stop.as_mut().poll(cx).is_pending() {
                match ready!(watch.poll(cx, &activity, alarm.as_mut())) {
                    Alarm::Expired => return Poll::Ready(()),
                    Alarm::TooOld => {}
                }
            }
            watch.closing = true;
            activity.closing.store(true, Relaxed);
            connection.as_mut().graceful_shutdown();
        }
    })
    .await;
}

fn builder(limits: &HttpLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_buf_size(limits.buffer_bytes_max)
        .max_header_size(limits.head_bytes_max);
    builder
}

/// The answer to a request whose head is beyond the limits. Counting here instead of telling
/// hyper keeps its header table on the stack.
fn refusal<B: From<Bytes>>(
    request: &Request<Incoming>,
    limits: &HttpLimits,
) -> Option<Response<B>> {
    if request.headers().len() > limits.headers_max {
        return Some(refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    let uri_bytes = request
        .uri()
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    (uri_bytes > limits.uri_bytes_max).then(|| refuse(StatusCode::URI_TOO_LONG))
}

#[cold]
fn refuse<B: From<Bytes>>(status: StatusCode) -> Response<B> {
    let body: &'static str = match status {
        StatusCode::URI_TOO_LONG => {
            "{\"error\":\"Request error\",\"cause\":\"path is too long\",\"field\":\"path\"}"
        }
        _ => "{\"error\":\"Request error\",\"cause\":\"too many headers\",\"field\":\"headers\"}",
    };
    json_answer(status, B::from(Bytes::from_static(body.as_bytes())))
}

/// Where a connection is between two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
enum Phase {
    Silent = 0,
    Head = 1,
    Busy = 2,
    Idle = 3,
    Linger = 4,
}

/// What socket and service tell the watch. All on one task: the atomics are only for `Send`.
#[derive(Debug, Default)]
struct Activity {
    /// The phase, and above it how often it changed, so that no change goes unseen.
    state: AtomicU64,
    /// Bytes were read or written.
    moved: AtomicBool,
    /// The client does not take what is written.
    blocked: AtomicBool,
    /// No further request is begun.
    closing: AtomicBool,
}

impl Activity {
    const PHASE_BITS: u32 = 3;

    fn enter(&self, phase: Phase) {
        let changes = (self.state.load(Relaxed) >> Self::PHASE_BITS) + 1;
        self.state
            .store(changes << Self::PHASE_BITS | phase as u64, Relaxed);
    }

    fn phase(state: u64) -> Phase {
        match state & ((1 << Self::PHASE_BITS) - 1) {
            0 => Phase::Silent,
            1 => Phase::Head,
            2 => Phase::Busy,
            3 => Phase::Idle,
            _ => Phase::Linger,
        }
    }

    fn read(&self) {
        self.moved.store(true, Relaxed);
        if matches!(
            Self::phase(self.state.load(Relaxed)),
            Phase::Silent | Phase::Idle
        ) {
            self.enter(Phase::Head);
        }
    }

    /// Passes on the outcome of a write.
    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let blocked = outcome.is_pending();
        self.blocked.store(blocked, Relaxed);
        if !blocked {
            self.moved.store(true, Relaxed);
        }
        outcome
    }
}

/// Why a connection must not go on.
enum Alarm {
    /// The client let a deadline pass.
    Expired,
    /// It is open for long enough: closed when it is idle.
    TooOld,
}

/// The clock of a connection.
struct Watch<'a> {
    limits: &'a HttpLimits,
    /// From when on it is closed between two requests.
    old: Instant,
    /// The state last seen, and since when.
    state: u64,
    since: Instant,
    /// When bytes last moved.
    moved: Instant,
    blocked: Option<Instant>,
    closing: bool,
    /// When the alarm rings.
    armed: Instant,
}

impl<'a> Watch<'a> {
    fn new(limits: &'a HttpLimits, now: Instant) -> Self {
        Watch {
            limits,
            old: now + limits.age_max,
            state: 0,
            since: now,
            moved: now,
            blocked: None,
            closing: false,
            armed: now + limits.first_byte_timeout,
        }
    }

    /// Takes in what happened, and waits for the next deadline.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        activity: &Activity,
        mut timer: Pin<&mut Sleep>,
    ) -> Poll<Alarm> {
        loop {
            let now = Instant::now();
            self.look(activity, now);
            let expiry = self.expiry();
            if expiry.is_some_and(|expiry| expiry <= now) {
                return Poll::Ready(Alarm::Expired);
            }
            if !self.closing && self.old <= now {
                return Poll::Ready(Alarm::TooOld);
            }
            // When closing, only the time-outs are left; this is a mere upper bound.
            let old = if self.closing {
                now + self.limits.age_max
            } else {
                self.old
            };
            let deadline = expiry.map_or(old, |expiry| expiry.min(old));
            if deadline < self.armed || self.armed <= now {
                self.armed = deadline;
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    fn look(&mut self, activity: &Activity, now: Instant) {
        let state = activity.state.load(Relaxed);
        if state != self.state {
            (self.state, self.since) = (state, now);
        }
        if activity.moved.swap(false, Relaxed) {
            self.moved = now;
        }
        let blocked = activity.blocked.load(Relaxed);
        self.blocked = blocked.then(|| self.blocked.unwrap_or(now).max(self.moved));
    }

    /// When the client's time is up, if it is the client that is waited for.
    fn expiry(&self) -> Option<Instant> {
        let phase = match Activity::phase(self.state) {
            Phase::Silent => Some(self.since + self.limits.first_byte_timeout),
            Phase::Head => Some(self.since + self.limits.head_timeout),
            Phase::Busy => None,
            Phase::Idle => Some(self.moved.max(self.since) + self.limits.idle_timeout),
            Phase::Linger => Some(self.since + self.limits.linger),
        };
        let blocked = self.blocked.map(|since| since + self.limits.write_stall);
        phase.into_iter().chain(blocked).min()
    }
}

/// A socket that tells what moves, and that ends without resetting its client.
struct WatchedSocket {
    io: TokioIo<TcpStream>,
    activity: Arc<Activity>,
    /// Whether our side is closed.
    shut: bool,
}

impl WatchedSocket {
    fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        WatchedSocket {
            io: TokioIo::new(stream),
            activity,
            shut: false,
        }
    }

    /// Drops what the client still sends, until it ends or, when closing, until nothing is there.
    fn poll_linger(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        /// Reads a turn; the deadline of the phase ends the turns.
        const READS_MAX: usize = 16;
        let mut dropped = [0; 16 << 10];
        for _ in 0..READS_MAX {
            if !self.activity.closing.load(Relaxed) {
                ready!(self.io.inner().poll_read_ready(cx))?;
            }
            match self.io.inner().try_read(&mut dropped) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Ok(()));
                }
                Err(_) if self.activity.closing.load(Relaxed) => return Poll::Ready(Ok(())),
                Err(_) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Read for WatchedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        if outcome.is_ready() {
            self.activity.read();
        }
        outcome
    }
}

impl Write for WatchedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.activity.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.activity.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.shut = true;
            self.activity.enter(Phase::Linger);
        }
        self.poll_linger(cx)
    }
}
