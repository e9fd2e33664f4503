//! Benchmarks of Skysail: what its binaries share.
//!
//! `micro/` measures one operation with criterion; `src/bin/` measures running processes.
//! Figures are for one machine and one moment: compare ratios of one run.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "binaries that print their results")]

pub mod frontend;
pub mod inputs;
pub mod process;
pub mod result;
