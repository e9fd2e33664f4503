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

use super::contract::Contracts;
use super::fleet::{Fleet, Flight, Row};
use super::hedge::HedgeBudget;
use super::policy::{Decision, Done, Plan, Policy, ShedBy, View};
use super::queries::{Held, Key, Queries};
use super::queue::{Class, Item, Queue};
use super::time::At;
use crate::Cause;
use crate::queue::QUEUE_BYTES_MAX;
use crate::replica::ReplicaId;

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
            bytes_max: QUEUE_BYTES_MAX,
            hedge_share: 0.05,
            idempotent: true,
        }
    }
}

/// What a batcher must know of an arriving query.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Whose it is: a small index that the caller assigns.
    pub application: usize,
    /// When it must be answered.
    pub deadline: Instant,
    /// What it adds to a batch: 1, or rows, bytes or tokens where inputs differ. At least 1.
    pub cost: u32,
    /// Bytes that it keeps alive.
    pub bytes: usize,
}

/// A batch to send; its queries are told by [`Batcher::batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// To whom.
    pub replica: ReplicaId,
    /// Its queries.
    pub rows: usize,
    /// Rows to pad it to, for compiled shapes.
    pub padded_rows: Option<usize>,
}

/// A query whose answer came.
#[derive(Debug)]
pub struct Answered<Q> {
    /// Which.
    pub query: Q,
    /// Its row in the batch.
    pub row: usize,
}

/// A query that gets no answer.
#[derive(Debug)]
pub struct Returned<Q> {
    /// Which.
    pub query: Q,
    /// Why.
    pub cause: Cause,
    /// Which rule gave it up, if it was shed.
    pub shed_by: Option<ShedBy>,
}

/// What is to be done.
#[derive(Debug)]
pub struct Actions<Q> {
    /// Send these batches.
    pub dispatches: Vec<Dispatch>,
    /// Give these their predictions.
    pub answered: Vec<Answered<Q>>,
    /// Give these their default, at once.
    pub given_back: Vec<Returned<Q>>,
    /// Poll at this time at the latest; replaces what was said before.
    pub wake_at: Option<Instant>,
}

impl<Q> Default for Actions<Q> {
    fn default() -> Self {
        Actions {
            dispatches: Vec::new(),
            answered: Vec::new(),
            given_back: Vec::new(),
            wake_at: None,
        }
    }
}

impl<Q> Actions<Q> {
    /// Empties it, and keeps its room.
    pub fn clear(&mut self) {
        self.dispatches.clear();
        self.answered.clear();
        self.given_back.clear();
        self.wake_at = None;
    }
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer for each row.
    Answered,
    /// The model failed on it.
    Failed,
    /// Never computed: cancelled, or not sent. Its queries are queued again.
    NotComputed,
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
}

