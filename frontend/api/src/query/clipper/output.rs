//! Answers as JSON.
//!
//! A model of one output tensor answers with that tensor's row: a number, a string or a
//! nested array by its dimensions. Several tensors make an object by name. Text outputs and
//! defaults are nested as JSON if they are JSON, as Clipper does.

use std::time::Instant;

use serde_json::json;
use skysail_core::Cause;
use skysail_core::registry::Application;
use skysail_engine::{Answer, Failure, Output, Prediction};
use skysail_rpc::{Cell, TensorSpec};

use crate::json::element::write_element;
use crate::json::output::{NonFinite, write_string, write_text_as_json, write_u64};
use crate::options::RequestOptions;

/// Appends one query's answer; says what it came to. A prediction that JSON cannot say, NaN
/// or infinity, becomes the default.
pub(super) fn write_answer(
    out: &mut Vec<u8>,
    id: u64,
    app: &Application,
    answer: &Answer,
    explained: Option<Explained<'_>>,
) -> Result<(), Cause> {
    let came_to = write_members(out, id, app, answer);
    if let Some(explained) = explained {
        out.extend_from_slice(b",\"explanation\":");
        out.extend_from_slice(explained.of(app, answer).to_string().as_bytes());
    }
    out.push(b'}');
    came_to
}

/// The options of a query that shall be explained, and when it came.
#[derive(Clone, Copy)]
pub(super) struct Explained<'a> {
    pub(super) options: &'a RequestOptions,
    pub(super) arrival: Instant,
}

impl Explained<'_> {
    /// How an answer came about.
    fn of(self, app: &Application, answer: &Answer) -> serde_json::Value {
        let (slo, cached) = (
            app.slo(),
            matches!(answer, Answer::Prediction(one) if one.cached),
        );
        json!({
            "slo_micros": slo.as_micros() as u64,
            "limit_micros": self.options.limit(slo).as_micros() as u64,
            "elapsed_micros": self.arrival.elapsed().as_micros() as u64,
            "cached": cached,
            "uid": self.options.uid,
        })
    }
}

/// Everything but the closing brace.
fn write_members(
    out: &mut Vec<u8>,
    id: u64,
    app: &Application,
    answer: &Answer,
) -> Result<(), Cause> {
    out.extend_from_slice(b"{\"query_id\":");
    write_u64(out, id);
    out.extend_from_slice(b",\"output\":");
    let start = out.len();
    let failure = match answer {
        Answer::Prediction(prediction) => match write_output(out, &prediction.output) {
            Ok(()) => {
                write_models(out, prediction);
                return Ok(());
            }
            Err(NonFinite(_)) => {
                let detail = Some("the prediction is not a finite number".into());
                &Failure {
                    cause: Cause::ModelError,
                    detail,
                }
            }
        },
        Answer::Default(failure) => failure,
    };
    out.truncate(start);
    write_default(out, app, failure);
    Err(failure.cause)
}

fn write_models(out: &mut Vec<u8>, prediction: &Prediction) {
    out.extend_from_slice(b",\"default\":false,\"models\":[{\"name\":");
    write_string(out, prediction.version.model.as_str());
    out.extend_from_slice(b",\"version\":");
    write_string(out, prediction.version.version.as_str());
    out.extend_from_slice(b",\"voted\":true}]");
}

fn write_default(out: &mut Vec<u8>, app: &Application, failure: &Failure) {
    write_text_as_json(out, &app.default_output);
    out.extend_from_slice(b",\"default\":true,\"default_explanation\":");
    match &failure.detail {
        None => write_string(out, failure.cause.explanation()),
        Some(detail) => write_string(out, &format!("{}: {detail}", failure.cause.explanation())),
    }
    out.extend_from_slice(b",\"default_cause\":");
    write_string(out, failure.cause.name());
}

fn write_output(out: &mut Vec<u8>, output: &Output) -> Result<(), NonFinite> {
    let tensors = || output.schema.outputs.iter().zip(&output.cells);
    if let Some((spec, cell)) = tensors().next().filter(|_| output.cells.len() == 1) {
        return write_tensor(out, spec, cell);
    }
    out.push(b'{');
    for (index, (spec, cell)) in tensors().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, &spec.name);
        out.push(b':');
        write_tensor(out, spec, cell)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_tensor(out: &mut Vec<u8>, spec: &TensorSpec, cell: &Cell) -> Result<(), NonFinite> {
    let dims = cell.dims(spec);
    let bytes = cell.data().as_bytes();
    let Some(width) = spec.datatype.width() else {
        let strings: Vec<_> = cell.iter_strings().collect();
        return write_nested(out, &dims, &mut 0, &mut |out, index| {
            write_text_as_json(out, &String::from_utf8_lossy(strings[index]));
            Ok(())
        });
    };
    write_nested(out, &dims, &mut 0, &mut |out, index| {
        write_element(
            out,
            spec.datatype,
            &bytes[index * width..(index + 1) * width],
        )
    })
}

type WriteElement<'a> = dyn FnMut(&mut Vec<u8>, usize) -> Result<(), NonFinite> + 'a;

