//! `GET /metrics` of the query port: Clipper's metrics, or those of Prometheus where it asks.
//!
//! Clipper's answer is an object of four lists, each value a string. The figures are those that
//! the management port shows to Prometheus, under Clipper's names:
//!
//! | kind | names | from |
//! |---|---|---|
//! | `counters` | `app:A:num_predictions` | answers, defaults among them |
//! | | `model:M:V:num_predictions` | rows that came back from its replicas |
//! | | `internal:aggregate_num_predictions` | queries asked of models, by the cache or a replica |
//! | | `internal:prediction_cache_lookups` | lookups |
//! | `ratio_counters` | `app:A:default_prediction_ratio` | defaults among the answers |
//! | | `model:M:V:cache_hit_ratio`, `internal:prediction_cache_hit_ratio` | hits among the lookups |
//! | `meters` | `app:A:prediction_throughput` | answers |
//! | | `model:M:V:prediction_throughput`, `internal:aggregate_model_throughput` | rows that came back |
//! | `histograms` | `app:A:prediction_latency` | from the last byte of a query to its answer |
//! | | `model:M:V:prediction_latency` | round trips of batches |
//! | | `model:M:V:batch_size` | rows of batches |
//! | | `internal:rpc_request_queueing_delay` | wait of the first query of each batch |
//!
//! Sums over applications or versions are of those that exist now. A ratio of nothing is `nan`.
//! Percentiles and the like are estimated from buckets ([`summary`]). Meters are fed by one
//! task every 5 s from the first reading on ([`meter`]), so that a front end that nobody asks
//! does no work for them; what came before counts as spread evenly.

mod meter;
mod summary;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hyper::StatusCode;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use skysail_core::Name;
use skysail_engine::{Counts, Standing, VersionCounts};
use skysail_monitor::lanes::HistogramReading;
use skysail_monitor::metrics;

use crate::frontend::Frontend;
use crate::query::reply::{self, Reply};
use meter::{Meter, TICK};
use summary::{Summary, Values};

/// Microseconds in the unit of our histograms.
const MICROS: f64 = 1e6;
/// The types of text that Prometheus asks for.
const TEXT_TYPES: [&str; 2] = ["text/plain", "application/openmetrics-text"];

/// Answers `GET /metrics`. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ClipperMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    frontend: Arc<Frontend>,
    meters: Mutex<Meters>,
}

/// The meters, by name.
#[derive(Debug)]
struct Meters {
    /// Whether the task that feeds them runs.
    is_begun: bool,
    fed_at: Instant,
    by_name: BTreeMap<String, Metered>,
    /// Of all versions; it loses nothing when one goes.
    throughput: Meter,
}

#[derive(Debug)]
struct Metered {
    meter: Meter,
    /// Events that were seen.
    counted: u64,
}

/// What everything shows at one time.
struct Figures {
    apps: Vec<(Name, Counts)>,
    versions: Vec<VersionCounts>,
}

impl ClipperMetrics {
    pub(super) fn new(frontend: Arc<Frontend>) -> ClipperMetrics {
        let now = now();
        ClipperMetrics(Arc::new(Inner {
            frontend,
            meters: Mutex::new(Meters {
                is_begun: false,
                fed_at: now,
                by_name: BTreeMap::new(),
                throughput: Meter::new(now),
            }),
        }))
    }

    /// Answers in the way that the headers ask for.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Reply {
        if wants_text(headers) {
            let text = self.0.frontend.engine.metrics_text();
            let mut reply = reply::json(StatusCode::OK, text);
            let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
            reply.headers_mut().insert(CONTENT_TYPE, kind);
            return reply;
        }
        self.begin();
        reply::json(StatusCode::OK, self.0.report(now()).to_string())
    }

    /// Starts the task that feeds the meters, once.
    fn begin(&self) {
        if std::mem::replace(&mut self.0.meters().is_begun, true) {
            return;
        }
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(inner) = inner.upgrade() else { return };
                let figures = inner.figures();
                inner.meters().feed(now(), &figures);
            }
        });
    }
}

