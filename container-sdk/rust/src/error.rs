//! What goes wrong, by who is told: the author's code, the person who starts the container.

use std::path::PathBuf;
use std::process::ExitCode;

use skysail_rpc::DataType;
use skysail_rpc::keys::KeyError;
use skysail_rpc::tensor::{ColumnError, SchemaError};
use skysail_rpc::transport::TransportError;
use thiserror::Error as ThisError;

/// What an author's functions fail with: any error, and any text by `?` or `into()`.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of an author's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A tensor of a batch cannot be read or written like that.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "fields are named in the message beside them")]
pub enum TensorError {
    /// The signature has no such tensor.
    #[error("no {side} {key}; the signature has {known}")]
    Unknown {
        side: &'static str,
        key: String,
        known: String,
    },
    /// The tensor holds other elements.
    #[error("{side} '{tensor}' holds {found}, asked for {asked}")]
    Type {
        side: &'static str,
        tensor: String,
        found: DataType,
        asked: &'static str,
    },
    /// Rows of the output differ in shape, so they are pushed one by one.
    #[error("output '{tensor}' has rows of their own shape; push them one by one")]
    RowWise { tensor: String },
    /// Rows of the output are alike, so they are written in place.
    #[error("output '{tensor}' has rows of one shape; write them in place")]
    InPlace { tensor: String },
    /// Another number of elements than rows times elements of a row.
    #[error("output '{tensor}' was given {found} elements, {rows} rows of {row_elements} expected")]
    Length {
        tensor: String,
        found: usize,
        rows: usize,
        row_elements: usize,
    },
    /// A row that its tensor cannot hold.
    #[error("row {row} does not fit the signature")]
    Row { row: usize, source: ColumnError },
    /// More or fewer rows than the batch has.
    #[error("output '{tensor}' has {found} rows, the batch has {rows}")]
    Rows {
        tensor: String,
        found: usize,
        rows: usize,
    },
    /// A row was failed that the batch does not have.
    #[error("row {row} was failed, the batch has {rows} rows")]
    RowRange { row: usize, rows: usize },
    /// The outputs do not hold what the signature says.
    #[error("the outputs do not fit the signature")]
    Outputs(#[from] ColumnError),
    /// The outputs do not fit into one message.
    #[error("the outputs have {bytes} bytes, at most {limit} allowed")]
    TooLarge { bytes: usize, limit: usize },
}

/// What a model's `load` fails with if not the model is wrong but what it was started with or in:
/// a library is missing, a file is of another version. The container says so and exits with 2.
///
/// ```
/// use skysail_container::{Result, Unfit};
/// fn library(version: u32) -> Result<()> {
///     match version {
///         2.. => Ok(()),
///         _ => Err(Unfit("the library is too old: install version 2".into()).into()),
///     }
/// }
/// assert!(library(1).is_err());
/// ```
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[error("{0}")]
pub struct Unfit(pub String);

/// A container does not start.
#[derive(Debug, ThisError)]
#[non_exhaustive]
#[allow(missing_docs, reason = "fields are named in the message beside them")]
pub enum StartError {
    /// An option that serving needs is not given.
    #[error("{option} (or {variable}) is not given: it names {what}; --help shows an example")]
    Missing {
        option: &'static str,
        variable: &'static str,
        what: &'static str,
    },
    /// A name that no model or version can have.
    #[error(
        "{option} '{name}' is not a name: expected 1 to {limit} letters, digits, '.', '_' or '-', the first a letter or digit"
    )]
    Name {
        option: &'static str,
        name: String,
        limit: usize,
    },
    /// An endpoint that cannot be connected to.
    #[error("--rpc: {0}")]
    Endpoint(String),
    /// The join token cannot be read.
    #[error("cannot read the join token {}: {source}; pass the front end's DATA_DIR/join.token", path.display())]
    Token {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The token file holds something else.
    #[error("join token {} has {bytes} bytes, at most {limit} allowed", path.display())]
    TokenLength {
        path: PathBuf,
        bytes: usize,
        limit: usize,
    },
    /// A key file cannot be used.
    #[error("{option}")]
    Key {
        option: &'static str,
        source: KeyError,
    },
    /// Keys are given, and this build cannot use them.
    #[error("--key: {}", TransportError::NoCurve)]
    NoCurve,
    /// The model's signature is not valid.
    #[error("the model's signature is not valid: {0}")]
    Signature(#[source] SchemaError),
    /// The model's most rows of a batch are out of bounds.
    #[error("the model's signature is not valid: max_batch is {found}, 1 to {limit} allowed")]
    MaxBatch { found: usize, limit: usize },
    /// The health file cannot be written.
    #[error("--health-file: cannot write {}: {source}", path.display())]
    Health {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Signals cannot be caught.
    #[error("cannot listen for SIGTERM: {0}")]
    Signals(#[source] std::io::Error),
    /// [`crate::Model::load`] failed.
    #[error("the model does not load: {0}")]
    Load(String),
    /// [`crate::Model::load`] failed with an [`Unfit`].
    #[error("{0}")]
    Unfit(String),
    /// [`crate::Model::warm_up`] failed.
    #[error(
        "the model does not warm up: {0}; override Model::warm_up if zeros are no input for it"
    )]
    WarmUp(String),
}

impl StartError {
    /// 1 if the model failed, 2 if the way it was started is wrong.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status())
    }

    /// [`Self::exit_code`] as a number.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            StartError::Load(_) | StartError::WarmUp(_) => 1,
            _ => 2,
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_causes_once() {
        let source = ColumnError::Shape { tensor: "y".into() };
        let error = TensorError::Row { row: 3, source };
        let text =
            "row 3 does not fit the signature: tensor 'y' has another shape than the schema's";
        assert_eq!(causes(&error), text);
    }
}
