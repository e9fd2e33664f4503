//! A request to infer, whatever it came in, and the binary data behind its JSON.
//!
//! # Invariants
//! - Every input has exactly one source of data.
//! - Names of inputs, and of wanted outputs, are unique.
//! - All bytes behind the JSON belong to an input.

use bytes::Bytes;
use skysail_rpc::{DataType, PayloadBuf};

use super::Shape;
use super::error::V2Error;
use super::parameters::RequestParameters;

/// Tensors of a request, on either side.
pub(in crate::query) const TENSORS_MAX: usize = 32;
/// Dimensions of a tensor, the rows included.
pub(in crate::query) const RANK_MAX: usize = 9;
/// Longest `id`.
pub(in crate::query) const ID_BYTES_MAX: usize = 1024;

/// A request.
#[derive(Debug, Default)]
pub(in crate::query) struct InferRequest {
    /// Sent back as it is; an empty one is none.
    pub(in crate::query) id: Option<String>,
    pub(in crate::query) parameters: RequestParameters,
    pub(in crate::query) inputs: Vec<InputTensor>,
    /// The wanted outputs; all if none is named.
    pub(in crate::query) outputs: Vec<WantedOutput>,
}

/// One named input.
#[derive(Debug)]
pub(in crate::query) struct InputTensor {
    pub(in crate::query) name: String,
    pub(in crate::query) datatype: DataType,
    /// Rows first.
    pub(in crate::query) shape: Shape,
    pub(in crate::query) data: Data,
}

/// The elements of a tensor: little-endian and row-major, or byte strings with their length, a
/// `u32`, before each.
#[derive(Debug)]
pub(in crate::query) enum Data {
    /// Written here, maybe where a single row stays.
    Written(PayloadBuf),
    /// Part of a body.
    Body(Bytes),
    /// So many bytes behind the JSON, not cut yet.
    Behind(usize),
    /// In shared memory that the client registered.
    Region(RegionSlice),
}

/// A part of a registered region of shared memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::query) struct RegionSlice {
    pub(in crate::query) region: String,
    pub(in crate::query) offset: usize,
    pub(in crate::query) bytes: usize,
}

/// An output that the client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::query) struct WantedOutput {
    pub(in crate::query) name: String,
    /// Whether it is wanted behind the JSON.
    pub(in crate::query) binary: bool,
    /// Where it is wanted, if in shared memory.
    pub(in crate::query) region: Option<RegionSlice>,
}

impl InferRequest {
    /// Cuts the bytes behind the JSON into the inputs that have some, in their order.
    ///
    /// # Errors
    /// If they are too few or too many.
    pub(in crate::query) fn attach(&mut self, mut behind: Bytes) -> Result<(), V2Error> {
        for input in &mut self.inputs {
            let Data::Behind(bytes) = input.data else {
                continue;
            };
            if bytes > behind.len() {
                return Err(V2Error::invalid(format!(
                    "unexpected size for input '{}': {bytes} bytes announced, {} are left in the body",
                    input.name,
                    behind.len()
                )));
            }
            input.data = Data::Body(behind.split_to(bytes));
        }
        if !behind.is_empty() {
            return Err(V2Error::invalid(format!(
                "unexpected additional input data: {} bytes follow the last input",
                behind.len()
            )));
        }
        Ok(())
    }

    /// Checks that no name stands twice.
    pub(in crate::query) fn check_names(&self) -> Result<(), V2Error> {
        let inputs = self.inputs.iter().map(|input| input.name.as_str());
        let outputs = self.outputs.iter().map(|output| output.name.as_str());
        for (side, name) in [("input", repeated(inputs)), ("output", repeated(outputs))] {
            if let Some(name) = name {
                return Err(V2Error::invalid(format!("{side} '{name}' appears twice")));
            }
        }
        Ok(())
    }
}

/// A name that stands twice.
fn repeated<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let mut rest = names;
    while let Some(name) = rest.next() {
        if rest.clone().any(|other| other == name) {
            return Some(name);
        }
    }
    None
}
