//! A body that has to be there within a time.
//!
//! # Cost
//! A timer only where the body is not there when it is first asked for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;

use crate::query::BodyFailure;

/// A body and its time.
#[derive(Debug)]
pub(super) struct Timed<B> {
    body: B,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Timed<B> {
    /// Gives `body` so long, from when it is first waited for.
    pub(super) fn new(body: B, limit: Duration) -> Timed<B> {
        Timed {
            body,
            limit,
            timer: None,
        }
    }
}

impl<B> Body for Timed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyFailure>,
{
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let limit = this.limit;
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        let late = format!(
            "the message did not arrive within {} s",
            limit.as_secs_f32()
        );
        Poll::Ready(Some(Err(Status::deadline_exceeded(late).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_an_error() {
        let silent = stream::pending::<Result<Frame<Bytes>, BodyFailure>>();
        let silent = StreamBody::new(silent);
        let limit = Duration::from_secs(30);
        let mut timed = Timed::new(silent, limit);
        let failure = timed.frame().await.expect("an end").expect_err("too late");
        let status = failure.downcast::<Status>().expect("a status");
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        let whole = Timed::new(Full::new(Bytes::from_static(b"ab")), limit);
        assert_eq!(whole.collect().await.expect("there").to_bytes(), "ab");
    }
}
