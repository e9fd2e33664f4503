//! The trait that a model author implements.

use crate::{Batch, Ctx, Outputs, Result, Signature, warm_up_with_zeros};

/// A model: a signature, a way to load it and a function of a batch.
///
/// Everything is called on one thread, the one that calls [`crate::serve()`]: [`Model::load`]
/// once, [`Model::warm_up`] once, then [`Model::predict`] for each batch. A model need not be
/// `Send`. While it computes, the container takes no messages; the transport's own heartbeats
/// show the front end that the process lives.
///
/// The SDK has checked every batch against the signature: the number of rows is between 1 and
/// the most rows, and each tensor has the type and shape that the signature says.
///
/// # Failure
/// An `Err` or a panic in `predict` fails the whole batch with its message, and the next batch
/// is computed by the same value: a model that may be left half-changed by a panic must check
/// for that itself. [`Outputs::fail_row`] fails single rows of a batch that is otherwise good.
pub trait Model: Sized {
    /// The model's tensors, and the most rows of a batch. The only place where they stand.
    fn signature() -> Signature;

    /// Loads the model; [`Ctx::path`] finds its files.
    ///
    /// # Errors
    /// Whatever keeps it from loading. The container exits with status 1, or 2 if it is an
    /// [`crate::Unfit`], and says why.
    fn load(ctx: &Ctx) -> Result<Self>;

    /// Prepares the model before it is offered to the front end. By default a batch of one row
    /// and one of the most rows, both of zeros and empty texts, go through
    /// [`Model::predict`]; rows that fail on their own are no failure here.
    ///
    /// # Errors
    /// Whatever keeps it from serving. The container exits with status 1 and says why.
    fn warm_up(&mut self, ctx: &Ctx) -> Result<()> {
        warm_up_with_zeros(self, &Self::signature(), ctx)
    }

    /// Computes `out` from `batch`.
    ///
    /// # Errors
    /// Whatever keeps the whole batch from being answered; its message reaches the front end.
    fn predict(&mut self, batch: &Batch, out: &mut Outputs, ctx: &Ctx) -> Result<()>;
}
