//! The books of one model version: events in, actions out.
//!
//! Call [`Batcher::push`] for an arrival, [`Batcher::batch_ended`], [`Batcher::replica_joined`]
//! and so on for what replicas do, and [`Batcher::poll`] after each, as well as at
//! [`Actions::wake_at`]. What is to be done stands in [`Actions`], which the caller empties and
//! uses again.
//!
//! # Invariants
//! - Every accepted query leaves exactly once, by value: answered, given back or withdrawn.
//! - No query is dispatched at or past its deadline.
//! - Under a policy that does not wait, after a poll no replica is idle while a query waits.
//!
//! # Cost
//! Besides the policy's: `push` O(1) in the order of deadlines; a batch O(its rows). Nothing is
//! allocated once queue, queries and batches have been as large before.

use std::time::Instant;

mod dispatch;
mod relief;
mod report;

pub use report::{ReplicaReport, Report};

use super::actions::{Actions, Answered, Arrival, Ended, Returned};
use super::contract::Contracts;
use super::fleet::{BatchNumber, Fleet, Flight, Row};
use super::hedge::HedgeBudget;
use super::policy::{Done, Policy, ShedBy};
use super::profile::STRAGGLER;
use super::queries::{Held, Key, Queries};
use super::queue::{Class, Item, Queue};
use super::tally::{Explained, LateBy, Log, Tally};
use super::time::At;
use crate::Cause;
use crate::replica::{ReplicaId, ReplicaState, Terms};

/// Most bytes that the queries of one batcher keep alive by default.
const BYTES_MAX: usize = 256 << 20;

/// How a batcher behaves whatever its policy.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Most queries that wait; beyond it the one with the least deadline is shed.
    pub rows_max: usize,
    /// Most bytes that queries keep alive, in the queue and in flight; beyond it arrivals are
    /// refused.
    pub bytes_max: usize,
    /// Share of the dispatched rows that may be asked twice; 0: none.
    pub hedge_share: f64,
    /// Whether asking twice does no harm.
    pub idempotent: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            rows_max: 1 << 20,
            bytes_max: BYTES_MAX,
            hedge_share: 0.05,
            idempotent: true,
        }
    }
}

/// Whether a query that leaves a batch without an answer is queued again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// It was asked, and asking twice does harm, or no good.
    Never,
    /// It may have been asked: it is queued again if it never was before.
    Once,
    /// Nobody has begun it.
    Unasked,
}

/// Queue, queries, replicas and policy of one model version.
#[derive(Debug)]
pub struct Batcher<Q> {
    origin: Instant,
    options: Options,
    policy: Box<dyn Policy>,
    queue: Queue,
    queries: Queries<Q>,
    fleet: Fleet,
    contracts: Contracts,
    hedges: HedgeBudget,
    arrived_size: u64,
    bytes: usize,
    wait_until: Option<At>,
    tally: Tally,
    log: Log,
}

impl<Q> Batcher<Q> {
    /// An empty batcher; no event may be earlier than `origin`.
    #[must_use]
    pub fn new(origin: Instant, options: Options, policy: Box<dyn Policy>) -> Self {
        Batcher {
            origin,
            policy,
            queue: Queue::default(),
            queries: Queries::default(),
            fleet: Fleet::default(),
            contracts: Contracts::default(),
            hedges: hedges(&options),
            options,
            arrived_size: 0,
            bytes: 0,
            wait_until: None,
            tally: Tally::default(),
            log: Log::default(),
        }
    }

