//! Everything that decides about the queries of one model version.
//!
//! ```text
//!   push ──► queue ──► next ──► Batch to a replica with a free slot
//!               │        ├────► Wait until the batch fills up, or a paused replica returns
//!               │        └────► Idle
//!               └─► expired, refused, drained: given back with their cause
//! ```
//!
//! # Invariants
//! - Every query pushed leaves exactly once: in a batch, or given back with a cause.
//! - A batch has at least one query, none expired, at most what its replica takes.
//! - With no waiting asked for, an idle healthy replica and a waiting query never coexist
//!   after [`Lane::next`] said [`Next::Idle`].

use std::time::{Duration, Instant};

use crate::Cause;
use crate::queue::{DeadlineQueue, Queued};
use crate::registry::Batching;
use crate::replica::{BatchEnd, ReplicaId, ReplicaState, Replicas, Terms};

/// A query in a lane.
pub trait LaneQuery: Queued {
    /// When it came.
    fn arrival(&self) -> Instant;
}

/// Queue and replicas of one version.
#[derive(Debug)]
pub struct Lane<Q> {
    queue: DeadlineQueue<Q>,
    replicas: Replicas,
    /// Empty, for the batches to come.
    spare: Vec<Vec<Q>>,
}

/// Lists of queries that are kept for batches to come: about as many as are in flight.
const SPARE_MAX: usize = 64;

/// What to do next.
#[derive(Debug)]
pub enum Next<Q> {
    /// Send these queries to this replica.
    Batch {
        /// To whom.
        replica: ReplicaId,
        /// In the order of their deadlines; at least one.
        queries: Vec<Q>,
    },
    /// Ask again at this time, or after the next event.
    Wait(Instant),
    /// Nothing until the next event.
    Idle,
}

/// A query that is given back without an answer.
#[derive(Debug)]
pub struct GivenBack<Q> {
    /// Which.
    pub query: Q,
    /// Why.
    pub cause: Cause,
}

impl<Q: LaneQuery> Default for Lane<Q> {
    fn default() -> Self {
        Lane {
            queue: DeadlineQueue::default(),
            replicas: Replicas::default(),
            spare: Vec::new(),
        }
    }
}

impl<Q: LaneQuery> Lane<Q> {
    /// Queries that wait.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Whether any replica may take batches.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.replicas.any_serving()
    }

    /// What a replica is doing, and how many batches it has.
    #[must_use]
    pub fn replica(&self, now: Instant, id: ReplicaId) -> Option<(ReplicaState, usize)> {
        Some((self.replicas.state(now, id)?, self.replicas.in_flight(id)))
    }

    /// Adds a query.
    ///
    /// # Errors
    /// Gives it back if there is no replica, or the queue is full of queries that have time.
    pub fn push(&mut self, now: Instant, query: Q) -> Result<(), GivenBack<Q>> {
        if query.deadline() <= now {
            return Err(GivenBack {
                query,
                cause: Cause::ExpiredQueue,
            });
        }
        if !self.is_serving() {
            return Err(GivenBack {
                query,
                cause: Cause::NoReplica,
            });
        }
        self.queue.push(query).map_err(|query| GivenBack {
            query,
            cause: Cause::QueueFull,
        })
    }

    /// Takes a query whose deadline has passed, if there is one.
    pub fn take_expired(&mut self, now: Instant) -> Option<Q> {
        self.queue.take_expired(now)
    }

    /// Forms the next batch. Expired queries are given to `expired` first, so that they
    /// neither size nor fill a batch.
    pub fn next(&mut self, now: Instant, expired: &mut Vec<Q>) -> Next<Q> {
        expired.extend(std::iter::from_fn(|| self.queue.take_expired(now)));
        if self.queue.is_empty() {
            return Next::Idle;
        }
        let Some((replica, sizer)) = self.replicas.idle(now) else {
            return self.replicas.next_retry(now).map_or(Next::Idle, Next::Wait);
        };
        let (size_max, wait) = (sizer.size_max(), sizer.wait_max());
        if self.queue.len() < size_max
            && let Some(until) = self.fill_until(wait).filter(|until| *until > now)
        {
            return Next::Wait(until);
        }
        let size = size_max.min(self.queue.len());
        let mut queries = self.spare.pop().unwrap_or_default();
        queries.extend(std::iter::from_fn(|| self.queue.take()).take(size));
        self.replicas.started(replica);
        Next::Batch { replica, queries }
    }

    /// A replica is ready.
    pub fn replica_joined(&mut self, id: ReplicaId, terms: Terms, batching: &Batching) {
        self.replicas.add(id, terms, batching);
    }

    /// Sizes batches by another rule from now on.
    pub fn set_batching(&mut self, batching: &Batching) {
        self.replicas.set_batching(batching);
    }

    /// A replica takes no further batches. Gives back what waits if it was the last.
    pub fn replica_draining(&mut self, id: ReplicaId) -> Vec<GivenBack<Q>> {
        self.replicas.drain(id);
        self.give_back_if_unserved(Cause::NoReplica)
    }

    /// A replica is gone, with whatever it had. Gives back what waits if it was the last.
    pub fn replica_left(&mut self, id: ReplicaId) -> Vec<GivenBack<Q>> {
        self.replicas.remove(id);
        self.give_back_if_unserved(Cause::ReplicaLost)
    }

    /// Takes back a list that a batch came in, to use it again.
    pub fn recycle(&mut self, mut queries: Vec<Q>) {
        queries.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(queries);
        }
    }

    /// A batch of a replica ended.
    pub fn batch_ended(&mut self, now: Instant, id: ReplicaId, end: BatchEnd) {
        self.replicas.ended(now, id, end);
    }

    /// Gives back everything that waits.
    pub fn drain(&mut self, cause: Cause) -> Vec<GivenBack<Q>> {
        let all = std::iter::from_fn(|| self.queue.take());
        all.map(|query| GivenBack { query, cause }).collect()
    }

    fn give_back_if_unserved(&mut self, cause: Cause) -> Vec<GivenBack<Q>> {
        if self.is_serving() {
            Vec::new()
        } else {
            self.drain(cause)
        }
    }

    /// Until when a batch that is not full may wait: for the first query's sake at most half
    /// of the time it has.
    fn fill_until(&self, wait: Duration) -> Option<Instant> {
        if wait.is_zero() {
            return None;
        }
        let first = self.queue.peek()?;
        let budget = first.deadline().saturating_duration_since(first.arrival()) / 2;
        Some(first.arrival() + wait.min(budget))
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub fn check_invariants(&self) {
        self.replicas.check_invariants();
        assert!(
            self.is_serving() || self.queue.is_empty(),
            "nothing waits for nobody"
        );
    }
}

#[cfg(test)]
mod tests;
