//! Typed messages to frames.

use std::time::Duration;

use capnp::message::{Builder, ScratchSpaceHeapAllocator};
use skysail_schema::rpc_capnp as wire;

use super::{
    Frame, Hello, Message, Outcome, Part, PartKind, Parts, Predict, RejectReason, Reply, Tensors,
};
use crate::limits::TEXT_BYTES_MAX;
use crate::payload::{Payload, PayloadBuf};
use crate::tensor::{DataType, TensorSpec};
use skysail_memory::pool::Pool;

/// Bytes of a header built without touching the heap: enough for a predict of 8 parts.
const SCRATCH_BYTES: usize = 1024;

/// Builds frames; keeps its scratch memory and the headers' between messages.
#[derive(Debug)]
pub struct Encoder {
    scratch: PayloadBuf,
    headers: Pool,
}

/// Says in which payload frame a payload goes, and at which offset; `None` if there is no room.
type Place<'a> = &'a mut dyn FnMut(&Payload) -> Option<(u16, u64)>;

impl Default for Encoder {
    fn default() -> Self {
        Encoder {
            scratch: PayloadBuf::zeroed(SCRATCH_BYTES),
            headers: Pool::default(),
        }
    }
}

impl Encoder {
    /// The frame of `message`. Payloads go along by reference.
    pub fn encode(&mut self, message: &Message) -> Frame {
        let mut payloads = smallvec::SmallVec::new();
        let mut own_frame = |payload: &Payload| {
            payloads.push(payload.clone());
            Some((payloads.len() as u16 - 1, 0))
        };
        let header = self.header(message, &mut own_frame);
        let header = header.expect("every payload has a frame");
        Frame { header, payloads }
    }

    /// The header of `message` whose payloads share one payload frame, at the offsets that
    /// `place` says; `None` if it has no room for one of them.
    pub fn encode_placed(
        &mut self,
        message: &Message,
        mut place: impl FnMut(&Payload) -> Option<usize>,
    ) -> Option<Payload> {
        self.header(message, &mut |payload| {
            place(payload).map(|offset| (0, offset as u64))
        })
    }

    fn header(&mut self, message: &Message, place: Place<'_>) -> Option<Payload> {
        let mut allocator = ScratchSpaceHeapAllocator::new(self.scratch.as_bytes_mut());
        let mut builder = Builder::new(&mut allocator);
        write(builder.init_root(), message, place)?;
        Some(framed(&builder, &mut self.headers))
    }
}

/// The segments of `builder` in the standard framing, copied once.
fn framed<A: capnp::message::Allocator>(builder: &Builder<A>, headers: &mut Pool) -> Payload {
    let bytes = 8 * capnp::serialize::compute_serialized_size_in_words(builder);
    let mut header = headers.take(bytes);
    capnp::serialize::write_message(&mut header.spare_mut::<u8>(bytes)[..bytes], builder)
        .expect("the buffer has the size of the message");
    header.advance::<u8>(bytes);
    header.freeze()
}

fn write(to: wire::message::Builder<'_>, message: &Message, place: Place<'_>) -> Option<()> {
    match message {
        Message::Hello(hello) => write_hello(to.init_hello(), hello),
        Message::Welcome(welcome) => {
            let mut to = to.init_welcome();
            to.set_protocol(welcome.protocol);
            to.set_replica(welcome.replica);
            to.set_heartbeat_micros(micros(welcome.heartbeat));
            to.set_silence_micros(micros(welcome.silence));
            if let Some(offer) = &welcome.offer {
                to.set_socket(&offer.socket);
                to.set_nonce(&offer.nonce);
            }
        }
        Message::Reject(reject) => {
            let mut to = to.init_reject();
            to.set_reason(reason(reject.reason));
            to.set_detail(shortened(&reject.detail));
        }
        Message::Predict(predict) => write_predict(to.init_predict(), predict, place)?,
        Message::Reply(reply) => write_reply(to.init_reply(), reply, place)?,
        Message::Cancel(batch) => to.init_cancel().set_batch(batch.0),
        Message::Heartbeat { batches_done } => {
            to.init_heartbeat().set_batches_done(*batches_done);
        }
        Message::Drain { detail } => to.init_drain().set_detail(shortened(detail)),
        Message::Path { shared, detail } => {
            let mut to = to.init_path();
            to.set_shared(*shared);
            to.set_detail(shortened(detail));
        }
    }
    Some(())
}

