//! Additive increase, multiplicative decrease (Crankshaw et al., NSDI 2017, section 4.3.1).
//!
//! A batch that returns well within the objective raises the maximum to its size plus
//! [`INCREASE`]; one that returns late lowers it to its size times nine tenths. In between,
//! within a tenth of the objective, nothing changes. As in the authors' prototype the
//! *measured* size is the base; unlike there, a small batch never lowers the maximum, because
//! a quiet moment says nothing about large batches.

use super::{Completed, Sizer};

/// Rows added after a batch in time.
const INCREASE: usize = 2;
/// Factor after a late batch, in tenths.
const DECREASE_TENTHS: usize = 9;

/// Learns the size from whether batches are in time.
#[derive(Clone, Copy, Debug)]
pub struct Aimd {
    size: usize,
    limit: usize,
}

impl Aimd {
    /// Starts at one row; never passes `limit`.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Aimd {
            size: 1,
            limit: limit.max(1),
        }
    }
}

impl Sizer for Aimd {
    fn size_max(&self) -> usize {
        self.size
    }

    fn completed(&mut self, batch: Completed) {
        let band = batch.objective / 10;
        if batch.latency >= batch.objective {
            self.size = (batch.rows * DECREASE_TENTHS / 10).max(1);
        } else if batch.latency < batch.objective - band {
            self.size = self.size.max(batch.rows + INCREASE).min(self.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn batch(rows: usize, latency_ms: u64) -> Completed {
        let objective = Duration::from_millis(20);
        Completed {
            rows,
            latency: Duration::from_millis(latency_ms),
            objective,
        }
    }

    #[test]
    fn settles_where_batches_just_make_the_objective() {
        // 1 ms and 0.1 ms a row: 19 ms, the edge of the band, at 180 rows.
        let mut aimd = Aimd::new(4096);
        for _ in 0..1000 {
            let rows = aimd.size_max();
            aimd.completed(batch(rows, 1 + rows as u64 / 10));
        }
        assert!((150..=192).contains(&aimd.size_max()), "{aimd:?}");
    }

    #[test]
    fn a_small_batch_in_time_keeps_the_maximum() {
        let mut aimd = Aimd::new(100);
        (0..40).for_each(|_| aimd.completed(batch(aimd.size_max(), 1)));
        let learned = aimd.size_max();
        aimd.completed(batch(1, 1));
        assert_eq!(aimd.size_max(), learned);
    }

    #[test]
    fn a_late_batch_lowers_it_by_a_tenth() {
        let mut aimd = Aimd::new(100);
        (0..40).for_each(|_| aimd.completed(batch(aimd.size_max(), 1)));
        aimd.completed(batch(50, 20));
        assert_eq!(aimd.size_max(), 45);
        aimd.completed(batch(45, 18));
        assert_eq!(aimd.size_max(), 45, "within a tenth of the objective");
    }
}
