//! Metrics of lanes: readings of versions and their replicas, taken when the text is asked for.
//!
//! The batcher counts under a lock that it holds anyway; nothing is counted again here. A
//! series is there as long as its version or replica is in the readings.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// A version at a moment.
#[derive(Clone, Debug, Default)]
pub struct LaneReading {
    /// Its model.
    pub model: String,
    /// Its name.
    pub version: String,
    /// Queries accepted.
    pub arrived: u64,
    /// Queries answered by their deadline.
    pub in_time: u64,
    /// Queries answered later, by cause.
    pub late: Vec<(&'static str, u64)>,
    /// Queries given up, by rule.
    pub shed: Vec<(&'static str, u64)>,
    /// Queries that expired while they waited.
    pub expired: u64,
    /// Queries asked twice.
    pub hedged: u64,
    /// Copies that were answered first.
    pub hedges_won: u64,
    /// Rows sent.
    pub rows: u64,
    /// Rows computed for queries that had their outcome.
    pub rows_wasted: u64,
    /// Batches sent.
    pub batches: u64,
    /// Of them, those sent to a busy replica.
    pub ahead: u64,
    /// Batches asked back.
    pub cancelled: u64,
    /// Queries that wait.
    pub queued: u64,
    /// Seconds since the first of them came.
    pub head_age: f64,
    /// What was learned of its latency.
    pub learned: Option<LearnedReading>,
    /// Queries a second that it bears.
    pub capacity: Option<f64>,
    /// The share of it that is left.
    pub headroom: Option<f64>,
    /// Seconds that the first query of each batch had waited.
    pub wait: HistogramReading,
    /// Seconds that it had left.
    pub slack: HistogramReading,
    /// Seconds that batches took, over those predicted.
    pub ratio: HistogramReading,
    /// Its replicas.
    pub replicas: Vec<ReplicaReading>,
}

/// What was learned of a version.
#[derive(Clone, Copy, Debug)]
pub struct LearnedReading {
    /// Queries that arrive a second.
    pub rate: f64,
    /// Seconds of a batch whatever its size.
    pub alpha: f64,
    /// Seconds of each row.
    pub beta: f64,
    /// Factor between the typical latency and the one that is planned with.
    pub margin: f64,
    /// The share of batches that the margin covers.
    pub quantile: f64,
    /// How much waiting is allowed.
    pub patience: f64,
}

/// A histogram at a moment.
#[derive(Clone, Debug, Default)]
pub struct HistogramReading {
    /// The sum of all values.
    pub sum: f64,
    /// Upper edge and count of each bucket; the last edge is infinite.
    pub buckets: Vec<(f64, u64)>,
}

/// A replica at a moment.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaReading {
    /// Its number.
    pub id: u64,
    /// Its latency over that of the version's shape.
    pub slowness: f64,
    /// Seconds with a batch.
    pub busy_seconds: f64,
    /// Seconds since the batch that it computes was sent.
    pub in_flight_age: f64,
    /// Batches several times slower than predicted.
    pub stragglers: u64,
    /// Seconds of a latency that are not the model's.
    pub transport: f64,
}

/// A value of one series, or of several.
enum Value<'a> {
    Count(u64),
    /// A count that need not be whole.
    Sum(f64),
    Gauge(Option<f64>),
    Histogram(&'a HistogramReading),
    /// A count for each value of a label.
    Split(&'static str, &'a [(&'static str, u64)]),
}

/// A metric: its name, which ends in its unit, what it means, and what it is of a `T`.
struct Family<T> {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&T) -> Value<'_>,
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Value<'_>,
) -> Family<T> {
    Family {
        name,
        help,
        kind: Kind::Counter,
        value,
    }
}

const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Value<'_>) -> Family<T> {
    Family {
        name,
        help,
        kind: Kind::Gauge,
        value,
    }
}

const fn histogram<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Value<'_>,
) -> Family<T> {
    Family {
        name,
        help,
        kind: Kind::Histogram,
        value,
    }
}

const OF_LANES: [Family<LaneReading>; 25] = [
    counter("lane_queries_arrived", "Queries accepted", |one| {
        Value::Count(one.arrived)
    }),
    counter(
        "lane_queries_in_time",
        "Queries answered by their deadline",
        |one| Value::Count(one.in_time),
    ),
    counter(
        "lane_queries_late",
        "Queries answered after their deadline",
        |one| Value::Split("cause", &one.late),
    ),
    counter("lane_queries_shed", "Queries given up", |one| {
        Value::Split("rule", &one.shed)
    }),
    counter(
        "lane_queries_expired",
        "Queries that expired while they waited",
        |one| Value::Count(one.expired),
    ),
    counter("lane_queries_hedged", "Queries asked twice", |one| {
        Value::Count(one.hedged)
    }),
    counter("lane_hedges_won", "Copies answered first", |one| {
        Value::Count(one.hedges_won)
    }),
    counter("lane_rows_sent", "Rows sent in batches", |one| {
        Value::Count(one.rows)
    }),
    counter(
        "lane_rows_wasted",
        "Rows computed for queries that had their outcome",
        |one| Value::Count(one.rows_wasted),
    ),
    counter("lane_batches_sent", "Batches sent", |one| {
        Value::Count(one.batches)
    }),
    counter(
        "lane_batches_ahead",
        "Batches sent to a busy replica",
        |one| Value::Count(one.ahead),
    ),
    counter("lane_batches_cancelled", "Batches asked back", |one| {
        Value::Count(one.cancelled)
    }),
    gauge("queue_queries", "Queries that wait", |one| {
        Value::Gauge(Some(one.queued as f64))
    }),
    gauge("queue_head_age_seconds", "Age of the oldest query", |one| {
        Value::Gauge(Some(one.head_age))
    }),
    gauge(
        "lane_queries_per_second",
        "Queries that arrive a second",
        |one| Value::Gauge(one.learned.map(|learned| learned.rate)),
    ),
    gauge(
        "lane_capacity_per_second",
        "Queries a second that are borne within the objective",
        |one| Value::Gauge(one.capacity),
    ),
    gauge(
        "lane_headroom_ratio",
        "Share of the capacity that is left",
        |one| Value::Gauge(one.headroom),
    ),
    gauge(
        "lane_alpha_seconds",
        "Time of a batch whatever its size",
        |one| Value::Gauge(one.learned.map(|learned| learned.alpha)),
    ),
    gauge("lane_beta_seconds", "Time of each row of a batch", |one| {
        Value::Gauge(one.learned.map(|learned| learned.beta))
    }),
    gauge(
        "lane_margin_ratio",
        "Latency that is planned with over the typical one",
        |one| Value::Gauge(one.learned.map(|learned| learned.margin)),
    ),
    gauge(
        "lane_quantile_ratio",
        "Share of batches that the margin covers",
        |one| Value::Gauge(one.learned.map(|learned| learned.quantile)),
    ),
    gauge(
        "lane_patience_ratio",
        "How much waiting for company is allowed",
        |one| Value::Gauge(one.learned.map(|learned| learned.patience)),
    ),
    histogram(
        "lane_wait_seconds",
        "Wait of the first query of each batch",
        |one| Value::Histogram(&one.wait),
    ),
    histogram(
        "lane_slack_seconds",
        "Time that the first query of each batch had left",
        |one| Value::Histogram(&one.slack),
    ),
    histogram(
        "lane_prediction_ratio",
        "Time of each batch over the predicted one",
        |one| Value::Histogram(&one.ratio),
    ),
];

const OF_REPLICAS: [Family<ReplicaReading>; 5] = [
    counter("replica_busy_seconds", "Time with a batch", |one| {
        Value::Sum(one.busy_seconds)
    }),
    counter(
        "replica_stragglers",
        "Batches several times slower than predicted",
        |one| Value::Count(one.stragglers),
    ),
    gauge(
        "replica_slowness_ratio",
        "Latency over that of the version's shape",
        |one| Value::Gauge(Some(one.slowness)),
    ),
    gauge(
        "replica_in_flight_seconds",
        "Time since the batch that it computes was sent",
        |one| Value::Gauge(Some(one.in_flight_age)),
    ),
    gauge(
        "replica_transport_seconds",
        "Time of a latency that is not the model's",
        |one| Value::Gauge(Some(one.transport)),
    ),
];

/// The readings that the next text shows.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<Vec<LaneReading>>);

impl Lanes {
    pub(crate) fn show(&self, readings: Vec<LaneReading>) {
        *self.lock() = readings;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LaneReading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Lanes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let lanes = self.lock();
        for family in &OF_LANES {
            let mut metric = family.begin(&mut encoder)?;
            for lane in lanes.iter() {
                write(&mut metric, &labels(lane), &(family.value)(lane))?;
            }
        }
        for family in &OF_REPLICAS {
            let mut metric = family.begin(&mut encoder)?;
            for lane in lanes.iter() {
                for replica in &lane.replicas {
                    let [model, version] = labels(lane);
                    let id = replica.id.to_string();
                    let labels = [model, version, ("replica", id.as_str())];
                    write(&mut metric, &labels, &(family.value)(replica))?;
                }
            }
        }
        Ok(())
    }
}

impl<T> Family<T> {
    fn begin<'a>(
        &self,
        encoder: &'a mut DescriptorEncoder<'_>,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        match self.name.strip_suffix("_seconds") {
            Some(bare) => encoder.encode_descriptor(bare, self.help, Some(&Unit::Seconds), kind),
            None => encoder.encode_descriptor(self.name, self.help, None, kind),
        }
    }
}

