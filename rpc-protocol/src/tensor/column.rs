//! One tensor of a batch: its rows end to end, in at most three parts.
//!
//! | rows | data | offsets | shapes |
//! |---|---|---|---|
//! | all alike, fixed width | elements | - | - |
//! | variable dims, fixed width | elements | first element of each row, and the end | if two or more dims vary |
//! | byte strings | bytes | first byte of each string, and the end | if any dim varies |
//!
//! Offsets are `u64`, shapes `u32` (for each row its variable dims, in order).
//!
//! # Invariants
//! - A `Column` is consistent: it was checked against its tensor's spec when it was made from
//!   parts, so the accessors below neither fail nor read outside.
//!
//! # Cost
//! Checking is O(rows) for variable rows, O(bytes) for strings and booleans, O(1) else.
//! `cells` shares the data; a [`ColumnBuilder`] copies each row once.

use smallvec::SmallVec;
use thiserror::Error;

use super::cell::check_bool;
use super::{Cell, DataType, Dims, Element, Schema, TensorSpec};
use crate::message::{Part, PartKind};
use crate::payload::{Payload, PayloadBuf};
use skysail_memory::recycled::{Recycle, Recycled, Spares};
use skysail_memory::rows::RowRanges;
use std::sync::Arc;
use std::thread::LocalKey;

/// Why bytes are not rows of a tensor.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "fields are named in the message beside them")]
pub enum ColumnError {
    /// A part is missing, doubled or out of place.
    #[error("tensor '{tensor}' has {found} {kind:?} parts, {expected} expected")]
    Parts {
        tensor: String,
        kind: PartKind,
        found: usize,
        expected: usize,
    },
    /// A part names a tensor that the schema does not have.
    #[error("part names tensor {index}, the schema has {count}")]
    UnknownTensor { index: u16, count: usize },
    /// The elements are of another type.
    #[error("tensor '{tensor}' has {found} elements, {expected} expected")]
    DataType {
        tensor: String,
        found: DataType,
        expected: DataType,
    },
    /// The dimensions are not those of the schema.
    #[error("tensor '{tensor}' has another shape than the schema's")]
    Shape { tensor: String },
    /// The bytes or strings are not as many as the shape says.
    #[error("tensor '{tensor}' has {found} {unit}, {expected} expected")]
    Length {
        tensor: String,
        unit: &'static str,
        found: usize,
        expected: usize,
    },
    /// Offsets that go back, or do not end where the data ends.
    #[error("tensor '{tensor}' has offsets that do not fit its data")]
    Offsets { tensor: String },
    /// A string that is not UTF-8.
    #[error("tensor '{tensor}' has a string that is not UTF-8")]
    NotUtf8 { tensor: String },
    /// A boolean that is neither 0 nor 1.
    #[error("tensor '{tensor}' has a boolean that is neither 0 nor 1")]
    NotBool { tensor: String },
    /// More than 4 GiB in one row.
    #[error("a row is longer than 4 GiB")]
    TooLong,
}

/// The tensors of a batch, in the order of the schema.
pub type Columns = Recycled<Column>;

/// The rows of a batch in a row log, and what they are rows of.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Whose inputs they are; every tensor has rows of one size.
    pub schema: Arc<Schema>,
    /// Where they lie.
    pub ranges: RowRanges,
}

impl Rows {
    /// Dense tensors: in place if the rows are one range, else copied.
    #[must_use]
    pub fn into_columns(self) -> Columns {
        let rows = self.ranges.rows();
        let payloads = self.ranges.into_payloads();
        let specs = self.schema.inputs.iter();
        let columns = specs.zip(payloads);
        columns
            .map(|(spec, data)| Column::unchecked(spec, rows, data))
            .collect()
    }
}

/// One tensor of a batch.
#[derive(Clone, Debug)]
pub struct Column {
    datatype: DataType,
    dims: Dims,
    rows: usize,
    data: Payload,
    /// Where rows may differ.
    sides: Option<Box<Sides>>,
}

/// What says where rows of different sizes begin.
#[derive(Clone, Debug, Default)]
struct Sides {
    offsets: Option<Payload>,
    shapes: Option<Payload>,
}

impl Sides {
    fn boxed(offsets: Option<Payload>, shapes: Option<Payload>) -> Option<Box<Sides>> {
        let is_any = offsets.is_some() || shapes.is_some();
        is_any.then(|| Box::new(Sides { offsets, shapes }))
    }
}