impl<Q> Batcher<Q> {
    /// An empty batcher; no event may be earlier than `origin`.
    #[must_use]
    pub fn new(origin: Instant, options: Options, policy: Box<dyn Policy>) -> Self {
        let hedges = HedgeBudget::new(if options.idempotent {
            options.hedge_share
        } else {
            0.0
        });
        Batcher {
            origin,
            options,
            policy,
            queue: Queue::default(),
            queries: Queries::default(),
            fleet: Fleet::default(),
            contracts: Contracts::default(),
            hedges,
            arrived_size: 0,
            bytes: 0,
            wait_until: None,
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
            return Err(returned(query, cause));
        }
        if self.queue.rows() >= self.options.rows_max {
            self.shed_oldest(actions);
        }
        let now = self.at(now);
        let cost = arrival.cost.max(1);
        self.arrived_size += u64::from(cost);
        self.bytes += arrival.bytes;
        let key = self.queries.add(Held {
            query,
            deadline: self.at(arrival.deadline),
            arrival: now,
            application: arrival.application,
            in_contract: self.contracts.admits(now, arrival.application),
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

    /// The queries of the batch that a replica has, by row; `None` for those that had their
    /// outcome since.
    pub fn batch(&self, replica: ReplicaId) -> impl Iterator<Item = Option<&Q>> {
        let place = self.fleet.place(replica);
        let replica = place.and_then(|place| self.fleet.at(place));
        let rows = replica.filter(|one| one.busy).map(|one| &one.flight.rows);
        rows.into_iter().flatten().map(|row| self.query(row.key))
    }

    /// A replica is ready, and takes batches of so many rows.
    pub fn replica_joined(&mut self, id: ReplicaId, rows_max: usize) {
        let place = self.fleet.add(id, rows_max);
        self.policy.replica_joined(place, rows_max.max(1));
    }

    /// A replica takes no further batches.
    pub fn replica_draining(&mut self, id: ReplicaId, actions: &mut Actions<Q>) {
        self.fleet.drain(id);
        self.give_back_if_unserved(Cause::NoReplica, actions);
    }

    /// A replica is gone. Its queries are queued again if they may be asked twice.
    pub fn replica_left(&mut self, now: Instant, id: ReplicaId, actions: &mut Actions<Q>) {
        let now = self.at(now);
        if let Some(replica) = self.fleet.remove(id).filter(|replica| replica.busy) {
            for row in &replica.flight.rows {
                self.leave_flight(
                    row.key,
                    now,
                    self.options.idempotent,
                    Cause::ReplicaLost,
                    actions,
                );
            }
        }
        self.give_back_if_unserved(Cause::ReplicaLost, actions);
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
        ended: Ended,
        actions: &mut Actions<Q>,
    ) {
        let now = self.at(now);
        let Some(place) = self.fleet.place(id) else {
            return;
        };
        let Some(replica) = self.fleet.at_mut(place).filter(|replica| replica.busy) else {
            return;
        };
        replica.busy = false;
        replica.flight.hedge_at = None;
        let flight = std::mem::take(&mut replica.flight);
        match ended {
            Ended::Answered => self.answered(now, place, &flight, actions),
            Ended::Failed => {
                self.fleet.failed(place, now);
                for row in &flight.rows {
                    self.leave_flight(row.key, now, false, Cause::ModelError, actions);
                }
            }
            Ended::NotComputed => {
                for row in &flight.rows {
                    self.leave_flight(row.key, now, true, Cause::ReplicaLost, actions);
                }
            }
        }
        if let Some(replica) = self.fleet.at_mut(place) {
            replica.flight = flight;
        }
    }

    /// Does what can be done by now.
    pub fn poll(&mut self, now: Instant, actions: &mut Actions<Q>) {
        let now = self.at(now);
        self.wait_until = None;
        self.expire(now, actions);
        self.hedge(now);
        while !self.queue.is_empty() {
            let idle = self.fleet.idle(now, |place| self.policy.rank(place));
            if !idle.is_some_and(|place| self.serve(now, place, actions)) {
                break;
            }
        }
        actions.wake_at = self.wake_at(now).map(|at| self.instant(at));
    }

    /// Asks the policy until it sends, waits, or the queue is empty; says whether it sent.
    fn serve(&mut self, now: At, place: usize, actions: &mut Actions<Q>) -> bool {
        loop {
            self.drop_stale();
            if self.queue.is_empty() {
                return false;
            }
            let view = View {
                now,
                queue: &self.queue,
                fleet: &self.fleet,
                replica: place,
                arrived_size: self.arrived_size,
                contracts: self.contracts.any(),
            };
            match self.policy.decide(&view) {
                Decision::Send(plan) => {
                    if self.send(now, place, &plan, actions) {
                        return true;
                    }
                }
                Decision::Wait(until) => {
                    self.wait_until = Some(until);
                    return false;
                }
                Decision::Shed {
                    before,
                    keep_last,
                    by,
                } => {
                    let shed = self.shed(before, keep_last, by, actions);
                    debug_assert!(shed > 0, "a policy that sheds nothing is asked for ever");
                    if shed == 0 {
                        self.shed_oldest(actions);
                    }
                }
            }
        }
    }

    /// Fills a batch; says whether any query was left for it.
    fn send(&mut self, now: At, place: usize, plan: &Plan, actions: &mut Actions<Q>) -> bool {
        let flight = self.fleet.start(place, now);
        fill(&mut self.queue, &mut self.queries, flight, plan);
        let rows = flight.rows.len();
        flight.expected_end = now.after(plan.predicted);
        flight.bound = plan.bound;
        if let Some(padded) = plan.padded_rows.filter(|_| rows > 0) {
            flight.size *= padded.max(rows) as f64 / rows as f64;
        }
        let hedge_after = plan.hedge_after.filter(|_| self.hedges.is_on());
        let hedge_at = hedge_after.map(|seconds| now.after(seconds));
        // Before the first batch nothing is predicted, so nothing is unusual.
        flight.hedge_at = hedge_at.filter(|at| *at > now);
        let replica = self.fleet.at_mut(place).expect("it was just given a batch");
        replica.busy = rows > 0;
        if rows == 0 {
            return false;
        }
        let replica = replica.id;
        self.hedges.earn(rows);
        actions.dispatches.push(Dispatch {
            replica,
            rows,
            padded_rows: plan.padded_rows,
        });
        true
    }

    fn answered(&mut self, now: At, place: usize, flight: &Flight, actions: &mut Actions<Q>) {
        let mut late_rows = 0;
        for (row, Row { key, deadline }) in flight.rows.iter().enumerate() {
            late_rows += usize::from(*deadline < now);
            if let Some(held) = self.take(*key) {
                let query = held.query;
                actions.answered.push(Answered { query, row });
            }
        }
        self.fleet.answered(place);
        self.policy.completed(&Done {
            now,
            replica: place,
            rows: flight.rows.len(),
            size: flight.size,
            latency: now.since(flight.started),
            late_rows,
            bound: flight.bound,
            objective: flight.objective,
        });
    }

    /// Takes a query out of a batch without an answer: it stays if a copy is elsewhere, is
    /// queued again if it may, or is given back.
    fn leave_flight(
        &mut self,
        key: Key,
        now: At,
        again: bool,
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
        if again && serving && !held.failed_over && held.deadline > now {
            held.failed_over = true;
            self.enqueue(key);
        } else if let Some(held) = self.take(key) {
            actions.given_back.push(returned(held.query, cause));
        }
    }

    fn expire(&mut self, now: At, actions: &mut Actions<Q>) {
        let mut any = false;
        let due = |item: &Item| item.deadline <= now;
        while let Some(item) = self.queue.pop_if(Class::Any, due) {
            any |= self.give_back_queued(item.key, Cause::ExpiredQueue, None, actions);
        }
        if any {
            self.policy.expired(now);
        }
    }

    /// Queues copies of what unusually late batches hold, for other replicas.
    fn hedge(&mut self, now: At) {
        while let Some(place) = self.fleet.hedgeable(now) {
            let alone = self.fleet.serving() < 2;
            let replica = self.fleet.at_mut(place).expect("it is in flight");
            replica.flight.hedge_at = None;
            if alone {
                continue;
            }
            let flight = std::mem::take(&mut replica.flight);
            let least = now.after(self.policy.hedge_slack());
            for row in &flight.rows {
                let held = self.queries.get(row.key);
                let useful = held.is_some_and(|held| !held.queued && held.deadline >= least);
                if useful && self.hedges.spend() {
                    self.enqueue(row.key);
                }
            }
            self.fleet.at_mut(place).expect("it is in flight").flight = flight;
        }
    }

    /// Gives up what is due before a time; says how much left the queue.
    fn shed(&mut self, before: At, keep_last: bool, by: ShedBy, actions: &mut Actions<Q>) -> usize {
        let class = match by {
            ShedBy::Contract => Class::OutOfContract,
            _ => Class::Any,
        };
        let rows_before = self.queue.rows();
        let is_due = |item: &Item| item.deadline < before;
        while self.queue.rows() > usize::from(keep_last) {
            let Some(item) = self.queue.pop_if(class, is_due) else {
                break;
            };
            self.give_back_queued(item.key, Cause::Shed, Some(by), actions);
        }
        rows_before - self.queue.rows()
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
        actions.given_back.push(Returned {
            query: held.query,
            cause,
            shed_by,
        });
        true
    }

    fn give_back_if_unserved(&mut self, cause: Cause, actions: &mut Actions<Q>) {
        if !self.is_serving() {
            self.drain(cause, actions);
        }
    }

    /// Drops copies at the head whose query had its outcome.
    fn drop_stale(&mut self) {
        while let Some(item) = self.queue.head() {
            if self.queries.get(item.key).is_some() {
                break;
            }
            self.queue.pop(Class::Any);
        }
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
        let times = [self.wait_until, self.fleet.next_hedge(), head, retry];
        times.into_iter().flatten().min()
    }

    fn at(&self, instant: Instant) -> At {
        let since = instant.saturating_duration_since(self.origin);
        At::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX >> 1))
    }

    fn instant(&self, at: At) -> Instant {
        self.origin + std::time::Duration::from_nanos(at.nanos())
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub fn check_invariants(&self) {
        self.queue.check_invariants();
        self.queries.check_invariants();
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

/// Moves queries from the queue to a batch.
fn fill<Q>(queue: &mut Queue, queries: &mut Queries<Q>, flight: &mut Flight, plan: &Plan) {
    flight.size = 0.0;
    flight.objective = f64::INFINITY;
    let classes: &[Class] = if plan.contract_first {
        &[Class::InContract, Class::OutOfContract]
    } else {
        &[Class::Any]
    };
    for class in classes {
        let has_room = |flight: &Flight, item: &Item| {
            let size = flight.size + f64::from(item.cost);
            let fits = flight.rows.len() < plan.rows_max && size <= plan.size_max;
            fits || flight.rows.is_empty()
        };
        while let Some(item) = queue.pop_if(*class, |item| has_room(flight, item)) {
            let Some(held) = queries.get_mut(item.key) else {
                continue;
            };
            held.queued = false;
            held.in_flight += 1;
            flight.size += f64::from(item.cost);
            flight.objective = flight.objective.min(item.deadline.since(item.arrival));
            flight.rows.push(Row {
                key: item.key,
                deadline: item.deadline,
            });
        }
    }
}

fn returned<Q>(query: Q, cause: Cause) -> Returned<Q> {
    Returned {
        query,
        cause,
        shed_by: None,
    }
}

#[cfg(test)]
mod tests;
