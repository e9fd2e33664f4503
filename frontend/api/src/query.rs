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
    is_loopback: bool,
    answered: Answered,
}

impl QueryService {
    /// The handler of a front end.
    #[must_use]
    pub fn new(frontend: Arc<Frontend>) -> QueryService {
        QueryService {
            answered: Answered::new(frontend.engine.metrics(), "query"),
            is_loopback: frontend.about.query.ip().is_loopback(),
            clipper: Clipper::new(frontend.clone()),
            v2: V2::new(frontend),
        }
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyFailure>,
    {
        let refused = self
            .is_loopback
            .then(|| guard::refusal(request.headers()))
            .flatten();
        let is_v2 = v2::is_path(request.uri().path());
        let reply = match (refused, is_v2) {
            (Some(why), true) => v2::forbidden(why),
            (Some(why), false) => clipper::forbidden(why),
            (None, true) => self.v2.handle(request).await,
            (None, false) => self.clipper.handle(request).await,
        };
        self.answered.count(reply.status());
        reply
    }
}
