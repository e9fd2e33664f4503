//! The replicas of one version: who is free, who is healthy, who takes the next batch.
//!
//! A replica's *circuit* is closed while traffic flows. [`STRIKES`] failed batches in a row
//! open it for a pause that doubles while failures go on; after the pause one batch tries
//! again. The circuit of the only replica never opens: a model that fails on some inputs must
//! still answer the others.
//!
//! # Invariants
//! - `in_flight <= slots` for every replica.
//! - A draining replica gets no batch.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::registry::Batching;
use crate::sizing::{Completed, Sizer, sizer};

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

/// How a batch ended, for the replica's health.
#[derive(Clone, Copy, Debug)]
pub enum BatchEnd {
    /// Answered; the sizes are learned from.
    Answered(Completed),
    /// The model failed on the whole batch.
    Failed,
    /// Cancelled or expired: nothing is learnt from it.
    NotComputed,
}

/// What a replica takes, as its container said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Batches in flight at once.
    pub slots: usize,
    /// Rows of one batch.
    pub max_batch: usize,
}

#[derive(Debug)]
struct Replica {
    sizer: Box<dyn Sizer>,
    terms: Terms,
    in_flight: usize,
    draining: bool,
    failures: u32,
    paused_until: Option<Instant>,
    last_batch: u64,
}

impl Replica {
    fn state(&self, now: Instant) -> ReplicaState {
        match self.paused_until {
            _ if self.draining => ReplicaState::Draining,
            Some(until) if until > now => ReplicaState::Suspect,
            _ => ReplicaState::Ready,
        }
    }
}

/// The replicas of one version.
#[derive(Debug, Default)]
pub struct Replicas {
    replicas: BTreeMap<ReplicaId, Replica>,
    batches: u64,
}

impl Replicas {
    /// Adds a replica.
    pub fn add(&mut self, id: ReplicaId, terms: Terms, batching: &Batching) {
        let replica = Replica {
            sizer: sizer(batching, terms.max_batch),
            terms,
            in_flight: 0,
            draining: false,
            failures: 0,
            paused_until: None,
            last_batch: 0,
        };
        self.replicas.insert(id, replica);
    }

    /// Removes a replica; says whether it was there.
    pub fn remove(&mut self, id: ReplicaId) -> bool {
        self.replicas.remove(&id).is_some()
    }

    /// Sizes batches by another rule from now on; what was learned is forgotten.
    pub fn set_batching(&mut self, batching: &Batching) {
        for replica in self.replicas.values_mut() {
            replica.sizer = sizer(batching, replica.terms.max_batch);
        }
    }

    /// Gives the replica no further batches.
    pub fn drain(&mut self, id: ReplicaId) {
        if let Some(replica) = self.replicas.get_mut(&id) {
            replica.draining = true;
        }
    }

    /// Whether any replica may take batches, now or after a pause.
    #[must_use]
    pub fn any_serving(&self) -> bool {
        self.replicas.values().any(|replica| !replica.draining)
    }

    /// What the replica is doing.
    #[must_use]
    pub fn state(&self, now: Instant, id: ReplicaId) -> Option<ReplicaState> {
        self.replicas.get(&id).map(|replica| replica.state(now))
    }

    /// Batches that the replica has.
    #[must_use]
    pub fn in_flight(&self, id: ReplicaId) -> usize {
        self.replicas
            .get(&id)
            .map_or(0, |replica| replica.in_flight)
    }

    /// The replica for the next batch, and its sizer: ready, with a free slot, the least
    /// busy, among equals the one that waited longest.
    #[must_use]
    pub fn idle(&self, now: Instant) -> Option<(ReplicaId, &dyn Sizer)> {
        let only = self
            .replicas
            .values()
            .filter(|replica| !replica.draining)
            .count()
            == 1;
        self.replicas
            .iter()
            .filter(|(_, r)| r.in_flight < r.terms.slots)
            .filter(|(_, r)| match r.state(now) {
                ReplicaState::Ready => true,
                ReplicaState::Suspect => only,
                ReplicaState::Draining => false,
            })
            .min_by_key(|(_, r)| (r.in_flight, r.last_batch))
            .map(|(id, r)| (*id, r.sizer.as_ref()))
    }

    /// When the first paused replica may be tried again.
    #[must_use]
    pub fn next_retry(&self, now: Instant) -> Option<Instant> {
        let paused = |r: &Replica| r.paused_until.filter(|until| *until > now && !r.draining);
        self.replicas.values().filter_map(paused).min()
    }

