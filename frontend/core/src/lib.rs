//! The front end's decisions, without sockets, tasks, clocks or random numbers.
//!
//! | module | decides |
//! |---|---|
//! | [`name`], [`input_type`], [`registry`] | what is registered, and what it may be called |
//! | [`grants`] | who may register which model |
//! | [`cache`] | whether a query must be asked at all |
//! | [`batching`] | which queries go into the next batch of which replica, and which are given up |
//! | [`cost`] | what a query counts in a batch |
//! | [`sizing`] | sizes of batches by Clipper's rule, or fixed |
//! | [`replica`] | what a replica is called, takes and does |
//! | [`outcome`] | the causes of a default, one table |
//!
//! Time comes in as an argument; what must be unpredictable (hash seeds) too.

#![forbid(unsafe_code)]

pub mod batching;
pub mod cache;
pub mod cost;
pub mod grants;
pub mod input;
pub mod input_type;
pub mod name;
pub mod outcome;
pub mod registry;
pub mod replica;
pub mod sizing;

pub use cost::Cost;
pub use input::Input;
pub use input_type::InputType;
pub use name::Name;
pub use outcome::Cause;
