//! A closed loop that spends as little as it can: requests are encoded beforehand, answers are only
//! looked at for whether they are predictions.
//!
//! HTTP/1 is spoken on bare sockets, one request in flight on each. HTTP/2 is hyper's, with several
//! streams on each connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::payload::METHOD;

/// What is in an answer that is a default.
const DEFAULTS: [&[u8]; 2] = [b"\"default\":true", b"skysail_default"];
/// What the client lets a server send ahead.
const WINDOW_BYTES: u32 = 1 << 20;
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a server is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    /// One request a connection.
    Http1,
    /// So many streams a connection.
    Http2 { streams: usize },
}

/// A load: which requests, in which way, for how long.
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) wire: Wire,
    pub(crate) in_flight: usize,
    pub(crate) requests: &'a Arc<[Bytes]>,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What a load found.
pub(crate) struct Found {
    /// Sorted, of the answers that were asked for and came while it was measured.
    latencies_us: Vec<u32>,
    elapsed: Duration,
    /// What `cost` said at the end less what it said at the beginning.
    pub(crate) cost: Duration,
}

impl Found {
    pub(crate) fn answers(&self) -> f64 {
        self.latencies_us.len() as f64
    }

    pub(crate) fn answers_per_second(&self) -> f64 {
        self.answers() / self.elapsed.as_secs_f64()
    }

    /// Microseconds that a share of the answers took at most.
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.latencies_us
            .get(index)
            .map_or(f64::NAN, |us| f64::from(*us))
    }
}

impl Load<'_> {
    /// Runs it. `cost` is read at the beginning and at the end of what is measured.
    pub(crate) async fn run(&self, cost: impl Fn() -> Duration) -> Result<Found> {
        let mut askers = self.connect().await?;
        let begin = Instant::now() + self.warm_up;
        let end = begin + self.measured;
        let mut tasks = JoinSet::new();
        for (place, asker) in askers.drain(..).enumerate() {
            let first = place * self.requests.len() / self.in_flight;
            tasks.spawn(repeat(asker, self.requests.clone(), first, begin, end));
        }
        tokio::time::sleep_until(begin.into()).await;
        let (began, before) = (Instant::now(), cost());
        tokio::time::sleep_until(end.into()).await;
        let (elapsed, after) = (began.elapsed(), cost());
        let mut latencies_us = Vec::new();
        while let Some(ended) = tasks.join_next().await {
            latencies_us.extend(ended??);
        }
        latencies_us.sort_unstable();
        Ok(Found {
            latencies_us,
            elapsed,
            cost: after.saturating_sub(before),
        })
    }

    async fn connect(&self) -> Result<Vec<Asker>> {
        let mut askers = Vec::with_capacity(self.in_flight);
        while askers.len() < self.in_flight {
            let stream = TcpStream::connect(self.address).await;
            let stream = stream.with_context(|| format!("cannot connect to {}", self.address))?;
            stream.set_nodelay(true)?;
            match self.wire {
                Wire::Http1 => askers.push(Asker::Http1(stream, Vec::new())),
                Wire::Http2 { streams } => {
                    let count = streams.min(self.in_flight - askers.len());
                    let uri: Uri = format!("http://{}{METHOD}", self.address).parse()?;
                    let sender = multiplex(stream).await?;
                    askers.extend((0..count).map(|_| Asker::Http2(sender.clone(), uri.clone())));
                }
            }
        }
        Ok(askers)
    }
}

async fn multiplex(stream: TcpStream) -> Result<SendRequest<Full<Bytes>>> {
    let handshake = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(16 * WINDOW_BYTES)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, connection) = handshake.context("no HTTP/2")?;
    // Its error also reaches the requests in flight.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

/// Asks one request after the other until `end`; gives the latencies of those since `begin`.
async fn repeat(
    mut asker: Asker,
    requests: Arc<[Bytes]>,
    first: usize,
    begin: Instant,
    end: Instant,
) -> Result<Vec<u32>> {
    let mut latencies_us = Vec::new();
    for request in requests.iter().cycle().skip(first) {
        let asked = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, asker.ask(request)).await;
        let answer = answer.context("no answer within 10 s")??;
        if is_default(&answer) {
            bail!("a default: {}", String::from_utf8_lossy(&answer));
        }
        let answered = Instant::now();
        if answered >= end {
            break;
        }
        if asked >= begin {
            let us = answered.duration_since(asked).as_micros();
            latencies_us.push(u32::try_from(us).unwrap_or(u32::MAX));
        }
    }
    Ok(latencies_us)
}

