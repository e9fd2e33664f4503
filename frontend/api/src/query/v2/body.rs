//! Bodies of the routes other than `infer`: objects of JSON, or nothing.

use serde::de::DeserializeOwned;

use super::error::V2Error;

/// Reads an object. An array is none, though it could be read as one.
///
/// # Errors
/// If it is anything else; `what` says what was expected.
pub(super) fn object<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, V2Error> {
    let wrong = |why: &str| V2Error::invalid(format!("the body is no {what}: {why}"));
    if trimmed(body).first() != Some(&b'{') {
        return Err(wrong("it is not an object"));
    }
    serde_json::from_slice(body).map_err(|error| wrong(&error.to_string()))
}

/// As [`object`], where nothing at all is the default.
///
/// # Errors
/// As [`object`].
pub(super) fn optional_object<T>(body: &[u8], what: &str) -> Result<T, V2Error>
where
    T: DeserializeOwned + Default,
{
    match trimmed(body) {
        [] => Ok(T::default()),
        _ => object(body, what),
    }
}

/// Without what JSON calls white space before it.
fn trimmed(body: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    let start = body.iter().position(|byte| !is_space(byte));
    &body[start.unwrap_or(body.len())..]
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn only_an_object_or_nothing_is_read() {
        let read = |body: &str| optional_object::<Map<String, Value>>(body.as_bytes(), "object");
        assert_eq!(read("").map(|object| object.len()), Ok(0));
        assert_eq!(read(" \r\n\t").map(|object| object.len()), Ok(0));
        assert_eq!(read(" {\"a\":1}").map(|object| object.len()), Ok(1));
        for wrong in ["[]", "[true]", "7", "null", "{", "\x0c"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        assert!(object::<Map<String, Value>>(b"", "object").is_err());
    }
}
