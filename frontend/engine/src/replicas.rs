//! Which replicas are connected, for whoever asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use skysail_core::replica::ReplicaId;

use crate::lane::Lane;

/// A connected replica, as it was when asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Unique in the life of the front end.
    pub id: u64,
    /// Its model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// `ready`, `suspect` or `draining`.
    pub state: &'static str,
    /// `shm`, `ipc`, `tcp` or `memory`.
    pub transport: &'static str,
    /// Why it is not a faster one; empty where there is nothing to say.
    pub transport_reason: String,
    /// Its process, 0 where that has no meaning.
    pub pid: u32,
    /// Batches that it has.
    pub in_flight: usize,
    /// Its SDK.
    pub sdk: String,
    /// Its inputs and outputs.
    pub schema: String,
    /// Most rows that it takes in one batch.
    pub max_batch: u32,
}

/// What does not change while a replica is connected.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) lane: Arc<Lane>,
    pub(crate) fixed: ReplicaStatus,
}

/// The directory of connected replicas.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<BTreeMap<ReplicaId, Entry>>);

impl Directory {
    pub(crate) fn add(&self, id: ReplicaId, entry: Entry) {
        self.lock().insert(id, entry);
    }

    /// Takes note of how batches travel to a replica.
    pub(crate) fn set_transport(&self, id: ReplicaId, name: Option<&'static str>, reason: String) {
        if let Some(entry) = self.lock().get_mut(&id) {
            entry.fixed.transport = name.unwrap_or(entry.fixed.transport);
            entry.fixed.transport_reason = reason;
        }
    }

    pub(crate) fn remove(&self, id: ReplicaId) {
        self.lock().remove(&id);
    }

    pub(crate) fn list(&self, now: Instant) -> Vec<ReplicaStatus> {
        let now_of = |(id, entry): (&ReplicaId, &Entry)| {
            let (state, in_flight) = entry.lane.replica(now, *id)?;
            Some(ReplicaStatus {
                state: state.name(),
                in_flight,
                ..entry.fixed.clone()
            })
        };
        self.lock().iter().filter_map(now_of).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
