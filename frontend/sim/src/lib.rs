//! The front end's batching on a virtual clock: the code that serves, under known loads.
//!
//! | module | holds |
//! |---|---|
//! | [`draw`] | seeded random variables |
//! | [`truth`] | how long batches really take |
//! | [`load`] | arrivals |
//! | [`run`] | one simulated run and what came of it |
//! | [`rivals`] | other batchers, as policies of the same [`Batcher`](skysail_core::batching::Batcher) |
//! | [`oracle`], [`fluid`] | what cannot be beaten |
//! | [`grid`] | all configurations, all batchers |
//! | [`report`], [`plot`] | tables, JSON and SVG |
//! | [`command`] | the command line of `batchsim` |
//!
//! Nothing here reads a clock but for one instant that times are counted from; the same seed
//! gives the same figures.

#![forbid(unsafe_code)]

pub mod command;
pub mod draw;
pub mod fluid;
pub mod grid;
pub mod load;
pub mod oracle;
pub mod plot;
pub mod report;
pub mod rivals;
pub mod run;
pub mod truth;
