//! The replicas of one batcher: idle, busy, paused.
//!
//! A replica has a *place*, a small index that policies use; its id is the caller's. It computes
//! one batch at a time. A second one may be sent *ahead* when the first is about to end, so that
//! the replica does not idle for the time that a reply and the next batch travel.
//! Circuits open and close as [`STRIKES`] and [`PAUSE`] say.
//!
//! # Invariants
//! - A replica has at most as many batches as slots, and at most two; a draining one gets none.
//! - A place is used again only after its replica has left.
//!
//! # Cost
//! O(replicas) a call; no allocation but for new replicas.

use std::collections::VecDeque;

use super::queries::Key;
use super::time::At;
use crate::replica::{PAUSE, ReplicaId, ReplicaState, STRIKES, Terms};

/// The one that is computed, and one ahead.
const FLIGHTS_MAX: usize = 2;
/// Weight of the newest batch in the transport's share of a latency.
const TRANSPORT_GAIN: f64 = 0.1;
/// A sample counts at most as so much: a stopped process is not a slow transport.
const TRANSPORT_STEP: (f64, f64) = (2.0, 50e-6);

/// Which batch of a batcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchNumber(pub u64);

/// A query in a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) deadline: At,
    /// Another batch has it too.
    pub(super) is_copy: bool,
}

/// A batch that a replica has.
#[derive(Debug, Default)]
pub(super) struct Flight {
    pub(super) number: BatchNumber,
    pub(super) rows: Vec<Row>,
    pub(super) size: f64,
    /// When it was sent, or, sent ahead, when the one before it ended.
    pub(super) started: At,
    /// Seconds that it will take.
    pub(super) predicted: f64,
    pub(super) hedge_after: Option<f64>,
    pub(super) bound: bool,
    pub(super) objective: f64,
    /// Sent while the replica had another.
    pub(super) ahead: bool,
    /// Asked back.
    pub(super) cancelled: bool,
}

impl Flight {
    pub(super) fn expected_end(&self) -> At {
        self.started.after(self.predicted)
    }

