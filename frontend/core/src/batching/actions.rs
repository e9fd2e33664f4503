//! What goes into a batcher, and what comes out of it.

use std::time::{Duration, Instant};

use super::fleet::BatchNumber;
use super::policy::ShedBy;
use crate::Cause;
use crate::replica::ReplicaId;

/// What a batcher must know of an arriving query.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Whose it is: a small index that the caller assigns.
    pub application: usize,
    /// When it must be answered.
    pub deadline: Instant,
    /// What it adds to a batch: 1, or rows, bytes or tokens where inputs differ. At least 1.
    pub cost: u32,
    /// Bytes that it keeps alive.
    pub bytes: usize,
    /// Whether it may be served after others.
    pub priority: Priority,
}

/// Which queries go first when not all can be served in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// By its application's guarantee, if there is one, and its deadline.
    #[default]
    Normal,
    /// After all others, as what is beyond a guarantee.
    Low,
}

/// A batch to send; its queries are told by [`super::Batcher::batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// To whom.
    pub replica: ReplicaId,
    /// Which batch.
    pub number: BatchNumber,
    /// Its queries.
    pub rows: usize,
    /// Rows to pad it to, for compiled shapes.
    pub padded_rows: Option<usize>,
}

/// A batch to ask back from its replica, if that has not begun it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// From whom.
    pub replica: ReplicaId,
    /// Which batch.
    pub number: BatchNumber,
}

/// A query whose answer came.
#[derive(Debug)]
pub struct Answered<Q> {
    /// Which.
    pub query: Q,
    /// Its row in the batch.
    pub row: usize,
}

/// A query that gets no answer.
#[derive(Debug)]
pub struct Returned<Q> {
    /// Which.
    pub query: Q,
    /// Why.
    pub cause: Cause,
    /// Which rule gave it up, if it was shed.
    pub shed_by: Option<ShedBy>,
}

impl<Q> Returned<Q> {
    /// One that no rule of a policy gave up.
    #[must_use]
    pub fn new(query: Q, cause: Cause) -> Self {
        Returned {
            query,
            cause,
            shed_by: None,
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub struct Actions<Q> {
    /// Send these batches.
    pub dispatches: Vec<Dispatch>,
    /// Ask these batches back. Each is ended by the caller all the same, when it is answered.
    pub cancels: Vec<Cancel>,
    /// Give these their predictions.
    pub answered: Vec<Answered<Q>>,
    /// Give these their default, at once.
    pub given_back: Vec<Returned<Q>>,
    /// Poll at this time at the latest; replaces what was said before.
    pub wake_at: Option<Instant>,
}

impl<Q> Default for Actions<Q> {
    fn default() -> Self {
        Actions {
            dispatches: Vec::new(),
            cancels: Vec::new(),
            answered: Vec::new(),
            given_back: Vec::new(),
            wake_at: None,
        }
    }
}

impl<Q> Actions<Q> {
    /// Empties it, and keeps its room.
    pub fn clear(&mut self) {
        self.dispatches.clear();
        self.cancels.clear();
        self.answered.clear();
        self.given_back.clear();
        self.wake_at = None;
    }
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer for each row.
    Answered {
        /// Time inside the model, as the container says.
        compute: Duration,
    },
    /// The model failed on it.
    Failed,
    /// Every deadline in it had passed before it began.
    Expired,
    /// Never computed: cancelled, or not sent. Its queries are queued again.
    Cancelled,
}
