//! Commands on models and their versions.

use axum::extract::{Path, State};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use skysail_control::{ControlError, NewVersion};
use skysail_core::InputType;
use skysail_core::registry::Batching;

use super::super::views::ModelView;
use super::{Answer, Body, Refusal, Shared, command, created, shown};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    model: String,
    version: String,
    #[serde(deserialize_with = "input_type")]
    input_type: InputType,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    container_name: String,
    #[serde(default)]
    model_data_path: String,
    #[serde(default)]
    batching: Batching,
    #[serde(default = "yes")]
    idempotent: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Current {
    version: String,
}

/// Any of Clipper's spellings.
pub(super) fn input_type<'de, D: Deserializer<'de>>(from: D) -> Result<InputType, D::Error> {
    String::deserialize(from)?
        .parse()
        .map_err(serde::de::Error::custom)
}

pub(super) async fn list(State(frontend): State<Shared>) -> Answer {
    let registry = frontend.control.registry();
    let all: Vec<_> = registry
        .models
        .values()
        .map(|model| ModelView::of(model))
        .collect();
    shown(&all)
}

pub(super) async fn add(State(frontend): State<Shared>, Body(add): Body<Add>) -> Answer {
    let model = add.model.clone();
    let new = NewVersion {
        idempotent: add.idempotent,
        model: add.model,
        version: add.version,
        input_type: add.input_type,
        labels: add.labels,
        container_name: add.container_name,
        model_data_path: add.model_data_path,
        batching: add.batching,
    };
    command(&frontend, move |frontend| {
        frontend.control.add_model_version(&new)
    })
    .await?;
    created(&view(&frontend, model)?)
}

pub(super) async fn show(State(frontend): State<Shared>, Path(model): Path<String>) -> Answer {
    shown(&view(&frontend, model)?)
}

pub(super) async fn remove(State(frontend): State<Shared>, Path(model): Path<String>) -> Answer {
    let removed = json!({ "removed": { "model": model } });
    command(&frontend, move |frontend| {
        frontend.control.remove_model(&model)
    })
    .await?;
    shown(&removed)
}

pub(super) async fn remove_version(
    State(frontend): State<Shared>,
    Path((model, version)): Path<(String, String)>,
) -> Answer {
    let removed = json!({ "removed": { "model": model, "version": version } });
    let remove = move |frontend: &crate::frontend::Frontend| {
        frontend.control.remove_model_version(&model, &version)
    };
    command(&frontend, remove).await?;
    shown(&removed)
}

pub(super) async fn set_version(
    State(frontend): State<Shared>,
    Path(model): Path<String>,
    Body(Current { version }): Body<Current>,
) -> Answer {
    let name = model.clone();
    command(&frontend, move |frontend| {
        frontend.control.set_version(&name, &version)
    })
    .await?;
    shown(&view(&frontend, model)?)
}

pub(super) async fn rollback(State(frontend): State<Shared>, Path(model): Path<String>) -> Answer {
    let name = model.clone();
    let version = command(&frontend, move |frontend| frontend.control.rollback(&name)).await?;
    shown(&json!({ "model": model, "version": version }))
}

fn view(frontend: &Shared, model: String) -> Result<ModelView, Refusal> {
    match frontend.control.registry().models.get(model.as_str()) {
        Some(found) => Ok(ModelView::of(found)),
        None => Err(ControlError::ModelMissing { model }.into()),
    }
}
