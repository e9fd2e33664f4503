//! How long batches really take: a profile, noise, and now and then a straggler.

use fastrand::Rng;

use crate::draw::log_normal;

/// `alpha + beta b` seconds for a batch of `b`.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its name in tables.
    pub name: &'static str,
    /// Seconds of a batch.
    pub alpha: f64,
    /// Seconds of a row.
    pub beta: f64,
    /// Most rows.
    pub rows_max: usize,
}

/// The profiles of the grid.
pub const SHAPES: [Shape; 3] = [
    Shape {
        name: "linear",
        alpha: 0.2e-3,
        beta: 0.005e-3,
        rows_max: 512,
    },
    Shape {
        name: "mlp",
        alpha: 1e-3,
        beta: 0.05e-3,
        rows_max: 256,
    },
    Shape {
        name: "gpu",
        alpha: 5e-3,
        beta: 1e-3,
        rows_max: 64,
    },
];

/// Sigma of the log-normal noise.
pub const SIGMA: f64 = 0.1;
/// One batch in so many is a straggler.
pub const STRAGGLER_EVERY: f64 = 333.0;
/// It takes that many times as long.
pub const STRAGGLER: f64 = 10.0;

impl Shape {
    /// Seconds of a batch, without noise.
    #[must_use]
    pub fn seconds(&self, rows: f64) -> f64 {
        self.alpha + self.beta * rows
    }

    /// The largest batch within so many seconds, at least 1.
    #[must_use]
    pub fn rows_within(&self, seconds: f64) -> usize {
        let rows = (seconds - self.alpha) / self.beta + 1e-9;
        (rows as usize).clamp(1, self.rows_max)
    }

    /// Queries a second that `replicas` bear within an objective: the largest batch that may
    /// be computed while a query waits for a replica, less what stragglers take.
    #[must_use]
    pub fn capacity(&self, replicas: usize, objective: f64) -> f64 {
        let share = 1.0 + 1.0 / replicas as f64;
        let rows = self.rows_within(objective / share) as f64;
        let stragglers = 1.0 + (STRAGGLER - 1.0) / STRAGGLER_EVERY;
        replicas as f64 * rows / self.seconds(rows) / stragglers
    }
}

/// The noise of every batch of a run, known by replica and number.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Of the run.
    pub seed: u64,
}

impl Noise {
    /// The factor on the time of a replica's batch.
    #[must_use]
    pub fn factor(&self, replica: usize, batch: u64) -> f64 {
        let stream = self.seed ^ (replica as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut rng = Rng::with_seed(stream ^ batch.wrapping_mul(0xD1B5_4A32_D192_ED03));
        let usual = log_normal(&mut rng, SIGMA);
        if rng.f64() * STRAGGLER_EVERY < 1.0 {
            usual * STRAGGLER
        } else {
            usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_mean_one_and_stragglers_are_rare() {
        let noise = Noise { seed: 3 };
        let factors: Vec<_> = (0..100_000).map(|batch| noise.factor(2, batch)).collect();
        let late = factors.iter().filter(|factor| **factor > 4.0).count();
        assert!((200..400).contains(&late), "{late}");
        let usual = factors.iter().filter(|factor| **factor <= 4.0);
        let mean = usual.sum::<f64>() / (factors.len() - late) as f64;
        assert!((mean - 1.0).abs() < 0.005, "{mean}");
    }
}
