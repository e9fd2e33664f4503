//! How versions stand and what applications answered, as JSON shows it.
//!
//! Scripts rely on these shapes: fields are added, never renamed or removed. Counts are sums
//! since the version, the replica or the application came, so that a reader takes differences.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use skysail_core::Name;
use skysail_core::batching::{Explained, LateBy, Learned, ReplicaReport, ShedBy, Tally};
use skysail_core::registry::{Application, Batching, Registry};
use skysail_engine::{Counts, Engine, ReplicaStatus, Standing};

use crate::Frontend;

/// What is known of versions and replicas beside what the engine's batching tells.
pub(super) struct Known {
    registry: Arc<Registry>,
    replicas: Vec<ReplicaStatus>,
}

/// What an application answered.
#[derive(Debug, Serialize)]
pub(super) struct AnswersView {
    name: Name,
    latency_slo_micros: u64,
    linked_models: Vec<Name>,
    in_time: u64,
    late: u64,
    default_by_cause: BTreeMap<&'static str, u64>,
    query_seconds: TimesView,
}

/// Times, by size.
#[derive(Debug, Serialize)]
struct TimesView {
    /// The upper edge of each bucket but the last.
    edges: Vec<f64>,
    /// One more than edges.
    counts: Vec<u64>,
}

/// A version with its queue and replicas.
#[derive(Debug, Serialize)]
pub(super) struct LaneView {
    model: Name,
    version: Name,
    /// Whether it is the version of its model that answers.
    current: bool,
    /// `adaptive`, `aimd` or `fixed`; nothing if the version is not registered.
    policy: Option<&'static str>,
    /// The least objective of the applications that are linked to its model.
    objective_seconds: Option<f64>,
    queue: QueueView,
    /// Nothing under a policy that does not learn.
    learned: Option<LearnedView>,
    /// Nothing before the first batch, or without a replica or an objective.
    capacity: Option<CapacityView>,
    tally: TallyView,
    replicas: Vec<LaneReplicaView>,
}

#[derive(Debug, Serialize)]
struct QueueView {
    queries: usize,
    /// Since the oldest of them came.
    head_age_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct LearnedView {
    /// A batch takes `alpha + beta size` on an average replica; the size is that of its queries in
    /// the unit of the version's `cost`.
    alpha_seconds: f64,
    beta_seconds: f64,
    /// Latency that is planned with over the typical one.
    margin: f64,
    /// Share of batches that the margin covers.
    quantile: f64,
    /// How much waiting for company is allowed, 0 to 1.
    patience: f64,
    /// The largest batch that was answered.
    rows_seen: f64,
    /// Mean size of a query.
    cost_mean: f64,
    queries_per_second: f64,
}

#[derive(Debug, Serialize)]
struct CapacityView {
    queries_per_second: f64,
    /// Rows of the batches at that rate.
    rows: usize,
    /// Share of it that the arrivals leave; negative beyond it.
    headroom: Option<f64>,
}

#[derive(Debug, Serialize)]
struct TallyView {
    arrived: u64,
    in_time: u64,
    late_by: BTreeMap<&'static str, u64>,
    shed_by: BTreeMap<&'static str, u64>,
    expired: u64,
    batches: u64,
    rows: u64,
    batches_ahead: u64,
    batches_cancelled: u64,
    hedged: u64,
    hedges_won: u64,
    rows_wasted: u64,
}

#[derive(Debug, Serialize)]
struct LaneReplicaView {
    id: u64,
    state: &'static str,
    /// What carries its batches, as `status` says; nothing in the moment in which it leaves.
    transport: Option<&'static str>,
    rows_max: usize,
    /// Its latency over that of the version's shape: 2 takes twice as long.
    slowness: f64,
    busy_seconds: f64,
    /// Batches that it has.
    in_flight: usize,
    /// Since the one that it computes was sent.
    in_flight_age_seconds: Option<f64>,
    /// Of a latency what is not the model's.
    transport_seconds: f64,
    stragglers: u64,
}

/// A version with its last dispatches.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedView {
    #[serde(flatten)]
    lane: LaneView,
    /// The oldest first.
    dispatches: Vec<DispatchView>,
}

#[derive(Debug, Serialize)]
struct DispatchView {
    number: u64,
    /// Since it was sent.
    age_seconds: f64,
    replica: u64,
    /// Queries that waited when it was decided.
    queued: usize,
    /// What the first of them had waited, and had left.
    head_wait_seconds: f64,
    head_slack_seconds: f64,
    /// Queries given up for it.
    shed: u32,
    /// The size that was decided.
    size: f64,
    /// What limited it: `queue`, `rows_max`, `slow_start`, `slack` or `fixed`.
    limit: &'static str,
    rows: usize,
    /// Whether it was sent to a replica about to end another.
    ahead: bool,
    predicted_seconds: f64,
    /// The same with the margin.
    cautious_seconds: f64,
    /// Nothing before it is answered.
    actual_seconds: Option<f64>,
}

impl Known {
    /// What `frontend` has registered and connected.
    pub(super) fn of(frontend: &Frontend) -> Known {
        Known {
            registry: frontend.control.registry(),
            replicas: frontend.engine.replicas(),
        }
    }

    pub(super) fn is_current(&self, standing: &Standing) -> bool {
        let model = self.registry.models.get(&standing.model);
        model.is_some_and(|model| model.current.as_ref() == Some(&standing.version))
    }

