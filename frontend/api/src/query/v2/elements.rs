//! The `data` of a JSON tensor, nested or flat, as the bytes that a binary tensor has.
//!
//! Fixed-width elements lie little-endian and row-major; of a string its length comes first, as a
//! `u32`. Arrays are nested as the shape says, or all elements stand in one.
//!
//! # Invariants
//! - Room is made for elements that the shape asks for and the body is long enough for; a body
//!   cannot ask for more by claims.
//! - Nested arrays have the sizes of the shape; how many elements a flat one had is told, not judged.

use skysail_rpc::{DataType, PayloadBuf};

use super::Shape;
use crate::json::cursor::Cursor;
use crate::json::error::{JsonError, JsonErrorKind};
use crate::json::number::Scalar;
use crate::json::vector::{refuse, scan_run};

/// Reads the array at the cursor into `out`; says how many elements it had. `expected` of them
/// are likely, those of the shape.
///
/// # Errors
/// If it is no array of such elements, is nested otherwise than the shape says, or passes a limit.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    datatype: DataType,
    shape: &[u64],
    expected: usize,
    out: &mut PayloadBuf,
) -> Result<usize, JsonError> {
    let nesting = Nesting::open(cursor, shape)?;
    match datatype {
        DataType::Bool => each(cursor, nesting, |cursor| boolean(cursor, out)),
        DataType::Uint8 => numbers::<u8>(cursor, nesting, expected, out),
        DataType::Uint16 => numbers::<u16>(cursor, nesting, expected, out),
        DataType::Uint32 => numbers::<u32>(cursor, nesting, expected, out),
        DataType::Uint64 => numbers::<u64>(cursor, nesting, expected, out),
        DataType::Int8 => numbers::<i8>(cursor, nesting, expected, out),
        DataType::Int16 => numbers::<i16>(cursor, nesting, expected, out),
        DataType::Int32 => numbers::<i32>(cursor, nesting, expected, out),
        DataType::Int64 => numbers::<i64>(cursor, nesting, expected, out),
        DataType::Fp32 => numbers::<f32>(cursor, nesting, expected, out),
        DataType::Fp64 => numbers::<f64>(cursor, nesting, expected, out),
        DataType::Fp16 | DataType::Bf16 => Err(cursor.error(JsonErrorKind::NoJsonForm {
            datatype: datatype.name(),
        })),
        DataType::Bytes | DataType::String => each(cursor, nesting, |cursor| string(cursor, out)),
    }
}

/// The arrays that stand open around the next element.
struct Nesting {
    /// What each must hold, the outermost first: the shape. One that holds all elements is flat,
    /// and may hold any number.
    sizes: Option<Shape>,
    /// What each holds so far.
    held: Shape,
}

impl Nesting {
    /// Steps into the outermost array.
    fn open(cursor: &mut Cursor<'_>, shape: &[u64]) -> Result<Self, JsonError> {
        if cursor.peek() != Some(b'[') {
            return Err(crate::json::vector::wrong_type(cursor, "Array"));
        }
        cursor.at += 1;
        let is_flat = cursor.peek() != Some(b'[');
        Ok(Nesting {
            sizes: (!is_flat).then(|| Shape::from_slice(shape)),
            held: Shape::from_slice(&[0]),
        })
    }

    /// Steps over brackets up to the next element; `false` at the end of all.
    fn next(&mut self, cursor: &mut Cursor<'_>, mut after_value: bool) -> Result<bool, JsonError> {
        loop {
            match cursor.peek() {
                _ if self.held.is_empty() => return Ok(false),
                Some(b']') => {
                    self.close(cursor)?;
                    cursor.at += 1;
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
                    if self.is_innermost() {
                        return Err(cursor.error(JsonErrorKind::Nesting));
                    }
                    self.hold(1);
                    self.held.push(0);
                    cursor.at += 1;
                }
                _ if self.is_innermost() => return Ok(true),
                _ => {
                    cursor.type_name()?;
                    return Err(cursor.error(JsonErrorKind::Nesting));
                }
            }
        }
    }

    /// Whether the innermost array has elements in it, and no arrays.
    fn is_innermost(&self) -> bool {
        self.held.len() >= self.sizes.as_ref().map_or(1, |sizes| sizes.len())
    }

    /// Counts elements of the innermost array.
    fn hold(&mut self, elements: usize) {
        if let Some(held) = self.held.last_mut() {
            *held += elements as u64;
        }
    }

    /// Leaves the innermost array, which must be full.
    fn close(&mut self, cursor: &Cursor<'_>) -> Result<(), JsonError> {
        let found = self.held.pop().unwrap_or_default();
        let dimension = self.held.len();
        let size = self.sizes.as_ref().and_then(|sizes| sizes.get(dimension));
        match size {
            Some(&expected) if expected != found => Err(cursor.error(JsonErrorKind::Shape {
                dimension,
                expected,
                found,
            })),
            _ => Ok(()),
        }
    }
}

