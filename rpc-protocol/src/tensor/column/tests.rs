//! Columns against a plain oracle: what goes in as rows comes out as the same rows.

use proptest::prelude::*;

use super::*;

/// A spec and rows that fit it.
fn batches() -> impl Strategy<Value = (TensorSpec, Vec<Cell>)> {
    let dims = prop::collection::vec(prop_oneof![Just(-1_i64), 1..4_i64], 0..4);
    (0..15_usize, dims).prop_flat_map(|(datatype, dims)| {
        let datatype = DataType::all().nth(datatype).expect("15 datatypes");
        let spec = TensorSpec {
            name: "t".into(),
            datatype,
            dims: dims.into(),
        };
        let rows = prop::collection::vec(row_of(spec.clone()), 0..6);
        (Just(spec), rows)
    })
}

fn row_of(spec: TensorSpec) -> impl Strategy<Value = Cell> {
    let variable = prop::collection::vec(0..4_u32, spec.variable_dims());
    variable.prop_flat_map(move |variable| {
        let shape = Cell::variable(Payload::default(), variable.clone().into()).dims(&spec);
        let elements = shape.iter().product::<i64>() as usize;
        let datatype = spec.datatype;
        let variable = SmallVec::from(variable);
        match datatype.width() {
            Some(width) => {
                let top = if datatype == DataType::Bool { 1 } else { 255 };
                prop::collection::vec(0..=top as u8, elements * width)
                    .prop_map(move |bytes| {
                        Cell::variable(Payload::copy_from_slice(&bytes), variable.clone())
                    })
                    .boxed()
            }
            None => prop::collection::vec("[a-zé]{0,3}", elements)
                .prop_map(move |strings| {
                    let strings = strings.iter().map(|s| s.as_bytes());
                    Cell::strings(strings, variable.clone()).expect("short")
                })
                .boxed(),
        }
    })
}

fn gather(spec: &TensorSpec, rows: &[Cell]) -> Column {
    let mut builder = ColumnBuilder::new(spec, rows.len());
    rows.iter().for_each(|row| builder.push(row));
    builder.finish()
}

proptest! {
    #[test]
    fn gives_back_the_rows_it_was_given((spec, rows) in batches()) {
        for row in &rows {
            prop_assert_eq!(row.check(&spec), Ok(()));
        }
        let column = gather(&spec, &rows);
        let parts: Vec<Part> = column.parts(0).collect();
        let again = columns_from_parts(std::slice::from_ref(&spec), rows.len(), &parts);
        let cells: Vec<Cell> = again.expect("consistent")[0].cells().collect();
        prop_assert_eq!(cells, rows);
    }

    /// Whatever a peer changes, the checks refuse it or the accessors stay inside.
    #[test]
    fn survives_any_change_of_a_part(
        (spec, rows) in batches(), which in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..40), claimed in 0..8_usize,
    ) {
        let column = gather(&spec, &rows);
        let mut parts: Vec<Part> = column.parts(0).collect();
        let index = which.index(parts.len());
        parts[index].payload = Payload::copy_from_slice(&bytes);
        if let Ok(columns) = columns_from_parts(&[spec], claimed, &parts) {
            let total: usize = columns[0].cells().map(|cell| cell.data().len()).sum();
            prop_assert_eq!(total, columns[0].data().len());
            prop_assert_eq!(columns[0].row_ranges().count(), claimed);
            columns[0].strings().for_each(drop);
        }
    }
}

#[test]
fn names_the_tensor_and_what_is_wrong() {
    let spec = TensorSpec::parse("x", "f32[2]").expect("valid");
    let column = gather(&spec, &[Cell::fixed(Payload::copy_from_slice(&[0; 8]))]);
    let parts: Vec<Part> = column.parts(0).collect();
    let error = |specs: &[TensorSpec], rows, parts: &[Part]| {
        columns_from_parts(specs, rows, parts)
            .map(drop)
            .expect_err("wrong")
            .to_string()
    };
    let specs = [spec.clone()];
    assert_eq!(
        error(&specs, 2, &parts),
        "tensor 'x' has another shape than the schema's"
    );
    assert_eq!(
        error(&specs, 1, &[]),
        "tensor 'x' has 0 Data parts, 1 expected"
    );
    let other = [TensorSpec::parse("x", "i32[2]").expect("valid")];
    assert_eq!(
        error(&other, 1, &parts),
        "tensor 'x' has f32 elements, i32 expected"
    );
    let mut stray = parts.clone();
    stray[0].tensor = 1;
    assert_eq!(
        error(&specs, 1, &stray),
        "part names tensor 1, the schema has 1"
    );
}

#[test]
fn a_strings_row_is_checked_as_utf8() {
    let spec = TensorSpec::parse("s", "string").expect("valid");
    assert_eq!(Cell::from("naïve").check(&spec), Ok(()));
    let bad = Cell::strings([&[0xff_u8][..]], SmallVec::new()).expect("short");
    assert_eq!(
        bad.check(&spec),
        Err(ColumnError::NotUtf8 { tensor: "s".into() })
    );
}
