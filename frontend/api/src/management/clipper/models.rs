//! Clipper's commands on models.

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use skysail_control::NewVersion;
use skysail_control::commands::limits::batching_of_clipper;
use skysail_core::registry::{Adaptive, Batching, Model, ModelVersion};
use skysail_core::{InputType, Name};

use super::super::views::versions;
use super::{Answer, Shared, Verbose, command, done, input_type, json, one, parse, schemas};

/// Clipper's `DEFAULT_BATCH_SIZE`.
const BATCH_SIZE_ADAPTIVE: i64 = -1;

#[derive(Deserialize)]
struct Add {
    model_name: String,
    model_version: String,
    labels: Vec<String>,
    input_type: String,
    container_name: String,
    model_data_path: String,
    batch_size: i64,
}

#[derive(Deserialize)]
struct OfVersion {
    model_name: String,
    model_version: String,
}

#[derive(Serialize)]
struct View<'a> {
    model_name: &'a Name,
    model_version: &'a Name,
    input_type: InputType,
    labels: &'a [String],
    container_name: &'a str,
    model_data_path: &'a str,
    batch_size: i64,
    is_current_version: bool,
}

impl<'a> View<'a> {
    fn of((model, version): (&'a Model, &'a ModelVersion)) -> View<'a> {
        View {
            model_name: &version.model,
            model_version: &version.version,
            input_type: version.input_type,
            labels: &version.labels,
            container_name: &version.container_name,
            model_data_path: &version.model_data_path,
            batch_size: batch_size(&version.batching),
            is_current_version: model.current.as_ref() == Some(&version.version),
        }
    }
}

fn batch_size(batching: &Batching) -> i64 {
    match *batching {
        Batching::Adaptive(Adaptive {
            size_max: Some(size),
            ..
        })
        | Batching::Aimd {
            size_max: Some(size),
        }
        | Batching::Fixed { size, .. } => size.into(),
        _ => BATCH_SIZE_ADAPTIVE,
    }
}

pub(super) async fn add(State(frontend): State<Shared>, request: Request) -> Answer {
    let add: Add = parse(request, schemas::ADD_MODEL).await?;
    let new = NewVersion {
        idempotent: true,
        model: add.model_name,
        version: add.model_version,
        input_type: input_type(&add.input_type, schemas::ADD_MODEL)?,
        labels: add.labels,
        container_name: add.container_name,
        model_data_path: add.model_data_path,
        batching: batching_of_clipper(add.batch_size)?,
    };
    let (model, input_type) = (new.model.clone(), new.input_type);
    command(&frontend, move |frontend| {
        frontend.control.add_model_version(&new)
    })
    .await?;
    done(format!(
        "Successfully added model with name '{model}' and input type '{input_type}'"
    ))
}

pub(super) async fn delete(State(frontend): State<Shared>, request: Request) -> Answer {
    let OfVersion {
        model_name,
        model_version,
    } = parse(request, schemas::MODEL_VERSION).await?;
    let text = format!(
        "Successfully deleted model with name '{model_name}' and version '{model_version}'"
    );
    let delete = move |frontend: &crate::frontend::Frontend| {
        frontend
            .control
            .remove_model_version(&model_name, &model_version)
    };
    command(&frontend, delete).await?;
    done(text)
}

pub(super) async fn set_version(State(frontend): State<Shared>, request: Request) -> Answer {
    let OfVersion {
        model_name,
        model_version,
    } = parse(request, schemas::MODEL_VERSION).await?;
    let text =
        format!("Successfully set model with name '{model_name}' to version '{model_version}'");
    command(&frontend, move |frontend| {
        frontend.control.set_version(&model_name, &model_version)
    })
    .await?;
    done(text)
}

pub(super) async fn get(State(frontend): State<Shared>, request: Request) -> Answer {
    let OfVersion {
        model_name,
        model_version,
    } = parse(request, schemas::MODEL_VERSION).await?;
    let registry = frontend.control.registry();
    let model = registry.models.get(model_name.as_str());
    let version = |model: &'_ std::sync::Arc<Model>| {
        model
            .versions
            .get(model_version.as_str())
            .cloned()
            .map(|found| (model.clone(), found))
    };
    let found = model.and_then(version);
    one(found
        .as_ref()
        .map(|(model, version)| View::of((model, version))))
}

pub(super) async fn get_all(State(frontend): State<Shared>, request: Request) -> Answer {
    let Verbose { verbose } = parse(request, schemas::VERBOSE).await?;
    let registry = frontend.control.registry();
    if verbose {
        return Ok(json(&versions(&registry).map(View::of).collect::<Vec<_>>()));
    }
    let id = |(_, version): (_, &ModelVersion)| format!("{}:{}", version.model, version.version);
    Ok(json(&versions(&registry).map(id).collect::<Vec<_>>()))
}
