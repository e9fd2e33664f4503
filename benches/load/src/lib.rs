//! HTTP load driver: sends requests over keep-alive connections and times the answers.
//!
//! [`ClosedLoop`] keeps one request in flight on each of its connections and sends the next when
//! the answer is there. It has two modes: [`ClosedLoop::send_each`] sends every request of a list
//! once and hands over the answers; [`ClosedLoop::measure`] repeats a list for a set time and
//! counts. A closed loop measures what a server can do at a given concurrency. Its latencies hold
//! for that concurrency only: a slow server slows the loop down too.
//!
//! [`OpenLoop`] sends at the times of an arrival process ([`arrivals`]) whatever the server does,
//! and measures latency from those times; [`search`] finds the highest rate that a server bears.
//! `skysail load` is made of it.
//!
//! [`get`], [`post_json`] and [`send`] make one request on a connection of their own, [`send_over`] on
//! one that is there.
//!
//! # Cost
//! The driver shares its cores with the server under test. In a closed loop a request is built
//! once; sending it counts references of its path, header values and body. The header map of an
//! answer is reused for the next request, so that what is allocated per request is hyper's. The
//! open loop allocates the body of a request and makes four or five system calls, fewer under load;
//! `docs/decisions/0016` has what that comes to beside hyper and tasks.

mod answer;
pub mod arrivals;
mod closed_loop;
mod connection;
mod error;
mod inputs;
mod message;
mod open_loop;
mod outcome;
mod report;
pub mod search;
mod tally;
#[cfg(test)]
mod test_server;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

pub use closed_loop::{Answer, ClosedLoop, Mark, Timing};
pub use error::Error;
pub use hdrhistogram::Histogram;
pub use hyper::{HeaderMap, Method, StatusCode};
pub use inputs::{InputKind, RandomInputs};
pub use message::{Request, Response};
pub use open_loop::{OpenLoop, Progress};
pub use outcome::{CAUSE_UNNAMED, Outcome};
pub use report::Report;
pub use tally::{ByName, MOMENT, Measured, Moment, Second, Tally, Window};

use connection::Connection;
use tokio::io::{AsyncRead, AsyncWrite};

/// How long [`get`] and [`post_json`] wait for the connection, and again for the answer.
pub const ONE_SHOT_TIMEOUT: Duration = Duration::from_secs(10);

/// Gets `path` (`/metrics`, `/a?b=c`) on a connection of its own.
///
/// # Errors
/// [`Error`] when there is no complete answer; an answer of any status is `Ok`.
pub async fn get(address: SocketAddr, path: &str) -> Result<Response, Error> {
    send(address, &Request::get(path)?, ONE_SHOT_TIMEOUT).await
}

/// Posts `body` as `application/json` to `path` on a connection of its own.
///
/// # Errors
/// [`Error`] when there is no complete answer; an answer of any status is `Ok`.
pub async fn post_json(
    address: SocketAddr,
    path: &str,
    body: impl Into<Bytes>,
) -> Result<Response, Error> {
    send(address, &Request::post_json(path, body)?, ONE_SHOT_TIMEOUT).await
}

/// Sends `request` on a connection of its own; `timeout` bounds connecting, and then the answer.
///
/// # Errors
/// [`Error`] when there is no complete answer; an answer of any status is `Ok`.
pub async fn send(
    address: SocketAddr,
    request: &Request,
    timeout: Duration,
) -> Result<Response, Error> {
    Connection::open(address, timeout)
        .await?
        .send(request, HeaderMap::new())
        .await
}

/// Sends `request` on a stream that is connected to `address`, such as one of TLS; `timeout` bounds
/// the answer.
///
/// # Errors
/// [`Error`] when there is no complete answer; an answer of any status is `Ok`.
pub async fn send_over<S>(
    stream: S,
    address: SocketAddr,
    request: &Request,
    timeout: Duration,
) -> Result<Response, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    Connection::over(stream, address, timeout)
        .await?
        .send(request, HeaderMap::new())
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_server::TestServer;

    #[tokio::test]
    async fn post_json_sends_the_body_with_its_type_and_host() {
        let server = TestServer::start().await;
        let response = post_json(server.address, "/echo?x=1", "[1.5]")
            .await
            .unwrap();
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.body, "[1.5]");
        assert_eq!(response.headers["x-method"], "POST");
        assert_eq!(response.headers["x-uri"], "/echo?x=1");
        assert_eq!(response.headers["x-content-type"], "application/json");
        assert_eq!(response.headers["x-host"], server.address.to_string());
    }

    #[tokio::test]
    async fn an_error_status_is_an_answer() {
        let server = TestServer::start().await;
        let response = get(server.address, "/missing").await.unwrap();
        assert_eq!(response.status, StatusCode::NOT_FOUND);
        assert!(!response.is_success());
    }

    #[tokio::test]
    async fn a_given_header_replaces_the_default() {
        let server = TestServer::start().await;
        let request = Request::post_json("/echo", "x").unwrap();
        let request = request
            .with_header("host", "elsewhere")
            .with_header("content-type", "a/b");
        let response = send(server.address, &request, ONE_SHOT_TIMEOUT)
            .await
            .unwrap();
        assert_eq!(response.headers["x-host"], "elsewhere");
        assert_eq!(response.headers["x-content-type"], "a/b");
    }
}
