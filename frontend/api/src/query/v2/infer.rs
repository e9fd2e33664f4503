//! A request to its response: what HTTP and gRPC share.

use std::time::Instant;

use skysail_engine::Answer;
use skysail_rpc::{Cell, DataType};

use super::Shape;
use super::error::{Kind, V2Error};
use super::outputs::{self, Selection};
use super::request::{InferRequest, RegionSlice};
use super::rows;
use super::target::Target;
use crate::frontend::Frontend;

/// A response.
#[derive(Debug)]
pub(in crate::query) struct InferResponse {
    pub(in crate::query) model_name: String,
    pub(in crate::query) model_version: String,
    pub(in crate::query) id: Option<String>,
    pub(in crate::query) parameters: Vec<(&'static str, Parameter)>,
    pub(in crate::query) outputs: Vec<OutputTensor>,
}

/// What a response says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::query) enum Parameter {
    Bool(bool),
    Count(u64),
    Text(String),
}

/// A tensor of a response: rows of one shape.
#[derive(Debug)]
pub(in crate::query) struct OutputTensor {
    pub(in crate::query) name: String,
    pub(in crate::query) datatype: DataType,
    /// Rows first.
    pub(in crate::query) shape: Shape,
    /// One a row.
    pub(in crate::query) cells: Vec<Cell>,
    pub(in crate::query) form: Form,
}

/// How a tensor goes to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::query) enum Form {
    Json,
    Binary,
    Region(RegionSlice),
}

impl OutputTensor {
    /// Bytes of it in binary form.
    pub(in crate::query) fn binary_bytes(&self) -> usize {
        let strings = |cell: &Cell| 4 * cell.ends().len();
        self.cells
            .iter()
            .map(|cell| cell.data().len() + strings(cell))
            .sum()
    }

    /// Appends it in binary form.
    pub(in crate::query) fn write_binary(&self, out: &mut Vec<u8>) {
        for cell in &self.cells {
            if self.datatype.width().is_some() {
                out.extend_from_slice(cell.data().as_bytes());
                continue;
            }
            for string in cell.iter_strings() {
                // A cell counts its bytes by a `u32`.
                out.extend_from_slice(&(string.len() as u32).to_le_bytes());
                out.extend_from_slice(string);
            }
        }
    }
}

/// Answers a request whose last byte came at `arrival`.
///
/// # Errors
/// If it cannot be right, or there is no prediction and no default.
pub(in crate::query) async fn infer(
    frontend: &Frontend,
    target: &Target,
    request: InferRequest,
    arrival: Instant,
) -> Result<InferResponse, V2Error> {
    let options = &request.parameters.options;
    let Some(schema) = target.resolved.schema() else {
        let rows = rows::count(&request.inputs)?;
        return outputs::without_schema(target, &request, rows, arrival);
    };
    let selection = Selection::new(schema, &request)?;
    let inputs = rows::inputs(request.inputs, schema, || target.resolved.rows())?;
    check_features(target, &inputs)?;
    let asked = options.ask(arrival, target.route.app.slo());
    let answers = frontend
        .engine
        .ask_all(&target.resolved, inputs, asked)
        .await?;
    let response = outputs::respond(target, &selection, options, answers, arrival);
    let ok = response.is_ok();
    target.resolved.record_request(ok, arrival.elapsed());
    response.map(|response| InferResponse {
        id: request.id,
        ..response
    })
}

/// The application's own word on how long its inputs are.
fn check_features(target: &Target, inputs: &[skysail_core::Input]) -> Result<(), V2Error> {
    let app = &target.route.app;
    let (Some(expected), Some(width)) = (
        app.features,
        app.input_type.datatype().and_then(DataType::width),
    ) else {
        return Ok(());
    };
    let elements = inputs.iter().map(|input| input.0[0].data().len() / width);
    let wrong = elements
        .into_iter()
        .find(|found| *found != expected as usize);
    wrong.map_or(Ok(()), |found| {
        Err(V2Error::invalid(format!(
            "a row has {found} elements, application '{}' takes {expected}",
            app.name
        )))
    })
}

/// The error for a query without prediction or default.
pub(in crate::query) fn not_predicted(failure: &skysail_engine::Failure) -> V2Error {
    let explanation = failure.cause.explanation();
    let message = match &failure.detail {
        None => explanation.to_owned(),
        Some(detail) => format!("{explanation}: {detail}"),
    };
    V2Error::new(Kind::NotPredicted(failure.cause), message)
}

/// Whether an answer came from the cache.
pub(in crate::query) fn is_cached(answer: &Answer) -> bool {
    matches!(answer, Answer::Prediction(prediction) if prediction.cached)
}