/// Arrays by `dims`, elements in row-major order from `next`.
fn write_nested(
    out: &mut Vec<u8>,
    dims: &[i64],
    next: &mut usize,
    element: &mut WriteElement<'_>,
) -> Result<(), NonFinite> {
    let Some((first, rest)) = dims.split_first() else {
        *next += 1;
        return element(out, *next - 1);
    };
    out.push(b'[');
    for index in 0..*first {
        if index > 0 {
            out.push(b',');
        }
        write_nested(out, rest, next, element)?;
    }
    out.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use skysail_core::registry::{Batching, ModelVersion};
    use skysail_core::{InputType, Name};
    use skysail_rpc::{Payload, Schema};
    use smallvec::smallvec;

    use super::*;

    fn app(default_output: &str) -> Application {
        Application {
            guarantee: None,
            name: Name::new("a").expect("a name"),
            input_type: InputType::Floats,
            features: None,
            latency_slo_micros: 20_000,
            default_output: default_output.into(),
            linked_models: vec![],
        }
    }

    fn prediction(outputs: &[(&str, &str, Cell)]) -> Answer {
        let spec =
            |(name, text, _): &(&str, &str, Cell)| TensorSpec::parse(name, text).expect("ok");
        let schema = Schema {
            inputs: vec![],
            outputs: outputs.iter().map(spec).collect(),
        };
        let version = ModelVersion {
            idempotent: true,
            model: Name::new("m").expect("a name"),
            version: Name::new("1").expect("a name"),
            generation: 1,
            input_type: InputType::Floats,
            labels: vec![],
            container_name: String::new(),
            model_data_path: String::new(),
            batching: Batching::default(),
        };
        let cells = outputs.iter().map(|(_, _, cell)| cell.clone()).collect();
        let output = Output {
            schema: Arc::new(schema),
            cells,
        };
        Answer::Prediction(Prediction {
            output,
            version: Arc::new(version),
            cached: false,
        })
    }

    fn fixed(bytes: &[u8]) -> Cell {
        Cell::fixed(Payload::copy_from_slice(bytes))
    }

    fn written(default_output: &str, answer: &Answer) -> serde_json::Value {
        let mut out = Vec::new();
        let _ = write_answer(&mut out, 7, &app(default_output), answer, None);
        serde_json::from_slice(&out).expect("JSON")
    }

    fn output_of(outputs: &[(&str, &str, Cell)]) -> String {
        written("", &prediction(outputs))["output"].to_string()
    }

    #[test]
    fn a_prediction_names_the_version_that_made_it() {
        let answer = prediction(&[("y", "f32", fixed(&1.5_f32.to_le_bytes()))]);
        let expected = serde_json::json!({
            "query_id": 7, "output": 1.5, "default": false,
            "models": [{ "name": "m", "version": "1", "voted": true }],
        });
        assert_eq!(written("", &answer), expected);
    }

    #[test]
    fn every_datatype_has_its_json() {
        let le = |text, bytes: &[u8]| output_of(&[("y", text, fixed(bytes))]);
        assert_eq!(le("bool[2]", &[1, 0]), "[true,false]");
        assert_eq!(le("u8", &[200]), "200");
        assert_eq!(le("i8", &[200]), "-56");
        assert_eq!(le("i16", &(-2_i16).to_le_bytes()), "-2");
        assert_eq!(le("i32", &i32::MIN.to_le_bytes()), i32::MIN.to_string());
        assert_eq!(le("u64", &u64::MAX.to_le_bytes()), u64::MAX.to_string());
        assert_eq!(le("i64", &i64::MIN.to_le_bytes()), i64::MIN.to_string());
        assert_eq!(le("f16", &0xc500_u16.to_le_bytes()), "-5.0");
        assert_eq!(le("bf16", &0x3fc0_u16.to_le_bytes()), "1.5");
        assert_eq!(le("f64", &0.1_f64.to_le_bytes()), "0.1");
        assert_eq!(output_of(&[("y", "string", Cell::from("cat"))]), "\"cat\"");
        assert_eq!(output_of(&[("y", "string", Cell::from("[1, 2]"))]), "[1,2]");
        let variable = Cell::variable(Payload::copy_from_slice(&[1, 2, 3, 4]), smallvec![2]);
        assert_eq!(output_of(&[("y", "u8[-1,2]", variable)]), "[[1,2],[3,4]]");
        let two = output_of(&[("a", "u8", fixed(&[1])), ("b", "u8[1]", fixed(&[2]))]);
        assert_eq!(two, "{\"a\":1,\"b\":[2]}");
    }

    #[test]
    fn a_default_says_why() {
        let detail = Some("division by zero".into());
        let answer = Answer::Default(Failure {
            cause: Cause::ModelError,
            detail,
        });
        let expected = serde_json::json!({
            "query_id": 7, "output": -1.0, "default": true,
            "default_explanation": "The model failed on this query: division by zero",
            "default_cause": "model_error",
        });
        assert_eq!(written("-1.0", &answer), expected);
    }

    #[test]
    fn what_json_cannot_say_becomes_the_default() {
        for nan in [f32::NAN, f32::INFINITY] {
            let answer = prediction(&[("y", "f32", fixed(&nan.to_le_bytes()))]);
            let written = written("none", &answer);
            assert_eq!(
                (&written["default"], &written["output"]),
                (&true.into(), &"none".into())
            );
            assert_eq!(written["default_cause"], "model_error");
        }
    }
}
