//! Bodies of answers, frame by frame.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::*;

/// A body of frames that are there already, but for the last if there is a pause before it.
pub(super) struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Frames {
    fn of(texts: &[&'static str]) -> Frames {
        let data = texts
            .iter()
            .map(|text| Frame::data(Bytes::from_static(text.as_bytes())));
        Frames {
            frames: data.collect(),
            pause: None,
        }
    }

    /// Three pieces and a trailer.
    pub(super) fn with_trailers() -> Frames {
        let mut body = Frames::of(&["one", "two", "three"]);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", HeaderValue::from_static("done"));
        body.frames.push_back(Frame::trailers(trailers));
        body
    }

    /// Two pieces, and a pause between them.
    pub(super) fn halting(pause: Duration) -> Frames {
        Frames {
            pause: Some(Box::pin(sleep(pause))),
            ..Frames::of(&["one", "two"])
        }
    }
}

impl From<Bytes> for Frames {
    fn from(data: Bytes) -> Frames {
        Frames {
            frames: [Frame::data(data)].into(),
            pause: None,
        }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.frames.len() == 1
            && let Some(pause) = &mut self.pause
        {
            ready!(pause.as_mut().poll(cx));
        }
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.frames.iter().filter_map(Frame::data_ref);
        SizeHint::with_exact(data.map(Bytes::len).sum::<usize>() as u64)
    }
}
