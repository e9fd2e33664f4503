//! The `data` of a JSON tensor, nested or flat, as the bytes that a binary tensor has.
//!
//! Fixed-width elements lie little-endian and row-major, whatever brackets stood between them;
//! of a string its length comes first, as a `u32`.
//!
//! # Invariants
//! - Room is made for elements that the shape asks for and the body is long enough for; a body
//!   cannot ask for more by claims.
//! - How many elements came is told, not judged.

use skysail_rpc::{DataType, PayloadBuf};

use crate::json::cursor::Cursor;
use crate::json::error::{JsonError, JsonErrorKind};
use crate::json::number::Scalar;
use crate::json::vector::{refuse, scan_run};

/// Reads the array at the cursor into `out`; says how many elements it had. `expected` of them
/// are likely.
///
/// # Errors
/// If it is no array of such elements, or passes a limit.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    datatype: DataType,
    expected: usize,
    out: &mut PayloadBuf,
) -> Result<usize, JsonError> {
    match datatype {
        DataType::Bool => each(cursor, |cursor| boolean(cursor, out)),
        DataType::Uint8 => numbers::<u8>(cursor, expected, out),
        DataType::Uint16 => numbers::<u16>(cursor, expected, out),
        DataType::Uint32 => numbers::<u32>(cursor, expected, out),
        DataType::Uint64 => numbers::<u64>(cursor, expected, out),
        DataType::Int8 => numbers::<i8>(cursor, expected, out),
        DataType::Int16 => numbers::<i16>(cursor, expected, out),
        DataType::Int32 => numbers::<i32>(cursor, expected, out),
        DataType::Int64 => numbers::<i64>(cursor, expected, out),
        DataType::Fp32 => numbers::<f32>(cursor, expected, out),
        DataType::Fp64 => numbers::<f64>(cursor, expected, out),
        DataType::Fp16 | DataType::Bf16 => Err(cursor.error(JsonErrorKind::NoJsonForm {
            datatype: datatype.name(),
        })),
        DataType::Bytes | DataType::String => each(cursor, |cursor| string(cursor, out)),
    }
}

/// Brackets around the next element.
struct Nesting(usize);

impl Nesting {
    fn open(cursor: &mut Cursor<'_>) -> Result<Nesting, JsonError> {
        if cursor.peek() != Some(b'[') {
            return Err(crate::json::vector::wrong_type(cursor, "Array"));
        }
        cursor.at += 1;
        Ok(Nesting(1))
    }

    /// Steps over brackets up to the next element; `false` at the end of all.
    fn next(&mut self, cursor: &mut Cursor<'_>, mut after_value: bool) -> Result<bool, JsonError> {
        loop {
            match cursor.peek() {
                _ if self.0 == 0 => return Ok(false),
                Some(b']') => {
                    cursor.at += 1;
                    self.0 -= 1;
                    after_value = true;
                }
                Some(b',') if after_value => {
                    cursor.at += 1;
                    after_value = false;
                    if cursor.peek() == Some(b']') {
                        return Err(cursor.syntax("expected an element after ','"));
                    }
                }
                _ if after_value => return Err(cursor.syntax("expected ',' or ']'")),
                Some(b'[') => {
                    self.0 += 1;
                    if self.0 > cursor.limits.depth_max {
                        return Err(cursor.limit("nesting is too deep", cursor.limits.depth_max));
                    }
                    cursor.at += 1;
                }
                _ => return Ok(true),
            }
        }
    }
}

fn numbers<T: Scalar>(
    cursor: &mut Cursor<'_>,
    expected: usize,
    out: &mut PayloadBuf,
) -> Result<usize, JsonError> {
    let mut nesting = Nesting::open(cursor)?;
    let (mut count, mut after_value) = (0, false);
    while nesting.next(cursor, after_value)? {
        // A number and its comma take two bytes.
        let left = (cursor.body.len() - cursor.at) / 2 + 1;
        let room = expected.saturating_sub(count).clamp(1, left);
        let spare = out.spare_mut::<T>(room.min(cursor.numbers_left.max(1)));
        let run = scan_run(cursor.body, cursor.at, spare)
            .map_err(|(index, at, fault)| refuse::<T>(cursor, count + index, at, fault))?;
        cursor.at = run.at;
        cursor.count_numbers(run.count)?;
        out.advance::<T>(run.count);
        count += run.count;
        after_value = run.closed;
        nesting.0 -= usize::from(run.closed);
    }
    Ok(count)
}

