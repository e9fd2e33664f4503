//! The nine messages of the container RPC, as plain types.
//!
//! A [`Frame`] is what a transport carries: a header and the payloads that it names.
//! [`Message::decode`] checks every limit before it allocates and gives each part its own
//! slice of the payloads; [`Encoder::encode`] is the inverse. What a message means, and when
//! it may be sent, stands in `schema/PROTOCOL.md`; [`crate::session`] enforces it.
//!
//! # Cost
//! A predict with one part: about 0.1 µs each way (`benches/micro`). Encoding allocates the
//! header's bytes; decoding allocates no text but errors.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::thread::LocalKey;
use std::time::Duration;

use skysail_memory::recycled::{Recycle, Recycled, Spares};
use smallvec::SmallVec;

pub use decode::DecodeError;
pub use encode::Encoder;

use crate::payload::Payload;
use crate::tensor::{Columns, DataType, Dims, Rows, Schema};

/// A message as a transport carries it.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// A Cap'n Proto `Message` in standard framing.
    pub header: Payload,
    /// Payload frames, in the order that parts name them by.
    pub payloads: SmallVec<[Payload; 2]>,
}

impl Frame {
    /// Bytes of the header and all payloads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.header.len() + self.payloads.iter().map(Payload::len).sum::<usize>()
    }
}

/// Identity of a batch within its session, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// One message of a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Message {
    /// Container to front end, first of a session.
    Hello(Box<Hello>),
    /// Front end to container: the hello is accepted.
    Welcome(Welcome),
    /// Front end to container: the session is refused, or ends.
    Reject(Reject),
    /// Front end to container: compute this batch.
    Predict(Predict),
    /// Container to front end: the batch's result.
    Reply(Reply),
    /// Front end to container: do not compute this batch if it has not begun.
    Cancel(BatchId),
    /// Either way, when nothing else was said for a while.
    Heartbeat {
        /// Batches that the sender has answered in this session; 0 from the front end.
        batches_done: u64,
    },
    /// Either way: no further batches.
    Drain {
        /// Why, for the log.
        detail: String,
    },
    /// Container to front end, once, after a welcome with an offer: how batches will travel.
    Path {
        /// Through shared memory.
        shared: bool,
        /// Why not, if not.
        detail: String,
    },
}

impl From<Hello> for Message {
    fn from(hello: Hello) -> Self {
        Message::Hello(Box::new(hello))
    }
}

impl Message {
    /// What kind of message it is, for logs and errors.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Message::Hello(_) => "hello",
            Message::Welcome(_) => "welcome",
            Message::Reject(_) => "reject",
            Message::Predict(_) => "predict",
            Message::Reply(_) => "reply",
            Message::Cancel(_) => "cancel",
            Message::Heartbeat { .. } => "heartbeat",
            Message::Drain { .. } => "drain",
            Message::Path { .. } => "path",
        }
    }
}

/// What a container is.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// Lowest protocol version that it speaks.
    pub protocol_min: u16,
    /// Highest protocol version that it speaks.
    pub protocol_max: u16,
    /// SDK and its version, such as `rust/0.1.0`.
    pub sdk: String,
    /// The model that it serves.
    pub model: String,
    /// The version of the model.
    pub version: String,
    /// Its inputs and outputs.
    pub schema: Schema,
    /// Most rows that it takes in one batch.
    pub max_batch: u32,
    /// Most batches that it takes in flight.
    pub slots: u16,
    /// The join token; may be empty over ipc.
    pub token: Vec<u8>,
    /// Its process, 0 where that has no meaning.
    pub pid: u32,
    /// The kernel that it runs on, by its boot id; empty if it wants no shared memory.
    pub host: String,
    /// How long it, and the front end for it, may spin before sleeping.
    pub spin: Duration,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("sdk", &self.sdk)
            .field("model", &self.model)
            .field("version", &self.version)
            .field("schema", &self.schema)
            .field("max_batch", &self.max_batch)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

/// The front end's answer to a hello that it accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Version of the protocol from here on.
    pub protocol: u16,
    /// The replica id that the front end shows for this session.
    pub replica: u64,
    /// Send a heartbeat after this long without sending.
    pub heartbeat: Duration,
    /// The front end is dead after this long without a message.
    pub silence: Duration,
    /// Where shared memory is to be had, if it is.
    pub offer: Option<Offer>,
}

