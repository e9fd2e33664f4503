//! Answers to the tensors of a response.
//!
//! Rows without a prediction get the application's default, as rows of the same tensors; a
//! default that those tensors cannot hold answers the whole request, as the text that it is, in a
//! tensor `default_output` of its own. A model that was asked directly has no default: then the
//! first failure is the answer. Overload alone is an error for all, so that clients back off.
//!
//! # Invariants
//! - Every row is recorded once, by what it came to.
//! - Rows of a tensor have one shape.

use std::time::{Duration, Instant};

use serde_json::json;
use skysail_core::Cause;
use skysail_engine::{Answer, Failure, Output, Prediction};
use skysail_rpc::{Cell, DataType, Schema, TensorSpec};

use super::Shape;
use super::defaults;
use super::error::V2Error;
use super::infer::{Form, InferResponse, OutputTensor, Parameter, is_cached, not_predicted};
use super::request::InferRequest;
use super::rows::wire;
use super::target::Target;
use crate::options::RequestOptions;

/// The name of the tensor that holds a default as text.
pub(super) const DEFAULT_OUTPUT: &str = "default_output";

/// The outputs that a client asked for, by their place in the schema.
#[derive(Debug)]
pub(in crate::query) struct Selection(Vec<(usize, Form)>);

impl Selection {
    /// # Errors
    /// If the model has no such output.
    pub(in crate::query) fn new(
        schema: &Schema,
        request: &InferRequest,
    ) -> Result<Selection, V2Error> {
        if request.outputs.is_empty() {
            let form = match request.parameters.binary_outputs {
                true => Form::Binary,
                false => Form::Json,
            };
            let all = (0..schema.outputs.len()).map(|index| (index, form.clone()));
            return Selection(all.collect()).checked(schema);
        }
        let place = |name: &str| schema.outputs.iter().position(|spec| spec.name == name);
        let selected = request.outputs.iter().map(|wanted| {
            let index = place(&wanted.name).ok_or_else(|| {
                let name = wanted.name.escape_default();
                V2Error::invalid(format!("unexpected output '{name}', the model is {schema}"))
            })?;
            let form = match (&wanted.region, wanted.binary) {
                (Some(slice), _) => Form::Region(slice.clone()),
                (None, true) => Form::Binary,
                (None, false) => Form::Json,
            };
            Ok((index, form))
        });
        Selection(selected.collect::<Result<_, V2Error>>()?).checked(schema)
    }

    fn checked(self, schema: &Schema) -> Result<Selection, V2Error> {
        for (index, form) in &self.0 {
            let spec = &schema.outputs[*index];
            if *form == Form::Json && matches!(spec.datatype, DataType::Fp16 | DataType::Bf16) {
                return Err(V2Error::invalid(format!(
                    "output '{}' is {}, which has no JSON form; ask for it as binary data",
                    spec.name,
                    spec.datatype.name()
                )));
            }
        }
        Ok(self)
    }

    /// What JSON cannot say of a row.
    fn unsayable(&self, output: &Output) -> Option<Failure> {
        let tensors = self.0.iter().filter(|(_, form)| *form == Form::Json);
        let finite = |(index, _): &(usize, Form)| {
            is_finite(&output.schema.outputs[*index], &output.cells[*index])
        };
        (!tensors.into_iter().all(finite)).then(|| Failure {
            cause: Cause::ModelError,
            detail: Some("the prediction is not a finite number".into()),
        })
    }
}

fn is_finite(spec: &TensorSpec, cell: &Cell) -> bool {
    let data = cell.data();
    match spec.datatype {
        DataType::Fp32 => data
            .as_slice::<f32>()
            .is_none_or(|all| all.iter().all(|x| x.is_finite())),
        DataType::Fp64 => data
            .as_slice::<f64>()
            .is_none_or(|all| all.iter().all(|x| x.is_finite())),
        _ => true,
    }
}

