//! Histogram of latency over prediction, for the margin.
//!
//! Buckets are 2 % wide; each batch fades what is older by half a per cent, so that about the
//! last 200 batches count. New entries grow instead of old ones shrinking, which is the same
//! and costs one addition; weights are scaled back before they overflow.
//!
//! # Cost
//! `add`: O(1), now and then O(buckets). `quantile`: O(buckets). No allocation.

const BUCKETS: usize = 176;
/// Logarithm of the width of a bucket.
const WIDTH: f64 = 0.02;
/// Logarithm of the lower edge of the first bucket: a quarter. The last one ends at 8.
const LOWEST: f64 = -1.4;
/// What is left of an entry after each batch.
const DECAY: f64 = 0.995;
const WEIGHT_MAX: f64 = 1e100;

/// Ratios of latency to prediction.
#[derive(Clone, Debug)]
pub struct Residuals {
    weights: [f64; BUCKETS],
    total: f64,
    next: f64,
}

impl Default for Residuals {
    /// A mild prior: a few entries around 1, so that the first margins are neither 1 nor wild.
    fn default() -> Self {
        let mut residuals = Residuals {
            weights: [0.0; BUCKETS],
            total: 0.0,
            next: 1.0,
        };
        for ratio in [0.9, 0.95, 1.0, 1.0, 1.05, 1.1, 1.15, 1.25] {
            residuals.add(ratio);
        }
        residuals
    }
}

impl Residuals {
    /// Adds a ratio.
    pub fn add(&mut self, ratio: f64) {
        let place = (ratio.max(1e-9).ln() - LOWEST) / WIDTH;
        // The cast saturates at 0.
        let bucket = (place as usize).min(BUCKETS - 1);
        self.next /= DECAY;
        self.weights[bucket] += self.next;
        self.total += self.next;
        if self.next > WEIGHT_MAX {
            self.scale_back();
        }
    }

    /// The ratio below which this share lies, at least 1.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let mut beyond = self.total * (1.0 - share);
        for (bucket, weight) in self.weights.iter().enumerate().rev() {
            if *weight > beyond {
                let inside = 1.0 - beyond / weight;
                let edge = LOWEST + WIDTH * (bucket as f64 + inside);
                return edge.exp().max(1.0);
            }
            beyond -= weight;
        }
        1.0
    }

    /// Their mean.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let centre = |edge: f64| edge * (-WIDTH / 2.0).exp();
        self.shares()
            .map(|(edge, share)| centre(edge) * share)
            .sum()
    }

    /// The share of entries in each bucket with its upper edge, for display.
    pub fn shares(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        let edge = |bucket: usize| (LOWEST + WIDTH * (bucket + 1) as f64).exp();
        let weights = self.weights.iter().enumerate();
        weights.map(move |(bucket, weight)| (edge(bucket), weight / self.total))
    }

    #[cold]
    fn scale_back(&mut self) {
        let scale = 1.0 / self.next;
        self.weights.iter_mut().for_each(|weight| *weight *= scale);
        self.total = self.weights.iter().sum();
        self.next = 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_follow_the_last_few_hundred() {
        let mut residuals = Residuals::default();
        (0..60_000).for_each(|_| residuals.add(3.0));
        for i in 0..1500 {
            residuals.add(1.0 + f64::from(i * 37 % 100) / 100.0);
        }
        let (half, most) = (residuals.quantile(0.5), residuals.quantile(0.95));
        assert!((1.45..1.55).contains(&half), "{half}");
        assert!((1.9..2.0).contains(&most), "{most}");
        assert!((1.45..1.55).contains(&residuals.mean()));
        let sum: f64 = residuals.shares().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }

    #[test]
    fn extremes_stay_in_the_outer_buckets() {
        let mut residuals = Residuals::default();
        for ratio in [0.0, -1.0, f64::INFINITY, 1e300] {
            residuals.add(ratio);
        }
        assert!(residuals.quantile(1.0) <= 8.5);
        assert_eq!(residuals.quantile(0.0), 1.0);
    }
}
