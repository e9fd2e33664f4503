//! Symphony (Chen et al., 2023), for one model: deferred batches.
//!
//! A batch waits for company until one more query would make its head late, the *frontrun
//! time*. Heads that keep a larger batch from being in time are dropped.

use skysail_core::batching::policy::ShedBy;
use skysail_core::batching::{Decision, Policy, View};

use super::{plan, window};
use crate::truth::Shape;

/// Factor on the true profile for noise, chosen for its best goodput.
const MARGIN: f64 = 1.15;

/// Seconds by which rounded times may be off.
const ROUNDING: f64 = 1e-8;

/// The policy; it knows the true profile.
#[derive(Debug)]
pub struct Symphony {
    shape: Shape,
}

impl Symphony {
    /// Knows the shape in advance.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Symphony { shape }
    }

    fn seconds(&self, rows: usize) -> f64 {
        MARGIN * self.shape.seconds(rows as f64)
    }
}

impl Policy for Symphony {
    fn decide(&mut self, view: &View<'_>) -> Decision {
        let head = view.queue.head().expect("a query waits");
        let slack = head.deadline.since(view.now);
        let waiting = view.queue.rows();
        let most = waiting.min(self.shape.rows_max);
        let by_head = self.shape.rows_within(slack / MARGIN).min(most);
        // At the frontrun time of a batch whose rows are free, up to rounding.
        let late = self.seconds(1) > slack + ROUNDING;
        let largest = if late || by_head < most {
            window(view, 1..=most, |rows| self.seconds(rows)).unwrap_or(1)
        } else {
            by_head
        };
        if late || largest > by_head {
            return Decision::Shed {
                before: view.now.after(self.seconds(largest)),
                keep_last: false,
                by: ShedBy::Window,
            };
        }
        let frontrun = head.deadline.after(-self.seconds(by_head + 1));
        if by_head == waiting && by_head < self.shape.rows_max && frontrun > view.now {
            return Decision::Wait(frontrun);
        }
        Decision::Send(plan(by_head, self.seconds(by_head)))
    }
}
