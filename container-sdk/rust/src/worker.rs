//! A loaded model and what it takes to answer one batch with it.
//!
//! # Invariants
//! - An error or a panic of the model fails the batch at hand and nothing else.
//! - An [`Answer`] has the rows, types and shapes that the signature says.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_rpc::channel::Room;
use skysail_rpc::limits::MESSAGE_BYTES_MAX;
use skysail_rpc::message::RowError;
use skysail_rpc::tensor::Columns;
use skysail_rpc::{Cell, Schema, TensorSpec};

use crate::error::causes;
use crate::outputs::{Outputs, too_many_errors};
use crate::{
    Batch, Ctx, Model, Predictor, Result, Signature, Source, StartError, Typed, Unfit, synth,
};

/// A loaded model that answers batches, without a front end.
///
/// This is what the container runs, and what an author's own tests may drive:
///
/// ```
/// # use skysail_container::{Batch, Ctx, Model, Outputs, Result, Signature, Worker};
/// # struct Twice;
/// # impl Model for Twice {
/// #     fn signature() -> Signature { Signature::new().input("x", "f32").output("y", "f32") }
/// #     fn load(_: &Ctx) -> Result<Self> { Ok(Twice) }
/// #     fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
/// #         out.f32_mut("y")?.iter_mut().zip(batch.f32("x")?).for_each(|(y, x)| *y = 2.0 * x);
/// #         Ok(())
/// #     }
/// # }
/// use skysail_container::{Cell, Payload};
/// let mut worker = Worker::<Twice>::load(Ctx::new(".")).expect("loads");
/// let rows = [[Cell::fixed(Payload::copy_from_slice(&1.5_f32.to_le_bytes()))]];
/// let answer = worker.predict_rows(&rows).expect("answers");
/// assert_eq!(answer.columns[0].as_slice(), Some(&[3.0_f32][..]));
/// ```
#[derive(Debug)]
pub struct Worker<M> {
    model: M,
    ctx: Ctx,
    signature: Signature,
    schema: Arc<Schema>,
    max_batch: usize,
    /// Both are used again for each batch.
    batch: Batch,
    out: Outputs,
}

/// What a model said to one batch.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The output tensors, in the order of the signature.
    pub columns: Columns,
    /// Rows that failed on their own, ascending; their outputs mean nothing.
    pub row_errors: Vec<RowError>,
    /// Time inside the model.
    pub compute: Duration,
}

impl<M: Model> Worker<M> {
    /// Loads the model. It is not warmed up yet.
    ///
    /// # Errors
    /// If the signature is not valid, or the model fails or panics.
    pub fn load(ctx: Ctx) -> Result<Self, StartError> {
        Self::load_from(&Typed::default(), ctx)
    }
}

impl<M: Predictor> Worker<M> {
    /// Loads the model that `source` has. It is not warmed up yet.
    ///
    /// # Errors
    /// If the signature is not valid, or the model fails or panics.
    pub fn load_from<S: Source<Loaded = M>>(source: &S, ctx: Ctx) -> Result<Self, StartError> {
        let signature = source.signature();
        let (schema, max_batch) = signature.clone().build()?;
        let model = caught(|| source.load(&ctx)).map_err(|error| not_loaded(&*error))?;
        let schema = Arc::new(schema);
        Ok(Worker {
            model,
            ctx,
            signature,
            max_batch,
            batch: Batch::new(0, schema.clone(), Columns::new()),
            out: Outputs::new(schema.clone()),
            schema,
        })
    }

    /// Warms the model up.
    ///
    /// # Errors
    /// If the model fails or panics.
    pub fn warm_up(&mut self) -> Result<(), StartError> {
        guarded(|| self.model.warm_up(&self.signature, &self.ctx)).map_err(StartError::WarmUp)
    }

    /// The model's tensors.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The most rows of a batch.
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// Answers a batch given as rows, each with one cell an input tensor, without a deadline.
    ///
    /// # Errors
    /// Why the whole batch failed: a row that does not fit the signature, no rows or more than
    /// the most, or what the model said.
    pub fn predict_rows<R: AsRef<[Cell]>>(&mut self, rows: &[R]) -> Result<Answer, String> {
        if rows.is_empty() || rows.len() > self.max_batch {
            return Err(format!(
                "{} rows, 1 to {} allowed",
                rows.len(),
                self.max_batch
            ));
        }
        let columns = self.columns(rows)?;
        let (answer, _) = self.predict(rows.len(), columns, (Instant::now(), None), None)?;
        Ok(answer)
    }

    /// Answers a batch of checked columns that began just now, into `room` if there is some,
    /// which is given back.
    ///
    /// # Errors
    /// Why the whole batch failed.
    pub(crate) fn predict(
        &mut self,
        rows: usize,
        columns: Columns,
        (begin, deadline): (Instant, Option<Instant>),
        room: Option<Room>,
    ) -> Result<(Answer, Option<Room>), String> {
        self.out.begin(rows, room).map_err(|error| causes(&error))?;
        self.batch.refill(rows, columns);
        self.ctx.set_deadline(deadline);
        let said = guarded(|| self.model.predict(&self.batch, &mut self.out, &self.ctx));
        let compute = begin.elapsed();
        self.ctx.set_deadline(None);
        // Its memory may be used again as soon as the batch is answered.
        self.batch.refill(0, Columns::new());
        let finished = said.and_then(|()| self.out.finish().map_err(|error| causes(&error)));
        self.out.clear();
        let (columns, row_errors, room) = finished?;
        match too_many_errors(&row_errors, rows) {
            Some(error) => Err(error),
            None => {
                let answer = Answer {
                    columns,
                    row_errors,
                    compute,
                };
                Ok((answer, room))
            }
        }
    }

