//! A histogram of times.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::histogram::Buckets;
use crate::lanes::HistogramReading;

/// Edges a decade, close enough to tell a quantile within a few per cent by interpolation.
const EDGES_A_DECADE: i32 = 8;
/// Decades from the first edge, 100 us.
const DECADES: i32 = 6;

/// Counts of times by size. Cheap to clone; the same one behind every clone.
#[derive(Clone, Debug)]
pub struct Times(Arc<Buckets>);

impl Default for Times {
    fn default() -> Self {
        let edge = |index| 1e-4 * 10_f64.powf(f64::from(index) / f64::from(EDGES_A_DECADE));
        let edges = (0..=EDGES_A_DECADE * DECADES).map(edge);
        Times(Arc::new(Buckets::new(edges, 1e9)))
    }
}

impl Times {
    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        self.0.add(time.as_secs_f64(), time.as_nanos() as u64);
    }

    /// What was counted so far, in seconds.
    #[must_use]
    pub fn reading(&self) -> HistogramReading {
        self.0.reading()
    }
}

impl TypedMetric for Times {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Times {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_below_its_edge() {
        let times = Times::default();
        let observed = [0, 100, 101, 20_000, 3_600_000_000].map(Duration::from_micros);
        observed.iter().for_each(|time| times.observe(*time));
        let HistogramReading { sum, buckets } = times.reading();
        assert_eq!(sum, 3_600.020_201);
        assert_eq!(buckets[0], (1e-4, 2));
        assert_eq!(buckets[1].1, 1);
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 1)));
        let holding = buckets.iter().find(|(edge, _)| *edge >= 0.02);
        assert_eq!(holding.map(|(_, count)| *count), Some(1), "{buckets:?}");
    }

    #[test]
    fn clones_count_together_from_any_thread() {
        let times = Times::default();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..1000).for_each(|_| times.clone().observe(Duration::ZERO)));
            }
        });
        assert_eq!(times.reading().buckets[0].1, 2000);
    }
}
