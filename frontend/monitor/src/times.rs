//! A histogram of times that any thread may add to without a lock.
//!
//! # Cost
//! `observe`: a binary search of the edges and two relaxed additions.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Edges a decade, close enough to tell a quantile within a few per cent by interpolation.
const EDGES_A_DECADE: i32 = 8;
/// Decades from the first edge, 100 us.
const DECADES: i32 = 6;

/// Counts of times by size. Cheap to clone; the same one behind every clone.
#[derive(Clone, Debug)]
pub struct Times(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// In seconds, ascending; the last is infinite.
    edges: Vec<f64>,
    counts: Vec<AtomicU64>,
    nanos: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        let edge = |index| 1e-4 * 10_f64.powf(f64::from(index) / f64::from(EDGES_A_DECADE));
        let finite = (0..=EDGES_A_DECADE * DECADES).map(edge);
        let edges: Vec<_> = finite.chain([f64::INFINITY]).collect();
        Times(Arc::new(Buckets {
            counts: edges.iter().map(|_| AtomicU64::new(0)).collect(),
            nanos: AtomicU64::new(0),
            edges,
        }))
    }
}

impl Times {
    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let Buckets {
            edges,
            counts,
            nanos,
        } = &*self.0;
        let bucket = edges.partition_point(|edge| *edge < seconds);
        // Relaxed: nothing but the counts themselves is read by them.
        counts[bucket].fetch_add(1, Ordering::Relaxed);
        nanos.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Upper edge in seconds and count of each bucket; the last edge is infinite.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let counts = self.0.counts.iter();
        // Relaxed: see `observe`.
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        self.0.edges.iter().copied().zip(counts).collect()
    }
}

impl TypedMetric for Times {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Times {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let buckets = self.buckets();
        let count = buckets.iter().map(|(_, count)| count).sum();
        // Relaxed: see `observe`.
        let seconds = self.0.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        encoder.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
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
        let buckets = times.buckets();
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
        assert_eq!(times.buckets()[0].1, 2000);
    }
}
