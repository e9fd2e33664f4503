//! Memory of a batch as numpy takes it: by `__array_interface__`.
//!
//! The stable interface of Python 3.9 has no buffer protocol; numpy's own protocol needs none, only
//! an object with a dictionary. The array that numpy makes refers to the object, and so does every
//! array that is derived from it (slices, transposes, reshapes, memoryviews): the object lives as
//! long as anybody can see the memory, and whoever holds the other end of its [`View`] can tell.
//!
//! # Cost
//! A dictionary and what numpy makes of it, one to two microseconds a tensor and batch.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use skysail_container::{DataType, View};

/// Memory that numpy shows as an array: `numpy.asarray(memory)`.
#[pyclass(frozen, module = "skysail._skysail")]
pub(crate) struct Memory {
    address: usize,
    typestr: &'static str,
    shape: Vec<i64>,
    /// What keeps the memory there, where it is only to be read.
    view: Option<Arc<View>>,
}

impl Memory {
    /// What `view` shows, to read.
    pub(crate) fn shown(view: Arc<View>, typestr: &'static str, shape: Vec<i64>) -> Self {
        Memory {
            address: view.as_bytes().as_ptr().expose_provenance(),
            typestr,
            shape,
            view: Some(view),
        }
    }

    /// Bytes to write. The package's own code alone gets it, and lets go of it before the call that
    /// it was made for returns.
    pub(crate) fn to_write(bytes: &mut [u8], typestr: &'static str, shape: Vec<i64>) -> Self {
        let (address, view) = (bytes.as_mut_ptr().expose_provenance(), None);
        Memory {
            address,
            typestr,
            shape,
            view,
        }
    }
}

#[pymethods]
impl Memory {
    /// <https://numpy.org/doc/stable/reference/arrays.interface.html>, version 3.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        let data = (self.address, self.view.is_some());
        interface.set_item(intern!(py, "data"), data)?;
        interface.set_item(intern!(py, "shape"), PyTuple::new(py, &self.shape)?)?;
        interface.set_item(intern!(py, "typestr"), self.typestr)?;
        interface.set_item(intern!(py, "version"), 3)?;
        Ok(interface)
    }
}

/// How numpy names an element type; bfloat16, which it does not know, is shown as its bits. None
/// for texts.
pub(crate) fn typestr(datatype: DataType) -> Option<&'static str> {
    Some(match datatype {
        DataType::Bool => "|b1",
        DataType::Uint8 => "|u1",
        DataType::Uint16 | DataType::Bf16 => "<u2",
        DataType::Uint32 => "<u4",
        DataType::Uint64 => "<u8",
        DataType::Int8 => "|i1",
        DataType::Int16 => "<i2",
        DataType::Int32 => "<i4",
        DataType::Int64 => "<i8",
        DataType::Fp16 => "<f2",
        DataType::Fp32 => "<f4",
        DataType::Fp64 => "<f8",
        DataType::Bytes | DataType::String => return None,
    })
}