type Label<'a> = (&'static str, &'a str);

fn labels(lane: &LaneReading) -> [Label<'_>; 2] {
    [("model", &lane.model), ("version", &lane.version)]
}

fn write<const N: usize>(
    metric: &mut MetricEncoder<'_>,
    labels: &[Label<'_>; N],
    value: &Value<'_>,
) -> fmt::Result {
    let count = |mut series: MetricEncoder<'_>, count: u64| {
        series.encode_counter::<NoLabelSet, _, u64>(&count, None)
    };
    match *value {
        Value::Count(value) => count(metric.encode_family(labels)?, value),
        Value::Sum(value) => {
            let mut series = metric.encode_family(labels)?;
            series.encode_counter::<NoLabelSet, _, u64>(&value, None)
        }
        Value::Gauge(None) => Ok(()),
        Value::Gauge(Some(value)) => metric.encode_family(labels)?.encode_gauge(&value),
        Value::Histogram(reading) => {
            let (sum, buckets) = (reading.sum, reading.buckets.as_slice());
            let all = buckets.iter().map(|(_, count)| count).sum();
            let mut series = metric.encode_family(labels)?;
            series.encode_histogram::<NoLabelSet>(sum, all, buckets, None)
        }
        Value::Split(label, counts) => {
            for (name, value) in counts {
                let labels = Labelled(labels, (label, name));
                count(metric.encode_family(&labels)?, *value)?;
            }
            Ok(())
        }
    }
}