/// Bytes of an offer's nonce.
pub const NONCE_BYTES: usize = 16;

/// An offer of shared memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// File name of the front end's control socket, in the directory that both ends see.
    pub socket: String,
    /// What to show there.
    pub nonce: [u8; NONCE_BYTES],
}

/// Why a session is refused or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectReason {
    /// No version in common.
    ProtocolVersion,
    /// The join token is missing or wrong, or the key may not register the model.
    BadToken,
    /// Names, schema, max batch or slots out of bounds.
    BadHello,
    /// Differs from the registered input type or from the other replicas.
    WrongSchema,
    /// The version has as many replicas as it may.
    TooManyReplicas,
    /// The version was removed.
    Removed,
    /// The peer broke the protocol.
    Violation,
    /// The front end cannot take it now.
    Overloaded,
}

impl RejectReason {
    /// Whether the same container may succeed later.
    #[must_use]
    pub fn may_retry(self) -> bool {
        matches!(
            self,
            RejectReason::TooManyReplicas | RejectReason::Overloaded
        )
    }
}

/// The front end refuses or ends the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// For decisions.
    pub reason: RejectReason,
    /// For people.
    pub detail: String,
}

/// What a part of a tensor holds; see [`crate::tensor::Column`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// Elements.
    Data,
    /// `u64` starts of rows or strings, and the end.
    Offsets,
    /// `u32` variable dims of each row.
    Shapes,
}

/// A described piece of payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Index into the schema's inputs or outputs.
    pub tensor: u16,
    /// What it holds.
    pub kind: PartKind,
    /// Type of its elements.
    pub datatype: DataType,
    /// With the batch dimension first.
    pub shape: Dims,
    /// Its bytes.
    pub payload: Payload,
}

/// The parts of one message.
pub type Parts = Recycled<Part>;

impl Recycle for Part {
    fn spares() -> &'static LocalKey<Spares<Part>> {
        thread_local!(static SPARES: Spares<Part> = const { Spares::new() });
        &SPARES
    }
}

/// The tensors of a batch, in the form that suits whoever carries them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Tensors {
    /// As a header describes them; a receiver checks them against the schema.
    Parts(Parts),
    /// Of the agreed schema.
    Columns(Columns),
    /// Rows of a row log that a container may see.
    Rows(Rows),
}

impl Tensors {
    /// As a header describes them. Rows of several ranges are copied.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        let columns = match self {
            Tensors::Parts(parts) => return parts,
            Tensors::Columns(columns) => columns,
            Tensors::Rows(rows) => rows.into_columns(),
        };
        let parts = (0..).zip(&columns);
        parts
            .flat_map(|(index, column)| column.parts(index))
            .collect()
    }
}

impl Default for Tensors {
    fn default() -> Self {
        Tensors::Parts(Parts::new())
    }
}

impl From<Parts> for Tensors {
    fn from(parts: Parts) -> Self {
        Tensors::Parts(parts)
    }
}

impl FromIterator<Part> for Tensors {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        Tensors::Parts(parts.into_iter().collect())
    }
}

/// A batch to compute.
#[derive(Clone, Debug)]
pub struct Predict {
    /// Ascending in the session.
    pub batch: BatchId,
    /// Rows in the batch.
    pub rows: u32,
    /// Until the last deadline in the batch, when it was sent.
    pub remaining: Duration,
    /// The input tensors.
    pub tensors: Tensors,
}

/// How a batch ended in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Computed; some rows may have failed on their own.
    Ok,
    /// The whole batch failed.
    Failed {
        /// What the model said.
        error: String,
    },
    /// Not computed, because of a cancel.
    Cancelled,
    /// Not computed, because its deadline had passed.
    Expired,
}

/// A row of an otherwise good batch that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Which row.
    pub row: u32,
    /// What the model said.
    pub error: String,
}

/// The result of a batch.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The predict's.
    pub batch: BatchId,
    /// How it ended.
    pub outcome: Outcome,
    /// Rows answered.
    pub rows: u32,
    /// The output tensors; none unless the outcome is ok.
    pub tensors: Tensors,
    /// Ascending by row.
    pub row_errors: Vec<RowError>,
    /// Time inside the model.
    pub compute: Duration,
}