    /// Past its expected end by more than half of what it should have taken.
    fn is_overdue(&self, now: At) -> bool {
        now.since(self.expected_end()) > 0.5 * self.predicted
    }
}

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) id: ReplicaId,
    terms: Terms,
    /// In the order they were sent: the first is computed.
    pub(super) flights: VecDeque<Flight>,
    /// Ended ones, for their lists of rows.
    spare: Vec<Flight>,
    /// Seconds of a latency that are not the model's.
    transport: f64,
    draining: bool,
    failures: u32,
    paused_until: Option<At>,
    last_batch: u64,
    pub(super) busy_seconds: f64,
    pub(super) stragglers: u64,
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
        let idle = |one: &Replica| !one.draining && !one.is_busy() && !one.is_paused(now);
        self.replicas().filter(|(_, one)| idle(one)).count()
    }

    /// When the first busy replica, besides the one in `but`, is expected to be free, leaving
    /// aside those that are unusually late; not before `now`.
    #[must_use]
    pub fn earliest_end(&self, now: At, but: usize) -> Option<At> {
        let others = self.replicas().filter(|(place, _)| *place != but);
        let ends = others.filter_map(|(_, one)| one.free_at(now));
        ends.map(|end| end.max(now)).min()
    }

    /// Most rows of a batch for the replica in a place.
    #[must_use]
    pub fn rows_max(&self, place: usize) -> usize {
        self.at(place).map_or(1, |one| one.terms.max_batch.max(1))
    }

    /// When a batch that is sent to the replica in a place would begin.
    #[must_use]
    pub fn start(&self, place: usize, now: At) -> At {
        let first = self.at(place).and_then(|one| one.flights.front());
        first.map_or(now, |flight| flight.expected_end().max(now))
    }

    pub(super) fn add(&mut self, id: ReplicaId, terms: Terms) -> usize {
        let free = self.places.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(Replica {
            id,
            terms,
            flights: VecDeque::with_capacity(FLIGHTS_MAX),
            spare: Vec::with_capacity(FLIGHTS_MAX),
            transport: 0.0,
            draining: false,
            failures: 0,
            paused_until: None,
            last_batch: 0,
            busy_seconds: 0.0,
            stragglers: 0,
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
            .filter(|(_, one)| !one.is_busy() && !one.draining && !self.is_held_back(one, now));
        let least = free.min_by(|(a, one), (b, other)| {
            let by_rank = rank(*a).total_cmp(&rank(*b));
            by_rank.then(one.last_batch.cmp(&other.last_batch))
        });
        least.map(|(place, _)| place)
    }

    /// A replica to which a batch may be sent ahead: the one it has ends within the time that
    /// a reply and the next batch travel.
    pub(super) fn nearly_idle(&self, now: At) -> Option<usize> {
        let mut takers = self
            .replicas()
            .filter(|(_, one)| one.has_slot() && !one.draining && !self.is_held_back(one, now));
        let found = takers.find(|(_, one)| one.is_nearly_idle(now));
        found.map(|(place, _)| place)
    }

    /// Paused, and not the only one.
    fn is_held_back(&self, replica: &Replica, now: At) -> bool {
        replica.is_paused(now) && self.serving() > 1
    }

    /// The batch after the last one that was sent.
    pub(super) fn next_number(&self) -> BatchNumber {
        BatchNumber(self.batches + 1)
    }

    /// An empty batch for the replica in a place; send it with [`Self::launch`].
    pub(super) fn prepare(&mut self, place: usize, now: At) -> Flight {
        let number = self.next_number();
        let replica = self.at_mut(place).expect("an idle replica has its place");
        let mut flight = replica.spare.pop().unwrap_or_default();
        flight.rows.clear();
        flight.number = number;
        flight.started = now;
        flight.ahead = replica.is_busy();
        flight.cancelled = false;
        flight
    }

    /// Gives the replica in a place a batch, unless it is empty.
    pub(super) fn launch(&mut self, place: usize, flight: Flight) -> bool {
        let launched = !flight.rows.is_empty();
        self.batches += u64::from(launched);
        let batches = self.batches;
        let replica = self.at_mut(place).expect("an idle replica has its place");
        debug_assert!(replica.has_slot(), "a batch needs a free slot");
        if launched {
            replica.last_batch = batches;
            replica.flights.push_back(flight);
        } else {
            replica.spare.push(flight);
        }
        launched
    }

    /// A batch is over: takes it out. What follows it begins now.
    pub(super) fn land(&mut self, place: usize, number: BatchNumber, now: At) -> Option<Flight> {
        let replica = self.at_mut(place)?;
        let mut flights = replica.flights.iter();
        let index = flights.position(|flight| flight.number == number)?;
        let flight = replica.flights.remove(index)?;
        if index == 0 {
            replica.busy_seconds += now.since(flight.started).max(0.0);
            if let Some(next) = replica.flights.front_mut() {
                next.started = now;
            }
        }
        Some(flight)
    }

    /// Takes a batch that is over back, to use its room again.
    pub(super) fn recycle(&mut self, place: usize, flight: Flight) {
        if let Some(replica) = self.at_mut(place)
            && replica.spare.len() < FLIGHTS_MAX
        {
            replica.spare.push(flight);
        }
    }

    /// Takes out the batch that a replica computes, to look through it.
    pub(super) fn take_first(&mut self, place: usize) -> Option<Flight> {
        self.at_mut(place)?.flights.pop_front()
    }

    /// Puts it back.
    pub(super) fn put_first(&mut self, place: usize, flight: Flight) {
        if let Some(replica) = self.at_mut(place) {
            replica.flights.push_front(flight);
        }
    }

    pub(super) fn answered(&mut self, place: usize) {
        if let Some(replica) = self.at_mut(place) {
            replica.failures = 0;
            replica.paused_until = None;
        }
    }

    pub(super) fn count_straggler(&mut self, place: usize, is_one: bool) {
        if let Some(replica) = self.at_mut(place) {
            replica.stragglers += u64::from(is_one);
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

    /// When the next batch may be hedged, or asked back.
    pub(super) fn next_relief(&self, now: At) -> Option<At> {
        let replicas = self.replicas();
        let times = replicas.flat_map(|(_, one)| [one.hedge_at(), one.held_up_at()]);
        times.flatten().filter(|at| *at > now).min()
    }

    /// A place whose first batch may be hedged by now.
    pub(super) fn hedgeable(&self, now: At) -> Option<usize> {
        let due = |one: &Replica| one.hedge_at().is_some_and(|at| at <= now);
        let mut replicas = self.replicas();
        replicas.find(|(_, one)| due(one)).map(|(place, _)| place)
    }

    /// A place whose batch ahead waits behind one that is overdue.
    pub(super) fn held_up(&self, now: At) -> Option<usize> {
        let due = |one: &Replica| one.held_up_at().is_some_and(|at| at <= now);
        let mut replicas = self.replicas();
        replicas.find(|(_, one)| due(one)).map(|(place, _)| place)
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = (usize, &Replica)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, one)| Some((place, one.as_ref()?)))
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub fn check_invariants(&self) {
        for (_, one) in self.replicas() {
            assert!(one.flights.len() <= one.terms.slots.min(FLIGHTS_MAX));
            assert!(one.flights.iter().all(|flight| !flight.rows.is_empty()));
        }
    }
}

impl Replica {
    pub(super) fn is_busy(&self) -> bool {
        !self.flights.is_empty()
    }

    fn has_slot(&self) -> bool {
        self.flights.len() < self.terms.slots.min(FLIGHTS_MAX)
    }

    fn is_paused(&self, now: At) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    pub(super) fn state(&self, now: At) -> ReplicaState {
        match self.draining {
            true => ReplicaState::Draining,
            false if self.is_paused(now) => ReplicaState::Suspect,
            false => ReplicaState::Ready,
        }
    }

    /// Seconds that a batch and its reply travel, as measured.
    pub(super) fn transport(&self) -> f64 {
        self.transport
    }

    pub(super) fn learn_transport(&mut self, seconds: f64) {
        let most = TRANSPORT_STEP.0 * self.transport + TRANSPORT_STEP.1;
        self.transport += TRANSPORT_GAIN * (seconds.clamp(0.0, most) - self.transport);
    }

    fn is_nearly_idle(&self, now: At) -> bool {
        let first = self.flights.front();
        let is_due = |flight: &Flight| {
            let close = now.since(flight.expected_end()).abs() <= self.transport;
            close && !flight.is_overdue(now)
        };
        // A policy that predicts nothing has nothing sent ahead.
        first.is_some_and(|flight| flight.predicted > 0.0 && is_due(flight))
    }

    /// When it has ended all it has, if it takes more then and nothing of it is unusually late.
    fn free_at(&self, now: At) -> Option<At> {
        let first = self.flights.front().filter(|_| !self.draining)?;
        let ahead: f64 = self.flights.iter().skip(1).map(|one| one.predicted).sum();
        (!first.is_overdue(now)).then(|| first.expected_end().after(ahead))
    }

    fn hedge_at(&self) -> Option<At> {
        let first = self.flights.front()?;
        first
            .hedge_after
            .map(|seconds| first.started.after(seconds))
    }

    /// When the batch ahead, if there is one, is better off elsewhere.
    fn held_up_at(&self) -> Option<At> {
        let ahead = self.flights.get(1).filter(|flight| !flight.cancelled);
        let first = self.flights.front().filter(|_| ahead.is_some())?;
        Some(first.expected_end().after(0.5 * first.predicted))
    }
}
