//! What a batching policy sees and says.
//!
//! A policy is asked when a replica is idle, or about to be, and a query waits. It may send, wait or shed; after
//! shedding it is asked again. It learns from every batch that was answered.

use super::curve::Curve;
use super::fleet::Fleet;
use super::queue::{Class, Queue};
use super::time::At;

/// What a policy decides on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The time.
    pub now: At,
    /// When a batch that is sent now begins: later than now if the replica is about to end
    /// another one.
    pub start: At,
    /// What waits: at least one query, none of them past its deadline.
    pub queue: &'a Queue,
    /// The replicas.
    pub fleet: &'a Fleet,
    /// The place of the replica that is idle, or about to be.
    pub replica: usize,
    /// Size of all that ever arrived.
    pub arrived_size: u64,
    /// Whether some application has a guaranteed rate, or queries came with low priority.
    pub contracts: bool,
}

impl View<'_> {
    /// Mean size of a waiting query, at least 1.
    #[must_use]
    pub fn cost_mean(&self) -> f64 {
        (self.queue.size() / self.queue.rows().max(1) as f64).max(1.0)
    }

    /// Whether queries in a contract wait beside others.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        let waits = |class| self.queue.head_of(class).is_some();
        self.contracts && waits(Class::InContract) && waits(Class::OutOfContract)
    }

    /// Most rows of a batch for this replica, as its container said.
    #[must_use]
    pub fn rows_max(&self) -> usize {
        self.fleet.rows_max(self.replica)
    }
}

/// A batch to send.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Most size; the first query is sent whatever its size.
    pub size_max: f64,
    /// Most rows.
    pub rows_max: usize,
    /// Rows that the model computes if shapes are compiled: the batch is padded to it.
    pub padded_rows: Option<usize>,
    /// Whether queries in contract go first.
    pub contract_first: bool,
    /// Seconds it will take.
    pub predicted: f64,
    /// The same with a margin.
    pub cautious: f64,
    /// Seconds after which its queries may be asked elsewhere as well.
    pub hedge_after: Option<f64>,
    /// What limits its size.
    pub limit: Limit,
}

/// What limits the size of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// All that waits.
    Queue,
    /// The rows that the container, or the operator, allows.
    RowsMax,
    /// Twice the largest batch that was seen: slow start.
    SlowStart,
    /// The time that its first query has left.
    Slack,
    /// The size that the policy has for every batch.
    Fixed,
}

impl Limit {
    /// The name in explanations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Limit::Queue => "queue",
            Limit::RowsMax => "rows_max",
            Limit::SlowStart => "slow_start",
            Limit::Slack => "slack",
            Limit::Fixed => "fixed",
        }
    }
}

/// Why queries are shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShedBy {
    /// Not even a batch of its own would be in time any more. Where it never would have been, the
    /// query is not shed: its deadline has as good as passed.
    Hopeless,
    /// Given up so that a larger batch is in time.
    Window,
    /// Out of its application's contract, given up for others.
    Contract,
    /// The oldest of a full queue.
    Door,
}

impl ShedBy {
    /// All of them.
    pub const ALL: [ShedBy; 4] = [
        ShedBy::Hopeless,
        ShedBy::Window,
        ShedBy::Contract,
        ShedBy::Door,
    ];

    /// The name in metrics and explanations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ShedBy::Hopeless => "hopeless",
            ShedBy::Window => "window",
            ShedBy::Contract => "contract",
            ShedBy::Door => "door",
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub enum Decision {
    /// Send a batch to the idle replica.
    Send(Plan),
    /// Give up all due before a time, then ask again. At least one must be.
    Shed {
        /// Those due before this; for [`ShedBy::Contract`] only those out of contract.
        before: At,
        /// Whether the last query in the queue stays whatever its deadline.
        keep_last: bool,
        /// Why.
        by: ShedBy,
    },
    /// Ask again at this time or after the next event.
    Wait(At),
}

/// A batch that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// The time.
    pub now: At,
    /// The place of its replica.
    pub replica: usize,
    /// Queries in it.
    pub rows: usize,
    /// Sum of their costs, with padding.
    pub size: f64,
    /// Seconds from sending it to its reply.
    pub latency: f64,
    /// Of the rows, those past their deadline by now.
    pub late_rows: usize,
    /// Whether a deadline limited its size, rather than the queue.
    pub bound: bool,
    /// Least seconds from arrival to deadline of its queries.
    pub objective: f64,
}

/// What a policy has learned of a model's latency.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// Seconds of a batch, whatever its size, on an average replica.
    pub alpha: f64,
    /// Seconds of each unit of size.
    pub beta: f64,
    /// Seconds by size, for a replica of slowness 1.
    pub curve: Curve,
    /// Factor between a typical latency and the one that is planned with.
    pub margin: f64,
    /// Mean latency over the typical one, stragglers aside.
    pub mean_ratio: f64,
    /// The share of batches that the margin covers.
    pub quantile: f64,
    /// How much waiting for company is allowed: 0 to 1.
    pub patience: f64,
    /// The largest batch that was answered.
    pub seen: f64,
    /// Arrivals a second, in size.
    pub rate: f64,
    /// Slowness of each replica by place: 2 is half as fast as the shape says.
    pub slowness: Vec<f64>,
    /// Shares of latency over prediction by bucket, with the upper edge of each.
    pub residuals: Vec<(f64, f64)>,
}

/// Decides about batches.
pub trait Policy: Send + std::fmt::Debug {
    /// Says what an idle replica shall do.
    fn decide(&mut self, view: &View<'_>) -> Decision;

    /// Learns from a batch.
    fn completed(&mut self, _done: &Done) {}

    /// Queries expired while they waited; the longest time that one of them had was `objective`
    /// seconds.
    fn expired(&mut self, _now: At, _objective: f64) {}

    /// A replica came to this place; what is known of an earlier one there is void.
    fn replica_joined(&mut self, _place: usize, _rows_max: usize) {}

    /// The replica in this place is gone.
    fn replica_left(&mut self, _place: usize) {}

    /// Least seconds before its deadline at which asking a query elsewhere as well makes sense.
    fn hedge_slack(&self) -> f64 {
        0.0
    }

    /// What it has learned, for people.
    fn learned(&self, _now: At) -> Option<Learned> {
        None
    }

    /// Order of idle replicas: the least goes first.
    fn rank(&self, _place: usize) -> f64 {
        0.0
    }
}
