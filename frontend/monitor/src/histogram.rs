//! Counts of values by size that any thread may add to without a lock.
//!
//! Unlike those of `prometheus-client` they can be read back, so that quantiles can be told.
//!
//! # Cost
//! `add`: a binary search of the edges and two relaxed additions.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

use crate::lanes::HistogramReading;

/// Counts of values between edges, and the sum of the values in whole parts.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// Ascending; the last is infinite.
    edges: Vec<f64>,
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
    /// Parts of the sum in a value of 1.
    parts: f64,
}

impl Buckets {
    /// None counted yet; `edges` are finite and ascend.
    pub(crate) fn new(edges: impl Iterator<Item = f64>, parts: f64) -> Buckets {
        let edges: Vec<_> = edges.chain([f64::INFINITY]).collect();
        Buckets {
            counts: edges.iter().map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            edges,
            parts,
        }
    }

    /// Counts a value, which is `parts` of the sum.
    pub(crate) fn add(&self, value: f64, parts: u64) {
        let bucket = self.edges.partition_point(|edge| *edge < value);
        // Relaxed: nothing but the counts themselves is read by them.
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(parts, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn reading(&self) -> HistogramReading {
        let counts = self.counts.iter();
        // Relaxed: see `add`.
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        HistogramReading {
            sum: self.sum.load(Ordering::Relaxed) as f64 / self.parts,
            buckets: self.edges.iter().copied().zip(counts).collect(),
        }
    }

    /// Appends it to a text.
    pub(crate) fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let HistogramReading { sum, buckets } = self.reading();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}
