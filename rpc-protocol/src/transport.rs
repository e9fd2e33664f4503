//! Who carries frames between the two ends of a session.
//!
//! The front end has one [`Listener`], behind which any number of peers come and go; a
//! container has one [`Link`]. A transport knows frames and peers, not messages. Mechanisms:
//! [`zmq`] (ipc and tcp) and [`memory`] (tests and simulation); one conformance suite holds
//! both to what is said here.
//!
//! # Invariants
//! - Frames of one peer arrive whole, once, in the order in which they were sent.
//! - A peer's `Closed` is the last that is heard of it; its id is not used again.
//! - `try_recv` and `send` never block.

pub mod memory;
mod watch;
pub mod zmq;

#[cfg(test)]
mod conformance;

use std::future::{Future, poll_fn};
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};
use std::time::Instant;

use thiserror::Error;

pub(crate) use watch::watched;

use crate::keys::{PublicKey, SecretKey};
use crate::message::Frame;

/// Who has a key, and may come in: its name; `None` turns the peer away. The second argument
/// is where it connects from. Called by whoever drives the listener, at each handshake: it must
/// not wait.
pub type Authenticate = Box<dyn FnMut(&PublicKey, &str) -> Option<String> + Send>;

/// How a listener proves itself, and whom it lets in.
pub struct ServerKeys {
    /// Its own key.
    pub secret: SecretKey,
    /// Whom it lets in.
    pub authenticate: Authenticate,
}

/// How a container proves itself, and which front end it believes.
#[derive(Clone, Debug)]
pub struct ClientKeys {
    /// Its own key.
    pub secret: SecretKey,
    /// The front end's key.
    pub server: PublicKey,
}

/// One connection at a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u64);

/// How a peer reached the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Unix socket in a directory of ours.
    Ipc,
    /// TCP, from anywhere that may connect.
    Tcp,
    /// The same process.
    Memory,
}

impl Origin {
    /// The name in status and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Origin::Ipc => "ipc",
            Origin::Tcp => "tcp",
            Origin::Memory => "memory",
        }
    }
}

/// What a listener has to tell.
#[derive(Debug)]
pub enum Incoming {
    /// A frame came.
    Frame {
        /// From whom.
        peer: PeerId,
        /// How the peer is connected.
        origin: Origin,
        /// What came.
        frame: Frame,
    },
    /// The connection is gone.
    Closed {
        /// Whose.
        peer: PeerId,
    },
}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is gone.
    #[error("the peer is gone")]
    Gone,
    /// The peer has not taken what was sent before.
    #[error("the peer does not keep up")]
    Full,
}

/// A link is closed; open another.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the connection is closed")]
pub struct Closed;

/// A transport cannot be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The endpoint is not one of this transport's.
    #[error("'{0}' is not an endpoint, expected ipc://PATH or tcp://ADDRESS:PORT")]
    Endpoint(String),
    /// The endpoint's path is too long for a socket.
    #[error("ipc path '{path}' has {bytes} bytes, at most {limit} allowed")]
    PathTooLong {
        /// The path.
        path: String,
        /// Its length.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The endpoint cannot be bound or connected.
    #[error("cannot open {endpoint}: {source}")]
    Open {
        /// Which.
        endpoint: String,
        /// Why.
        source: std::io::Error,
    },
    /// Keys were given, and the linked libzmq cannot use them.
    #[error(
        "the linked libzmq has no CURVE; build against one that has: cargo build --config \
         docker/libzmq-system.toml"
    )]
    NoCurve,
    /// The transport itself failed.
    #[error("cannot set up the transport: {0}")]
    SetUp(#[source] std::io::Error),
}

/// The front end's side: many peers. Driven by the one task that owns it.
pub trait Listener: Send {
    /// Sends a frame, payloads by reference where the mechanism can.
    ///
    /// # Errors
    /// If the peer is gone or does not keep up. Either way the frame is dropped; treat the
    /// peer as lost and [`Listener::forget`] it.
    fn send(&mut self, peer: PeerId, frame: &Frame) -> Result<(), SendError>;

    /// The next thing heard, if there is one.
    fn try_recv(&mut self) -> Option<Incoming>;

    /// Drops a peer: no `Closed` will come, later frames are not delivered.
    fn forget(&mut self, peer: PeerId);

    /// Whether [`Listener::try_recv`] may have something. Call that until it is empty before.
    ///
    /// The waker of the last call that was pending stays known until it is woken.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>>;

    /// Waits until [`Listener::try_recv`] may have something.
    ///
    /// # Cancel safety
    /// Cancel safe. Call `try_recv` until it is empty before waiting.
    fn readable(&mut self) -> impl Future<Output = std::io::Result<()>> + Send {
        poll_fn(|context| self.poll_readable(context))
    }

    /// The bound endpoints, ports filled in.
    fn endpoints(&self) -> &[String];

    /// The name of the key that a peer has proved to hold, where the mechanism knows keys.
    fn user(&self, peer: PeerId) -> Option<&str> {
        let _ = peer;
        None
    }
}

/// The container's side: one connection, used by one thread.
pub trait Link {
    /// Sends a frame, payloads by reference where the mechanism can.
    ///
    /// # Errors
    /// If the connection is closed or the peer does not keep up.
    fn send(&mut self, frame: &Frame) -> Result<(), SendError>;

    /// Waits for a frame until `until`; a past time only looks. `None` when the time has
    /// come or a signal interrupted the wait.
    ///
    /// # Errors
    /// If the connection is closed; frames that came before are delivered first.
    fn recv(&mut self, until: Instant) -> Result<Option<Frame>, Closed>;

    /// As [`Link::recv`], and returns `None` as soon as `bell` is readable.
    ///
    /// # Errors
    /// As [`Link::recv`].
    fn recv_beside(
        &mut self,
        until: Instant,
        bell: BorrowedFd<'_>,
    ) -> Result<Option<Frame>, Closed>;

    /// Whether [`Link::recv_beside`] really hears the bell. Where it does not, there is no shared
    /// memory.
    fn hears_bells(&self) -> bool;

    /// Why a link that is closed never carried anything, where the mechanism knows it.
    fn refusal(&self) -> Option<&'static str> {
        None
    }
}
