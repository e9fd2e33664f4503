//! Frames to typed messages. Every byte is a peer's: nothing is allocated by a count that
//! was not checked first, and nothing panics.

use std::time::Duration;

use capnp::message::ReaderOptions;
use skysail_schema::rpc_capnp as wire;
use thiserror::Error;

use super::{
    BatchId, Frame, Hello, Message, Offer, Outcome, Part, PartKind, Parts, Predict, Reject,
    RejectReason, Reply, RowError, Welcome,
};
use crate::limits::{
    BATCH_ROWS_MAX, FRAMES_MAX, HEADER_BYTES_MAX, HEADER_NESTING_MAX, MESSAGE_BYTES_MAX, PARTS_MAX,
    RANK_MAX, TENSORS_MAX, TEXT_BYTES_MAX, TOKEN_BYTES_MAX,
};
use crate::payload::{ALIGN_MIN, Payload};
use crate::tensor::{ColumnError, DataType, Dims, Schema, TensorSpec};

/// Why a frame is not a message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Something is longer or more than allowed.
    #[error("{what} is {found}, at most {limit} allowed")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// What the peer sent.
        found: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The header is not the Cap'n Proto message that it should be.
    #[error("header is malformed: {0}")]
    Header(String),
    /// A part lies outside its payload frame, or not on a multiple of 8.
    #[error("part {part} lies outside payload frame {frame} or is misaligned")]
    PartRange {
        /// Index of the part.
        part: u32,
        /// The frame that it names.
        frame: u16,
    },
    /// A descriptor in shared memory is none, names a batch that is not there, or memory that
    /// is not its own.
    #[error("a descriptor in shared memory is not valid")]
    Descriptor,
    /// Tensors in shared memory do not fit the schema.
    #[error("tensors in shared memory do not fit the schema: {0}")]
    Column(#[from] ColumnError),
}

impl From<capnp::Error> for DecodeError {
    fn from(error: capnp::Error) -> Self {
        DecodeError::Header(error.to_string())
    }
}

impl From<capnp::NotInSchema> for DecodeError {
    fn from(error: capnp::NotInSchema) -> Self {
        DecodeError::Header(error.to_string())
    }
}

impl From<std::str::Utf8Error> for DecodeError {
    fn from(error: std::str::Utf8Error) -> Self {
        DecodeError::Header(error.to_string())
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

impl Message {
    /// The message of `frame`. PROTOCOL 2.3
    ///
    /// # Errors
    /// If a limit is passed, the header is malformed, or a part lies outside its frame.
    pub fn decode(frame: &Frame) -> Result<Message> {
        within("payload frames", frame.payloads.len(), FRAMES_MAX)?;
        within("header bytes", frame.header.len(), HEADER_BYTES_MAX)?;
        within("message bytes", frame.bytes(), MESSAGE_BYTES_MAX)?;
        let mut options = ReaderOptions::new();
        options.nesting_limit(HEADER_NESTING_MAX);
        options.traversal_limit_in_words(Some(8 * (frame.header.len() / 8 + 1)));
        let mut bytes = frame.header.as_bytes();
        let reader = capnp::serialize::read_message_from_flat_slice_no_alloc(&mut bytes, options)?;
        read(reader.get_root()?, frame)
    }
}

fn read(from: wire::message::Reader<'_>, frame: &Frame) -> Result<Message> {
    use wire::message::Which;
    Ok(match from.which()? {
        Which::Hello(hello) => read_hello(hello?)?.into(),
        Which::Welcome(welcome) => {
            let welcome = welcome?;
            Message::Welcome(Welcome {
                protocol: welcome.get_protocol(),
                replica: welcome.get_replica(),
                heartbeat: Duration::from_micros(welcome.get_heartbeat_micros()),
                silence: Duration::from_micros(welcome.get_silence_micros()),
                offer: read_offer(welcome)?,
            })
        }
        Which::Reject(reject) => {
            let reject = reject?;
            let reason = reason(reject.get_reason()?);
            Message::Reject(Reject {
                reason,
                detail: text(reject.get_detail()?)?,
            })
        }
        Which::Predict(predict) => Message::Predict(read_predict(predict?, frame)?),
        Which::Reply(reply) => Message::Reply(read_reply(reply?, frame)?),
        Which::Cancel(cancel) => Message::Cancel(BatchId(cancel?.get_batch())),
        Which::Heartbeat(beat) => Message::Heartbeat {
            batches_done: beat?.get_batches_done(),
        },
        Which::Drain(drain) => Message::Drain {
            detail: text(drain?.get_detail()?)?,
        },
        Which::Path(path) => {
            let path = path?;
            Message::Path {
                shared: path.get_shared(),
                detail: text(path.get_detail()?)?,
            }
        }
    })
}

/// PROTOCOL 8.2
fn read_offer(from: wire::welcome::Reader<'_>) -> Result<Option<Offer>> {
    let (socket, nonce) = (text(from.get_socket()?)?, from.get_nonce()?);
    // An offer of a later kind is no offer.
    let nonce = nonce.try_into().ok().filter(|_| !socket.is_empty());
    Ok(nonce.map(|nonce| Offer { socket, nonce }))
}

fn read_hello(from: wire::hello::Reader<'_>) -> Result<Hello> {
    let token = from.get_token()?;
    within("token bytes", token.len(), TOKEN_BYTES_MAX)?;
    Ok(Hello {
        protocol_min: from.get_protocol_min(),
        protocol_max: from.get_protocol_max(),
        sdk: text(from.get_sdk()?)?,
        model: text(from.get_model()?)?,
        version: text(from.get_version()?)?,
        schema: Schema {
            inputs: specs(from.get_inputs()?)?,
            outputs: specs(from.get_outputs()?)?,
        },
        max_batch: from.get_max_batch(),
        slots: from.get_slots(),
        token: token.to_vec(),
        pid: from.get_pid(),
        host: text(from.get_host()?)?,
        spin: Duration::from_micros(u64::from(from.get_spin_micros())),
    })
}

fn specs(
    from: capnp::struct_list::Reader<'_, wire::tensor_spec::Owned>,
) -> Result<Vec<TensorSpec>> {
    within("tensors", from.len() as usize, TENSORS_MAX)?;
    let spec = |from: wire::tensor_spec::Reader<'_>| {
        Ok(TensorSpec {
            name: text(from.get_name()?)?,
            datatype: data_type(from.get_data_type()?),
            dims: dims(from.get_dims()?, RANK_MAX)?,
        })
    };
    from.iter().map(spec).collect()
}

fn read_predict(from: wire::predict::Reader<'_>, frame: &Frame) -> Result<Predict> {
    within("rows", from.get_rows() as usize, BATCH_ROWS_MAX as usize)?;
    Ok(Predict {
        batch: BatchId(from.get_batch()),
        rows: from.get_rows(),
        remaining: Duration::from_micros(from.get_remaining_micros()),
        tensors: parts(from.get_parts()?, frame)?.into(),
    })
}

fn read_reply(from: wire::reply::Reader<'_>, frame: &Frame) -> Result<Reply> {
    within("rows", from.get_rows() as usize, BATCH_ROWS_MAX as usize)?;
    let errors = from.get_row_errors()?;
    within(
        "row errors",
        errors.len() as usize,
        from.get_rows() as usize,
    )?;
    let row_error = |error: wire::row_error::Reader<'_>| {
        Ok(RowError {
            row: error.get_row(),
            error: text(error.get_error()?)?,
        })
    };
    Ok(Reply {
        batch: BatchId(from.get_batch()),
        outcome: match from.get_outcome()? {
            wire::Outcome::Ok => Outcome::Ok,
            wire::Outcome::Failed => Outcome::Failed {
                error: text(from.get_error()?)?,
            },
            wire::Outcome::Cancelled => Outcome::Cancelled,
            wire::Outcome::Expired => Outcome::Expired,
        },
        rows: from.get_rows(),
        tensors: parts(from.get_parts()?, frame)?.into(),
        row_errors: errors.iter().map(row_error).collect::<Result<_>>()?,
        compute: Duration::from_micros(from.get_compute_micros()),
    })
}

