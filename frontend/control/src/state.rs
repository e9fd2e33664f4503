//! Everything that is registered and deployed, as of one revision of the store.
//!
//! Records fold into it, at the start from the whole store, later from each commit. It is cheap
//! to clone: its parts are shared until an edit changes them.
//!
//! # Invariants
//! [`State::check`] holds after every command:
//! - A model has at least one version; its current version and its history are some of them, each
//!   at most once.
//! - What an application links to is a name. Where a model of that name exists, its current
//!   version and its history take what the application takes.
//! - Generations are unique, at least 1, and none is above the counter.
//! - What is deployed has a command. Its version may be missing: it is registered later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skysail_core::registry::{Application, Deployment, Model, ModelVersion, Registry};
use skysail_core::{InputType, Name};

use crate::error::ControlError;
use crate::records::{Edit, Key, ModelRecord, Record};
use crate::store::{Contents, Revision};

/// Deployments by model and version.
pub(crate) type Deployments = BTreeMap<(Name, Name), Arc<Deployment>>;

/// Everything that is registered and deployed.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// Of the store.
    pub(crate) revision: Revision,
    /// What the data plane sees.
    pub(crate) registry: Arc<Registry>,
    /// What the orchestrator is told.
    pub(crate) deployments: Arc<Deployments>,
    /// The last that was given out.
    pub(crate) generation: u64,
    /// The first that is not reserved.
    pub(crate) query_id: u64,
}

impl State {
    /// Reads the whole store.
    ///
    /// # Errors
    /// `Record`, naming the key of what cannot be understood or contradicts other records.
    pub(crate) fn load(contents: &Contents) -> Result<State, ControlError> {
        let mut state = State {
            revision: contents.revision,
            ..State::default()
        };
        for (key, value) in &contents.entries {
            state.apply(Edit::Put(Record::decode(key, value)?));
        }
        state
            .check()
            .map_err(|(key, reason)| ControlError::Record {
                key: key.to_string(),
                reason,
            })?;
        Ok(state)
    }

