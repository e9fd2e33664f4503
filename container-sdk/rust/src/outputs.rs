//! Where a model writes its answers, prepared from the signature.
//!
//! A tensor whose rows are all alike is one zeroed buffer, written in place. Where rows have
//! their own shape, and for texts, rows are pushed one by one. A row can also fail on its own.
//!
//! # Invariants
//! - What [`Outputs::finish`] gives has as many rows as the batch in every tensor, and the
//!   types and shapes of the signature; anything else is an error that names the tensor.
//! - No more than one message's bytes are allocated for tensors of one shape.
//!
//! # Cost
//! A fixed tensor is zeroed, in the batch's result slot where shared memory is in use and else in
//! one allocation; either way it is sent without a copy. A pushed row is copied twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use skysail_rpc::channel::Room;
use skysail_rpc::limits::{HEADER_BYTES_MAX, MESSAGE_BYTES_MAX};
use skysail_rpc::message::RowError;
use skysail_rpc::payload::PayloadBuf;
use skysail_rpc::tensor::Columns;
use skysail_rpc::{Cell, Column, ColumnBuilder, Element, Payload, Schema, TensorSpec};

use smallvec::SmallVec;

use crate::TensorError;
use crate::batch::{Key, find};

type Result<T> = std::result::Result<T, TensorError>;

/// Bytes of all outputs of one batch.
const OUTPUT_BYTES_MAX: usize = MESSAGE_BYTES_MAX - HEADER_BYTES_MAX;
/// Bytes that the failed rows of one batch may take in the header of its reply.
const ROW_ERROR_BYTES_MAX: usize = 32 << 10;
/// Bytes of a row error in the header, besides its text and with that text's padding.
const ROW_ERROR_OVERHEAD_BYTES: usize = 24;
/// A row error is not cut to less text than this.
const ROW_ERROR_TEXT_BYTES_MIN: usize = 40;

const _: () = assert!(2 * ROW_ERROR_BYTES_MAX <= HEADER_BYTES_MAX);

/// The output tensors of one batch.
#[derive(Debug)]
pub struct Outputs {
    rows: usize,
    /// Bytes of a row of all tensors whose rows are all alike.
    row_bytes: usize,
    schema: Arc<Schema>,
    sinks: SmallVec<[Sink; 1]>,
    room: Option<Room>,
    failed: BTreeMap<usize, String>,
}

#[derive(Debug)]
enum Sink {
    InPlace(PayloadBuf),
    RowWise(Box<Pushed>),
}

/// The rows of a tensor that were pushed so far, failed ones included.
#[derive(Debug)]
struct Pushed {
    builder: ColumnBuilder,
    rows: usize,
}

impl Pushed {
    /// Fills the failed rows that come next with empty ones.
    fn skip_failed(&mut self, spec: &TensorSpec, failed: &BTreeMap<usize, String>) {
        while failed.contains_key(&self.rows) {
            self.builder.push(&empty_row(spec));
            self.rows += 1;
        }
    }
}

impl Outputs {
    /// Outputs of no batch yet; see [`Self::begin`].
    pub(crate) fn new(schema: Arc<Schema>) -> Self {
        let row_bytes = schema.outputs.iter().filter_map(TensorSpec::row_bytes);
        Outputs {
            rows: 0,
            row_bytes: row_bytes.sum(),
            schema,
            sinks: SmallVec::new(),
            room: None,
            failed: BTreeMap::new(),
        }
    }

    /// Makes room for the outputs of `rows` rows: in `room`, as far as that goes.
    pub(crate) fn begin(&mut self, rows: usize, room: Option<Room>) -> Result<()> {
        let row_bytes = self.row_bytes;
        let (bytes, limit) = (row_bytes.saturating_mul(rows), OUTPUT_BYTES_MAX);
        if bytes > limit {
            return Err(TensorError::TooLarge { bytes, limit });
        }
        (self.rows, self.room) = (rows, room);
        for spec in &self.schema.outputs {
            self.sinks.push(match spec.row_bytes() {
                Some(bytes) => Sink::InPlace(zeros(bytes * rows, self.room.as_mut())),
                None => Sink::RowWise(Box::new(Pushed {
                    builder: ColumnBuilder::new(spec, rows),
                    rows: 0,
                })),
            });
        }
        Ok(())
    }

