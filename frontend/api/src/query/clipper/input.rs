//! From parsed rows to the inputs of queries.

use skysail_core::{Input, InputType};
use skysail_engine::{Resolved, Route};
use skysail_rpc::{Cell, TensorSpec};
use smallvec::{SmallVec, smallvec};

use crate::json::RowInput;
use crate::json::error::TENSORS_ELSEWHERE;

/// The field to blame, and what is wrong with it.
type Wrong = (String, String);

/// The inputs of the queries that `rows` are.
pub(super) fn inputs(
    route: &Route,
    to: &Resolved,
    rows: Vec<RowInput>,
    batch: bool,
) -> Result<Vec<Input>, Wrong> {
    // Several named tensors have no place in Clipper's body; the engine says so.
    let spec = to.schema().and_then(|schema| schema.inputs.first());
    let input = |(index, row): (usize, RowInput)| {
        let field = || {
            if batch {
                format!("input_batch[{index}]")
            } else {
                "input".to_owned()
            }
        };
        check_length(route, &row).map_err(|cause| (field(), cause))?;
        let cell = cell(route.app.input_type, row, spec).map_err(|cause| (field(), cause))?;
        Ok(Input::single(cell))
    };
    rows.into_iter().enumerate().map(input).collect()
}

/// The application's own word on how long its inputs are.
fn check_length(route: &Route, row: &RowInput) -> Result<(), String> {
    match route.app.features {
        Some(expected) if row.elements != expected as usize => Err(format!(
            "input has {} elements, application '{}' takes {expected}",
            row.elements, route.app.name
        )),
        _ => Ok(()),
    }
}

/// A row as the model's tensor wants it: flat elements fill fixed dimensions in row-major
/// order, and at most one variable dimension takes what is left.
fn cell(kind: InputType, row: RowInput, spec: Option<&TensorSpec>) -> Result<Cell, String> {
    let variable = variable_dims(spec, row.elements)?;
    match kind {
        InputType::Tensors => Err(TENSORS_ELSEWHERE.to_owned()),
        InputType::Bytes | InputType::Strings => {
            let strings = std::iter::once(row.data.as_bytes());
            Cell::strings(strings, variable).map_err(|error| error.to_string())
        }
        InputType::Integers | InputType::Floats | InputType::Doubles => {
            Ok(Cell::variable(row.data.freeze(), variable))
        }
    }
}

fn variable_dims(spec: Option<&TensorSpec>, elements: usize) -> Result<SmallVec<[u32; 2]>, String> {
    let Some(spec) = spec else {
        return Ok(SmallVec::new());
    };
    let fixed: i64 = spec.dims.iter().filter(|dim| **dim > 0).product();
    let fixed = usize::try_from(fixed).unwrap_or(usize::MAX);
    match spec.variable_dims() {
        0 if elements == fixed => Ok(SmallVec::new()),
        0 => Err(format!(
            "input has {elements} elements, the model takes {fixed} ({spec})"
        )),
        1 if elements.is_multiple_of(fixed) => Ok(smallvec![
            u32::try_from(elements / fixed).map_err(|e| e.to_string())?
        ]),
        1 => Err(format!(
            "input has {elements} elements, not a multiple of {fixed} ({spec})"
        )),
        _ => Err(format!(
            "the model takes rows of several variable dimensions ({spec})"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_fill_the_dimensions_of_the_model() {
        let dims = |text, elements| {
            variable_dims(
                Some(&TensorSpec::parse("x", text).expect("valid")),
                elements,
            )
        };
        assert_eq!(dims("f32[8,8]", 64), Ok(SmallVec::new()));
        assert_eq!(dims("f32", 1), Ok(SmallVec::new()));
        assert_eq!(dims("f32[-1]", 5), Ok(smallvec![5]));
        assert_eq!(
            dims("f32[-1]", 0),
            Ok(smallvec![0]),
            "an empty row is a row"
        );
        assert_eq!(dims("f32[-1,4]", 12), Ok(smallvec![3]));
        assert_eq!(
            dims("f32[64]", 3),
            Err("input has 3 elements, the model takes 64 (x: f32[64])".into())
        );
        assert!(dims("f32[-1,4]", 13).is_err() && dims("f32[-1,-1]", 4).is_err());
    }
}
