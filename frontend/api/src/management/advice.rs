//! What the models of an application bear, as JSON shows it.
//!
//! Scripts rely on these shapes: fields are added, never renamed or removed.

use std::time::Duration;

use serde::Serialize;
use skysail_core::Name;
use skysail_core::batching::advice::{Advice, Latency, SAFE_SHARE};
use skysail_core::batching::{Capacity, Situation};
use skysail_core::registry::Application;
use skysail_engine::Standing;

use super::lanes::Known;

/// Advice on the models of an application.
#[derive(Debug, Serialize)]
pub(super) struct TuneView {
    application: Name,
    objective_seconds: f64,
    /// Versions that have replicas, or are current.
    versions: Vec<VersionView>,
}

#[derive(Debug, Serialize)]
struct VersionView {
    model: Name,
    version: Name,
    /// Whether it is the current one.
    current: bool,
    /// Nothing before the first batch, without a replica, or under a policy that does not learn.
    advice: Option<AdviceView>,
}

#[derive(Debug, Serialize)]
struct AdviceView {
    /// Of all applications of the model.
    arriving_per_second: f64,
    capacity: CapacityView,
    /// The rate up to which bursts are borne too.
    safe_per_second: f64,
    /// What keeps the capacity from being larger: `slo`, `container_rows_max`, `size_max`,
    /// `allowed_sizes` or `replicas`.
    binding: &'static str,
    /// In different situations.
    what_if: Vec<WhatIfView>,
    /// The least objective that bears the arrivals safely, and the fewest replicas that do.
    needed: NeededView,
    /// Of a query alone.
    alone: LatencyView,
    /// Of a batch at capacity.
    batch: Option<LatencyView>,
    /// Whether such batches are far beyond what was seen.
    extrapolated: bool,
    known: KnownView,
}

#[derive(Debug, Serialize)]
struct CapacityView {
    queries_per_second: f64,
    rows: usize,
}

/// A situation that is not there: one of these differs.
#[derive(Debug, Serialize)]
struct WhatIfView {
    replicas: usize,
    objective_seconds: f64,
    rows_max: usize,
    capacity: CapacityView,
}

#[derive(Debug, Serialize)]
struct NeededView {
    objective_seconds: Option<f64>,
    replicas: Option<usize>,
}

#[derive(Debug, Serialize)]
struct LatencyView {
    typical_seconds: f64,
    /// As it is planned with.
    cautious_seconds: f64,
}

/// What the advice goes by: enough to simulate it.
#[derive(Debug, Serialize)]
struct KnownView {
    /// A batch takes `alpha + beta size` on a replica of slowness 1.
    alpha_seconds: f64,
    beta_seconds: f64,
    /// Sizes, each with the factor on that which was observed; none if it is 1 everywhere.
    factors: Vec<(f64, f64)>,
    margin: f64,
    /// The share of batches by latency over the typical one, with the upper edge of each.
    residuals: Vec<(f64, f64)>,
    /// Slowness of each replica.
    replicas: Vec<f64>,
    rows_max: usize,
    /// Mean size of a query.
    cost_mean: f64,
}

impl TuneView {
    /// Advice on the versions in `standings` of an application.
    pub(super) fn of(application: &Application, standings: &[Standing], known: &Known) -> TuneView {
        let objective = application.slo();
        let versions = standings.iter().filter(|one| {
            let linked = application.linked_models.contains(&one.model);
            linked && (!one.report.replicas.is_empty() || known.is_current(one))
        });
        TuneView {
            application: application.name.clone(),
            objective_seconds: objective.as_secs_f64(),
            versions: versions
                .map(|one| VersionView::of(one, known.is_current(one), objective))
                .collect(),
        }
    }
}

impl VersionView {
    fn of(standing: &Standing, current: bool, objective: Duration) -> VersionView {
        let situation = standing.situation(objective);
        VersionView {
            model: standing.model.clone(),
            version: standing.version.clone(),
            current,
            advice: situation.as_ref().map(AdviceView::of),
        }
    }
}

impl AdviceView {
    fn of(situation: &Situation<'_>) -> AdviceView {
        let arriving = situation.arriving();
        let advice = situation.advice(arriving);
        AdviceView {
            arriving_per_second: arriving,
            capacity: CapacityView::of(advice.capacity),
            safe_per_second: SAFE_SHARE * advice.capacity.rate,
            binding: advice.binding.name(),
            what_if: what_if(situation, &advice),
            needed: NeededView {
                objective_seconds: advice.objective_needed,
                replicas: advice.replicas_needed,
            },
            alone: LatencyView::of(advice.alone),
            batch: advice.batch.map(LatencyView::of),
            extrapolated: advice.extrapolated,
            known: KnownView::of(situation),
        }
    }
}

fn what_if(situation: &Situation<'_>, advice: &Advice) -> Vec<WhatIfView> {
    let count = situation.replicas.len();
    let view = |replicas, objective_seconds, rows_max, capacity| WhatIfView {
        replicas,
        objective_seconds,
        rows_max,
        capacity: CapacityView::of(capacity),
    };
    let (objective, rows_max) = (situation.objective, situation.rows_limit());
    let mut all = vec![view(count + 1, objective, rows_max, advice.replica_more)];
    if count > 1 {
        all.push(view(count - 1, objective, rows_max, advice.replica_less));
    }
    let looser = advice.looser.iter();
    all.extend(looser.map(|(objective, bears)| view(count, *objective, rows_max, *bears)));
    let (larger, bears) = advice.larger;
    all.push(view(count, objective, larger, bears));
    all
}

impl CapacityView {
    fn of(capacity: Capacity) -> CapacityView {
        CapacityView {
            queries_per_second: capacity.rate,
            rows: capacity.rows,
        }
    }
}

impl LatencyView {
    fn of(latency: Latency) -> LatencyView {
        LatencyView {
            typical_seconds: latency.typical,
            cautious_seconds: latency.cautious,
        }
    }
}

impl KnownView {
    fn of(situation: &Situation<'_>) -> KnownView {
        let learned = situation.learned;
        let residuals = learned.residuals.iter().copied();
        KnownView {
            alpha_seconds: learned.curve.alpha,
            beta_seconds: learned.curve.beta,
            factors: learned.curve.factors().collect(),
            margin: learned.margin,
            residuals: residuals.filter(|(_, share)| *share > 0.0).collect(),
            replicas: situation.replicas.clone(),
            rows_max: situation.rows_limit(),
            cost_mean: situation.cost_mean,
        }
    }
}
