//! Every metric: its name, its unit, its labels.
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `skysail_queries_total` | app, outcome, cause | queries answered; outcome `prediction` or `default`; the cause of a prediction is empty, or `late` after the objective |
//! | `skysail_query_seconds` | app | from the last byte of the query to its answer |
//! | `skysail_batch_rows` | model, version | rows of each batch that came back |
//! | `skysail_batch_seconds` | model, version | from sending a batch to its reply |
//! | `skysail_compute_seconds` | model, version | time inside the model, as the container says |
//! | `skysail_replicas` | model, version | connected replicas |
//! | `skysail_row_log_rows_held` | model, version | rows of queries that a query or a container still has |
//! | `skysail_cache_lookups_total` | model, version, result | `hit`, `joined`, `miss` |
//! | `skysail_batches_failed_total` | model, version, reason | batches without predictions |
//! | `skysail_sessions_ended_total` | reason | container sessions that ended |
//! | `skysail_http_responses_total` | port, status | HTTP responses |
//!
//! Of each version's batcher ([`lanes`](crate::lanes)); those with a replica begin with
//! `skysail_replica_`:
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `skysail_lane_queries_arrived_total` | model, version | queries that went to its queue |
//! | `skysail_lane_queries_in_time_total` | model, version | of them, those answered by their deadline |
//! | `skysail_lane_queries_late_total` | model, version, cause | those answered later: `margin`, `straggler`, `transport` |
//! | `skysail_lane_queries_shed_total` | model, version, rule | those given up: `hopeless`, `window`, `contract`, `door` |
//! | `skysail_lane_queries_expired_total` | model, version | those that expired while they waited |
//! | `skysail_lane_queries_hedged_total` | model, version | those asked twice because their batch was unusually late |
//! | `skysail_lane_hedges_won_total` | model, version | copies that were answered first |
//! | `skysail_lane_rows_sent_total` | model, version | rows sent in batches |
//! | `skysail_lane_rows_wasted_total` | model, version | rows computed for queries that had their outcome |
//! | `skysail_lane_batches_sent_total` | model, version | batches sent |
//! | `skysail_lane_batches_ahead_total` | model, version | of them, those sent to a replica about to end another |
//! | `skysail_lane_batches_cancelled_total` | model, version | batches asked back |
//! | `skysail_queue_queries` | model, version | queries that wait for a replica |
//! | `skysail_queue_head_age_seconds` | model, version | since the oldest of them came; 0 if none waits |
//! | `skysail_lane_queries_per_second` | model, version | queries that arrive |
//! | `skysail_lane_capacity_per_second` | model, version | queries that its replicas bear within the least objective of its applications |
//! | `skysail_lane_headroom_ratio` | model, version | share of the capacity that is left; negative beyond it |
//! | `skysail_lane_alpha_seconds`, `skysail_lane_beta_seconds` | model, version | latency of a batch as learned: `alpha + beta rows` |
//! | `skysail_lane_margin_ratio` | model, version | latency that is planned with over the typical one |
//! | `skysail_lane_quantile_ratio` | model, version | share of batches that the margin covers |
//! | `skysail_lane_patience_ratio` | model, version | how much waiting for company is allowed |
//! | `skysail_lane_wait_seconds` | model, version | wait of the first query of each batch when it was sent |
//! | `skysail_lane_slack_seconds` | model, version | time that it had left |
//! | `skysail_lane_prediction_ratio` | model, version | time of each batch over the predicted one |
//! | `skysail_replica_busy_seconds_total` | model, version, replica | time with a batch |
//! | `skysail_replica_stragglers_total` | model, version, replica | batches several times slower than predicted |
//! | `skysail_replica_slowness_ratio` | model, version, replica | latency over that of the version's shape |
//! | `skysail_replica_in_flight_seconds` | model, version, replica | since the batch that it computes was sent; 0 if none |
//! | `skysail_replica_transport_seconds` | model, version, replica | time of a latency that is not the model's |
//!
//! What only policies that learn know, and capacity and headroom, have no series before the first
//! batch or without an application.

use std::sync::{Arc, Mutex};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::lanes::{LaneReading, Lanes};
use crate::rows::Rows;
use crate::times::Times;

