//! Models and their versions.
//!
//! The history holds every version that was current and still exists, once each, the latest last,
//! and never the current one. Rolling back makes its last entry current and puts the version left
//! in its place, so that the version left can answer until the other has a replica; rolling back
//! twice returns.

use std::sync::Arc;

use skysail_core::Name;
use skysail_core::registry::{Model, ModelVersion};

use super::limits::{self, MODELS_MAX, VERSIONS_MAX};
use super::{Decided, Decision, NewVersion, edits};
use crate::error::ControlError;
use crate::records::{Edit, Key, ModelRecord, Record};
use crate::state::State;

/// What is stored of `model` beside its versions.
pub(super) fn record(model: &Model) -> ModelRecord {
    ModelRecord {
        name: model.name.clone(),
        current: model.current.clone(),
        history: model.history.clone(),
    }
}

/// Registers a version and makes it current.
pub(crate) fn add_model_version(state: &State, new: &NewVersion) -> Decided<()> {
    let (model, version) = limits::version_names(new)?;
    limits::check_version(new)?;
    let found = state.model(model.as_str());
    check_addition(state, found, new)?;
    let generation = next_generation(state)?;
    let mut record = match found {
        Some(found) => record(found),
        None => ModelRecord {
            name: model.clone(),
            current: None,
            history: Vec::new(),
        },
    };
    make_current(&mut record, &version);
    let added = ModelVersion {
        model,
        version,
        generation,
        input_type: new.input_type,
        labels: new.labels.clone(),
        container_name: new.container_name.clone(),
        model_data_path: new.model_data_path.clone(),
        batching: new.batching.clone(),
        idempotent: new.idempotent,
    };
    edits(vec![
        Edit::Put(Record::Generation(generation)),
        Edit::Put(Record::Version(Arc::new(added))),
        Edit::Put(Record::Model(record)),
    ])
}

fn check_addition(
    state: &State,
    found: Option<&Arc<Model>>,
    new: &NewVersion,
) -> Result<(), ControlError> {
    if found.is_some_and(|model| model.versions.contains_key(new.version.as_str())) {
        return Err(ControlError::VersionExists {
            model: new.model.clone(),
            version: new.version.clone(),
        });
    }
    if let Some(application) = state.misfit(&new.model, new.input_type) {
        return Err(ControlError::VersionIncompatible {
            model: new.model.clone(),
            application: application.name.to_string(),
            wants: application.input_type,
            has: new.input_type,
        });
    }
    match found {
        None => {
            let count = state.registry.models.len() + 1;
            limits::check_room(("models", "model"), count, MODELS_MAX)
        }
        Some(model) => {
            let count = model.versions.len() + 1;
            limits::check_room(("versions of this model", "version"), count, VERSIONS_MAX)
        }
    }
}

fn next_generation(state: &State) -> Result<u64, ControlError> {
    let exhausted = ControlError::Exhausted {
        what: "generations",
        asked: 1,
        left: 0,
    };
    state.generation.checked_add(1).ok_or(exhausted)
}

fn make_current(record: &mut ModelRecord, version: &Name) {
    let left = record.current.replace(version.clone());
    record.history.extend(left);
    record.history.retain(|earlier| earlier != version);
}

/// Removes a version with its deployment; if it was current, the one before it is again.
///
/// With its last version a model is gone.
pub(crate) fn remove_model_version(state: &State, model: &str, version: &str) -> Decided<()> {
    let missing = || ControlError::VersionMissing {
        model: model.to_owned(),
        version: version.to_owned(),
    };
    let found = state.model(model).ok_or_else(missing)?;
    let removed = found.versions.get(version).ok_or_else(missing)?;
    if found.versions.len() == 1 {
        return edits(delete_model(state, found));
    }
    let mut record = record(found);
    record.history.retain(|earlier| *earlier != removed.version);
    if record.current.as_ref() == Some(&removed.version) {
        record.current = record.history.pop();
    }
    let mut all = delete_version(state, removed);
    all.push(Edit::Put(Record::Model(record)));
    edits(all)
}

/// Removes a model with its versions and their deployments.
pub(crate) fn remove_model(state: &State, model: &str) -> Decided<()> {
    match state.model(model) {
        Some(found) => edits(delete_model(state, found)),
        None => Err(model_missing(model)),
    }
}

fn delete_model(state: &State, model: &Model) -> Vec<Edit> {
    let versions = model.versions.values();
    let mut all: Vec<_> = versions
        .flat_map(|version| delete_version(state, version))
        .collect();
    all.push(Edit::Delete(Key::Model(model.name.clone())));
    all
}

fn delete_version(state: &State, removed: &ModelVersion) -> Vec<Edit> {
    let (model, version) = (removed.model.clone(), removed.version.clone());
    let mut all = Vec::new();
    if state.deployment(removed).is_some() {
        all.push(Edit::Delete(Key::Deployment {
            model: model.clone(),
            version: version.clone(),
        }));
    }
    all.push(Edit::Delete(Key::Version { model, version }));
    all
}

/// Makes a version current.
pub(crate) fn set_version(state: &State, model: &str, version: &str) -> Decided<()> {
    let missing = || ControlError::SetVersionModelMissing {
        model: model.to_owned(),
    };
    let found = state.model(model).ok_or_else(missing)?;
    let wanted = found
        .versions
        .get(version)
        .ok_or_else(|| ControlError::SetVersionMissing {
            model: model.to_owned(),
            version: version.to_owned(),
        })?;
    if found.current.as_ref() == Some(&wanted.version) {
        return edits(Vec::new());
    }
    if let Some(application) = state.misfit(model, wanted.input_type) {
        return Err(ControlError::SetVersionIncompatible {
            model: model.to_owned(),
            version: version.to_owned(),
            application: application.name.to_string(),
            wants: application.input_type,
            has: wanted.input_type,
        });
    }
    edits(vec![current_edit(found, &wanted.version)])
}

/// Makes the version before the current one current, and tells which that is.
pub(crate) fn rollback(state: &State, model: &str) -> Decided<Name> {
    let found = state.model(model).ok_or_else(|| model_missing(model))?;
    let empty = || ControlError::HistoryEmpty {
        model: model.to_owned(),
    };
    let version = found.history.last().ok_or_else(empty)?;
    Ok(Decision {
        edits: vec![current_edit(found, version)],
        answer: version.clone(),
    })
}

fn current_edit(model: &Model, version: &Name) -> Edit {
    let mut record = record(model);
    make_current(&mut record, version);
    Edit::Put(Record::Model(record))
}

pub(super) fn model_missing(model: &str) -> ControlError {
    ControlError::ModelMissing {
        model: model.to_owned(),
    }
}
