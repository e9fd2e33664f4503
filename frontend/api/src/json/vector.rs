//! One vector of a predict body, read into a payload.
//!
//! # Invariants
//! - Room is made for elements that are in the body, or that the caller expects and the body is
//!   long enough for; a body cannot ask for more by claims.
//!
//! # Cost
//! None to allocate if the caller gives a buffer as long as the vector; else one, and one more,
//! after counting commas, if it has not the expected length.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use skysail_core::InputType;
use skysail_rpc::PayloadBuf;

use super::cursor::{Cursor, skip_space, type_name};
use super::error::{JsonError, JsonErrorKind};
use super::number::{Fault, Scalar};
use super::predict::RowInput;

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes of a number that are kept in an error.
const NUMBER_SHOWN_BYTES: usize = 32;

/// Reads the vectors of one body.
pub(super) struct VectorReader<'a> {
    kind: InputType,
    /// Elements that the model takes, if they are fixed.
    expected: Option<usize>,
    /// Elements for which room may still be made before they were seen. A number and its comma
    /// take two bytes, so vectors of the expected length never use it up.
    credit: usize,
    row: &'a dyn Fn() -> PayloadBuf,
}

impl<'a> VectorReader<'a> {
    pub(super) fn new(
        kind: InputType,
        expected: Option<usize>,
        body: &[u8],
        row: &'a dyn Fn() -> PayloadBuf,
    ) -> Self {
        VectorReader {
            kind,
            expected,
            row,
            credit: body.len() / 2 + 1,
        }
    }

    /// The vector at the cursor.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<RowInput, JsonError> {
        match self.kind {
            InputType::Floats => self.numbers::<f32>(cursor),
            InputType::Doubles => self.numbers::<f64>(cursor),
            InputType::Integers => self.numbers::<i32>(cursor),
            InputType::Strings => string(cursor),
            InputType::Bytes => bytes(cursor),
            InputType::Tensors => Err(cursor.error(JsonErrorKind::Tensors)),
        }
    }

    fn numbers<T: Scalar>(&mut self, cursor: &mut Cursor<'_>) -> Result<RowInput, JsonError> {
        if cursor.peek() != Some(b'[') {
            return Err(wrong_type(cursor, "Array"));
        }
        cursor.at += 1;
        let mut data = (self.row)();
        let mut elements = 0;
        if cursor.take(b']') {
            return Ok(RowInput { data, elements });
        }
        let mut room = self.room(cursor);
        loop {
            // One at least, so that the number past the limit is met and refused.
            let spare = data.spare_mut::<T>(room.clamp(1, cursor.numbers_left.max(1)));
            let run = scan_run(cursor.body, cursor.at, spare)
                .map_err(|(index, at, fault)| refuse::<T>(cursor, elements + index, at, fault))?;
            cursor.at = run.at;
            cursor.count_numbers(run.count)?;
            data.advance::<T>(run.count);
            elements += run.count;
            if run.closed {
                return Ok(RowInput { data, elements });
            }
            room = count_elements(cursor);
        }
    }

    /// How many elements to make room for.
    fn room(&mut self, cursor: &Cursor<'_>) -> usize {
        match self.expected {
            Some(expected) if expected <= self.credit => {
                self.credit -= expected;
                expected
            }
            _ => count_elements(cursor),
        }
    }
}

/// How many elements there are up to the next closing bracket, if this is a vector of numbers.
fn count_elements(cursor: &Cursor<'_>) -> usize {
    let count = |bytes: &[u8], byte| bytes.iter().filter(|other| **other == byte).count();
    // Sums of bytes, which cannot wrap in 64 of them, are what the compiler turns into vectors.
    let count_64 = |bytes: &[u8; 64], byte| -> u8 {
        bytes.iter().fold(0, |sum: u8, other| {
            sum.wrapping_add(u8::from(*other == byte))
        })
    };
    let mut elements = 1;
    let mut rest = &cursor.body[cursor.at..];
    while let Some((chunk, after)) = rest.split_first_chunk::<64>() {
        if count_64(chunk, b']') > 0 {
            break;
        }
        elements += usize::from(count_64(chunk, b','));
        rest = after;
    }
    let end = rest
        .iter()
        .position(|byte| *byte == b']')
        .unwrap_or(rest.len());
    elements + count(&rest[..end], b',')
}