/// Elements one by one.
fn each(
    cursor: &mut Cursor<'_>,
    mut element: impl FnMut(&mut Cursor<'_>) -> Result<(), JsonError>,
) -> Result<usize, JsonError> {
    let mut nesting = Nesting::open(cursor)?;
    let mut count = 0;
    while nesting.next(cursor, count > 0)? {
        element(cursor).map_err(|error| JsonError {
            element: Some(count),
            ..error
        })?;
        count += 1;
    }
    Ok(count)
}

/// `true`, `false`, 1 or 0.
fn boolean(cursor: &mut Cursor<'_>, out: &mut PayloadBuf) -> Result<(), JsonError> {
    cursor.count_numbers(1)?;
    let rest = &cursor.body[cursor.at..];
    let forms = [("true", 1), ("false", 0), ("1", 1), ("0", 0)];
    let form = forms
        .iter()
        .find(|(text, _)| rest.starts_with(text.as_bytes()));
    let Some((text, value)) = form else {
        let found = cursor.type_name()?;
        return Err(cursor.error(JsonErrorKind::ElementType {
            expected: "true or false",
            found,
        }));
    };
    cursor.at += text.len();
    out.push::<u8>(*value);
    Ok(())
}

fn string(cursor: &mut Cursor<'_>, out: &mut PayloadBuf) -> Result<(), JsonError> {
    if cursor.peek() != Some(b'"') {
        let found = cursor.type_name()?;
        return Err(cursor.error(JsonErrorKind::ElementType {
            expected: "a string",
            found,
        }));
    }
    cursor.strings_left = match cursor.strings_left.checked_sub(1) {
        Some(left) => left,
        None => {
            return Err(cursor.limit("the body has too many strings", cursor.limits.strings_max));
        }
    };
    let text = cursor.text()?.decode();
    let limit = cursor.limits.string_bytes_max;
    let bytes = u32::try_from(text.len())
        .ok()
        .filter(|_| text.len() <= limit);
    let Some(bytes) = bytes else {
        return Err(cursor.limit("a string is too long", limit));
    };
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::JsonLimits;

    fn read_all(
        text: &str,
        datatype: DataType,
        expected: usize,
    ) -> Result<(usize, Vec<u8>), String> {
        let limits = JsonLimits::default();
        let mut cursor = Cursor::new(text.as_bytes(), &limits);
        let mut out = PayloadBuf::default();
        let count = read(&mut cursor, datatype, expected, &mut out).map_err(|e| e.plain())?;
        assert_eq!(cursor.peek(), None, "{text}");
        Ok((count, out.as_bytes().to_vec()))
    }

    #[test]
    fn brackets_do_not_matter() {
        let expected: Vec<u8> = (1..=6).flat_map(|n| (n as f32).to_le_bytes()).collect();
        for text in [
            "[1,2,3,4,5,6]",
            "[[1,2,3],[4,5,6]]",
            " [ [ [1 , 2], [3,4] ] , [ [5,6] ] ] ",
            "[[1],[2],[3],[4],[5],[6]]",
            "[[],[1,2,3,4,5,6],[]]",
        ] {
            for room in [0, 1, 4, 6, 1000] {
                let read = read_all(text, DataType::Fp32, room);
                assert_eq!(read, Ok((6, expected.clone())), "{text}, room {room}");
            }
        }
        assert_eq!(read_all("[]", DataType::Int64, 4), Ok((0, vec![])));
        assert_eq!(read_all("[[],[]]", DataType::Bytes, 4), Ok((0, vec![])));
    }

    #[test]
    fn every_datatype_reads_its_own_elements() {
        let bytes = |text, datatype| read_all(text, datatype, 2).map(|(_, bytes)| bytes);
        assert_eq!(
            bytes("[true,false,1,0]", DataType::Bool),
            Ok(vec![1, 0, 1, 0])
        );
        assert_eq!(bytes("[0,255]", DataType::Uint8), Ok(vec![0, 255]));
        assert_eq!(bytes("[-128]", DataType::Int8), Ok(vec![128]));
        let max = format!("[{}]", u64::MAX);
        assert_eq!(bytes(&max, DataType::Uint64), Ok(vec![255; 8]));
        let min = format!("[{}]", i64::MIN);
        let least = i64::MIN.to_le_bytes().to_vec();
        assert_eq!(bytes(&min, DataType::Int64), Ok(least));
        let text = "[[\"a\"],[\"\"],[\"\\u00e9\"]]";
        let strings = b"\x01\0\0\0a\0\0\0\0\x02\0\0\0\xc3\xa9".to_vec();
        assert_eq!(bytes(text, DataType::Bytes), Ok(strings));
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text, datatype| read_all(text, datatype, 2).expect_err(text);
        assert_eq!(error("[256]", DataType::Uint8), "256 does not fit UINT8");
        assert_eq!(error("[-1]", DataType::Uint64), "-1 does not fit UINT64");
        let long = format!("[{}]", "9".repeat(60));
        assert!(error(&long, DataType::Int64).contains("does not fit INT64"));
        assert_eq!(error("[1.5]", DataType::Int32), "1.5 is not an integer");
        assert_eq!(error("7", DataType::Int32), "expected array, found number");
        assert_eq!(
            error("[1,\"2\"]", DataType::Fp32),
            "element 1 is string, expected float"
        );
        assert_eq!(
            error("[true,2]", DataType::Bool),
            "element 1 is number, expected true or false"
        );
        assert!(error("[1]", DataType::Fp16).contains("FP16 has no JSON form"));
        for text in [
            "[1,]",
            "[1 2]",
            "[[1]2]",
            "[1,[2]]",
            "[[1],,[2]]",
            "[1",
            "[NaN]",
            "[1e999]",
        ] {
            assert!(read_all(text, DataType::Fp32, 2).is_err(), "{text}");
        }
        let deep = "[".repeat(33) + &"]".repeat(33);
        assert!(error(&deep, DataType::Fp32).contains("nesting is too deep"));
    }
}
