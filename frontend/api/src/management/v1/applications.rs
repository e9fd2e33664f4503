//! Commands on applications and their links.

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::json;
use skysail_control::{ControlError, NewApplication};
use skysail_core::InputType;

use super::super::views::{self, ApplicationView};
use super::{Answer, Body, Refusal, Shared, command, created, shown};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    name: String,
    #[serde(deserialize_with = "super::models::input_type")]
    input_type: InputType,
    #[serde(default)]
    features: Option<u32>,
    latency_slo_micros: u64,
    default_output: String,
    #[serde(default)]
    guarantee: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Links {
    models: Vec<String>,
}

pub(super) async fn list(State(frontend): State<Shared>) -> Answer {
    shown(&views::applications(
        &frontend,
        &frontend.control.registry(),
    ))
}

pub(super) async fn add(State(frontend): State<Shared>, Body(add): Body<Add>) -> Answer {
    let name = add.name.clone();
    let new = NewApplication {
        name: add.name,
        input_type: add.input_type,
        features: add.features,
        latency_slo_micros: add.latency_slo_micros,
        default_output: add.default_output,
        guarantee: add.guarantee,
    };
    command(&frontend, move |frontend| {
        frontend.control.add_application(&new)
    })
    .await?;
    created(&view(&frontend, name)?)
}

pub(super) async fn show(State(frontend): State<Shared>, Path(name): Path<String>) -> Answer {
    shown(&view(&frontend, name)?)
}

pub(super) async fn remove(State(frontend): State<Shared>, Path(name): Path<String>) -> Answer {
    let removed = json!({ "removed": { "application": name } });
    command(&frontend, move |frontend| {
        frontend.control.remove_application(&name)
    })
    .await?;
    shown(&removed)
}

pub(super) async fn link(
    State(frontend): State<Shared>,
    Path(name): Path<String>,
    Body(Links { models }): Body<Links>,
) -> Answer {
    let application = name.clone();
    command(&frontend, move |frontend| {
        frontend.control.link_models(&application, &models)
    })
    .await?;
    shown(&view(&frontend, name)?)
}

pub(super) async fn unlink(
    State(frontend): State<Shared>,
    Path(name): Path<String>,
    Body(Links { models }): Body<Links>,
) -> Answer {
    let application = name.clone();
    command(&frontend, move |frontend| {
        frontend.control.unlink_models(&application, &models)
    })
    .await?;
    shown(&view(&frontend, name)?)
}

fn view(frontend: &Shared, name: String) -> Result<ApplicationView, Refusal> {
    let registry = frontend.control.registry();
    match registry.applications.get(name.as_str()) {
        Some(found) => Ok(ApplicationView::of(found, &frontend.engine)),
        None => Err(ControlError::ApplicationMissing { name }.into()),
    }
}