    /// Lets go of what a batch that failed has left.
    pub(crate) fn clear(&mut self) {
        self.sinks.clear();
        self.failed.clear();
        self.room = None;
    }

    /// Rows to answer.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// All elements of a tensor whose rows are alike, to write: `[rows, …]`, contiguous and
    /// zero at first. Booleans are written as `u8`, `f16` and `bf16` as the bits in a `u16`.
    ///
    /// # Errors
    /// If the signature has no such output, it holds other elements, or its rows differ.
    pub fn tensor_mut<T: Element>(&mut self, key: impl Key) -> Result<&mut [T]> {
        let (spec, sink) = find_sink(&self.schema, &mut self.sinks, key)?;
        check_type::<T>(spec)?;
        match sink {
            Sink::InPlace(buf) => Ok(buf.as_mut_slice().expect("whole elements were allocated")),
            Sink::RowWise(_) => Err(TensorError::RowWise {
                tensor: spec.name.clone(),
            }),
        }
    }

    /// The bytes of a tensor whose rows are alike, to write: as [`Self::tensor_mut`], whatever
    /// its elements are. They are 64-aligned and little-endian.
    ///
    /// # Errors
    /// If the signature has no such output, or its rows differ.
    pub fn bytes_mut(&mut self, key: impl Key) -> Result<&mut [u8]> {
        let (spec, sink) = find_sink(&self.schema, &mut self.sinks, key)?;
        match sink {
            Sink::InPlace(buf) => Ok(buf.as_bytes_mut()),
            Sink::RowWise(_) => Err(TensorError::RowWise {
                tensor: spec.name.clone(),
            }),
        }
    }

    /// All outputs, in the order of the signature.
    #[must_use]
    pub fn specs(&self) -> &[TensorSpec] {
        &self.schema.outputs
    }

    /// [`Self::tensor_mut`] of `f32`.
    ///
    /// # Errors
    /// As [`Self::tensor_mut`].
    pub fn f32_mut(&mut self, key: impl Key) -> Result<&mut [f32]> {
        self.tensor_mut(key)
    }

    /// Writes all elements of a tensor whose rows are alike, for results that a library
    /// returns in memory of its own.
    ///
    /// # Errors
    /// As [`Self::tensor_mut`], and if there are more or fewer elements than the batch needs.
    pub fn set<T: Element>(&mut self, key: impl Key, elements: &[T]) -> Result<()> {
        let rows = self.rows;
        let target = self.tensor_mut(key)?;
        let (found, expected) = (elements.len(), target.len());
        if found == expected {
            target.copy_from_slice(elements);
            return Ok(());
        }
        let tensor = self.schema.outputs[self.index(key)?].name.clone();
        Err(TensorError::Length {
            tensor,
            found,
            rows,
            row_elements: expected / rows,
        })
    }

    /// Answers the next row of a tensor with one variable dimension. A failed row takes none.
    ///
    /// # Errors
    /// If the signature has no such output, or the row does not fit it.
    pub fn push<T: Element>(&mut self, key: impl Key, elements: &[T]) -> Result<()> {
        let spec = &self.schema.outputs[self.index(key)?];
        check_type::<T>(spec)?;
        let mut buf = PayloadBuf::default();
        buf.spare_mut::<T>(elements.len())[..elements.len()].copy_from_slice(elements);
        buf.advance::<T>(elements.len());
        let cell = Cell::variable(buf.freeze(), only_dim(spec, elements.len()));
        self.push_cell(key, &cell)
    }

