//! Answers of the query port.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Response, StatusCode};

use crate::http::json_answer;

/// The answer to a request.
pub type Reply = Response<ReplyBody>;

/// An answer whose body is JSON, or is called so.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    json_answer(status, body.into().into())
}

/// The body of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// There from the beginning.
    Whole(Full<Bytes>),
    /// Messages that come one after the other, and trailers.
    Grpc(tonic::body::Body),
}

impl From<Bytes> for ReplyBody {
    fn from(whole: Bytes) -> ReplyBody {
        ReplyBody::Whole(Full::new(whole))
    }
}

impl From<tonic::body::Body> for ReplyBody {
    fn from(body: tonic::body::Body) -> ReplyBody {
        ReplyBody::Grpc(body)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            ReplyBody::Whole(whole) => Pin::new(whole)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            ReplyBody::Grpc(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Whole(whole) => whole.is_end_stream(),
            ReplyBody::Grpc(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Whole(whole) => whole.size_hint(),
            ReplyBody::Grpc(body) => body.size_hint(),
        }
    }
}
