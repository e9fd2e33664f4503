//! The model repository extension: what is registered, and starting and stopping its containers.
//!
//! Skysail fetches no models. Loading one starts the replicas of the version that is registered
//! and has a deployment, as many as there were before it was unloaded, and waits until it serves;
//! unloading stops them all, and leaves the registration.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skysail_control::{Control, ControlError};
use skysail_core::Name;
use skysail_core::registry::Deployment;
use skysail_engine::Route;
use tokio::time::Instant;

use super::body;
use super::error::{Kind, V2Error};
use super::path::Named;
use super::target::Target;
use crate::frontend::Frontend;

/// How long a model may take to load.
const LOAD_TIME_MAX: Duration = Duration::from_secs(120);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A version, in the index.
#[derive(Debug, Serialize)]
pub(in crate::query) struct ModelIndex {
    pub(in crate::query) name: String,
    pub(in crate::query) version: String,
    pub(in crate::query) state: &'static str,
    pub(in crate::query) reason: &'static str,
}

/// The index of a repository: models, then applications, each with the versions that it can be
/// asked for.
pub(in crate::query) fn index(frontend: &Frontend, only_ready: bool) -> Vec<ModelIndex> {
    let mut routes = frontend.engine.routes();
    routes.sort_by(|a, b| (!a.is_direct, &a.app.name).cmp(&(!b.is_direct, &b.app.name)));
    // The name of both is the application's.
    let is_hidden =
        |route: &Route| route.is_direct && frontend.engine.route(route.app.name.as_str()).is_some();
    let routes = routes.iter().filter(|route| !is_hidden(route));
    let entries = routes.flat_map(|route| match route.model() {
        Some(_) => of_versions(route),
        None => vec![entry(route, String::new(), false)],
    });
    entries
        .filter(|entry| !only_ready || entry.state == "READY")
        .collect()
}

fn of_versions(route: &Route) -> Vec<ModelIndex> {
    let entry = |version: &Name| {
        let resolved = route.resolve(Some(version.as_str()));
        entry(
            route,
            version.to_string(),
            resolved.is_ok_and(|to| to.is_serving()),
        )
    };
    route
        .versions()
        .map(|version| entry(&version.version))
        .collect()
}

fn entry(route: &Route, version: String, is_serving: bool) -> ModelIndex {
    let (state, reason) = match is_serving {
        true => ("READY", ""),
        false if route.model().is_none() => ("UNAVAILABLE", "no model is linked"),
        false => ("UNAVAILABLE", "no replica is connected"),
    };
    ModelIndex {
        name: route.app.name.to_string(),
        version,
        state,
        reason,
    }
}

/// What a client may ask the index for.
#[derive(Debug, Default, Deserialize)]
pub(in crate::query) struct IndexRequest {
    #[serde(default)]
    pub(in crate::query) ready: bool,
}

/// Reads the body of a request for the index, which may be empty.
///
/// # Errors
/// If it is something else.
pub(in crate::query) fn index_request(body: &[u8]) -> Result<IndexRequest, V2Error> {
    body::optional_object(body, "request for the index")
}

/// What a client may say when it loads or unloads.
#[derive(Debug, Default, Deserialize)]
struct LoadRequest {
    #[serde(default)]
    parameters: serde_json::Map<String, serde_json::Value>,
}

/// Checks the body of a request to load: files and configurations are not taken from clients.
///
/// # Errors
/// If it is no such request, or brings any.
pub(in crate::query) fn check_load(body: &[u8]) -> Result<(), V2Error> {
    let request: LoadRequest = body::optional_object(body, "request to load")?;
    let brings = |name: &&String| *name == "config" || name.starts_with("file:");
    check_parameters(request.parameters.keys().find(brings))
}

/// The refusal of a parameter that brings a configuration or a file.
pub(in crate::query) fn check_parameters(brought: Option<&String>) -> Result<(), V2Error> {
    brought.map_or(Ok(()), |name| {
        Err(V2Error::unsupported(format!(
            "parameter '{}' is not supported: models are registered and deployed by the management \
             API, and loaded as they are",
            name.escape_default()
        )))
    })
}

/// Starts the replicas of the current version, if it should have none; returns when it serves.
///
/// # Errors
/// If there is nothing to start, or it does not serve in time.
pub(in crate::query) async fn load(frontend: &Arc<Frontend>, name: &str) -> Result<(), V2Error> {
    let target = find(frontend, name)?;
    match deployment(frontend, &target).await {
        // Also while those that were unloaded still serve.
        Ok(deployment) if deployment.replicas == 0 => {
            command(frontend, move |control| {
                control.resume(deployment.model.as_str(), deployment.version.as_str())
            })
            .await?;
        }
        Ok(_) => {}
        Err(_) if target.resolved.is_serving() => return Ok(()),
        Err(error) => return Err(error),
    }
    let until = Instant::now() + LOAD_TIME_MAX;
    while !find(frontend, name)?.resolved.is_serving() {
        if Instant::now() > until {
            return Err(V2Error::new(
                Kind::Unavailable,
                format!(
                    "no replica of '{name}' was ready within {} s",
                    LOAD_TIME_MAX.as_secs()
                ),
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Stops all replicas of the current version.
///
/// # Errors
/// If they are not this front end's to stop.
pub(in crate::query) async fn unload(frontend: &Arc<Frontend>, name: &str) -> Result<(), V2Error> {
    let target = find(frontend, name)?;
    let deployment = deployment(frontend, &target).await?;
    command(frontend, move |control| {
        let (model, version) = (deployment.model.as_str(), deployment.version.as_str());
        control.scale(model, Some(version), 0)
    })
    .await
}

fn find(frontend: &Frontend, name: &str) -> Result<Target, V2Error> {
    let named = Named {
        model: name.into(),
        version: None,
    };
    Target::find(frontend, &named)
}

/// The deployment of the version that a target goes to.
async fn deployment(frontend: &Arc<Frontend>, target: &Target) -> Result<Deployment, V2Error> {
    let deployments = blocking(frontend, |frontend| frontend.control.deployments()).await?;
    let of = |one: &Deployment| {
        target.route.model() == Some(&one.model) && one.version.as_str() == target.version()
    };
    deployments.into_iter().find(of).ok_or_else(|| {
        let name = target.name();
        V2Error::invalid(format!(
            "'{name}' has no deployment: its containers are started and stopped by others (see \
             'skysail deploy')"
        ))
    })
}

/// Has a command carried out.
async fn command(
    frontend: &Arc<Frontend>,
    command: impl FnOnce(&Control) -> Result<(), ControlError> + Send + 'static,
) -> Result<(), V2Error> {
    let done = blocking(frontend, |frontend| command(&frontend.control)).await?;
    done.map_err(|error| V2Error::new(Kind::Unavailable, error.to_string()))
}

/// Runs what may wait for a disk where that holds up nobody.
async fn blocking<T: Send + 'static>(
    frontend: &Arc<Frontend>,
    work: impl FnOnce(&Frontend) -> T + Send + 'static,
) -> Result<T, V2Error> {
    let frontend = frontend.clone();
    let done = tokio::task::spawn_blocking(move || work(&frontend)).await;
    done.map_err(|panic| {
        tracing::error!(%panic, "a command on the repository panicked");
        V2Error::new(
            Kind::Internal,
            "the command failed unexpectedly; the front end's log says why",
        )
    })
}
