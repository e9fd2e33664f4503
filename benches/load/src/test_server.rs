//! A small hyper server for the tests.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// `/late` takes at least this long.
pub(crate) const LATE: Duration = Duration::from_millis(30);

/// A default as Skysail writes it.
const DEFAULT: &str = r#"{"query_id":0,"output":-1,"default":true,
    "default_explanation":"shed","default_cause":"shed"}"#;

/// Listens on a port of its own until the test's runtime ends.
///
/// `/echo` answers the body, `/last` too and closes the connection; `/abort` closes it without an
/// answer; `/hang` never answers; `/late` answers after [`LATE`]; `/default` answers Clipper's
/// JSON of a default; `/busy` answers 503; else 404. What it was sent is told in `x-` headers.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    /// For each connection the bodies that it brought.
    bodies: Arc<Mutex<Vec<Vec<Bytes>>>>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_for(usize::MAX).await
    }

    /// Stops listening after so many connections.
    pub(crate) async fn start_for(connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            bodies: Arc::default(),
        };
        let bodies = server.bodies.clone();
        tokio::spawn(async move {
            for number in 0..connections {
                let (stream, _) = listener.accept().await.unwrap();
                bodies.lock().unwrap().push(Vec::new());
                let bodies = bodies.clone();
                let service = service_fn(move |request| answer(request, number, bodies.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        server
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }

    /// Requests received so far.
    pub(crate) fn requests(&self) -> usize {
        self.bodies.lock().unwrap().iter().map(Vec::len).sum()
    }

    /// The first body of each connection.
    pub(crate) fn first_bodies(&self) -> Vec<Bytes> {
        self.bodies
            .lock()
            .unwrap()
            .iter()
            .map(|bodies| bodies[0].clone())
            .collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    connection: usize,
    bodies: Arc<Mutex<Vec<Vec<Bytes>>>>,
) -> Result<Response<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    bodies.lock().unwrap()[connection].push(body.clone());
    let mut response = Response::new(Full::new(body));
    match head.uri.path() {
        "/echo" => {}
        "/last" => {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        "/abort" => return Err("an error ends the connection".into()),
        "/late" => tokio::time::sleep(LATE).await,
        "/default" => *response.body_mut() = Full::from(DEFAULT),
        "/busy" => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        "/hang" => std::future::pending::<()>().await,
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    let text = |value: &str| HeaderValue::from_str(value).unwrap();
    let headers = response.headers_mut();
    headers.insert("x-method", text(head.method.as_str()));
    headers.insert("x-uri", text(&head.uri.to_string()));
    headers.insert("x-host", head.headers[HOST].clone());
    if let Some(value) = head.headers.get(CONTENT_TYPE) {
        headers.insert("x-content-type", value.clone());
    }
    Ok(response)
}
