//! Answers to messages.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::Value;

use super::generated::infer_parameter::ParameterChoice;
use super::generated::log_settings_response as log;
use super::generated::model_infer_response::InferOutputTensor;
use super::generated::model_metadata_response::TensorMetadata as TensorMessage;
use super::generated::repository_index_response::ModelIndex as IndexMessage;
use super::generated::system_shared_memory_status_response::RegionStatus as RegionMessage;
use super::generated::trace_setting_response as trace;
use super::generated::{
    DataType, InferParameter, InferStatistics, LogSettingsResponse, ModelConfig,
    ModelDynamicBatching, ModelInferResponse, ModelInput, ModelMetadataResponse, ModelOutput,
    ModelResponseCache, ModelStatistics, ModelTensorReshape, StatisticDuration,
    TraceSettingResponse,
};
use crate::query::v2::{
    Form, InferResponse, OutputTensor, Parameter, metadata, repository, statistics,
};
use crate::query::v2::{RegionStatus, Statistic};

/// A response, its outputs as raw contents; one that went to shared memory has none.
pub(super) fn response(response: InferResponse) -> ModelInferResponse {
    let raw = response.outputs.iter().map(raw).collect();
    let parameters = response.parameters.into_iter();
    ModelInferResponse {
        model_name: response.model_name,
        model_version: response.model_version,
        id: response.id.unwrap_or_default(),
        parameters: parameters
            .map(|(name, value)| (name.to_owned(), parameter(value)))
            .collect(),
        outputs: response.outputs.into_iter().map(output).collect(),
        raw_output_contents: raw,
    }
}

fn raw(output: &OutputTensor) -> Bytes {
    if let Form::Region(_) = output.form {
        return Bytes::new();
    }
    let mut bytes = Vec::with_capacity(output.binary_bytes());
    output.write_binary(&mut bytes);
    bytes.into()
}

fn output(output: OutputTensor) -> InferOutputTensor {
    InferOutputTensor {
        name: output.name,
        datatype: output.datatype.name().to_owned(),
        shape: output.shape.iter().map(|size| size.cast_signed()).collect(),
        parameters: HashMap::new(),
        contents: None,
    }
}

fn parameter(value: Parameter) -> InferParameter {
    let choice = match value {
        Parameter::Bool(value) => ParameterChoice::BoolParam(value),
        Parameter::Count(value) => ParameterChoice::Uint64Param(value),
        Parameter::Text(value) => ParameterChoice::StringParam(value),
    };
    InferParameter {
        parameter_choice: Some(choice),
    }
}

/// The parameter that ends the responses to a request in a stream: there is one each.
pub(super) fn final_response() -> (String, InferParameter) {
    (
        "triton_final_response".to_owned(),
        parameter(Parameter::Bool(true)),
    )
}

pub(super) fn model_metadata(model: metadata::ModelMetadata) -> ModelMetadataResponse {
    let tensor = |tensor: metadata::TensorMetadata| TensorMessage {
        name: tensor.name,
        datatype: tensor.datatype.to_owned(),
        shape: tensor.shape,
    };
    ModelMetadataResponse {
        name: model.name,
        versions: model.versions,
        platform: model.platform.to_owned(),
        inputs: model.inputs.into_iter().map(tensor).collect(),
        outputs: model.outputs.into_iter().map(tensor).collect(),
    }
}

pub(super) fn model_config(config: metadata::ModelConfig) -> ModelConfig {
    let reshape = |tensor: &metadata::TensorConfig| {
        tensor
            .reshape
            .as_ref()
            .map(|_| ModelTensorReshape::default())
    };
    let datatype = |name: &str| DataType::from_str_name(name).unwrap_or_default().into();
    let input = |tensor: metadata::TensorConfig| ModelInput {
        data_type: datatype(&tensor.data_type),
        reshape: reshape(&tensor),
        name: tensor.name,
        dims: tensor.dims,
    };
    let output = |tensor: metadata::TensorConfig| ModelOutput {
        data_type: datatype(&tensor.data_type),
        reshape: reshape(&tensor),
        name: tensor.name,
        dims: tensor.dims,
    };
    ModelConfig {
        name: config.name,
        platform: config.platform.to_owned(),
        max_batch_size: config.max_batch_size.cast_signed(),
        input: config.input.into_iter().map(input).collect(),
        output: config.output.into_iter().map(output).collect(),
        dynamic_batching: Some(ModelDynamicBatching {}),
        backend: config.backend.to_owned(),
        response_cache: Some(ModelResponseCache {
            enable: config.response_cache.enable,
        }),
    }
}

pub(super) fn model_statistics(one: statistics::ModelStatistics) -> ModelStatistics {
    let stats = one.inference_stats;
    let of = |one: Statistic| {
        Some(StatisticDuration {
            count: one.count,
            ns: one.ns,
        })
    };
    ModelStatistics {
        name: one.name,
        version: one.version,
        last_inference: one.last_inference,
        inference_count: one.inference_count,
        execution_count: one.execution_count,
        inference_stats: Some(InferStatistics {
            success: of(stats.success),
            fail: of(stats.fail),
            queue: of(stats.queue),
            compute_input: of(stats.compute_input),
            compute_infer: of(stats.compute_infer),
            compute_output: of(stats.compute_output),
            cache_hit: of(stats.cache_hit),
            cache_miss: of(stats.cache_miss),
        }),
        batch_stats: Vec::new(),
    }
}

pub(super) fn model_index(entry: repository::ModelIndex) -> IndexMessage {
    IndexMessage {
        name: entry.name,
        version: entry.version,
        state: entry.state.to_owned(),
        reason: entry.reason.to_owned(),
    }
}

pub(super) fn region(region: RegionStatus) -> (String, RegionMessage) {
    let message = RegionMessage {
        name: region.name.clone(),
        key: region.key,
        offset: region.offset as u64,
        byte_size: region.byte_size as u64,
    };
    (region.name, message)
}

pub(super) fn trace_settings(settings: Value) -> TraceSettingResponse {
    let values = |value: Value| match value {
        Value::Array(items) => items.iter().map(text).collect(),
        other => vec![text(&other)],
    };
    let setting = |(name, value)| {
        let value = values(value);
        (name, trace::SettingValue { value })
    };
    TraceSettingResponse {
        settings: members(settings).map(setting).collect(),
    }
}

pub(super) fn log_settings(settings: Value) -> LogSettingsResponse {
    use log::setting_value::ParameterChoice as Choice;
    let setting = |(name, value): (String, Value)| {
        let choice = match &value {
            Value::Bool(value) => Choice::BoolParam(*value),
            Value::Number(number) => Choice::Uint32Param(number.as_u64().unwrap_or(0) as u32),
            other => Choice::StringParam(text(other)),
        };
        let parameter_choice = Some(choice);
        (name, log::SettingValue { parameter_choice })
    };
    LogSettingsResponse {
        settings: members(settings).map(setting).collect(),
    }
}

fn members(settings: Value) -> impl Iterator<Item = (String, Value)> {
    match settings {
        Value::Object(members) => members.into_iter(),
        _ => serde_json::Map::new().into_iter(),
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
