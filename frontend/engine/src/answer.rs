//! What comes of a query.

use std::sync::Arc;

use skysail_core::Cause;
use skysail_core::cache::Weigh;
use skysail_core::registry::ModelVersion;
use skysail_rpc::copies::Copied;
use skysail_rpc::tensor::ColumnError;
use skysail_rpc::{Cell, Schema};
use smallvec::SmallVec;
use thiserror::Error;

/// A query's answer: always one of the two.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The model's.
    Prediction(Prediction),
    /// The application's default, and why.
    Default(Failure),
}

/// A model's answer.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The output tensors of the query's row.
    pub output: Output,
    /// The version that answered.
    pub version: Arc<ModelVersion>,
    /// Whether the cache had it.
    pub cached: bool,
}

/// A row of each output tensor.
#[derive(Clone, Debug)]
pub struct Output {
    /// Names, types and dimensions.
    pub schema: Arc<Schema>,
    /// In schema order.
    pub cells: SmallVec<[Cell; 1]>,
}

impl Output {
    /// A copy that keeps no more memory alive than its own row.
    #[must_use]
    pub fn detached(&self) -> Output {
        let cells = self
            .cells
            .iter()
            .map(|cell| cell.detached(Copied::CacheEntry))
            .collect();
        Output {
            schema: self.schema.clone(),
            cells,
        }
    }
}

impl Weigh for Output {
    fn weight(&self) -> usize {
        size_of::<Output>() + self.cells.iter().map(Cell::weight).sum::<usize>()
    }
}

/// Why there is no prediction.
#[derive(Clone, Debug)]
pub struct Failure {
    /// For decisions and metrics.
    pub cause: Cause,
    /// What the model said, where it said something.
    pub detail: Option<Arc<str>>,
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Failure {
        Failure {
            cause,
            detail: None,
        }
    }
}

/// A query that was not admitted, because it cannot be right.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The version that the query names does not exist.
    #[error("Requested version: {version} does not exist for model: {model}")]
    UnknownVersion {
        /// The linked model.
        model: String,
        /// What was asked for.
        version: String,
    },
    /// The query names a version, but no model is linked.
    #[error("Requested version: {version} does not exist: no model is linked to application {app}")]
    NotLinked {
        /// The application.
        app: String,
        /// What was asked for.
        version: String,
    },
    /// The model takes several named tensors, and the query brings another number of them.
    #[error("the model takes {expected} tensors ({schema}), the query has {found}")]
    Tensors {
        /// What the query has.
        found: usize,
        /// What the model takes.
        expected: usize,
        /// The model's tensors.
        schema: String,
    },
    /// The input is not a row of the model's tensors.
    #[error(transparent)]
    Input(#[from] ColumnError),
}
