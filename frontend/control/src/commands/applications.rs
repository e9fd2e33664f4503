//! Applications and their links.
//!
//! A link is to a model's *name*: it outlives the model's versions, and holds again when the name
//! is registered anew.

use std::sync::Arc;

use skysail_core::Name;
use skysail_core::registry::{Application, Model};

use super::limits::{self, APPLICATIONS_MAX};
use super::models::record;
use super::{Decided, NewApplication, edits};
use crate::error::ControlError;
use crate::records::{Edit, Key, Record};
use crate::state::State;

/// Registers an application without links.
pub(crate) fn add_application(state: &State, new: &NewApplication) -> Decided<()> {
    let name = limits::application_name(&new.name)?;
    limits::check_application(new)?;
    if state.application(name.as_str()).is_some() {
        return Err(ControlError::ApplicationExists {
            name: name.as_str().to_owned(),
        });
    }
    let count = state.registry.applications.len() + 1;
    limits::check_room(("applications", "name"), count, APPLICATIONS_MAX)?;
    edits(vec![put(Application {
        name,
        input_type: new.input_type,
        features: new.features,
        latency_slo_micros: new.latency_slo_micros,
        default_output: new.default_output.clone(),
        guarantee: new.guarantee,
        linked_models: Vec::new(),
    })])
}

/// Removes an application with its links.
pub(crate) fn remove_application(state: &State, name: &str) -> Decided<()> {
    match state.application(name) {
        Some(application) => edits(vec![Edit::Delete(Key::Application(
            application.name.clone(),
        ))]),
        None => Err(ControlError::ApplicationMissing {
            name: name.to_owned(),
        }),
    }
}

/// Links an application to the one model named; the refusals come in Clipper's order.
///
/// Versions that the application could not be answered by leave the model's history.
pub(crate) fn link_models(state: &State, application: &str, models: &[String]) -> Decided<()> {
    let missing = || ControlError::LinkApplicationMissing {
        name: application.to_owned(),
    };
    let application = state.application(application).ok_or_else(missing)?;
    for model in models {
        linkable(state, application, model)?;
    }
    let [model] = models else {
        return Err(not_one(application, models.len()));
    };
    let model = linkable(state, application, model)?;
    check_no_link(application, model)?;
    let mut linked = Application::clone(application);
    linked.linked_models.push(model.name.clone());
    let mut kept = record(model);
    kept.history
        .retain(|version| model.versions[version].input_type == application.input_type);
    edits(vec![put(linked), Edit::Put(Record::Model(kept))])
}

fn linkable<'a>(
    state: &'a State,
    application: &Application,
    model: &str,
) -> Result<&'a Arc<Model>, ControlError> {
    let name = || model.to_owned();
    let found = state.model(model);
    let found = found.ok_or_else(|| ControlError::LinkModelMissing { model: name() })?;
    let current = found
        .current_version()
        .ok_or_else(|| ControlError::LinkModelWithoutCurrent { model: name() })?;
    if current.input_type != application.input_type {
        return Err(ControlError::LinkIncompatible {
            model: name(),
            has: current.input_type,
            wants: application.input_type,
        });
    }
    Ok(found)
}

fn not_one(application: &Application, count: usize) -> ControlError {
    match count {
        0 => ControlError::LinkWithoutModel {
            application: application.name.to_string(),
        },
        count => ControlError::LinksTooMany { count },
    }
}

fn check_no_link(application: &Application, model: &Model) -> Result<(), ControlError> {
    let name = application.name.to_string();
    match application.linked_models.first() {
        None => Ok(()),
        Some(_) if application.linked_models.contains(&model.name) => {
            Err(ControlError::LinkExists {
                model: model.name.to_string(),
                application: name,
            })
        }
        Some(other) => Err(ControlError::LinkOccupied {
            model: other.to_string(),
            application: name,
        }),
    }
}

/// Removes the links named, all or none.
pub(crate) fn unlink_models(state: &State, application: &str, models: &[String]) -> Decided<()> {
    let missing = || ControlError::UnlinkApplicationMissing {
        name: application.to_owned(),
    };
    let found = state.application(application).ok_or_else(missing)?;
    let is_named = |link: &Name| models.iter().any(|model| model == link.as_str());
    let is_linked = |model: &String| {
        found
            .linked_models
            .iter()
            .any(|link| link.as_str() == model)
    };
    if let Some(model) = models.iter().find(|model| !is_linked(model)) {
        return Err(ControlError::LinkMissing {
            model: model.clone(),
            application: application.to_owned(),
        });
    }
    if models.is_empty() {
        return edits(Vec::new());
    }
    let mut unlinked = Application::clone(found);
    unlinked.linked_models.retain(|link| !is_named(link));
    edits(vec![put(unlinked)])
}

/// The models that an application links to.
pub(crate) fn linked_models(
    applications: &std::collections::BTreeMap<Name, Arc<Application>>,
    application: &str,
) -> Result<Vec<Name>, ControlError> {
    match applications.get(application) {
        Some(found) => Ok(found.linked_models.clone()),
        None => Err(ControlError::LinksApplicationMissing {
            name: application.to_owned(),
        }),
    }
}

fn put(application: Application) -> Edit {
    Edit::Put(Record::Application(Arc::new(application)))
}
