//! Request bodies within a size, a time and a rate.
//!
//! A body has [`BODY_GRACE`], a second more for each [`BODY_BYTES_PER_SECOND_MIN`] of it that have
//! come, and in all no more than its time: a client that trickles is not waited for.
//!
//! # Cost
//! A body that comes in one frame is returned without a copy; others are gathered once, into
//! room that grows with what has come, not with what was announced.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::StatusCode;
use hyper::body::Body;
use thiserror::Error;
use tokio::time::{Instant, Sleep};

/// Frames (chunks) of one body.
pub const BODY_FRAMES_MAX: usize = 65_536;
/// The time for a body unless a service says otherwise.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a body may come as slowly as it likes.
pub const BODY_GRACE: Duration = Duration::from_secs(5);
/// What each second after that must have brought, counted from the first byte on.
pub const BODY_BYTES_PER_SECOND_MIN: usize = 1 << 10;

/// What room is made for an announced length before any of it has come.
const ROOM_BYTES_MAX: usize = 256 << 10;

/// A body that was not read to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is, or is announced as, longer than allowed.
    #[error("body is too large, at most {limit} bytes allowed")]
    TooLarge {
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// It comes in more pieces than allowed.
    #[error("body has too many chunks, at most {BODY_FRAMES_MAX} allowed")]
    TooManyFrames,
    /// It did not come in time.
    #[error("body did not arrive within {} s", .0.as_secs_f32())]
    TooSlow(Duration),
    /// It came byte by byte.
    #[error(
        "body came too slowly, at least {BODY_BYTES_PER_SECOND_MIN} bytes a second expected after \
         the first {} s",
        BODY_GRACE.as_secs()
    )]
    Trickled,
    /// The connection or its framing broke.
    #[error("body could not be read")]
    Broken(#[source] Box<dyn StdError + Send + Sync>),
}

impl BodyError {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            BodyError::TooLarge { .. } | BodyError::TooManyFrames => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow(_) | BodyError::Trickled => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Until when a body is waited for, by what has come of it.
#[derive(Debug)]
pub(crate) struct Pace {
    begin: Instant,
    timeout: Duration,
    bytes: usize,
}

impl Pace {
    /// That of a body that begins now, and may take so long in all.
    pub(crate) fn new(timeout: Duration) -> Self {
        Pace {
            begin: Instant::now(),
            timeout,
            bytes: 0,
        }
    }

    /// Counts what has come.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Until when the next byte is waited for.
    pub(crate) fn deadline(&self) -> Instant {
        self.begin + self.allowed()
    }

    /// Time for what has come, and the grace.
    fn allowed(&self) -> Duration {
        let seconds = self.bytes as f64 / BODY_BYTES_PER_SECOND_MIN as f64;
        let earned = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        BODY_GRACE.saturating_add(earned).min(self.timeout)
    }

    /// Waits until the body is too slow. The timer moves when it rings, not with each piece.
    pub(crate) fn poll_late(
        &self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
    ) -> Poll<BodyError> {
        loop {
            ready!(timer.as_mut().poll(cx));
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(match self.allowed() {
                    allowed if allowed == self.timeout => BodyError::TooSlow(allowed),
                    _ => BodyError::Trickled,
                });
            }
            timer.as_mut().reset(deadline);
        }
    }
}

/// Reads `body` to its end.
///
/// # Errors
/// If it announces more than `limit` bytes (nothing is read then), turns out longer, comes in
/// more than [`BODY_FRAMES_MAX`] frames, takes longer than `timeout` or comes more slowly than
/// the module says. The rest of such a body is left; hyper closes the connection after the answer.
///
/// # Cancel safety
/// None: what was read is lost.
pub async fn read_body<B>(body: B, limit: usize, timeout: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge { limit });
    }
    let mut body = pin!(body);
    let mut pace = Pace::new(timeout);
    let mut timer = pin!(tokio::time::sleep_until(pace.deadline()));
    let Some(first) = next_data(body.as_mut(), &mut pace, timer.as_mut()).await? else {
        return Ok(Bytes::new());
    };
    let mut whole = Gathered::Single(first);
    for _ in 1..BODY_FRAMES_MAX {
        if whole.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if body.is_end_stream() {
            return Ok(whole.into_bytes());
        }
        match next_data(body.as_mut(), &mut pace, timer.as_mut()).await? {
            Some(data) => whole = whole.append(&data, announced.min(ROOM_BYTES_MAX)),
            None => return Ok(whole.into_bytes()),
        }
    }
    Err(BodyError::TooManyFrames)
}

