//! Payloads, messages, sessions and transports between the front end and containers.
//!
//! Four layers, each usable without the one above it, and the keys of the last:
//!
//! | module | holds | knows |
//! |---|---|---|
//! | [`payload`], [`tensor`] | aligned reference-counted bytes; typed columns of a batch | datatypes, shapes |
//! | [`message`] | the eight messages of `PROTOCOL.md`, encoded and decoded under [`limits`] | Cap'n Proto |
//! | [`session`] | the two ends' state machines: time is an argument, nothing blocks | messages |
//! | [`transport`] | who carries frames: ZeroMQ, memory | bytes |
//! | [`keys`] | who a peer beyond this machine is | key files |
//!
//! Nothing here knows a model's code, an application or HTTP.

#[cfg(target_endian = "big")]
compile_error!("payloads travel little-endian and are shown in place");

pub mod channel;
pub mod keys;
pub mod limits;
pub mod message;
pub mod session;
pub mod tensor;
pub mod transport;

pub use skysail_memory::{Payload, PayloadBuf, copies, payload, rows, stage, views};
pub use tensor::{Cell, Column, ColumnBuilder, DataType, Element, Schema, TensorSpec};

/// The protocol versions that this build speaks, lowest and highest.
pub const PROTOCOL: (u16, u16) = (1, 1);
