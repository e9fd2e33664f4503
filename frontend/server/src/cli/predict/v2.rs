//! Queries and answers of the Open Inference Protocol V2, by a model's metadata.

use serde_json::{Map, Value, json};

use super::Input;
use crate::cli::client::CliError;
use crate::cli::render::{cell, items};

/// Whether a model of these inputs takes one text.
pub(super) fn takes_text(inputs: &Value) -> bool {
    matches!(items(inputs), [only] if only["datatype"] == "BYTES")
}

/// The body of a request of these rows, in the shapes of the model's inputs.
pub(super) fn body(inputs: &Value, rows: &[Input]) -> Result<Value, CliError> {
    let specs = items(inputs);
    let rows = rows.iter().map(|input| row(specs, input));
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let tensors = specs.iter().map(|spec| tensor(spec, &rows));
    let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "inputs": tensors }))
}

/// The tensors of a row by name.
fn row(specs: &[Value], input: &Input) -> Result<Map<String, Value>, CliError> {
    let names: Vec<_> = specs.iter().map(|spec| cell(&spec["name"])).collect();
    let text = input.text.as_str();
    let value = serde_json::from_str(text);
    // What is not JSON is a text where the one input is of texts.
    let is_text = matches!(specs, [only] if only["datatype"] == "BYTES");
    if let (Err(error), false) = (&value, is_text) {
        return Err(input.broken(error));
    }
    match (value, names.as_slice()) {
        (Ok(Value::Object(row)), _) => match row.keys().find(|name| !names.contains(*name)) {
            None => Ok(row),
            Some(other) => Err(wrong(&format!(
                "there is no input '{other}', the model takes {}",
                names.join(", ")
            ))),
        },
        (value, [only]) => {
            // Whatever a model of texts gets bare is one.
            let text = || Value::from(text);
            let value = match value {
                Ok(value @ (Value::Array(_) | Value::String(_))) => value,
                Ok(value) if specs[0]["datatype"] != "BYTES" => value,
                _ => text(),
            };
            Ok(Map::from_iter([(only.clone(), value)]))
        }
        (_, _) => Err(wrong(&format!(
            "the model has {} inputs: give an object of {}",
            names.len(),
            names.join(", ")
        ))),
    }
}

/// One input of all rows.
fn tensor(spec: &Value, rows: &[Map<String, Value>]) -> Result<Value, CliError> {
    let name = cell(&spec["name"]);
    // The first is that of the rows.
    let declared: Vec<i64> = items(&spec["shape"])
        .iter()
        .skip(1)
        .filter_map(Value::as_i64)
        .collect();
    let mut data = Vec::with_capacity(rows.len());
    let mut shape = Vec::new();
    for row in rows {
        let value = row.get(&name);
        let value = value.ok_or_else(|| wrong(&format!("input '{name}' is missing")))?;
        let dims = dims(value, &declared)
            .ok_or_else(|| wrong(&format!("input '{name}' does not fit {declared:?}")))?;
        if !data.is_empty() && dims != shape {
            let text = format!(
                "rows of input '{name}' have sizes {shape:?} and {dims:?}: send them one by one"
            );
            return Err(wrong(&text));
        }
        shape = dims;
        data.push(value.clone());
    }
    shape.insert(0, rows.len());
    Ok(json!({
        "name": name, "datatype": spec["datatype"], "shape": shape, "data": data,
    }))
}

/// The sizes of a row: those declared, and what it holds where one is open. The front end checks
/// that it holds as much as they say.
fn dims(value: &Value, declared: &[i64]) -> Option<Vec<usize>> {
    let fixed: Option<Vec<usize>> = declared.iter().map(|dim| (*dim).try_into().ok()).collect();
    if let Some(fixed) = fixed {
        return Some(fixed);
    }
    let nested = nesting(value);
    if nested.len() == declared.len() {
        return Some(nested);
    }
    // A flat list, or a bare value, leaves one open size to be told by its length.
    let open = declared.iter().filter(|dim| **dim < 0).count();
    let known: usize = declared
        .iter()
        .filter_map(|dim| usize::try_from(*dim).ok())
        .product();
    let length = nested.first().copied().unwrap_or(1);
    if open != 1 || nested.len() > 1 || known == 0 || !length.is_multiple_of(known) {
        return None;
    }
    let size = |dim: &i64| usize::try_from(*dim).unwrap_or(length / known);
    Some(declared.iter().map(size).collect())
}

/// Lengths of lists within lists, by the first of each.
fn nesting(value: &Value) -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut value = value;
    while let Value::Array(list) = value {
        sizes.push(list.len());
        value = list.first().unwrap_or(&Value::Null);
    }
    sizes
}

fn wrong(why: &str) -> CliError {
    CliError::Usage(format!("INPUT: {why}"))
}

