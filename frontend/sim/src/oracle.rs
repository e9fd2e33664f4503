//! A clairvoyant batcher: window-EDF that knows how long each replica's next batch will take.
//!
//! Besides it keeps, in hindsight, the best of several targets for the size of a window. A
//! replica whose next batch is a straggler gets one query to be done with it.

use skysail_core::batching::profile::LatencyModel;
use skysail_core::batching::{Decision, Done, Limit, Plan, Policy, View, Window, WindowOptions};

use crate::truth::{Noise, Shape};

/// Targets that are tried: the share of the objective that a batch may take, and the share
/// that a query may wait for company.
pub const TARGETS: [(f64, f64); 5] = [(1.0, 0.5), (1.0, 0.0), (0.75, 0.5), (0.6, 0.5), (0.5, 0.5)];

/// From this factor on a batch is better wasted.
const STRAGGLER: f64 = 4.0;

/// The latency of the next batch of each replica, as it will be.
#[derive(Debug)]
pub struct Truth {
    shape: Shape,
    noise: Noise,
    /// Batches that each replica has started, and the factor of its next one.
    next: Vec<(u64, f64)>,
    cap: f64,
}

impl Truth {
    fn factor(&self, replica: usize) -> f64 {
        let factor = self.next[replica].1;
        if factor > STRAGGLER { 1.0 } else { factor }
    }

    fn started(&mut self, replica: usize) {
        let (batches, factor) = &mut self.next[replica];
        *batches += 1;
        *factor = self.noise.factor(replica, *batches);
    }
}

impl LatencyModel for Truth {
    fn typical(&self, replica: usize, size: f64) -> f64 {
        self.factor(replica) * self.shape.seconds(size)
    }

    fn cautious(&self, replica: usize, size: f64) -> f64 {
        self.typical(replica, size) + 1e-8
    }

    fn size_within(&self, replica: usize, seconds: f64) -> f64 {
        let left = (seconds - 1e-8) / self.factor(replica) - self.shape.alpha;
        let computed = (left / self.shape.beta).max(0.0);
        self.shape.form.rows_within(computed)
    }

    fn size_cap(&self) -> f64 {
        self.cap
    }

    fn affine(&self) -> (f64, f64) {
        (self.shape.alpha, self.shape.beta)
    }

    fn unusual(&self, _replica: usize, _size: f64) -> f64 {
        1e9
    }

    fn replica_joined(&mut self, replica: usize) {
        self.next.resize(replica + 1, (0, 0.0));
        self.next[replica] = (0, self.noise.factor(replica, 0));
    }
}

/// The clairvoyant policy.
#[derive(Debug)]
pub struct Oracle(Window<Truth>);

impl Oracle {
    /// With one of [`TARGETS`].
    #[must_use]
    pub fn new(shape: Shape, noise: Noise, objective: f64, target: (f64, f64)) -> Self {
        let truth = Truth {
            shape,
            noise,
            next: Vec::new(),
            cap: shape.rows_within(target.0 * objective) as f64,
        };
        let options = WindowOptions {
            wait_share_max: target.1,
            ..WindowOptions::default()
        };
        Oracle(Window::with_model(options, truth))
    }
}

impl Policy for Oracle {
    fn decide(&mut self, view: &View<'_>) -> Decision {
        let factor = self.0.model().next[view.replica].1;
        let decision = if factor > STRAGGLER {
            Decision::Send(Plan {
                size_max: 1.0,
                rows_max: 1,
                padded_rows: None,
                contract_first: false,
                predicted: factor * self.0.model().shape.seconds(1.0),
                hedge_after: None,
                limit: Limit::Fixed,
                cautious: 0.0,
            })
        } else {
            self.0.decide(view)
        };
        if let Decision::Send(_) = decision {
            self.0.model_mut().started(view.replica);
        }
        decision
    }

    fn completed(&mut self, _done: &Done) {}

    fn expired(&mut self, now: skysail_core::batching::At, objective: f64) {
        self.0.expired(now, objective);
    }

    fn replica_joined(&mut self, place: usize, rows_max: usize) {
        self.0.replica_joined(place, rows_max);
    }

    fn rank(&self, place: usize) -> f64 {
        self.0.model().next[place].1
    }
}
