//! What is stored: one JSON record a key.
//!
//! | key | value |
//! |---|---|
//! | `application/NAME` | [`Application`] with its links |
//! | `model/NAME` | [`ModelRecord`]: the current version and those before it |
//! | `version/MODEL/VERSION` | [`ModelVersion`] |
//! | `deployment/MODEL/VERSION` | [`Deployment`] |
//! | `counter/generation` | the last generation given out |
//! | `counter/query_id` | the first query id that is not reserved |
//!
//! # Invariants
//! - Keys are unambiguous, as names hold no `/`.
//! - A record names itself as its key does; unknown keys and fields are errors.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skysail_core::Name;
use skysail_core::registry::{Application, Deployment, ModelVersion};

use crate::error::ControlError;
use crate::store::Change;

/// Where a record is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Application(Name),
    Model(Name),
    Version { model: Name, version: Name },
    Deployment { model: Name, version: Name },
    Generation,
    QueryId,
}

/// What is stored of a model beside its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelRecord {
    pub(crate) name: Name,
    pub(crate) current: Option<Name>,
    pub(crate) history: Vec<Name>,
}

/// One stored record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    Application(Arc<Application>),
    Model(ModelRecord),
    Version(Arc<ModelVersion>),
    Deployment(Arc<Deployment>),
    Generation(u64),
    QueryId(u64),
}

/// One part of a change of the state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Edit {
    Put(Record),
    Delete(Key),
}

impl Key {
    /// Reads a key back; `None` where no release has written it.
    fn parse(text: &str) -> Option<Key> {
        let name = |text| Name::new(text).ok();
        let mut words = text.split('/');
        let (first, second, third) = (words.next()?, words.next()?, words.next());
        if words.next().is_some() {
            return None;
        }
        Some(match (first, second, third) {
            ("application", application, None) => Key::Application(name(application)?),
            ("model", model, None) => Key::Model(name(model)?),
            ("version", model, Some(version)) => Key::Version {
                model: name(model)?,
                version: name(version)?,
            },
            ("deployment", model, Some(version)) => Key::Deployment {
                model: name(model)?,
                version: name(version)?,
            },
            ("counter", "generation", None) => Key::Generation,
            ("counter", "query_id", None) => Key::QueryId,
            _ => return None,
        })
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Application(name) => write!(f, "application/{name}"),
            Key::Model(name) => write!(f, "model/{name}"),
            Key::Version { model, version } => write!(f, "version/{model}/{version}"),
            Key::Deployment { model, version } => write!(f, "deployment/{model}/{version}"),
            Key::Generation => f.write_str("counter/generation"),
            Key::QueryId => f.write_str("counter/query_id"),
        }
    }
}

impl Record {
    pub(crate) fn key(&self) -> Key {
        match self {
            Record::Application(application) => Key::Application(application.name.clone()),
            Record::Model(model) => Key::Model(model.name.clone()),
            Record::Version(version) => Key::Version {
                model: version.model.clone(),
                version: version.version.clone(),
            },
            Record::Deployment(deployment) => Key::Deployment {
                model: deployment.model.clone(),
                version: deployment.version.clone(),
            },
            Record::Generation(_) => Key::Generation,
            Record::QueryId(_) => Key::QueryId,
        }
    }

    fn value(&self) -> Vec<u8> {
        match self {
            Record::Application(application) => to_json(application),
            Record::Model(model) => to_json(model),
            Record::Version(version) => to_json(version),
            Record::Deployment(deployment) => to_json(deployment),
            Record::Generation(last) => to_json(last),
            Record::QueryId(next) => to_json(next),
        }
    }

    /// Reads one entry of a store.
    ///
    /// # Errors
    /// `Record`, where this release would not have written it.
    pub(crate) fn decode(text: &str, value: &[u8]) -> Result<Record, ControlError> {
        let bad = |reason| ControlError::Record {
            key: text.to_owned(),
            reason,
        };
        let key = Key::parse(text).ok_or_else(|| bad("unknown key".to_owned()))?;
        let record = Record::from_json(&key, value).map_err(|error| bad(error.to_string()))?;
        if record.key() != key {
            return Err(bad(format!("it is the record of '{}'", record.key())));
        }
        Ok(record)
    }

    fn from_json(key: &Key, value: &[u8]) -> serde_json::Result<Record> {
        fn read<T: DeserializeOwned>(value: &[u8]) -> serde_json::Result<T> {
            serde_json::from_slice(value)
        }
        Ok(match key {
            Key::Application(_) => Record::Application(read(value)?),
            Key::Model(_) => Record::Model(read(value)?),
            Key::Version { .. } => Record::Version(read(value)?),
            Key::Deployment { .. } => Record::Deployment(read(value)?),
            Key::Generation => Record::Generation(read(value)?),
            Key::QueryId => Record::QueryId(read(value)?),
        })
    }
}

fn to_json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records hold only texts and numbers, and no maps")
}

impl Edit {
    /// The edit as the store takes it.
    pub(crate) fn to_change(&self) -> Change {
        match self {
            Edit::Put(record) => Change::Put {
                key: record.key().to_string(),
                value: record.value(),
            },
            Edit::Delete(key) => Change::Delete {
                key: key.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
