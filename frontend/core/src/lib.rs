//! The front end's decisions, without sockets, tasks, clocks or random numbers.
//!
//! | module | decides |
//! |---|---|
//! | [`name`], [`input_type`], [`registry`] | what is registered, and what it may be called |
//! | [`grants`] | who may register which model |
//! | [`cache`] | whether a query must be asked at all |
//! | [`queue`] | which query is next, and which has waited too long |
//! | [`sizing`] | how many rows a batch may have |
//! | [`replica`] | which replica takes the next batch |
//! | [`lane`] | all of that for one version of a model |
//! | [`batching`] | the same with window-EDF: queue, profile, windows, hedges |
//! | [`batching`] | the same with window-EDF: queue, profile, windows, hedges |
//! | [`outcome`] | the causes of a default, one table |
//!
//! Time comes in as an argument; what must be unpredictable (hash seeds) too.

#![forbid(unsafe_code)]

pub mod batching;
pub mod cache;
pub mod grants;
pub mod input;
pub mod input_type;
pub mod lane;
pub mod name;
pub mod outcome;
pub mod queue;
pub mod registry;
pub mod replica;
pub mod sizing;

pub use input::Input;
pub use input_type::InputType;
pub use name::Name;
pub use outcome::Cause;
