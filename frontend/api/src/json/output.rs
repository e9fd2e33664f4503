//! Numbers and strings of answers, appended to a body.
//!
//! # Invariants
//! - What is written is one JSON value. A float that JSON cannot express is an error, never
//!   `null`.
//! - Floats are written in the shortest form that reads back as the same float; whole ones
//!   keep their point (`1.0`), as Clipper's do.
//!
//! # Cost
//! No allocation but the growth of `out`.

use serde::de::IgnoredAny;
use thiserror::Error;

/// A float that JSON has no form for.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("{0} cannot be written as JSON")]
pub struct NonFinite(pub f64);

/// Appends `value`.
///
/// # Errors
/// If it is infinite or not a number; nothing is written then.
pub fn write_f32(out: &mut Vec<u8>, value: f32) -> Result<(), NonFinite> {
    if !value.is_finite() {
        return Err(NonFinite(f64::from(value)));
    }
    out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    Ok(())
}

/// Appends `value`.
///
/// # Errors
/// If it is infinite or not a number; nothing is written then.
pub fn write_f64(out: &mut Vec<u8>, value: f64) -> Result<(), NonFinite> {
    if !value.is_finite() {
        return Err(NonFinite(value));
    }
    out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    Ok(())
}

/// Appends `value`.
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    write_u64(out, value.unsigned_abs());
}

/// Appends `value`.
pub fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    let mut text = [0; u64::MAX.ilog10() as usize + 1];
    let mut start = text.len();
    loop {
        start -= 1;
        text[start] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return out.extend_from_slice(&text[start..]);
        }
    }
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(index) = rest.iter().position(|byte| needs_escape(*byte)) {
        out.extend_from_slice(&rest[..index]);
        write_escape(out, rest[index]);
        rest = &rest[index + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends `text` as it is where it is one JSON value, else as a string; so does Clipper with
/// the texts of models and with default outputs (`-1.0` becomes a number).
pub fn write_text_as_json(out: &mut Vec<u8>, text: &str) {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => out.extend_from_slice(text.trim_ascii().as_bytes()),
        Err(_) => write_string(out, text),
    }
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cold]
fn write_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::random::Random;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn floats_read_back_as_they_were() {
        let mut random = Random::new(3);
        for _ in 0..20_000 {
            let single = f32::from_bits(random.next() as u32);
            let text = written(|out| write_f32(out, single).unwrap_or_default());
            assert_eq!(text.is_empty(), !single.is_finite());
            assert!(!single.is_finite() || text.parse() == Ok(single));
            let double = f64::from_bits(random.next());
            let text = written(|out| write_f64(out, double).unwrap_or_default());
            assert!(!double.is_finite() || text.parse() == Ok(double));
        }
        assert_eq!(
            written(|out| write_f32(out, 1.0).unwrap_or_default()),
            "1.0"
        );
        assert_eq!(
            written(|out| write_f64(out, -0.0).unwrap_or_default()),
            "-0.0"
        );
        assert!(write_f64(&mut Vec::new(), f64::NAN).is_err());
        assert_eq!(
            write_f32(&mut Vec::new(), f32::INFINITY),
            Err(NonFinite(f64::INFINITY))
        );
    }

    #[test]
    fn integers_are_written_whole() {
        for value in [0_i64, 7, -1, 1234567890, i64::MAX, i64::MIN] {
            assert_eq!(written(|out| write_i64(out, value)), value.to_string());
        }
        assert_eq!(
            written(|out| write_u64(out, u64::MAX)),
            u64::MAX.to_string()
        );
    }

    #[test]
    fn strings_read_back_as_they_were() {
        for text in ["", "plain", "\"\\/\n\r\t\u{0}\u{8}\u{1f}\u{7f}é€😀", "a\"b"] {
            let json = written(|out| write_string(out, text));
            assert_eq!(
                serde_json::from_str::<String>(&json).expect("a string"),
                text
            );
        }
    }

    #[test]
    fn nests_texts_that_are_json_and_quotes_the_others() {
        let cases = [
            ("-1.0", "-1.0"),
            (" [1,2] ", "[1,2]"),
            ("{\"a\":1}", "{\"a\":1}"),
            ("null", "null"),
            ("\"a\"", "\"a\""),
            ("", "\"\""),
            ("None", "\"None\""),
            ("1 2", "\"1 2\""),
            ("NaN", "\"NaN\""),
            ("[1,", "\"[1,\""),
            ("01", "\"01\""),
        ];
        for (text, json) in cases {
            assert_eq!(written(|out| write_text_as_json(out, text)), json);
        }
    }
}
