//! Strings of a JSON text: found and checked first, decoded only when wanted.
//!
//! # Invariants
//! - A [`Text`] is valid: UTF-8, no bare control characters, only escapes of RFC 8259, and every
//!   surrogate escape is half of a pair. So decoding cannot fail.
//!
//! # Cost
//! One pass, eight bytes at a time between escapes, and one to check UTF-8. A string without
//! escapes is borrowed, never copied.

use std::borrow::Cow;

use super::error::{JsonError, JsonErrorKind};

/// A checked string, as it stands between its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The string whose opening quote stands before `start`, and the offset after its end.
    pub(crate) fn scan(body: &'a [u8], start: usize) -> Result<(Text<'a>, usize), JsonError> {
        let mut at = start;
        let mut escaped = false;
        loop {
            at += plain_run(&body[at..]);
            match body.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at = check_escape(body, at)?,
                Some(_) => return Err(syntax(at, "control character in a string")),
                None => return Err(syntax(at, "string does not end")),
            }
            escaped = true;
        }
        let raw = std::str::from_utf8(&body[start..at])
            .map_err(|error| syntax(start + error.valid_up_to(), "string is not UTF-8"))?;
        Ok((Text { raw, escaped }, at + 1))
    }

    /// Its length in the body, without the quotes.
    pub(crate) fn raw_bytes(self) -> usize {
        self.raw.len()
    }

    /// The string that it stands for.
    pub(crate) fn decode(self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(unescape(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }
}

fn syntax(offset: usize, what: &'static str) -> JsonError {
    JsonError::at(offset, JsonErrorKind::Syntax(what))
}

/// How many bytes at the start are neither quote, backslash nor control character.
fn plain_run(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // Sets the high bit of zero bytes, and maybe of bytes after the first of them.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, _) = text.as_chunks::<8>();
    for (index, bytes) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*bytes);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let special = zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5C)) | control;
        if special != 0 {
            return index * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let rest = words.len() * 8;
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    rest + text[rest..].iter().take_while(|byte| plain(byte)).count()
}

/// The offset after the escape whose backslash is at `at`.
fn check_escape(body: &[u8], at: usize) -> Result<usize, JsonError> {
    match body.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let unit = code_unit(body, at).ok_or_else(|| syntax(at, "invalid \\u escape"))?;
            match unit {
                0xD800..=0xDBFF => match code_unit(body, at + 6) {
                    Some(0xDC00..=0xDFFF) => Ok(at + 12),
                    _ => Err(syntax(at, "unpaired surrogate in a string")),
                },
                0xDC00..=0xDFFF => Err(syntax(at, "unpaired surrogate in a string")),
                _ => Ok(at + 6),
            }
        }
        _ => Err(syntax(at, "invalid escape in a string")),
    }
}

/// The code unit of the `\uXXXX` at `at`.
fn code_unit(body: &[u8], at: usize) -> Option<u32> {
    let hex = body.get(at..at + 6)?.strip_prefix(b"\\u")?;
    hex.iter().try_fold(0, |unit, byte| {
        Some(unit * 16 + char::from(*byte).to_digit(16)?)
    })
}

fn unescape(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(backslash) = rest.find('\\') {
        out.push_str(&rest[..backslash]);
        let (decoded, bytes) = escape_at(&rest.as_bytes()[backslash..]);
        out.push(decoded);
        rest = &rest[backslash + bytes..];
    }
    out.push_str(rest);
    out
}

/// The character of a checked escape, and how many bytes it takes.
fn escape_at(escape: &[u8]) -> (char, usize) {
    match escape[1] {
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        b'n' => ('\n', 2),
        b'r' => ('\r', 2),
        b't' => ('\t', 2),
        b'u' => {
            let unit = code_unit(escape, 0).unwrap_or_default();
            let Some(low) = code_unit(escape, 6).filter(|_| (0xD800..0xDC00).contains(&unit))
            else {
                return (
                    char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER),
                    6,
                );
            };
            let point = 0x1_0000 + ((unit & 0x3FF) << 10) + (low & 0x3FF);
            (
                char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER),
                12,
            )
        }
        plain => (char::from(plain), 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::random::Random;

    fn decode(json: &str) -> Result<String, JsonError> {
        let (text, end) = Text::scan(json.as_bytes(), 1)?;
        assert_eq!(end, json.len());
        Ok(text.decode().into_owned())
    }

    #[test]
    fn decodes_what_serde_json_writes() {
        let mut random = Random::new(1);
        let alphabet: Vec<char> = "abcdefgh\"\\/\n\r\t\u{8}\u{c}\u{1}\u{1f} é€😀\u{7f}"
            .chars()
            .collect();
        for _ in 0..20_000 {
            let length = random.below(24);
            let pick = |_| alphabet[random.below(alphabet.len() as u64) as usize];
            let text: String = (0..length).map(pick).collect();
            let json = serde_json::to_string(&text).expect("a string");
            assert_eq!(decode(&json).as_deref(), Ok(text.as_str()), "{json}");
        }
    }

    #[test]
    fn decodes_every_escape() {
        let json = r#""\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\ude00\u0000""#;
        assert_eq!(decode(json).as_deref(), Ok("\"\\/\u{8}\u{c}\n\r\tAé€😀\0"));
    }

    #[test]
    fn refuses_what_is_no_string() {
        for json in [
            r#"""#,
            r#""abc"#,
            r#""\x""#,
            r#""\"#,
            r#""\u12""#,
            r#""\u+123""#,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\udc00""#,
            "\"a\nb\"",
            "\"0123456\u{1}\"",
        ] {
            assert!(Text::scan(json.as_bytes(), 1).is_err(), "{json}");
        }
        assert!(Text::scan(b"\"\xff\"", 1).is_err());
        assert!(Text::scan(b"\"\xc3\"", 1).is_err());
    }
}
