//! Real processes: the `skysail` binary as a user runs it.
//!
//! Every test has its own directory and free ports, and ends what it started. Waiting polls a
//! condition with [`harness::PATIENCE`]; nothing asserts that something is fast.

#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod bad_input;
mod containers;
mod demo;
mod deployments;
mod draining;
#[path = "../harness/mod.rs"]
mod harness;
mod keys;
mod life_cycle;
mod load;
mod package;
mod predict;
mod tls;
mod top;
mod tune;
