//! What a batcher has done, counted, and its last dispatches, explained.
//!
//! # Cost
//! A few additions a query; an entry of a ring of fixed size a batch.

use std::collections::VecDeque;

use super::fleet::BatchNumber;
use super::policy::{Limit, ShedBy};
use super::time::At;
use crate::replica::ReplicaId;

/// Dispatches that are remembered.
const EXPLAINED_MAX: usize = 128;

/// Why an answer was late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LateBy {
    /// The batch took longer than the margin covers.
    Margin,
    /// The batch took several times what was predicted.
    Straggler,
    /// Request or reply were under way for unusually long.
    Transport,
}

impl LateBy {
    /// All of them.
    pub const ALL: [LateBy; 3] = [LateBy::Margin, LateBy::Straggler, LateBy::Transport];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LateBy::Margin => "margin",
            LateBy::Straggler => "straggler",
            LateBy::Transport => "transport",
        }
    }
}

/// Sums since the batcher was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Queries accepted.
    pub arrived: u64,
    /// Answered by their deadline.
    pub in_time: u64,
    /// Answered later, by [`LateBy`].
    pub late: [u64; LateBy::ALL.len()],
    /// Given up, by [`ShedBy`].
    pub shed: [u64; ShedBy::ALL.len()],
    /// Queries that expired while they waited.
    pub expired: u64,
    /// Batches sent.
    pub batches: u64,
    /// Of them, those sent ahead.
    pub ahead: u64,
    /// Batches asked back.
    pub cancelled: u64,
    /// Queries queued again because their batch was unusually late.
    pub hedged: u64,
    /// Copies that were answered first, those of batches that were asked back among them.
    pub hedges_won: u64,
    /// Rows computed for queries that had their outcome.
    pub rows_wasted: u64,
}

/// A dispatch: what it was decided on, and what came of it.
#[derive(Clone, Copy, Debug)]
pub struct Explained {
    /// Which batch.
    pub number: BatchNumber,
    /// When it was sent.
    pub at: At,
    /// To whom.
    pub replica: ReplicaId,
    /// Queries that waited.
    pub queued: usize,
    /// Seconds that the first of them had left.
    pub head_slack: f64,
    /// Queries given up for it.
    pub shed: u32,
    /// The size that was decided.
    pub size: f64,
    /// What limited the size.
    pub limit: Limit,
    /// Its rows.
    pub rows: usize,
    /// Whether its replica was about to end another.
    pub ahead: bool,
    /// Seconds that it was predicted to take.
    pub predicted: f64,
    /// The same with the margin.
    pub cautious: f64,
    /// Seconds it took, once it was answered.
    pub actual: Option<f64>,
}

/// The last dispatches.
#[derive(Debug)]
pub(super) struct Log(VecDeque<Explained>);

impl Default for Log {
    fn default() -> Self {
        Log(VecDeque::with_capacity(EXPLAINED_MAX))
    }
}

impl Log {
    pub(super) fn add(&mut self, dispatch: Explained) {
        if self.0.len() == EXPLAINED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(dispatch);
    }

    /// A batch took so many seconds.
    pub(super) fn ended(&mut self, number: BatchNumber, seconds: f64) {
        let Ok(index) = self.0.binary_search_by_key(&number, |one| one.number) else {
            return;
        };
        self.0[index].actual = Some(seconds);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Explained> {
        self.0.iter()
    }
}
