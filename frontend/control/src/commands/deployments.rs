//! Deployments: how many replicas of a version an orchestrator keeps running.
//!
//! A deployment of no replicas is kept, so that it can be scaled up again, with how many there were
//! before. An early one is there before its version; it waits for it.

use std::sync::Arc;

use skysail_core::Name;
use skysail_core::registry::Deployment;

use super::limits::{self, COMMANDS_BYTES_MAX, DEPLOYMENTS_MAX};
use super::models::model_missing;
use super::{Decided, edits};
use crate::error::ControlError;
use crate::orchestrator;
use crate::records::{Edit, Key, Record};
use crate::state::State;

/// Deploys a version, in place of its deployment if it has one.
pub(crate) fn deploy(state: &State, deployment: &Deployment) -> Decided<()> {
    check(deployment)?;
    let (model, version) = (deployment.model.as_str(), deployment.version.as_str());
    if state.version(model, version).is_none() {
        return Err(ControlError::DeployMissing {
            model: model.to_owned(),
            version: version.to_owned(),
        });
    }
    put(state, deployment.clone())
}

/// Deploys a version that may be registered later.
pub(crate) fn deploy_early(state: &State, deployment: &Deployment) -> Decided<()> {
    check(deployment)?;
    put(state, deployment.clone())
}

/// Refuses what is wrong by itself.
fn check(deployment: &Deployment) -> Result<(), ControlError> {
    limits::check_replicas(deployment.replicas)?;
    limits::check_command(&deployment.command)
}

/// Changes the number of replicas; without a version, of the current one.
pub(crate) fn scale(
    state: &State,
    model: &str,
    version: Option<&str>,
    replicas: u32,
) -> Decided<()> {
    limits::check_replicas(replicas)?;
    let version = match version {
        Some(version) => version,
        None => current(state, model)?.as_str(),
    };
    scale_to(state, find(state, model, version)?, replicas)
}

/// Brings the replicas back that there were before a version was scaled to none: one where that
/// is not known.
pub(crate) fn resume(state: &State, model: &str, version: &str) -> Decided<()> {
    let deployment = find(state, model, version)?;
    let replicas = match deployment.replicas {
        0 => deployment.replicas_before.unwrap_or(1),
        some => some,
    };
    scale_to(state, deployment, replicas)
}

fn scale_to(state: &State, deployment: &Deployment, replicas: u32) -> Decided<()> {
    if deployment.replicas == replicas {
        return edits(Vec::new());
    }
    put(
        state,
        Deployment {
            replicas,
            replicas_before: (replicas == 0).then_some(deployment.replicas),
            ..deployment.clone()
        },
    )
}

/// Removes a deployment.
pub(crate) fn undeploy(state: &State, model: &str, version: &str) -> Decided<()> {
    let deployment = find(state, model, version)?;
    edits(vec![Edit::Delete(Key::Deployment {
        model: deployment.model.clone(),
        version: deployment.version.clone(),
    })])
}

fn current<'a>(state: &'a State, model: &str) -> Result<&'a Name, ControlError> {
    let found = state.model(model).ok_or_else(|| model_missing(model))?;
    let missing = || ControlError::CurrentMissing {
        model: model.to_owned(),
    };
    found.current.as_ref().ok_or_else(missing)
}

fn find<'a>(
    state: &'a State,
    model: &str,
    version: &str,
) -> Result<&'a Arc<Deployment>, ControlError> {
    let missing = || ControlError::DeploymentMissing {
        model: model.to_owned(),
        version: version.to_owned(),
    };
    // What is no name is not deployed.
    let key = Name::new(model).ok().zip(Name::new(version).ok());
    let deployed = key.and_then(|key| state.deployments.get(&key));
    deployed.ok_or_else(missing)
}

fn put(state: &State, deployment: Deployment) -> Decided<()> {
    check_totals(state, &deployment)?;
    edits(vec![Edit::Put(Record::Deployment(Arc::new(deployment)))])
}

/// Refuses what would be too much for the orchestrator together with all other deployments.
fn check_totals(state: &State, new: &Deployment) -> Result<(), ControlError> {
    let is_other = |one: &&Deployment| (&one.model, &one.version) != (&new.model, &new.version);
    let all = || {
        let others = state.deployments.values().map(Arc::as_ref);
        others.filter(is_other).chain([new])
    };
    let what = ("deployments", "version");
    limits::check_room(what, all().count(), DEPLOYMENTS_MAX)?;
    let replicas = all().map(|one| one.replicas as usize).sum();
    let what = ("replicas in all", "replicas");
    limits::check_room(what, replicas, orchestrator::REPLICAS_MAX as usize)?;
    let bytes = all().map(|one| limits::command_bytes(&one.command)).sum();
    let what = ("bytes of commands in all", "command");
    limits::check_room(what, bytes, COMMANDS_BYTES_MAX)
}
