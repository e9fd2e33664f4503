//! One connection: hyper under our own clock.
//!
//! hyper's header time-out also runs while a connection idles, allocates a timer a request and
//! cannot tell a silent client from an idle one. So its timers are off, but for the pings of
//! HTTP/2, and the [`clock`](super::clock) watches the connection from both sides: the socket below
//! hyper and the service above it. hyper-util's connection of either protocol leaves a silent
//! client alone, so the protocol is decided here too, under the same clock.
//!
//! # Invariants
//! - After the signal to stop, or at `age_max`, no further request is begun.
//! - While the port asks its clients to leave, each answer on HTTP/1 says `connection: close`, and
//!   an HTTP/2 connection is told to go away once it has been asked something.
//! - A service sees the same request over either protocol: `:authority` is its `Host`.
//!
//! # Cost
//! One task a connection, and for HTTP/2 one a stream.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::answer::{Answer, Exchange};
use super::clock::{Activity, Alarm, Phase, Watch};
use super::serve::{Door, Stage};
use super::socket::{Protocol, Socket, Transport};
use super::stream::Streams;
use super::{HttpLimits, json_answer};
use crate::access::Peer;

/// Serves one connection to its end. Errors of the connection are nobody's but the client's.
pub(super) async fn drive<S, B>(
    stream: TcpStream,
    door: &Arc<Door>,
    service: S,
    stage: watch::Receiver<Stage>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limits = door.limits();
    let peer = stream.peer_addr().ok();
    let peer = peer.map(|address| Peer(address.ip().to_canonical()));
    let activity = Arc::new(Activity::default());
    let watch = Watch::new(limits, Instant::now());
    let alarm = pin!(tokio::time::sleep_until(watch.armed()));
    let news = stage.clone();
    let heed = pin!(heed(stage, &activity));
    let mut keeper = Keeper {
        activity: &activity,
        watch,
        alarm,
        heed,
        news,
        heeds: false,
    };
    let socket = Socket::new(stream, Arc::clone(&activity));
    let opened = {
        let opening = pin!(Transport::open(socket, door.tls()));
        keeper.open(opening).await
    };
    let Some((transport, protocol)) = opened else {
        return;
    };
    let (transport, service) = (
        TokioIo::new(transport),
        watched(service, door.clone(), activity.clone(), peer),
    );
    match protocol {
        Protocol::Http1 => {
            let connection = pin!(http1_builder(limits).serve_connection(transport, service));
            keeper.keep(connection, |c| c.graceful_shutdown()).await;
        }
        Protocol::Http2 => {
            activity.multiplex();
            // Boxed, so that HTTP/1 does not pay for its size.
            let mut connection =
                Box::pin(http2_builder(limits).serve_connection(transport, service));
            keeper
                .keep(connection.as_mut(), |c| c.graceful_shutdown())
                .await;
        }
    }
}

fn http1_builder(limits: &HttpLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_buf_size(limits.buffer_bytes_max)
        .max_header_size(limits.head_bytes_max);
    builder
}

fn http2_builder(limits: &HttpLimits) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(Streams {
        write_stall: limits.write_stall,
    });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_send_buf_size(limits.buffer_bytes_max)
        .max_pending_accept_reset_streams(limits.pending_resets_max)
        .max_local_error_reset_streams(limits.local_resets_max)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout);
    builder
}

/// Tells a connection how far its port has closed. Never ends.
async fn heed(mut stage: watch::Receiver<Stage>, activity: &Activity) {
    // A loop that is gone has stopped.
    drop(stage.wait_for(|stage| *stage >= Stage::Leaving).await);
    activity.ask_to_leave();
    drop(stage.wait_for(|stage| *stage >= Stage::Stopped).await);
    activity.stop();
    pending::<()>().await;
}

/// What keeps a connection to its times.
struct Keeper<'a, H> {
    activity: &'a Activity,
    watch: Watch<'a>,
    alarm: Pin<&'a mut Sleep>,
    heed: Pin<&'a mut H>,
    /// What `heed` waits for.
    news: watch::Receiver<Stage>,
    /// Whether `heed` has been polled.
    heeds: bool,
}

