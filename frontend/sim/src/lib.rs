//! The front end's batching on a virtual clock: the code that serves, under known loads.
//!
//! | module | holds |
//! |---|---|
//! | [`draw`] | seeded random variables |
//! | [`truth`] | how long batches really take |
//! | [`pace`] | when and where they take longer |
//! | [`load`], [`traffic`] | arrivals, and whose they are |
//! | [`run`], [`routing`] | one simulated run: the event loop, and who gets a query |
//! | [`outcome`] | what came of it |
//! | [`rivals`] | other batchers, as policies of the same [`Batcher`](skysail_core::batching::Batcher) |
//! | [`variant`] | the policy without one of its rules |
//! | [`oracle`], [`fluid`] | what cannot be beaten |
//! | [`kind`] | all of them by name |
//! | [`grid`] | all configurations, all batchers |
//! | [`study`] | two applications, drift, noise, ablations, routing, other shapes |
//! | [`check`] | advice on a model that was learned, tried |
//! | [`report`], [`table`], [`plot`] | tables, JSON and SVG |
//! | [`command`] | the command line of `batchsim` |
//!
//! Nothing here reads a clock but for one instant that times are counted from; the same seed
//! gives the same figures.

#![forbid(unsafe_code)]

pub mod check;
pub mod command;
pub mod draw;
pub mod fluid;
pub mod grid;
pub mod kind;
pub mod load;
pub mod oracle;
pub mod outcome;
pub mod pace;
pub mod plot;
pub mod report;
pub mod rivals;
pub mod routing;
pub mod run;
pub mod study;
pub mod table;
pub mod traffic;
pub mod truth;
pub mod variant;
