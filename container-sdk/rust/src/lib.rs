//! Wrap a model in a Skysail container.
//!
//! Implement [`Model`] and call [`serve()`]: the SDK parses the flags, loads the model, warms it
//! up, joins the front end, shows each batch as dense typed views and sends back what the
//! model wrote. A linear scorer:
//!
//! ```no_run
//! use skysail_container::{Batch, Ctx, Model, Outputs, Result, Signature, serve};
//!
//! struct Linear(Vec<f32>);
//!
//! impl Model for Linear {
//!     fn signature() -> Signature {
//!         Signature::new().input("x", "f32[784]").output("y", "f32").max_batch(64)
//!     }
//!     fn load(ctx: &Ctx) -> Result<Self> {
//!         let text = ctx.read_to_string("w.txt")?;
//!         Ok(Linear(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?))
//!     }
//!     fn predict(&mut self, batch: &Batch, out: &mut Outputs, _: &Ctx) -> Result<()> {
//!         for (x, y) in batch.f32("x")?.chunks(784).zip(out.f32_mut("y")?) {
//!             *y = x.iter().zip(&self.0).map(|(x, w)| x * w).sum();
//!         }
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     serve::<Linear>()
//! }
//! ```
//!
//! The built program is the container: `linear --rpc ipc:///run/skysail/rpc.sock --model linear
//! --version 1 --path DIR`, or `linear --selftest --path DIR` without a front end.
//!
//! | module | holds |
//! |---|---|
//! | [`Model`], [`Signature`], [`Batch`], [`Outputs`], [`Ctx`] | what an author meets |
//! | [`serve()`], [`run`], [`Options`] | the program around a model |
//! | [`Source`], [`Predictor`], [`serve_from`], [`run_from`] | the same for models whose signature is known only at run time: layers for other languages |
//! | [`Worker`] | a loaded model that answers one batch; also for an author's tests |
//! | [`Views`], [`Stage`] | a batch's bytes for a language that cannot promise to let go of them |
//! | [`Runner`] | a worker in sessions with a front end, over any transport |
//!
//! Nothing here knows the front end.

#![forbid(unsafe_code)]

mod batch;
mod ctx;
mod error;
mod health;
mod model;
mod options;
mod outputs;
mod runner;
mod selftest;
mod serve;
mod signature;
mod source;
mod synth;
mod worker;

pub use batch::{Batch, Key};
pub use ctx::Ctx;
pub use error::{Error, Result, StartError, TensorError, Unfit};
pub use model::Model;
pub use options::Options;
pub use outputs::Outputs;
pub use runner::{Lost, Runner, SessionEnd, Stop};
pub use serve::{run, run_from, serve, serve_from};
pub use signature::Signature;
pub use source::{Predictor, Source, Typed, warm_up_with_zeros};
pub use worker::{Answer, Worker};

pub use skysail_rpc::stage::Stage;
pub use skysail_rpc::views::{View, Views};
pub use skysail_rpc::{
    Cell, Column, ColumnBuilder, DataType, Element, Payload, Schema, TensorSpec,
};