impl Inner {
    fn figures(&self) -> Figures {
        let registry = self.frontend.control.registry();
        let engine = &self.frontend.engine;
        let counts = |name: &Name| Some((name.clone(), engine.route(name.as_str())?.counts()));
        Figures {
            apps: registry.applications.keys().filter_map(counts).collect(),
            versions: engine.version_counts(),
        }
    }

    fn report(&self, now: Instant) -> Value {
        let figures = self.figures();
        let standings = self.frontend.engine.standings();
        let mut meters = self.meters();
        meters.feed(now, &figures);
        json!({
            "counters": figures.counters(&standings),
            "ratio_counters": figures.ratios(),
            "meters": meters.report(now),
            "histograms": figures.histograms(&standings),
        })
    }

    fn meters(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meters {
    fn feed(&mut self, now: Instant, figures: &Figures) {
        let before = std::mem::take(&mut self.by_name);
        let mut next = BTreeMap::new();
        let since = self.fed_at;
        let mut feed = |name: String, count: u64| {
            let fed = Metered::next(before.get(&name), count, since);
            next.insert(name, fed.0);
            fed.1
        };
        for (app, counts) in &figures.apps {
            feed(
                format!("app:{app}:prediction_throughput"),
                counts.answered(),
            );
        }
        for version in &figures.versions {
            let name = format!("{}:prediction_throughput", of_model(version));
            self.throughput.mark(feed(name, version.rows()));
        }
        let all = next.values_mut().map(|metered| &mut metered.meter);
        all.chain([&mut self.throughput])
            .for_each(|meter| meter.tick(now));
        (self.by_name, self.fed_at) = (next, now);
    }

    fn report(&self, now: Instant) -> Vec<Value> {
        let total = ("internal:aggregate_model_throughput", &self.throughput);
        let named = self.by_name.iter();
        let named = named.map(|(name, metered)| (name.as_str(), &metered.meter));
        let all = [total].into_iter().chain(named);
        all.map(|(name, meter)| {
            let [minute, five, fifteen] = meter.rates();
            json!({ (name): {
                "unit": "events per second",
                "rate": text(meter.mean(now)),
                "rate_1min": text(minute),
                "rate_5min": text(five),
                "rate_15min": text(fifteen),
            } })
        })
        .collect()
    }
}

impl Metered {
    /// What a meter is once it has seen `count` events in all, and how many of them are new.
    fn next(before: Option<&Metered>, count: u64, since: Instant) -> (Metered, u64) {
        let counted = before.map_or(0, |before| before.counted);
        // Fewer than before: it was removed and came again, so that all of them are new.
        let new = count.checked_sub(counted).unwrap_or(count);
        let mut meter = before.map_or_else(|| Meter::new(since), |before| before.meter);
        meter.mark(new);
        let counted = count;
        (Metered { meter, counted }, new)
    }
}

impl Figures {
    fn counters(&self, standings: &[Standing]) -> Vec<Value> {
        let count = |name: String, count: u64| json!({ (name): { "count": count.to_string() } });
        let lookups = self.versions.iter().map(VersionCounts::cache_lookups).sum();
        let arrived: u64 = standings.iter().map(|one| one.report.tally.arrived).sum();
        let cached = self
            .versions
            .iter()
            .map(|one| one.cache_hits + one.cache_joins);
        let mut all = vec![
            count("internal:prediction_cache_lookups".to_owned(), lookups),
            count(
                "internal:aggregate_num_predictions".to_owned(),
                arrived + cached.sum::<u64>(),
            ),
        ];
        let apps = self.apps.iter();
        all.extend(
            apps.map(|(app, counts)| {
                count(format!("app:{app}:num_predictions"), counts.answered())
            }),
        );
        let versions = self.versions.iter();
        all.extend(
            versions.map(|one| count(format!("{}:num_predictions", of_model(one)), one.rows())),
        );
        all
    }

    fn ratios(&self) -> Vec<Value> {
        let ratio = |name: String, part: u64, whole: u64| {
            let ratio = part as f64 / whole as f64;
            json!({ (name): { "ratio": text(ratio) } })
        };
        let hits = self.versions.iter().map(|one| one.cache_hits).sum();
        let lookups = self.versions.iter().map(VersionCounts::cache_lookups).sum();
        let name = "internal:prediction_cache_hit_ratio".to_owned();
        let mut all = vec![ratio(name, hits, lookups)];
        all.extend(self.apps.iter().map(|(app, counts)| {
            let name = format!("app:{app}:default_prediction_ratio");
            ratio(name, counts.defaulted(), counts.answered())
        }));
        all.extend(self.versions.iter().map(|one| {
            let name = format!("{}:cache_hit_ratio", of_model(one));
            ratio(name, one.cache_hits, one.cache_lookups())
        }));
        all
    }

    fn histograms(&self, standings: &[Standing]) -> Vec<Value> {
        let micros = |name: String, reading: &HistogramReading| {
            histogram(
                &name,
                "microseconds",
                reading,
                Values::Times { scale: MICROS },
            )
        };
        let name = "internal:rpc_request_queueing_delay".to_owned();
        let mut all = vec![micros(name, &waits(standings))];
        all.extend(
            self.apps.iter().map(|(app, counts)| {
                micros(format!("app:{app}:prediction_latency"), &counts.seconds)
            }),
        );
        for version in &self.versions {
            let model = of_model(version);
            let latency = &version.batch_seconds;
            all.push(micros(format!("{model}:prediction_latency"), latency));
            let (name, rows) = (format!("{model}:batch_size"), &version.batch_rows);
            all.push(histogram(&name, "queries", rows, Values::Rows));
        }
        all
    }
}

/// The waits of all versions, whose histograms have the same edges.
fn waits(standings: &[Standing]) -> HistogramReading {
    let mut all = HistogramReading::default();
    for histogram in standings.iter().map(|one| &one.report.spread.wait) {
        all.sum += histogram.sum();
        if all.buckets.is_empty() {
            all.buckets = histogram.buckets().collect();
            continue;
        }
        for (sum, (_, count)) in all.buckets.iter_mut().zip(histogram.buckets()) {
            sum.1 += count;
        }
    }
    all
}

fn histogram(name: &str, unit: &str, reading: &HistogramReading, values: Values) -> Value {
    let summary = Summary::of(reading, values);
    json!({ (name): {
        "unit": unit,
        "size": summary.size.to_string(),
        "min": text(summary.min),
        "max": text(summary.max),
        "mean": text(summary.mean),
        "std_dev": text(summary.std_dev),
        "p50": text(summary.p50),
        "p95": text(summary.p95),
        "p99": text(summary.p99),
    } })
}

fn of_model(version: &VersionCounts) -> String {
    format!("model:{}:{}", version.model, version.version)
}

/// A number as Clipper writes it.
fn text(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    value.to_string()
}

/// Whether a client asks for Prometheus' text, and not for JSON.
fn wants_text(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    let accepted = accepted.filter_map(|value| value.to_str().ok());
    let ranges = accepted.flat_map(|value| value.split(','));
    let types = ranges.filter_map(|range| range.split(';').next());
    let types: Vec<_> = types.map(|one| one.trim().to_ascii_lowercase()).collect();
    let names = |wanted: &str| types.iter().any(|one| one == wanted);
    TEXT_TYPES.into_iter().any(names) && !names("application/json")
}

/// Of tokio's clock, which tests may hold.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks_for_text(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header"));
        wants_text(&headers)
    }

    #[test]
    fn prometheus_gets_text_and_everybody_else_json() {
        assert!(!wants_text(&HeaderMap::new()));
        assert!(asks_for_text("text/plain"));
        assert!(asks_for_text(
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        ));
        assert!(!asks_for_text("*/*"));
        assert!(!asks_for_text("text/html, */*"));
        assert!(!asks_for_text("application/json, text/plain, */*"));
    }

    #[test]
    fn numbers_are_written_as_clipper_writes_them() {
        let written = [0.0, -1.0, 0.25, f64::NAN, 1e6].map(text);
        assert_eq!(written, ["0", "-1", "0.25", "nan", "1000000"]);
    }

    #[test]
    fn a_meter_that_comes_again_counts_from_nothing() {
        let start = Instant::now();
        let (first, new) = Metered::next(None, 10, start);
        assert_eq!(new, 10);
        let (second, new) = Metered::next(Some(&first), 12, start);
        assert_eq!(new, 2);
        let (again, new) = Metered::next(Some(&second), 3, start);
        assert_eq!((new, again.counted), (3, 3));
    }
}
