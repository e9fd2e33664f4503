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

pub mod check;
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

use crate::access::routes::QUERY_PORT;
use crate::access::{Caller, Denied, Now};
use crate::answered::Answered;
use crate::frontend::Frontend;
use crate::guard;
use clipper::Clipper;
use grpc::Grpc;
use v2::path::Path;
use v2::{Kind, V2, V2Error};

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
    pub async fn handle<B>(&self, mut request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyFailure> + Send,
    {
        let protocol = Protocol::of(&request);
        let reply = match self.admit(protocol, &mut request) {
            Err(refused) => *refused,
            Ok(()) => match protocol {
                Protocol::Clipper => self.clipper.handle(request).await,
                Protocol::V2 => self.v2.handle(request).await,
                Protocol::Grpc => self.grpc.handle(request).await.map(ReplyBody::from),
            },
        };
        self.answered.count(reply.status());
        reply
    }

    /// Lets a request in that its protocol has a route for, from whoever may use it. What it was
    /// granted goes with a call of gRPC, whose message says whom it is for.
    fn admit<B>(&self, protocol: Protocol, request: &mut Request<B>) -> Result<(), Box<Reply>> {
        if self.is_loopback
            && let Some(why) = guard::refusal(request.headers())
        {
            return Err(Box::new(protocol.forbid(why)));
        }
        let (method, path) = (request.method(), request.uri().path());
        let access = &self.v2.frontend().access;
        let caller = Caller::of(request);
        let admitted = match protocol {
            Protocol::Clipper => {
                access.admit(&caller, &QUERY_PORT.by_path(method, path), Now::read)
            }
            Protocol::V2 => access.admit(&caller, &Path::find(method, path), Now::read),
            Protocol::Grpc => access.admit_unnamed(&caller, &grpc::found(method, path), Now::read),
        };
        let granted = admitted.map_err(|denied| Box::new(protocol.deny(&denied)))?;
        if protocol == Protocol::Grpc {
            request.extensions_mut().insert(granted);
        }
        Ok(())
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

    /// The answer to a web page of another site.
    fn forbid(self, why: &str) -> Reply {
        let error = || V2Error::new(Kind::Forbidden, why);
        match self {
            Protocol::Clipper => clipper::forbidden(why),
            Protocol::V2 => v2::refuse(&error(), None),
            Protocol::Grpc => grpc::refused(error()).map(ReplyBody::from),
        }
    }

    /// The answer to whoever may not do this, or to what there is not.
    fn deny(self, denied: &Denied) -> Reply {
        let mut reply = match self {
            Protocol::Clipper => clipper::denied(denied),
            Protocol::V2 => v2::refuse(&V2Error::from(denied), None),
            Protocol::Grpc => return grpc::denied(denied).map(ReplyBody::from),
        };
        if let Some((name, value)) = denied.header() {
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}

#[cfg(test)]
mod tests;