/// The next frame that holds data; `None` at the end. Trailers are dropped.
async fn next_data<B>(
    mut body: Pin<&mut B>,
    pace: &mut Pace,
    mut timer: Pin<&mut Sleep>,
) -> Result<Option<Bytes>, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    loop {
        let next = poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => pace.poll_late(cx, timer.as_mut()).map(Err),
        });
        let Some(frame) = next.await? else {
            return Ok(None);
        };
        let frame = frame.map_err(|error| BodyError::Broken(error.into()))?;
        if let Ok(data) = frame.into_data() {
            pace.add(data.len());
            return Ok(Some(data));
        }
    }
}

enum Gathered {
    Single(Bytes),
    Many(BytesMut),
}

impl Gathered {
    fn len(&self) -> usize {
        match self {
            Gathered::Single(data) => data.remaining(),
            Gathered::Many(data) => data.len(),
        }
    }

    /// `room`: bytes that are announced, `data` included.
    fn append(self, data: &Bytes, room: usize) -> Self {
        let mut whole = match self {
            Gathered::Many(whole) => whole,
            Gathered::Single(first) => {
                let mut whole = BytesMut::with_capacity(first.len() + room.max(data.len()));
                whole.extend_from_slice(&first);
                whole
            }
        };
        whole.extend_from_slice(data);
        Gathered::Many(whole)
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Gathered::Single(data) => data,
            Gathered::Many(data) => data.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// Reads a body of so many pieces, one each `every`, the first of them at once; says what came
    /// of it, and after how long.
    async fn paced(
        pieces: usize,
        piece_bytes: usize,
        every: Duration,
    ) -> (Result<usize, BodyError>, Duration) {
        let begin = Instant::now();
        let pieces = stream::unfold(0, |sent| async move {
            if sent == pieces {
                return None;
            }
            tokio::time::sleep_until(begin + every * sent as u32).await;
            let piece = Bytes::from(vec![0; piece_bytes]);
            Some((Ok::<_, BodyError>(Frame::data(piece)), sent + 1))
        });
        let read = read_body(StreamBody::new(pieces), usize::MAX, BODY_TIMEOUT).await;
        (read.map(|body| body.len()), begin.elapsed())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_body_may_come_slowly_within_the_grace() {
        let (read, after) = paced(5, 1, SECOND).await;
        assert_eq!((read.expect("whole"), after), (5, 4 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_not_waited_for() {
        let (read, after) = paced(1000, 512, SECOND).await;
        // Eleven pieces have come by then, and each has earned half a second.
        assert!(matches!(read, Err(BodyError::Trickled)), "{read:?}");
        assert_eq!(after, Duration::from_millis(10_500));
        let (read, after) = paced(2, 0, Duration::from_secs(60)).await;
        assert!(matches!(read, Err(BodyError::Trickled)), "{read:?}");
        assert_eq!(after, BODY_GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_at_its_rate_has_its_whole_time_and_no_more() {
        let (read, after) = paced(25, 1 << 10, SECOND).await;
        assert_eq!((read.expect("whole"), after), (25 << 10, 24 * SECOND));
        let (read, after) = paced(100, 1 << 20, SECOND).await;
        assert!(matches!(read, Err(BodyError::TooSlow(_))), "{read:?}");
        assert_eq!(after, BODY_TIMEOUT);
    }
}
