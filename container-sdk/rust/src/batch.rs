//! A batch as a model sees it: dense typed views of its input tensors.
//!
//! # Cost
//! Views share the memory of the received message; nothing is copied but by [`Batch::cells`]. Finding a tensor by
//! name compares it with each of the signature's names, at most 32 a call, not a row.

use std::ops::Range;
use std::sync::Arc;

use skysail_rpc::copies::Copied;
use skysail_rpc::tensor::Columns;
use skysail_rpc::{Cell, Column, DataType, Element, Schema, TensorSpec};

use crate::TensorError;

type Result<T> = std::result::Result<T, TensorError>;

/// How a tensor is named: by its name, or by its index in the signature.
pub trait Key: Copy {
    /// Index of the tensor among `specs`.
    fn index(self, specs: &[TensorSpec]) -> Option<usize>;
    /// As it stands in an error.
    fn told(self) -> String;
}

impl Key for &str {
    fn index(self, specs: &[TensorSpec]) -> Option<usize> {
        specs.iter().position(|spec| spec.name == self)
    }

    fn told(self) -> String {
        format!("'{self}'")
    }
}

impl Key for usize {
    fn index(self, specs: &[TensorSpec]) -> Option<usize> {
        Some(self).filter(|index| *index < specs.len())
    }

    fn told(self) -> String {
        format!("number {self}")
    }
}

/// The index of the tensor that `key` names.
pub(crate) fn find(side: &'static str, specs: &[TensorSpec], key: impl Key) -> Result<usize> {
    key.index(specs).ok_or_else(|| {
        let known: Vec<String> = specs.iter().map(ToString::to_string).collect();
        TensorError::Unknown {
            side,
            key: key.told(),
            known: known.join(", "),
        }
    })
}

/// The rows that one call of [`crate::Model::predict`] answers.
///
/// It cannot be kept: its memory is written again once the batch is answered.
#[derive(Debug)]
pub struct Batch {
    rows: usize,
    schema: Arc<Schema>,
    columns: Columns,
}

impl Batch {
    /// Columns that were checked against the inputs of `schema`, each of `rows` rows.
    pub(crate) fn new(rows: usize, schema: Arc<Schema>, columns: Columns) -> Self {
        debug_assert!(columns.iter().all(|column| column.rows() == rows));
        Batch {
            rows,
            schema,
            columns,
        }
    }

    /// Columns as for [`Self::new`], in place of those of an earlier batch.
    pub(crate) fn refill(&mut self, rows: usize, columns: Columns) {
        debug_assert!(columns.iter().all(|column| column.rows() == rows));
        (self.rows, self.columns) = (rows, columns);
    }

    /// Rows in the batch, at least 1.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// All elements of a tensor, row after row: `[rows, …]`, contiguous, little-endian and
    /// aligned for `T`. Booleans are shown as `u8`, `f16` and `bf16` as the bits in a `u16`.
    ///
    /// # Errors
    /// If the signature has no such input, or it holds other elements.
    pub fn tensor<T: Element>(&self, key: impl Key) -> Result<&[T]> {
        let (spec, column) = self.find(key)?;
        column
            .as_slice()
            .ok_or_else(|| mismatch(spec, std::any::type_name::<T>()))
    }

    /// [`Self::tensor`] of `f32`.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn f32(&self, key: impl Key) -> Result<&[f32]> {
        self.tensor(key)
    }

    /// [`Self::tensor`] of `f64`.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn f64(&self, key: impl Key) -> Result<&[f64]> {
        self.tensor(key)
    }

    /// [`Self::tensor`] of `i64`.
    ///
    /// # Errors
    /// As [`Self::tensor`].
    pub fn i64(&self, key: impl Key) -> Result<&[i64]> {
        self.tensor(key)
    }

    /// Where each row's elements stand in [`Self::tensor`]; rows of variable dimensions have
    /// their own lengths.
    ///
    /// # Errors
    /// If the signature has no such input, or it holds texts.
    pub fn row_ranges(&self, key: impl Key) -> Result<impl Iterator<Item = Range<usize>>> {
        let (spec, column) = self.find(key)?;
        if spec.datatype.width().is_none() {
            return Err(mismatch(spec, "fixed-width elements"));
        }
        Ok(column.row_ranges())
    }

    /// The elements of each row.
    ///
    /// # Errors
    /// If the signature has no such input, or it holds other elements.
    pub fn row_slices<T: Element>(&self, key: impl Key) -> Result<impl Iterator<Item = &[T]>> {
        let elements = self.tensor::<T>(key)?;
        Ok(self.row_ranges(key)?.map(move |range| &elements[range]))
    }

    /// The texts of a `string` tensor, row after row.
    ///
    /// # Errors
    /// If the signature has no such input, or it holds something else.
    pub fn strings(&self, key: impl Key) -> Result<impl Iterator<Item = &str>> {
        let (spec, column) = self.find(key)?;
        if spec.datatype != DataType::String {
            return Err(mismatch(spec, "string"));
        }
        let text = |bytes| std::str::from_utf8(bytes).expect("checked when the batch came");
        Ok(column.strings().map(text))
    }

    /// The byte strings of a `bytes` or `string` tensor, row after row.
    ///
    /// # Errors
    /// If the signature has no such input, or it holds something else.
    pub fn byte_strings(&self, key: impl Key) -> Result<impl Iterator<Item = &[u8]>> {
        let (spec, column) = self.find(key)?;
        if spec.datatype.width().is_some() {
            return Err(mismatch(spec, "bytes"));
        }
        Ok(column.strings())
    }

    /// A copy of each row on its own, with its dimensions: for tensors of several variable
    /// dimensions and rows of several texts.
    ///
    /// # Errors
    /// If the signature has no such input.
    pub fn cells(&self, key: impl Key) -> Result<impl Iterator<Item = Cell>> {
        let cells = self.find(key)?.1.cells();
        Ok(cells.map(|cell| cell.detached(Copied::ModelRow)))
    }

    /// Name, element type and row dimensions of a tensor.
    ///
    /// # Errors
    /// If the signature has no such input.
    pub fn spec(&self, key: impl Key) -> Result<&TensorSpec> {
        Ok(self.find(key)?.0)
    }

    /// A tensor as it came, whatever it holds: its bytes, its rows' dimensions, and where rows
    /// and texts begin. For layers that show it by means of their own.
    ///
    /// # Errors
    /// If the signature has no such input.
    pub fn column(&self, key: impl Key) -> Result<&Column> {
        Ok(self.find(key)?.1)
    }

    /// All inputs, in the order of the signature.
    #[must_use]
    pub fn specs(&self) -> &[TensorSpec] {
        &self.schema.inputs
    }

    fn find(&self, key: impl Key) -> Result<(&TensorSpec, &Column)> {
        let index = find("input", &self.schema.inputs, key)?;
        Ok((&self.schema.inputs[index], &self.columns[index]))
    }
}

