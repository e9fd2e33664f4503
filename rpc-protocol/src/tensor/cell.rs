//! One row of one tensor: what a query brings in and what it gets back.

use smallvec::{SmallVec, smallvec};

use super::{ColumnError, DataType, Dims, TensorSpec};
use crate::payload::{Payload, PayloadBuf};
use skysail_memory::copies::{self, Copied};

/// One row of one tensor, shared by reference.
///
/// Byte strings lie end to end in the data, with the end of each beside it; other elements
/// lie row-major.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    data: Payload,
    variable: SmallVec<[u32; 2]>,
    ends: SmallVec<[u32; 2]>,
}

impl Cell {
    /// A row without variable dimensions.
    #[must_use]
    pub fn fixed(data: Payload) -> Self {
        Cell {
            data,
            ..Cell::default()
        }
    }

    /// A row whose variable dimensions are `variable`, in the order of the schema.
    #[must_use]
    pub fn variable(data: Payload, variable: SmallVec<[u32; 2]>) -> Self {
        Cell {
            data,
            variable,
            ..Cell::default()
        }
    }

    /// A row of byte strings, with its variable dimensions, if any.
    ///
    /// # Errors
    /// If the strings together are longer than a `u32` counts.
    pub fn strings<'a>(
        strings: impl IntoIterator<Item = &'a [u8]>,
        variable: SmallVec<[u32; 2]>,
    ) -> Result<Self, ColumnError> {
        let mut data = PayloadBuf::default();
        let mut ends = SmallVec::new();
        for string in strings {
            data.extend_from_slice(string);
            ends.push(u32::try_from(data.len()).map_err(|_| ColumnError::TooLong)?);
        }
        Ok(Cell {
            data: data.freeze(),
            variable,
            ends,
        })
    }

    pub(super) fn from_parts(
        data: Payload,
        variable: SmallVec<[u32; 2]>,
        ends: SmallVec<[u32; 2]>,
    ) -> Self {
        Cell {
            data,
            variable,
            ends,
        }
    }

    /// The row's bytes.
    #[must_use]
    pub fn data(&self) -> &Payload {
        &self.data
    }

    /// Sizes of the variable dimensions, in the order of the schema.
    #[must_use]
    pub fn variable_dims(&self) -> &[u32] {
        &self.variable
    }

    /// Where each byte string ends; empty for other datatypes.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The byte strings of the row.
    pub fn iter_strings(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let bytes = self.data.as_bytes();
        self.ends.iter().enumerate().map(move |(index, end)| {
            let start = index
                .checked_sub(1)
                .map_or(0, |before| self.ends[before] as usize);
            &bytes[start..*end as usize]
        })
    }

    /// The dimensions of this row under `spec`.
    #[must_use]
    pub fn dims(&self, spec: &TensorSpec) -> Dims {
        let mut variable = self.variable.iter();
        let fill = |dim: &i64| match *dim {
            -1 => variable.next().map_or(0, |size| i64::from(*size)),
            fixed => fixed,
        };
        spec.dims.iter().map(fill).collect()
    }

    /// Bytes that it occupies, its own book-keeping included.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Cell>() + self.data.len() + 4 * (self.variable.len() + self.ends.len())
    }

    /// The same row, held outside of any row log: copied if it lies in one.
    #[must_use]
    pub fn without_row(&self, why: Copied) -> Cell {
        Cell {
            data: self.data.without_row(why),
            ..self.clone()
        }
    }

    /// A cell that keeps no more memory alive than its own row: a copy, for `why`.
    #[must_use]
    pub fn detached(&self, why: Copied) -> Cell {
        copies::record(why, self.data.len());
        Cell {
            data: Payload::copy_from_slice(self.data.as_bytes()),
            ..self.clone()
        }
    }

    /// Checks that the row is one of `spec`.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&self, spec: &TensorSpec) -> Result<(), ColumnError> {
        if self.variable.len() != spec.variable_dims() {
            return Err(ColumnError::Shape {
                tensor: spec.name.clone(),
            });
        }
        let elements = self
            .dims(spec)
            .iter()
            .try_fold(1_usize, |product, dim| {
                product.checked_mul(usize::try_from(*dim).ok()?)
            })
            .ok_or(ColumnError::TooLong)?;
        let (found, expected) = match spec.datatype.width() {
            Some(width) => (self.data.len(), elements.saturating_mul(width)),
            None => (self.ends.len(), elements),
        };
        if found != expected {
            let unit = if spec.datatype.width().is_some() {
                "bytes"
            } else {
                "strings"
            };
            let tensor = spec.name.clone();
            return Err(ColumnError::Length {
                tensor,
                unit,
                found,
                expected,
            });
        }
        match spec.datatype {
            DataType::String => self.check_utf8(&spec.name),
            DataType::Bool => check_bool(self.data.as_bytes(), &spec.name),
            _ => Ok(()),
        }
    }

    fn check_utf8(&self, tensor: &str) -> Result<(), ColumnError> {
        let valid = self
            .iter_strings()
            .all(|string| std::str::from_utf8(string).is_ok());
        if valid {
            Ok(())
        } else {
            Err(ColumnError::NotUtf8 {
                tensor: tensor.to_owned(),
            })
        }
    }
}

impl From<&str> for Cell {
    fn from(string: &str) -> Self {
        let data = Payload::copy_from_slice(string.as_bytes());
        let end = u32::try_from(string.len()).unwrap_or(u32::MAX);
        Cell {
            data,
            variable: SmallVec::new(),
            ends: smallvec![end],
        }
    }
}

/// Booleans are one byte each, 0 or 1.
pub(super) fn check_bool(bytes: &[u8], tensor: &str) -> Result<(), ColumnError> {
    if bytes.iter().all(|byte| *byte <= 1) {
        return Ok(());
    }
    Err(ColumnError::NotBool {
        tensor: tensor.to_owned(),
    })
}