fn write_hello(mut to: wire::hello::Builder<'_>, hello: &Hello) {
    to.set_protocol_min(hello.protocol_min);
    to.set_protocol_max(hello.protocol_max);
    to.set_sdk(&hello.sdk);
    to.set_model(&hello.model);
    to.set_version(&hello.version);
    write_specs(
        to.reborrow().init_inputs(count(&hello.schema.inputs)),
        &hello.schema.inputs,
    );
    write_specs(
        to.reborrow().init_outputs(count(&hello.schema.outputs)),
        &hello.schema.outputs,
    );
    to.set_max_batch(hello.max_batch);
    to.set_slots(hello.slots);
    to.set_token(&hello.token);
    to.set_pid(hello.pid);
    to.set_host(&hello.host);
    to.set_spin_micros(u32::try_from(hello.spin.as_micros()).unwrap_or(u32::MAX));
}

fn write_specs(
    mut to: capnp::struct_list::Builder<'_, wire::tensor_spec::Owned>,
    specs: &[TensorSpec],
) {
    for (index, spec) in (0..).zip(specs) {
        let mut to = to.reborrow().get(index);
        to.set_name(&spec.name);
        to.set_data_type(data_type(spec.datatype));
        let mut dims = to.init_dims(count(&spec.dims));
        (0..)
            .zip(&spec.dims)
            .for_each(|(index, dim)| dims.set(index, *dim));
    }
}

fn write_predict(
    mut to: wire::predict::Builder<'_>,
    predict: &Predict,
    place: Place<'_>,
) -> Option<()> {
    to.set_batch(predict.batch.0);
    to.set_rows(predict.rows);
    to.set_remaining_micros(micros(predict.remaining));
    with_parts(&predict.tensors, |parts| {
        write_parts(to.init_parts(count(parts)), parts, place)
    })
}

fn write_reply(mut to: wire::reply::Builder<'_>, reply: &Reply, place: Place<'_>) -> Option<()> {
    to.set_batch(reply.batch.0);
    to.set_rows(reply.rows);
    to.set_compute_micros(micros(reply.compute));
    match &reply.outcome {
        Outcome::Ok => to.set_outcome(wire::Outcome::Ok),
        Outcome::Cancelled => to.set_outcome(wire::Outcome::Cancelled),
        Outcome::Expired => to.set_outcome(wire::Outcome::Expired),
        Outcome::Failed { error } => {
            to.set_outcome(wire::Outcome::Failed);
            to.set_error(shortened(error));
        }
    }
    let mut errors = to.reborrow().init_row_errors(count(&reply.row_errors));
    for (index, error) in (0..).zip(&reply.row_errors) {
        let mut to = errors.reborrow().get(index);
        to.set_row(error.row);
        to.set_error(shortened(&error.error));
    }
    with_parts(&reply.tensors, |parts| {
        write_parts(to.init_parts(count(parts)), parts, place)
    })
}

fn with_parts<T>(tensors: &Tensors, write: impl FnOnce(&[Part]) -> T) -> T {
    match tensors {
        Tensors::Parts(parts) => write(parts),
        other => {
            let parts: Parts = other.clone().into_parts();
            write(&parts)
        }
    }
}

fn write_parts(
    mut to: capnp::struct_list::Builder<'_, wire::part::Owned>,
    parts: &[Part],
    place: Place<'_>,
) -> Option<()> {
    for (index, part) in (0..).zip(parts) {
        let (frame, offset) = place(&part.payload)?;
        let mut to = to.reborrow().get(index);
        to.set_tensor(part.tensor);
        to.set_kind(match part.kind {
            PartKind::Data => wire::PartKind::Data,
            PartKind::Offsets => wire::PartKind::Offsets,
            PartKind::Shapes => wire::PartKind::Shapes,
        });
        to.set_data_type(data_type(part.datatype));
        to.set_frame(frame);
        to.set_offset(offset);
        to.set_bytes(part.payload.len() as u64);
        let mut shape = to.init_shape(count(&part.shape));
        (0..)
            .zip(&part.shape)
            .for_each(|(index, dim)| shape.set(index, *dim));
    }
    Some(())
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).expect("a message of ours has few items")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The text up to its limit, cut between characters.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

fn data_type(datatype: DataType) -> wire::DataType {
    wire::DataType::try_from(datatype as u16).expect("both enums have the same order")
}

fn reason(reason: RejectReason) -> wire::RejectReason {
    match reason {
        RejectReason::ProtocolVersion => wire::RejectReason::ProtocolVersion,
        RejectReason::BadToken => wire::RejectReason::BadToken,
        RejectReason::BadHello => wire::RejectReason::BadHello,
        RejectReason::WrongSchema => wire::RejectReason::WrongSchema,
        RejectReason::TooManyReplicas => wire::RejectReason::TooManyReplicas,
        RejectReason::Removed => wire::RejectReason::Removed,
        RejectReason::Violation => wire::RejectReason::Violation,
        RejectReason::Overloaded => wire::RejectReason::Overloaded,
    }
}
