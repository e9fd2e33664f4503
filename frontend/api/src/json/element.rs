//! One element of a tensor as JSON.

use half::{bf16, f16};
use skysail_rpc::DataType;

use super::output::{NonFinite, write_f32, write_f64, write_i64, write_u64};

/// Appends one element of a fixed width, little-endian.
///
/// # Errors
/// If it is a float that JSON cannot say.
///
/// # Panics
/// For byte strings, and for another number of bytes than the datatype has.
pub(crate) fn write_element(
    out: &mut Vec<u8>,
    datatype: DataType,
    le: &[u8],
) -> Result<(), NonFinite> {
    let mut wide = [0; 8];
    wide[..le.len()].copy_from_slice(le);
    let unsigned = u64::from_le_bytes(wide);
    // Shifted up and back, the sign bit of a narrow integer fills the wide one.
    let unused_bits = 64 - 8 * le.len() as u32;
    let signed = (unsigned << unused_bits).cast_signed() >> unused_bits;
    match datatype {
        DataType::Bool => out.extend_from_slice(if unsigned == 0 { b"false" } else { b"true" }),
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64 => {
            write_u64(out, unsigned);
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            write_i64(out, signed);
        }
        DataType::Fp16 => return write_f32(out, f16::from_bits(unsigned as u16).to_f32()),
        DataType::Bf16 => return write_f32(out, bf16::from_bits(unsigned as u16).to_f32()),
        DataType::Fp32 => return write_f32(out, f32::from_bits(unsigned as u32)),
        DataType::Fp64 => return write_f64(out, f64::from_bits(unsigned)),
        DataType::Bytes | DataType::String => unreachable!("byte strings have no width"),
    }
    Ok(())
}
