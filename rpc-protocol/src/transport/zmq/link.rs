//! The container's end.

use std::os::fd::{BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use smallvec::SmallVec;

use super::frames::{receive_frame, send_error, send_frame};
use super::{check_endpoint, has_curve, monitored, next_event};
use crate::message::Frame;
use crate::transport::{ClientKeys, Closed, Link, SendError, TransportError};

/// Why a link was refused: its key.
pub(super) const NOT_LET_IN: &str =
    "the front end does not let this key in; its .pub belongs among the front end's allowed keys";
/// Why a link with keys was not agreed upon.
pub(super) const DISAGREED: &str =
    "the front end hung up: it uses no keys here, or --server-key names the key of another";
/// Why a link without keys was not agreed upon.
pub(super) const DISAGREED_KEYLESS: &str =
    "the front end hung up: it may let in only who has a key (--key, --server-key)";
/// A container's connection to one endpoint of a front end.
pub struct ZmqLink {
    socket: zmq::Socket,
    monitor: zmq::Socket,
    /// Of the socket and its monitor.
    descriptors: [RawFd; 2],
    /// The socket may have something since it was found empty.
    is_stirred: bool,
    is_monitor_stirred: bool,
    closed: bool,
    has_keys: bool,
    refusal: Option<&'static str>,
    _context: zmq::Context,
}

/// Opens a connection. It may still fail: then [`Link::recv`] says that it is closed.
///
/// # Errors
/// If the endpoint is not one of ZeroMQ's.
pub fn connect(endpoint: &str) -> Result<ZmqLink, TransportError> {
    connect_with(endpoint, None)
}

/// [`connect`], with CURVE if the endpoint is one of tcp and keys are given.
///
/// # Errors
/// If the endpoint is not one of ZeroMQ's, or libzmq has no CURVE.
pub fn connect_with(endpoint: &str, keys: Option<&ClientKeys>) -> Result<ZmqLink, TransportError> {
    check_endpoint(endpoint)?;
    let keys = keys.filter(|_| endpoint.starts_with("tcp://"));
    if keys.is_some() && !has_curve() {
        return Err(TransportError::NoCurve);
    }
    let context = zmq::Context::new();
    let ends = zmq::SocketEvent::DISCONNECTED.to_raw()
        | zmq::SocketEvent::CLOSED.to_raw()
        | zmq::SocketEvent::HANDSHAKE_FAILED_NO_DETAIL.to_raw()
        | zmq::SocketEvent::HANDSHAKE_FAILED_PROTOCOL.to_raw()
        | zmq::SocketEvent::HANDSHAKE_FAILED_AUTH.to_raw();
    let (socket, monitor) = monitored(&context, zmq::DEALER, ends)
        .map_err(|error| TransportError::SetUp(error.into()))?;
    let open = |source: zmq::Error| TransportError::Open {
        endpoint: endpoint.to_owned(),
        source: source.into(),
    };
    // One connection, one session: whoever drives the session decides when to try again.
    socket.set_reconnect_ivl(-1).map_err(open)?;
    if let Some(ClientKeys { secret, server }) = keys {
        let set_keys = || {
            socket.set_curve_serverkey(server.as_bytes())?;
            socket.set_curve_publickey(secret.public().as_bytes())?;
            socket.set_curve_secretkey(secret.as_bytes())
        };
        set_keys().map_err(open)?;
    }
    socket.connect(endpoint).map_err(open)?;
    let descriptors = [
        socket.get_fd().map_err(open)?,
        monitor.get_fd().map_err(open)?,
    ];
    Ok(ZmqLink {
        socket,
        monitor,
        descriptors,
        is_stirred: true,
        is_monitor_stirred: true,
        closed: false,
        has_keys: keys.is_some(),
        refusal: None,
        _context: context,
    })
}

impl Link for ZmqLink {
    fn send(&mut self, frame: &Frame) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Gone);
        }
        // Sending may take what would have told of input.
        self.is_stirred = true;
        send_frame(&mut self.socket, frame).map_err(send_error)
    }

    fn recv(&mut self, until: Instant) -> Result<Option<Frame>, Closed> {
        self.wait(until, None)
    }

    fn recv_beside(
        &mut self,
        until: Instant,
        bell: BorrowedFd<'_>,
    ) -> Result<Option<Frame>, Closed> {
        self.wait(until, Some(bell))
    }

    fn hears_bells(&self) -> bool {
        true
    }

    fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }
}

