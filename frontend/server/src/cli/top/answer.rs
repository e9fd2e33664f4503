//! What `GET /api/v1/load` answers, as far as the view reads it.
//!
//! Counts are sums since the application, the version or the replica came, so that two answers
//! give what happened between them. Fields that came later than the route may be absent.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Counts by name of cause.
pub(super) type Counts = BTreeMap<String, u64>;

/// An answer.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Load {
    /// Another process begins with new counts.
    pub(super) pid: u32,
    pub(super) applications: Vec<Application>,
    pub(super) versions: Vec<Version>,
}

/// What an application answered.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Application {
    pub(super) name: String,
    pub(super) latency_slo_micros: u64,
    pub(super) linked_models: Vec<String>,
    pub(super) in_time: u64,
    pub(super) late: u64,
    pub(super) default_by_cause: Counts,
    pub(super) query_seconds: Times,
}

/// Times, by size.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Times {
    /// The upper edge of each bucket but the last, ascending.
    pub(super) edges: Vec<f64>,
    /// One more than edges.
    pub(super) counts: Vec<u64>,
}

/// A version with its queue and replicas.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Version {
    pub(super) model: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) current: bool,
    pub(super) policy: Option<String>,
    pub(super) objective_seconds: Option<f64>,
    pub(super) queue: Queue,
    pub(super) learned: Option<Learned>,
    pub(super) capacity: Option<Capacity>,
    pub(super) tally: Tally,
    pub(super) replicas: Vec<Replica>,
}

/// What waits.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Queue {
    pub(super) queries: u64,
    pub(super) head_age_seconds: Option<f64>,
}

/// What was learned of a version's latency.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Learned {
    pub(super) alpha_seconds: f64,
    pub(super) beta_seconds: f64,
    pub(super) margin: f64,
    pub(super) quantile: f64,
}

/// What its replicas bear.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Capacity {
    pub(super) queries_per_second: f64,
    pub(super) rows: u64,
    pub(super) headroom: Option<f64>,
}

/// What was done with a version's queries.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Tally {
    pub(super) arrived: u64,
    pub(super) in_time: u64,
    pub(super) late_by: Counts,
    pub(super) shed_by: Counts,
    pub(super) expired: u64,
    pub(super) batches: u64,
    pub(super) rows: u64,
    pub(super) hedged: u64,
    pub(super) hedges_won: u64,
    pub(super) rows_wasted: u64,
}

/// A connected replica.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Replica {
    pub(super) id: u64,
    pub(super) state: String,
    #[serde(default)]
    pub(super) transport: Option<String>,
    pub(super) slowness: f64,
    pub(super) busy_seconds: f64,
    pub(super) in_flight: u64,
    pub(super) in_flight_age_seconds: Option<f64>,
    pub(super) transport_seconds: f64,
    pub(super) stragglers: u64,
}
