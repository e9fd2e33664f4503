//! Which models the holder of a key may register.
//!
//! A key's grant stands in its public key file, on lines after the key: `models: a b` names
//! them, `models: *` means all. Without such a line a key may register the model of its own
//! name.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::name::{Name, NameError};

/// Begins a line that names models.
const MODELS: &str = "models:";
/// In the place of names: all models.
const ALL: &str = "*";

/// The models that one key may register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Every one.
    All,
    /// These.
    Models(BTreeSet<Name>),
}

/// The grants of all keys that are let in, by the keys' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(BTreeMap<Name, Grant>);

/// Lines that are no grant. Nothing is granted by them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrantError {
    /// A line says something else.
    #[error("line '{}' is not understood, expected '{MODELS} NAME…'", .0.chars().take(80).collect::<String>())]
    Line(String),
    /// A line names nothing.
    #[error("a line '{MODELS}' names no model")]
    NoModel,
    /// A line names what no model can be called.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Grant {
    /// The models of a `--model` list: names, or `*`.
    ///
    /// # Errors
    /// If one is neither.
    pub fn of<'a>(models: impl IntoIterator<Item = &'a str>) -> Result<Grant, NameError> {
        let mut names = BTreeSet::new();
        let mut all = false;
        for model in models {
            if model == ALL {
                all = true;
            } else {
                names.insert(Name::new(model)?);
            }
        }
        Ok(if all {
            Grant::All
        } else {
            Grant::Models(names)
        })
    }

    /// The grant of `key` by the lines of its file that follow the key. Empty lines and
    /// comments (`#`) say nothing.
    ///
    /// # Errors
    /// What is not understood.
    pub fn parse<'a>(
        key: &Name,
        lines: impl IntoIterator<Item = &'a str>,
    ) -> Result<Grant, GrantError> {
        let mut models = Vec::new();
        for line in lines.into_iter().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(named) = line.strip_prefix(MODELS) else {
                return Err(GrantError::Line(line.to_owned()));
            };
            let before = models.len();
            models.extend(named.split_whitespace());
            if models.len() == before {
                return Err(GrantError::NoModel);
            }
        }
        if models.is_empty() {
            models.push(key.as_str());
        }
        Ok(Grant::of(models)?)
    }

    /// Whether `model` may be registered.
    #[must_use]
    pub fn allows(&self, model: &Name) -> bool {
        match self {
            Grant::All => true,
            Grant::Models(names) => names.contains(model),
        }
    }
}

/// The line of a public key file.
impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MODELS)?;
        match self {
            Grant::All => write!(f, " {ALL}"),
            Grant::Models(names) => names.iter().try_for_each(|name| write!(f, " {name}")),
        }
    }
}

impl Grants {
    /// Whether the holder of the key named `key` may register `model`. A key that is not
    /// among those that are let in, or no longer, may register nothing.
    #[must_use]
    pub fn allows(&self, key: &str, model: &Name) -> bool {
        self.0.get(key).is_some_and(|grant| grant.allows(model))
    }
}

impl FromIterator<(Name, Grant)> for Grants {
    fn from_iter<T: IntoIterator<Item = (Name, Grant)>>(grants: T) -> Self {
        Grants(grants.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn parse(lines: &str) -> Result<Grant, GrantError> {
        Grant::parse(&name("own"), lines.lines())
    }

    #[test]
    fn without_a_line_a_key_has_the_model_of_its_own_name() {
        for lines in ["", "\n  \n# models: other\n"] {
            let grant = parse(lines).expect("nothing wrong");
            assert!(grant.allows(&name("own")) && !grant.allows(&name("other")));
        }
    }

    #[test]
    fn a_line_grants_what_it_names_and_nothing_else() {
        let grant = parse("models: a  b\nmodels:c").expect("names");
        for model in ["a", "b", "c"] {
            assert!(grant.allows(&name(model)), "{model}");
        }
        for model in ["own", "ab", "A"] {
            assert!(!grant.allows(&name(model)), "{model}");
        }
        assert!(parse("models: *").expect("all").allows(&name("any")));
    }

    #[test]
    fn what_is_not_understood_grants_nothing() {
        assert_eq!(parse("model: a"), Err(GrantError::Line("model: a".into())));
        assert_eq!(parse("models: "), Err(GrantError::NoModel));
        assert!(matches!(parse("models: a/b"), Err(GrantError::Name(_))));
        assert!(matches!(parse("models: a*"), Err(GrantError::Name(_))));
    }

    #[test]
    fn a_grant_comes_back_from_its_line() {
        for models in [&["*"][..], &["a"], &["a", "b.c"]] {
            let grant = Grant::of(models.iter().copied()).expect("names");
            assert_eq!(parse(&grant.to_string()), Ok(grant));
        }
    }

    #[test]
    fn a_key_that_is_not_listed_may_register_nothing() {
        let grants: Grants = [(name("k"), Grant::All)].into_iter().collect();
        assert!(grants.allows("k", &name("m")));
        assert!(!grants.allows("gone", &name("gone")));
        assert!(!Grants::default().allows("k", &name("k")));
    }
}
