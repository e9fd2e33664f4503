//! The Cap'n Proto schema of the container RPC, as generated Rust.
//!
//! `rpc.capnp` is the source; `src/generated/rpc_capnp.rs` is committed, so that building
//! needs no schema compiler. `tests/fresh.rs` regenerates it and compares; with
//! `SKYSAIL_BLESS=1` it writes the new text instead. What the messages mean stands in
//! `PROTOCOL.md`; typed messages with their checks are in `skysail-rpc`.

#![forbid(unsafe_code)]

/// Generated readers and builders. Use `skysail_rpc::message` instead, which checks limits.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::semicolon_if_nothing_returned,
    clippy::uninlined_format_args,
    reason = "generated"
)]
#[rustfmt::skip]
#[path = "generated/rpc_capnp.rs"]
pub mod rpc_capnp;
