//! An HTTP/1.1 answer, read from whatever pieces arrive. Pure: no socket, no clock.
//!
//! ```text
//! head ─▶ 1xx: the next head
//!   └───▶ framing ─▶ no body │ so many bytes │ chunks │ until the connection ends ─▶ answer
//! ```
//!
//! Heads are parsed by `httparse`, under hyper's rules: what hyper's client takes for an answer is
//! one here, and what it refuses is refused, but that a coding besides `chunked` ends with the
//! connection, and that an answer with two framings is the connection's last.
//!
//! # Invariants
//! - What comes out does not depend on where the pieces were cut.
//! - No more is kept than [`HEAD_BYTES_MAX`] and [`BODY_BYTES_MAX`].
//! - A connection is used again only when the server allows it, the end of the body was told by the
//!   answer itself and nothing came after it.
//!
//! # Cost
//! An answer that arrives in one piece, with its length or without a body, is not copied and takes
//! no memory. A head that is not whole is parsed again at each piece that holds a line's end.

mod chunks;
mod head;

use chunks::Chunks;
use head::{Framing, Head};

/// The longest body that is read.
pub(crate) const BODY_BYTES_MAX: usize = 16 << 20;
/// The longest head that is read.
const HEAD_BYTES_MAX: usize = 256 << 10;

/// A complete answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// Whether the next request may go over the same connection.
    pub(crate) keeps_connection: bool,
}

/// Why there will be no complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What arrived is not HTTP.
    Malformed,
    /// The connection ended before the answer did.
    Ended,
    /// The body is longer than [`BODY_BYTES_MAX`].
    TooLong,
}

/// Reads the answers of one connection, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    state: State,
    /// What is there of a head, then of a body.
    kept: Vec<u8>,
    /// Whether the answer is one to `HEAD`.
    is_to_head: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Body(Head, Body),
}

/// How much of a body is to come.
#[derive(Debug)]
enum Body {
    Left(usize),
    Chunks(Chunks),
    UntilEnd,
}

impl Reader {
    /// A reader of answers to `HEAD`, which have no body, or to other methods.
    pub(crate) fn new(is_to_head: bool) -> Self {
        Self {
            is_to_head,
            ..Self::default()
        }
    }

    /// Takes what arrived; gives the answer once it is whole. [`next`](Self::next) is then due.
    ///
    /// # Errors
    /// [`Fault`], after which the connection and this reader are of no use.
    pub(crate) fn read<'a>(&'a mut self, piece: &'a [u8]) -> Result<Option<Answer<'a>>, Fault> {
        let (head, body) = match std::mem::take(&mut self.state) {
            State::Body(head, body) => return self.read_body(head, body, piece),
            State::Head if self.kept.is_empty() => match self.read_head(piece)? {
                Some((head, used)) => (head, &piece[used..]),
                None => return Ok(None),
            },
            State::Head => match self.read_more_head(piece)? {
                Some((head, rest)) => (head, &piece[piece.len() - rest..]),
                None => return Ok(None),
            },
        };
        let rest = match head.framing {
            Framing::Length(length) if length <= body.len() => {
                return Ok(Some(Answer {
                    status: head.status,
                    body: &body[..length],
                    keeps_connection: head.keeps_connection && length == body.len(),
                }));
            }
            Framing::Length(length) if length > BODY_BYTES_MAX => return Err(Fault::TooLong),
            Framing::Length(length) => Body::Left(length),
            Framing::Chunked => Body::Chunks(Chunks::default()),
            Framing::UntilEnd => Body::UntilEnd,
        };
        self.read_body(head, rest, body)
    }

    /// The connection ended: gives the answer if that is what it ends with.
    ///
    /// # Errors
    /// [`Fault::Ended`] if it does not.
    pub(crate) fn end(&mut self) -> Result<Answer<'_>, Fault> {
        match std::mem::take(&mut self.state) {
            State::Body(head, Body::UntilEnd) => Ok(Answer {
                status: head.status,
                body: &self.kept,
                keeps_connection: false,
            }),
            _ => Err(Fault::Ended),
        }
    }

    /// The final head at the start of `piece` and its bytes; keeps the piece if it is not whole.
    fn read_head(&mut self, piece: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
        let mut used = 0;
        while let Some((head, bytes)) = head::parse(&piece[used..], self.is_to_head)? {
            used += bytes;
            if let Some(head) = head {
                return Ok(Some((head, used)));
            }
        }
        self.kept.extend_from_slice(&piece[used..]);
        Ok(None)
    }

    /// The same with what was kept before `piece`; gives the bytes of `piece` after the head.
    #[cold]
    fn read_more_head(&mut self, piece: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
        let mut head = std::mem::take(&mut self.kept);
        head.extend_from_slice(piece);
        if !piece.contains(&b'\n') {
            self.kept = head; // no head ends here
            return match self.kept.len() > HEAD_BYTES_MAX {
                true => Err(Fault::Malformed),
                false => Ok(None),
            };
        }
        let found = self.read_head(&head)?;
        Ok(found.map(|(found, used)| (found, head.len() - used)))
    }

    fn read_body<'a>(
        &'a mut self,
        head: Head,
        mut body: Body,
        piece: &'a [u8],
    ) -> Result<Option<Answer<'a>>, Fault> {
        let surplus = match &mut body {
            Body::Left(left) => {
                let taken = piece.len().min(*left);
                self.kept.extend_from_slice(&piece[..taken]);
                *left -= taken;
                (*left == 0).then_some(piece.len() - taken)
            }
            Body::Chunks(chunks) => chunks.read(piece, &mut self.kept)?,
            Body::UntilEnd if self.kept.len() + piece.len() > BODY_BYTES_MAX => {
                return Err(Fault::TooLong);
            }
            Body::UntilEnd => {
                self.kept.extend_from_slice(piece);
                None
            }
        };
        let Some(surplus) = surplus else {
            self.state = State::Body(head, body);
            return Ok(None);
        };
        Ok(Some(Answer {
            status: head.status,
            body: &self.kept,
            keeps_connection: head.keeps_connection && surplus == 0,
        }))
    }

    /// Makes ready for the next answer; the memory of the last one is used again.
    pub(crate) fn next(&mut self) {
        self.state = State::Head;
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests;
