//! The largest batch that is there, at once.

use skysail_core::batching::policy::ShedBy;
use skysail_core::batching::{Decision, Policy, View};

use super::plan;
use crate::truth::Shape;

/// Sends what waits, up to a size; refuses what waits too long.
#[derive(Debug)]
pub struct Eager {
    rows_max: usize,
    /// Seconds that a query may wait.
    wait_max: f64,
}

impl Eager {
    /// As Triton by default: no limit but the model's.
    #[must_use]
    pub fn untuned(shape: &Shape) -> Self {
        Eager {
            rows_max: shape.rows_max,
            wait_max: f64::INFINITY,
        }
    }

    /// As somebody would tune it who knows profile and objective: the largest batch within
    /// half of the objective, and half for the queue.
    #[must_use]
    pub fn tuned(shape: &Shape, objective: f64) -> Self {
        Eager {
            rows_max: shape.rows_within(objective / 2.0),
            wait_max: objective / 2.0,
        }
    }
}

impl Policy for Eager {
    fn decide(&mut self, view: &View<'_>) -> Decision {
        let head = view.queue.head().expect("a query waits");
        if view.now.since(head.arrival) > self.wait_max {
            let objective = head.deadline.since(head.arrival);
            return Decision::Shed {
                before: view.now.after(objective - self.wait_max),
                keep_last: false,
                by: ShedBy::Window,
            };
        }
        Decision::Send(plan(self.rows_max, 0.0))
    }
}