    /// Answers the next row of a tensor of variable dimensions by its bytes; `variable` are the
    /// sizes of those dimensions, in the order of the signature. A failed row takes none.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_bytes(&mut self, key: impl Key, variable: &[u32], bytes: &[u8]) -> Result<()> {
        let spec = &self.schema.outputs[self.index(key)?];
        if spec.datatype.width().is_none() {
            return Err(mismatch(spec, "fixed-width elements"));
        }
        self.push_cell(
            key,
            &Cell::variable(Payload::copy_from_slice(bytes), variable.into()),
        )
    }

    /// Answers the next row of a tensor of one text a row. A failed row takes none.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_str(&mut self, key: impl Key, text: &str) -> Result<()> {
        self.push_strings(key, [text])
    }

    /// Answers the next row of a tensor of texts or byte strings. A failed row takes none.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_strings<S: AsRef<[u8]>>(
        &mut self,
        key: impl Key,
        strings: impl IntoIterator<Item = S>,
    ) -> Result<()> {
        let spec = &self.schema.outputs[self.index(key)?];
        if spec.datatype.width().is_some() {
            return Err(mismatch(spec, "string"));
        }
        let strings: Vec<S> = strings.into_iter().collect();
        let dims = only_dim(spec, strings.len());
        let cell = Cell::strings(strings.iter().map(AsRef::as_ref), dims)?;
        self.push_cell(key, &cell)
    }

    /// Answers the next row of any tensor whose rows have their own shape. A failed row takes
    /// none.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_cell(&mut self, key: impl Key, cell: &Cell) -> Result<()> {
        let (spec, sink) = find_sink(&self.schema, &mut self.sinks, key)?;
        let Sink::RowWise(pushed) = sink else {
            return Err(TensorError::InPlace {
                tensor: spec.name.clone(),
            });
        };
        pushed.skip_failed(spec, &self.failed);
        cell.check(spec).map_err(|source| TensorError::Row {
            row: pushed.rows,
            source,
        })?;
        // Rows past the batch are only counted: `finish` refuses them.
        if pushed.rows < self.rows {
            pushed.builder.push(cell);
        }
        pushed.rows += 1;
        Ok(())
    }

    /// Fails `row`, counted from 0, with a message for whoever asked; the other rows stand.
    /// What is written for the row is not used. The first message of a row stays.
    pub fn fail_row(&mut self, row: usize, message: impl Into<String>) {
        self.failed.entry(row).or_insert_with(|| message.into());
    }

    /// The columns, the failed rows, and the room that there was.
    pub(crate) fn finish(&mut self) -> Result<(Columns, Vec<RowError>, Option<Room>)> {
        let rows = self.rows;
        if let Some((row, _)) = self
            .failed
            .last_key_value()
            .filter(|(row, _)| **row >= rows)
        {
            return Err(TensorError::RowRange { row: *row, rows });
        }
        let mut columns = Columns::new();
        for (spec, sink) in self.schema.outputs.iter().zip(self.sinks.drain(..)) {
            columns.push(finish_column(spec, sink, rows, &self.failed)?);
        }
        let (bytes, limit) = (columns.iter().map(Column::bytes).sum(), OUTPUT_BYTES_MAX);
        if bytes > limit {
            return Err(TensorError::TooLarge { bytes, limit });
        }
        let failed = std::mem::take(&mut self.failed);
        Ok((columns, row_errors(failed), self.room.take()))
    }

    fn index(&self, key: impl Key) -> Result<usize> {
        find("output", &self.schema.outputs, key)
    }
}

/// Why no row of the batch is answered, if too many failed for one reply to name them all.
pub(crate) fn too_many_errors(row_errors: &[RowError], rows: usize) -> Option<String> {
    let text_bytes =
        (ROW_ERROR_BYTES_MAX / row_errors.len().max(1)).saturating_sub(ROW_ERROR_OVERHEAD_BYTES);
    let first = row_errors
        .first()
        .filter(|_| text_bytes < ROW_ERROR_TEXT_BYTES_MIN)?;
    let (count, row, error) = (row_errors.len(), first.row, &first.error);
    Some(format!(
        "{count} of {rows} rows failed, row {row} first: {error}"
    ))
}

