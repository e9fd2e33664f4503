//! Made-up batches: zeros for warming up, seeded values for the self-test.

use skysail_rpc::payload::PayloadBuf;
use skysail_rpc::{Cell, Column, ColumnBuilder, DataType, Payload, TensorSpec};
use smallvec::SmallVec;

/// Most elements of a row that a variable dimension gets in a made-up batch.
const VARIABLE_DIM_MAX: u32 = 4;

/// A row of zeros or empty texts; variable dimensions are 1.
pub(crate) fn zero_row(spec: &TensorSpec) -> Cell {
    let dims = SmallVec::from_elem(1, spec.variable_dims());
    let elements = elements(spec, &dims);
    match spec.datatype.width() {
        Some(width) => Cell::variable(PayloadBuf::zeroed(elements * width).freeze(), dims),
        None => texts(std::iter::repeat_n(String::new(), elements), dims),
    }
}

/// A row of values that `rng` chooses; floats lie in 0 to 1, integers in 0 to 100.
pub(crate) fn row(spec: &TensorSpec, rng: &mut fastrand::Rng) -> Cell {
    let dims = (0..spec.variable_dims())
        .map(|_| rng.u32(1..=VARIABLE_DIM_MAX))
        .collect();
    let elements = elements(spec, &dims);
    if spec.datatype.width().is_none() {
        return texts(
            (0..elements).map(|_| format!("text {}", rng.u32(..1000))),
            dims,
        );
    }
    let mut buf = PayloadBuf::default();
    (0..elements).for_each(|_| push_value(spec.datatype, rng, &mut buf));
    Cell::variable(buf.freeze(), dims)
}

/// The same row with every float not a number; `None` if it has no floats.
pub(crate) fn nan_row(spec: &TensorSpec, row: &Cell) -> Option<Cell> {
    let nan: &[u8] = match spec.datatype {
        DataType::Fp16 => &0x7e00_u16.to_le_bytes(),
        DataType::Bf16 => &0x7fc0_u16.to_le_bytes(),
        DataType::Fp32 => &f32::NAN.to_le_bytes(),
        DataType::Fp64 => &f64::NAN.to_le_bytes(),
        _ => return None,
    };
    let data = Payload::copy_from_slice(&nan.repeat(row.data().len() / nan.len()));
    Some(Cell::variable(data, row.variable_dims().into()))
}

/// The rows of one tensor as a column.
pub(crate) fn column<'a>(spec: &TensorSpec, rows: impl Iterator<Item = &'a Cell>) -> Column {
    let mut builder = ColumnBuilder::new(spec, 0);
    rows.for_each(|row| {
        debug_assert_eq!(row.check(spec), Ok(()));
        builder.push(row);
    });
    builder.finish()
}

fn push_value(datatype: DataType, rng: &mut fastrand::Rng, buf: &mut PayloadBuf) {
    let small = rng.u8(0..=100);
    match datatype {
        DataType::Bool => buf.push(small % 2),
        DataType::Uint8 => buf.push(small),
        DataType::Uint16 => buf.push(u16::from(small)),
        DataType::Uint32 => buf.push(u32::from(small)),
        DataType::Uint64 => buf.push(u64::from(small)),
        DataType::Int8 => buf.push(small.cast_signed()),
        DataType::Int16 => buf.push(i16::from(small)),
        DataType::Int32 => buf.push(i32::from(small)),
        DataType::Int64 => buf.push(i64::from(small)),
        // 0.5 to 1: a fixed exponent and a mantissa of 10 or 7 bits.
        DataType::Fp16 => buf.push(0x3800 | rng.u16(..1 << 10)),
        DataType::Bf16 => buf.push(0x3f00 | rng.u16(..1 << 7)),
        DataType::Fp32 => buf.push(rng.f32()),
        DataType::Fp64 => buf.push(rng.f64()),
        DataType::Bytes | DataType::String => {}
    }
}

fn texts(texts: impl Iterator<Item = String>, dims: SmallVec<[u32; 2]>) -> Cell {
    let texts: Vec<String> = texts.collect();
    Cell::strings(texts.iter().map(String::as_bytes), dims).expect("made-up texts are short")
}

fn elements(spec: &TensorSpec, dims: &SmallVec<[u32; 2]>) -> usize {
    let dims = Cell::variable(Payload::default(), dims.clone()).dims(spec);
    dims.iter()
        .filter_map(|dim| usize::try_from(*dim).ok())
        .product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_and_shape_gets_rows_that_fit() {
        let mut rng = fastrand::Rng::with_seed(7);
        for datatype in DataType::all() {
            for dims in [&[][..], &[3], &[-1], &[2, -1], &[-1, -1]] {
                let spec = TensorSpec {
                    name: "t".into(),
                    datatype,
                    dims: dims.into(),
                };
                assert_eq!(zero_row(&spec).check(&spec), Ok(()), "{spec}");
                let row = row(&spec, &mut rng);
                assert_eq!(row.check(&spec), Ok(()), "{spec}");
                if let Some(nan) = nan_row(&spec, &row) {
                    assert_eq!(nan.check(&spec), Ok(()), "{spec}");
                }
            }
        }
    }
}
