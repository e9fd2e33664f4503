//! Answers of the query port.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};

/// The answer to a request.
pub type Reply = Response<ReplyBody>;

/// The body of an answer: whole, as all are but those of gRPC.
#[derive(Debug)]
pub struct ReplyBody(Full<Bytes>);

impl From<Bytes> for ReplyBody {
    fn from(whole: Bytes) -> ReplyBody {
        ReplyBody(Full::new(whole))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