/// The outputs, one a line, and what made them.
pub(super) fn text(answer: &Value) -> String {
    let mut text = String::new();
    for output in items(&answer["outputs"]) {
        text.push_str(&format!(
            "{} {}{}: {}\n",
            cell(&output["name"]),
            cell(&output["datatype"]),
            output["shape"],
            output["data"]
        ));
    }
    let parameters = &answer["parameters"];
    if parameters["skysail_default"] == true {
        let cause = cell(&parameters["skysail_cause"]);
        text.push_str(&format!("this is the application's default ({cause})\n"));
    } else {
        let (name, version) = (cell(&answer["model_name"]), cell(&answer["model_version"]));
        text.push_str(&format!("predicted by version {version} of {name}\n"));
    }
    let members = parameters.as_object().into_iter().flatten();
    for (name, value) in members.filter(|(name, _)| !SAID.contains(&name.as_str())) {
        text.push_str(&format!("{name}: {}\n", cell(value)));
    }
    text
}

/// Parameters that the text has in words.
const SAID: [&str; 2] = ["skysail_default", "skysail_cause"];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(inputs: &Value, rows: &[&str]) -> Result<Value, String> {
        let input = |(text, line): (&&str, usize)| Input {
            text: (*text).to_owned(),
            line,
        };
        let rows: Vec<_> = rows.iter().zip(1..).map(input).collect();
        body(inputs, &rows).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_take_the_shape_of_the_models_inputs() {
        let x = |shape: Value| json!([{ "name": "x", "datatype": "FP32", "shape": shape }]);
        let shape = |shape: Value, rows: &[&str]| {
            of(&x(shape), rows).map(|body| body["inputs"][0]["shape"].clone())
        };
        assert_eq!(shape(json!([-1, 3]), &["[1,2,3]"]), Ok(json!([1, 3])));
        assert_eq!(shape(json!([-1]), &["5", "6"]), Ok(json!([2])));
        assert_eq!(shape(json!([-1, -1]), &["5"]), Ok(json!([1, 1])));
        assert_eq!(
            shape(json!([-1, -1]), &["[1,2]", "[3,4]"]),
            Ok(json!([2, 2]))
        );
        assert_eq!(
            shape(json!([-1, -1, 2]), &["[1,2,3,4]"]),
            Ok(json!([1, 2, 2]))
        );
        assert_eq!(
            shape(json!([-1, -1, -1]), &["[[1,2],[3,4]]"]),
            Ok(json!([1, 2, 2]))
        );
        for (dims, rows) in [
            (json!([-1, -1]), &["[1]", "[1,2]"][..]),
            (json!([-1, -1, -1]), &["[1,2]"]),
            (json!([-1, -1, 2]), &["[1,2,3]"]),
        ] {
            assert!(shape(dims.clone(), rows).is_err(), "{dims} {rows:?}");
        }
    }

    #[test]
    fn several_inputs_come_by_name() {
        let inputs = json!([
            { "name": "x", "datatype": "FP32", "shape": [-1, 2] },
            { "name": "t", "datatype": "BYTES", "shape": [-1] },
        ]);
        let body = of(
            &inputs,
            &[r#"{"t":"a","x":[1,2]}"#, r#"{"x":[3,4],"t":"b"}"#],
        );
        let body = body.expect("two rows");
        assert_eq!(body["inputs"][0]["data"], json!([[1, 2], [3, 4]]));
        assert_eq!(body["inputs"][1]["data"], json!(["a", "b"]));
        for (row, says) in [
            ("[1,2]", "give an object of x, t"),
            (r#"{"x":[1,2]}"#, "input 't' is missing"),
            (r#"{"x":[1,2]"#, "INPUT is not JSON at line 1, column 10"),
            (r#"{"x":[1,2],"t":"a","y":1}"#, "there is no input 'y'"),
        ] {
            assert!(
                of(&inputs, &[row]).is_err_and(|why| why.contains(says)),
                "{row}"
            );
        }
    }

    #[test]
    fn a_model_of_texts_takes_them_bare() {
        let inputs = json!([{ "name": "t", "datatype": "BYTES", "shape": [-1] }]);
        for (text, data) in [("5", "5"), ("win a prize", "win a prize"), ("\"5\"", "5")] {
            let body = of(&inputs, &[text]).expect("a text");
            assert_eq!(body["inputs"][0]["data"], json!([data]), "{text}");
        }
        assert!(takes_text(&inputs));
    }

    #[test]
    fn an_answer_tells_its_tensors_and_who_made_them() {
        let answer = json!({
            "model_name": "m", "model_version": "1", "parameters": { "skysail_cached": false },
            "outputs": [{ "name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2] }],
        });
        assert_eq!(
            text(&answer),
            "y FP32[1,2]: [1.5,2]\npredicted by version 1 of m\nskysail_cached: false\n"
        );
        let default = json!({
            "outputs": [],
            "parameters": { "skysail_default": true, "skysail_cause": "no_replica" },
        });
        assert_eq!(
            text(&default),
            "this is the application's default (no_replica)\n"
        );
    }
}
