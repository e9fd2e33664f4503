//! Clockwork (Gujarati et al., OSDI 2020), for one model.
//!
//! Batches are powers of two, predicted by the longest of the last ten measurements. Of the
//! sizes that can still be met the largest runs. One straggler would rule a size out for ever,
//! because a size that does not run is not measured; so a size that is out of use for a while
//! is taken to be as fast as it has last been.

use std::collections::VecDeque;

use skysail_core::batching::policy::ShedBy;
use skysail_core::batching::{At, Decision, Done, Policy, View};

use super::{plan, window};
use crate::truth::Shape;

const MEASUREMENTS: usize = 10;
/// Seconds out of use after which the longest measurements of a size are forgotten.
const FORGET: f64 = 0.1;

/// The policy; it starts from the true profile.
#[derive(Debug)]
pub struct Clockwork {
    /// Of each power of two.
    measured: Vec<VecDeque<f64>>,
    /// When a size was last measured.
    used: Vec<At>,
}

impl Clockwork {
    /// Knows the shape in advance.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let powers = (0..).take_while(|power| 1 << power <= shape.rows_max);
        let seconds = |power: u32| shape.seconds(f64::from(1_u32 << power));
        let measured: Vec<_> = powers
            .map(|power| VecDeque::from([seconds(power)]))
            .collect();
        Clockwork {
            used: vec![At::default(); measured.len()],
            measured,
        }
    }

    fn seconds(&self, rows: usize) -> f64 {
        let of_size = self.measured[rows.ilog2() as usize].iter();
        of_size.copied().fold(0.0, f64::max)
    }

    fn forget(&mut self, now: At) {
        for (measured, used) in self.measured.iter_mut().zip(&mut self.used) {
            if now.since(*used) > FORGET && measured.len() > 1 {
                let least = measured.iter().copied().fold(f64::INFINITY, f64::min);
                measured.clear();
                measured.push_back(least);
                *used = now;
            }
        }
    }

    fn sizes(&self) -> impl Iterator<Item = usize> {
        (0..self.measured.len()).map(|power| 1 << power)
    }
}

impl Policy for Clockwork {
    fn decide(&mut self, view: &View<'_>) -> Decision {
        self.forget(view.now);
        let head = view.queue.head().expect("a query waits");
        let slack = head.deadline.since(view.now);
        let shed = |rows: usize| Decision::Shed {
            before: view.now.after(self.seconds(rows)),
            keep_last: false,
            by: ShedBy::Window,
        };
        let fits = |rows: &usize| *rows <= view.queue.rows() && self.seconds(*rows) <= slack;
        let by_head = self.sizes().filter(fits).last();
        let largest = window(view, self.sizes(), |rows| self.seconds(rows));
        match (by_head, largest) {
            (None, largest) => shed(largest.unwrap_or(1)),
            (Some(by_head), Some(largest)) if largest > by_head => shed(largest),
            (Some(rows), _) => Decision::Send(plan(rows, self.seconds(rows))),
        }
    }

    fn completed(&mut self, done: &Done) {
        let power = done.rows.max(1).ilog2() as usize;
        self.used[power] = done.now;
        let measured = &mut self.measured[power];
        if measured.len() == MEASUREMENTS {
            measured.pop_front();
        }
        measured.push_back(done.latency);
    }
}
