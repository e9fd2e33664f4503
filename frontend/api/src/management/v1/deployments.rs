//! Commands on deployments: how many replicas of a version are kept running.

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::json;
use skysail_control::ControlError;
use skysail_core::Name;
use skysail_core::registry::Deployment;

use super::{Answer, Body, Shared, command, shown};
use crate::frontend::Frontend;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deploy {
    replicas: u32,
    command: Vec<String>,
    /// Whether the version may be registered later; its replicas start once it is.
    #[serde(default)]
    early: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scale {
    replicas: u32,
    /// The current one where there is none.
    #[serde(default)]
    version: Option<String>,
}

pub(super) async fn deploy(
    State(frontend): State<Shared>,
    Path((model, version)): Path<(String, String)>,
    Body(deploy): Body<Deploy>,
) -> Answer {
    let deployment = Deployment {
        model: name("model", &model)?,
        version: name("version", &version)?,
        replicas: deploy.replicas,
        replicas_before: None,
        command: deploy.command,
    };
    let answer = json!(deployment);
    command(&frontend, move |Frontend { control, .. }| {
        if deploy.early {
            control.deploy_early(&deployment)
        } else {
            control.deploy(&deployment)
        }
    })
    .await?;
    shown(&answer)
}

pub(super) async fn undeploy(
    State(frontend): State<Shared>,
    Path((model, version)): Path<(String, String)>,
) -> Answer {
    let removed = json!({ "removed": { "deployment": { "model": model, "version": version } } });
    command(&frontend, move |frontend| {
        frontend.control.undeploy(&model, &version)
    })
    .await?;
    shown(&removed)
}

pub(super) async fn scale(
    State(frontend): State<Shared>,
    Path(model): Path<String>,
    Body(Scale { replicas, version }): Body<Scale>,
) -> Answer {
    let scaled = move |frontend: &Frontend| {
        let control = &frontend.control;
        // Which version is current is read once, so that the answer names what was scaled.
        let registry = control.registry();
        let current = || registry.models.get(model.as_str())?.current.clone();
        let version = version.or_else(|| current().map(String::from));
        control.scale(&model, version.as_deref(), replicas)?;
        Ok(json!({ "model": model, "version": version, "replicas": replicas }))
    };
    shown(&command(&frontend, scaled).await?)
}

fn name(field: &'static str, text: &str) -> Result<Name, ControlError> {
    Name::new(text).map_err(|error| ControlError::Name { field, error })
}
