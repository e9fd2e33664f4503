//! Messages as JSON that a person can read beside the bytes.

use serde_json::{Value, json};
use skysail_rpc::message::{Frame, Hello, Message, Outcome, Part, Reply};
use skysail_rpc::{DataType, Element, TensorSpec};

/// The message of `frame`, or why it is none.
pub(crate) fn frame(frame: &Frame) -> Value {
    match Message::decode(frame) {
        Ok(message) => self::message(&message),
        Err(_) => json!({ "undecodable": {} }),
    }
}

fn message(message: &Message) -> Value {
    let fields = match message {
        Message::Hello(from) => hello(from),
        Message::Welcome(welcome) => json!({
            "protocol": welcome.protocol,
            "replica": welcome.replica,
            "heartbeat_us": micros(welcome.heartbeat),
            "silence_us": micros(welcome.silence),
        }),
        Message::Reject(reject) => {
            json!({ "reason": format!("{:?}", reject.reason), "detail": reject.detail })
        }
        Message::Predict(predict) => json!({
            "batch": predict.batch.0,
            "rows": predict.rows,
            "remaining_us": micros(predict.remaining),
            "parts": parts(&predict.tensors.clone().into_parts()),
        }),
        Message::Reply(from) => reply(from),
        Message::Cancel(batch) => json!({ "batch": batch.0 }),
        Message::Heartbeat { batches_done } => json!({ "batches_done": batches_done }),
        Message::Drain { detail } => json!({ "detail": detail }),
        _ => json!({}),
    };
    json!({ message.name(): fields })
}

fn hello(hello: &Hello) -> Value {
    let specs = |specs: &[TensorSpec]| specs.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "protocol": [hello.protocol_min, hello.protocol_max],
        "model": hello.model,
        "version": hello.version,
        "inputs": specs(&hello.schema.inputs),
        "outputs": specs(&hello.schema.outputs),
        "max_batch": hello.max_batch,
        "slots": hello.slots,
    })
}

fn reply(reply: &Reply) -> Value {
    let (outcome, error) = match &reply.outcome {
        Outcome::Ok => ("ok", Value::Null),
        Outcome::Failed { error } => ("failed", json!(error)),
        Outcome::Cancelled => ("cancelled", Value::Null),
        Outcome::Expired => ("expired", Value::Null),
    };
    let row_errors = reply.row_errors.iter();
    json!({
        "batch": reply.batch.0,
        "outcome": outcome,
        "error": error,
        "rows": reply.rows,
        "parts": parts(&reply.tensors.clone().into_parts()),
        "row_errors": row_errors.map(|e| json!({ "row": e.row, "error": e.error })).collect::<Vec<_>>(),
    })
}

fn parts(parts: &[Part]) -> Vec<Value> {
    let part = |part: &Part| {
        json!({
            "tensor": part.tensor,
            "kind": format!("{:?}", part.kind).to_lowercase(),
            "type": part.datatype.to_string(),
            "shape": part.shape.as_slice(),
            "values": values(part),
        })
    };
    parts.iter().map(part).collect()
}

/// Numbers as a list, halves as their bits, byte strings end to end as one text.
fn values(part: &Part) -> Value {
    match part.datatype {
        DataType::Bool | DataType::Uint8 => numbers::<u8>(part),
        DataType::Uint16 | DataType::Fp16 | DataType::Bf16 => numbers::<u16>(part),
        DataType::Uint32 => numbers::<u32>(part),
        DataType::Uint64 => numbers::<u64>(part),
        DataType::Int8 => numbers::<i8>(part),
        DataType::Int16 => numbers::<i16>(part),
        DataType::Int32 => numbers::<i32>(part),
        DataType::Int64 => numbers::<i64>(part),
        DataType::Fp32 => numbers::<f32>(part),
        DataType::Fp64 => numbers::<f64>(part),
        DataType::Bytes | DataType::String => {
            json!(String::from_utf8_lossy(part.payload.as_bytes()))
        }
    }
}

fn numbers<T: Element + Into<Value>>(part: &Part) -> Value {
    part.payload
        .as_slice::<T>()
        .unwrap_or_default()
        .iter()
        .map(|n| (*n).into())
        .collect()
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
