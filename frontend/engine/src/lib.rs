//! The data plane: drives `skysail-core`'s decisions and the container sessions.
//!
//! ```text
//!   Engine::ask ─► cache ─► Lane (queue, replicas; one short lock) ─► Rpc task ─► containers
//!        ▲                                                               │
//!        └───────────── Ticket: answered exactly once ◄──────────────────┘
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`cores`] | one current-thread runtime per core |
//! | [`answer`] | what comes of a query |
//! | `ticket` | the promise of one answer, between the task that asks and the one that answers |
//! | `ask` | a query on its way |
//! | `shards` | the prediction cache under locks |
//! | `lane` | one version's batcher under a lock, with metrics |
//! | `routes` | applications resolved to lanes whenever the registry changes |
//! | `requests` | counts and times of requests, as the Open Inference Protocol tells them |
//! | [`Standing`] | how a version stands, for people and metrics |
//! | [`VersionCounts`] | what was counted of a version |
//! | `rpc` | the task that owns the containers' socket |
//!
//! The registry comes in as immutable snapshots ([`Engine::publish`]); replicas are read out
//! ([`Engine::replicas`]). Nothing here knows HTTP, stores or orchestrators.

#![forbid(unsafe_code)]

pub mod answer;
mod ask;
pub mod cores;
mod engine;
mod lane;
mod replicas;
mod requests;
mod routes;
mod rpc;
mod shards;
mod standing;
mod ticket;
mod version_counts;

pub use answer::{Answer, AskError, Failure, Output, Prediction};
pub use ask::AskOptions;
pub use cores::Cores;
pub use engine::{Engine, Options};
pub use replicas::ReplicaStatus;
pub use requests::{Requests, Summed};
pub use routes::{Counts, Resolved, Route};
pub use standing::Standing;
pub use version_counts::VersionCounts;
