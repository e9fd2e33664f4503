//! The datatypes of the Open Inference Protocol, and the Rust types that show them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A tensor's element type. Fixed-width elements are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// One byte, 0 or 1.
    Bool,
    /// 8-bit unsigned.
    Uint8,
    /// 16-bit unsigned.
    Uint16,
    /// 32-bit unsigned.
    Uint32,
    /// 64-bit unsigned.
    Uint64,
    /// 8-bit signed.
    Int8,
    /// 16-bit signed.
    Int16,
    /// 32-bit signed.
    Int32,
    /// 64-bit signed.
    Int64,
    /// IEEE half precision, shown as its bits (`u16`).
    Fp16,
    /// bfloat16, shown as its bits (`u16`).
    Bf16,
    /// IEEE single precision.
    Fp32,
    /// IEEE double precision.
    Fp64,
    /// Byte strings of any length.
    Bytes,
    /// Byte strings of any length, each valid UTF-8.
    String,
}

/// All datatypes with their protocol names, their short names and their widths in bytes.
const TABLE: [(DataType, &str, &str, Option<usize>); 15] = [
    (DataType::Bool, "BOOL", "bool", Some(1)),
    (DataType::Uint8, "UINT8", "u8", Some(1)),
    (DataType::Uint16, "UINT16", "u16", Some(2)),
    (DataType::Uint32, "UINT32", "u32", Some(4)),
    (DataType::Uint64, "UINT64", "u64", Some(8)),
    (DataType::Int8, "INT8", "i8", Some(1)),
    (DataType::Int16, "INT16", "i16", Some(2)),
    (DataType::Int32, "INT32", "i32", Some(4)),
    (DataType::Int64, "INT64", "i64", Some(8)),
    (DataType::Fp16, "FP16", "f16", Some(2)),
    (DataType::Bf16, "BF16", "bf16", Some(2)),
    (DataType::Fp32, "FP32", "f32", Some(4)),
    (DataType::Fp64, "FP64", "f64", Some(8)),
    (DataType::Bytes, "BYTES", "bytes", None),
    (DataType::String, "STRING", "string", None),
];

impl DataType {
    /// Every datatype, in the order of the protocol.
    pub fn all() -> impl Iterator<Item = DataType> {
        TABLE.iter().map(|row| row.0)
    }

    /// Bytes of one element; `None` for byte strings, which vary.
    #[must_use]
    pub fn width(self) -> Option<usize> {
        TABLE[self as usize].3
    }

    /// The name in the Open Inference Protocol, such as `FP32`.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The datatype of a protocol name (`FP32`) or a short name (`f32`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<DataType> {
        TABLE
            .iter()
            .find(|row| row.1 == name || row.2 == name)
            .map(|row| row.0)
    }
}

impl std::fmt::Display for DataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(TABLE[*self as usize].2)
    }
}

/// A Rust type that shows the elements of some datatypes in place.
pub trait Element:
    FromBytes + IntoBytes + Immutable + KnownLayout + Copy + PartialEq + Send + Sync + 'static
{
    /// Whether elements of `datatype` may be seen as this type.
    fn shows(datatype: DataType) -> bool;
}

macro_rules! element {
    ($($rust:ty: $($datatype:ident)|+),+ $(,)?) => {$(
        impl Element for $rust {
            fn shows(datatype: DataType) -> bool {
                matches!(datatype, $(DataType::$datatype)|+)
            }
        }
    )+};
}

element! {
    u8: Uint8 | Bool,
    u16: Uint16 | Fp16 | Bf16,
    u32: Uint32,
    u64: Uint64,
    i8: Int8,
    i16: Int16,
    i32: Int32,
    i64: Int64,
    f32: Fp32,
    f64: Fp64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_in_the_order_of_the_enum() {
        for (index, datatype) in DataType::all().enumerate() {
            assert_eq!(datatype as usize, index);
            assert_eq!(DataType::from_name(datatype.name()), Some(datatype));
            assert_eq!(DataType::from_name(&datatype.to_string()), Some(datatype));
        }
    }
}