impl Recycle for Column {
    fn spares() -> &'static LocalKey<Spares<Column>> {
        thread_local!(static SPARES: Spares<Column> = const { Spares::new() });
        &SPARES
    }
}

/// A copy of few dims in as many moves; one of any length is a call.
fn copied(dims: &[i64]) -> Dims {
    match *dims {
        [a] => Dims::from_buf_and_len([a, 0, 0, 0], 1),
        [a, b] => Dims::from_buf_and_len([a, b, 0, 0], 2),
        [a, b, c] => Dims::from_buf_and_len([a, b, c, 0], 3),
        _ => Dims::from_slice(dims),
    }
}

/// Which parts besides the data a tensor has.
fn parts_of(spec: &TensorSpec) -> (bool, bool) {
    let variable = spec.variable_dims();
    let strings = spec.datatype.width().is_none();
    (
        strings || variable > 0,
        variable > 1 || (strings && variable > 0),
    )
}

impl Column {
    /// A tensor whose rows are all alike.
    ///
    /// # Errors
    /// If rows of `spec` may differ, or `data` is not `rows` of them.
    pub fn of_rows(spec: &TensorSpec, rows: usize, data: Payload) -> Result<Column, ColumnError> {
        let Some(row_bytes) = spec.row_bytes() else {
            return Err(ColumnError::Shape {
                tensor: spec.name.clone(),
            });
        };
        let fits = row_bytes.checked_mul(rows) == Some(data.len());
        let column = Column::unchecked(spec, rows, data);
        if !fits || spec.datatype == DataType::Bool {
            // What is wrong, or whether booleans are.
            column.check(spec)?;
        }
        Ok(column)
    }

    fn unchecked(spec: &TensorSpec, rows: usize, data: Payload) -> Column {
        Column {
            datatype: spec.datatype,
            dims: copied(&spec.dims),
            rows,
            data,
            sides: None,
        }
    }

    /// Where each row begins, in elements, or each byte string, in bytes, and the end (`u64`);
    /// none where rows are all alike.
    #[must_use]
    pub fn offsets(&self) -> Option<&Payload> {
        self.sides.as_ref()?.offsets.as_ref()
    }

    /// For each row the sizes of its variable dimensions (`u32`); none where the offsets tell
    /// them.
    #[must_use]
    pub fn shapes(&self) -> Option<&Payload> {
        self.sides.as_ref()?.shapes.as_ref()
    }

    /// Rows in the batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Element type.
    #[must_use]
    pub fn datatype(&self) -> DataType {
        self.datatype
    }

    /// Whether the data alone tells all: rows are all alike, of a fixed width.
    #[must_use]
    pub fn is_of_fixed_rows(&self) -> bool {
        self.sides.is_none() && self.datatype.width().is_some()
    }

    /// Dimensions of a row, -1 where rows may differ.
    #[must_use]
    pub fn dims(&self) -> &[i64] {
        &self.dims
    }

    /// All elements of all rows.
    #[must_use]
    pub fn data(&self) -> &Payload {
        &self.data
    }