    /// Takes one edit in.
    pub(crate) fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Put(record) => self.put(record),
            Edit::Delete(key) => self.delete(&key),
        }
    }

    fn put(&mut self, record: Record) {
        match record {
            Record::Application(application) => {
                let applications = &mut Arc::make_mut(&mut self.registry).applications;
                applications.insert(application.name.clone(), application);
            }
            Record::Model(ModelRecord {
                name,
                current,
                history,
            }) => {
                let model = self.model_mut(&name);
                model.current = current;
                model.history = history;
            }
            Record::Version(version) => {
                let model = self.model_mut(&version.model);
                model.versions.insert(version.version.clone(), version);
            }
            Record::Deployment(deployment) => {
                let key = (deployment.model.clone(), deployment.version.clone());
                Arc::make_mut(&mut self.deployments).insert(key, deployment);
            }
            Record::Generation(last) => self.generation = last,
            Record::QueryId(next) => self.query_id = next,
        }
    }

    fn delete(&mut self, key: &Key) {
        match key {
            Key::Application(name) => {
                Arc::make_mut(&mut self.registry).applications.remove(name);
            }
            Key::Model(name) => {
                Arc::make_mut(&mut self.registry).models.remove(name);
            }
            Key::Version { model, version } => {
                self.model_mut(model).versions.remove(version);
            }
            Key::Deployment { model, version } => {
                let key = (model.clone(), version.clone());
                Arc::make_mut(&mut self.deployments).remove(&key);
            }
            Key::Generation => self.generation = 0,
            Key::QueryId => self.query_id = 0,
        }
    }

    fn model_mut(&mut self, name: &Name) -> &mut Model {
        let models = &mut Arc::make_mut(&mut self.registry).models;
        let model = models.entry(name.clone()).or_insert_with(|| {
            Arc::new(Model {
                name: name.clone(),
                current: None,
                history: Vec::new(),
                versions: BTreeMap::new(),
            })
        });
        Arc::make_mut(model)
    }

    /// The application of that name.
    pub(crate) fn application(&self, name: &str) -> Option<&Arc<Application>> {
        self.registry.applications.get(name)
    }

    /// The model of that name.
    pub(crate) fn model(&self, name: &str) -> Option<&Arc<Model>> {
        self.registry.models.get(name)
    }

    /// The version of that name.
    pub(crate) fn version(&self, model: &str, version: &str) -> Option<&Arc<ModelVersion>> {
        self.model(model)?.versions.get(version)
    }

    /// The deployment of that version.
    pub(crate) fn deployment(&self, version: &ModelVersion) -> Option<&Arc<Deployment>> {
        let key = (version.model.clone(), version.version.clone());
        self.deployments.get(&key)
    }

    /// Deployments whose version is not registered yet.
    pub(crate) fn early_deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        let is_early = |one: &&Arc<Deployment>| {
            let found = self.version(one.model.as_str(), one.version.as_str());
            found.is_none()
        };
        self.deployments.values().filter(is_early)
    }

    /// An application that links to `model` and takes something else than `input_type`.
    pub(crate) fn misfit(&self, model: &str, input_type: InputType) -> Option<&Application> {
        let links = |application: &Application| {
            let mut names = application.linked_models.iter();
            names.any(|name| name.as_str() == model)
        };
        let mut applications = self.registry.applications.values().map(Arc::as_ref);
        applications.find(|one| one.input_type != input_type && links(one))
    }

    /// Checks the module's invariants.
    ///
    /// # Errors
    /// The key of a record that breaks one, and how.
    pub(crate) fn check(&self) -> Result<(), (Key, String)> {
        let mut generations = BTreeSet::new();
        for model in self.registry.models.values() {
            check_model(model).map_err(|reason| (Key::Model(model.name.clone()), reason))?;
            for version in model.versions.values() {
                let record = Record::Version(version.clone());
                self.check_generation(version, &mut generations)
                    .map_err(|reason| (record.key(), reason))?;
            }
        }
        for application in self.registry.applications.values() {
            self.check_links(application)
                .map_err(|reason| (Key::Application(application.name.clone()), reason))?;
        }
        for deployment in self.deployments.values() {
            if deployment.command.is_empty() {
                let record = Record::Deployment(deployment.clone());
                return Err((record.key(), "its command is empty".to_owned()));
            }
        }
        Ok(())
    }

    fn check_generation(
        &self,
        version: &ModelVersion,
        seen: &mut BTreeSet<u64>,
    ) -> Result<(), String> {
        let generation = version.generation;
        if !(1..=self.generation).contains(&generation) {
            let last = self.generation;
            return Err(format!("generation is {generation}, expected 1 to {last}"));
        }
        if !seen.insert(generation) {
            return Err(format!("generation {generation} is another version's"));
        }
        Ok(())
    }

    fn check_links(&self, application: &Application) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for name in &application.linked_models {
            if !seen.insert(name) {
                return Err(format!("model '{name}' is linked twice"));
            }
            let Some(model) = self.model(name.as_str()) else {
                continue;
            };
            let wants = application.input_type;
            let mut answering = model.current.iter().chain(&model.history);
            if let Some(version) = answering.find(|v| model.versions[*v].input_type != wants) {
                return Err(format!(
                    "version '{version}' of '{name}' does not take {wants}"
                ));
            }
        }
        Ok(())
    }
}

fn check_model(model: &Model) -> Result<(), String> {
    if model.versions.is_empty() {
        return Err("it has no versions".to_owned());
    }
    let mut seen = BTreeSet::new();
    for version in model.current.iter().chain(&model.history) {
        if !model.versions.contains_key(version) {
            return Err(format!("version '{version}' does not exist"));
        }
        if !seen.insert(version) {
            return Err(format!("version '{version}' is in its history twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
