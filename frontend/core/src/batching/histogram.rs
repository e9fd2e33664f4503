//! Counts of values by size, for metrics.
//!
//! # Cost
//! `add`: a binary search of at most [`SECONDS`] edges. No allocation.

/// Edges for times in seconds: 1, 2 and 5 of each decade from 100 us to 50 s.
pub const SECONDS: &[f64] = &[
    1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0,
    50.0,
];
/// Edges for ratios around 1.
pub const RATIOS: &[f64] = &[
    0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0, 3.0, 4.0, 8.0,
];

/// How many values were at most each edge and above the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    edges: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty one; `edges` ascend.
    #[must_use]
    pub fn new(edges: &'static [f64]) -> Self {
        Histogram {
            edges,
            counts: vec![0; edges.len() + 1],
            sum: 0.0,
        }
    }

    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        let bucket = self.edges.partition_point(|edge| *edge < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// The sum of all values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Upper edge and count of each bucket; the last edge is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let edges = self.edges.iter().copied().chain([f64::INFINITY]);
        edges.zip(self.counts.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_an_edge_belongs_below_it() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.0, 1.0, 1.5, 2.0, 2.5, 100.0] {
            histogram.add(value);
        }
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [(1.0, 2), (2.0, 2), (f64::INFINITY, 2)]);
        assert_eq!((histogram.count(), histogram.sum()), (6, 107.0));
    }

    #[test]
    fn edges_ascend() {
        for edges in [SECONDS, RATIOS] {
            assert!(edges.is_sorted(), "{edges:?}");
        }
    }
}
