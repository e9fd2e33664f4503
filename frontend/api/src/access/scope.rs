//! What a token is for.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a token is for. None implies another: a token for predictions and administration has
/// both scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Predictions.
    Query,
    /// Telling how good predictions were.
    Feedback,
    /// Registering, deploying, and seeing how all of that does.
    Admin,
    /// Reading `/metrics`.
    Metrics,
}

/// A text that names no scope.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("'{0}' is no scope, expected query, feedback, admin or metrics")]
pub struct UnknownScope(String);

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 4] = [Scope::Query, Scope::Feedback, Scope::Admin, Scope::Metrics];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scope::Query => "query",
            Scope::Feedback => "feedback",
            Scope::Admin => "admin",
            Scope::Metrics => "metrics",
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Scope, UnknownScope> {
        let mut all = Scope::ALL.into_iter();
        let found = all.find(|scope| scope.name() == text);
        found.ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// Scopes in words.
#[must_use]
pub fn listed(scopes: &[Scope]) -> String {
    let names: Vec<_> = scopes.iter().map(|scope| scope.name()).collect();
    names.join(", ")
}
