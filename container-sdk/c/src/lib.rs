//! The C ABI of the container SDK: what C, C++ and every language that can call C bind to.
//!
//! `include/skysail.h` is made from this crate and says what a caller needs; `include/skysail.hpp`
//! is a layer of C++ over it. A model is a struct of functions; while one of them runs, *handles*
//! show the batch, the outputs and what surrounds the call.
//!
//! ```text
//!   skysail_run ─► Definition ─► the SDK's Worker ─► Loaded::predict ─► the model's predict
//!                                                     │ opens                 │ asks
//!                                                     └─► Batch, Outputs, Ctx ◄┘ by the functions in `calls`
//! ```
//!
//! # Invariants
//! - A handle lives as long as its model is loaded. Between calls it is closed, and whatever is then
//!   asked of it is an error.
//! - No panic leaves the library, and no failure is told but by what a function returns and by the
//!   thread's last error.
//! - What C hands over as text, bytes or a struct is read in `foreign` alone.
//!
//! # Cost
//! A batch: a few stores a tensor; inputs are shown where they lie, outputs are written where they are
//! sent from. What is set or pushed is copied once more.

#![allow(
    unreachable_pub,
    reason = "what is public is what C sees: cbindgen and the linker go by it, no Rust crate does"
)]

mod batch;
mod calls;
mod ctx;
mod failure;
mod foreign;
mod model;
mod outputs;
mod rows;
mod signature;
mod stage;
mod tensor;
