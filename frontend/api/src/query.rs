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
use crate::access::{Access, Caller, Denied, Granted, Head, Now};
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
pub struct QueryService(Arc<Handlers>);

#[derive(Debug)]
struct Handlers {
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
        QueryService(Arc::new(Handlers {
            answered: Answered::new(frontend.engine.metrics(), "query"),
            is_loopback: frontend.about.query.ip().is_loopback(),
            clipper: Clipper::new(frontend),
            grpc: Grpc::new(v2.clone()),
            v2,
        }))
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyFailure> + Send,
    {
        let handlers = &*self.0;
        let reply = match Protocol::of(&request) {
            Protocol::Clipper => handlers.clipper(request).await,
            Protocol::V2 => handlers.v2(request).await,
            // Boxed, so that the others do not pay for its size.
            Protocol::Grpc => Box::pin(handlers.grpc(request)).await,
        };
        let reply = reply.unwrap_or_else(|refused| *refused);
        handlers.answered.count(reply.status());
        reply
    }
}

/// An answer, or a refusal by the head of the request.
type Handled = Result<Reply, Box<Reply>>;

impl Handlers {
    async fn clipper<B>(&self, request: Request<B>) -> Handled
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyFailure>,
    {
        let found = QUERY_PORT.by_path(request.method(), request.uri().path());
        self.admit(Protocol::Clipper, &request, |access, caller| {
            access.admit(caller, &found, Now::read)
        })?;
        Ok(self.clipper.handle(request).await)
    }

    async fn v2<B>(&self, request: Request<B>) -> Handled
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyFailure>,
    {
        let (head, body) = request.into_parts();
        let (method, path) = (&head.method, head.uri.path());
        let parsed = Path::parse(path);
        let found = Path::found(parsed.as_ref(), method, path);
        self.admit(Protocol::V2, &head, |access, caller| {
            access.admit(caller, &found, Now::read)
        })?;
        Ok(self.v2.handle(&head, parsed, body).await)
    }

    /// What a call was granted goes with it, as its message says whom it is for.
    async fn grpc<B>(&self, mut request: Request<B>) -> Handled
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyFailure> + Send,
    {
        let found = grpc::found(request.method(), request.uri().path());
        let granted = self.admit(Protocol::Grpc, &request, |access, caller| {
            access.admit_unnamed(caller, &found, Now::read)
        })?;
        request.extensions_mut().insert(granted);
        Ok(self.grpc.handle(request).await.map(ReplyBody::from))
    }

    /// Lets a request in that its protocol has a route for, from whoever may use it.
    fn admit(
        &self,
        protocol: Protocol,
        head: &impl Head,
        admit: impl FnOnce(&Access, &Caller<'_>) -> Result<Granted, Denied>,
    ) -> Result<Granted, Box<Reply>> {
        if self.is_loopback
            && let Some(why) = guard::refusal(head.headers())
        {
            return Err(Box::new(protocol.forbid(why)));
        }
        let access = &self.v2.frontend().access;
        let granted = admit(access, &Caller::of(head));
        granted.map_err(|denied| Box::new(protocol.deny(&denied)))
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
