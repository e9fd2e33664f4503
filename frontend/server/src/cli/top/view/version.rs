//! Versions and replicas in an interval.

use serde::Serialize;

use super::{Health, Rates};
use crate::cli::top::answer::{Replica, Version};
use crate::cli::top::since::Since;

/// Headroom below which a version is close to its capacity.
const HEADROOM_CLOSE: f64 = 0.1;
/// A replica is told apart from here on: so many times as slow as the fastest of its version.
const SLOWNESS_CLOSE: f64 = 2.0;

/// A version in the interval.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct VersionView {
    pub(in super::super) model: String,
    pub(in super::super) version: String,
    pub(in super::super) current: bool,
    pub(in super::super) policy: Option<String>,
    pub(in super::super) objective_seconds: Option<f64>,
    /// At the end of the interval.
    pub(in super::super) queue: QueueView,
    pub(in super::super) per_second: VersionRates,
    /// Rows of a batch, on average; nothing where there was none.
    pub(in super::super) batch_rows_mean: Option<f64>,
    /// Nothing under a policy that does not learn.
    pub(in super::super) learned: Option<LearnedView>,
    /// Nothing before the first batch, or without a replica or an objective.
    pub(in super::super) capacity: Option<CapacityView>,
    pub(in super::super) replicas: Vec<ReplicaView>,
}

/// What waits.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct QueueView {
    pub(in super::super) queries: u64,
    /// Since the oldest of them came.
    pub(in super::super) head_age_seconds: Option<f64>,
}

/// What was done with a version's queries, a second.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct VersionRates {
    pub(in super::super) arrived: f64,
    pub(in super::super) in_time: f64,
    pub(in super::super) late_by: Rates,
    pub(in super::super) shed_by: Rates,
    /// Queries whose deadline passed while they waited.
    pub(in super::super) expired: f64,
    pub(in super::super) batches: f64,
    /// Queries asked of another replica as well.
    pub(in super::super) hedged: f64,
    pub(in super::super) hedges_won: f64,
    pub(in super::super) rows_wasted: f64,
}

/// What was learned of its latency.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct LearnedView {
    /// A batch takes `alpha + beta rows` on an average replica.
    pub(in super::super) alpha_seconds: f64,
    pub(in super::super) beta_seconds: f64,
    /// Latency that is planned with over the typical one.
    pub(in super::super) margin: f64,
    /// Share of batches that the margin covers.
    pub(in super::super) quantile: f64,
}

/// What its replicas bear.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct CapacityView {
    pub(in super::super) queries_per_second: f64,
    pub(in super::super) rows: u64,
    /// Share of it that the arrivals leave; negative beyond it.
    pub(in super::super) headroom: Option<f64>,
}

/// A replica in the interval.
#[derive(Clone, Debug, Serialize)]
pub(in super::super) struct ReplicaView {
    pub(in super::super) id: u64,
    pub(in super::super) state: String,
    pub(in super::super) transport: Option<String>,
    /// Its latency over that of the version's shape: 2 takes twice as long.
    pub(in super::super) slowness: f64,
    /// Share of the interval with a batch.
    pub(in super::super) busy_share: f64,
    pub(in super::super) in_flight: u64,
    /// Since the batch that it computes was sent.
    pub(in super::super) in_flight_age_seconds: Option<f64>,
    /// Of a latency what is not the model's.
    pub(in super::super) transport_seconds: f64,
    /// Batches several times slower than predicted, since it joined.
    pub(in super::super) stragglers: u64,
    pub(in super::super) stragglers_per_second: f64,
    /// Whether it is much slower than another of its version.
    #[serde(skip)]
    pub(in super::super) is_slow: bool,
}

/// The counts of a version that only grow.
pub(super) fn sums(one: &Version) -> Vec<u64> {
    let tally = &one.tally;
    let causes = tally.late_by.values().chain(tally.shed_by.values());
    let counts = [
        tally.arrived,
        tally.in_time,
        tally.expired,
        tally.batches,
        tally.rows,
        tally.hedged,
    ];
    counts.into_iter().chain(causes.copied()).collect()
}

