//! Policies of a mere size: a fixed one with a wait, and Clipper's AIMD.
//!
//! They look at neither deadlines nor predictions: a batch is full, or its first query has
//! waited long enough. Expired queries are removed before, as under every policy.

use super::policy::{Decision, Done, Limit, Plan, Policy, View};
use crate::sizing::{Completed, Sizer, Sizing};
use std::time::Duration;

/// A [`Sizer`] for each replica.
#[derive(Debug)]
pub struct Sized {
    sizing: Sizing,
    sizers: Vec<Box<dyn Sizer>>,
}

impl Sized {
    /// Sizes by a rule.
    #[must_use]
    pub fn new(sizing: Sizing) -> Self {
        Sized {
            sizing,
            sizers: Vec::new(),
        }
    }
}

impl Policy for Sized {
    fn decide(&mut self, view: &View<'_>) -> Decision {
        let sizer = &self.sizers[view.replica];
        let (rows_max, wait) = (sizer.size_max(), sizer.wait_max());
        let head = view.queue.head().expect("a query waits");
        if view.queue.rows() < rows_max && !wait.is_zero() {
            let half = head.deadline.since(head.arrival) / 2.0;
            let until = head.arrival.after(wait.as_secs_f64().min(half));
            if until > view.now {
                return Decision::Wait(until);
            }
        }
        Decision::Send(Plan {
            size_max: f64::INFINITY,
            rows_max,
            padded_rows: None,
            contract_first: false,
            predicted: 0.0,
            cautious: 0.0,
            hedge_after: None,
            limit: if view.queue.rows() > rows_max {
                Limit::Fixed
            } else {
                Limit::Queue
            },
        })
    }

    fn completed(&mut self, done: &Done) {
        self.sizers[done.replica].completed(Completed {
            rows: done.rows,
            latency: Duration::from_secs_f64(done.latency.max(0.0)),
            objective: Duration::from_secs_f64(done.objective.max(0.0)),
        });
    }

    fn replica_joined(&mut self, place: usize, rows_max: usize) {
        let fresh = || self.sizing.sizer(rows_max);
        if place >= self.sizers.len() {
            self.sizers.resize_with(place + 1, fresh);
        } else {
            self.sizers[place] = fresh();
        }
    }
}
