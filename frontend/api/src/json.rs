//! JSON of the hot paths: predict bodies in, answers out, without a document in between.
//!
//! | module | does |
//! |---|---|
//! | [`predict`] | Clipper's predict body, its vectors read straight into payloads |
//! | [`update`] | Clipper's feedback body |
//! | [`error`] | what is wrong with a body, where, in Clipper's words |
//! | `element` | one element of a tensor |
//! | [`output`] | numbers and strings of answers |
//!
//! `serde_json` is not used for requests because its document of a 13 MiB body took 1.2 GiB, it
//! reads `1e300` into an `f32` as infinity, and it keeps the last of duplicate keys.

pub(crate) mod cursor;
pub(crate) mod element;
pub mod error;
pub(crate) mod number;
pub mod output;
pub mod predict;
#[cfg(test)]
mod random;
mod text;
pub mod update;
pub(crate) mod vector;

pub use error::{Field, JsonError, JsonErrorKind};
pub use output::{
    NonFinite, write_f32, write_f64, write_i64, write_string, write_text_as_json, write_u64,
};
pub use predict::{PredictBody, RowInput, parse_predict};
pub use update::{UpdateBody, parse_update};

/// What a request body may hold; going one past any of these is an error.
#[derive(Clone, Debug)]
pub struct JsonLimits {
    /// Objects and arrays around a value, the outermost included.
    pub depth_max: usize,
    /// Members of one object.
    pub keys_max: usize,
    /// Length of a member's name in the body.
    pub key_bytes_max: usize,
    /// Numbers in the whole body.
    pub numbers_max: usize,
    /// Strings in the tensors of a body.
    pub strings_max: usize,
    /// Vectors of one `input_batch`.
    pub rows_max: usize,
    /// Length of one string of a `strings` input, and of a version.
    pub string_bytes_max: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        JsonLimits {
            depth_max: 32,
            keys_max: 64,
            key_bytes_max: 256,
            numbers_max: 4_000_000,
            strings_max: 65_536,
            rows_max: 1_024,
            string_bytes_max: 1 << 20,
        }
    }
}