fn mismatch(spec: &TensorSpec, asked: &'static str) -> TensorError {
    let (tensor, found) = (spec.name.clone(), spec.datatype);
    TensorError::Type {
        side: "input",
        tensor,
        found,
        asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signature;
    use skysail_rpc::{ColumnBuilder, Payload, PayloadBuf};

    fn floats(values: &[f32]) -> Payload {
        let mut buf = PayloadBuf::default();
        values.iter().for_each(|value| buf.push(*value));
        buf.freeze()
    }

    fn batch() -> Batch {
        let signature = Signature::new()
            .input("x", "f32[2]")
            .input("v", "f32[-1]")
            .input("s", "string")
            .output("y", "f32");
        let (schema, _) = signature.build().expect("valid");
        let rows = [
            [
                Cell::fixed(floats(&[1.0, 2.0])),
                Cell::variable(floats(&[5.0]), [1_u32][..].into()),
                "é".into(),
            ],
            [
                Cell::fixed(floats(&[3.0, 4.0])),
                Cell::variable(floats(&[]), [0_u32][..].into()),
                "".into(),
            ],
        ];
        let column = |(index, spec)| {
            let mut builder = ColumnBuilder::new(spec, 2);
            rows.iter()
                .for_each(|row: &[Cell; 3]| builder.push(&row[index]));
            builder.finish()
        };
        let columns = schema.inputs.iter().enumerate().map(column).collect();
        Batch::new(2, Arc::new(schema), columns)
    }

    #[test]
    fn shows_each_tensor_in_place() {
        let batch = batch();
        assert_eq!(batch.f32("x"), Ok(&[1.0, 2.0, 3.0, 4.0][..]));
        assert_eq!(batch.f32(0), batch.f32("x"), "by index or by name");
        let base = batch.columns[0].data().as_bytes().as_ptr();
        assert_eq!(batch.f32("x").expect("floats").as_ptr().cast(), base);
        let ranges: Vec<_> = batch.row_ranges("v").expect("variable").collect();
        assert_eq!(ranges, [0..1, 1..1]);
        let rows: Vec<_> = batch.row_slices::<f32>("v").expect("variable").collect();
        assert_eq!(rows, [&[5.0][..], &[]]);
        assert_eq!(
            batch.strings("s").expect("texts").collect::<Vec<_>>(),
            ["é", ""]
        );
        assert_eq!(batch.cells("s").expect("texts").count(), 2);
        let column = batch.column("v").expect("variable");
        let offsets = column.offsets().and_then(Payload::as_slice::<u64>);
        assert_eq!(offsets, Some(&[0, 1, 1][..]));
        assert_eq!(column.data().as_bytes(), 5.0_f32.to_le_bytes());
        assert!(
            column.shapes().is_none(),
            "one dimension follows from the offsets"
        );
        assert_eq!(batch.specs().len(), 3);
    }

    #[test]
    fn errors_name_the_tensor_and_the_types() {
        let batch = batch();
        let error = |result: Result<()>| result.expect_err("wrong").to_string();
        let known = "the signature has x: f32[2], v: f32[-1], s: string";
        assert_eq!(
            error(batch.f32("z").map(drop)),
            format!("no input 'z'; {known}")
        );
        assert_eq!(
            error(batch.f32(3).map(drop)),
            format!("no input number 3; {known}")
        );
        assert_eq!(
            error(batch.i64("x").map(drop)),
            "input 'x' holds f32, asked for i64"
        );
        assert_eq!(
            error(batch.strings("x").map(drop)),
            "input 'x' holds f32, asked for string"
        );
        let ranges = batch.row_ranges("s").map(drop);
        assert_eq!(
            error(ranges),
            "input 's' holds string, asked for fixed-width elements"
        );
    }
}
