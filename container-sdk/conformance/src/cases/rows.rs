//! Rows that cases send, and what they read of answers.

use skysail_rpc::tensor::Columns;
use skysail_rpc::{Cell, Element, Payload, PayloadBuf};

use crate::scene::{Result, Row};
use crate::wrong::same;

/// A cell of numbers whose count the schema fixes.
pub(super) fn fixed<T: Element>(values: &[T]) -> Cell {
    Cell::fixed(payload(values))
}

/// A cell of one variable dimension.
pub(super) fn list<T: Element>(values: &[T]) -> Cell {
    Cell::variable(payload(values), [values.len() as u32][..].into())
}

/// A cell of byte strings, as many as there are.
pub(super) fn strings(strings: &[&[u8]]) -> Result<Cell> {
    let dims = [strings.len() as u32][..].into();
    let cell = Cell::strings(strings.iter().copied(), dims);
    Ok(cell.map_err(|error| error.to_string())?)
}

/// Rows of one tensor.
pub(super) fn rows<T: Element>(values: &[T]) -> Vec<Row> {
    values.iter().map(|value| vec![fixed(&[*value])]).collect()
}

/// The numbers of an output.
pub(super) fn numbers<T: Element>(columns: &Columns, index: usize) -> Result<Vec<T>> {
    let column = columns.get(index).and_then(|column| column.as_slice::<T>());
    Ok(column
        .ok_or_else(|| format!("output {index} is not there"))?
        .to_vec())
}

/// The strings of an output, row after row.
pub(super) fn texts(columns: &Columns, index: usize) -> Result<Vec<String>> {
    let column = columns.get(index);
    let column = column.ok_or_else(|| format!("output {index} is not there"))?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(column.strings().map(text).collect())
}

/// Whether an answer is what it should be.
pub(super) fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    found: &T,
) -> Result {
    Ok(same(what, expected, found)?)
}

fn payload<T: Element>(values: &[T]) -> Payload {
    let mut buf = PayloadBuf::default();
    values.iter().for_each(|value| buf.push(*value));
    buf.freeze()
}
