//! An application's default as a row of its model's outputs.
//!
//! A number, `true`, `false` or a text fills a tensor; an array holds a row, nested or flat; an
//! object has one of these for each output.

use half::{bf16, f16};
use serde_json::Value;
use skysail_rpc::{Cell, DataType, PayloadBuf, Schema, TensorSpec};
use smallvec::SmallVec;

/// A cell for each output of the schema; `None` if the default is none of its rows.
pub(super) fn cells(default: &str, schema: &Schema) -> Option<Vec<Cell>> {
    let text = || Value::String(default.to_owned());
    let value: Value = serde_json::from_str(default).unwrap_or_else(|_| text());
    let of = |spec: &TensorSpec| match &value {
        Value::Object(by_name) => cell(by_name.get(&spec.name)?, default, spec),
        value => cell(value, default, spec),
    };
    schema.outputs.iter().map(of).collect()
}

/// One tensor's row; `whole` is the default's own text.
fn cell(value: &Value, whole: &str, spec: &TensorSpec) -> Option<Cell> {
    let mut elements = Vec::new();
    flatten(value, &mut elements);
    let fills = !value.is_array();
    let (count, variable) = sizes(spec, (!fills).then_some(elements.len()))?;
    let element = |index: usize| elements.get(if fills { 0 } else { index });
    if spec.datatype.width().is_none() {
        let strings: Option<Vec<String>> = (0..count)
            .map(|i| text(element(i)?, fills.then_some(whole)))
            .collect();
        let strings = strings?;
        return Cell::strings(strings.iter().map(String::as_bytes), variable).ok();
    }
    let mut data = PayloadBuf::default();
    for index in 0..count {
        push(&mut data, spec.datatype, element(index)?)?;
    }
    let cell = Cell::variable(data.freeze(), variable);
    cell.check(spec).ok().map(|()| cell)
}

fn flatten<'a>(value: &'a Value, into: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, into)),
        other => into.push(other),
    }
}

/// Elements of a row, and its variable dimensions: 1 each, or what the elements that are there
/// leave for a single one.
fn sizes(spec: &TensorSpec, there: Option<usize>) -> Option<(usize, SmallVec<[u32; 2]>)> {
    let fixed: i64 = spec.dims.iter().filter(|dim| **dim > 0).product();
    let fixed = usize::try_from(fixed).ok()?;
    let variable = spec.variable_dims();
    let Some(there) = there else {
        return Some((fixed, SmallVec::from_elem(1, variable)));
    };
    match variable {
        0 if there == fixed => Some((there, SmallVec::new())),
        1 if there.is_multiple_of(fixed) => {
            let open = u32::try_from(there / fixed).ok()?;
            Some((there, SmallVec::from_elem(open, 1)))
        }
        _ => None,
    }
}

/// A string, or what else stands there as it was written: `-1.0` stays that.
fn text(value: &Value, whole: Option<&str>) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => None,
        other => Some(whole.map_or_else(|| other.to_string(), str::to_owned)),
    }
}

/// Appends an element, if the datatype holds it.
fn push(out: &mut PayloadBuf, datatype: DataType, value: &Value) -> Option<()> {
    // A default such as `-1.0` is meant for integers too.
    let whole = || match value.as_f64()? {
        number if number.fract() == 0.0 && number.abs() < 2_f64.powi(53) => Some(number as i64),
        _ => None,
    };
    let signed = || value.as_i64().or_else(whole);
    let unsigned = || value.as_u64().or_else(|| u64::try_from(whole()?).ok());
    let float = || value.as_f64();
    match datatype {
        DataType::Bool => out.push(u8::from(value.as_bool()?)),
        DataType::Uint8 => out.push(u8::try_from(unsigned()?).ok()?),
        DataType::Uint16 => out.push(u16::try_from(unsigned()?).ok()?),
        DataType::Uint32 => out.push(u32::try_from(unsigned()?).ok()?),
        DataType::Uint64 => out.push(unsigned()?),
        DataType::Int8 => out.push(i8::try_from(signed()?).ok()?),
        DataType::Int16 => out.push(i16::try_from(signed()?).ok()?),
        DataType::Int32 => out.push(i32::try_from(signed()?).ok()?),
        DataType::Int64 => out.push(signed()?),
        DataType::Fp16 => out.push(f16::from_f64(float()?).to_bits()),
        DataType::Bf16 => out.push(bf16::from_f64(float()?).to_bits()),
        DataType::Fp32 => out.push(float()? as f32),
        DataType::Fp64 => out.push(float()?),
        DataType::Bytes | DataType::String => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(outputs: &[&str]) -> Schema {
        let spec = |(index, text): (usize, &&str)| {
            TensorSpec::parse(&format!("y{index}"), text).expect("valid")
        };
        Schema {
            inputs: vec![],
            outputs: outputs.iter().enumerate().map(spec).collect(),
        }
    }

    fn bytes(default: &str, output: &str) -> Option<Vec<u8>> {
        let cells = cells(default, &schema(&[output]))?;
        let [cell] = cells.as_slice() else {
            panic!("one output")
        };
        cell.check(&schema(&[output]).outputs[0]).expect("a row");
        Some(cell.data().as_bytes().to_vec())
    }

    #[test]
    fn a_number_fills_every_numeric_tensor() {
        for datatype in DataType::all().filter(|one| one.width().is_some()) {
            let text = format!("{datatype}[3]");
            let default = if datatype == DataType::Bool {
                "true"
            } else {
                "1"
            };
            let filled = bytes(default, &text).expect(&text);
            assert_eq!(filled.len(), 3 * datatype.width().expect("fixed"));
            assert_eq!(
                filled[..filled.len() / 3],
                filled[filled.len() / 3..2 * filled.len() / 3]
            );
        }
        assert_eq!(bytes("-1.0", "i32"), Some((-1_i32).to_le_bytes().to_vec()));
        assert_eq!(
            bytes("-1.0", "f16"),
            Some(0xbc00_u16.to_le_bytes().to_vec())
        );
        assert_eq!(bytes("2", "f32[-1,2]").map(|all| all.len()), Some(8));
    }

    #[test]
    fn an_array_is_a_row_and_an_object_has_one_for_each_output() {
        assert_eq!(bytes("[[1,2],[3,4]]", "u8[2,2]"), Some(vec![1, 2, 3, 4]));
        assert_eq!(bytes("[1,2,3]", "u8[-1]"), Some(vec![1, 2, 3]));
        let both = cells(r#"{"y0":1,"y1":"none"}"#, &schema(&["u8", "string"])).expect("fits");
        assert_eq!(both[0].data().as_bytes(), [1]);
        assert_eq!(both[1], Cell::from("none"));
        assert_eq!(
            cells("no label", &schema(&["string"])),
            Some(vec![Cell::from("no label")])
        );
        assert_eq!(
            cells("-1.0", &schema(&["bytes"])),
            Some(vec![Cell::from("-1.0")])
        );
    }

    #[test]
    fn what_does_not_fit_is_no_row() {
        for (default, output) in [
            ("none", "f32"),
            ("300", "u8"),
            ("1.5", "i64"),
            ("-1", "u32"),
            ("1", "bool"),
            ("[1,2]", "u8[3]"),
            ("[1]", "u8[-1,-1]"),
            ("{\"other\":1}", "u8"),
            ("null", "f32"),
        ] {
            assert_eq!(bytes(default, output), None, "{default} as {output}");
        }
    }
}