/// The response to a request that was asked.
///
/// # Errors
/// Where there is neither prediction nor default, and where all rows were shed.
pub(super) fn respond(
    target: &Target,
    selection: &Selection,
    options: &RequestOptions,
    mut answers: Vec<Answer>,
    arrival: Instant,
) -> Result<InferResponse, V2Error> {
    for answer in &mut answers {
        if let Answer::Prediction(prediction) = answer
            && let Some(failure) = selection.unsayable(&prediction.output)
        {
            *answer = Answer::Default(failure);
        }
    }
    let tally = Tally::new(&answers);
    answers
        .iter()
        .for_each(|answer| target.route.record(came_to(answer), arrival));
    let outputs = match tally.first {
        None => tensors(
            selection,
            &answers.iter().filter_map(predicted).collect::<Vec<_>>(),
        ),
        Some(failure) if target.route.is_direct || tally.is_overload => {
            return Err(not_predicted(failure));
        }
        Some(_) => with_defaults(target, selection, &answers),
    }?;
    let mut response = response(target, options, &tally, arrival);
    if let Some(version) = tally.version {
        version.clone_into(&mut response.model_version);
    }
    response.outputs = outputs;
    Ok(response)
}

/// The response to `rows` rows where no container has told the model's tensors.
///
/// # Errors
/// If there is no default.
pub(super) fn without_schema(
    target: &Target,
    request: &InferRequest,
    rows: usize,
    arrival: Instant,
) -> Result<InferResponse, V2Error> {
    for _ in 0..rows {
        target.route.record(Err(Cause::NoReplica), arrival);
    }
    if target.route.is_direct {
        return Err(not_predicted(&Cause::NoReplica.into()));
    }
    let failure = Cause::NoReplica.into();
    let tally = Tally {
        rows,
        defaults: rows,
        cached: 0,
        first: Some(&failure),
        is_overload: false,
        version: None,
    };
    let mut response = response(target, &request.parameters.options, &tally, arrival);
    response.id.clone_from(&request.id);
    let form = match request.parameters.binary_outputs {
        true => Form::Binary,
        false => Form::Json,
    };
    response.outputs = vec![default_text(target, form)];
    Ok(response)
}

fn came_to(answer: &Answer) -> Result<(), Cause> {
    match answer {
        Answer::Prediction(_) => Ok(()),
        Answer::Default(failure) => Err(failure.cause),
    }
}

fn predicted(answer: &Answer) -> Option<&Output> {
    match answer {
        Answer::Prediction(prediction) => Some(&prediction.output),
        Answer::Default(_) => None,
    }
}

/// What the rows of a request came to.
struct Tally<'a> {
    rows: usize,
    defaults: usize,
    cached: usize,
    /// The first failure.
    first: Option<&'a Failure>,
    /// All rows failed, and each for want of capacity.
    is_overload: bool,
    /// The version that predicted.
    version: Option<&'a str>,
}