impl<H: Future<Output = ()>> Keeper<'_, H> {
    /// Opens a connection. Whoever has said nothing when the port stops is let go.
    async fn open<T>(
        &mut self,
        mut opening: Pin<&mut impl Future<Output = Option<T>>>,
    ) -> Option<T> {
        poll_fn(|cx| {
            if let Poll::Ready(opened) = opening.as_mut().poll(cx) {
                return Poll::Ready(opened);
            }
            self.heed(cx);
            if self.activity.is_stopping() && self.activity.phase() == Phase::Silent {
                return Poll::Ready(None);
            }
            self.watch
                .poll(cx, self.activity, self.alarm.as_mut())
                .map(|_| None)
        })
        .await
    }

    /// Learns how far the port has closed. All polls are of one task, which is woken by news, so
    /// that in between there is nothing to wait for anew.
    fn heed(&mut self, cx: &mut Context<'_>) {
        if self.heeds && matches!(self.news.has_changed(), Ok(false)) {
            return;
        }
        self.heeds = true;
        self.news.mark_unchanged();
        // It never ends: what it learns lies in the activity.
        let _ = self.heed.as_mut().poll(cx);
    }

    /// Polls a connection to its end, or until its client's time is up.
    async fn keep<C: Future>(&mut self, mut connection: Pin<&mut C>, close: impl Fn(Pin<&mut C>)) {
        poll_fn(|cx| {
            loop {
                // First, so that the answers of this poll know.
                self.heed(cx);
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if self.activity.is_closing() || !self.activity.is_due() {
                    let alarm = self.alarm.as_mut();
                    match ready!(self.watch.poll(cx, self.activity, alarm)) {
                        Alarm::Expired => return Poll::Ready(()),
                        Alarm::Farewell => {}
                    }
                }
                self.watch.close(self.activity);
                close(connection.as_mut());
            }
        })
        .await;
    }
}

/// The service, whose requests are within the limits and whose answers are followed to their end.
fn watched<S, B>(
    service: S,
    door: Arc<Door>,
    activity: Arc<Activity>,
    peer: Option<Peer>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Answer<B>>,
    Error = Infallible,
    Future: Send + 'static,
>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
{
    service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer.filter(|_| request.headers().contains_key(AUTHORIZATION)) {
            request.extensions_mut().insert(peer);
        }
        let exchange = Exchange::begin(&activity);
        name_host(&mut request);
        let has_length = activity.take_length();
        let outcome = match refusal::<B>(&request, has_length, door.limits()) {
            // Boxed, as what handles a request is some kilobytes, and is moved several times.
            None => Ok(Box::pin(service.call(request))),
            Some(response) => Err(response),
        };
        async move {
            let response = match outcome {
                Ok(answering) => answering.await?,
                Err(response) => response,
            };
            Ok(exchange.answer(response))
        }
    })
}

/// Gives a request of HTTP/2 the header by which services know whom it is for.
fn name_host(request: &mut Request<Incoming>) {
    if request.version() != Version::HTTP_2 {
        return;
    }
    let authority = request.uri().authority().map(|to| to.as_str());
    if let Some(Ok(host)) = authority.map(HeaderValue::from_str) {
        request.headers_mut().insert(HOST, host);
    }
}

/// The answer to a request whose head is beyond the limits, or can be read in two ways
/// (`has_length`: it names a length, whatever hyper left of that). Counting here instead of
/// telling hyper keeps its header table on the stack.
fn refusal<B: From<Bytes>>(
    request: &Request<Incoming>,
    has_length: bool,
    limits: &HttpLimits,
) -> Option<Response<B>> {
    let headers = request.headers();
    if headers.len() > limits.headers_max {
        return Some(refuse(Fault::Headers));
    }
    let uri_bytes = request
        .uri()
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    if uri_bytes > limits.uri_bytes_max {
        return Some(refuse(Fault::Path));
    }
    if request.version() != Version::HTTP_11 {
        return None;
    }
    // RFC 9112, section 3.2.
    let mut hosts = headers.get_all(HOST).iter();
    if hosts.next().is_none() || hosts.next().is_some() {
        return Some(refuse(Fault::Host));
    }
    let is_ambiguous = has_length && headers.contains_key(TRANSFER_ENCODING);
    is_ambiguous.then(|| refuse(Fault::Length))
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Headers,
    Path,
    Host,
    Length,
}

/// Where a head can be read in two ways, what follows it can as well: the connection ends.
#[cold]
fn refuse<B: From<Bytes>>(fault: Fault) -> Response<B> {
    let (status, cause, field, closes) = match fault {
        Fault::Headers => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "too many headers",
            "headers",
            false,
        ),
        Fault::Path => (StatusCode::URI_TOO_LONG, "path is too long", "path", false),
        Fault::Host => (
            StatusCode::BAD_REQUEST,
            "HTTP/1.1 needs one Host header",
            "headers",
            true,
        ),
        Fault::Length => (
            StatusCode::BAD_REQUEST,
            "Transfer-Encoding and Content-Length exclude each other",
            "headers",
            true,
        ),
    };
    let body = json!({ "error": "Request error", "cause": cause, "field": field });
    let mut response = json_answer(status, B::from(Bytes::from(body.to_string())));
    if closes {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}
