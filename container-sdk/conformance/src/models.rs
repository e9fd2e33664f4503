//! The models that cases ask for, as `container-sdk/conformance/README.md` defines them.

use skysail_rpc::message::Hello;
use skysail_rpc::tensor::SchemaError;
use skysail_rpc::{Schema, TensorSpec};

use crate::wrong::same;

/// Every model takes batches of so many rows.
pub(crate) const ROWS_MAX: usize = 64;
/// Every container is started with so many.
pub(crate) const SLOTS: u16 = 2;
/// What a container is started as.
pub(crate) const VERSION: &str = "1";

/// Name, inputs and outputs.
type Definition = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
);

const MODELS: [Definition; 9] = [
    ("sum", &[("x", "f64[-1]")], &[("sum", "f64")]),
    (
        "golden-fixed",
        &[("x", "f32[3]")],
        &[("y", "f32[2]"), ("top", "i64")],
    ),
    (
        "golden-texts",
        &[("s", "string"), ("tags", "bytes[-1]")],
        &[("upper", "string"), ("back", "bytes[-1]")],
    ),
    ("golden-slow", &[("ms", "u32")], &[("y", "u32")]),
    (
        "suite-inputs",
        &[("a", "f32[2]"), ("b", "i64"), ("c", "string")],
        &[("total", "f64"), ("label", "string")],
    ),
    (
        "suite-wrong",
        &[("how", "i64")],
        &[("y", "f32[2]"), ("s", "string")],
    ),
    ("suite-slow-load", &[("x", "f32")], &[("y", "f32")]),
    ("suite-crash-load", &[("x", "f32")], &[("y", "f32")]),
    ("suite-files", &[("x", "f32")], &[("y", "f32")]),
];

fn schema(model: &str) -> Result<Schema, String> {
    let found = MODELS.iter().find(|(name, ..)| *name == model);
    let (_, inputs, outputs) = found.ok_or_else(|| format!("no model is named {model}"))?;
    let specs = |side: &[(&str, &str)]| -> Result<Vec<TensorSpec>, SchemaError> {
        let spec = |(name, text): &(&str, &str)| TensorSpec::parse(name, text);
        side.iter().map(spec).collect()
    };
    let told = |error: SchemaError| error.to_string();
    Ok(Schema {
        inputs: specs(inputs).map_err(told)?,
        outputs: specs(outputs).map_err(told)?,
    })
}

/// Whether a hello is that of `model`.
pub(crate) fn check(model: &str, hello: &Hello) -> Result<(), String> {
    let texts = |specs: &[TensorSpec]| specs.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = schema(model)?;
    same("the model in the hello", model, hello.model.as_str())?;
    same("the version in the hello", VERSION, hello.version.as_str())?;
    let inputs = (texts(&expected.inputs), texts(&hello.schema.inputs));
    same(&format!("the inputs of {model}"), &inputs.0, &inputs.1)?;
    let outputs = (texts(&expected.outputs), texts(&hello.schema.outputs));
    same(&format!("the outputs of {model}"), &outputs.0, &outputs.1)?;
    let rows = hello.max_batch as usize;
    same("the most rows in the hello", &ROWS_MAX, &rows)?;
    same("the slots in the hello", &SLOTS, &hello.slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_a_schema() {
        for (name, ..) in MODELS {
            schema(name)
                .and_then(|s| s.check().map_err(|e| e.to_string()))
                .expect("valid");
        }
        assert!(schema("nothing").is_err());
    }
}
