//! What an answer came to: a prediction, an application's default, or an error.
//!
//! Clipper's JSON says `"default": true` for a default; Skysail adds `"default_cause"`. A body
//! without such an object, of whatever server, is a prediction when its status is 2xx.
//!
//! # Cost
//! One search of the body for `"default"`; only what looks like a default is parsed.

use std::borrow::Cow;

use serde_json::Value;

/// The cause of a default that names none, as Clipper's do.
pub const CAUSE_UNNAMED: &str = "unnamed";
/// Longest name of a cause that is kept.
const NAME_CHARS_MAX: usize = 40;

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A 2xx answer that is no default.
    Prediction,
    /// The application's default, with its cause.
    Default(Cow<'static, str>),
    /// No answer, or one of another status, with its kind: `http_503`, `timeout`, …
    Error(Cow<'static, str>),
}

impl Outcome {
    /// Judges a complete answer.
    pub(crate) fn answered(status: u16, body: &[u8]) -> Self {
        match status {
            200..=299 => match default_cause(body) {
                Some(cause) => Outcome::Default(cause),
                None => Outcome::Prediction,
            },
            _ => Outcome::Error(status_kind(status)),
        }
    }

    /// There is no complete answer; `kind` is what an [`Error`](crate::Error) of the kind says.
    pub(crate) fn failed(kind: &'static str) -> Self {
        Outcome::Error(kind.into())
    }
}

fn status_kind(status: u16) -> Cow<'static, str> {
    match status {
        429 => "http_429".into(),
        503 => "http_503".into(),
        other => format!("http_{other}").into(),
    }
}

/// The cause, if the body is a default in Clipper's JSON.
fn default_cause(body: &[u8]) -> Option<Cow<'static, str>> {
    let key = br#""default""#;
    let windows = body.windows(key.len()).enumerate();
    let mut found = windows.filter(|(_, window)| window == key);
    // An output may hold such a key too, so what looks like a default is parsed.
    let looks_so = found.any(|(at, _)| is_true(&body[at + key.len()..]));
    looks_so.then(|| parsed_cause(body)).flatten()
}

/// Whether `: true` comes first.
fn is_true(rest: &[u8]) -> bool {
    let value = rest.trim_ascii_start().strip_prefix(b":");
    value.is_some_and(|value| value.trim_ascii_start().starts_with(b"true"))
}

#[cold]
fn parsed_cause(body: &[u8]) -> Option<Cow<'static, str>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    if value.get("default")? != true || value.get("default_explanation").is_none() {
        return None;
    }
    let cause = value.get("default_cause").and_then(Value::as_str);
    Some(cause.map_or(CAUSE_UNNAMED.into(), |cause| name(cause).into()))
}

/// A name that fits in a table.
fn name(text: &str) -> String {
    let kept = text.chars().take(NAME_CHARS_MAX);
    kept.map(|one| if one.is_control() { ' ' } else { one })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Outcome {
        Outcome::answered(status, body.as_bytes())
    }

    #[test]
    fn a_default_is_told_by_its_cause() {
        let default = |cause: &'static str| Outcome::Default(cause.into());
        for (body, outcome) in [
            (
                r#"{"query_id":0,"output":-1,"default":true,"default_explanation":"x","default_cause":"shed"}"#,
                default("shed"),
            ),
            (
                r#"{ "default" : true, "default_explanation": "No connected models found" }"#,
                default(CAUSE_UNNAMED),
            ),
            (
                r#"{"output":{"default":false},"default":true,"default_explanation":"x","default_cause":"expired_queue"}"#,
                default("expired_queue"),
            ),
            (
                r#"{"output":"default","default":true,"default_explanation":"x","default_cause":"shed"}"#,
                default("shed"),
            ),
            (
                r#"{"output":1,"default":false,"models":[]}"#,
                Outcome::Prediction,
            ),
            (
                r#"{"output":{"default":true},"default":false}"#,
                Outcome::Prediction,
            ),
            (r#"{"default":true}"#, Outcome::Prediction),
            (r#"{"outputs":[{"name":"y"}]}"#, Outcome::Prediction),
            ("\"default\"", Outcome::Prediction),
            ("", Outcome::Prediction),
        ] {
            assert_eq!(of(200, body), outcome, "{body}");
        }
    }

    #[test]
    fn another_status_is_an_error_whatever_its_body() {
        let body = r#"{"default":true,"default_explanation":"x"}"#;
        for (status, kind) in [(429, "http_429"), (503, "http_503"), (404, "http_404")] {
            assert_eq!(of(status, body), Outcome::Error(kind.into()));
        }
    }

    #[test]
    fn the_name_of_a_cause_cannot_move_the_cursor() {
        let body =
            "{\"default\":true,\"default_explanation\":\"\",\"default_cause\":\"a\\u001b[2J\"}";
        assert_eq!(of(200, body), Outcome::Default("a [2J".into()));
    }
}
