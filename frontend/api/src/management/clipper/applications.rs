//! Clipper's commands on applications and links.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use skysail_control::{ControlError, NewApplication};
use skysail_core::registry::Application;
use skysail_core::{InputType, Name};

use super::{Answer, Shared, Verbose, command, done, input_type, json, one, parse, plain, schemas};

#[derive(Deserialize)]
struct Add {
    name: String,
    input_type: String,
    default_output: String,
    latency_slo_micros: u64,
}

#[derive(Deserialize)]
struct ByName {
    name: String,
}

#[derive(Deserialize)]
struct Links {
    app_name: String,
    model_names: Vec<String>,
}

#[derive(Deserialize)]
struct ByAppName {
    app_name: String,
}

#[derive(Deserialize)]
struct OfUser {
    app_name: String,
    #[serde(rename = "uid")]
    _uid: i64,
}

#[derive(Serialize)]
struct View<'a> {
    name: &'a Name,
    input_type: InputType,
    default_output: &'a str,
    latency_slo_micros: u64,
    linked_models: &'a [Name],
}

impl View<'_> {
    fn of(application: &Application) -> View<'_> {
        View {
            name: &application.name,
            input_type: application.input_type,
            default_output: &application.default_output,
            latency_slo_micros: application.latency_slo_micros,
            linked_models: &application.linked_models,
        }
    }
}

pub(super) async fn add(State(frontend): State<Shared>, request: Request) -> Answer {
    let add: Add = parse(request, schemas::ADD_APPLICATION).await?;
    let input_type = input_type(&add.input_type, schemas::ADD_APPLICATION)?;
    let text = format!("Successfully added application with name '{}'", add.name);
    let new = NewApplication {
        guarantee: None,
        name: add.name,
        input_type,
        features: None,
        latency_slo_micros: add.latency_slo_micros,
        default_output: add.default_output,
    };
    command(&frontend, move |frontend| {
        frontend.control.add_application(&new)
    })
    .await?;
    done(text)
}

pub(super) async fn delete(State(frontend): State<Shared>, request: Request) -> Answer {
    let ByName { name } = parse(request, schemas::APPLICATION_NAME).await?;
    let text = format!("Successfully deleted application with name '{name}'");
    command(&frontend, move |frontend| {
        frontend.control.remove_application(&name)
    })
    .await?;
    done(text)
}

pub(super) async fn get(State(frontend): State<Shared>, request: Request) -> Answer {
    let ByName { name } = parse(request, schemas::APPLICATION_NAME).await?;
    let registry = frontend.control.registry();
    one(registry
        .applications
        .get(name.as_str())
        .map(|found| View::of(found)))
}

pub(super) async fn get_all(State(frontend): State<Shared>, request: Request) -> Answer {
    let Verbose { verbose } = parse(request, schemas::VERBOSE).await?;
    let registry = frontend.control.registry();
    if verbose {
        let all: Vec<_> = registry
            .applications
            .values()
            .map(|one| View::of(one))
            .collect();
        return Ok(json(&all));
    }
    Ok(json(&registry.applications.keys().collect::<Vec<_>>()))
}

pub(super) async fn link(State(frontend): State<Shared>, request: Request) -> Answer {
    let Links {
        app_name,
        model_names,
    } = parse(request, schemas::LINKS).await?;
    // More than one model is refused, so that the text names all that were linked.
    let model = model_names.first().cloned().unwrap_or_default();
    let text = format!("Successfully linked model with name '{model}' to application '{app_name}'");
    command(&frontend, move |frontend| {
        frontend.control.link_models(&app_name, &model_names)
    })
    .await?;
    done(text)
}

pub(super) async fn unlink(State(frontend): State<Shared>, request: Request) -> Answer {
    let Links {
        app_name,
        model_names,
    } = parse(request, schemas::LINKS).await?;
    command(&frontend, move |frontend| {
        frontend.control.unlink_models(&app_name, &model_names)
    })
    .await?;
    done("Success!".to_owned())
}

pub(super) async fn linked(State(frontend): State<Shared>, request: Request) -> Answer {
    let ByAppName { app_name } = parse(request, schemas::LINKED_MODELS).await?;
    Ok(json(&frontend.control.linked_models(&app_name)?))
}

/// There is no selection state, so it is the default output for every user.
pub(super) async fn state(State(frontend): State<Shared>, request: Request) -> Answer {
    let OfUser { app_name, .. } = parse(request, schemas::STATE).await?;
    let registry = frontend.control.registry();
    match registry.applications.get(app_name.as_str()) {
        Some(found) => Ok(plain(StatusCode::OK, found.default_output.clone())),
        None => Err(ControlError::LinksApplicationMissing { name: app_name }.into()),
    }
}
