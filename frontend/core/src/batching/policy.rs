//! What a batching policy sees and says.
//!
//! A policy is asked when a replica is idle and a query waits. It may send, wait or shed; after
//! shedding it is asked again. It learns from every batch that was answered.

use super::fleet::Fleet;
use super::queue::Queue;
use super::time::At;

/// What a policy decides on.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The time.
    pub now: At,
    /// What waits: at least one query, none of them past its deadline.
    pub queue: &'a Queue,
    /// The replicas.
    pub fleet: &'a Fleet,
    /// The place of the replica that is idle.
    pub replica: usize,
    /// Size of all that ever arrived.
    pub arrived_size: u64,
    /// Whether some application has a guaranteed rate.
    pub contracts: bool,
}

impl View<'_> {
    /// Mean size of a waiting query, at least 1.
    #[must_use]
    pub fn cost_mean(&self) -> f64 {
        (self.queue.size() / self.queue.rows().max(1) as f64).max(1.0)
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
    /// Seconds after which its queries may be asked elsewhere as well.
    pub hedge_after: Option<f64>,
    /// Whether a deadline limited its size, rather than the queue.
    pub bound: bool,
}

/// Why queries are shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShedBy {
    /// Not even a batch of its own would be in time.
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
    /// As planned.
    pub bound: bool,
    /// Least seconds from arrival to deadline of its queries.
    pub objective: f64,
}

/// Decides about batches.
pub trait Policy: Send + std::fmt::Debug {
    /// Says what an idle replica shall do.
    fn decide(&mut self, view: &View<'_>) -> Decision;

    /// Learns from a batch.
    fn completed(&mut self, _done: &Done) {}

    /// Queries expired while they waited.
    fn expired(&mut self, _now: At) {}

    /// A replica came to this place; what is known of an earlier one there is void.
    fn replica_joined(&mut self, _place: usize, _rows_max: usize) {}

    /// Least seconds before its deadline at which asking a query elsewhere as well makes sense.
    fn hedge_slack(&self) -> f64 {
        0.0
    }

    /// Order of idle replicas: the least goes first.
    fn rank(&self, _place: usize) -> f64 {
        0.0
    }
}
