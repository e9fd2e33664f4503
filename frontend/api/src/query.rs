//! The query port: what its paths are, and who answers them.
//!
//! | path | answers |
//! |---|---|
//! | `/v2/...` | [`v2`]: the Open Inference Protocol over HTTP |
//! | `/inference.GRPCInferenceService/...` and what gRPC has besides | `grpc` |
//! | everything else | [`clipper`]: `/{app}/predict` |
//!
//! # Invariants
//! - Every request is answered once and counted.
//! - No body is read before the request's head was found to be allowed.

pub mod clipper;
mod encoding;
mod grpc;
mod reply;
pub mod v2;

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Body;

use crate::answered::Answered;
use crate::frontend::Frontend;
use crate::guard;
use clipper::Clipper;
use v2::V2;

pub use reply::{Reply, ReplyBody};

/// What went wrong while a body came.
type BodyFailure = Box<dyn StdError + Send + Sync>;

/// The handler of the query port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueryService {
    clipper: Clipper,
    v2: V2,
    grpc: Grpc,
    is_loopback: bool,
    answered: Answered,
}

impl QueryService {
    /// The handler of a front end.
    #[must_use]
    pub fn new(frontend: Arc<Frontend>) -> QueryService {
        let v2 = V2::new(frontend.clone());
        QueryService {
            answered: Answered::new(frontend.engine.metrics(), "query"),
            is_loopback: frontend.about.query.ip().is_loopback(),
            clipper: Clipper::new(frontend),
            grpc: Grpc::new(v2.clone()),
            v2,
        }
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyFailure> + Send,
    {
        let protocol = Protocol::of(&request);
        let reply = match self.admit(&request) {
            Err(denied) => protocol.refuse(&denied),
            Ok(()) => match protocol {
                Protocol::Clipper => self.clipper.handle(request).await,
                Protocol::V2 => self.v2.handle(request).await,
                Protocol::Grpc => self.grpc.handle(request).await.map(ReplyBody::from),
            },
        };
        self.answered.count(reply.status());
        reply
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<(), &'static str> {
        let refused = self.is_loopback.then(|| guard::refusal(request.headers()));
        refused.flatten().map_or(Ok(()), Err)
    }
}

/// What a request is said in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Clipper,
    V2,
    Grpc,
}

impl Protocol {
    fn of<B>(request: &Request<B>) -> Protocol {
        if grpc::is_call(request) {
            Protocol::Grpc
        } else if v2::is_path(request.uri().path()) {
            Protocol::V2
        } else {
            Protocol::Clipper
        }
    }
}

#[cfg(test)]
mod tests;