/// Labels with one more.
#[derive(Debug)]
struct Labelled<'a, const N: usize>(&'a [Label<'a>; N], Label<'a>);

impl<const N: usize> EncodeLabelSet for Labelled<'_, N> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)?;
        [self.1].encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    fn reading() -> LaneReading {
        let histogram = HistogramReading {
            sum: 0.5,
            buckets: vec![(0.1, 2), (f64::INFINITY, 1)],
        };
        LaneReading {
            model: "m".to_owned(),
            version: "1".to_owned(),
            arrived: 9,
            late: vec![("margin", 2), ("transport", 0)],
            shed: vec![("window", 3)],
            queued: 4,
            head_age: 0.25,
            learned: Some(LearnedReading {
                rate: 100.0,
                alpha: 0.005,
                beta: 0.001,
                margin: 1.1,
                quantile: 0.92,
                patience: 0.0,
            }),
            capacity: Some(400.0),
            headroom: Some(0.75),
            wait: histogram,
            replicas: vec![ReplicaReading {
                id: 7,
                slowness: 2.0,
                busy_seconds: 1.5,
                in_flight_age: 0.0,
                stragglers: 1,
                transport: 0.0001,
            }],
            ..LaneReading::default()
        }
    }

    #[test]
    fn a_lane_is_shown_with_its_replicas() {
        let metrics = Metrics::default();
        metrics.show_lanes(vec![reading()]);
        let text = metrics.text();
        let version = "model=\"m\",version=\"1\"";
        for line in [
            format!("skysail_lane_queries_arrived_total{{{version}}} 9"),
            format!("skysail_lane_queries_late_total{{{version},cause=\"margin\"}} 2"),
            format!("skysail_lane_queries_shed_total{{{version},rule=\"window\"}} 3"),
            format!("skysail_queue_queries{{{version}}} 4.0"),
            format!("skysail_queue_head_age_seconds{{{version}}} 0.25"),
            format!("skysail_lane_queries_per_second{{{version}}} 100.0"),
            format!("skysail_lane_capacity_per_second{{{version}}} 400.0"),
            format!("skysail_lane_headroom_ratio{{{version}}} 0.75"),
            format!("skysail_lane_alpha_seconds{{{version}}} 0.005"),
            format!("skysail_lane_wait_seconds_bucket{{le=\"+Inf\",{version}}} 3"),
            format!("skysail_lane_wait_seconds_sum{{{version}}} 0.5"),
            format!("skysail_replica_busy_seconds_total{{{version},replica=\"7\"}} 1.5"),
            format!("skysail_replica_stragglers_total{{{version},replica=\"7\"}} 1"),
            format!("skysail_replica_slowness_ratio{{{version},replica=\"7\"}} 2.0"),
            "# UNIT skysail_replica_busy_seconds seconds".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_not_in_the_readings_has_no_series() {
        let metrics = Metrics::default();
        let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        let before = series(&metrics.text());
        metrics.show_lanes(vec![reading()]);
        let with_replica = series(&metrics.text());
        let mut alone = reading();
        alone.replicas.clear();
        metrics.show_lanes(vec![alone]);
        assert_eq!(series(&metrics.text()), with_replica - OF_REPLICAS.len());
        metrics.show_lanes(vec![LaneReading {
            learned: None,
            ..reading()
        }]);
        assert_eq!(
            series(&metrics.text()),
            with_replica - 6,
            "what only learning tells"
        );
        metrics.show_lanes(Vec::new());
        assert_eq!(series(&metrics.text()), before);
    }
}
