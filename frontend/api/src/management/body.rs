//! Bodies of commands: bounded, in time, JSON whatever the content type says.
//!
//! Parsed straight into the command's own type, so that no tree of values is built from what
//! a client sends.

use axum::body::Bytes;
use axum::extract::Request;
use serde::de::DeserializeOwned;

use super::errors::Refusal;
use super::{BODY_BYTES_MAX, BODY_TIME_MAX};
use crate::http::{BodyError, read_body};

/// Why a body is not what a command takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JsonFault {
    /// It is not JSON.
    Syntax {
        /// What the parser says.
        what: String,
        /// Where, in bytes from the start.
        offset: usize,
    },
    /// A field is not there.
    Missing {
        /// Which.
        field: String,
    },
    /// A field, or the whole body where there is none, is not what it should be.
    Wrong {
        /// Which.
        field: Option<String>,
        /// What is wrong with it.
        what: String,
    },
}

/// The body of `request`, whole.
pub(super) async fn read(request: Request) -> Result<Bytes, Refusal> {
    let read = read_body(request.into_body(), BODY_BYTES_MAX, BODY_TIME_MAX).await;
    read.map_err(|error| match error {
        BodyError::TooLarge { .. } => Refusal::too_large(BODY_BYTES_MAX),
        BodyError::TooSlow(_) | BodyError::Trickled => Refusal::too_slow(error.to_string()),
        _ => Refusal::broken_body(error.to_string()),
    })
}

/// Parses a body, which must be an object.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonFault> {
    // serde would take an array for a struct, field by field.
    if let Some(b'[') = body.trim_ascii_start().first() {
        let what = "body is an array, expected an object".to_owned();
        return Err(JsonFault::Wrong { field: None, what });
    }
    let mut parser = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut parser);
    let value = parsed.map_err(|error| fault(body, &error))?;
    match parser.end() {
        Ok(()) => Ok(value),
        Err(error) => Err(syntax(body, &error)),
    }
}

fn fault(body: &[u8], error: &serde_path_to_error::Error<serde_json::Error>) -> JsonFault {
    let (path, cause) = (error.path().to_string(), error.inner());
    if !cause.is_data() {
        return syntax(body, cause);
    }
    let what = without_place(cause);
    // The names of absent and unexpected fields stand in the text only.
    let named = |prefix: &str| Some(what.strip_prefix(prefix)?.split('`').next()?.to_owned());
    let below = |name: String| match path.as_str() {
        "." => name,
        parent if parent == name || parent.ends_with(&format!(".{name}")) => path.clone(),
        parent => format!("{parent}.{name}"),
    };
    if let Some(name) = named("missing field `") {
        return JsonFault::Missing { field: below(name) };
    }
    let name = named("unknown field `").or_else(|| named("duplicate field `"));
    let field = name
        .map(below)
        .or_else(|| (path != ".").then(|| path.clone()));
    JsonFault::Wrong { field, what }
}

fn syntax(body: &[u8], error: &serde_json::Error) -> JsonFault {
    let before = body
        .split(|byte| *byte == b'\n')
        .take(error.line().saturating_sub(1));
    let lines: usize = before.map(|line| line.len() + 1).sum();
    let offset = (lines + error.column().saturating_sub(1)).min(body.len());
    JsonFault::Syntax {
        what: without_place(error),
        offset,
    }
}

/// What the parser says, less its own line and column.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only parsed")]
    struct Outer {
        name: String,
        #[serde(default)]
        list: Vec<u32>,
        #[serde(default)]
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only parsed")]
    struct Inner {
        size: u32,
    }

    fn fault_of(body: &str) -> JsonFault {
        parse::<Outer>(body.as_bytes()).expect_err(body)
    }

    fn wrong_field(body: &str) -> String {
        match fault_of(body) {
            JsonFault::Wrong {
                field: Some(field), ..
            }
            | JsonFault::Missing { field } => field,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn names_the_field_to_blame() {
        assert_eq!(
            fault_of("{}"),
            JsonFault::Missing {
                field: "name".into()
            }
        );
        assert_eq!(wrong_field(r#"{"name":1}"#), "name");
        assert_eq!(wrong_field(r#"{"name":"a","nmae":"a"}"#), "nmae");
        assert_eq!(wrong_field(r#"{"name":"a","name":"a"}"#), "name");
        assert_eq!(wrong_field(r#"{"name":"a","list":[1,-1]}"#), "list[1]");
        assert_eq!(
            wrong_field(r#"{"name":"a","inner":{"size":"a"}}"#),
            "inner.size"
        );
        assert_eq!(wrong_field(r#"{"name":"a","inner":{}}"#), "inner.size");
        assert_eq!(wrong_field(r#"{"name":"a","inner":{"x":1}}"#), "inner.x");
    }

    #[test]
    fn says_where_a_text_stops_being_json() {
        let expected = JsonFault::Syntax {
            what: "expected value".into(),
            offset: 10,
        };
        assert_eq!(fault_of("{\n\"name\":\n?}"), expected);
        for broken in ["", "{", "{\"name\":\"a\"} x", "\"a", "{'name':1}"] {
            assert!(
                matches!(fault_of(broken), JsonFault::Syntax { .. }),
                "{broken}"
            );
        }
        for other in ["[\"a\"]", " [", "1", "null"] {
            assert!(
                matches!(fault_of(other), JsonFault::Wrong { field: None, .. }),
                "{other}"
            );
        }
    }
}
