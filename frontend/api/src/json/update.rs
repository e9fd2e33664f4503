//! Clipper's feedback body: `{"uid": 7, "input": <vector>, "label": 1.0}`.
//!
//! All three members must be there; others are stepped over. Unlike Clipper a label may be any
//! JSON number, also one without a point.
//!
//! # Invariants
//! - Every body gives either feedback or an error that says where; none panics.
//! - No member of ours appears twice.

use skysail_core::InputType;
use skysail_rpc::PayloadBuf;

use super::JsonLimits;
use super::cursor::Cursor;
use super::error::{Field, JsonError, JsonErrorKind};
use super::number::{Fault, Scalar, number_text};
use super::predict::RowInput;
use super::vector::{VectorReader, number_shown, wrong_type};

/// A decoded feedback body.
#[derive(Debug)]
pub struct UpdateBody {
    /// Whose feedback it is.
    pub uid: i64,
    /// What was asked.
    pub input: RowInput,
    /// What would have been right.
    pub label: f64,
}

/// Reads a feedback body whose input is of type `kind`.
///
/// # Errors
/// If the body is not such an object, a number does not fit its type, or a limit is passed.
pub fn parse_update(
    body: &[u8],
    kind: InputType,
    limits: &JsonLimits,
) -> Result<UpdateBody, JsonError> {
    let mut cursor = Cursor::new(body, limits);
    let mut members = Members {
        reader: VectorReader::new(kind, None, body, &PayloadBuf::default),
        uid: None,
        input: None,
        label: None,
    };
    cursor.document(|cursor, name| members.read_member(cursor, name))?;
    members.finish(&cursor)
}

/// The members of a body that mean something.
struct Members<'a> {
    reader: VectorReader<'a>,
    uid: Option<i64>,
    input: Option<RowInput>,
    label: Option<f64>,
}

impl Members<'_> {
    fn read_member(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Result<(), JsonError> {
        match name {
            "uid" => put(&mut self.uid, cursor, integer).map_err(|error| error.within(Field::Uid)),
            "input" => put(&mut self.input, cursor, |cursor| self.reader.read(cursor))
                .map_err(|error| error.within(Field::Input)),
            "label" => {
                put(&mut self.label, cursor, double).map_err(|error| error.within(Field::Label))
            }
            _ => cursor.skip_value(1),
        }
    }

    fn finish(self, cursor: &Cursor<'_>) -> Result<UpdateBody, JsonError> {
        let missing = |key| cursor.error(JsonErrorKind::Missing(key));
        Ok(UpdateBody {
            uid: self.uid.ok_or_else(|| missing("uid"))?,
            input: self.input.ok_or_else(|| missing("input"))?,
            label: self.label.ok_or_else(|| missing("label"))?,
        })
    }
}

/// Reads a member that was not there yet.
fn put<'a, T>(
    slot: &mut Option<T>,
    cursor: &mut Cursor<'a>,
    read: impl FnOnce(&mut Cursor<'a>) -> Result<T, JsonError>,
) -> Result<(), JsonError> {
    if slot.is_some() {
        return Err(cursor.error(JsonErrorKind::Duplicate));
    }
    *slot = Some(read(cursor)?);
    Ok(())
}

fn integer(cursor: &mut Cursor<'_>) -> Result<i64, JsonError> {
    number(cursor, "long", |body, at| {
        let text = number_text(body, at)?;
        let digits = &body[text.clone()];
        if !digits
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'-')
        {
            return Err(Fault::NotInteger(text));
        }
        let value = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse().ok());
        let value = value.ok_or_else(|| Fault::Range(text.clone()))?;
        Ok((value, text.end))
    })
}

fn double(cursor: &mut Cursor<'_>) -> Result<f64, JsonError> {
    number(cursor, f64::NAME, f64::scan)
}