/// Content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Results of a lookup in the cache.
const LOOKUPS: [&str; 3] = ["hit", "joined", "miss"];
/// The cause of a prediction after the objective.
const LATE: &str = "late";
/// Reasons for a batch without predictions.
const FAILURES: [&str; 2] = ["model_error", "replica_lost"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfQuery {
    app: String,
    outcome: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfApp {
    app: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfVersion {
    model: String,
    version: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfLookup {
    model: String,
    version: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfFailure {
    model: String,
    version: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfResponse {
    port: &'static str,
    status: u16,
}

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    queries: Family<OfQuery, Counter>,
    query_seconds: Family<OfApp, Times>,
    batch_rows: Family<OfVersion, Rows>,
    batch_seconds: Family<OfVersion, Times>,
    compute_seconds: Family<OfVersion, Times>,
    replicas: Family<OfVersion, Gauge>,
    row_log_rows_held: Family<OfVersion, Gauge>,
    cache_lookups: Family<OfLookup, Counter>,
    batches_failed: Family<OfFailure, Counter>,
    sessions_ended: Family<OfReason, Counter>,
    http_responses: Family<OfResponse, Counter>,
    lanes: Arc<Lanes>,
}

/// Handles of one application.
#[derive(Clone, Debug)]
pub struct AppMetrics {
    /// Queries answered with a prediction, within the objective.
    pub in_time: Counter,
    /// Queries answered with a prediction later.
    pub late: Counter,
    /// Queries answered with the default, in the order of the causes given.
    pub defaults: Vec<Counter>,
    /// From the last byte of a query to its answer.
    pub seconds: Times,
}

/// Handles of one version.
#[derive(Clone, Debug)]
pub struct ModelMetrics {
    /// Rows of each batch that came back.
    pub batch_rows: Rows,
    /// From sending a batch to its reply.
    pub batch_seconds: Times,
    /// Time inside the model.
    pub compute_seconds: Times,
    /// Connected replicas.
    pub replicas: Gauge,
    /// Rows that a query, or a container, still has; set before the text is read.
    pub row_log_rows_held: Gauge,
    /// Lookups answered from the cache.
    pub cache_hits: Counter,
    /// Lookups that joined a query being asked.
    pub cache_joins: Counter,
    /// Lookups that were asked.
    pub cache_misses: Counter,
    /// Batches that the model failed.
    pub failed_model_error: Counter,
    /// Batches whose replica was lost.
    pub failed_replica_lost: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Metrics {
            registry: Mutex::new(Registry::with_prefix("skysail")),
            queries: Family::default(),
            query_seconds: Family::default(),
            batch_rows: Family::default(),
            batch_seconds: Family::default(),
            compute_seconds: Family::default(),
            replicas: Family::default(),
            row_log_rows_held: Family::default(),
            cache_lookups: Family::default(),
            batches_failed: Family::default(),
            sessions_ended: Family::default(),
            http_responses: Family::default(),
            lanes: Arc::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.lock();
        registry.register("queries", "Queries answered", self.queries.clone());
        registry.register("replicas", "Connected replicas", self.replicas.clone());
        registry.register(
            "row_log_rows_held",
            "Rows of queries that a query or a container still has",
            self.row_log_rows_held.clone(),
        );
        registry.register("batch_rows", "Rows of each batch", self.batch_rows.clone());
        registry.register(
            "cache_lookups",
            "Lookups in the cache",
            self.cache_lookups.clone(),
        );
        registry.register(
            "batches_failed",
            "Batches not predicted",
            self.batches_failed.clone(),
        );
        registry.register(
            "sessions_ended",
            "Sessions that ended",
            self.sessions_ended.clone(),
        );
        registry.register(
            "http_responses",
            "HTTP responses",
            self.http_responses.clone(),
        );
        let (query, batch) = (self.query_seconds.clone(), self.batch_seconds.clone());
        let from_body = "From the last byte of a query to its answer";
        registry.register_with_unit("query", from_body, Unit::Seconds, query);
        registry.register_with_unit("batch", "From batch to reply", Unit::Seconds, batch);
        let compute = self.compute_seconds.clone();
        registry.register_with_unit("compute", "Time inside the model", Unit::Seconds, compute);
        registry.register_collector(Box::new(self.lanes.clone()));
    }

    /// Handles of an application whose defaults have these causes.
    #[must_use]
    pub fn app(&self, app: &str, causes: impl IntoIterator<Item = &'static str>) -> AppMetrics {
        let counter = |outcome, cause| {
            self.queries.get_or_create_owned(&OfQuery {
                app: app.to_owned(),
                outcome,
                cause,
            })
        };
        AppMetrics {
            in_time: counter("prediction", ""),
            late: counter("prediction", LATE),
            defaults: causes
                .into_iter()
                .map(|cause| counter("default", cause))
                .collect(),
            seconds: self.query_seconds.get_or_create_owned(&OfApp {
                app: app.to_owned(),
            }),
        }
    }

    /// Handles of a version.
    #[must_use]
    pub fn model(&self, model: &str, version: &str) -> ModelMetrics {
        let (model, version) = (model.to_owned(), version.to_owned());
        let labels = OfVersion {
            model: model.clone(),
            version: version.clone(),
        };
        let lookups = |result| {
            let (model, version) = (model.clone(), version.clone());
            self.cache_lookups.get_or_create_owned(&OfLookup {
                model,
                version,
                result,
            })
        };
        let failed = |reason| {
            let (model, version) = (model.clone(), version.clone());
            self.batches_failed.get_or_create_owned(&OfFailure {
                model,
                version,
                reason,
            })
        };
        ModelMetrics {
            batch_rows: self.batch_rows.get_or_create_owned(&labels),
            batch_seconds: self.batch_seconds.get_or_create_owned(&labels),
            compute_seconds: self.compute_seconds.get_or_create_owned(&labels),
            replicas: self.replicas.get_or_create_owned(&labels),
            row_log_rows_held: self.row_log_rows_held.get_or_create_owned(&labels),
            cache_hits: lookups(LOOKUPS[0]),
            cache_joins: lookups(LOOKUPS[1]),
            cache_misses: lookups(LOOKUPS[2]),
            failed_model_error: failed(FAILURES[0]),
            failed_replica_lost: failed(FAILURES[1]),
        }
    }

    /// Drops the series of an application that is no longer registered.
    pub fn forget_app(&self, app: &str, causes: impl IntoIterator<Item = &'static str>) {
        let of = |outcome, cause| OfQuery {
            app: app.to_owned(),
            outcome,
            cause,
        };
        self.queries.remove(&of("prediction", ""));
        self.queries.remove(&of("prediction", LATE));
        for cause in causes {
            self.queries.remove(&of("default", cause));
        }
        self.query_seconds.remove(&OfApp {
            app: app.to_owned(),
        });
    }

    /// Drops the series of a version that is neither registered nor served.
    pub fn forget_model(&self, model: &str, version: &str) {
        let (model, version) = (model.to_owned(), version.to_owned());
        let labels = OfVersion {
            model: model.clone(),
            version: version.clone(),
        };
        self.batch_rows.remove(&labels);
        self.batch_seconds.remove(&labels);
        self.compute_seconds.remove(&labels);
        self.replicas.remove(&labels);
        self.row_log_rows_held.remove(&labels);
        for result in LOOKUPS {
            let (model, version) = (model.clone(), version.clone());
            self.cache_lookups.remove(&OfLookup {
                model,
                version,
                result,
            });
        }
        for reason in FAILURES {
            let (model, version) = (model.clone(), version.clone());
            self.batches_failed.remove(&OfFailure {
                model,
                version,
                reason,
            });
        }
    }

    /// A container session ended.
    pub fn session_ended(&self, reason: &'static str) {
        self.sessions_ended
            .get_or_create(&OfReason { reason })
            .inc();
    }

    /// The counter of HTTP responses of one status on one port.
    #[must_use]
    pub fn http_responses(&self, port: &'static str, status: u16) -> Counter {
        self.http_responses
            .get_or_create_owned(&OfResponse { port, status })
    }

    /// Replaces the readings of versions that the next text shows.
    pub fn show_lanes(&self, readings: Vec<LaneReading>) {
        self.lanes.show(readings);
    }

    /// Everything, as OpenMetrics text, which Prometheus reads.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.lock()).expect("a string takes everything");
        text
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_metric_stands_in_the_table() {
        let metrics = Metrics::default();
        let _handles = (
            metrics.app("digits", []),
            metrics.model("m", "1"),
            metrics.http_responses("query", 200),
        );
        metrics.session_ended("silent");
        metrics.show_lanes(vec![LaneReading::default()]);
        let text = metrics.text();
        let kinds: Vec<_> = text
            .lines()
            .filter_map(|l| l.strip_prefix("# TYPE "))
            .collect();
        assert!(kinds.len() > 40, "{kinds:?}");
        for kind in kinds {
            let (name, kind) = kind.split_once(' ').expect("a name and a kind");
            let total = if kind == "counter" { "_total" } else { "" };
            let cell = format!("`{name}{total}`");
            let table = include_str!("metrics.rs");
            assert!(
                table.contains(&format!("| {cell}")) || table.contains(&format!(", {cell}")),
                "{cell}"
            );
        }
    }

    #[test]
    fn names_are_those_that_dashboards_rely_on() {
        let metrics = Metrics::default();
        let app = metrics.app("digits", ["no_replica"]);
        app.in_time.inc();
        app.late.inc();
        app.defaults[0].inc_by(2);
        app.seconds.observe(Duration::from_millis(2));
        let model = metrics.model("m", "1");
        model.batch_rows.observe(4);
        model.row_log_rows_held.set(5);
        metrics.session_ended("silent");
        metrics.http_responses("query", 200).inc();
        let text = metrics.text();
        for line in [
            "skysail_queries_total{app=\"digits\",outcome=\"prediction\",cause=\"\"} 1",
            "skysail_queries_total{app=\"digits\",outcome=\"prediction\",cause=\"late\"} 1",
            "skysail_queries_total{app=\"digits\",outcome=\"default\",cause=\"no_replica\"} 2",
            "skysail_query_seconds_count{app=\"digits\"} 1",
            "skysail_query_seconds_sum{app=\"digits\"} 0.002",
            "skysail_batch_rows_sum{model=\"m\",version=\"1\"} 4.0",
            "skysail_row_log_rows_held{model=\"m\",version=\"1\"} 5",
            "skysail_sessions_ended_total{reason=\"silent\"} 1",
            "skysail_http_responses_total{port=\"query\",status=\"200\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_forgotten_leaves_no_series() {
        let metrics = Metrics::default();
        let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        let before = series(&metrics.text());
        metrics.app("digits", ["no_replica"]).defaults[0].inc();
        metrics.model("m", "1").batch_rows.observe(1);
        assert!(series(&metrics.text()) > before);
        metrics.forget_app("digits", ["no_replica"]);
        metrics.forget_model("m", "1");
        assert_eq!(series(&metrics.text()), before);
    }
}
