//! The Open Inference Protocol V2 over gRPC, with the standard health and reflection services.
//!
//! | module | does |
//! |---|---|
//! | `generated` | messages and the service of `proto/inference.proto` |
//! | `inbound`, `outbound` | messages to and from what [`super::v2`] works with |
//! | `inference`, `health` | the services |
//! | `timed` | bodies that have to come in time |
//!
//! Requests, answers and errors are those of V2 over HTTP; only their dress differs. Outputs
//! always leave as raw contents, which is all that clients read.
//!
//! # Cost
//! tonic gathers a message once from its frames; raw contents are slices of that, and are copied
//! once into their rows.

mod generated;
mod health;
mod inbound;
mod inference;
mod outbound;
mod timed;

use std::convert::Infallible;

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use prost::Message;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service;
use tonic::{Code, Status};
use tonic_health::pb::health_server::HealthServer;
use tower::util::BoxCloneSyncService;

use super::BodyFailure;
use super::v2::{InferRequest, V2, V2Error};
use crate::access::routes::Found;
use crate::access::{Denied, Need, Scope};
use crate::http::body::BODY_TIMEOUT;
use generated::ModelInferRequest;
use generated::grpc_inference_service_server::GrpcInferenceServiceServer;
use health::HealthService;
use inbound::Inbound;
use inference::Inference;
use timed::Timed;

/// What begins the content type of every gRPC request.
const CONTENT: &str = "application/grpc";
/// The one call whose body may go on for as long as the client likes.
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
const INFERENCE: &str = "/inference.GRPCInferenceService/";
const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/";
/// What the published client of Python speaks, and older tools.
const REFLECTION_ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/";

/// Whether a request is a call.
pub(super) fn is_call<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(CONTENT.as_bytes()))
}

/// The request in a message.
///
/// # Errors
/// If there is none.
pub(super) fn decoded(message: Bytes) -> Result<InferRequest, V2Error> {
    let message = ModelInferRequest::decode(message);
    let message = message.map_err(|error| V2Error::invalid(error.to_string()))?;
    Ok(Inbound::try_from(message)?.request)
}

/// The answer to a call that is refused by its head.
pub(super) fn refused(error: V2Error) -> Response<Body> {
    status(error).into_http()
}

/// The answer to whoever may not call this, or to what there is not: clients ask for an older
/// service when one is not implemented, and for no other reason.
pub(super) fn denied(denied: &Denied) -> Response<Body> {
    match denied {
        Denied::NoRoute { .. } => refused(V2Error::unsupported(denied.to_string())),
        _ => refused(V2Error::from(denied)),
    }
}

/// What a call needs. Whom it is for stands in its message, so that tokens that are restricted to
/// applications are looked at again there.
pub(super) fn found<'p>(method: &'p Method, path: &'p str) -> Found<'p> {
    let need = match path.rsplit_once('/') {
        _ if path.starts_with(HEALTH) => Need::Nothing,
        _ if path.starts_with(REFLECTION) || path.starts_with(REFLECTION_ALPHA) => Need::AnyToken,
        Some((_, name)) if path.starts_with(INFERENCE) => match name {
            "ServerLive" | "ServerReady" => Need::Nothing,
            "ServerMetadata" => Need::AnyToken,
            "RepositoryModelLoad" | "RepositoryModelUnload" => Need::Scope(Scope::Admin),
            _ => Need::Scope(Scope::Query),
        },
        _ => return Found::Nothing { path },
    };
    if method != Method::POST {
        let allowed = Method::POST.to_string();
        return Found::OtherMethod { method, allowed };
    }
    Found::Listed {
        need,
        application: None,
    }
}

/// The services. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Grpc {
    inference: GrpcInferenceServiceServer<Inference>,
    health: HealthServer<HealthService>,
    reflection: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
    reflection_alpha: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
}

impl Grpc {
    /// The services over the same V2 as HTTP's.
    pub(super) fn new(v2: V2) -> Grpc {
        let limit = v2.frontend().binary_bytes_max;
        let health = HealthServer::new(HealthService::new(v2.frontend().clone()));
        let inference = GrpcInferenceServiceServer::new(Inference::new(v2))
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(generated::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let valid = "the committed descriptors are valid";
        Grpc {
            inference,
            health,
            reflection: BoxCloneSyncService::new(reflection().build_v1().expect(valid)),
            reflection_alpha: BoxCloneSyncService::new(reflection().build_v1alpha().expect(valid)),
        }
    }

    /// Answers one call.
    pub(super) async fn handle<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyFailure> + Send,
    {
        let path = request.uri().path();
        let answered = if path == STREAM {
            let timed = request.map(|body| Timed::each(body, BODY_TIMEOUT));
            self.inference.clone().call(timed).await
        } else if path.starts_with(INFERENCE) {
            let timed = request.map(|body| Timed::new(body, BODY_TIMEOUT));
            self.inference.clone().call(timed).await
        } else if path.starts_with(HEALTH) {
            self.health.clone().call(request).await
        } else if path.starts_with(REFLECTION) {
            self.reflection.clone().call(request.map(Body::new)).await
        } else if path.starts_with(REFLECTION_ALPHA) {
            let mut service = self.reflection_alpha.clone();
            service.call(request.map(Body::new)).await
        } else {
            let message = format!("no service has the method {}", path.escape_default());
            Ok(Status::new(Code::Unimplemented, message).into_http())
        };
        answered.unwrap_or_else(|never| match never {})
    }
}

/// An error as a status.
fn status(error: V2Error) -> Status {
    let (_, _, code) = error.kind.row();
    Status::new(Code::from_i32(code as i32), error.message)
}
