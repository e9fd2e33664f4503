//! One keep-alive connection, opened again when it is lost.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::answer::BODY_BYTES_MAX;
use crate::error::Error;
use crate::message::{Request, Response};

/// A connection that carries one request at a time.
///
/// hyper's half runs as a task of the same runtime and ends when this is dropped.
pub(crate) struct Connection {
    address: SocketAddr,
    timeout: Duration,
    host: HeaderValue,
    /// `None` after a failure: what is still on the wire belongs to no one.
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Connects; `timeout` bounds this, and later each request.
    pub(crate) async fn open(address: SocketAddr, timeout: Duration) -> Result<Self, Error> {
        let host = HeaderValue::from_str(&address.to_string()).expect("an address is ASCII");
        let sender = Some(connect(address, timeout).await?);
        Ok(Self {
            address,
            timeout,
            host,
            sender,
        })
    }

    /// The same on a stream that is connected already.
    pub(crate) async fn over<S>(
        stream: S,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let host = HeaderValue::from_str(&address.to_string()).expect("an address is ASCII");
        let sender = Some(speak(stream, address).await?);
        Ok(Self {
            address,
            timeout,
            host,
            sender,
        })
    }

    /// `count` connections to `address`, one after the other.
    pub(crate) async fn open_all(
        address: SocketAddr,
        timeout: Duration,
        count: usize,
    ) -> Result<Vec<Self>, Error> {
        assert!(count > 0, "a loop needs at least one connection");
        let mut connections = Vec::with_capacity(count);
        for _ in 0..count {
            connections.push(Self::open(address, timeout).await?);
        }
        Ok(connections)
    }

    /// Waits until a request can be sent, on a new connection if this one is lost.
    pub(crate) async fn ready(&mut self) -> Result<(), Error> {
        if let Some(sender) = &mut self.sender
            && matches!(
                tokio::time::timeout(self.timeout, sender.ready()).await,
                Ok(Ok(()))
            )
        {
            return Ok(());
        }
        self.sender = None; // closes the old one first
        self.sender = Some(connect(self.address, self.timeout).await?);
        Ok(())
    }

    /// Sends `request` once and reads the whole response; `headers` is memory to use again.
    ///
    /// # Cancel safety
    /// None: drop the connection too.
    pub(crate) async fn send(
        &mut self,
        request: &Request,
        headers: HeaderMap,
    ) -> Result<Response, Error> {
        let Self {
            address, timeout, ..
        } = *self;
        let request = request.to_http(&self.host, headers);
        let sender = self.sender.as_mut().expect("the caller waited for `ready`");
        let result = tokio::time::timeout(timeout, exchange(sender, request, address)).await;
        let result = result.unwrap_or(Err(Error::Timeout { address, timeout }));
        if result.is_err() {
            self.sender = None;
        }
        result
    }
}

async fn connect(
    address: SocketAddr,
    timeout: Duration,
) -> Result<SendRequest<Full<Bytes>>, Error> {
    let stream = match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Ok(connected) => connected.and_then(|s| s.set_nodelay(true).map(|()| s)),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let stream = stream.map_err(|source| Error::Connect { address, source })?;
    speak(stream, address).await
}

/// Begins HTTP/1.1 on a stream that is connected to `address`.
async fn speak<S>(stream: S, address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|source| Error::Connection { address, source })?;
    // Its error also reaches the request in flight, if there is one.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: hyper::Request<Full<Bytes>>,
    address: SocketAddr,
) -> Result<Response, Error> {
    let response = sender.send_request(request).await;
    let response = response.map_err(|source| Error::Connection { address, source })?;
    let (head, body) = response.into_parts();
    let body = read(body, address).await?;
    Ok(Response {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// The whole body; one that arrives in one piece, as short ones do, is not copied.
async fn read(mut body: Incoming, address: SocketAddr) -> Result<Bytes, Error> {
    let first = next_data(&mut body, address).await?.unwrap_or_default();
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while let Some(data) = next_data(&mut body, address).await? {
        if whole.len() + data.len() > BODY_BYTES_MAX {
            return Err(Error::TooLong {
                address,
                limit_bytes: BODY_BYTES_MAX,
            });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

async fn next_data(body: &mut Incoming, address: SocketAddr) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| Error::Connection { address, source })?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::test_server::TestServer;
    use crate::{StatusCode, get, post_json, send};

    /// Passes in the tests of time-outs only.
    const SHORT: Duration = Duration::from_millis(30);
    /// Never passes.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_refused_connection_names_address_and_cause() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = get(address, "/").await.unwrap_err();
        assert_eq!(error.to_string(), format!("cannot connect to {address}"));
        let cause = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_silent_server_is_a_timeout_that_names_the_address() {
        let server = TestServer::start().await;
        let request = Request::get("/hang").unwrap();
        let error = send(server.address, &request, SHORT).await.unwrap_err();
        let wanted = format!("no complete answer from {} within 30ms", server.address);
        assert_eq!(error.to_string(), wanted);
    }

    #[tokio::test]
    async fn a_connection_closed_in_mid_request_is_an_error_with_its_cause() {
        let server = TestServer::start().await;
        let error = get(server.address, "/abort").await.unwrap_err();
        assert!(matches!(error, Error::Connection { .. }), "{error}");
        assert!(error.source().is_some());
    }

    #[tokio::test]
    async fn a_long_body_arrives_whole_up_to_the_limit() {
        let server = TestServer::start().await;
        let body: Bytes = (0..BODY_BYTES_MAX).map(|i| i as u8).collect();
        let response = post_json(server.address, "/echo", body.clone())
            .await
            .unwrap();
        assert_eq!(response.status, StatusCode::OK);
        assert!(response.body == body, "the body differs");

        let body = vec![0; BODY_BYTES_MAX + 1];
        let error = post_json(server.address, "/echo", body).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::TooLong {
                    limit_bytes: BODY_BYTES_MAX,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_connection_is_used_again_until_it_is_lost() {
        let server = TestServer::start().await;
        let mut connection = Connection::open(server.address, LONG).await.unwrap();
        // The path, and the connections made so far if there is an answer.
        let steps = [
            ("/echo", Some(1)),
            ("/echo", Some(1)),
            ("/last", Some(1)),
            ("/echo", Some(2)),
            ("/abort", None),
            ("/hang", None),
            ("/echo", Some(4)),
        ];
        for (path, connections) in steps {
            connection.ready().await.unwrap();
            connection.timeout = if path == "/hang" { SHORT } else { LONG };
            let request = Request::get(path).unwrap();
            let result = connection.send(&request, HeaderMap::new()).await;
            let seen = result.is_ok().then(|| server.connections());
            assert_eq!(seen, connections, "{path}: {result:?}");
        }
    }
}
