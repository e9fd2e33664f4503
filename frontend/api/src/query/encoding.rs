//! Bodies that are compressed: gzip and deflate, in and out.
//!
//! # Invariants
//! - What comes out of a request body is never longer than its limit, whatever went in; memory is
//!   taken as output appears, and twice that for a moment where it is more than a step.
//! - Nobody else on the runtime waits for more than [`STEP_BYTES`] of a body to come out.
//!
//! # Cost
//! Nothing for requests without `Content-Encoding` and clients without `Accept-Encoding`.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue};

/// Answers that are shorter leave as they are.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// Bytes that come out of a body before others have their turn: some 0.05 ms. A query has several
/// turns.
const STEP_BYTES: usize = 16 << 10;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    /// The zlib format, as RFC 9110 wants it.
    Deflate,
}

/// Why a body cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EncodingError {
    /// An encoding that is neither gzip nor deflate, or more than one.
    Unknown(String),
    /// It is not what it says, or ends early.
    Broken(&'static str),
    /// It becomes longer than so many bytes.
    TooLarge(usize),
}

impl EncodingError {
    /// What is read, as `Accept-Encoding` says it.
    pub(super) const KNOWN: &str = "gzip, deflate";
}

impl std::fmt::Display for EncodingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EncodingError::Unknown(name) => write!(
                f,
                "content encoding '{name}' is not supported, only gzip and deflate"
            ),
            EncodingError::Broken(name) => write!(f, "body is not valid {name}"),
            EncodingError::TooLarge(limit) => {
                write!(f, "body is too large, at most {limit} bytes allowed")
            }
        }
    }
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
        }
    }

    /// How the body of a request is compressed, if it is.
    ///
    /// # Errors
    /// If it is in another way, or in several.
    pub(super) fn of_request(headers: &HeaderMap) -> Result<Option<Encoding>, EncodingError> {
        let mut named = headers.get_all(CONTENT_ENCODING).iter();
        let (Some(value), None) = (named.next(), named.next()) else {
            return match headers.contains_key(CONTENT_ENCODING) {
                true => Err(EncodingError::Unknown("several".to_owned())),
                false => Ok(None),
            };
        };
        let name = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        match name.trim() {
            "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
            "deflate" => Ok(Some(Encoding::Deflate)),
            "identity" | "" => Ok(None),
            other => Err(EncodingError::Unknown(other.escape_default().to_string())),
        }
    }

    /// How the client wants its answer compressed, if it does.
    pub(super) fn of_answer(headers: &HeaderMap) -> Option<Encoding> {
        let value = headers.get(ACCEPT_ENCODING)?.to_str().ok()?;
        let wants = |name: &str| {
            value.split(',').any(|one| {
                let (one, quality) = one.split_once(';').unwrap_or((one, ""));
                let refused = quality
                    .trim()
                    .strip_prefix("q=0")
                    .is_some_and(|rest| rest.bytes().all(|byte| byte == b'.' || byte == b'0'));
                one.trim().eq_ignore_ascii_case(name) && !refused
            })
        };
        [Encoding::Gzip, Encoding::Deflate]
            .into_iter()
            .find(|encoding| wants(encoding.name()))
    }

    /// The body, decompressed.
    ///
    /// # Errors
    /// If it is broken, or longer than `limit`.
    pub(super) async fn decode(self, body: &[u8], limit: usize) -> Result<Bytes, EncodingError> {
        match self {
            Encoding::Gzip => bounded(MultiGzDecoder::new(body), limit).await,
            Encoding::Deflate => bounded(ZlibDecoder::new(body), limit).await,
        }
        .map_err(|error| error.unwrap_or(EncodingError::Broken(self.name())))
    }

    /// The answer, compressed, if that is worth it.
    pub(super) fn encode(self, body: &[u8]) -> Option<(HeaderValue, Vec<u8>)> {
        if body.len() < COMPRESSED_BYTES_MIN {
            return None;
        }
        let out = Vec::with_capacity(body.len() / 2);
        let written = match self {
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(out, Compression::fast());
                encoder.write_all(body).and_then(|()| encoder.finish())
            }
            Encoding::Deflate => {
                let mut encoder = ZlibEncoder::new(out, Compression::fast());
                encoder.write_all(body).and_then(|()| encoder.finish())
            }
        };
        let written = written.expect("a vector takes everything");
        Some((HeaderValue::from_static(self.name()), written))
    }
}

/// Reads to the end, or past the limit by less than a step; `None` for what is broken. What comes
/// is kept in pieces until it is there whole: room that grows would be copied all at once.
async fn bounded(mut from: impl Read, limit: usize) -> Result<Bytes, Option<EncodingError>> {
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    loop {
        let mut piece = Vec::with_capacity(STEP_BYTES);
        let mut step = from.by_ref().take(STEP_BYTES as u64);
        match step.read_to_end(&mut piece).map_err(|_| None)? {
            0 => return Ok(joined(pieces, bytes).await),
            read => bytes += read,
        }
        if bytes > limit {
            return Err(Some(EncodingError::TooLarge(limit)));
        }
        pieces.push(piece);
        tokio::task::yield_now().await;
    }
}

async fn joined(mut pieces: Vec<Vec<u8>>, bytes: usize) -> Bytes {
    if pieces.len() < 2 {
        return pieces.pop().unwrap_or_default().into();
    }
    let mut whole = Vec::with_capacity(bytes);
    for piece in pieces {
        whole.extend_from_slice(&piece);
        tokio::task::yield_now().await;
    }
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: hyper::header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[tokio::test]
    async fn what_was_compressed_is_read_again() {
        let text = "many words, many words, ".repeat(1000);
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let (name, packed) = encoding.encode(text.as_bytes()).expect("long enough");
            let of_request =
                Encoding::of_request(&HeaderMap::from_iter([(CONTENT_ENCODING, name)]));
            assert_eq!(of_request, Ok(Some(encoding)));
            assert_eq!(
                encoding.decode(&packed, text.len()).await.as_deref(),
                Ok(text.as_bytes())
            );
            let one_less = text.len() - 1;
            let bomb = encoding.decode(&packed, one_less).await;
            assert_eq!(bomb, Err(EncodingError::TooLarge(one_less)));
            for broken in [&packed[..packed.len() / 2], b"neither", b""] {
                let error = encoding.decode(broken, 1 << 20).await;
                assert_eq!(error, Err(EncodingError::Broken(encoding.name())));
            }
        }
        assert!(Encoding::Gzip.encode(b"short").is_none());
    }

    #[test]
    fn the_encoding_is_the_one_that_headers_name() {
        let of = |value| Encoding::of_request(&headers(CONTENT_ENCODING, value));
        assert_eq!(of("identity"), Ok(None));
        assert_eq!(of("GZIP"), Ok(Some(Encoding::Gzip)));
        assert!(of("br").is_err() && of("gzip, deflate").is_err());
        assert_eq!(Encoding::of_request(&HeaderMap::new()), Ok(None));
        let wanted = |value| Encoding::of_answer(&headers(ACCEPT_ENCODING, value));
        assert_eq!(wanted("deflate, gzip;q=0.5"), Some(Encoding::Gzip));
        assert_eq!(wanted("gzip;q=0, deflate"), Some(Encoding::Deflate));
        assert_eq!(wanted("br"), None);
        assert_eq!(Encoding::of_answer(&HeaderMap::new()), None);
    }
}
