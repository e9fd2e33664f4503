//! A response over HTTP: JSON, and behind it the tensors that are wanted in binary form.
//!
//! # Cost
//! One buffer; binary tensors are copied into it once.

use skysail_rpc::Cell;

use super::error::V2Error;
use super::infer::{Form, InferResponse, OutputTensor, Parameter};
use crate::json::element::write_element;
use crate::json::output::{write_string, write_u64};

/// A response's body.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) body: Vec<u8>,
    /// Bytes of the JSON, where something stands behind it.
    pub(super) header_bytes: Option<usize>,
}

/// Writes a response.
///
/// # Errors
/// If a string that is wanted as JSON is not UTF-8.
pub(super) fn response(response: &InferResponse) -> Result<Written, V2Error> {
    let binary = || {
        response
            .outputs
            .iter()
            .filter(|output| output.form == Form::Binary)
    };
    let behind: usize = binary().map(OutputTensor::binary_bytes).sum();
    let mut out = Vec::with_capacity(256 + behind + 16 * json_elements(response));
    out.extend_from_slice(b"{\"model_name\":");
    write_string(&mut out, &response.model_name);
    out.extend_from_slice(b",\"model_version\":");
    write_string(&mut out, &response.model_version);
    if let Some(id) = &response.id {
        out.extend_from_slice(b",\"id\":");
        write_string(&mut out, id);
    }
    write_parameters(&mut out, &response.parameters);
    out.extend_from_slice(b",\"outputs\":[");
    for (index, output) in response.outputs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_output(&mut out, output)?;
    }
    out.extend_from_slice(b"]}");
    let header_bytes = (behind > 0).then_some(out.len());
    binary().for_each(|output| output.write_binary(&mut out));
    Ok(Written {
        body: out,
        header_bytes,
    })
}

fn json_elements(response: &InferResponse) -> usize {
    let json = response
        .outputs
        .iter()
        .filter(|output| output.form == Form::Json);
    json.map(|output| output.shape.iter().product::<u64>() as usize)
        .sum()
}

