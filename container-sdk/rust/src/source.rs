//! Models whose tensors are known only when the program runs.
//!
//! An author in Rust implements [`Model`], whose signature stands in its type. Whoever brings
//! models of another kind (a layer for another language, a file that says what it takes)
//! implements [`Source`]: a value that knows the signature and loads the model. Every `Model` is
//! a source too, as [`Typed`].
//!
//! # Cost
//! None: workers and runners are generic over what a source loads. A source may of course load a
//! boxed [`Predictor`], which is one virtual call a batch.

use std::marker::PhantomData;

use crate::{Batch, Ctx, Model, Outputs, Result, Signature, worker};

/// A model that is not loaded yet.
///
/// ```
/// use skysail_container::{Batch, Ctx, Outputs, Predictor, Result, Signature, Source, Worker};
///
/// /// Multiplies by a number that is not known before.
/// struct Times { factor: f32, width: usize }
///
/// impl Source for Times {
///     type Loaded = Box<dyn Predictor>;
///     fn signature(&self) -> Signature {
///         let row = format!("f32[{}]", self.width);
///         Signature::new().input("x", &row).output("y", &row)
///     }
///     fn load(&self, _: &Ctx) -> Result<Self::Loaded> {
///         Ok(Box::new(Loaded(self.factor)))
///     }
/// }
///
/// struct Loaded(f32);
///
/// impl Predictor for Loaded {
///     fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
///         let (x, y) = (batch.f32("x")?, out.f32_mut("y")?);
///         y.iter_mut().zip(x).for_each(|(y, x)| *y = self.0 * x);
///         Ok(())
///     }
/// }
///
/// let times = Times { factor: 2.0, width: 3 };
/// let mut worker = Worker::load_from(&times, Ctx::new(".")).expect("loads");
/// worker.warm_up().expect("zeros are fine");
/// ```
pub trait Source {
    /// What it loads. Dropped on the thread that loaded it, once no batch comes any more.
    type Loaded: Predictor;

    /// Name and version of the SDK, as the front end's log tells it.
    fn sdk(&self) -> &str {
        concat!("rust/", env!("CARGO_PKG_VERSION"))
    }

    /// As [`Model::signature`].
    fn signature(&self) -> Signature;

    /// As [`Model::load`].
    ///
    /// # Errors
    /// Whatever keeps the model from loading.
    fn load(&self, ctx: &Ctx) -> Result<Self::Loaded>;
}

/// A loaded model. Everything that [`Model`] says of threads and failures holds here too.
pub trait Predictor {
    /// As [`Model::warm_up`]; `signature` is the source's.
    ///
    /// # Errors
    /// Whatever keeps the model from serving.
    fn warm_up(&mut self, signature: &Signature, ctx: &Ctx) -> Result<()> {
        warm_up_with_zeros(self, signature, ctx)
    }

    /// As [`Model::predict`].
    ///
    /// # Errors
    /// Whatever keeps the whole batch from being answered.
    fn predict(&mut self, batch: &Batch, out: &mut Outputs, ctx: &Ctx) -> Result<()>;
}

/// Sends a batch of one row and one of the most rows, of zeros and empty texts, through `model`.
/// This is how a model warms up that has no better way.
///
/// # Errors
/// If the signature is not valid, or what the model says.
pub fn warm_up_with_zeros<P: Predictor + ?Sized>(
    model: &mut P,
    signature: &Signature,
    ctx: &Ctx,
) -> Result<()> {
    worker::with_zeros(signature, |batch, out| model.predict(batch, out, ctx))
}

impl<M: Model> Predictor for M {
    fn warm_up(&mut self, _: &Signature, ctx: &Ctx) -> Result<()> {
        Model::warm_up(self, ctx)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, ctx: &Ctx) -> Result<()> {
        Model::predict(self, batch, out, ctx)
    }
}

impl Predictor for Box<dyn Predictor> {
    fn warm_up(&mut self, signature: &Signature, ctx: &Ctx) -> Result<()> {
        (**self).warm_up(signature, ctx)
    }

    fn predict(&mut self, batch: &Batch, out: &mut Outputs, ctx: &Ctx) -> Result<()> {
        (**self).predict(batch, out, ctx)
    }
}

/// The source of a model that stands in a type.
#[derive(Clone, Copy, Debug)]
pub struct Typed<M>(PhantomData<fn() -> M>);

impl<M> Default for Typed<M> {
    fn default() -> Self {
        Typed(PhantomData)
    }
}

impl<M: Model> Source for Typed<M> {
    type Loaded = M;

    fn signature(&self) -> Signature {
        M::signature()
    }

    fn load(&self, ctx: &Ctx) -> Result<M> {
        M::load(ctx)
    }
}
