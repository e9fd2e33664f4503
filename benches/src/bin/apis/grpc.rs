//! The bare server of gRPC: tonic as it comes, on one thread.
//!
//! It decodes requests of the same proto, and answers a message that was decoded once from an
//! answer of Skysail, so that it encodes what Skysail encodes.

use std::convert::Infallible;

use anyhow::{Context, Result};
use prost::Message;
use skysail_benches::bare::{ANY, say_ready};
use tonic::server::Grpc;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::generated::{ModelInferRequest, ModelInferResponse};

/// Serves until the process is ended; `answer` is an encoded response, without its frame.
///
/// # Errors
/// If it cannot listen, or `answer` is no response.
pub(crate) fn serve(answer: &[u8]) -> Result<()> {
    let answer = ModelInferResponse::decode(answer).context("no answer to give")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let incoming = TcpIncoming::bind(ANY)?.with_nodelay(Some(true));
        say_ready(incoming.local_addr()?);
        let method = tower::service_fn(move |request: Request<ModelInferRequest>| {
            let is_whole = !request.get_ref().raw_input_contents.is_empty();
            let answer = is_whole.then(|| answer.clone());
            let missing = || Status::invalid_argument("no raw contents");
            async move { answer.map(Response::new).ok_or_else(missing) }
        });
        let service = tower::service_fn(move |request| {
            let method = method.clone();
            async move {
                let codec = ProstCodec::<ModelInferResponse, ModelInferRequest>::default();
                Ok::<_, Infallible>(Grpc::new(codec).unary(method, request).await)
            }
        });
        let server = tonic::transport::Server::builder();
        let served = { server }.serve_with_incoming(service, incoming).await;
        served.context("cannot serve")
    })
}