/// What a run over a vector found.
pub(crate) struct Run {
    /// Numbers written.
    pub(crate) count: usize,
    /// Where the next number, or what follows the vector, starts.
    pub(crate) at: usize,
    /// Whether the vector ended; else `out` is full.
    pub(crate) closed: bool,
}

/// Reads numbers from `at` on until the vector ends or `out` is full.
///
/// # Errors
/// The index of the number, the offset at which it starts, and what is wrong there.
#[inline(never)]
pub(crate) fn scan_run<T: Scalar>(
    body: &[u8],
    mut at: usize,
    out: &mut [T],
) -> Result<Run, (usize, usize, Fault)> {
    let mut count = 0;
    for slot in out {
        let end;
        (*slot, end) = T::scan(body, at).map_err(|fault| (count, at, fault))?;
        count += 1;
        let comma = body.get(end) == Some(&b',');
        let separator = if comma { end } else { skip_space(body, end) };
        match body.get(separator) {
            Some(b',') => at = skip_space(body, separator + 1),
            Some(b']') => {
                return Ok(Run {
                    count,
                    at: separator + 1,
                    closed: true,
                });
            }
            _ => return Err((count - 1, at, Fault::Syntax(separator))),
        }
    }
    Ok(Run {
        count,
        at,
        closed: false,
    })
}

/// The error for the number with `index` that starts at `at`.
#[cold]
pub(crate) fn refuse<T: Scalar>(
    cursor: &Cursor<'_>,
    index: usize,
    at: usize,
    fault: Fault,
) -> JsonError {
    let shown = |text| number_shown(cursor.body, text);
    let (offset, kind) = match fault {
        Fault::Range(text) => (
            at,
            JsonErrorKind::Range {
                number: shown(text),
                expected: T::NAME,
            },
        ),
        Fault::NotInteger(text) => (
            at,
            JsonErrorKind::NotInteger {
                number: shown(text),
            },
        ),
        Fault::Syntax(offset) if offset == at => match type_name(&cursor.body[at..]) {
            Some(found) if found != "Number" => (
                at,
                JsonErrorKind::ElementType {
                    expected: T::NAME,
                    found,
                },
            ),
            _ => (at, JsonErrorKind::Syntax("expected a number")),
        },
        Fault::Syntax(offset) => (
            offset,
            JsonErrorKind::Syntax("invalid number, or neither ',' nor ']' after it"),
        ),
    };
    JsonError {
        kind,
        field: None,
        element: Some(index),
        offset,
    }
}

/// A number as an error shows it: shortened.
#[cold]
pub(super) fn number_shown(body: &[u8], text: std::ops::Range<usize>) -> String {
    let end = text.end.min(text.start + NUMBER_SHOWN_BYTES);
    let dots = if end < text.end { "..." } else { "" };
    format!("{}{dots}", String::from_utf8_lossy(&body[text.start..end]))
}

fn string(cursor: &mut Cursor<'_>) -> Result<RowInput, JsonError> {
    if cursor.peek() != Some(b'"') {
        return Err(wrong_type(cursor, "String"));
    }
    let text = cursor.text()?.decode();
    if text.len() > cursor.limits.string_bytes_max {
        return Err(cursor.limit("a string is too long", cursor.limits.string_bytes_max));
    }
    let mut data = PayloadBuf::with_capacity(text.len());
    data.extend_from_slice(text.as_bytes());
    Ok(RowInput { data, elements: 1 })
}

fn bytes(cursor: &mut Cursor<'_>) -> Result<RowInput, JsonError> {
    if cursor.peek() != Some(b'"') {
        return Err(wrong_type(cursor, "String"));
    }
    let start = cursor.at;
    let text = cursor.text()?.decode();
    let room = base64::decoded_len_estimate(text.len());
    let mut data = PayloadBuf::with_capacity(room);
    let decoded = BASE64
        .decode_slice(text.as_bytes(), data.spare_mut::<u8>(room))
        .map_err(|_| JsonError::at(start, JsonErrorKind::NotBase64))?;
    data.advance::<u8>(decoded);
    Ok(RowInput { data, elements: 1 })
}

#[cold]
pub(crate) fn wrong_type(cursor: &mut Cursor<'_>, expected: &'static str) -> JsonError {
    match cursor.type_name() {
        Ok(found) => cursor.error(JsonErrorKind::Type { expected, found }),
        Err(error) => error,
    }
}
