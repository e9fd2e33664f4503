//! A batch's tensors as Python values, and a model's answers back.
//!
//! | rows | in | out |
//! |---|---|---|
//! | all alike, fixed width | [`Memory`] of shape `[rows, …]` | written into [`Memory`] of the result |
//! | variable dimensions | `(elements, offsets, shapes or None)`, all [`Memory`] | for each row `(sizes, bytes)` |
//! | texts | for each row a text, or `(shape, list of texts)` | for each row `(sizes, list of bytes)` |
//!
//! A row that failed has `None` among the answers.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use skysail_container::{
    Batch, Cell, Column, DataType, Outputs, Payload, Result, TensorSpec, View, Views,
};

use crate::memory::{Memory, typestr};

/// How a batch is shown.
pub(crate) struct Shower<'a> {
    pub(crate) views: &'a mut Views,
    /// The model is known to keep what it is shown.
    pub(crate) copies: bool,
    /// Everything that was shown.
    pub(crate) shown: Vec<Arc<View>>,
}

impl Shower<'_> {
    /// All inputs of a batch, in the order of the signature.
    pub(crate) fn inputs<'py>(
        &mut self,
        py: Python<'py>,
        batch: &Batch,
    ) -> Result<Bound<'py, PyTuple>> {
        let mut inputs = Vec::with_capacity(batch.specs().len());
        for (index, spec) in batch.specs().iter().enumerate() {
            inputs.push(self.input(py, spec, batch.column(index)?)?);
        }
        Ok(PyTuple::new(py, inputs)?)
    }

    fn input<'py>(
        &mut self,
        py: Python<'py>,
        spec: &TensorSpec,
        column: &Column,
    ) -> Result<Bound<'py, PyAny>> {
        let Some(typestr) = typestr(spec.datatype) else {
            return Ok(texts(py, spec, column)?);
        };
        let Some(offsets) = column.offsets() else {
            let rows = i64::try_from(column.rows())?;
            let shape = std::iter::once(rows).chain(spec.dims.iter().copied());
            let memory = self.memory(column.data(), typestr, shape.collect());
            return Ok(Bound::new(py, memory)?.into_any());
        };
        let width = spec.datatype.width().unwrap_or(1);
        let flat = self.flat(column.data(), typestr, width)?;
        let offsets = self.flat(offsets, "<u8", size_of::<u64>())?;
        let shapes = column.shapes();
        let shapes = shapes.map(|shapes| self.flat(shapes, "<u4", size_of::<u32>()));
        let value = (flat, offsets, shapes.transpose()?).into_pyobject(py)?;
        Ok(value.into_any())
    }

    fn flat(&mut self, payload: &Payload, typestr: &'static str, width: usize) -> Result<Memory> {
        let elements = i64::try_from(payload.len() / width)?;
        Ok(self.memory(payload, typestr, vec![elements]))
    }

    fn memory(&mut self, payload: &Payload, typestr: &'static str, shape: Vec<i64>) -> Memory {
        let view = Arc::new(if self.copies {
            Views::copy(payload)
        } else {
            self.views.show(payload)
        });
        self.shown.push(view.clone());
        Memory::shown(view, typestr, shape)
    }
}

/// The rows of a tensor of texts.
fn texts<'py>(py: Python<'py>, spec: &TensorSpec, column: &Column) -> PyResult<Bound<'py, PyAny>> {
    let text = |bytes: &[u8]| match spec.datatype {
        DataType::String => PyString::from_bytes(py, bytes).map(Bound::into_any),
        _ => Ok(PyBytes::new(py, bytes).into_any()),
    };
    let list = PyList::empty(py);
    if spec.dims.is_empty() {
        for bytes in column.strings() {
            list.append(text(bytes)?)?;
        }
        return Ok(list.into_any());
    }
    for cell in column.cells() {
        let row = PyList::empty(py);
        for bytes in cell.iter_strings() {
            row.append(text(bytes)?)?;
        }
        list.append((PyTuple::new(py, cell.dims(spec))?, row))?;
    }
    Ok(list.into_any())
}

/// Where the outputs go: memory to write, or `None` where rows are pushed.
pub(crate) fn targets<'py>(py: Python<'py>, out: &mut Outputs) -> Result<Bound<'py, PyTuple>> {
    let rows = i64::try_from(out.rows())?;
    let specs = out.specs().to_vec();
    let mut targets = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        targets.push(match (typestr(spec.datatype), spec.row_bytes()) {
            (Some(typestr), Some(_)) => {
                let shape = std::iter::once(rows).chain(spec.dims.iter().copied());
                let bytes = out.bytes_mut(index)?;
                Some(Memory::to_write(bytes, typestr, shape.collect()))
            }
            _ => None,
        });
    }
    Ok(PyTuple::new(py, targets)?)
}

/// Takes what a step answered: `None`, why the batch failed, or rows to push and rows that failed.
pub(crate) fn take(answer: &Bound<'_, PyAny>, out: &mut Outputs) -> Result<()> {
    if answer.is_none() {
        return Ok(());
    }
    if let Ok(why) = answer.cast::<PyString>() {
        return Err(why.to_string().into());
    }
    let (pushed, failed): (Vec<Bound<'_, PyAny>>, Vec<(usize, String)>) = answer.extract()?;
    for (row, why) in failed {
        out.fail_row(row, why);
    }
    for (index, rows) in pushed.iter().enumerate() {
        if rows.is_none() {
            continue;
        }
        for row in rows.try_iter()? {
            let row = row?;
            if !row.is_none() {
                push(&row, index, out)?;
            }
        }
    }
    Ok(())
}

fn push(row: &Bound<'_, PyAny>, index: usize, out: &mut Outputs) -> Result<()> {
    let (sizes, value): (Vec<u32>, Bound<'_, PyAny>) = row.extract()?;
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(out.push_bytes(index, &sizes, bytes.as_bytes())?);
    }
    let texts: Vec<Bound<'_, PyBytes>> = value.extract()?;
    let cell = Cell::strings(texts.iter().map(|text| text.as_bytes()), sizes[..].into())?;
    Ok(out.push_cell(index, &cell)?)
}
