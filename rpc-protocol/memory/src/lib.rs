//! Tensor bytes: reference-counted payloads, pools, and memory shared between processes.
//!
//! | module | holds |
//! |---|---|
//! | [`payload`] | [`Payload`] and [`PayloadBuf`]: bytes that are written once and then shared |
//! | [`pool`] | blocks that are used again without an allocation |
//! | [`rows`] | the row log: where the rows of one model's queries lie until they are answered |
//! | [`region`] | memory of one session: words that both ends see, and bulk bytes of one writer |
//! | [`ring`] | a queue of descriptors between two processes, and its sleep flag |
//! | [`views`] | memory of a peer shown to code that may keep it |
//! | [`stage`] | the same, where only a garbage collector knows what is kept |
//! | [`recycled`] | lists whose room is used again |
//! | [`copies`] | how many payload bytes were copied, and why |
//!
//! Everything `unsafe` about bytes is in this crate. It knows no tensors, messages or sockets.
//! The ring runs under loom (`RUSTFLAGS="--cfg loom"`), the rest under Miri.

#![allow(
    unsafe_code,
    reason = "memory shared between processes and typed views of it; see each module"
)]

pub mod copies;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
pub mod payload;
#[cfg(not(loom))]
pub mod pool;
pub mod recycled;
#[cfg(not(loom))]
pub mod region;
pub mod ring;
#[cfg(not(loom))]
pub mod rows;
#[cfg(not(loom))]
pub mod stage;
mod sync;
#[cfg(not(loom))]
pub mod views;

#[cfg(not(loom))]
pub use payload::{Payload, PayloadBuf};
