//! How the rows of a batch become few ranges.
//!
//! Queries are put into the order of their rows, which makes as few ranges as there can be
//! without a copy. If these are more than [`RANGES_MAX`], or rows lie elsewhere, the rows outside
//! of the longest runs move to the open end of the log, where they lie side by side.
//!
//! # Invariants
//! - A query keeps its bytes; only where they lie changes.
//! - What is assembled has every query's row, in the order that the queries have then.
//!
//! # Cost
//! A sort of the queries if they are out of order, which allocates nothing; a copy of each row
//! that moves.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{RANGES_MAX, RowLog, RowRanges};
use crate::copies::Copied;
use crate::payload::{Payload, PayloadBuf};

/// Times that rows are moved: a second time if the first ones came to lie on two sides of the
/// end of a segment.
const MOVES_MAX: usize = 2;

/// A query, as far as its rows matter.
pub trait Placed {
    /// Its row of the first tensor.
    fn first_tensor(&self) -> &Payload;

    /// Copies its row of every tensor into `bufs`, which are empty and have room for it, and
    /// lies there from now on.
    fn move_into(&mut self, bufs: SmallVec<[PayloadBuf; 1]>, why: Copied);
}

/// The rows of `queries`, which come into the order of their rows. `None` if the log has no room
/// for those that must move; the queries are as good as before then, in another order.
pub fn assemble<Q: Placed>(log: &Arc<RowLog>, queries: &mut [Q]) -> Option<RowRanges> {
    in_order(log, queries).or_else(|| {
        (0..MOVES_MAX).find_map(|_| {
            move_some(log, queries)?;
            in_order(log, queries)
        })
    })
}

/// The ranges, if all of the rows lie in the log and they are few enough.
fn in_order<Q: Placed>(log: &Arc<RowLog>, queries: &mut [Q]) -> Option<RowRanges> {
    let row = |query: &Q| query.first_tensor().row_in(log);
    if !queries.is_sorted_by_key(row) {
        queries.sort_unstable_by_key(row);
    }
    RowRanges::of(log, queries.iter().map(Q::first_tensor))
}

/// Moves those of `queries` in order that are too many; `None` if there is no room.
#[cold]
fn move_some<Q: Placed>(log: &Arc<RowLog>, queries: &mut [Q]) -> Option<()> {
    let row = |query: &Q| query.first_tensor().row_in(log);
    let rows: Vec<Option<u32>> = queries.iter().map(row).collect();
    for index in runs_to_move(&rows).into_iter().flatten() {
        let why = rows[index].map_or(Copied::FurtherModel, |_| Copied::Gathered);
        queries[index].move_into(log.claim()?.into_bufs(), why);
    }
    Some(())
}

/// Of rows in ascending order, `None` for one that is not in the log: which ones have to move
/// for the others to be less than [`RANGES_MAX`] ranges. Those outside of the log come first,
/// then the shortest runs.
fn runs_to_move(rows: &[Option<u32>]) -> Vec<Range<usize>> {
    let mut runs = runs(rows);
    let is_in_log = |run: &Range<usize>| rows[run.start].is_some();
    runs.sort_by_key(|run| (is_in_log(run), run.len()));
    // One range is for those that are moved.
    let in_log = runs.iter().filter(|run| is_in_log(run)).count();
    runs.truncate(runs.len() - in_log.min(RANGES_MAX - 1));
    runs
}

/// The longest stretches of `rows` that lie side by side; each row outside of the log is one.
fn runs(rows: &[Option<u32>]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let follows = |row: Option<u32>, before: Option<u32>| {
        row.is_some_and(|row| before.and_then(|before| before.checked_add(1)) == Some(row))
    };
    for (at, row) in rows.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if follows(*row, rows[at - 1]) => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests;
