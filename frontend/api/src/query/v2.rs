//! The Open Inference Protocol V2 over HTTP, with the extensions that Triton's clients use.
//!
//! ```text
//!  path ─► Path ─► body ─► Infer (JSON, binary tails, regions) ─► rows of the model's tensors
//!                                                                        │ engine
//!  response ◄─ JSON or binary ◄─ InferResponse (tensors of cells) ◄── answers
//! ```
//!
//! | module | does |
//! |---|---|
//! | [`mod@path`] | what a path means |
//! | `parameters`, `header`, `elements` | the JSON of a request, without a document in between |
//! | `request` | a request in neither JSON nor Protocol Buffers, and binary tails |
//! | `rows` | tensors to rows, under the model's schema |
//! | `infer` | asks the engine; what HTTP and gRPC share |
//! | `outputs`, `defaults` | answers and defaults to tensors |
//! | `write` | a response as JSON with binary tails |
//! | `memory` | shared memory of clients |
//! | `body` | bodies of the routes besides `infer` |
//! | `metadata`, `statistics`, `repository`, `settings` | the other routes |
//! | `error` | the one table from what went wrong to HTTP status and gRPC code |
//!
//! Names are those of applications and of models; where both have a name, it is the
//! application's. An application answers by its policy, within its objective, with its default;
//! a model directly, with an error where there is no prediction.
//!
//! # Cost
//! A binary tensor is copied once, from the body to its rows; JSON numbers of a single row are
//! parsed where they stay. Outputs are copied once, into the response.

mod body;
mod defaults;
mod elements;
mod error;
mod header;
mod infer;
mod memory;
pub(super) mod metadata;
mod outputs;
mod parameters;
pub mod path;
pub(super) mod repository;
mod request;
mod rows;
mod serve;
pub(super) mod settings;
pub(super) mod statistics;
pub(super) mod target;
mod write;

pub(super) use error::{Kind, V2Error};
pub(super) use header::{datatype_of, elements_of};
pub(super) use infer::{Form, InferResponse, OutputTensor, Parameter};
pub(super) use memory::{RegionStatus, Registration};
pub(super) use outputs::Selection;
pub(super) use parameters::{RequestParameters, TensorParameters};
pub(super) use path::Named;
pub(super) use request::{
    Data, ID_BYTES_MAX, InferRequest, InputTensor, RANK_MAX, TENSORS_MAX, WantedOutput,
};
pub(super) use rows::inputs;
pub use serve::V2;
pub(super) use serve::{is_path, raw, refuse, split};
pub(super) use statistics::Statistic;
pub(super) use target::Target;

use smallvec::SmallVec;

/// Rows of one request.
const ROWS_MAX: usize = 1024;

/// Sizes of a tensor's dimensions, rows first.
pub(super) type Shape = SmallVec<[u64; 4]>;
