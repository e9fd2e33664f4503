//! Trace and logging settings: what they are, and that they are not set here.
//!
//! Skysail traces nothing per request, and what it logs is the operator's to say (`--log`). A
//! client that sets what already holds is told so; any other change is refused.

use serde_json::{Map, Value, json};

use super::body;
use super::error::V2Error;

/// The trace settings.
pub(in crate::query) fn trace() -> Value {
    json!({
        "trace_level": ["OFF"], "trace_rate": "1000", "trace_count": "-1",
        "log_frequency": "0", "trace_file": "", "trace_mode": "triton",
    })
}

/// The logging settings.
pub(in crate::query) fn logging() -> Value {
    json!({
        "log_file": "", "log_info": true, "log_warning": true, "log_error": true,
        "log_verbose_level": 0, "log_format": "default",
    })
}

/// The settings, if `body` changes none of them.
///
/// # Errors
/// If it is no object, or would change one.
pub(in crate::query) fn update(body: &[u8], settings: Value) -> Result<Value, V2Error> {
    let wanted: Map<String, Value> = body::optional_object(body, "object of settings")?;
    for (name, value) in &wanted {
        let name = name.escape_default();
        match settings.get(name.to_string()) {
            None => return Err(V2Error::invalid(format!("there is no setting '{name}'"))),
            // Null asks for the setting that holds by default, and it does.
            Some(known) if value.is_null() || is_same(known, value) => {}
            Some(known) => {
                return Err(V2Error::unsupported(format!(
                    "setting '{name}' is {known} and cannot be changed by clients"
                )));
            }
        }
    }
    Ok(settings)
}

/// Clients write a single value as a list or not, and numbers as text or not.
fn is_same(known: &Value, wanted: &Value) -> bool {
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let only = |value: &Value| match value {
        Value::Array(items) if items.len() == 1 => plain(&items[0]),
        other => plain(other),
    };
    only(known) == only(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_may_be_asked_for_again_and_nothing_else() {
        for same in [
            "",
            "{}",
            r#"{"trace_level":"OFF"}"#,
            r#"{"trace_level":["OFF"]}"#,
        ] {
            assert_eq!(update(same.as_bytes(), trace()), Ok(trace()), "{same}");
        }
        assert!(update(br#"{"log_verbose_level":"0","log_info":null}"#, logging()).is_ok());
        let other = update(br#"{"trace_level":["TIMESTAMPS"]}"#, trace());
        assert!(
            other
                .expect_err("a change")
                .message
                .contains("cannot be changed")
        );
        let unknown = update(br#"{"colour":1}"#, logging()).expect_err("unknown");
        assert_eq!(unknown.message, "there is no setting 'colour'");
        assert!(update(b"[1]", trace()).is_err());
    }
}
