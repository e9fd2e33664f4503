//! What a batcher has done, counted, and its last dispatches, explained.
//!
//! # Cost
//! A few additions a query; an entry of a ring of fixed size and three counts of histograms a
//! batch.

use std::collections::VecDeque;

use super::fleet::BatchNumber;
use super::histogram::{Histogram, RATIOS, SECONDS};
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
    /// Rows in them.
    pub rows: u64,
    /// What their queries waited for it, together, in microseconds.
    pub waited_micros: u64,
    /// Of the batches, those sent ahead.
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
    /// Seconds that the first of them had waited.
    pub head_wait: f64,
    /// Seconds that it had left.
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

/// How dispatches were spread since the batcher was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Seconds that the first query of each batch had waited.
    pub wait: Histogram,
    /// Seconds that it had left.
    pub slack: Histogram,
    /// Seconds that each answered batch took, over those predicted.
    pub ratio: Histogram,
}

impl Default for Spread {
    fn default() -> Self {
        Spread {
            wait: Histogram::new(SECONDS),
            slack: Histogram::new(SECONDS),
            ratio: Histogram::new(RATIOS),
        }
    }
}

/// The last dispatches, and how all of them were spread.
#[derive(Debug)]
pub(super) struct Log {
    last: VecDeque<Explained>,
    spread: Spread,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            last: VecDeque::with_capacity(EXPLAINED_MAX),
            spread: Spread::default(),
        }
    }
}

impl Log {
    pub(super) fn add(&mut self, dispatch: Explained) {
        self.spread.wait.add(dispatch.head_wait);
        self.spread.slack.add(dispatch.head_slack);
        if self.last.len() == EXPLAINED_MAX {
            self.last.pop_front();
        }
        self.last.push_back(dispatch);
    }

    /// A batch took so many seconds, and `predicted` were expected; 0 if none were.
    pub(super) fn ended(&mut self, number: BatchNumber, seconds: f64, predicted: f64) {
        if predicted > 0.0 {
            self.spread.ratio.add(seconds / predicted);
        }
        let Ok(index) = self.last.binary_search_by_key(&number, |one| one.number) else {
            return;
        };
        self.last[index].actual = Some(seconds);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Explained> {
        self.last.iter()
    }

    pub(super) fn spread(&self) -> &Spread {
        &self.spread
    }
}
