//! Bare servers: what a protocol costs by itself, as a yardstick of what Skysail adds to it.
//!
//! Each reads the request whole, as far as Skysail must to have its floats, and answers a constant.
//! Each prints `{"query":ADDRESS}` when it listens, and serves until its process is ended.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use skysail_api::http::body::BODY_TIMEOUT;
use skysail_api::http::{self, Door, HttpLimits, json_response, read_body};
use skysail_api::json::{JsonLimits, parse_predict};
use skysail_core::InputType;
use skysail_engine::Cores;
use skysail_rpc::PayloadBuf;

const BODY_BYTES_MAX: usize = 16 << 20;

/// Where a server of this machine listens that is free to choose.
pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Tells the bench where the server listens.
pub fn say_ready(address: SocketAddr) {
    println!("{}", serde_json::json!({ "query": address.to_string() }));
}

/// Clipper's JSON: the accept loop, runtimes and float scanner of Skysail.
///
/// # Errors
/// If it cannot listen.
pub fn serve_json(cores: usize, features: usize, answer: impl Into<Bytes>) -> Result<()> {
    skysail_rpc::transport::zmq::tune_allocator();
    let cores = Cores::start(cores)?;
    let listeners = http::bind(ANY, cores.count())?;
    say_ready(listeners[0].local_addr()?);
    let door = Door::new(HttpLimits::default());
    let limits = Arc::new(JsonLimits::default());
    let answer = answer.into();
    for (handle, listener) in cores.iter().zip(listeners) {
        let (door, limits, answer) = (door.clone(), limits.clone(), answer.clone());
        let service = service_fn(move |request| {
            let (limits, answer) = (limits.clone(), answer.clone());
            async move { Ok(answer_json(request, features, &limits, answer).await) }
        });
        handle.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            http::serve(listener, door, service, std::future::pending()).await;
        });
    }
    loop {
        std::thread::park();
    }
}

async fn answer_json(
    request: Request<Incoming>,
    features: usize,
    limits: &JsonLimits,
    answer: Bytes,
) -> Response<Full<Bytes>> {
    let Ok(body) = read_body(request.into_body(), BODY_BYTES_MAX, BODY_TIMEOUT).await else {
        return json_response(StatusCode::BAD_REQUEST, "{}");
    };
    match parse_predict(
        &body,
        InputType::Floats,
        Some(features),
        limits,
        &PayloadBuf::default,
    ) {
        Ok(parsed) if !parsed.rows.is_empty() => json_response(StatusCode::OK, answer),
        _ => json_response(StatusCode::BAD_REQUEST, "{}"),
    }
}

/// hyper's HTTP/1 as it comes, on one thread; the body is read and not looked at.
///
/// # Errors
/// If it cannot listen.
pub fn serve_hyper(answer: impl Into<Bytes>) -> Result<()> {
    let answer = answer.into();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(ANY).await?;
        say_ready(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let answer = answer.clone();
            let service = service_fn(move |request| answer_body(request, answer.clone()));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Its errors are the client's, who sees them too.
            tokio::spawn(async { drop(connection.await) });
        }
    })
}

async fn answer_body(
    request: Request<Incoming>,
    answer: Bytes,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?.to_bytes();
    let mut response = Response::new(Full::new(answer));
    let binary = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, binary);
    Ok(response)
}
