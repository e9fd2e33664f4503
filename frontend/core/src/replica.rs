//! A replica: its number, what it takes, what it is doing.
//!
//! A replica's *circuit* is closed while traffic flows. [`STRIKES`] failed batches in a row
//! open it for a pause that doubles while failures go on; after the pause one batch tries
//! again. The circuit of the only replica never opens: a model that fails on some inputs must
//! still answer the others.

use std::time::Duration;

/// Failed batches in a row that open the circuit.
pub const STRIKES: u32 = 5;
/// The first pause of an open circuit, and the longest.
pub const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A replica's number, unique in the life of the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(pub u64);

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// Takes batches.
    Ready,
    /// Failed too often; paused.
    Suspect,
    /// Finishes what it has.
    Draining,
}

impl ReplicaState {
    /// The name in status.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ReplicaState::Ready => "ready",
            ReplicaState::Suspect => "suspect",
            ReplicaState::Draining => "draining",
        }
    }
}

/// What a replica takes, as its container said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Batches in flight at once.
    pub slots: usize,
    /// Rows of one batch.
    pub max_batch: usize,
}
