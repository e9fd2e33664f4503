//! From queries to the columns of a batch, and from its result back to their answers.

use std::sync::Arc;
use std::time::Duration;

use skysail_core::Cause;
use skysail_core::replica::BatchEnd;
use skysail_core::sizing::Completed;
use skysail_rpc::message::RowError;
use skysail_rpc::session::BatchResult;
use skysail_rpc::tensor::{Column, ColumnBuilder};
use skysail_rpc::{Cell, Schema};
use smallvec::SmallVec;

use crate::answer::{Failure, Output};
use crate::ask::Ask;
use crate::lane::Lane;

/// One column an input tensor, a row a query: each row is copied once.
pub(super) fn gather(schema: &Schema, asks: &[Ask]) -> SmallVec<[Column; 1]> {
    let column = |(index, spec)| {
        let mut builder = ColumnBuilder::new(spec, asks.len());
        for ask in asks {
            builder.push(&ask.input.0[index]);
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
        BatchResult::Cancelled => BatchEnd::Cancelled,
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
        BatchResult::Ok { .. } | BatchResult::Cancelled => None,
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

/// Tells every query of a batch what came of it.
pub(super) fn answer(asks: Vec<Ask>, result: BatchResult, schema: &Arc<Schema>) {
    match result {
        BatchResult::Ok {
            columns,
            row_errors,
        } => answer_rows(asks, &columns, &row_errors, schema),
        BatchResult::Failed { error } => answer_all(asks, &model_error(&error)),
        BatchResult::Cancelled => answer_all(asks, &Cause::Shed.into()),
    }
}

fn answer_all(asks: Vec<Ask>, failure: &Failure) {
    asks.into_iter()
        .for_each(|ask| ask.answer(Err(failure.clone())));
}

fn answer_rows(asks: Vec<Ask>, columns: &[Column], errors: &[RowError], schema: &Arc<Schema>) {
    let mut rows: SmallVec<[_; 1]> = columns.iter().map(Column::cells).collect();
    let mut errors = errors.iter().peekable();
    for (row, ask) in (0..).zip(asks) {
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