/// Ascending; the texts are cut so that all of them fit into the header of the reply.
fn row_errors(failed: BTreeMap<usize, String>) -> Vec<RowError> {
    let text_bytes = (ROW_ERROR_BYTES_MAX / failed.len().max(1))
        .saturating_sub(ROW_ERROR_OVERHEAD_BYTES)
        .max(ROW_ERROR_TEXT_BYTES_MIN);
    let error = |(row, mut error): (usize, String)| {
        error.truncate(error.floor_char_boundary(text_bytes));
        RowError {
            row: u32::try_from(row).unwrap_or(u32::MAX),
            error,
        }
    };
    failed.into_iter().map(error).collect()
}

fn finish_column(
    spec: &TensorSpec,
    sink: Sink,
    rows: usize,
    failed: &BTreeMap<usize, String>,
) -> Result<Column> {
    match sink {
        Sink::InPlace(buf) => in_place_column(spec, buf, rows),
        Sink::RowWise(mut pushed) => {
            pushed.skip_failed(spec, failed);
            if pushed.rows != rows {
                let tensor = spec.name.clone();
                return Err(TensorError::Rows {
                    tensor,
                    found: pushed.rows,
                    rows,
                });
            }
            Ok(pushed.builder.finish())
        }
    }
}

fn in_place_column(spec: &TensorSpec, buf: PayloadBuf, rows: usize) -> Result<Column> {
    Ok(Column::of_rows(spec, rows, buf.freeze())?)
}

/// So many zeros: in the room, if they fit there.
fn zeros(bytes: usize, room: Option<&mut Room>) -> PayloadBuf {
    let mut buf = room
        .and_then(|room| room.carve(bytes))
        .unwrap_or_else(|| PayloadBuf::with_capacity(bytes));
    buf.extend_with_zeros(bytes);
    buf
}

/// The smallest row that `spec` allows.
fn empty_row(spec: &TensorSpec) -> Cell {
    let dims = smallvec::smallvec![0; spec.variable_dims()];
    let texts = if spec.datatype.width().is_none() {
        spec.row_elements().unwrap_or(0)
    } else {
        0
    };
    if texts == 0 {
        return Cell::variable(Payload::default(), dims);
    }
    Cell::strings(std::iter::repeat_n(&[][..], texts), dims).expect("empty texts are short")
}

/// The size of the one variable dimension of a row of `elements`; none if there is not one.
fn only_dim(spec: &TensorSpec, elements: usize) -> SmallVec<[u32; 2]> {
    if spec.variable_dims() != 1 {
        return SmallVec::new();
    }
    let fixed: usize = spec
        .dims
        .iter()
        .filter_map(|dim| usize::try_from(*dim).ok())
        .product();
    smallvec::smallvec![u32::try_from(elements / fixed).unwrap_or(u32::MAX)]
}

fn find_sink<'a>(
    schema: &'a Schema,
    sinks: &'a mut [Sink],
    key: impl Key,
) -> Result<(&'a TensorSpec, &'a mut Sink)> {
    let index = find("output", &schema.outputs, key)?;
    Ok((&schema.outputs[index], &mut sinks[index]))
}

fn check_type<T: Element>(spec: &TensorSpec) -> Result<()> {
    if T::shows(spec.datatype) {
        return Ok(());
    }
    Err(mismatch(spec, std::any::type_name::<T>()))
}

fn mismatch(spec: &TensorSpec, asked: &'static str) -> TensorError {
    let (tensor, found) = (spec.name.clone(), spec.datatype);
    TensorError::Type {
        side: "output",
        tensor,
        found,
        asked,
    }
}

#[cfg(test)]
mod tests;