impl<'a> Tally<'a> {
    fn new(answers: &'a [Answer]) -> Tally<'a> {
        let failures = || {
            answers.iter().filter_map(|answer| match answer {
                Answer::Default(failure) => Some(failure),
                Answer::Prediction(_) => None,
            })
        };
        let is_overload = |one: &Failure| matches!(one.cause, Cause::Shed | Cause::QueueFull);
        let defaults = failures().count();
        Tally {
            rows: answers.len(),
            defaults,
            cached: answers.iter().filter(|answer| is_cached(answer)).count(),
            first: failures().next(),
            is_overload: defaults == answers.len() && failures().all(is_overload),
            version: answers.iter().find_map(|answer| match answer {
                Answer::Prediction(Prediction { version, .. }) => Some(version.version.as_str()),
                Answer::Default(_) => None,
            }),
        }
    }
}

/// A response without its outputs.
fn response(
    target: &Target,
    options: &RequestOptions,
    tally: &Tally<'_>,
    arrival: Instant,
) -> InferResponse {
    let mut parameters = Vec::new();
    if let Some(model) = target.route.model().filter(|_| !target.route.is_direct) {
        parameters.push(("skysail_model", Parameter::Text(model.to_string())));
    }
    if tally.cached == tally.rows {
        parameters.push(("skysail_cached", Parameter::Bool(true)));
    }
    if let Some(failure) = tally.first {
        parameters.push(("skysail_default", Parameter::Bool(true)));
        parameters.push((
            "skysail_cause",
            Parameter::Text(failure.cause.name().to_owned()),
        ));
        parameters.push((
            "skysail_default_rows",
            Parameter::Count(tally.defaults as u64),
        ));
    }
    if options.explain {
        let text = explain(target, options, tally, arrival.elapsed()).to_string();
        parameters.push(("skysail_explain", Parameter::Text(text)));
    }
    InferResponse {
        model_name: target.name().to_owned(),
        model_version: target.version().to_owned(),
        id: None,
        parameters,
        outputs: Vec::new(),
    }
}

/// How the answer came about.
fn explain(
    target: &Target,
    options: &RequestOptions,
    tally: &Tally<'_>,
    elapsed: Duration,
) -> serde_json::Value {
    let slo = target.route.app.slo();
    json!({
        "application": (!target.route.is_direct).then(|| target.name()),
        "model": target.route.model().map(|model| model.as_str()),
        "version": tally.version.unwrap_or(target.version()),
        "slo_micros": slo.as_micros() as u64,
        "limit_micros": options.limit(slo).as_micros() as u64,
        "elapsed_micros": elapsed.as_micros() as u64,
        "rows": tally.rows,
        "cached_rows": tally.cached,
        "default_rows": tally.defaults,
        "cause": tally.first.map(|failure| failure.cause.name()),
        "detail": tally.first.and_then(|failure| failure.detail.as_deref()),
        "uid": options.uid,
    })
}

/// The outputs where some rows have none of their own.
fn with_defaults(
    target: &Target,
    selection: &Selection,
    answers: &[Answer],
) -> Result<Vec<OutputTensor>, V2Error> {
    let schema = target
        .resolved
        .schema()
        .expect("only rows of a schema were asked");
    let default = &target.route.app.default_output;
    let Some(cells) = defaults::cells(default, schema) else {
        let form = selection
            .0
            .first()
            .map_or(Form::Json, |(_, form)| form.clone());
        return Ok(vec![default_text(target, form)]);
    };
    let default = Output {
        schema: schema.clone(),
        cells: cells.into(),
    };
    let rows = answers
        .iter()
        .map(|answer| predicted(answer).unwrap_or(&default));
    tensors(selection, &rows.collect::<Vec<_>>())
}

/// The default as the text that it is.
fn default_text(target: &Target, form: Form) -> OutputTensor {
    OutputTensor {
        name: DEFAULT_OUTPUT.to_owned(),
        datatype: DataType::Bytes,
        shape: Shape::from_slice(&[1]),
        cells: vec![Cell::from(target.route.app.default_output.as_str())],
        form: match form {
            Form::Region(_) => Form::Json,
            other => other,
        },
    }
}

fn tensors(selection: &Selection, rows: &[&Output]) -> Result<Vec<OutputTensor>, V2Error> {
    let tensor = |(index, form): &(usize, Form)| {
        let of = |row: &&Output| row.cells[*index].clone();
        let spec = &rows.first().expect("a request has a row").schema.outputs[*index];
        tensor(spec, rows.iter().map(of).collect(), form)
    };
    selection.0.iter().map(tensor).collect()
}

fn tensor(spec: &TensorSpec, cells: Vec<Cell>, form: &Form) -> Result<OutputTensor, V2Error> {
    let dims = cells
        .first()
        .map(|cell| cell.dims(spec))
        .unwrap_or_default();
    if let Some(other) = cells.iter().find(|cell| cell.dims(spec) != dims) {
        return Err(V2Error::unsupported(format!(
            "rows of output '{}' have the shapes {dims:?} and {:?}, which one tensor cannot hold; \
             send the rows one by one",
            spec.name,
            other.dims(spec)
        )));
    }
    let sizes = dims.iter().map(|dim| dim.unsigned_abs());
    Ok(OutputTensor {
        name: spec.name.clone(),
        datatype: wire(spec.datatype),
        shape: std::iter::once(cells.len() as u64).chain(sizes).collect(),
        cells,
        form: form.clone(),
    })
}