    /// Bytes of all parts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let sides = self.offsets().into_iter().chain(self.shapes());
        self.data.len() + sides.map(Payload::len).sum::<usize>()
    }

    /// All elements of all rows in place, or `None` if they are of another type.
    #[must_use]
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        if !T::shows(self.datatype) {
            return None;
        }
        self.data.as_slice()
    }

    /// Rows in turn, each sharing the data.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        let mut element = 0;
        (0..self.rows).map(move |row| {
            let cell = self.cell_at(row, element);
            element += cell.ends().len();
            cell
        })
    }

    /// The byte strings of all rows in turn; empty for other datatypes.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let offsets = self.string_offsets();
        let bytes = self.data.as_bytes();
        offsets
            .windows(2)
            .map(|pair| &bytes[pair[0] as usize..pair[1] as usize])
    }

    /// The range of elements of each row in turn, for fixed-width elements.
    pub fn row_ranges(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let width = self.datatype.width().unwrap_or(1);
        (0..self.rows)
            .map(move |row| self.row_bytes(row, width))
            .map(move |bytes| bytes.start / width..bytes.end / width)
    }

    /// The parts of this column as tensor `index`, in the order data, offsets, shapes.
    pub fn parts(&self, index: u16) -> impl Iterator<Item = Part> {
        let rows = i64::try_from(self.rows).unwrap_or(i64::MAX);
        let data = Part {
            tensor: index,
            kind: PartKind::Data,
            datatype: self.datatype,
            shape: std::iter::once(rows)
                .chain(self.dims.iter().copied())
                .collect(),
            payload: self.data.clone(),
        };
        let side = |kind, datatype, width: usize, payload: &Payload| Part {
            tensor: index,
            kind,
            datatype,
            shape: smallvec::smallvec![i64::try_from(payload.len() / width).unwrap_or(i64::MAX)],
            payload: payload.clone(),
        };
        let offsets = self
            .offsets()
            .map(|o| side(PartKind::Offsets, DataType::Uint64, 8, o));
        let shapes = self
            .shapes()
            .map(|s| side(PartKind::Shapes, DataType::Uint32, 4, s));
        std::iter::once(data).chain(offsets).chain(shapes)
    }

    fn string_offsets(&self) -> &[u64] {
        let strings = self.datatype.width().is_none();
        self.offsets()
            .filter(|_| strings)
            .and_then(Payload::as_slice)
            .unwrap_or(&[])
    }

    fn row_bytes(&self, row: usize, width: usize) -> std::ops::Range<usize> {
        match self.offsets().and_then(Payload::as_slice::<u64>) {
            Some(offsets) => offsets[row] as usize * width..offsets[row + 1] as usize * width,
            None => {
                let bytes = self.data.len() / self.rows.max(1);
                row * bytes..(row + 1) * bytes
            }
        }
    }

    fn cell_at(&self, row: usize, first_string: usize) -> Cell {
        let variable = self.variable_of(row);
        if let Some(width) = self.datatype.width() {
            let bytes = self.row_bytes(row, width);
            let data = self
                .data
                .slice(bytes.start, bytes.len())
                .unwrap_or_default();
            return Cell::from_parts(data, variable, SmallVec::new());
        }
        let count: usize = {
            let mut sizes = variable.iter();
            let size = |dim: &i64| match *dim {
                -1 => sizes.next().map_or(0, |size| *size as usize),
                fixed => fixed as usize,
            };
            self.dims.iter().map(size).product()
        };
        let offsets = &self.string_offsets()[first_string..=first_string + count];
        let start = offsets[0];
        let data = self
            .data
            .slice(start as usize, (offsets[count] - start) as usize);
        let ends = offsets[1..]
            .iter()
            .map(|end| (end - start) as u32)
            .collect();
        Cell::from_parts(data.unwrap_or_default(), variable, ends)
    }

    /// Variable dims of `row`: from the shapes, or for a single one from the row's length.
    fn variable_of(&self, row: usize) -> SmallVec<[u32; 2]> {
        let count = self.dims.iter().filter(|dim| **dim < 0).count();
        if count == 0 {
            return SmallVec::new();
        }
        if let Some(shapes) = self.shapes().and_then(Payload::as_slice::<u32>) {
            return shapes[row * count..(row + 1) * count].into();
        }
        let fixed: i64 = self.dims.iter().filter(|dim| **dim > 0).product();
        let elements = self.row_bytes(row, 1).len();
        smallvec::smallvec![(elements / fixed as usize) as u32]
    }

    fn check(&self, spec: &TensorSpec) -> Result<(), ColumnError> {
        let fixed_dims = spec.dims.iter().filter(|dim| **dim > 0);
        let fixed: usize = fixed_dims.map(|dim| *dim as usize).product();
        let row_elements = self.check_shapes(spec, fixed)?;
        match spec.datatype.width() {
            Some(width) if spec.variable_dims() == 0 => self.check_length(spec, fixed, width)?,
            Some(width) => self.check_rows(spec, fixed, width, row_elements.as_deref())?,
            None => self.check_strings(spec, fixed, row_elements.as_deref())?,
        }
        self.check_contents(&spec.name)
    }

    /// Rows all alike: the data is as long as they are together.
    fn check_length(
        &self,
        spec: &TensorSpec,
        fixed: usize,
        width: usize,
    ) -> Result<(), ColumnError> {
        let row = fixed.checked_mul(width);
        let expected = row.and_then(|row| row.checked_mul(self.rows));
        let expected = expected.unwrap_or(usize::MAX);
        if expected == self.data.len() {
            return Ok(());
        }
        let (tensor, unit, found) = (spec.name.clone(), "bytes", self.data.len());
        Err(ColumnError::Length {
            tensor,
            unit,
            found,
            expected,
        })
    }

    /// Rows of different lengths: each has whole elements, as many as its dims say.
    fn check_rows(
        &self,
        spec: &TensorSpec,
        fixed: usize,
        width: usize,
        row_elements: Option<&[usize]>,
    ) -> Result<(), ColumnError> {
        let offsets = self.check_offsets(spec, self.rows, self.data.len() / width)?;
        let fits = |row: usize| {
            let elements = (offsets[row + 1] - offsets[row]) as usize;
            match row_elements {
                Some(counts) => counts[row] == elements,
                None => elements.is_multiple_of(fixed),
            }
        };
        if self.data.len().is_multiple_of(width) && (0..self.rows).all(fits) {
            return Ok(());
        }
        Err(ColumnError::Offsets {
            tensor: spec.name.clone(),
        })
    }

    /// Byte strings: as many as the rows have together, none too long for a cell.
    fn check_strings(
        &self,
        spec: &TensorSpec,
        fixed: usize,
        row_elements: Option<&[usize]>,
    ) -> Result<(), ColumnError> {
        let strings = match row_elements {
            Some(counts) => counts.iter().try_fold(0_usize, |n, c| n.checked_add(*c)),
            None => self.rows.checked_mul(fixed),
        };
        let strings = strings.ok_or_else(|| ColumnError::Shape {
            tensor: spec.name.clone(),
        })?;
        let offsets = self.check_offsets(spec, strings, self.data.len())?;
        let too_long = |pair: &[u64]| pair[1] - pair[0] > u64::from(u32::MAX);
        if offsets.windows(2).any(too_long) {
            return Err(ColumnError::TooLong);
        }
        Ok(())
    }

    fn check_contents(&self, tensor: &str) -> Result<(), ColumnError> {
        match self.datatype {
            DataType::Bool => check_bool(self.data.as_bytes(), tensor),
            DataType::String if !self.strings().all(|s| std::str::from_utf8(s).is_ok()) => {
                Err(ColumnError::NotUtf8 {
                    tensor: tensor.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }

    /// The offsets, if they are `count + 1`, start at 0, never go back and end at `end`.
    fn check_offsets(
        &self,
        spec: &TensorSpec,
        count: usize,
        end: usize,
    ) -> Result<&[u64], ColumnError> {
        let wrong = || ColumnError::Offsets {
            tensor: spec.name.clone(),
        };
        let offsets: &[u64] = self
            .offsets()
            .and_then(Payload::as_slice)
            .ok_or_else(wrong)?;
        let right = offsets.len().checked_sub(1) == Some(count)
            && offsets[0] == 0
            && offsets[count] == end as u64
            && offsets.is_sorted();
        if right { Ok(offsets) } else { Err(wrong()) }
    }

    /// Elements of each row by the shapes part, if there is one.
    fn check_shapes(
        &self,
        spec: &TensorSpec,
        fixed: usize,
    ) -> Result<Option<Vec<usize>>, ColumnError> {
        let Some(payload) = self.shapes() else {
            return Ok(None);
        };
        let wrong = || ColumnError::Shape {
            tensor: spec.name.clone(),
        };
        let shapes: &[u32] = payload.as_slice().ok_or_else(wrong)?;
        let variable = spec.variable_dims();
        if self.rows.checked_mul(variable) != Some(shapes.len()) {
            return Err(wrong());
        }
        let product = |dims: &[u32]| {
            dims.iter()
                .try_fold(fixed, |product, dim| product.checked_mul(*dim as usize))
        };
        shapes
            .chunks(variable)
            .map(|dims| product(dims).ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

/// The columns of `specs` from the parts of a message that says it has `rows` rows.
///
/// # Errors
/// What a peer got wrong; nothing is assumed of it.
pub fn columns_from_parts(
    specs: &[TensorSpec],
    rows: usize,
    parts: &[Part],
) -> Result<Columns, ColumnError> {
    if let Some(part) = parts
        .iter()
        .find(|part| usize::from(part.tensor) >= specs.len())
    {
        return Err(ColumnError::UnknownTensor {
            index: part.tensor,
            count: specs.len(),
        });
    }
    let column = |(index, spec): (usize, &TensorSpec)| {
        let of_tensor = || {
            parts
                .iter()
                .filter(move |part| usize::from(part.tensor) == index)
        };
        let (offsets, shapes) = parts_of(spec);
        let data = one_part(of_tensor(), spec, rows, PartKind::Data, true)?.unwrap_or_default();
        let offsets = one_part(of_tensor(), spec, rows, PartKind::Offsets, offsets)?;
        let shapes = one_part(of_tensor(), spec, rows, PartKind::Shapes, shapes)?;
        let column = Column {
            sides: Sides::boxed(offsets, shapes),
            ..Column::unchecked(spec, rows, data)
        };
        column.check(spec).map(|()| column)
    };
    specs.iter().enumerate().map(column).collect()
}

/// The one part of `kind`, checked, or none where none is expected.
fn one_part<'a>(
    parts: impl Iterator<Item = &'a Part>,
    spec: &TensorSpec,
    rows: usize,
    kind: PartKind,
    expected: bool,
) -> Result<Option<Payload>, ColumnError> {
    let mut parts = parts.filter(|part| part.kind == kind);
    let first = parts.next();
    let found = usize::from(first.is_some()) + parts.count();
    if found != usize::from(expected) {
        let (tensor, expected) = (spec.name.clone(), usize::from(expected));
        return Err(ColumnError::Parts {
            tensor,
            kind,
            found,
            expected,
        });
    }
    let Some(part) = first else { return Ok(None) };
    let datatype = match kind {
        PartKind::Data => spec.datatype,
        PartKind::Offsets => DataType::Uint64,
        PartKind::Shapes => DataType::Uint32,
    };
    if part.datatype != datatype {
        let tensor = spec.name.clone();
        return Err(ColumnError::DataType {
            tensor,
            found: part.datatype,
            expected: datatype,
        });
    }
    if !shape_fits(part, spec, rows) {
        return Err(ColumnError::Shape {
            tensor: spec.name.clone(),
        });
    }
    Ok(Some(part.payload.clone()))
}

/// Whether a part's shape is that of its tensor in a batch of `rows`. PROTOCOL 3.5
fn shape_fits(part: &Part, spec: &TensorSpec, rows: usize) -> bool {
    let (first, rest) = match part.kind {
        PartKind::Data => (rows, &spec.dims[..]),
        PartKind::Offsets => (part.payload.len() / size_of::<u64>(), &[][..]),
        PartKind::Shapes => (part.payload.len() / size_of::<u32>(), &[][..]),
    };
    let first = i64::try_from(first).ok();
    part.shape.first().copied() == first && part.shape.get(1..) == Some(rest)
}

/// Gathers rows into a column.
#[derive(Debug)]
pub struct ColumnBuilder {
    column: Column,
    data: PayloadBuf,
    offsets: Option<PayloadBuf>,
    shapes: Option<PayloadBuf>,
}

impl ColumnBuilder {
    /// An empty column of `spec` with room for about `rows` rows.
    #[must_use]
    pub fn new(spec: &TensorSpec, rows: usize) -> Self {
        let (offsets, shapes) = parts_of(spec);
        let data = PayloadBuf::with_capacity(spec.row_bytes().unwrap_or(0).saturating_mul(rows));
        let offsets = offsets.then(|| {
            let mut offsets = PayloadBuf::with_capacity(8 * (rows + 1));
            offsets.push(0_u64);
            offsets
        });
        ColumnBuilder {
            column: Column::unchecked(spec, 0, Payload::default()),
            data,
            offsets,
            shapes: shapes.then(PayloadBuf::default),
        }
    }

    /// Appends a row, which must have passed [`Cell::check`] for the same spec.
    pub fn push(&mut self, cell: &Cell) {
        let before = self.data.len();
        self.data.extend_from_slice(cell.data().as_bytes());
        if let Some(offsets) = &mut self.offsets {
            match self.column.datatype.width() {
                Some(width) => offsets.push((self.data.len() / width) as u64),
                None => cell.ends().iter().for_each(|end| {
                    offsets.push(before as u64 + u64::from(*end));
                }),
            }
        }
        if let Some(shapes) = &mut self.shapes {
            cell.variable_dims()
                .iter()
                .for_each(|dim| shapes.push(*dim));
        }
        self.column.rows += 1;
    }

    /// The column of the rows so far.
    #[must_use]
    pub fn finish(mut self) -> Column {
        self.column.data = self.data.freeze();
        let offsets = self.offsets.map(PayloadBuf::freeze);
        self.column.sides = Sides::boxed(offsets, self.shapes.map(PayloadBuf::freeze));
        self.column
    }
}

#[cfg(test)]
mod tests;