fn numbers<T: Scalar>(
    cursor: &mut Cursor<'_>,
    mut nesting: Nesting,
    expected: usize,
    out: &mut PayloadBuf,
) -> Result<usize, JsonError> {
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
        nesting.hold(run.count);
        after_value = run.closed;
        if run.closed {
            nesting.close(cursor)?;
        }
    }
    Ok(count)
}

/// Elements one by one.
fn each(
    cursor: &mut Cursor<'_>,
    mut nesting: Nesting,
    mut element: impl FnMut(&mut Cursor<'_>) -> Result<(), JsonError>,
) -> Result<usize, JsonError> {
    let mut count = 0;
    while nesting.next(cursor, count > 0)? {
        element(cursor).map_err(|error| JsonError {
            element: Some(count),
            ..error
        })?;
        count += 1;
        nesting.hold(1);
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

    fn read_shaped(
        text: &str,
        datatype: DataType,
        shape: &[u64],
        expected: usize,
    ) -> Result<(usize, Vec<u8>), String> {
        let limits = JsonLimits::default();
        let mut cursor = Cursor::new(text.as_bytes(), &limits);
        let mut out = PayloadBuf::default();
        let count = read(&mut cursor, datatype, shape, expected, &mut out);
        let count = count.map_err(|e| e.plain())?;
        assert_eq!(cursor.peek(), None, "{text}");
        Ok((count, out.as_bytes().to_vec()))
    }

    fn read_all(
        text: &str,
        datatype: DataType,
        expected: usize,
    ) -> Result<(usize, Vec<u8>), String> {
        read_shaped(text, datatype, &[expected as u64], expected)
    }

    #[test]
    fn arrays_are_nested_as_the_shape_says_or_flat() {
        let expected: Vec<u8> = (1..=6).flat_map(|n| (n as f32).to_le_bytes()).collect();
        let cases: [(&str, &[u64]); 7] = [
            ("[1,2,3,4,5,6]", &[6]),
            ("[1,2,3,4,5,6]", &[2, 3]),
            ("[[1,2,3],[4,5,6]]", &[2, 3]),
            (" [ [ [1 , 2], [3,4] ] , [[ 5,6],[7, 8 ]] ] ", &[2, 2, 2]),
            ("[[1],[2],[3],[4],[5],[6]]", &[6, 1]),
            ("[[1,2,3,4,5,6]]", &[1, 6]),
            ("[[[[1,2,3,4,5,6]]]]", &[1, 1, 1, 6]),
        ];
        for (text, shape) in cases {
            for room in [0, 1, 4, 6, 1000] {
                let (count, bytes) = read_shaped(text, DataType::Fp32, shape, room).expect(text);
                assert_eq!(
                    (4 * count, &bytes[..24]),
                    (bytes.len(), &expected[..]),
                    "{text}"
                );
            }
        }
        let none = Ok((0, vec![]));
        assert_eq!(read_shaped("[]", DataType::Int64, &[0, 3], 0), none);
        assert_eq!(read_shaped("[]", DataType::Int64, &[2, 0], 0), none);
        assert_eq!(read_shaped("[[],[]]", DataType::Bytes, &[2, 0], 0), none);
        let two = Ok((2, b"\x01\0\0\0a\x01\0\0\0b".to_vec()));
        assert_eq!(
            read_shaped(r#"[["a"],["b"]]"#, DataType::Bytes, &[2, 1], 2),
            two
        );
    }

    #[test]
    fn ragged_arrays_are_refused() {
        let nesting = "arrays are neither nested as deep as the shape nor flat";
        let size = |found, dimension, expected| {
            format!(
                "an array has {found} elements, dimension {dimension} of the shape has {expected}"
            )
        };
        let cases: [(&str, &[u64], String); 8] = [
            ("[[1,2,3],[4]]", &[2, 2], size(3, 1, 2)),
            ("[[1],[2,3,4]]", &[2, 2], size(1, 1, 2)),
            ("[[1,2,3,4]]", &[2, 2], size(4, 1, 2)),
            ("[[1,2]]", &[2, 2], size(1, 0, 2)),
            ("[[1,2],[3,4],[]]", &[2, 2], size(0, 1, 2)),
            ("[[],[]]", &[3, 0], size(2, 0, 3)),
            ("[[1,2],3,4]", &[2, 2], nesting.to_owned()),
            ("[[[1,2]],[[3,4]]]", &[2, 2], nesting.to_owned()),
        ];
        for (text, shape, message) in cases {
            for datatype in [DataType::Fp32, DataType::Bool] {
                let text = match datatype {
                    DataType::Bool => text.replace(['2', '3', '4'], "1"),
                    _ => text.to_owned(),
                };
                let read = read_shaped(&text, datatype, shape, 4);
                assert_eq!(read, Err(message.clone()), "{text} {shape:?}");
            }
        }
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
        let text = "[\"a\",\"\",\"\\u00e9\"]";
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
        assert!(error(&deep, DataType::Fp32).starts_with("arrays are neither"));
    }
}