/// Asks once, on a connection of its own; gives the body of the answer.
pub(crate) async fn ask_once(address: SocketAddr, wire: Wire, request: Bytes) -> Result<Bytes> {
    let load = Load {
        address,
        wire,
        in_flight: 1,
        requests: &Arc::from([]),
        warm_up: Duration::ZERO,
        measured: Duration::ZERO,
    };
    let mut asker = load.connect().await?.pop().context("one connection")?;
    asker.ask(&request).await
}

/// One request at a time.
enum Asker {
    /// A connection, and what it is read to.
    Http1(TcpStream, Vec<u8>),
    /// A share of a connection.
    Http2(SendRequest<Full<Bytes>>, Uri),
}

impl Asker {
    async fn ask(&mut self, request: &Bytes) -> Result<Bytes> {
        match self {
            Asker::Http1(stream, buffer) => ask_http1(stream, buffer, request).await,
            Asker::Http2(sender, uri) => ask_http2(sender, uri, request).await,
        }
    }
}

async fn ask_http1(stream: &mut TcpStream, buffer: &mut Vec<u8>, request: &[u8]) -> Result<Bytes> {
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await?;
        ensure!(read > 0, "the server closed the connection");
        if let Some(body) = body_at(buffer)? {
            return Ok(Bytes::copy_from_slice(&buffer[body..]));
        }
    }
}

/// Where the body of an answer begins, once it is there whole.
fn body_at(answer: &[u8]) -> Result<Option<usize>> {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let Some(head) = find(answer, b"\r\n\r\n") else {
        return Ok(None);
    };
    let body = head + 4;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "not answered: {}",
        String::from_utf8_lossy(answer)
    );
    let length = find(&answer[..head], LENGTH).context("an answer without its length")?;
    let digits = answer[length + LENGTH.len()..head].iter();
    let length = digits
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |length, digit| 10 * length + usize::from(digit - b'0'));
    Ok((answer.len() >= body + length).then_some(body))
}

async fn ask_http2(
    sender: &mut SendRequest<Full<Bytes>>,
    uri: &Uri,
    body: &Bytes,
) -> Result<Bytes> {
    sender.ready().await?;
    let request = Request::post(uri.clone())
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(body.clone()))?;
    let response = sender.send_request(request).await?;
    ensure!(response.status() == StatusCode::OK, "not answered");
    let answer = response.into_body().collect().await?;
    let status = answer.trailers().and_then(|t| t.get("grpc-status"));
    // An error has its status among the headers, and no message.
    ensure!(
        status.is_some_and(|status| status == "0"),
        "an error of gRPC: {status:?}"
    );
    Ok(answer.to_bytes())
}

fn is_default(answer: &[u8]) -> bool {
    DEFAULTS.iter().any(|mark| find(answer, mark).is_some())
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    let first = what[0];
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == first) {
        if text[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nx-content-length: 1\r\ncontent-length: 4\r\n\r\nbody";

    #[test]
    fn an_answer_is_whole_when_as_much_is_there_as_it_says() {
        for end in 0..ANSWER.len() {
            assert_eq!(body_at(&ANSWER[..end]).expect("no error"), None, "{end}");
        }
        let body = body_at(ANSWER).expect("no error").expect("whole");
        assert_eq!(&ANSWER[body..], b"body");
    }

    #[test]
    fn another_status_is_an_error() {
        assert!(body_at(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").is_err());
    }

    #[test]
    fn defaults_are_found_wherever_they_stand() {
        assert!(is_default(b"{\"output\":1,\"default\":true}"));
        assert!(is_default(b"\x00\x01skysail_default\x02"));
        assert!(!is_default(b"{\"output\":1,\"default\":false}"));
    }

    #[test]
    fn quantiles_are_of_sorted_latencies() {
        let found = Found {
            latencies_us: (1..=101).collect(),
            elapsed: Duration::from_secs(2),
            cost: Duration::ZERO,
        };
        assert_eq!(
            (found.quantile_us(0.5), found.quantile_us(1.0)),
            (51.0, 101.0)
        );
        assert_eq!(found.answers_per_second(), 50.5);
    }
}
