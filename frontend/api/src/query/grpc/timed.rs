//! A body whose messages have to be there within a time, and at a rate.
//!
//! A call of one message is waited for from the beginning. A stream may be silent between its
//! messages for as long as it likes; each one has its time from its first byte on. A stream that is
//! not read, because its answers are not, is not waited for meanwhile.
//!
//! # Cost
//! A timer only where a message is not there when it is first asked for. On a stream, a few
//! instructions a frame and message.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use crate::http::body::Pace;
use crate::query::BodyFailure;

/// How long after its deadline a message is found to be late that was not waited for.
const UNREAD: Duration = Duration::from_secs(1);

/// A body and its time.
#[derive(Debug)]
pub(super) struct Timed<B> {
    body: B,
    limit: Duration,
    /// Of the message that is waited for.
    pace: Option<Pace>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Where messages end, if there may be several.
    framing: Option<Framing>,
}

impl<B> Timed<B> {
    /// Gives `body` so long, from when it is first waited for.
    pub(super) fn new(body: B, limit: Duration) -> Timed<B> {
        Timed {
            body,
            limit,
            pace: None,
            timer: None,
            framing: None,
        }
    }

    /// Gives each message of `body` so long, from its first byte.
    pub(super) fn each(body: B, limit: Duration) -> Timed<B> {
        Timed {
            framing: Some(Framing::default()),
            ..Timed::new(body, limit)
        }
    }

    /// Begins the time of a message anew that nobody has waited for: its timer would have rung.
    fn excuse(&mut self) {
        let is_unread = |pace: &Pace| pace.deadline() + UNREAD <= Instant::now();
        if self.framing.is_some() && self.pace.as_ref().is_some_and(is_unread) {
            (self.pace, self.timer) = (Some(Pace::new(self.limit)), None);
        }
    }

    fn came(&mut self, data: &[u8]) {
        if let Some(framing) = &mut self.framing {
            if framing.take(data) {
                (self.pace, self.timer) = (None, None);
            }
            if framing.is_within() && self.pace.is_none() {
                self.pace = Some(Pace::new(self.limit));
            }
        }
        if let Some(pace) = &mut self.pace {
            pace.add(data.len());
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
        this.excuse();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(Ok(frame)) = &frame {
                let data = frame.data_ref();
                data.into_iter().for_each(|data| this.came(data));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if this.framing.is_none() && this.pace.is_none() {
            this.pace = Some(Pace::new(this.limit));
        }
        let Some(pace) = &this.pace else {
            return Poll::Pending;
        };
        let new = || Box::pin(tokio::time::sleep_until(pace.deadline()));
        let timer = this.timer.get_or_insert_with(new);
        let late = ready!(pace.poll_late(cx, timer.as_mut()));
        let status = Status::deadline_exceeded(late.to_string());
        Poll::Ready(Some(Err(status.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where messages begin and end: a byte of flags, four of a length, and so many bytes.
#[derive(Debug, Default)]
struct Framing {
    /// Bytes of the prefix that were seen, and what they say of the length.
    prefix: usize,
    length: u32,
    /// Bytes of the message that are still to come.
    left: usize,
}

impl Framing {
    const PREFIX_BYTES: usize = 5;

    /// Steps over `data`; says whether a message ended in it.
    fn take(&mut self, mut data: &[u8]) -> bool {
        let mut ended = false;
        while let Some((first, rest)) = data.split_first() {
            if self.left > 0 {
                let taken = self.left.min(data.len());
                (self.left, data) = (self.left - taken, &data[taken..]);
                ended |= self.left == 0;
                continue;
            }
            // The flags are shifted out by the length.
            self.length = self.length << 8 | u32::from(*first);
            (self.prefix, data) = (self.prefix + 1, rest);
            if self.prefix == Self::PREFIX_BYTES {
                (self.prefix, self.left) = (0, self.length as usize);
                ended |= self.left == 0;
            }
        }
        ended
    }

    /// Whether a message has begun and not ended.
    fn is_within(&self) -> bool {
        self.prefix > 0 || self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    /// A body of pieces, each after its pause; then silent.
    fn paused(
        pieces: &'static [(Duration, &'static [u8])],
    ) -> impl Body<Data = Bytes, Error = BodyFailure> + Unpin {
        let pieces = stream::unfold(pieces.iter(), |mut left| async move {
            let Some((pause, piece)) = left.next() else {
                return std::future::pending().await;
            };
            tokio::time::sleep(*pause).await;
            Some((Ok(Frame::data(Bytes::from_static(piece))), left))
        });
        StreamBody::new(Box::pin(pieces))
    }

    /// The pieces that came before the time was up, and how long that took.
    async fn read(
        mut timed: Timed<impl Body<Data = Bytes, Error = BodyFailure> + Unpin>,
    ) -> (usize, Duration) {
        let begin = Instant::now();
        let mut pieces = 0;
        loop {
            match timed.frame().await.expect("no end") {
                Ok(_) => pieces += 1,
                Err(failure) => {
                    let status = failure.downcast::<Status>().expect("a status");
                    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
                    return (pieces, begin.elapsed());
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_an_error() {
        let grace = crate::http::body::BODY_GRACE;
        assert_eq!(read(Timed::new(paused(&[]), LIMIT)).await, (0, grace));
        let whole = Timed::new(Full::new(Bytes::from_static(b"ab")), LIMIT);
        assert_eq!(whole.collect().await.expect("there").to_bytes(), "ab");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_be_silent_between_its_messages_and_not_within_one() {
        let grace = crate::http::body::BODY_GRACE;
        const PIECES: &[(Duration, &[u8])] = &[
            (HOUR, b"\0\0\0\0\x02ab"),
            (HOUR, b"\0\0\0\0\0"),
            (HOUR, b"\0\0"),
            (SECOND, b"\0\0\x02a"),
            (SECOND, b"b\0\0\0\0\x01"),
            (SECOND, b"a"),
            (HOUR, b"\0\0\0\0\x02a"),
        ];
        let (count, after) = read(Timed::each(paused(PIECES), LIMIT)).await;
        assert_eq!(count, PIECES.len());
        // The last one has earned next to nothing beyond the grace.
        assert_eq!(after.as_secs(), (4 * HOUR + 3 * SECOND + grace).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_not_late_by_the_time_in_which_nobody_read_it() {
        const PIECES: &[(Duration, &[u8])] = &[
            (Duration::ZERO, b"\0\0\0\0\x03a"),
            (SECOND, b"b"),
            (SECOND, b"c"),
        ];
        let mut timed = Timed::each(paused(PIECES), LIMIT);
        for _ in PIECES {
            let frame = timed.frame().await.expect("no end");
            assert!(frame.is_ok(), "{frame:?}");
            tokio::time::sleep(HOUR).await;
        }
    }
}
