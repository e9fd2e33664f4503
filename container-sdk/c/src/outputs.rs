//! The handle of a batch's outputs.
//!
//! # Invariants
//! - The SDK's outputs are there while the handle is open: [`crate::model`] opens it before it calls
//!   the model's function and closes it before it uses the outputs again.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::thread::ThreadId;

use skysail_container::{Cell, TensorSpec};

use crate::failure::{Failure, Result};
use crate::rows;
use crate::tensor::{Dtype, Known, Tensor, check_dtype};

/// Where one call of predict writes its answers.
#[derive(Debug)]
pub struct Outputs {
    rows: usize,
    outputs: Vec<Output>,
    to: Option<NonNull<skysail_container::Outputs>>,
    thread: ThreadId,
}

#[derive(Debug)]
struct Output {
    known: Known,
    tensor: Tensor,
}

impl Outputs {
    pub(crate) fn new(specs: &[TensorSpec]) -> Self {
        let output = |spec| {
            let mut known = Known::new(spec);
            let tensor = known.tensor(0);
            Output { known, tensor }
        };
        Outputs {
            rows: 0,
            outputs: specs.iter().map(output).collect(),
            to: None,
            thread: std::thread::current().id(),
        }
    }

    /// Writes to `out` until [`Self::close`].
    pub(crate) fn open(&mut self, out: &mut skysail_container::Outputs) -> Result<()> {
        self.rows = out.rows();
        for (index, output) in self.outputs.iter_mut().enumerate() {
            output.tensor = output.known.tensor(self.rows);
            if output.known.spec.row_bytes().is_some() {
                let bytes = out.bytes_mut(index)?;
                output.tensor.bytes = bytes.len();
                output.tensor.data = bytes.as_mut_ptr().cast_const().cast();
            }
        }
        self.to = Some(out.into());
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        self.to = None;
    }

    pub(crate) fn tensor_at(&mut self, index: usize) -> Result<&Tensor> {
        self.out()?;
        let (output, count) = (self.outputs.get(index), self.outputs.len());
        let told = || Failure(format!("no output number {index}: there are {count}"));
        Ok(&output.ok_or_else(told)?.tensor)
    }

    pub(crate) fn tensor(&mut self, name: &str) -> Result<&Tensor> {
        let index = self.index(name)?;
        self.tensor_at(index)
    }

    /// A tensor whose rows are alike, to write.
    pub(crate) fn data(&mut self, name: &str, dtype: Dtype) -> Result<*mut c_void> {
        let index = self.index(name)?;
        check_dtype("output", self.spec(index), dtype)?;
        let data = self.out()?.bytes_mut(index)?.as_mut_ptr();
        Ok(data.cast())
    }

    /// Writes all of a tensor whose rows are alike.
    pub(crate) fn set(&mut self, from: &Tensor) -> Result<()> {
        let index = self.index(from.name()?)?;
        let Output { known, tensor } = &self.outputs[index];
        check_dtype("output", &known.spec, from.dtype)?;
        let (found, expected) = (from.dims()?, known.dims());
        let name = &known.spec.name;
        if found != expected {
            let told = format!("output '{name}' was given {found:?}, {expected:?} expected");
            return Err(Failure(told));
        }
        let (found, expected) = (from.bytes, tensor.bytes);
        let target = self.out()?.bytes_mut(index)?;
        if found != expected {
            let name = self.outputs[index].known.spec.name.as_str();
            let told = format!("output '{name}' was given {found} bytes, {expected} expected");
            return Err(Failure(told));
        }
        target.copy_from_slice(from.data()?);
        Ok(())
    }

    /// Answers the next row of a tensor whose rows have their own shape.
    pub(crate) fn push(&mut self, row: &Tensor) -> Result<()> {
        let index = self.index(row.name()?)?;
        let spec = self.spec(index);
        check_dtype("output", spec, row.dtype)?;
        let dims = row.dims()?;
        let variable = rows::variable(spec, dims)
            .ok_or_else(|| Failure(format!("a row of {dims:?} does not fit the output {spec}")))?;
        if spec.datatype.width().is_some() {
            return Ok(self.out()?.push_bytes(index, &variable, row.data()?)?);
        }
        let strings = if dims.is_empty() {
            vec![row.data()?]
        } else {
            row.strings(rows::elements(dims))?
        };
        let cell = Cell::strings(strings, variable.into()).map_err(|error| error.to_string())?;
        Ok(self.out()?.push_cell(index, &cell)?)
    }

    /// Answers the next row of a tensor with one variable dimension.
    pub(crate) fn push_elements(&mut self, name: &str, dtype: Dtype, bytes: &[u8]) -> Result<()> {
        let index = self.index(name)?;
        let spec = self.spec(index);
        check_dtype("output", spec, dtype)?;
        if spec.variable_dims() > 1 {
            return Err(Failure(format!(
                "the output {spec} has several variable dimensions: use skysail_push"
            )));
        }
        let step = rows::fixed(spec) * spec.datatype.width().unwrap_or(1);
        // A rest is refused by the check of the row's bytes.
        let size = u32::try_from(bytes.len() / step.max(1)).map_err(|_| "the row is too long")?;
        Ok(self.out()?.push_bytes(index, &[size], bytes)?)
    }

    /// Answers the next row of a tensor of one byte string a row.
    pub(crate) fn push_text(&mut self, name: &str, text: &[u8]) -> Result<()> {
        let index = self.index(name)?;
        Ok(self.out()?.push_strings(index, [text])?)
    }

    pub(crate) fn fail_row(&mut self, row: usize, message: String) -> Result<()> {
        let rows = self.rows;
        let out = self.out()?;
        if row >= rows {
            return Err(Failure(format!("no row {row}: the batch has {rows}")));
        }
        out.fail_row(row, message);
        Ok(())
    }

    fn index(&self, name: &str) -> Result<usize> {
        let specs = || self.outputs.iter().map(|output| &output.known.spec);
        specs().position(|spec| spec.name == name).ok_or_else(|| {
            let known: Vec<String> = specs().map(ToString::to_string).collect();
            let known = known.join(", ");
            Failure(format!("no output '{name}'; the signature has {known}"))
        })
    }

    fn spec(&self, index: usize) -> &TensorSpec {
        &self.outputs[index].known.spec
    }

    #[allow(
        unsafe_code,
        reason = "C keeps the handle, so no reference can be in it"
    )]
    fn out(&mut self) -> Result<&mut skysail_container::Outputs> {
        if std::thread::current().id() != self.thread {
            return Err("outputs are written on the thread only that predict was called on".into());
        }
        let mut to = self
            .to
            .ok_or("the batch is over: its outputs may be used in predict only")?;
        // SAFETY: set only while a function of the model runs, by who has the outputs to itself and
        // waits for it (see Invariants); on its thread nobody else reads or writes them meanwhile.
        Ok(unsafe { to.as_mut() })
    }
}
