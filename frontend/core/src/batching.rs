//! Batching that holds latency objectives: one queue a model version, replicas pull.
//!
//! ```text
//!  push ──► Queue ──► Policy::decide ──► Send: a batch for an idle replica
//!    ▲        │              ├─────────► Shed: given back with a cause, then asked again
//!    │        └─ expired     └─────────► Wait: until a time or the next event
//!    └─ hedges and lost batches
//! ```
//!
//! [`Batcher`] keeps the books (queries, queue, replicas, hedges) and is the same under every
//! [`Policy`]; the policy only decides. Time is an argument of every event, nothing is random.
//!
//! | module | holds |
//! |---|---|
//! | [`batcher`] | the books |
//! | [`actions`] | events in, actions out |
//! | [`tally`] | what was done, counted and explained |
//! | [`queue`] | waiting queries by deadline |
//! | [`queries`] | each query until its one outcome |
//! | [`fleet`] | replicas: idle, busy, paused |
//! | [`policy`] | the trait of a policy |
//! | [`choice`] | the policy that a version asks for |
//! | [`window`] | window-EDF, the default |
//! | [`profile`], [`residuals`] | latency as learned from batches, and its margin |
//! | [`curve`] | latency by size |
//! | [`sized`] | policies of a mere size: fixed, and Clipper's AIMD |
//! | [`hedge`] | how much may be asked twice |
//! | [`contract`] | guaranteed rates of applications |
//! | [`advice`] | what a version bears, and what would make it bear more |
//! | [`histogram`] | counts of values, for metrics |
//! | [`time`] | times within a batcher |

pub mod actions;
pub mod advice;
pub mod batcher;
pub mod choice;
pub mod contract;
pub mod curve;
pub mod fleet;
pub mod hedge;
pub mod histogram;
pub mod policy;
pub mod profile;
pub mod queries;
pub mod queue;
pub mod residuals;
pub mod sized;
pub mod tally;
pub mod time;
pub mod window;

pub use actions::{Actions, Answered, Arrival, Cancel, Dispatch, Ended, Priority, Returned};
pub use advice::{Advice, Capacity, Situation};
pub use batcher::{Batcher, Options, ReplicaReport, Report};
pub use curve::Curve;
pub use fleet::BatchNumber;
pub use histogram::Histogram;
pub use policy::{Decision, Done, Learned, Limit, Plan, Policy, ShedBy, View};
pub use queries::Key;
pub use tally::{Explained, LateBy, Spread, Tally};
pub use time::At;
pub use window::{Window, WindowOptions};
