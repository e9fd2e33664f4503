//! Why a request has no answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Why a request has no answer; the cause, where there is one, is its `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection could not be opened, in time or at all.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or what arrived is not HTTP.
    #[error("connection to {address} failed before the answer was complete")]
    Connection {
        /// Where to.
        address: SocketAddr,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The answer was not complete in time.
    #[error("no complete answer from {address} within {timeout:?}")]
    Timeout {
        /// Where to.
        address: SocketAddr,
        /// The time allowed for one request.
        timeout: Duration,
    },
    /// The body of the answer is too long.
    #[error("answer of {address} is longer than {limit_bytes} bytes")]
    TooLong {
        /// Where to.
        address: SocketAddr,
        /// The most that is read.
        limit_bytes: usize,
    },
    /// There is nothing to wait for times and sockets with.
    #[error("the system gives no thread, epoll or eventfd")]
    Poller {
        /// What it said.
        source: io::Error,
    },
    /// The path of a request is not one.
    #[error("{path:?} is not a path: it must start with '/' and hold no spaces or controls")]
    Path {
        /// The path as given.
        path: String,
    },
}

impl Error {
    /// What failed, in one word: the same for all errors of a variant.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Connect { .. } => "connect",
            Error::Connection { .. } => "connection",
            Error::Timeout { .. } => "timeout",
            Error::TooLong { .. } => "too_long",
            Error::Poller { .. } => "poller",
            Error::Path { .. } => "path",
        }
    }
}
