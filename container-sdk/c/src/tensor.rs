//! A tensor as C sees it, and the element types by number.

use std::ffi::{CString, c_char, c_void};
use std::ptr;

use skysail_container::{DataType, TensorSpec};

use crate::failure::{Failure, Result, c_text};
use crate::foreign;

/// An element type: one of SKYSAIL_BOOL to SKYSAIL_STRING. Elements are little-endian.
pub type Dtype = u32;

/// One byte, 0 or 1.
pub const SKYSAIL_BOOL: Dtype = 0;
/// uint8_t
pub const SKYSAIL_U8: Dtype = 1;
/// uint16_t
pub const SKYSAIL_U16: Dtype = 2;
/// uint32_t
pub const SKYSAIL_U32: Dtype = 3;
/// uint64_t
pub const SKYSAIL_U64: Dtype = 4;
/// int8_t
pub const SKYSAIL_I8: Dtype = 5;
/// int16_t
pub const SKYSAIL_I16: Dtype = 6;
/// int32_t
pub const SKYSAIL_I32: Dtype = 7;
/// int64_t
pub const SKYSAIL_I64: Dtype = 8;
/// IEEE half precision, as its bits in a uint16_t.
pub const SKYSAIL_F16: Dtype = 9;
/// bfloat16, as its bits in a uint16_t.
pub const SKYSAIL_BF16: Dtype = 10;
/// float
pub const SKYSAIL_F32: Dtype = 11;
/// double
pub const SKYSAIL_F64: Dtype = 12;
/// Byte strings of any length.
pub const SKYSAIL_BYTES: Dtype = 13;
/// Byte strings of any length, each valid UTF-8.
pub const SKYSAIL_STRING: Dtype = 14;

const _: () = {
    assert!(SKYSAIL_BOOL == DataType::Bool as u32);
    assert!(SKYSAIL_U8 == DataType::Uint8 as u32);
    assert!(SKYSAIL_U16 == DataType::Uint16 as u32);
    assert!(SKYSAIL_U32 == DataType::Uint32 as u32);
    assert!(SKYSAIL_U64 == DataType::Uint64 as u32);
    assert!(SKYSAIL_I8 == DataType::Int8 as u32);
    assert!(SKYSAIL_I16 == DataType::Int16 as u32);
    assert!(SKYSAIL_I32 == DataType::Int32 as u32);
    assert!(SKYSAIL_I64 == DataType::Int64 as u32);
    assert!(SKYSAIL_F16 == DataType::Fp16 as u32);
    assert!(SKYSAIL_BF16 == DataType::Bf16 as u32);
    assert!(SKYSAIL_F32 == DataType::Fp32 as u32);
    assert!(SKYSAIL_F64 == DataType::Fp64 as u32);
    assert!(SKYSAIL_BYTES == DataType::Bytes as u32);
    assert!(SKYSAIL_STRING == DataType::String as u32);
};

/// All rows of a tensor, or one of them. This struct stays as it is for all versions of the ABI.
///
/// Of all rows `dims` begins with their number, and a dimension in which they may differ is -1.
/// Of one row every dimension has its size.
///
/// `offsets` is NULL where rows are all alike. Else, of all rows of a tensor with elements of one
/// size it has the first element of each row, and the end. Of a tensor of byte strings it has, for
/// all rows as for one, where each string begins in bytes, and the end: string `i` begins at
/// `data + (offsets[i] - offsets[0])` and has `offsets[i + 1] - offsets[i]` bytes; no zero byte
/// follows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    /// As in the signature.
    pub name: *const c_char,
    /// Element type.
    pub dtype: Dtype,
    /// Number of dimensions.
    pub rank: u32,
    /// Sizes of the dimensions, the last one changing fastest.
    pub dims: *const i64,
    /// The elements without gaps, aligned for them.
    pub data: *const c_void,
    /// Bytes of data.
    pub bytes: usize,
    /// See above.
    pub offsets: *const u64,
}

/// What a handle knows of one tensor of the signature. Nothing in it moves while it lives.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) spec: TensorSpec,
    name: CString,
    /// Rows, then those of a row.
    dims: Vec<i64>,
}

impl Known {
    pub(crate) fn new(spec: &TensorSpec) -> Self {
        Known {
            spec: spec.clone(),
            name: c_text(&spec.name),
            dims: std::iter::once(0)
                .chain(spec.dims.iter().copied())
                .collect(),
        }
    }

    pub(crate) fn dims(&self) -> &[i64] {
        &self.dims
    }

    /// All of `rows` rows, without data.
    pub(crate) fn tensor(&mut self, rows: usize) -> Tensor {
        self.dims[0] = i64::try_from(rows).unwrap_or(i64::MAX);
        self.with_dims(&self.dims)
    }

    /// A tensor of other dimensions, without data.
    pub(crate) fn with_dims(&self, dims: &[i64]) -> Tensor {
        Tensor {
            name: self.name.as_ptr(),
            dtype: self.spec.datatype as u32,
            rank: u32::try_from(dims.len()).unwrap_or(u32::MAX),
            dims: dims.as_ptr(),
            ..Tensor::NONE
        }
    }
}

impl Tensor {
    /// Of nothing.
    pub(crate) const NONE: Tensor = Tensor {
        name: ptr::null(),
        dtype: 0,
        rank: 0,
        dims: ptr::null(),
        data: ptr::null(),
        bytes: 0,
        offsets: ptr::null(),
    };

    pub(crate) fn name(&self) -> Result<&str> {
        foreign::text(&self.name, "the tensor's name")
    }

    pub(crate) fn dims(&self) -> Result<&[i64]> {
        foreign::array(self, self.dims, self.rank as usize, "the tensor's dims")
    }

    pub(crate) fn data(&self) -> Result<&[u8]> {
        foreign::array(self, self.data.cast(), self.bytes, "the tensor's data")
    }

    /// `strings` byte strings, end to end in the data.
    pub(crate) fn strings(&self, strings: usize) -> Result<Vec<&[u8]>> {
        let count = strings
            .checked_add(1)
            .ok_or("the row has too many strings")?;
        let offsets = foreign::array(self, self.offsets, count, "the tensor's offsets")?;
        let data = self.data()?;
        let string = |pair: &[u64]| {
            let at = |offset: u64| usize::try_from(offset.checked_sub(offsets[0])?).ok();
            data.get(at(pair[0])?..at(pair[1])?)
        };
        let wrong = || Failure::from("the tensor's offsets do not fit its data");
        let strings = offsets
            .windows(2)
            .map(|pair| string(pair).ok_or_else(wrong));
        strings.collect()
    }
}

/// The element type of a number.
pub(crate) fn datatype(dtype: Dtype) -> Result<DataType> {
    DataType::all().nth(dtype as usize).ok_or_else(|| {
        Failure(format!(
            "{dtype} is no dtype: they are 0 to {SKYSAIL_STRING}"
        ))
    })
}

/// That `spec` has elements of `dtype`.
pub(crate) fn check_dtype(side: &str, spec: &TensorSpec, dtype: Dtype) -> Result<()> {
    let (asked, found) = (datatype(dtype)?, spec.datatype);
    if asked == found {
        return Ok(());
    }
    let name = &spec.name;
    Err(Failure(format!(
        "{side} '{name}' holds {found}, asked for {asked}"
    )))
}