    fn transport(&self, replica: &ReplicaReport) -> Option<&'static str> {
        let mut replicas = self.replicas.iter();
        let found = replicas.find(|one| one.id == replica.id.0)?;
        Some(found.transport)
    }
}

impl AnswersView {
    /// What an application answered; nothing in the moment before its queries find it.
    pub(super) fn of(application: &Application, engine: &Engine) -> Option<AnswersView> {
        let counts = engine.route(application.name.as_str())?.counts();
        let defaults = counts.defaults.iter();
        Some(AnswersView {
            name: application.name.clone(),
            latency_slo_micros: application.latency_slo_micros,
            linked_models: application.linked_models.clone(),
            in_time: counts.in_time,
            late: counts.late,
            default_by_cause: defaults
                .map(|(cause, count)| (cause.name(), *count))
                .collect(),
            query_seconds: TimesView::of(&counts),
        })
    }
}

impl TimesView {
    fn of(counts: &Counts) -> TimesView {
        let (mut edges, counts): (Vec<_>, Vec<_>) = counts.seconds.buckets.iter().copied().unzip();
        edges.retain(|edge| edge.is_finite());
        TimesView { edges, counts }
    }
}

impl LaneView {
    /// A version as the engine tells it.
    pub(super) fn of(standing: &Standing, known: &Known) -> LaneView {
        let report = &standing.report;
        let policy = standing.batching.as_ref().map(|batching| match batching {
            Batching::Adaptive(_) => "adaptive",
            Batching::Aimd { .. } => "aimd",
            Batching::Fixed { .. } => "fixed",
            _ => "unknown",
        });
        let replicas = report.replicas.iter();
        let replicas = replicas.map(|one| LaneReplicaView::of(one, known));
        LaneView {
            model: standing.model.clone(),
            version: standing.version.clone(),
            current: known.is_current(standing),
            policy,
            objective_seconds: standing.objective.map(|one| one.as_secs_f64()),
            queue: QueueView {
                queries: report.queued,
                head_age_seconds: report.head_age,
            },
            learned: report
                .learned
                .as_ref()
                .map(|learned| LearnedView::of(learned, report.cost_mean)),
            capacity: standing.capacity().map(|bears| CapacityView {
                queries_per_second: bears.rate,
                rows: bears.rows,
                headroom: standing.headroom(),
            }),
            tally: TallyView::of(&report.tally),
            replicas: replicas.collect(),
        }
    }
}

impl LearnedView {
    fn of(learned: &Learned, cost_mean: f64) -> LearnedView {
        LearnedView {
            alpha_seconds: learned.alpha,
            beta_seconds: learned.beta,
            margin: learned.margin,
            quantile: learned.quantile,
            patience: learned.patience,
            rows_seen: learned.seen,
            cost_mean,
            queries_per_second: learned.rate / cost_mean,
        }
    }
}

impl TallyView {
    fn of(tally: &Tally) -> TallyView {
        let (late, shed) = (
            LateBy::ALL.iter().zip(tally.late),
            ShedBy::ALL.iter().zip(tally.shed),
        );
        TallyView {
            arrived: tally.arrived,
            in_time: tally.in_time,
            late_by: late.map(|(by, count)| (by.name(), count)).collect(),
            shed_by: shed.map(|(by, count)| (by.name(), count)).collect(),
            expired: tally.expired,
            batches: tally.batches,
            rows: tally.rows,
            batches_ahead: tally.ahead,
            batches_cancelled: tally.cancelled,
            hedged: tally.hedged,
            hedges_won: tally.hedges_won,
            rows_wasted: tally.rows_wasted,
        }
    }
}

impl LaneReplicaView {
    fn of(replica: &ReplicaReport, known: &Known) -> LaneReplicaView {
        LaneReplicaView {
            id: replica.id.0,
            state: replica.state.name(),
            transport: known.transport(replica),
            rows_max: replica.rows_max,
            slowness: replica.slowness,
            busy_seconds: replica.busy_seconds,
            in_flight: replica.in_flight,
            in_flight_age_seconds: replica.in_flight_age,
            transport_seconds: replica.transport,
            stragglers: replica.stragglers,
        }
    }
}

impl ExplainedView {
    /// A version with its last dispatches.
    pub(super) fn of(standing: &Standing, known: &Known) -> ExplainedView {
        let dispatches = standing.explained.iter();
        ExplainedView {
            lane: LaneView::of(standing, known),
            dispatches: dispatches
                .map(|(age, dispatch)| DispatchView::of(*age, dispatch))
                .collect(),
        }
    }
}

impl DispatchView {
    fn of(age: Duration, dispatch: &Explained) -> DispatchView {
        DispatchView {
            number: dispatch.number.0,
            age_seconds: age.as_secs_f64(),
            replica: dispatch.replica.0,
            queued: dispatch.queued,
            head_wait_seconds: dispatch.head_wait,
            head_slack_seconds: dispatch.head_slack,
            shed: dispatch.shed,
            // A policy of a mere size has no limit but rows: JSON knows no infinity.
            size: dispatch.size.min(f64::from(u32::MAX)),
            limit: dispatch.limit.name(),
            rows: dispatch.rows,
            ahead: dispatch.ahead,
            predicted_seconds: dispatch.predicted,
            cautious_seconds: dispatch.cautious,
            actual_seconds: dispatch.actual,
        }
    }
}