impl ZmqLink {
    fn wait(
        &mut self,
        until: Instant,
        bell: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Frame>, Closed> {
        // A socket that is asked below needs no second look.
        let mut is_looked_at = self.is_stirred;
        loop {
            if let Some(frame) = self.receive() {
                return Ok(Some(frame));
            }
            if self.closed {
                return Err(Closed);
            }
            if self.look_at_monitor() {
                // What came before it may have come just now.
                self.is_stirred = true;
                continue;
            }
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() && std::mem::replace(&mut is_looked_at, true) {
                return Ok(None);
            }
            match self.sleep(wait, bell) {
                Ok(Woken::ByBell) => return Ok(None),
                Ok(Woken::BySocket) => {}
                Err(Errno::INTR) => return Ok(None),
                Err(_) => return Err(Closed),
            }
        }
    }

    /// The next message. The socket is not asked if it was found empty and nothing has
    /// stirred it since.
    fn receive(&mut self) -> Option<Frame> {
        let frame = self
            .is_stirred
            .then(|| receive_frame(&self.socket, |_| {}))
            .flatten();
        self.is_stirred &= frame.is_some();
        frame
    }

    /// Whether the monitor says that the connection is over.
    fn look_at_monitor(&mut self) -> bool {
        if !std::mem::take(&mut self.is_monitor_stirred) {
            return false;
        }
        while let Some((event, value)) = next_event(&self.monitor) {
            self.closed = true;
            self.refusal = self.refusal.or(refusal(event, value, self.has_keys));
        }
        self.closed
    }

    /// Waits on the descriptors, as `zmq_poll` does, but asks no socket that has nothing.
    fn sleep(&mut self, wait: Duration, bell: Option<BorrowedFd<'_>>) -> Result<Woken, Errno> {
        // SAFETY: both descriptors are those of sockets that live as long as `self`.
        let (socket, monitor) = unsafe {
            let [socket, monitor] = self.descriptors;
            (
                BorrowedFd::borrow_raw(socket),
                BorrowedFd::borrow_raw(monitor),
            )
        };
        let polled = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut polled: SmallVec<[PollFd<'_>; 3]> = [Some(socket), Some(monitor), bell]
            .into_iter()
            .flatten()
            .map(polled)
            .collect();
        let wait = Timespec::try_from(wait).ok();
        poll(&mut polled, wait.as_ref())?;
        let is_ready = |index: usize| {
            polled
                .get(index)
                .is_some_and(|one| !one.revents().is_empty())
        };
        self.is_stirred |= is_ready(0);
        self.is_monitor_stirred |= is_ready(1);
        // What a socket says is heard first: it may be why a bell will never ring again.
        let by_bell = is_ready(2) && !is_ready(0) && !is_ready(1);
        Ok(if by_bell {
            Woken::ByBell
        } else {
            Woken::BySocket
        })
    }
}

/// What ended a wait.
enum Woken {
    ByBell,
    /// Or by the time.
    BySocket,
}

/// Why a handshake failed, if that is what an event tells.
fn refusal(event: u16, value: i32, has_keys: bool) -> Option<&'static str> {
    // What the doorman answers to a key that it does not know.
    const NOT_ALLOWED: i32 = 400;
    if event == zmq::SocketEvent::HANDSHAKE_FAILED_AUTH.to_raw() && value == NOT_ALLOWED {
        return Some(NOT_LET_IN);
    }
    // Which of the two is told of one cause depends on who hangs up first.
    let disagreed = zmq::SocketEvent::HANDSHAKE_FAILED_PROTOCOL.to_raw()
        | zmq::SocketEvent::HANDSHAKE_FAILED_NO_DETAIL.to_raw();
    let told = if has_keys {
        DISAGREED
    } else {
        DISAGREED_KEYLESS
    };
    (event & disagreed != 0).then_some(told)
}
