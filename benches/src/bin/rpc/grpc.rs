//! tonic's unary call over a Unix socket.
//!
//! A message is plain bytes, so nothing is spent on a schema: the payload is written into a
//! buffer, which the codec copies once behind its length, and is added up where it was
//! received. Windows and frames are large enough for the largest payload.

use std::future::Future;
use std::pin::Pin;

use anyhow::{Context, Result};
use bytes::{Buf, BufMut, Bytes};
use futures_util::StreamExt;
use futures_util::stream::{FuturesUnordered, unfold};
use hyper::http::uri::PathAndQuery;
use tokio::net::UnixListener;
use tonic::client::Grpc as Client;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::Grpc as Server;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use crate::harness::{Answer, Exchange, OnTokio, Path, runtime};
use crate::payload::{ANSWER_BYTES, Source, sum};
use crate::peer::{Peer, end_with_input, say_ready};
use crate::probe::Cores;

/// Bytes under way on one connection: more than all requests in flight.
const WINDOW_BYTES: u32 = 64 << 20;
/// Bytes of an HTTP/2 frame.
const FRAME_BYTES: u32 = 1 << 20;
/// The only method.
const METHOD: &str = "/bench.Sum/Add";

/// A client whose server is another process, with a socket in `folder`.
///
/// # Errors
/// If it cannot be reached.
pub(crate) fn open(cores: Cores, folder: &std::path::Path) -> Result<Box<dyn Path>> {
    let socket = folder.join("grpc.sock").display().to_string();
    let peer = Peer::start(cores, &["grpc", &socket], &[])?.ready()?;
    let runtime = runtime()?;
    let endpoint = Endpoint::from_shared(format!("unix://{socket}"))?
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let channel = runtime.block_on(endpoint.connect());
    let caller = Caller {
        _peer: peer,
        client: Client::new(channel.context("cannot reach the server")?),
        calls: FuturesUnordered::new(),
    };
    Ok(Box::new(OnTokio::new(runtime, caller)))
}

type Call = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

struct Caller {
    _peer: Peer,
    client: Client<Channel>,
    calls: FuturesUnordered<Call>,
}

impl Exchange for Caller {
    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        let request = Request::new(Bytes::from(source.to_vec(ticket)));
        let mut client = self.client.clone();
        self.calls.push(Box::pin(async move {
            client.ready().await.context("the connection is closed")?;
            let method = PathAndQuery::from_static(METHOD);
            let response = client.unary(request, method, Plain).await?.into_inner();
            let sum = response.first_chunk().copied().context("an empty answer")?;
            let sum = Some(f32::from_le_bytes(sum));
            Ok(Answer { ticket, sum })
        }));
        Ok(())
    }

    async fn recv(&mut self) -> Result<Answer> {
        self.calls.next().await.context("nothing was asked")?
    }
}

/// The peer: adds up each payload.
///
/// # Errors
/// If it cannot listen.
pub(crate) fn serve(socket: &str) -> Result<()> {
    end_with_input();
    runtime()?.block_on(async {
        let listener = UnixListener::bind(socket).context("cannot listen")?;
        say_ready()?;
        let connections = unfold(listener, async |listener| {
            let accepted = listener.accept().await;
            Some((accepted.map(|(connection, _)| connection), listener))
        });
        let answer = tower::service_fn(async |request: Request<Bytes>| {
            let mut answer = vec![0; ANSWER_BYTES];
            answer[..4].copy_from_slice(&sum(request.get_ref()).to_le_bytes());
            Ok::<_, Status>(Response::new(Bytes::from(answer)))
        });
        let service = tower::service_fn(move |request| async move {
            Ok::<_, Status>(Server::new(Plain).unary(answer, request).await)
        });
        tonic::transport::Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .serve_with_incoming(service, Box::pin(connections))
            .await
            .context("cannot serve")
    })
}

/// Messages that are their bytes.
#[derive(Clone, Copy, Debug)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(message.len());
        to.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
