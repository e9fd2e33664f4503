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

use crate::registry::Batching;

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

/// The sizer that `batching` asks for, under the container's own maximum.
#[must_use]
pub fn sizer(batching: &Batching, container_max: usize) -> Box<dyn Sizer> {
    let container_max = container_max.max(1);
    match *batching {
        Batching::Adaptive { size_max } => {
            let limit = size_max.map_or(container_max, |size| container_max.min(size as usize));
            Box::new(Aimd::new(limit))
        }
        Batching::Fixed { size, wait_micros } => {
            let wait = Duration::from_micros(wait_micros);
            Box::new(Fixed::new(container_max.min(size as usize), wait))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_sizer(container_max: usize) -> Vec<Box<dyn Sizer>> {
        let all = [
            Batching::Adaptive { size_max: None },
            Batching::Adaptive { size_max: Some(8) },
            Batching::Fixed {
                size: 32,
                wait_micros: 500,
            },
        ];
        all.iter()
            .map(|batching| sizer(batching, container_max))
            .collect()
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
        assert_eq!(
            sizer(
                &Batching::Fixed {
                    size: 32,
                    wait_micros: 0
                },
                8
            )
            .size_max(),
            8
        );
        let mut capped = sizer(&Batching::Adaptive { size_max: Some(8) }, 100);
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
