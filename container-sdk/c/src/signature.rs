//! A signature in one line: `x: f32[784], n: i64 -> y: f32[10]`.

use skysail_container::Signature;

use crate::failure::{Failure, Result};

/// The signature that `text` says. Whether its types are types is told when it is built.
///
/// # Errors
/// If it is not inputs, an arrow and outputs, each a name, a colon and a type.
pub(crate) fn parse(text: &str) -> Result<Signature> {
    let wrong = |why: &str| {
        Failure(format!(
            "the model's signature is not valid: '{text}' {why}; \
             expected one like 'x: f32[784], n: i64 -> y: f32[10]'"
        ))
    };
    let (inputs, outputs) = text.split_once("->").ok_or_else(|| wrong("has no '->'"))?;
    let mut signature = Signature::new();
    for (side, is_input) in [(inputs, true), (outputs, false)] {
        for tensor in tensors(side) {
            // A name may have colons, a type has none.
            let (name, row) = tensor
                .rsplit_once(':')
                .ok_or_else(|| wrong(&format!("has no ':' in '{}'", tensor.trim())))?;
            let (name, row) = (name.trim(), row.trim());
            signature = if is_input {
                signature.input(name, row)
            } else {
                signature.output(name, row)
            };
        }
    }
    Ok(signature)
}

/// The tensors of one side, which may stand in parentheses: what is between commas outside of
/// brackets.
fn tensors(side: &str) -> impl Iterator<Item = &str> {
    let side = side.trim();
    let inner = side
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    let mut is_inside = false;
    let parts = inner.unwrap_or(side).split(move |c| {
        is_inside = (is_inside || c == '[') && c != ']';
        c == ',' && !is_inside
    });
    parts.filter(|part| !part.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match parse(text).map(Signature::build) {
            Ok(Ok((schema, _))) => schema.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(Failure(error)) => error,
        }
    }

    #[test]
    fn reads_what_a_schema_prints() {
        let text = "(input:0: f32[-1,8], n: i64) -> (y: f32[10], s: string)";
        assert_eq!(told(text), text);
        let bare = "input:0:f32[-1, 8],n:i64->y: f32[10], s: string";
        assert_eq!(told(bare), text);
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(told("x: f32").contains("'x: f32' has no '->'"));
        assert!(told("x -> y: f32").contains("has no ':' in 'x'"));
        assert!(told("x: f33 -> y: f32").contains("'f33' is not a tensor type"));
        assert!(told("x: f32 ->").contains("outputs has 0 tensors"));
    }
}