    /// Queries that wait.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.queue.rows()
    }

    /// Queries that have had no outcome.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queries.len()
    }

    /// Whether every query had its outcome.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// Whether any replica may take batches.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.fleet.serving() > 0
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &dyn Policy {
        self.policy.as_ref()
    }

    /// Guarantees an application so many queries a second, or nothing any more.
    pub fn set_guarantee(&mut self, now: Instant, application: usize, rate: Option<f64>) {
        let now = self.at(now);
        self.contracts.set(now, application, rate);
    }

    /// Adds a query. Poll afterwards.
    ///
    /// # Errors
    /// Gives it back if nobody could answer it, or its bytes have no room.
    pub fn push(
        &mut self,
        now: Instant,
        query: Q,
        arrival: Arrival,
        actions: &mut Actions<Q>,
    ) -> Result<Key, Returned<Q>> {
        if let Some(cause) = self.refusal(now, &arrival) {
            return Err(Returned::new(query, cause));
        }
        if self.queue.rows() >= self.options.rows_max {
            self.shed_oldest(actions);
        }
        let now = self.at(now);
        let cost = arrival.cost.max(1);
        self.arrived_size += u64::from(cost);
        self.tally.arrived += 1;
        self.bytes += arrival.bytes;
        let key = self.queries.add(Held {
            query,
            deadline: self.at(arrival.deadline),
            arrival: now,
            application: arrival.application,
            in_contract: self
                .contracts
                .admits(now, arrival.application, arrival.priority),
            cost,
            bytes: arrival.bytes,
            queued: false,
            in_flight: 0,
            failed_over: false,
        });
        self.enqueue(key);
        Ok(key)
    }

    /// A query, unless it had its outcome.
    #[must_use]
    pub fn query(&self, key: Key) -> Option<&Q> {
        self.queries.get(key).map(|held| &held.query)
    }

    /// Takes a query out: its deadline passed, or its client left. Copies of it are dropped.
    pub fn withdraw(&mut self, key: Key) -> Option<Q> {
        self.take(key).map(|held| held.query)
    }

    /// The queries of a batch that a replica has, by row; `None` for those that had their
    /// outcome since.
    pub fn batch(
        &self,
        replica: ReplicaId,
        number: BatchNumber,
    ) -> impl Iterator<Item = Option<&Q>> {
        let place = self.fleet.place(replica);
        let replica = place.and_then(|place| self.fleet.at(place));
        let mut flights = replica.into_iter().flat_map(|one| &one.flights);
        let flight = flights.find(|flight| flight.number == number);
        let rows = flight.into_iter().flat_map(|flight| &flight.rows);
        rows.map(|row| self.query(row.key))
    }

    /// A replica is ready, and takes batches on these terms.
    pub fn replica_joined(&mut self, id: ReplicaId, terms: Terms) {
        let place = self.fleet.add(id, terms);
        self.policy.replica_joined(place, terms.max_batch.max(1));
    }

    /// A replica takes no further batches. What it has not begun is asked back, if another may
    /// take it.
    pub fn replica_draining(&mut self, now: Instant, id: ReplicaId, actions: &mut Actions<Q>) {
        let now = self.at(now);
        self.fleet.drain(id);
        if !self.is_serving() {
            self.drain(Cause::NoReplica, actions);
        } else if let Some(place) = self.fleet.place(id) {
            self.take_back(place, now, actions);
        }
    }

    /// A replica is gone. Its queries are queued again if they may be asked twice.
    pub fn replica_left(&mut self, now: Instant, id: ReplicaId, actions: &mut Actions<Q>) {
        let now = self.at(now);
        let again = if self.options.idempotent {
            Again::Once
        } else {
            Again::Never
        };
        let cause = Cause::ReplicaLost;
        if let Some(place) = self.fleet.place(id) {
            self.policy.replica_left(place);
        }
        let replica = self.fleet.remove(id);
        let flights = replica.iter().flat_map(|one| &one.flights);
        for row in flights.flat_map(|flight| &flight.rows) {
            self.leave_flight(row.key, now, again, cause, actions);
        }
        if !self.is_serving() {
            self.drain(Cause::ReplicaLost, actions);
        }
    }

    /// Sizes batches by another policy from now on; what was learned is forgotten.
    pub fn set_policy(&mut self, options: Options, mut policy: Box<dyn Policy>) {
        for (place, _) in self.fleet.replicas() {
            policy.replica_joined(place, self.fleet.rows_max(place));
        }
        self.hedges = hedges(&options);
        self.options = options;
        self.policy = policy;
    }

    /// What a replica is doing, and how many batches it has.
    #[must_use]
    pub fn replica(&self, now: Instant, id: ReplicaId) -> Option<(ReplicaState, usize)> {
        let replica = self.fleet.at(self.fleet.place(id)?)?;
        Some((replica.state(self.at(now)), replica.flights.len()))
    }

    /// What it has done since it was made.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The last dispatches, oldest first.
    pub fn explained(&self) -> impl Iterator<Item = &Explained> {
        self.log.iter()
    }

    /// Gives back everything that waits.
    pub fn drain(&mut self, cause: Cause, actions: &mut Actions<Q>) {
        while let Some(item) = self.queue.pop(Class::Any) {
            self.give_back_queued(item.key, cause, None, actions);
        }
    }

    /// A replica's batch ended. Poll afterwards.
    pub fn batch_ended(
        &mut self,
        now: Instant,
        id: ReplicaId,
        number: BatchNumber,
        ended: Ended,
        actions: &mut Actions<Q>,
    ) {
        let now = self.at(now);
        let Some(place) = self.fleet.place(id) else {
            return;
        };
        let Some(flight) = self.fleet.land(place, number, now) else {
            return;
        };
        let (again, cause) = match ended {
            Ended::Answered { compute } => {
                self.answered(now, place, &flight, compute.as_secs_f64(), actions);
                return self.fleet.recycle(place, flight);
            }
            Ended::Failed => {
                self.fleet.failed(place, now);
                (Again::Never, Cause::ModelError)
            }
            Ended::Expired => (Again::Never, Cause::ExpiredModel),
            Ended::Cancelled => (Again::Unasked, Cause::ReplicaLost),
        };
        for row in &flight.rows {
            self.leave_flight(row.key, now, again, cause, actions);
        }
        self.fleet.recycle(place, flight);
    }

    /// Does what can be done by now.
    pub fn poll(&mut self, now: Instant, actions: &mut Actions<Q>) {
        let now = self.at(now);
        self.wait_until = None;
        self.expire(now, actions);
        self.hedge(now);
        self.send_to_idle(now, actions);
        while self.queue.is_empty() && self.relieve(now, actions) {
            self.send_to_idle(now, actions);
        }
        self.send_ahead(now, actions);
        actions.wake_at = self.wake_at(now).map(|at| self.instant(at));
    }

    fn answered(
        &mut self,
        now: At,
        place: usize,
        flight: &Flight,
        compute: f64,
        actions: &mut Actions<Q>,
    ) {
        self.fleet.answered(place);
        let latency = self.observe(now, place, flight, compute);
        let usual = flight.predicted.max(1e-9);
        let is_straggler = flight.predicted > 0.0 && latency > STRAGGLER * usual;
        self.fleet.count_straggler(place, is_straggler);
        let excess = now.since(flight.started) - compute - self.transport(place);
        let mut late_rows = 0;
        for (row, held) in flight.rows.iter().enumerate() {
            let late = now.since(held.deadline);
            late_rows += usize::from(late > 0.0);
            let Some(Held { query, .. }) = self.take(held.key) else {
                self.tally.rows_wasted += 1;
                continue;
            };
            self.tally.hedges_won += u64::from(held.is_copy);
            match late {
                late if late <= 0.0 => self.tally.in_time += 1,
                _ if is_straggler => self.tally.late[LateBy::Straggler as usize] += 1,
                late if late <= excess => self.tally.late[LateBy::Transport as usize] += 1,
                _ => self.tally.late[LateBy::Margin as usize] += 1,
            }
            actions.answered.push(Answered { query, row });
        }
        self.log.ended(flight.number, latency, flight.predicted);
        self.policy.completed(&Done {
            now,
            replica: place,
            rows: flight.rows.len(),
            size: flight.size,
            latency,
            late_rows,
            bound: flight.bound,
            objective: flight.objective,
        });
    }

    /// Seconds that a batch would have taken from sending it to its reply, also if it was sent
    /// ahead; and how much of that was the transport's.
    fn observe(&mut self, now: At, place: usize, flight: &Flight, compute: f64) -> f64 {
        let latency = now.since(flight.started);
        let Some(replica) = self.fleet.at_mut(place) else {
            return latency;
        };
        if flight.ahead {
            return latency.max(compute + replica.transport());
        }
        replica.learn_transport(latency - compute);
        latency
    }

    fn transport(&self, place: usize) -> f64 {
        self.fleet.at(place).map_or(0.0, |one| one.transport())
    }

    /// Takes a query out of a batch without an answer: it stays if a copy is elsewhere, is
    /// queued again if it may, or is given back.
    fn leave_flight(
        &mut self,
        key: Key,
        now: At,
        again: Again,
        cause: Cause,
        actions: &mut Actions<Q>,
    ) {
        let serving = self.is_serving();
        let Some(held) = self.queries.get_mut(key) else {
            return;
        };
        held.in_flight -= 1;
        if held.queued || held.in_flight > 0 {
            return;
        }
        let may = match again {
            Again::Never => false,
            Again::Once => !held.failed_over,
            Again::Unasked => true,
        };
        if may && serving && held.deadline > now {
            held.failed_over |= again == Again::Once;
            self.enqueue(key);
        } else if let Some(held) = self.take(key) {
            actions.given_back.push(Returned::new(held.query, cause));
        }
    }

    fn expire(&mut self, now: At, actions: &mut Actions<Q>) {
        let before = self.tally.expired;
        let due = |item: &Item| item.deadline <= now;
        let mut objective = 0.0_f64;
        while let Some(item) = self.queue.pop_if(Class::Any, due) {
            objective = objective.max(item.deadline.since(item.arrival));
            let given = self.give_back_queued(item.key, Cause::ExpiredQueue, None, actions);
            self.tally.expired += u64::from(given);
        }
        if self.tally.expired > before {
            self.policy.expired(now, objective);
        }
    }

    #[cold]
    fn shed_oldest(&mut self, actions: &mut Actions<Q>) {
        if let Some(item) = self.queue.pop(Class::Any) {
            self.give_back_queued(item.key, Cause::Shed, Some(ShedBy::Door), actions);
        }
    }

    /// Gives back a query that has left the queue, unless it is in flight as well.
    fn give_back_queued(
        &mut self,
        key: Key,
        cause: Cause,
        shed_by: Option<ShedBy>,
        actions: &mut Actions<Q>,
    ) -> bool {
        let Some(held) = self.queries.get_mut(key) else {
            return false;
        };
        held.queued = false;
        if held.in_flight > 0 {
            return false;
        }
        let held = self.take(key).expect("it was just there");
        if let Some(by) = shed_by {
            self.tally.shed[by as usize] += 1;
        }
        actions.given_back.push(Returned {
            query: held.query,
            cause,
            shed_by,
        });
        true
    }

    fn enqueue(&mut self, key: Key) {
        let held = self
            .queries
            .get_mut(key)
            .expect("only what is held is queued");
        held.queued = true;
        let item = Item {
            deadline: held.deadline,
            arrival: held.arrival,
            cost: held.cost,
            key,
        };
        self.queue.push(held.application, held.in_contract, item);
    }

    fn take(&mut self, key: Key) -> Option<Held<Q>> {
        let held = self.queries.take(key)?;
        self.bytes -= held.bytes;
        Some(held)
    }

    fn refusal(&self, now: Instant, arrival: &Arrival) -> Option<Cause> {
        if arrival.deadline <= now {
            Some(Cause::ExpiredQueue)
        } else if !self.is_serving() {
            Some(Cause::NoReplica)
        } else if self.bytes.saturating_add(arrival.bytes) > self.options.bytes_max {
            Some(Cause::QueueFull)
        } else {
            None
        }
    }

    /// The next time at which something is due without an event.
    fn wake_at(&self, now: At) -> Option<At> {
        let head = self.queue.head().map(|item| item.deadline);
        let retry = head.and_then(|_| self.fleet.next_retry(now));
        let relief = self.fleet.next_relief(now);
        let times = [self.wait_until, relief, head, retry];
        times.into_iter().flatten().min()
    }

    fn at(&self, instant: Instant) -> At {
        let since = instant.saturating_duration_since(self.origin);
        At::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX >> 1))
    }

    /// The time of something in a report.
    #[must_use]
    pub fn instant(&self, at: At) -> Instant {
        self.origin + std::time::Duration::from_nanos(at.nanos())
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub fn check_invariants(&self) {
        self.queue.check_invariants();
        self.queries.check_invariants();
        self.fleet.check_invariants();
        assert!(
            self.is_serving() || self.queue.is_empty(),
            "nothing waits for nobody"
        );
    }

    /// Panics if, by the last poll at `now`, a replica is idle while a query waits.
    pub fn check_work_conserving(&self, now: Instant) {
        let now = self.at(now);
        let idle = self.fleet.idle(now, |_| 0.0);
        assert!(
            idle.is_none() || self.queue.is_empty(),
            "a query waits beside an idle replica"
        );
    }
}

/// Copies need a query that may be asked twice.
fn hedges(options: &Options) -> HedgeBudget {
    HedgeBudget::new(if options.idempotent {
        options.hedge_share
    } else {
        0.0
    })
}

#[cfg(test)]
mod tests;
