//! What a version bears, from what was learned of it.
//!
//! A query that comes just after a batch has begun waits for the next replica to end its own,
//! about a batch divided by the replicas, and then for a batch of its own. The largest size
//! for which both together, with the margin, fit the objective gives the capacity.

use super::policy::Learned;

/// The load that a version bears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Queries a second; 0 if not even batches of one are in time.
    pub rate: f64,
    /// Rows of the batches at that rate; 0 if not even batches of one are in time.
    pub rows: usize,
}

impl Capacity {
    /// The share of it that a rate leaves: 1 when idle, negative beyond the capacity; none where
    /// nothing is borne.
    #[must_use]
    pub fn headroom(&self, rate: f64) -> Option<f64> {
        (self.rate > 0.0).then(|| 1.0 - rate / self.rate)
    }
}

/// What replicas of these slownesses bear together, with batches of at most `rows_max`, if each
/// query has `objective_seconds`. None without replicas, or before the first batch.
#[must_use]
pub fn capacity(
    learned: &Learned,
    replicas: &[f64],
    rows_max: usize,
    objective_seconds: f64,
) -> Option<Capacity> {
    let usual = mean(replicas)?;
    // `alpha` and `beta` are those of an average replica: divided by it they are the shape's.
    let average = mean(&learned.slowness).unwrap_or(1.0);
    let (alpha, beta) = (learned.alpha / average, learned.beta / average);
    if alpha + beta <= 0.0 {
        return None;
    }
    let staggered = 1.0 + 1.0 / replicas.len() as f64;
    let seconds = objective_seconds / (learned.margin * staggered * usual);
    // Negative where nothing fits, infinite where rows cost nothing; the cast saturates.
    let rows = (((seconds - alpha) / beta).floor() as usize).min(rows_max);
    let shape = alpha + beta * rows as f64;
    let rate = replicas
        .iter()
        .map(|slowness| rows as f64 / (slowness * shape));
    Some(Capacity {
        rate: rate.sum(),
        rows,
    })
}

fn mean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5 + b ms on replicas of these slownesses.
    fn learned(slowness: &[f64], margin: f64) -> Learned {
        let average = mean(slowness).unwrap_or(1.0);
        Learned {
            alpha: 0.005 * average,
            beta: 0.001 * average,
            margin,
            quantile: 0.9,
            patience: 0.0,
            seen: 64.0,
            rate: 0.0,
            slowness: slowness.to_vec(),
            residuals: Vec::new(),
        }
    }

    fn close(found: Option<Capacity>, rate: f64, rows: usize) {
        let found = found.expect("something is known");
        assert!((found.rate - rate).abs() < 1e-6 * rate, "{found:?}");
        assert_eq!(found.rows, rows);
    }

    #[test]
    fn the_largest_batch_that_fits_twice_is_what_one_replica_bears() {
        // 2 (5 + 5) ms = 20 ms.
        let known = learned(&[1.0], 1.0);
        close(capacity(&known, &[1.0], 64, 0.020_000_1), 5.0 / 0.010, 5);
        close(capacity(&known, &[1.0], 4, 0.020_000_1), 4.0 / 0.009, 4);
        close(capacity(&known, &[1.0], 64, 10.0), 64.0 / 0.069, 64);
    }

    #[test]
    fn replicas_add_up_and_shorten_the_wait() {
        // 1.25 (5 + 11) ms = 20 ms.
        let known = learned(&[1.0; 4], 1.0);
        let four = capacity(&known, &[1.0; 4], 64, 0.020_000_1);
        close(four, 4.0 * 11.0 / 0.016, 11);
    }

    #[test]
    fn a_margin_makes_batches_smaller_but_not_slower() {
        let known = learned(&[1.0], 1.25);
        close(capacity(&known, &[1.0], 64, 0.020_000_1), 3.0 / 0.008, 3);
    }

    #[test]
    fn slowness_counts_once_and_relative_to_the_shape() {
        let half = capacity(&learned(&[2.0], 1.0), &[2.0], 4, 1.0);
        close(half, 4.0 / 0.018, 4);
        let mixed = capacity(&learned(&[1.0, 2.0], 1.0), &[1.0, 2.0], 4, 1.0);
        close(mixed, 4.0 / 0.009 + 4.0 / 0.018, 4);
        // A place whose replica left still counts in the average that was learned.
        let left = capacity(&learned(&[1.0, 3.0], 1.0), &[1.0], 4, 1.0);
        close(left, 4.0 / 0.009, 4);
    }

    #[test]
    fn rows_that_cost_nothing_are_limited_by_the_container_alone() {
        let mut known = learned(&[1.0], 1.0);
        known.beta = 0.0;
        close(capacity(&known, &[1.0], 64, 0.020), 64.0 / 0.005, 64);
    }

    #[test]
    fn an_objective_below_a_batch_bears_nothing_and_ignorance_is_said() {
        let known = learned(&[1.0], 1.0);
        for objective in [0.001, 0.011] {
            let none = capacity(&known, &[1.0], 64, objective).expect("it is known");
            assert_eq!((none.rate, none.rows), (0.0, 0));
            assert_eq!(none.headroom(10.0), None);
        }
        assert_eq!(capacity(&known, &[], 64, 1.0), None);
        let mut nothing = known;
        (nothing.alpha, nothing.beta) = (0.0, 0.0);
        assert_eq!(capacity(&nothing, &[1.0], 64, 1.0), None);
    }

    #[test]
    fn headroom_is_the_share_that_is_left() {
        let bears = Capacity {
            rate: 200.0,
            rows: 4,
        };
        assert_eq!(bears.headroom(50.0), Some(0.75));
        assert_eq!(bears.headroom(300.0), Some(-0.5));
    }
}
