//! `skysail._skysail`: the Rust container SDK for the Python package `skysail`.
//!
//! The package's own modules, in `python/skysail`, know numpy and what an author writes; this
//! library knows the protocol, by `skysail-container`. Between them stand a batch's tensors as
//! `Memory`, which numpy makes arrays of without a copy, and one call a batch.
//!
//! ```text
//!   front end ══► Runner ── detached ──► Loaded::predict ── attached ──► Loaded.step ──► the model
//!                            (no lock)                   (interpreter lock)   numpy views of Memory
//! ```
//!
//! # Invariants
//! - The interpreter lock is held while the model computes and its tensors are wrapped, not while
//!   the container waits, reads, checks, frames or sends.
//! - An array that a model has kept shows the numbers it had, whatever becomes of its batch
//!   (`docs/decisions/0027`).

#![forbid(unsafe_code)]

mod memory;
mod model;
mod program;
mod values;

/// What the Python modules of the package use.
#[pyo3::pymodule]
mod _skysail {
    #[pymodule_export]
    use super::memory::Memory;
    #[pymodule_export]
    use super::program::{Command, log, parse, tensor, tie_to_parent};
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
