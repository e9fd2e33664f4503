//! `parameters` objects: names with a string, a number or a boolean each.

use crate::json::cursor::Cursor;
use crate::options::{Key, RequestOptions, Value};

use super::error::V2Error;
use super::request::RegionSlice;

/// Parameters over HTTP that nobody may send.
const RESERVED_PREFIX: &str = "triton_";

/// What the parameters of a whole request say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::query) struct RequestParameters {
    pub(in crate::query) options: RequestOptions,
    /// Whether outputs are binary that say nothing themselves.
    pub(in crate::query) binary_outputs: bool,
}

impl RequestParameters {
    /// Takes a parameter; one that nobody knows here changes nothing.
    pub(in crate::query) fn set(&mut self, name: &str, value: Value) -> Result<(), V2Error> {
        if let Some(key) = Key::of_v2(name) {
            let set = self.options.set(key, value);
            return set.map_err(|what| V2Error::invalid(format!("parameter '{name}' {what}")));
        }
        match (name, value) {
            ("binary_data_output", Value::Bool(binary)) => self.binary_outputs = binary,
            ("binary_data_output", _) => return Err(wrong(name, "true or false")),
            ("sequence_start" | "sequence_end", Value::Bool(false))
            | ("sequence_id", Value::Unsigned(0)) => {}
            ("sequence_id" | "sequence_start" | "sequence_end", _) => {
                return Err(V2Error::unsupported(
                    "sequences are not supported: each request stands by itself",
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the parameters of a tensor say: where its data is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::query) struct TensorParameters {
    /// Bytes of it behind the JSON.
    pub(in crate::query) binary_bytes: Option<usize>,
    /// For an output: whether it shall be there.
    pub(in crate::query) binary: Option<bool>,
    /// A region of shared memory that holds it, or shall.
    pub(in crate::query) region: Option<String>,
    pub(in crate::query) region_bytes: Option<usize>,
    pub(in crate::query) region_offset: usize,
}

impl TensorParameters {
    /// Takes a parameter.
    pub(in crate::query) fn set(&mut self, name: &str, value: Value) -> Result<(), V2Error> {
        let count = |value| match value {
            Value::Unsigned(count) => usize::try_from(count).ok(),
            _ => None,
        };
        let whole = || wrong(name, "a number of bytes, 0 or more");
        match name {
            "binary_data_size" => self.binary_bytes = Some(count(value).ok_or_else(whole)?),
            "shared_memory_byte_size" => self.region_bytes = Some(count(value).ok_or_else(whole)?),
            "shared_memory_offset" => self.region_offset = count(value).ok_or_else(whole)?,
            "binary_data" => match value {
                Value::Bool(binary) => self.binary = Some(binary),
                _ => return Err(wrong(name, "true or false")),
            },
            "shared_memory_region" => match value {
                Value::Text(region) => self.region = Some(region),
                _ => return Err(wrong(name, "a string")),
            },
            "classification" if !matches!(value, Value::Unsigned(0)) => {
                return Err(V2Error::unsupported(
                    "the classification extension is not supported",
                ));
            }
            _ => {}
        }
        Ok(())
    }
}

impl TensorParameters {
    /// The part of a region that they name.
    pub(in crate::query) fn region_slice(&self) -> Result<Option<RegionSlice>, V2Error> {
        let Some(region) = &self.region else {
            return Ok(None);
        };
        let bytes = self.region_bytes.ok_or_else(|| {
            V2Error::invalid("'shared_memory_region' needs 'shared_memory_byte_size'")
        })?;
        Ok(Some(RegionSlice {
            region: region.clone(),
            offset: self.region_offset,
            bytes,
        }))
    }
}

fn wrong(name: &str, expected: &str) -> V2Error {
    V2Error::invalid(format!("parameter '{name}' must be {expected}"))
}

/// Reads the object at the cursor, a parameter at a time.
pub(in crate::query) fn read(
    cursor: &mut Cursor<'_>,
    depth: usize,
    mut take: impl FnMut(&str, Value) -> Result<(), V2Error>,
) -> Result<(), V2Error> {
    super::header::members(cursor, |cursor, name| {
        if name.starts_with(RESERVED_PREFIX) {
            let message =
                format!("parameter '{name}' is reserved: names may not begin with 'triton_'");
            return Err(V2Error::invalid(message));
        }
        let value = Value::read(cursor, depth + 1)?;
        take(name, value)
    })
}
