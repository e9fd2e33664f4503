//! The replicas of one batcher: idle, busy, paused.
//!
//! A replica has a *place*, a small index that policies use; its id is the caller's. One batch
//! is in flight a replica. Circuits open and close as in [`crate::replica`].
//!
//! # Invariants
//! - A replica has at most one batch in flight; a draining one gets no other.
//! - A place is used again only after its replica has left.
//!
//! # Cost
//! O(replicas) a call; no allocation but for new replicas.

use super::queries::Key;
use super::time::At;
use crate::replica::{PAUSE, ReplicaId, STRIKES};

/// A query in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) deadline: At,
}

/// A batch that a replica has.
#[derive(Debug, Default)]
pub(super) struct Flight {
    pub(super) rows: Vec<Row>,
    pub(super) size: f64,
    pub(super) started: At,
    pub(super) expected_end: At,
    pub(super) hedge_at: Option<At>,
    pub(super) bound: bool,
    pub(super) objective: f64,
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) id: ReplicaId,
    rows_max: usize,
    pub(super) busy: bool,
    /// Kept while idle, for its list of rows.
    pub(super) flight: Flight,
    draining: bool,
    failures: u32,
    paused_until: Option<At>,
    last_batch: u64,
}

/// The replicas.
#[derive(Debug, Default)]
pub struct Fleet {
    places: Vec<Option<Replica>>,
    batches: u64,
}

impl Fleet {
    /// Replicas that take batches, now or after a pause.
    #[must_use]
    pub fn serving(&self) -> usize {
        self.replicas().filter(|(_, one)| !one.draining).count()
    }

    /// Of them, those without a batch.
    #[must_use]
    pub fn idle_count(&self, now: At) -> usize {
        let idle = |one: &Replica| !one.draining && !one.busy && !one.is_paused(now);
        self.replicas().filter(|(_, one)| idle(one)).count()
    }

    /// When the first busy replica is expected to be free, leaving aside those that are
    /// unusually late; not before `now`.
    #[must_use]
    pub fn earliest_end(&self, now: At) -> Option<At> {
        let busy = self.replicas().filter(|(_, one)| one.busy && !one.draining);
        let usual = busy.filter(|(_, one)| !one.is_overdue(now));
        usual.map(|(_, one)| one.flight.expected_end.max(now)).min()
    }

    /// Most rows of a batch for the replica in a place.
    #[must_use]
    pub fn rows_max(&self, place: usize) -> usize {
        self.at(place).map_or(1, |one| one.rows_max)
    }

    pub(super) fn add(&mut self, id: ReplicaId, rows_max: usize) -> usize {
        let free = self.places.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(Replica {
            id,
            rows_max: rows_max.max(1),
            busy: false,
            flight: Flight::default(),
            draining: false,
            failures: 0,
            paused_until: None,
            last_batch: 0,
        });
        place
    }

    pub(super) fn remove(&mut self, id: ReplicaId) -> Option<Replica> {
        let place = self.place(id)?;
        self.places[place].take()
    }

    pub(super) fn drain(&mut self, id: ReplicaId) {
        if let Some(replica) = self.place(id).and_then(|place| self.at_mut(place)) {
            replica.draining = true;
        }
    }

    pub(super) fn place(&self, id: ReplicaId) -> Option<usize> {
        let mut all = self.replicas();
        all.find(|(_, one)| one.id == id).map(|(place, _)| place)
    }

    pub(super) fn at(&self, place: usize) -> Option<&Replica> {
        self.places.get(place)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut Replica> {
        self.places.get_mut(place)?.as_mut()
    }

    /// The idle replica with the least rank, among equals the one that waited longest.
    pub(super) fn idle(&self, now: At, rank: impl Fn(usize) -> f64) -> Option<usize> {
        let free = self
            .replicas()
            .filter(|(_, one)| !one.busy && !one.draining && !self.is_held_back(one, now));
        let least = free.min_by(|(a, one), (b, other)| {
            let by_rank = rank(*a).total_cmp(&rank(*b));
            by_rank.then(one.last_batch.cmp(&other.last_batch))
        });
        least.map(|(place, _)| place)
    }

    /// Paused, and not the only one.
    fn is_held_back(&self, replica: &Replica, now: At) -> bool {
        replica.is_paused(now) && self.serving() > 1
    }

    /// Marks the replica busy and gives its empty flight to fill in.
    pub(super) fn start(&mut self, place: usize, now: At) -> &mut Flight {
        self.batches += 1;
        let batches = self.batches;
        let replica = self.at_mut(place).expect("an idle replica has its place");
        debug_assert!(!replica.busy, "one batch in flight a replica");
        replica.busy = true;
        replica.last_batch = batches;
        replica.flight.rows.clear();
        replica.flight.started = now;
        &mut replica.flight
    }

    pub(super) fn answered(&mut self, place: usize) {
        if let Some(replica) = self.at_mut(place) {
            replica.failures = 0;
            replica.paused_until = None;
        }
    }

    pub(super) fn failed(&mut self, place: usize, now: At) {
        let Some(replica) = self.at_mut(place) else {
            return;
        };
        replica.failures += 1;
        if let Some(beyond) = replica.failures.checked_sub(STRIKES) {
            let pause = PAUSE.0.saturating_mul(1 << beyond.min(10)).min(PAUSE.1);
            replica.paused_until = Some(now.after(pause.as_secs_f64()));
        }
    }

    /// When the first paused replica may be tried again.
    pub(super) fn next_retry(&self, now: At) -> Option<At> {
        let serving = self.replicas().filter(|(_, one)| !one.draining);
        let paused = serving.filter_map(|(_, one)| one.paused_until);
        paused.filter(|until| *until > now).min()
    }

    /// When the first batch may be hedged.
    pub(super) fn next_hedge(&self) -> Option<At> {
        let busy = self.replicas().filter(|(_, one)| one.busy);
        busy.filter_map(|(_, one)| one.flight.hedge_at).min()
    }

    /// A place whose batch may be hedged by now.
    pub(super) fn hedgeable(&self, now: At) -> Option<usize> {
        let mut busy = self.replicas().filter(|(_, one)| one.busy);
        let due = |one: &Replica| one.flight.hedge_at.is_some_and(|at| at <= now);
        busy.find(|(_, one)| due(one)).map(|(place, _)| place)
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = (usize, &Replica)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, one)| Some((place, one.as_ref()?)))
    }
}

impl Replica {
    fn is_paused(&self, now: At) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    /// Past its expected end by more than half of what it should have taken.
    fn is_overdue(&self, now: At) -> bool {
        let expected = self.flight.expected_end.since(self.flight.started);
        now.since(self.flight.expected_end) > 0.5 * expected
    }
}
