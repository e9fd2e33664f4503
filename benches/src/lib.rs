//! Benchmarks of Skysail: what its binaries share.
//!
//! `micro/` measures one operation with criterion; `src/bin/` and `scenarios/` measure running
//! processes.
//! Figures are for one machine and one moment: compare ratios of one run.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "binaries that print their results")]

pub mod bare;
pub mod clock;
pub mod frontend;
pub mod inputs;
pub mod orders;
pub mod process;
pub mod result;