    fn columns<R: AsRef<[Cell]>>(&self, rows: &[R]) -> Result<Columns, String> {
        let specs = &self.schema.inputs;
        for (index, row) in rows.iter().enumerate() {
            let cells = row.as_ref();
            if cells.len() != specs.len() {
                let (found, expected) = (cells.len(), specs.len());
                return Err(format!(
                    "row {index} has {found} cells, {expected} expected"
                ));
            }
            let checked = cells
                .iter()
                .zip(specs)
                .try_for_each(|(cell, spec)| cell.check(spec));
            checked.map_err(|error| format!("row {index} does not fit: {error}"))?;
        }
        let column = |(index, spec)| synth::column(spec, rows.iter().map(|r| &r.as_ref()[index]));
        Ok(specs.iter().enumerate().map(column).collect())
    }
}

/// Batches of zeros, one after the other, for `predict`.
pub(crate) fn with_zeros(
    signature: &Signature,
    mut predict: impl FnMut(&Batch, &mut Outputs) -> Result<()>,
) -> Result<()> {
    let (schema, max_batch) = signature.clone().build()?;
    let schema = Arc::new(schema);
    let zeros: Vec<Cell> = schema.inputs.iter().map(synth::zero_row).collect();
    let row_bytes = zeros.iter().map(Cell::weight).sum::<usize>();
    // A larger batch than one message holds never comes.
    let rows_max = max_batch.min((MESSAGE_BYTES_MAX / row_bytes).max(1));
    for rows in [1, rows_max] {
        let column = |(spec, zero): (&TensorSpec, &Cell)| {
            synth::column(spec, std::iter::repeat_n(zero, rows))
        };
        let columns = schema.inputs.iter().zip(&zeros).map(column).collect();
        let batch = Batch::new(rows, Arc::clone(&schema), columns);
        let mut out = Outputs::new(Arc::clone(&schema));
        out.begin(rows, None)?;
        predict(&batch, &mut out)?;
        out.finish()?;
    }
    Ok(())
}

/// Calls the author's code; an error or a panic becomes its message.
fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T, String> {
    caught(call).map_err(|error| causes(&*error))
}

/// Calls the author's code; a panic becomes an error.
fn caught<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    // The model's state after a panic is the author's, as `Model` says.
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(format!("the model panicked: {}", panic_text(&*panic)).into()))
}

fn not_loaded(error: &(dyn std::error::Error + Send + Sync + 'static)) -> StartError {
    match error.downcast_ref::<Unfit>() {
        Some(Unfit(why)) => StartError::Unfit(why.clone()),
        None => StartError::Load(causes(error)),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signature;
    use skysail_rpc::Payload;

    /// Does what the first byte of the batch says.
    struct Moody;

    impl Model for Moody {
        fn signature() -> Signature {
            Signature::new()
                .input("x", "u8")
                .output("y", "u8")
                .max_batch(4)
        }

        fn load(ctx: &Ctx) -> Result<Self> {
            match ctx.model() {
                "old" => Err(Unfit("install version 2".into()).into()),
                "broken" => Err("no weights".into()),
                _ => Ok(Moody),
            }
        }

        fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
            let mood = batch.tensor::<u8>("x")?;
            match mood[0] {
                1 => return Err("not today".into()),
                2 => panic!("mood {}", mood[0]),
                3 => out.fail_row(1, "this one"),
                _ => {}
            }
            Ok(out.set("y", mood)?)
        }
    }

    fn worker() -> Worker<Moody> {
        Worker::load(Ctx::new(".")).expect("loads")
    }

    fn rows(moods: &[u8]) -> Vec<[Cell; 1]> {
        let row = |mood| [Cell::fixed(Payload::copy_from_slice(&[mood]))];
        moods.iter().copied().map(row).collect()
    }

    #[test]
    fn an_error_or_a_panic_costs_its_batch_only() {
        let mut worker = worker();
        worker.warm_up().expect("zeros are fine");
        let mut error = |moods: &[u8]| worker.predict_rows(&rows(moods)).expect_err("fails");
        assert_eq!(error(&[1]), "not today");
        assert_eq!(error(&[2]), "the model panicked: mood 2");
        let answer = worker.predict_rows(&rows(&[0, 9, 8])).expect("as before");
        assert_eq!(answer.columns[0].as_slice(), Some(&[0_u8, 9, 8][..]));
        let answer = worker.predict_rows(&rows(&[3, 9])).expect("one row of two");
        assert_eq!(
            answer.row_errors,
            [RowError {
                row: 1,
                error: "this one".into()
            }]
        );
    }

    #[test]
    fn who_is_to_blame_for_a_model_that_does_not_load_is_told_apart() {
        let error = |name| Worker::<Moody>::load(Ctx::new(".").named(name, "1")).err();
        let told = |name| error(name).map(|error| (error.to_string(), error.status()));
        assert_eq!(told("old"), Some(("install version 2".to_owned(), 2)));
        let broken = "the model does not load: no weights".to_owned();
        assert_eq!(told("broken"), Some((broken, 1)));
    }

    #[test]
    fn rows_that_do_not_fit_never_reach_the_model() {
        let mut worker = worker();
        let mut error = |rows: &[Vec<Cell>]| worker.predict_rows(rows).expect_err("refused");
        assert_eq!(error(&[]), "0 rows, 1 to 4 allowed");
        assert_eq!(error(&vec![vec![]; 5]), "5 rows, 1 to 4 allowed");
        assert_eq!(error(&[vec![]]), "row 0 has 0 cells, 1 expected");
        let long = Cell::fixed(Payload::copy_from_slice(&[1, 2]));
        let told = "row 0 does not fit: tensor 'x' has 2 bytes, 1 expected";
        assert_eq!(error(&[vec![long]]), told);
    }
}