impl VersionView {
    pub(super) fn of(since: &Since<'_, Version>, seconds: f64) -> VersionView {
        let now = since.after;
        let slowness = now.replicas.iter().map(|one| one.slowness);
        let slow = SLOWNESS_CLOSE * slowness.fold(f64::INFINITY, f64::min);
        let batches = since.count(|one| one.tally.batches);
        let rows = since.count(|one| one.tally.rows);
        let replica = |one: &Replica| {
            let mut then = since.before.iter().flat_map(|before| &before.replicas);
            let then = then.find(|then| then.id == one.id);
            let since = Since::new(then, one, seconds, |one| vec![one.stragglers]);
            ReplicaView::of(&since, one.slowness >= slow)
        };
        VersionView {
            model: now.model.clone(),
            version: now.version.clone(),
            current: now.current,
            policy: now.policy.clone(),
            objective_seconds: now.objective_seconds,
            queue: QueueView {
                queries: now.queue.queries,
                head_age_seconds: now.queue.head_age_seconds,
            },
            per_second: VersionRates::of(since),
            batch_rows_mean: (batches > 0).then(|| rows as f64 / batches as f64),
            learned: now.learned.as_ref().map(|learned| LearnedView {
                alpha_seconds: learned.alpha_seconds,
                beta_seconds: learned.beta_seconds,
                margin: learned.margin,
                quantile: learned.quantile,
            }),
            capacity: now.capacity.as_ref().map(|capacity| CapacityView {
                queries_per_second: capacity.queries_per_second,
                rows: capacity.rows,
                headroom: capacity.headroom,
            }),
            replicas: now.replicas.iter().map(replica).collect(),
        }
    }

    /// `MODEL:VERSION`.
    pub(in super::super) fn name(&self) -> String {
        format!("{}:{}", self.model, self.version)
    }

    /// The share of the capacity that the arrivals leave.
    pub(in super::super) fn headroom(&self) -> Option<f64> {
        self.capacity.as_ref()?.headroom
    }

    /// Whether not even a batch of one is within the objective.
    pub(in super::super) fn bears_nothing(&self) -> bool {
        let capacity = self.capacity.as_ref();
        capacity.is_some_and(|bears| bears.queries_per_second <= 0.0)
    }

    /// Whether its replicas bear what arrives.
    pub(in super::super) fn health(&self) -> Health {
        let is_asked = self.per_second.arrived > 0.0 || self.queue.queries > 0;
        match self.headroom() {
            _ if is_asked && (self.replicas.is_empty() || self.bears_nothing()) => Health::Bad,
            Some(headroom) if headroom < 0.0 => Health::Bad,
            Some(headroom) if headroom < HEADROOM_CLOSE => Health::Close,
            _ => Health::Good,
        }
    }
}

impl VersionRates {
    fn of(since: &Since<'_, Version>) -> VersionRates {
        VersionRates {
            arrived: since.rate(|one| one.tally.arrived),
            in_time: since.rate(|one| one.tally.in_time),
            late_by: since.rates(|one| &one.tally.late_by),
            shed_by: since.rates(|one| &one.tally.shed_by),
            expired: since.rate(|one| one.tally.expired),
            batches: since.rate(|one| one.tally.batches),
            hedged: since.rate(|one| one.tally.hedged),
            hedges_won: since.rate(|one| one.tally.hedges_won),
            rows_wasted: since.rate(|one| one.tally.rows_wasted),
        }
    }
}

impl ReplicaView {
    fn of(since: &Since<'_, Replica>, is_slow: bool) -> ReplicaView {
        let now = since.after;
        ReplicaView {
            id: now.id,
            state: now.state.clone(),
            transport: now.transport.clone(),
            slowness: now.slowness,
            busy_share: since.share(|one| one.busy_seconds),
            in_flight: now.in_flight,
            in_flight_age_seconds: now.in_flight_age_seconds,
            transport_seconds: now.transport_seconds,
            stragglers: now.stragglers,
            stragglers_per_second: since.rate(|one| one.stragglers),
            is_slow,
        }
    }

    /// Whether it does its part.
    pub(in super::super) fn health(&self) -> Health {
        if self.state == "suspect" {
            Health::Bad
        } else if self.state != "ready" || self.is_slow {
            Health::Close
        } else {
            Health::Good
        }
    }
}