/// A number that is a member's value.
fn number<T>(
    cursor: &mut Cursor<'_>,
    expected: &'static str,
    scan: impl FnOnce(&[u8], usize) -> Result<(T, usize), Fault>,
) -> Result<T, JsonError> {
    if !matches!(cursor.peek(), Some(b'-' | b'0'..=b'9')) {
        return Err(wrong_type(cursor, "Number"));
    }
    cursor.count_numbers(1)?;
    let shown = |text| number_shown(cursor.body, text);
    let (value, end) = scan(cursor.body, cursor.at).map_err(|fault| match fault {
        Fault::Syntax(at) => JsonError::at(at, JsonErrorKind::Syntax("invalid number")),
        Fault::Range(text) => {
            let number = shown(text);
            cursor.error(JsonErrorKind::Range { number, expected })
        }
        Fault::NotInteger(text) => {
            let number = shown(text);
            cursor.error(JsonErrorKind::NotInteger { number })
        }
    })?;
    cursor.at = end;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<UpdateBody, JsonError> {
        parse_update(body.as_bytes(), InputType::Doubles, &JsonLimits::default())
    }

    fn refusal(body: &str) -> String {
        let error = parse(body).expect_err(body);
        assert!(error.offset <= body.len());
        error.to_string()
    }

    #[test]
    fn reads_feedback_in_any_order_and_steps_over_the_rest() {
        let text = r#" {"x":{"uid":[1]},"label":1,"input":[1,2.5],"uid":-9223372036854775808} "#;
        let body = parse(text).expect("valid");
        assert_eq!((body.uid, body.label), (i64::MIN, 1.0));
        assert_eq!(body.input.data.as_slice::<f64>(), Some(&[1.0, 2.5][..]));
        let strings = br#"{"uid":0,"input":"a","label":-1.5e2}"#;
        let body = parse_update(strings, InputType::Strings, &JsonLimits::default());
        assert_eq!(body.expect("valid").label, -150.0);
    }

    #[test]
    fn names_the_member_that_is_missing() {
        for (body, key) in [
            ("{}", "uid"),
            (r#"{"uid":1}"#, "input"),
            (r#"{"uid":1,"input":[]}"#, "label"),
            (r#"{"input":[],"label":1}"#, "uid"),
        ] {
            let text = format!("JSON object does not have required key: {key}");
            assert_eq!(refusal(body), text, "{body}");
        }
    }

    #[test]
    fn refuses_values_of_another_type_in_clippers_words() {
        let of = |uid: &str, input: &str, label: &str| {
            refusal(&format!(
                r#"{{"uid":{uid},"input":{input},"label":{label}}}"#
            ))
        };
        let mismatch = |key: &str, expected: &str, found: &str| {
            format!("Type mismatch! JSON key {key} expected type {expected}but found type {found}")
        };
        assert_eq!(of("\"7\"", "[]", "1"), mismatch("uid", "Number", "String"));
        assert_eq!(of("1.5", "[]", "1"), "1.5 is not an integer");
        assert_eq!(
            of("9223372036854775808", "[]", "1"),
            "9223372036854775808 is out of range for type long"
        );
        assert_eq!(of("0", "3", "1"), mismatch("input", "Array", "Number"));
        assert_eq!(
            of("0", "[1,\"a\"]", "1"),
            "Array input of type String is not of type double, element 1 of input"
        );
        assert_eq!(of("0", "[]", "null"), mismatch("label", "Number", "Null"));
        assert_eq!(
            of("0", "[]", "1e999"),
            "1e999 is out of range for type double"
        );
        assert_eq!(
            of("0", "[]", "1.x"),
            "JSON parse error: invalid number (offset 30)"
        );
    }

    #[test]
    fn refuses_what_is_no_object_twice_the_same_or_more_than_one_document() {
        for body in ["[]", "3", "\"uid\"", "null"] {
            assert_eq!(refusal(body), "JSON schema invalid", "{body}");
        }
        for (key, body) in [
            ("uid", r#"{"uid":1,"uid":1}"#),
            ("input", r#"{"input":[],"input":[]}"#),
            ("label", r#"{"label":1,"label":1}"#),
        ] {
            assert_eq!(refusal(body), format!("JSON key {key} appears twice"));
        }
        assert!(refusal("{} {}").contains("nothing may follow"));
        for broken in [
            "",
            "{",
            "{\"uid\"",
            "{\"uid\":",
            "{\"uid\":1",
            "{\"uid\":-}",
        ] {
            assert!(
                refusal(broken).starts_with("JSON parse error: "),
                "{broken}"
            );
        }
    }
}
