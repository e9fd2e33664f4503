//! From queries to the columns of a batch, and from its result back to their answers.

use std::sync::Arc;
use std::time::Duration;

use skysail_core::replica::BatchEnd;
use skysail_core::sizing::Completed;
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
use crate::lane::{Agreed, Lane};

/// The tensors of a batch, a row a query. Rows of the version's log stay where they are, or
/// some move there ([`rows::assemble`]); where the log is full, or rows have no fixed size, all
/// are copied into a tensor of their own.
pub(super) fn assemble(agreed: &Agreed, asks: &mut [Ask]) -> Tensors {
    match agreed.log().and_then(|log| rows::assemble(log, asks)) {
        Some(ranges) => Tensors::Rows(Rows {
            schema: agreed.schema.clone(),
            ranges,
        }),
        None => Tensors::Columns(gather(&agreed.schema, asks)),
    }
}

impl Placed for Ask {
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

/// One column an input tensor: each row is copied once.
fn gather(schema: &Schema, asks: &[Ask]) -> Columns {
    let column = |(index, spec): (usize, &TensorSpec)| {
        let mut builder = ColumnBuilder::new(spec, asks.len());
        for ask in asks {
            builder.push(&ask.input.0[index]);
            copies::record(Copied::Gathered, ask.input.0[index].data().len());
        }
        builder.finish()
    };
    schema.inputs.iter().enumerate().map(column).collect()
}

/// What the replica's health and batch size learn from.
pub(super) fn batch_end(result: &BatchResult, asks: &[Ask], latency: Duration) -> BatchEnd {
    let objective = asks.iter().map(Ask::objective).min().unwrap_or(latency);
    match result {
        BatchResult::Ok { .. } => BatchEnd::Answered(Completed {
            rows: asks.len(),
            latency,
            objective,
        }),
        BatchResult::Failed { .. } => BatchEnd::Failed,
        BatchResult::Cancelled | BatchResult::Expired => BatchEnd::NotComputed,
    }
}

/// Counts a batch that came back.
pub(super) fn observe(
    lane: &Lane,
    result: &BatchResult,
    rows: usize,
    (round_trip, compute): (Duration, Duration),
) {
    lane.metrics.batch_rows.observe(rows as f64);
    lane.metrics.batch_seconds.observe(round_trip.as_secs_f64());
    lane.metrics.compute_seconds.observe(compute.as_secs_f64());
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

/// Tells every query of a batch what came of it; leaves the list empty.
pub(super) fn answer(asks: &mut Vec<Ask>, result: BatchResult, schema: &Arc<Schema>) {
    match result {
        BatchResult::Ok {
            columns,
            row_errors,
        } => answer_rows(asks, &columns, &row_errors, schema),
        BatchResult::Failed { error } => answer_all(asks, &model_error(&error)),
        BatchResult::Cancelled => answer_all(asks, &Cause::Shed.into()),
        BatchResult::Expired => answer_all(asks, &Cause::ExpiredModel.into()),
    }
}

fn answer_all(asks: &mut Vec<Ask>, failure: &Failure) {
    asks.drain(..)
        .for_each(|ask| ask.answer(Err(failure.clone())));
}

fn answer_rows(asks: &mut Vec<Ask>, columns: &[Column], errors: &[RowError], schema: &Arc<Schema>) {
    let mut rows: SmallVec<[_; 1]> = columns.iter().map(Column::cells).collect();
    let mut errors = errors.iter().peekable();
    for (row, ask) in (0..).zip(asks.drain(..)) {
        let cells: SmallVec<[Cell; 1]> = rows.iter_mut().filter_map(Iterator::next).collect();
        match errors.next_if(|error| error.row == row) {
            Some(error) => ask.answer(Err(model_error(&error.error))),
            None => ask.answer(Ok(Output {
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
