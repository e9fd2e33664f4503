//! What `proto/inference.proto` generates; `tests/fresh.rs` holds it current.

#![allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
#![allow(
    clippy::allow_attributes_without_reason,
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    clippy::uninlined_format_args,
    reason = "generated"
)]

include!("generated/inference.rs");

/// The file's descriptors, encoded.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/inference.bin");
