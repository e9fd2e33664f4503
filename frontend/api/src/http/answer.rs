//! Answers that are followed until their last byte is handed on, or until they are dropped.
//!
//! An [`Exchange`] is a request that is not answered whole; the connection is busy meanwhile. It
//! goes from the service's future into the body of the answer.
//!
//! On HTTP/2 a body is handed on in pieces of a frame: hyper asks for the next one when the
//! client's window has room, so that a client that takes nothing stops its answer near where it
//! stopped reading, and not with everything in h2's buffers.
//!
//! # Cost
//! No allocation on HTTP/1. On HTTP/2 the last piece of data of more than [`PIECE_BYTES`] is copied:
//! what a client leaves in h2's buffers must not keep the whole answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONNECTION, HeaderValue};

use super::clock::Activity;
use super::stream::{self, Waits};

/// A frame of HTTP/2, as clients take it unless told otherwise.
const PIECE_BYTES: usize = 16 << 10;

/// A request that is not answered whole.
#[derive(Debug)]
pub(super) struct Exchange {
    activity: Arc<Activity>,
}

impl Exchange {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.begin_exchange();
        Exchange {
            activity: Arc::clone(activity),
        }
    }

    /// The answer, which ends the exchange when its body ends.
    pub(super) fn answer<B>(self, response: Response<B>) -> Response<Answer<B>> {
        let asks_to_close = self.activity.is_leaving() && !self.activity.is_multiplexed();
        let mut response = response.map(|body| Answer {
            body,
            rest: Bytes::new(),
            exchange: self,
        });
        if asks_to_close {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.activity.end_exchange();
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    /// What is left of the data that `body` gave last.
    rest: Bytes,
    exchange: Exchange,
}

impl<B: Body<Data = Bytes> + Unpin> Answer<B> {
    fn next_piece(&mut self) -> Frame<Bytes> {
        if self.rest.len() > PIECE_BYTES {
            return Frame::data(self.rest.split_to(PIECE_BYTES));
        }
        let last = Bytes::copy_from_slice(&self.rest);
        self.rest = Bytes::new();
        Frame::data(last)
    }

    fn poll_pieces(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.next_piece())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
        let long = |frame: &Frame<Bytes>| frame.data_ref().is_some_and(|d| d.len() > PIECE_BYTES);
        Poll::Ready(match frame {
            Some(frame) if long(&frame) => {
                self.rest = frame.into_data().unwrap_or_default();
                Some(Ok(self.next_piece()))
            }
            frame => frame.map(Ok),
        })
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.exchange.activity.is_multiplexed() {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        let outcome = self.poll_pieces(cx);
        stream::note(match outcome.is_pending() {
            true => Waits::ForService,
            false => Waits::ForClient,
        });
        outcome
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        if self.rest.is_empty() {
            return hint;
        }
        let rest = self.rest.len() as u64;
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower().saturating_add(rest));
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper.saturating_add(rest));
        }
        whole
    }
}
