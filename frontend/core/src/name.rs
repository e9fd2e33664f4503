//! Names of applications, models and versions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 63;

/// A checked name: `[A-Za-z0-9]([A-Za-z0-9._-]{0,62})`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// A text that is no name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "'{}' is not a name: expected 1 to {NAME_BYTES_MAX} letters, digits, '.', '_' or '-', \
     the first a letter or digit",
    .0.chars().take(80).collect::<String>()
)]
pub struct NameError(pub String);

impl Name {
    /// Checks `text`.
    ///
    /// # Errors
    /// If it is empty, too long or has other characters.
    pub fn new(text: &str) -> Result<Name, NameError> {
        let first = text
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric);
        let rest = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if first && text.len() <= NAME_BYTES_MAX && text.bytes().all(rest) {
            return Ok(Name(text.into()));
        }
        Err(NameError(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(text: String) -> Result<Name, NameError> {
        Name::new(&text)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_every_orchestrator_can_derive_a_name_from() {
        for good in ["a", "7", "Digits-MLP_v1.2", &"x".repeat(63)] {
            assert_eq!(Name::new(good).expect("a name").as_str(), good);
        }
        for bad in [
            "",
            "-a",
            ".a",
            "a/b",
            "a:b",
            "a b",
            "é",
            "..",
            &"x".repeat(64),
        ] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }
}
