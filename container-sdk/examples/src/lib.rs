//! The bundled example containers.
//!
//! | name | tensors | what it shows |
//! |---|---|---|
//! | `digits-linear` | `x: f32[64] -> digit: i32` | softmax regression on real images |
//! | `digits-mlp` | `x: f32[64] -> digit: i32` | the same by a small neural network |
//! | `noop` | `x: f32[784] -> y: f32` | nothing: what the path around a model costs |
//! | `sum` | `x: f64[-1] -> sum: f64` | rows of different lengths |
//!
//! `skysail example-container NAME` runs one; a model of one's own is a program whose `main`
//! calls [`skysail_container::serve`], as in `examples/linear.rs`.

#![forbid(unsafe_code)]

pub mod digits;
mod noop;
mod sum;

use std::process::ExitCode;

use skysail_container::{Options, run};

pub use digits::{DigitsLinear, DigitsMlp};
pub use noop::Noop;
pub use sum::Sum;

/// Runs a container.
pub type Run = fn(Options) -> ExitCode;

const BUNDLED: [(&str, Run); 4] = [
    ("digits-linear", run::<DigitsLinear>),
    ("digits-mlp", run::<DigitsMlp>),
    ("noop", run::<Noop>),
    ("sum", run::<Sum>),
];

/// The bundled container of that name.
#[must_use]
pub fn bundled(name: &str) -> Option<Run> {
    BUNDLED.iter().find(|(bundled, _)| *bundled == name).map(|(_, run)| *run)
}

/// Names of all bundled containers.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUNDLED.iter().map(|(name, _)| *name)
}
