//! HTTP as every port speaks it: binding, the accept loop, bodies, answers.
//!
//! The loop knows nothing of predictions. The query port, the management port and the bare
//! server that benches compare with are three services given to the same [`serve()`].
//!
//! | module | does |
//! |---|---|
//! | [`mod@bind`] | listeners, one a runtime, on a port that nobody else has |
//! | [`serve`](mod@serve) | accepts, caps, drains |
//! | `connection` | one connection: hyper under our own clock, HTTP/1.1 or HTTP/2 |
//! | `clock` | for what a client is waited for, and until when |
//! | `socket` | the socket below hyper: TLS, and which HTTP it carries |
//! | `head` | what a head says that hyper does not tell |
//! | `answer`, `stream` | answers followed to their end; HTTP/2 streams that nobody reads |
//! | [`tls`] | certificates, read again when they change |
//! | [`body`] | request bodies within a size and a time |
//!
//! # Invariants
//! - No client can hold a connection by silence: each phase of a connection has a deadline.
//! - No client can make the front end hold more than `buffer_bytes_max` a connection beside the
//!   body that a service chose to read; on HTTP/2 `connection_window_bytes` of bodies that are
//!   not read yet, and of an answer that the client leaves a frame a stream.
//! - hyper itself answers malformed requests with an empty 400 and oversized heads with an empty
//!   431, and closes (on HTTP/2 the stream); every other answer comes from a service or has a JSON body.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

mod answer;
pub mod bind;
pub mod body;
mod clock;
mod connection;
mod head;
pub mod serve;
mod socket;
mod stream;
pub mod tls;

pub use bind::{BindError, bind};
pub use body::{BodyError, read_body};
pub use serve::{Door, serve};
pub use tls::{CertificateFiles, Reload, Tls, TlsError};

/// What a port grants its clients.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// From accepting a connection to its first byte, and with TLS from the handshake to the first
    /// byte within.
    pub first_byte_timeout: Duration,
    /// From the first byte of a request to the last of its head. On HTTP/2: of the connection's
    /// preface. With TLS: of the handshake.
    pub head_timeout: Duration,
    /// From the last byte of an answer to the first of the next request. On HTTP/2: while no
    /// request is in progress, whatever else the client sends.
    pub idle_timeout: Duration,
    /// How long a client may take no byte of an answer.
    pub write_stall: Duration,
    /// After this long a connection is closed between two requests.
    pub age_max: Duration,
    /// How long bytes are still taken, and dropped, after the last answer, so that a client
    /// that is still sending reads it instead of a reset.
    pub linger: Duration,
    /// How long [`serve()`] waits for requests in flight after the signal to stop.
    pub drain_timeout: Duration,
    /// Buffer of a connection for reading, and again for writing, and on HTTP/2 of a stream for
    /// writing; at least 8192.
    pub buffer_bytes_max: usize,
    /// Start line and headers together.
    pub head_bytes_max: usize,
    /// Headers of a request, at most 100 (where hyper stops by itself).
    pub headers_max: usize,
    /// Path and query.
    pub uri_bytes_max: usize,
    /// HTTP/2: requests at once on a connection.
    pub streams_max: u32,
    /// HTTP/2: bytes of a request's body that a client may send ahead of its being read.
    pub stream_window_bytes: u32,
    /// HTTP/2: the same of all requests of a connection.
    pub connection_window_bytes: u32,
    /// HTTP/2: requests that a client may have taken back before they were looked at.
    pub pending_resets_max: usize,
    /// HTTP/2: requests that may be reset because the client broke the protocol.
    pub local_resets_max: usize,
    /// HTTP/2: after this long without a request or a body's byte the client is pinged.
    pub ping_interval: Duration,
    /// HTTP/2: how long the client may take to answer a ping.
    pub ping_timeout: Duration,
    /// Connections of all clients. The caller lowers it below half of the descriptor limit.
    pub connections_max: usize,
    /// Connections of one address. Loopback is exempt: there all clients share an address, and
    /// load drivers want thousands.
    pub connections_per_address_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            first_byte_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_stall: Duration::from_secs(30),
            age_max: Duration::from_secs(3600),
            linger: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(20),
            buffer_bytes_max: 64 << 10,
            head_bytes_max: 32 << 10,
            headers_max: 64,
            uri_bytes_max: 8 << 10,
            streams_max: 100,
            // As much as the connection's, which bounds them all: 200 KB of tensors need no turn.
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 1 << 20,
            pending_resets_max: 20,
            local_resets_max: 1_024,
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            connections_max: 8_192,
            connections_per_address_max: 256,
        }
    }
}

/// An answer whose body is JSON.
#[must_use]
pub fn json_response(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    json_answer(status, Full::new(body.into()))
}

pub(crate) fn json_answer<B>(status: StatusCode, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
