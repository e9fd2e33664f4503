//! From queries to the columns of a batch, and from its result back to their answers.

use std::sync::Arc;
use std::time::Duration;

use skysail_core::batching::{Answered, Ended};
use skysail_core::{Cause, Input};
use skysail_rpc::copies::{self, Copied};
use skysail_rpc::message::{RowError, Tensors};
use skysail_rpc::rows::{self, Placed};
use skysail_rpc::session::BatchResult;
use skysail_rpc::tensor::{Column, ColumnBuilder, Columns, Rows};
use skysail_rpc::{Cell, Payload, PayloadBuf, Schema, TensorSpec};
use smallvec::SmallVec;

use crate::answer::{Failure, Output};
use crate::ask::Ask;
use crate::lane::{Agreed, Lane, Row};

/// The tensors of a batch, a row a query. Rows of the version's log stay where they are, or
/// some move there ([`rows::assemble`]); where the log is full, or rows have no fixed size, all
/// are copied into a tensor of their own.
pub(super) fn assemble(agreed: &Agreed, batch: &mut [Row]) -> Tensors {
    match agreed.log().and_then(|log| rows::assemble(log, batch)) {
        Some(ranges) => Tensors::Rows(Rows {
            schema: agreed.schema.clone(),
            ranges,
        }),
        None => Tensors::Columns(gather(&agreed.schema, batch)),
    }
}

/// One column an input tensor: each row is copied once.
fn gather(schema: &Schema, batch: &[Row]) -> Columns {
    let column = |(index, spec): (usize, &TensorSpec)| {
        let mut builder = ColumnBuilder::new(spec, batch.len());
        for Row { input, .. } in batch {
            builder.push(&input.0[index]);
            copies::record(Copied::Gathered, input.0[index].data().len());
        }
        builder.finish()
    };
    schema.inputs.iter().enumerate().map(column).collect()
}

impl Placed for Row {
    fn first_tensor(&self) -> &Payload {
        self.input.0[0].data()
    }

    fn move_into(&mut self, mut bufs: SmallVec<[PayloadBuf; 1]>, why: Copied) {
        for (cell, buf) in self.input.0.iter().zip(&mut bufs) {
            buf.extend_from_slice(cell.data().as_bytes());
            copies::record(why, cell.data().len());
        }
        let cells = bufs.into_iter().map(|buf| Cell::fixed(buf.freeze()));
        self.input = Input(cells.collect());
    }
}

/// The order in which the rows of a batch were sent.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Where each row of the batcher's order was; empty if it was the same.
    sent_at: Vec<u32>,
}

impl Order {
    /// Takes note of a batch.
    pub(super) fn note(&mut self, rows: &[Row]) {
        self.sent_at.clear();
        if rows.is_sorted_by_key(|row| row.index) {
            return;
        }
        self.sent_at.resize(rows.len(), 0);
        for (at, row) in (0..).zip(rows) {
            self.sent_at[row.index as usize] = at;
        }
    }

    /// Puts the queries of the batch into the order in which their rows were sent.
    pub(super) fn restore(&self, answered: &mut [Answered<Ask>]) {
        if self.sent_at.is_empty() {
            return;
        }
        for one in &mut *answered {
            one.row = self.sent_at[one.row] as usize;
        }
        answered.sort_unstable_by_key(|one| one.row);
    }
}

/// How a batch ended, for its lane.
pub(super) fn ended(result: &BatchResult, compute: Duration) -> Ended {
    match result {
        BatchResult::Ok { .. } => Ended::Answered { compute },
        BatchResult::Failed { .. } => Ended::Failed,
        BatchResult::Cancelled => Ended::Cancelled,
        BatchResult::Expired => Ended::Expired,
    }
}

/// Counts a batch that came back.
pub(super) fn observe(
    lane: &Lane,
    result: &BatchResult,
    rows: usize,
    (round_trip, compute): (Duration, Duration),
) {
    lane.metrics.batch_rows.observe(rows);
    lane.metrics.batch_seconds.observe(round_trip);
    lane.metrics.compute_seconds.observe(compute);
    if let BatchResult::Ok { .. } = result {
        lane.requests.computed(rows, compute);
    }
    let failed = match result {
        BatchResult::Failed { error } => Some(error),
        _ => None,
    };
    if failed.is_some() {
        lane.metrics.failed_model_error.inc();
    }
    // Changes only: a model that fails every batch must not flood the log.
    if lane.set_failing(failed.is_some()) {
        let (model, version) = (&lane.model, &lane.version);
        match failed {
            Some(error) => tracing::warn!(%model, %version, rows, ?error, "the model fails"),
            None => tracing::info!(%model, %version, "the model answers again"),
        }
    }
}

/// Tells the queries of a batch what came of their rows; leaves the list empty. They are in
/// the order of their rows; a row whose query had its outcome before is passed over.
pub(super) fn answer_rows(
    answered: &mut Vec<Answered<Ask>>,
    columns: &[Column],
    errors: &[RowError],
    schema: &Arc<Schema>,
) {
    let mut columns: SmallVec<[_; 1]> = columns.iter().map(Column::cells).collect();
    let mut errors = errors.iter().peekable();
    let mut next = 0;
    for Answered { query, row } in answered.drain(..) {
        let skipped = row - next;
        next = row + 1;
        let cells = columns.iter_mut().filter_map(|cells| cells.nth(skipped));
        let cells: SmallVec<[Cell; 1]> = cells.collect();
        while errors.next_if(|error| (error.row as usize) < row).is_some() {}
        match errors.next_if(|error| error.row as usize == row) {
            Some(error) => query.answer(Err(model_error(&error.error))),
            None => query.answer(Ok(Output {
                schema: schema.clone(),
                cells,
            })),
        }
    }
}

fn model_error(error: &str) -> Failure {
    Failure {
        cause: Cause::ModelError,
        detail: Some(error.into()),
    }
}
