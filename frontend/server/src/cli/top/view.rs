//! What happened between two answers of the API: rates, shares and quantiles.
//!
//! Pure: [`View::between`] takes two answers and the time between them. The view is also what
//! `--json` prints, so fields are added, never renamed or removed.
//!
//! An application, a version or a replica that was not there before, or whose counts went down,
//! is new: all its counts are of this interval. So is everything of another process.

mod version;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::answer::{Application, Load};
use super::since::Since;
use super::spread::Spread;
pub(super) use version::{LearnedView, ReplicaView, VersionView};

/// Share of queries that are to be in time: the objective is that of the 99th percentile.
const IN_TIME_WANTED: f64 = 0.99;

/// How things stand, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// As it should be.
    Good,
    /// Nothing is lost yet.
    Close,
    /// Queries miss their objective.
    Bad,
}

/// One interval.
#[derive(Clone, Debug, Serialize)]
pub(super) struct View {
    pub(super) pid: u32,
    pub(super) interval_seconds: f64,
    pub(super) applications: Vec<ApplicationView>,
    pub(super) versions: Vec<VersionView>,
}

/// Rates by name of cause.
pub(super) type Rates = BTreeMap<String, f64>;

/// An application in the interval.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ApplicationView {
    pub(super) name: String,
    pub(super) linked_models: Vec<String>,
    pub(super) slo_seconds: f64,
    pub(super) per_second: AnswerRates,
    /// Of all queries that were answered; nothing where there were none.
    pub(super) in_time_share: Option<f64>,
    pub(super) p50_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
}

/// Answers a second.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AnswerRates {
    /// All of them.
    pub(super) offered: f64,
    /// Predictions within the objective.
    pub(super) in_time: f64,
    /// Predictions after it.
    pub(super) late: f64,
    pub(super) default: f64,
    pub(super) default_by_cause: Rates,
}

/// Sums over all applications and versions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) offered: f64,
    pub(super) in_time: f64,
    pub(super) late: f64,
    pub(super) default: f64,
    pub(super) queued: u64,
    pub(super) replicas: usize,
    /// Applications whose objective does not hold.
    pub(super) missing: usize,
}

impl View {
    /// What came to `after` in the time `elapsed` since `before`.
    pub(super) fn between(before: &Load, after: &Load, elapsed: Duration) -> View {
        let seconds = elapsed.as_secs_f64();
        let before = Some(before).filter(|before| before.pid == after.pid);
        let application = |one: &Application| {
            let mut then = before.iter().flat_map(|load| &load.applications);
            let then = then.find(|then| then.name == one.name);
            ApplicationView::of(&Since::new(then, one, seconds, sums))
        };
        let version = |one: &super::answer::Version| {
            let mut then = before.iter().flat_map(|load| &load.versions);
            let then = then.find(|then| (&then.model, &then.version) == (&one.model, &one.version));
            VersionView::of(&Since::new(then, one, seconds, version::sums), seconds)
        };
        View {
            pid: after.pid,
            interval_seconds: seconds,
            applications: after.applications.iter().map(application).collect(),
            versions: after.versions.iter().map(version).collect(),
        }
    }

    /// Sums over all.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for one in &self.applications {
            totals.offered += one.per_second.offered;
            totals.in_time += one.per_second.in_time;
            totals.late += one.per_second.late;
            totals.default += one.per_second.default;
            totals.missing += usize::from(one.health() == Health::Bad);
        }
        for one in &self.versions {
            totals.queued += one.queue.queries;
            totals.replicas += one.replicas.len();
        }
        totals
    }
}

/// The counts of an application that only grow.
fn sums(one: &Application) -> Vec<u64> {
    let causes = one.default_by_cause.values().copied();
    let times = one.query_seconds.counts.iter().copied();
    [one.in_time, one.late]
        .into_iter()
        .chain(causes)
        .chain(times)
        .collect()
}

impl ApplicationView {
    fn of(since: &Since<'_, Application>) -> ApplicationView {
        let (in_time, late) = (since.count(|one| one.in_time), since.count(|one| one.late));
        let defaults = since.count(|one| one.default_by_cause.values().sum());
        let offered = in_time + late + defaults;
        let slo_seconds = since.after.latency_slo_micros as f64 / 1e6;
        let times = since.before.map(|before| &before.query_seconds);
        let spread = Spread::between(times, &since.after.query_seconds);
        let quantile = |share| {
            let found = spread.quantile(share)?;
            // Buckets are wide; that nothing was late says more where the objective is in one.
            let is_within = late == 0 && found.least < slo_seconds;
            Some(if is_within {
                found.seconds.min(slo_seconds)
            } else {
                found.seconds
            })
        };
        ApplicationView {
            name: since.after.name.clone(),
            linked_models: since.after.linked_models.clone(),
            slo_seconds,
            per_second: AnswerRates {
                offered: since.rate(|one| one.in_time + one.late) + since.rate(all_defaults),
                in_time: since.rate(|one| one.in_time),
                late: since.rate(|one| one.late),
                default: since.rate(all_defaults),
                default_by_cause: since.rates(|one| &one.default_by_cause),
            },
            in_time_share: (offered > 0).then(|| in_time as f64 / offered as f64),
            p50_seconds: quantile(0.5),
            p99_seconds: quantile(0.99),
        }
    }

    /// Whether its objective holds.
    pub(super) fn health(&self) -> Health {
        if self.is_short() || self.is_slow() {
            Health::Bad
        } else {
            Health::Good
        }
    }

    /// Whether too few are in time.
    pub(super) fn is_short(&self) -> bool {
        self.in_time_share
            .is_some_and(|share| share < IN_TIME_WANTED)
    }

    /// Whether the 99th percentile is beyond the objective.
    pub(super) fn is_slow(&self) -> bool {
        self.p99_seconds.is_some_and(|p99| p99 > self.slo_seconds)
    }
}

fn all_defaults(one: &Application) -> u64 {
    one.default_by_cause.values().sum()
}

#[cfg(test)]
pub(super) mod tests;
