//! How many rows a batch may have.
//!
//! One [`Sizer`] a replica, because replicas may differ in speed. Mechanisms: [`Fixed`] waits
//! for a number of rows, as TF Serving and Triton do; [`Aimd`] is the rule of the Clipper
//! paper (section 4.3).

mod aimd;
mod fixed;

use std::time::Duration;

pub use aimd::Aimd;
pub use fixed::Fixed;

/// A batch that came back.
#[derive(Clone, Copy, Debug)]
pub struct Completed {
    /// Its rows.
    pub rows: usize,
    /// From sending it to its reply.
    pub latency: Duration,
    /// The least latency objective of its queries.
    pub objective: Duration,
}

/// Sizes the batches of one replica.
pub trait Sizer: Send + std::fmt::Debug {
    /// Most rows of the next batch, at least 1.
    fn size_max(&self) -> usize;

    /// How long the oldest query may wait for the batch to fill up. Zero: not at all.
    fn wait_max(&self) -> Duration {
        Duration::ZERO
    }

    /// Learns from a batch that came back.
    fn completed(&mut self, _batch: Completed) {}
}

/// Which rule.
#[derive(Clone, Copy, Debug)]
pub enum Sizing {
    /// Clipper's, up to so many rows.
    Aimd {
        /// Most rows, if limited.
        size_max: Option<usize>,
    },
    /// So many rows.
    Fixed {
        /// Rows to wait for.
        size: usize,
        /// How long the first one waits.
        wait: Duration,
    },
}

impl Sizing {
    /// The sizer of a replica, under its container's own maximum.
    #[must_use]
    pub fn sizer(self, container_max: usize) -> Box<dyn Sizer> {
        let container_max = container_max.max(1);
        match self {
            Sizing::Aimd { size_max } => {
                let limit = size_max.map_or(container_max, |size| container_max.min(size));
                Box::new(Aimd::new(limit))
            }
            Sizing::Fixed { size, wait } => Box::new(Fixed::new(container_max.min(size), wait)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_sizer(container_max: usize) -> Vec<Box<dyn Sizer>> {
        let all = [
            Sizing::Aimd { size_max: None },
            Sizing::Aimd { size_max: Some(8) },
            Sizing::Fixed {
                size: 32,
                wait: Duration::from_micros(500),
            },
        ];
        let sizers = all.iter().map(|sizing| sizing.sizer(container_max));
        sizers.collect()
    }

    /// Whatever comes back, the size stays between 1 and the container's maximum.
    #[test]
    fn stays_within_the_containers_maximum() {
        for container_max in [0, 1, 5, 4096] {
            for mut sizer in every_sizer(container_max) {
                for step in 0..3000_u32 {
                    assert!(
                        (1..=container_max.max(1)).contains(&sizer.size_max()),
                        "{sizer:?}"
                    );
                    let latency = Duration::from_millis(u64::from(step * 7919 % 40));
                    let (rows, objective) = (sizer.size_max(), Duration::from_millis(20));
                    sizer.completed(Completed {
                        rows,
                        latency,
                        objective,
                    });
                }
            }
        }
    }

    #[test]
    fn a_maximum_of_the_operator_holds() {
        let wait = Duration::ZERO;
        let fixed = Sizing::Fixed { size: 32, wait }.sizer(8);
        assert_eq!(fixed.size_max(), 8);
        let mut capped = Sizing::Aimd { size_max: Some(8) }.sizer(100);
        for _ in 0..100 {
            let (latency, objective) = (Duration::ZERO, Duration::from_millis(20));
            capped.completed(Completed {
                rows: capped.size_max(),
                latency,
                objective,
            });
        }
        assert_eq!(capped.size_max(), 8);
    }
}