    /// A batch was given to the replica.
    pub fn started(&mut self, id: ReplicaId) {
        self.batches += 1;
        if let Some(replica) = self.replicas.get_mut(&id) {
            debug_assert!(
                replica.in_flight < replica.terms.slots,
                "a batch needs a free slot"
            );
            replica.in_flight += 1;
            replica.last_batch = self.batches;
        }
    }

    /// A batch of the replica ended.
    pub fn ended(&mut self, now: Instant, id: ReplicaId, end: BatchEnd) {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return;
        };
        replica.in_flight = replica.in_flight.saturating_sub(1);
        match end {
            BatchEnd::Answered(completed) => {
                replica.sizer.completed(completed);
                replica.failures = 0;
                replica.paused_until = None;
            }
            BatchEnd::Failed => {
                replica.failures += 1;
                if let Some(beyond) = replica.failures.checked_sub(STRIKES) {
                    let pause = PAUSE.0.saturating_mul(1 << beyond.min(10)).min(PAUSE.1);
                    replica.paused_until = Some(now + pause);
                }
            }
            BatchEnd::NotComputed => {}
        }
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub fn check_invariants(&self) {
        for (id, replica) in &self.replicas {
            assert!(
                replica.in_flight <= replica.terms.slots,
                "{id:?} has more batches than slots"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(count: u64) -> Replicas {
        let mut replicas = Replicas::default();
        for id in 0..count {
            replicas.add(
                ReplicaId(id),
                Terms {
                    slots: 2,
                    max_batch: 4,
                },
                &Batching::default(),
            );
        }
        replicas
    }

    fn next(replicas: &mut Replicas, now: Instant) -> Option<ReplicaId> {
        let id = replicas.idle(now)?.0;
        replicas.started(id);
        replicas.check_invariants();
        Some(id)
    }

    #[test]
    fn spreads_batches_and_fills_second_slots_last() {
        let (mut replicas, now) = (replicas(2), Instant::now());
        let order: Vec<_> = std::iter::from_fn(|| next(&mut replicas, now)).collect();
        assert_eq!(
            order,
            [ReplicaId(0), ReplicaId(1), ReplicaId(0), ReplicaId(1)]
        );
        replicas.ended(now, ReplicaId(1), BatchEnd::NotComputed);
        assert_eq!(next(&mut replicas, now), Some(ReplicaId(1)));
    }

    #[test]
    fn a_draining_replica_gets_nothing() {
        let (mut replicas, now) = (replicas(2), Instant::now());
        replicas.drain(ReplicaId(0));
        assert_eq!(next(&mut replicas, now), Some(ReplicaId(1)));
        assert_eq!(
            replicas.state(now, ReplicaId(0)),
            Some(ReplicaState::Draining)
        );
        replicas.drain(ReplicaId(1));
        assert!(!replicas.any_serving() && replicas.idle(now).is_none());
    }

    #[test]
    fn pauses_one_that_only_fails_while_another_works() {
        let (mut replicas, mut now) = (replicas(2), Instant::now());
        let fail = |replicas: &mut Replicas, now| {
            replicas.started(ReplicaId(0));
            replicas.ended(now, ReplicaId(0), BatchEnd::Failed);
        };
        (0..STRIKES).for_each(|_| fail(&mut replicas, now));
        assert_eq!(
            replicas.state(now, ReplicaId(0)),
            Some(ReplicaState::Suspect)
        );
        assert_eq!(replicas.idle(now).map(|(id, _)| id), Some(ReplicaId(1)));
        assert_eq!(replicas.next_retry(now), Some(now + PAUSE.0));
        now += PAUSE.0;
        assert_eq!(
            replicas.state(now, ReplicaId(0)),
            Some(ReplicaState::Ready),
            "tried again"
        );
        fail(&mut replicas, now);
        assert_eq!(
            replicas.next_retry(now),
            Some(now + 2 * PAUSE.0),
            "the pause doubles"
        );
    }

    #[test]
    fn the_only_replica_is_never_paused() {
        let (mut replicas, now) = (replicas(1), Instant::now());
        for _ in 0..20 {
            assert_eq!(next(&mut replicas, now), Some(ReplicaId(0)));
            replicas.ended(now, ReplicaId(0), BatchEnd::Failed);
        }
    }
}
