//! A body in chunks (RFC 9112, section 7.1).

use super::{BODY_BYTES_MAX, Fault};

/// Most bytes of extensions and of trailers, together over a body.
const ASIDE_BYTES_MAX: usize = 64 << 10;

/// Takes a body out of its chunks; extensions and trailers are dropped.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    place: Place,
    aside_bytes: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The first digit of a size.
    #[default]
    Size,
    /// More digits of it, or what ends them.
    Digits(usize),
    /// Blanks after a size.
    Blanks(usize),
    /// An extension, up to its end of line.
    Extension(usize),
    /// The line feed after a size.
    SizeEnd(usize),
    /// So many bytes of data, above 0.
    Data(usize),
    /// The carriage return after data.
    DataReturn,
    /// The line feed after it.
    DataEnd,
    /// The begin of a trailer, or of the empty line that ends all.
    Trailer,
    /// The rest of a trailer.
    TrailerRest,
    /// The line feed of the empty line.
    End,
}

impl Chunks {
    /// Adds the data in `piece` to `body`; gives the bytes after the last chunk once it was there.
    pub(super) fn read(
        &mut self,
        piece: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<Option<usize>, Fault> {
        let mut rest = piece;
        while let Some(&byte) = rest.first() {
            if let Place::Data(left) = self.place {
                let (data, after) = rest.split_at(left.min(rest.len()));
                body.extend_from_slice(data);
                self.place = match left - data.len() {
                    0 => Place::DataReturn,
                    left => Place::Data(left),
                };
                rest = after;
                continue;
            }
            rest = &rest[1..];
            if (self.place, byte) == (Place::End, b'\n') {
                return Ok(Some(rest.len()));
            }
            self.place = self.after(byte)?;
            if let Place::Digits(size) | Place::Data(size) = self.place
                && size > BODY_BYTES_MAX - body.len()
            {
                return Err(Fault::TooLong);
            }
        }
        Ok(None)
    }

    /// The place after `byte`, which is no data.
    fn after(&mut self, byte: u8) -> Result<Place, Fault> {
        Ok(match (self.place, byte) {
            (Place::Size, _) => Place::Digits(digit(byte)?),
            (Place::Digits(size) | Place::Blanks(size), b' ' | b'\t') => {
                self.aside()?;
                Place::Blanks(size)
            }
            (Place::Digits(size) | Place::Blanks(size), b';') => Place::Extension(size),
            (Place::Digits(size) | Place::Blanks(size) | Place::Extension(size), b'\r') => {
                Place::SizeEnd(size)
            }
            // It was at most `BODY_BYTES_MAX`: no overflow.
            (Place::Digits(size), _) => Place::Digits(16 * size + digit(byte)?),
            (Place::Extension(size), _) if byte != b'\n' => {
                self.aside()?;
                Place::Extension(size)
            }
            (Place::SizeEnd(0), b'\n') => Place::Trailer,
            (Place::SizeEnd(size), b'\n') => Place::Data(size),
            (Place::DataReturn, b'\r') => Place::DataEnd,
            (Place::DataEnd, b'\n') => Place::Size,
            (Place::Trailer, b'\r') => Place::End,
            (Place::TrailerRest, b'\n') => Place::Trailer,
            (Place::Trailer | Place::TrailerRest, _) => {
                self.aside()?;
                Place::TrailerRest
            }
            _ => return Err(Fault::Malformed),
        })
    }

    fn aside(&mut self) -> Result<(), Fault> {
        self.aside_bytes += 1;
        match self.aside_bytes > ASIDE_BYTES_MAX {
            true => Err(Fault::Malformed),
            false => Ok(()),
        }
    }
}

fn digit(byte: u8) -> Result<usize, Fault> {
    let digit = char::from(byte).to_digit(16).ok_or(Fault::Malformed)?;
    Ok(digit as usize)
}
