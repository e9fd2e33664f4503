//! The state of a batcher, for people and metrics.

use super::super::policy::Learned;
use super::super::tally::{Spread, Tally};
use super::{Batcher, Instant, ReplicaId};
use crate::replica::ReplicaState;

/// A batcher at a moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// Queries that wait.
    pub queued: usize,
    /// Seconds since the first of them came.
    pub head_age: Option<f64>,
    /// Mean size of the queries that came; 1 before the first.
    pub cost_mean: f64,
    /// By place.
    pub replicas: Vec<ReplicaReport>,
    /// What the policy has learned, if it learns.
    pub learned: Option<Learned>,
    /// Sums since the batcher was made.
    pub tally: Tally,
    /// How its dispatches were spread.
    pub spread: Spread,
}

/// A replica at a moment.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaReport {
    /// Which.
    pub id: ReplicaId,
    /// What it is doing.
    pub state: ReplicaState,
    /// Most rows of a batch, as its container said.
    pub rows_max: usize,
    /// Batches that it has.
    pub in_flight: usize,
    /// Seconds since the one that it computes was sent.
    pub in_flight_age: Option<f64>,
    /// Slowness: 2 takes twice as long as the shape says. 1 under a policy that does not learn.
    pub slowness: f64,
    /// Seconds of a latency that are not the model's.
    pub transport: f64,
    /// Seconds with a batch, since it joined.
    pub busy_seconds: f64,
    /// Batches several times slower than predicted, since it joined.
    pub stragglers: u64,
}

impl<Q> Batcher<Q> {
    /// How it stands.
    #[must_use]
    pub fn report(&self, now: Instant) -> Report {
        let now = self.at(now);
        let learned = self.policy.learned(now);
        let slowness = learned.as_ref().map(|learned| learned.slowness.as_slice());
        let replica = |(place, one): (usize, &super::super::fleet::Replica)| {
            let age = one.flights.front().map(|first| now.since(first.started));
            let slowness = slowness.and_then(|all| all.get(place)).copied();
            ReplicaReport {
                id: one.id,
                state: one.state(now),
                rows_max: self.fleet.rows_max(place),
                in_flight: one.flights.len(),
                in_flight_age: age,
                slowness: slowness.unwrap_or(1.0),
                transport: one.transport(),
                busy_seconds: one.busy_seconds + age.unwrap_or(0.0),
                stragglers: one.stragglers,
            }
        };
        Report {
            queued: self.queue.rows(),
            head_age: self.queue.head().map(|head| now.since(head.arrival)),
            cost_mean: match self.tally.arrived {
                0 => 1.0,
                arrived => self.arrived_size as f64 / arrived as f64,
            },
            replicas: self.fleet.replicas().map(replica).collect(),
            tally: self.tally,
            spread: self.log.spread().clone(),
            learned,
        }
    }
}
