//! A histogram of the rows of batches.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::histogram::Buckets;
use crate::lanes::HistogramReading;

/// Edges, each twice the one before, from 1.
const EDGES: i32 = 15;

/// Counts of batches by their rows. Cheap to clone; the same one behind every clone.
#[derive(Clone, Debug)]
pub struct Rows(Arc<Buckets>);

impl Default for Rows {
    fn default() -> Self {
        let edges = (0..EDGES).map(|index| 2_f64.powi(index));
        Rows(Arc::new(Buckets::new(edges, 1.0)))
    }
}

impl Rows {
    /// Counts a batch.
    pub fn observe(&self, rows: usize) {
        self.0.add(rows as f64, rows as u64);
    }

    /// What was counted so far; the sum is that of the rows.
    #[must_use]
    pub fn reading(&self) -> HistogramReading {
        self.0.reading()
    }
}

impl TypedMetric for Rows {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Rows {
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
    fn batches_are_counted_by_powers_of_two() {
        let rows = Rows::default();
        for batch in [0, 1, 2, 3, 4, 16_384, 16_385] {
            rows.observe(batch);
        }
        let HistogramReading { sum, buckets } = rows.reading();
        assert_eq!(sum, 32_779.0);
        assert_eq!(buckets[..3], [(1.0, 2), (2.0, 1), (4.0, 2)]);
        assert_eq!(buckets[14..], [(16_384.0, 1), (f64::INFINITY, 1)]);
    }
}
