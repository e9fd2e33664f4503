//! Other batchers, rewritten as policies for one model.
//!
//! [`Eager`] with and without tuning stands for Triton's dynamic batcher, [`Clockwork`] and
//! [`Symphony`] for the systems of those names. All of them run on the same queue, which drops
//! what has expired.

mod clockwork;
mod eager;
mod symphony;

pub use clockwork::Clockwork;
pub use eager::Eager;
pub use symphony::Symphony;

use skysail_core::batching::queue::Class;
use skysail_core::batching::{Limit, Plan, View};

/// A batch of so many rows.
fn plan(rows_max: usize, predicted: f64) -> Plan {
    Plan {
        size_max: f64::INFINITY,
        rows_max,
        padded_rows: None,
        contract_first: false,
        predicted,
        hedge_after: None,
        limit: Limit::Fixed,
        cautious: 0.0,
    }
}

/// The largest batch of the candidates, which ascend, that the queue can still fill in time.
fn window(
    view: &View<'_>,
    candidates: impl Iterator<Item = usize>,
    seconds: impl Fn(usize) -> f64,
) -> Option<usize> {
    let fits = |rows: &usize| {
        let end = view.now.after(seconds(*rows));
        view.queue.size_from(Class::Any, end) >= *rows as f64
    };
    candidates.take_while(fits).last()
}
