//! What there is: the server, its models and their tensors.
//!
//! Shapes in metadata have a -1 in front, for the rows; dimensions in a configuration have not.

use serde::Serialize;
use skysail_engine::Route;
use skysail_rpc::{DataType, TensorSpec};

use super::ROWS_MAX;
use super::error::V2Error;
use super::rows::{wire, with_rows};
use super::target::Target;
use crate::frontend::Frontend;

/// What the server's name is.
const SERVER: &str = "skysail";
/// What its models run in.
const PLATFORM: &str = "skysail_container";
/// Extensions that are always there.
const EXTENSIONS: [&str; 9] = [
    "binary_tensor_data",
    "parameters",
    "schedule_policy",
    "statistics",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "logging",
    "trace",
];
/// The one that has to be allowed.
const SHARED_MEMORY: &str = "system_shared_memory";

/// The server.
#[derive(Debug, Serialize)]
pub(in crate::query) struct ServerMetadata {
    pub(in crate::query) name: &'static str,
    pub(in crate::query) version: String,
    pub(in crate::query) extensions: Vec<&'static str>,
}

/// A model or application.
#[derive(Debug, Serialize)]
pub(in crate::query) struct ModelMetadata {
    pub(in crate::query) name: String,
    pub(in crate::query) versions: Vec<String>,
    pub(in crate::query) platform: &'static str,
    pub(in crate::query) inputs: Vec<TensorMetadata>,
    pub(in crate::query) outputs: Vec<TensorMetadata>,
}

/// A tensor, rows first.
#[derive(Debug, Serialize)]
pub(in crate::query) struct TensorMetadata {
    pub(in crate::query) name: String,
    pub(in crate::query) datatype: &'static str,
    pub(in crate::query) shape: Vec<i64>,
}

/// The part of Triton's model configuration that has a meaning here.
#[derive(Debug, Serialize)]
pub(in crate::query) struct ModelConfig {
    pub(in crate::query) name: String,
    pub(in crate::query) platform: &'static str,
    pub(in crate::query) backend: &'static str,
    /// Rows that one request may bring. Batches are made of the rows of all requests, so that what a
    /// replica takes at a time bounds none of them.
    pub(in crate::query) max_batch_size: u32,
    pub(in crate::query) input: Vec<TensorConfig>,
    pub(in crate::query) output: Vec<TensorConfig>,
    pub(in crate::query) dynamic_batching: Empty,
    pub(in crate::query) response_cache: ResponseCache,
}

/// A tensor, without its rows.
#[derive(Debug, Serialize)]
pub(in crate::query) struct TensorConfig {
    pub(in crate::query) name: String,
    pub(in crate::query) data_type: String,
    pub(in crate::query) dims: Vec<i64>,
    /// The shape that a model sees whose rows are scalars, which a configuration cannot say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::query) reshape: Option<Reshape>,
}

#[derive(Debug, Serialize)]
pub(in crate::query) struct Reshape {
    pub(in crate::query) shape: [i64; 0],
}

#[derive(Debug, Serialize)]
pub(in crate::query) struct Empty {}

#[derive(Debug, Serialize)]
pub(in crate::query) struct ResponseCache {
    pub(in crate::query) enable: bool,
}

/// The server's metadata.
pub(in crate::query) fn server(frontend: &Frontend, has_shared_memory: bool) -> ServerMetadata {
    let shared = has_shared_memory.then_some(SHARED_MEMORY);
    ServerMetadata {
        name: SERVER,
        version: frontend.about.version.clone(),
        extensions: EXTENSIONS.into_iter().chain(shared).collect(),
    }
}

/// A model's metadata.
///
/// # Errors
/// If no container has told its tensors.
pub(in crate::query) fn model(target: &Target) -> Result<ModelMetadata, V2Error> {
    let schema = target
        .resolved
        .schema()
        .ok_or_else(|| target.unknown_tensors())?;
    let tensor = |spec: &TensorSpec| TensorMetadata {
        name: spec.name.clone(),
        datatype: wire(spec.datatype).name(),
        shape: with_rows(spec),
    };
    Ok(ModelMetadata {
        name: target.name().to_owned(),
        versions: versions(&target.route),
        platform: PLATFORM,
        inputs: schema.inputs.iter().map(tensor).collect(),
        outputs: schema.outputs.iter().map(tensor).collect(),
    })
}

/// Names of a model's versions.
pub(in crate::query) fn versions(route: &Route) -> Vec<String> {
    route
        .versions()
        .map(|version| version.version.to_string())
        .collect()
}

/// A model's configuration.
///
/// # Errors
/// If no container has told its tensors.
pub(in crate::query) fn config(
    frontend: &Frontend,
    target: &Target,
) -> Result<ModelConfig, V2Error> {
    let schema = target
        .resolved
        .schema()
        .ok_or_else(|| target.unknown_tensors())?;
    Ok(ModelConfig {
        name: target.name().to_owned(),
        platform: PLATFORM,
        backend: "skysail",
        max_batch_size: ROWS_MAX as u32,
        input: schema.inputs.iter().map(TensorConfig::of).collect(),
        output: schema.outputs.iter().map(TensorConfig::of).collect(),
        dynamic_batching: Empty {},
        response_cache: ResponseCache {
            enable: frontend.engine.has_cache(),
        },
    })
}

impl TensorConfig {
    fn of(spec: &TensorSpec) -> TensorConfig {
        let is_scalar = spec.dims.is_empty();
        TensorConfig {
            name: spec.name.clone(),
            data_type: match wire(spec.datatype) {
                // The configuration's own word.
                DataType::Bytes => "TYPE_STRING".to_owned(),
                other => format!("TYPE_{}", other.name()),
            },
            dims: if is_scalar {
                vec![1]
            } else {
                spec.dims.to_vec()
            },
            reshape: is_scalar.then_some(Reshape { shape: [] }),
        }
    }
}
