//! The handle of a batch: its input tensors, shown where they lie.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::thread::ThreadId;

use skysail_container::{Column, Payload, TensorSpec};

use crate::failure::{Failure, Result};
use crate::rows::{self, Place};
use crate::tensor::{Dtype, Known, Tensor, check_dtype};

/// The rows that one call of predict answers: their input tensors.
#[derive(Debug)]
pub struct Batch {
    /// 0 while no batch is shown.
    rows: usize,
    inputs: Vec<Input>,
    /// The row that was asked for last.
    row: Cell<Tensor>,
    row_dims: RefCell<Vec<i64>>,
    place: Cell<Place>,
    thread: ThreadId,
}

#[derive(Debug)]
struct Input {
    known: Known,
    tensor: Tensor,
    column: Option<Column>,
}

impl Batch {
    pub(crate) fn new(specs: &[TensorSpec]) -> Self {
        let input = |spec| {
            let mut known = Known::new(spec);
            let (tensor, column) = (known.tensor(0), None);
            Input {
                known,
                tensor,
                column,
            }
        };
        Batch {
            rows: 0,
            inputs: specs.iter().map(input).collect(),
            row: Cell::new(Tensor::NONE),
            row_dims: RefCell::default(),
            place: Cell::default(),
            thread: std::thread::current().id(),
        }
    }

    /// Shows `batch` until [`Self::close`].
    pub(crate) fn open(&mut self, batch: &skysail_container::Batch) -> Result<()> {
        self.rows = batch.rows();
        for (index, input) in self.inputs.iter_mut().enumerate() {
            let column = batch.column(index)?;
            let data = column.data().as_bytes();
            let offsets = offsets_of(column);
            input.tensor = Tensor {
                data: data.as_ptr().cast(),
                bytes: data.len(),
                offsets: offsets.map_or(std::ptr::null(), <[u64]>::as_ptr),
                ..input.known.tensor(self.rows)
            };
            input.column = Some(column.clone());
        }
        Ok(())
    }

    /// Lets go of the batch, whose memory is used again.
    pub(crate) fn close(&mut self) {
        self.rows = 0;
        self.row.set(Tensor::NONE);
        self.place.set(Place::default());
        self.inputs.iter_mut().for_each(|input| input.column = None);
    }

    pub(crate) fn rows(&self) -> Result<usize> {
        if self.rows == 0 {
            return Err(
                "the batch is over: what was shown of it may be used in predict only".into(),
            );
        }
        Ok(self.rows)
    }

    pub(crate) fn tensor_at(&self, index: usize) -> Result<&Tensor> {
        self.rows()?;
        let (input, count) = (self.inputs.get(index), self.inputs.len());
        let told = || Failure(format!("no input number {index}: there are {count}"));
        Ok(&input.ok_or_else(told)?.tensor)
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<&Tensor> {
        Ok(&self.input(name)?.tensor)
    }

    /// All elements of an input.
    pub(crate) fn payload_at(&self, index: usize) -> Result<&Payload> {
        self.tensor_at(index)?;
        let column = self.inputs[index].column.as_ref();
        Ok(column.ok_or("the batch is over")?.data())
    }

    pub(crate) fn data(&self, name: &str, dtype: Dtype) -> Result<*const c_void> {
        let input = self.input(name)?;
        check_dtype("input", &input.known.spec, dtype)?;
        Ok(input.tensor.data)
    }

    /// A row of a tensor, until the next one is asked for.
    pub(crate) fn row(&self, name: &str, row: usize) -> Result<*const Tensor> {
        if std::thread::current().id() != self.thread {
            return Err(
                "single rows are shown on the thread only that predict was called on".into(),
            );
        }
        let rows = self.rows()?;
        if row >= rows {
            return Err(Failure(format!("no row {row}: the batch has {rows}")));
        }
        let input = self.input(name)?;
        let column = input.column.as_ref().ok_or("the batch is over")?;
        let spec = &input.known.spec;
        let offsets = offsets_of(column);
        let shapes = column.shapes().and_then(Payload::as_slice::<u32>);
        let mut dims = self.row_dims.borrow_mut();
        rows::dims(spec, row, offsets, shapes, &mut dims);
        let whole = &input.tensor;
        let (first, count) = match spec.datatype.width() {
            Some(_) => {
                let count = rows::elements(&dims);
                (offsets.map_or(row * count, |at| index(at[row])), count)
            }
            None => {
                let tensor = std::ptr::from_ref(whole).addr();
                let place = self.place.get().seek(tensor, spec, row, shapes);
                self.place.set(place);
                (place.first, rows::elements(&dims))
            }
        };
        let bytes = match (spec.datatype.width(), offsets) {
            (Some(width), _) => first * width..(first + count) * width,
            (None, Some(at)) => index(at[first])..index(at[first + count]),
            (None, None) => 0..0,
        };
        let strings = offsets.filter(|_| spec.datatype.width().is_none());
        let data = &column.data().as_bytes()[bytes];
        self.row.set(Tensor {
            data: data.as_ptr().cast(),
            bytes: data.len(),
            offsets: strings.map_or(std::ptr::null(), |at| at[first..].as_ptr()),
            ..input.known.with_dims(&dims)
        });
        Ok(self.row.as_ptr())
    }

    fn input(&self, name: &str) -> Result<&Input> {
        self.rows()?;
        let found = self
            .inputs
            .iter()
            .find(|input| input.known.spec.name == name);
        found.ok_or_else(|| {
            let known: Vec<String> = self
                .inputs
                .iter()
                .map(|input| input.known.spec.to_string())
                .collect();
            let known = known.join(", ");
            Failure(format!("no input '{name}'; the signature has {known}"))
        })
    }
}

fn offsets_of(column: &Column) -> Option<&[u64]> {
    column.offsets().and_then(Payload::as_slice)
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("checked against the data's length")
}