fn write_parameters(out: &mut Vec<u8>, parameters: &[(&'static str, Parameter)]) {
    for (index, (name, value)) in parameters.iter().enumerate() {
        out.extend_from_slice(if index == 0 {
            b",\"parameters\":{"
        } else {
            b","
        });
        write_string(out, name);
        out.push(b':');
        match value {
            Parameter::Bool(true) => out.extend_from_slice(b"true"),
            Parameter::Bool(false) => out.extend_from_slice(b"false"),
            Parameter::Count(count) => write_u64(out, *count),
            Parameter::Text(text) => write_string(out, text),
        }
    }
    if !parameters.is_empty() {
        out.push(b'}');
    }
}

/// One output. Only a binary one has parameters: clients take any others for its size.
fn write_output(out: &mut Vec<u8>, output: &OutputTensor) -> Result<(), V2Error> {
    out.extend_from_slice(b"{\"name\":");
    write_string(out, &output.name);
    out.extend_from_slice(b",\"shape\":[");
    for (index, dim) in output.shape.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_u64(out, *dim);
    }
    out.extend_from_slice(b"],\"datatype\":\"");
    out.extend_from_slice(output.datatype.name().as_bytes());
    out.push(b'"');
    match &output.form {
        Form::Json => {
            out.extend_from_slice(b",\"data\":[");
            write_data(out, output)?;
            out.push(b']');
        }
        Form::Binary => {
            out.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
            write_u64(out, output.binary_bytes() as u64);
            out.push(b'}');
        }
        Form::Region(_) => {}
    }
    out.push(b'}');
    Ok(())
}

fn write_data(out: &mut Vec<u8>, output: &OutputTensor) -> Result<(), V2Error> {
    let start = out.len();
    for cell in &output.cells {
        match output.datatype.width() {
            Some(width) => write_elements(out, output, cell, width)?,
            None => write_strings(out, output, cell)?,
        }
    }
    // Each element wrote a comma after itself.
    if out.len() > start {
        out.pop();
    }
    Ok(())
}

fn write_elements(
    out: &mut Vec<u8>,
    output: &OutputTensor,
    cell: &Cell,
    width: usize,
) -> Result<(), V2Error> {
    for element in cell.data().as_bytes().chunks_exact(width) {
        let written = write_element(out, output.datatype, element);
        written.map_err(|error| unsayable(output, &error.to_string()))?;
        out.push(b',');
    }
    Ok(())
}

fn write_strings(out: &mut Vec<u8>, output: &OutputTensor, cell: &Cell) -> Result<(), V2Error> {
    for string in cell.iter_strings() {
        let text = std::str::from_utf8(string);
        let text = text.map_err(|_| unsayable(output, "its bytes are not UTF-8"))?;
        write_string(out, text);
        out.push(b',');
    }
    Ok(())
}

fn unsayable(output: &OutputTensor, why: &str) -> V2Error {
    let name = &output.name;
    V2Error::invalid(format!(
        "output '{name}' has no JSON form: {why}; ask for it as binary data"
    ))
}

#[cfg(test)]
mod tests {
    use skysail_rpc::{DataType, Payload};
    use smallvec::smallvec;

    use super::*;

    fn output(datatype: DataType, cells: Vec<Cell>, form: Form) -> OutputTensor {
        OutputTensor {
            name: "y".into(),
            datatype,
            shape: smallvec![cells.len() as u64, 1],
            cells,
            form,
        }
    }

    fn written(outputs: Vec<OutputTensor>) -> (String, Option<usize>) {
        let written = response(&InferResponse {
            model_name: "m".into(),
            model_version: "1".into(),
            id: Some("a\"b".into()),
            parameters: vec![("skysail_cached", Parameter::Bool(true))],
            outputs,
        });
        let written = written.expect("sayable");
        (
            String::from_utf8_lossy(&written.body).into_owned(),
            written.header_bytes,
        )
    }

    #[test]
    fn json_outputs_have_data_and_no_parameters() {
        let cell = |x: f32| Cell::fixed(Payload::copy_from_slice(&x.to_le_bytes()));
        let floats = output(DataType::Fp32, vec![cell(1.5), cell(-2.0)], Form::Json);
        let (body, header) = written(vec![floats]);
        assert_eq!(
            body,
            r#"{"model_name":"m","model_version":"1","id":"a\"b","parameters":{"skysail_cached":true},"outputs":[{"name":"y","shape":[2,1],"datatype":"FP32","data":[1.5,-2.0]}]}"#
        );
        assert_eq!(header, None);
        let strings = output(
            DataType::Bytes,
            vec![Cell::from("a"), Cell::from("")],
            Form::Json,
        );
        assert!(written(vec![strings]).0.contains(r#""data":["a",""]"#));
    }

    #[test]
    fn binary_outputs_stand_behind_the_json() {
        let strings = output(
            DataType::Bytes,
            vec![Cell::from("ab"), Cell::from("")],
            Form::Binary,
        );
        let byte = Cell::fixed(Payload::copy_from_slice(&[7]));
        let bytes = output(DataType::Uint8, vec![byte], Form::Binary);
        let (body, header) = written(vec![strings, bytes]);
        let (json, behind) = body.split_at(header.expect("binary"));
        assert!(json.contains(r#""parameters":{"binary_data_size":10}"#) && json.ends_with("]}"));
        assert_eq!(behind.as_bytes(), b"\x02\0\0\0ab\0\0\0\0\x07");
        let nothing = output(DataType::Uint8, vec![Cell::default()], Form::Binary);
        assert_eq!(written(vec![nothing]).1, None, "nothing is behind it");
    }

    #[test]
    fn bytes_that_are_no_text_want_the_binary_form() {
        let cell = Cell::strings([[0xff].as_slice()], smallvec![]).expect("short");
        let response = InferResponse {
            model_name: "m".into(),
            model_version: String::new(),
            id: None,
            parameters: vec![],
            outputs: vec![output(DataType::Bytes, vec![cell], Form::Json)],
        };
        let error = super::response(&response).expect_err("no JSON");
        assert!(error.message.contains("ask for it as binary data"));
    }
}