fn parts(from: capnp::struct_list::Reader<'_, wire::part::Owned>, frame: &Frame) -> Result<Parts> {
    within("parts", from.len() as usize, PARTS_MAX)?;
    let mut parts = Parts::new();
    for (index, part) in (0..).zip(from.iter()) {
        parts.push(Part {
            tensor: part.get_tensor(),
            kind: match part.get_kind()? {
                wire::PartKind::Data => PartKind::Data,
                wire::PartKind::Offsets => PartKind::Offsets,
                wire::PartKind::Shapes => PartKind::Shapes,
            },
            datatype: data_type(part.get_data_type()?),
            shape: dims(part.get_shape()?, RANK_MAX + 1)?,
            payload: part_payload(index, part, frame)?,
        });
    }
    Ok(parts)
}

/// The bytes of a part, if they lie inside the frame that it names. PROTOCOL 3.4
fn part_payload(part: u32, from: wire::part::Reader<'_>, frame: &Frame) -> Result<Payload> {
    let slice = || {
        let payload = frame.payloads.get(usize::from(from.get_frame()))?;
        let offset = usize::try_from(from.get_offset()).ok()?;
        let bytes = usize::try_from(from.get_bytes()).ok()?;
        payload
            .slice(offset, bytes)
            .filter(|_| offset.is_multiple_of(ALIGN_MIN))
    };
    slice().ok_or(DecodeError::PartRange {
        part,
        frame: from.get_frame(),
    })
}

fn dims(from: capnp::primitive_list::Reader<'_, i64>, limit: usize) -> Result<Dims> {
    within("dimensions", from.len() as usize, limit)?;
    Ok(from.iter().collect())
}

fn text(from: capnp::text::Reader<'_>) -> Result<String> {
    within("text bytes", from.len(), TEXT_BYTES_MAX)?;
    Ok(from.to_str()?.to_owned())
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<()> {
    if found <= limit {
        return Ok(());
    }
    Err(DecodeError::Limit {
        what,
        found: found as u64,
        limit: limit as u64,
    })
}

fn data_type(from: wire::DataType) -> DataType {
    DataType::all()
        .nth(from as usize)
        .expect("both enums have the same order")
}

fn reason(from: wire::RejectReason) -> RejectReason {
    match from {
        wire::RejectReason::ProtocolVersion => RejectReason::ProtocolVersion,
        wire::RejectReason::BadToken => RejectReason::BadToken,
        wire::RejectReason::BadHello => RejectReason::BadHello,
        wire::RejectReason::WrongSchema => RejectReason::WrongSchema,
        wire::RejectReason::TooManyReplicas => RejectReason::TooManyReplicas,
        wire::RejectReason::Removed => RejectReason::Removed,
        wire::RejectReason::Violation => RejectReason::Violation,
        wire::RejectReason::Overloaded => RejectReason::Overloaded,
    }
}
