//! Request bodies within a size and a time.
//!
//! # Cost
//! A body that comes in one frame is returned without a copy; others are gathered once, into
//! room that grows with what has come, not with what was announced.

use std::error::Error as StdError;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body;
use thiserror::Error;

/// Frames (chunks) of one body.
pub const BODY_FRAMES_MAX: usize = 65_536;
/// The time for a body unless a service says otherwise.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

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
            BodyError::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads `body` to its end.
///
/// # Errors
/// If it announces more than `limit` bytes (nothing is read then), turns out longer, comes in
/// more than [`BODY_FRAMES_MAX`] frames or takes longer than `timeout`. The rest of such a body
/// is left; hyper closes the connection after the answer.
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
    match tokio::time::timeout(timeout, gather(body, limit)).await {
        Ok(result) => result,
        Err(_) => Err(BodyError::TooSlow(timeout)),
    }
}

async fn gather<B>(body: B, limit: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut body = pin!(body);
    let Some(first) = next_data(body.as_mut()).await? else {
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
        match next_data(body.as_mut()).await? {
            Some(data) => whole = whole.append(&data, announced.min(ROOM_BYTES_MAX)),
            None => return Ok(whole.into_bytes()),
        }
    }
    Err(BodyError::TooManyFrames)
}

/// The next frame that holds data; `None` at the end. Trailers are dropped.
async fn next_data<B>(mut body: std::pin::Pin<&mut B>) -> Result<Option<Bytes>, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => return Err(BodyError::Broken(error.into())),
            None => return Ok(None),
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
