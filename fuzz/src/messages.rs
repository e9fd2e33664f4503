//! Frames of a transport, and the tensors in them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_rpc::limits::{
    BATCH_ROWS_MAX, FRAMES_MAX, HEADER_BYTES_MAX, PARTS_MAX, TENSORS_MAX, TEXT_BYTES_MAX,
};
use skysail_rpc::message::{
    BatchId, Encoder, Frame, Hello, Message, Outcome, Part, PartKind, Parts, Tensors,
};
use skysail_rpc::session::{ContainerSession, FrontendEvent, FrontendSession, Timing};
use skysail_rpc::tensor::{Column, Columns, Element, columns_from_parts};
use skysail_rpc::{ColumnBuilder, DataType, Payload, Schema, TensorSpec};

use crate::script::Script;

/// Signatures that parts are held to: every kind of column, and several at once.
const SCHEMAS: [&[&str]; 10] = [
    &["f32[3]"],
    &["f64[-1]"],
    &["i32[-1,-1]"],
    &["u8[2,-1,3]"],
    &["string"],
    &["bytes[-1]"],
    &["string[2,-1,-1]"],
    &["bool[5]"],
    &["bool[-1]", "bytes[2]"],
    &["f16", "string", "i64[-1,2]"],
];

/// A frame of `parts`, as [`message`] reads it: the bytes of each, after their number.
#[must_use]
pub fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let mut data = Vec::new();
    for part in parts {
        let bytes = u16::try_from(part.len()).unwrap_or(u16::MAX);
        data.extend(bytes.to_le_bytes());
        data.extend(&part[..usize::from(bytes)]);
    }
    data
}

/// The inverse of [`framed`]: the header, and the payloads after it.
pub(crate) fn frame(script: &mut Script<'_>) -> Frame {
    let header = Payload::copy_from_slice(script.chunk());
    let mut payloads = smallvec::SmallVec::new();
    while !script.is_empty() && payloads.len() <= FRAMES_MAX {
        payloads.push(Payload::copy_from_slice(script.chunk()));
    }
    Frame { header, payloads }
}

/// A frame is decoded or refused. What is decoded is within the limits, says the same when it
/// is encoded again, and is taken or refused by a session of either end.
pub fn message(data: &[u8]) {
    let frame = frame(&mut Script::new(data));
    let Ok(message) = Message::decode(&frame) else {
        return;
    };
    check_limits(&message);
    let again = Encoder::default().encode(&message);
    if again.header.len() <= HEADER_BYTES_MAX {
        let decoded = Message::decode(&again).expect("what was within the limits still is");
        assert_eq!(format!("{message:?}"), format!("{decoded:?}"));
        assert_eq!(parts(message.clone()), parts(decoded));
    }
    to_sessions(message);
}

/// The tensors of a message.
fn parts(message: Message) -> Parts {
    match message {
        Message::Predict(predict) => predict.tensors.into_parts(),
        Message::Reply(reply) => reply.tensors.into_parts(),
        _ => Parts::new(),
    }
}

fn check_limits(message: &Message) {
    let short = |text: &str| assert!(text.len() <= TEXT_BYTES_MAX);
    match message {
        Message::Hello(hello) => {
            let Schema { inputs, outputs } = &hello.schema;
            assert!(inputs.len().max(outputs.len()) <= TENSORS_MAX);
            let texts = [&hello.sdk, &hello.model, &hello.version, &hello.host];
            texts.into_iter().for_each(|text| short(text));
        }
        Message::Predict(predict) => assert!(predict.rows <= BATCH_ROWS_MAX),
        Message::Reply(reply) => {
            assert!(reply.rows <= BATCH_ROWS_MAX);
            assert!(reply.row_errors.len() <= reply.rows as usize);
            reply.row_errors.iter().for_each(|row| short(&row.error));
            if let Outcome::Failed { error } = &reply.outcome {
                short(error);
            }
        }
        Message::Reject(reject) => short(&reject.detail),
        Message::Drain { detail } | Message::Path { detail, .. } => short(detail),
        _ => {}
    }
    let parts = parts(message.clone());
    assert!(parts.len() <= PARTS_MAX);
}

/// A hello of `schema` that any front end takes.
pub(crate) fn hello(schema: &Schema, host: &str) -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        sdk: "fuzz/1".into(),
        model: "m".into(),
        version: "1".into(),
        schema: schema.clone(),
        max_batch: 4,
        slots: 2,
        token: vec![],
        pid: 0,
        host: host.to_owned(),
        spin: Duration::ZERO,
    }
}

/// Says `message` to both ends of a session: one that begins, and one with a batch in flight.
fn to_sessions(message: Message) {
    let (now, timing) = (Instant::now(), Timing::default());
    let mut fresh = FrontendSession::new(now, timing);
    if let Ok(FrontendEvent::Hello(hello)) = fresh.on_message(now, message.clone()) {
        if FrontendSession::check_hello(&hello).is_ok() {
            hello.schema.check().expect("it was looked at");
            let schema = Arc::new(hello.schema.clone());
            fresh.accept(now, &hello, schema, 1, None);
        }
        fresh.check_invariants();
    }
    let schema = schema(&["f32[2]"]);
    let mut frontend = FrontendSession::new(now, timing);
    let hello = hello(&schema, "");
    frontend
        .on_message(now, Message::from(hello.clone()))
        .expect("a hello");
    let welcome = frontend.accept(now, &hello, Arc::new(schema), 1, None);
    let (batch, _) = frontend.predict(now, 1, Duration::from_secs(1), Tensors::default());
    frontend.cancel(now, batch);
    let _ = frontend.on_message(now, message.clone());
    frontend.check_invariants();
    let (mut container, _) = ContainerSession::open(now, timing, hello);
    let _ = container.on_message(now, message.clone());
    let _ = container.on_message(now, welcome);
    let _ = container.on_message(now, message);
    let _ = (frontend.next_timer(), container.next_timer());
}

/// A model of inputs and outputs of these types.
pub(crate) fn schema(types: &[&str]) -> Schema {
    let spec = |(index, text): (usize, &&str)| {
        TensorSpec::parse(&format!("t{index}"), text).expect("a tensor type")
    };
    let specs: Vec<TensorSpec> = types.iter().enumerate().map(spec).collect();
    Schema {
        inputs: specs.clone(),
        outputs: specs,
    }
}

/// Parts are the tensors of a schema, or are refused. Whatever is shown of those that are taken
/// lies inside of them, and a column of the same rows has the same parts.
pub fn columns(data: &[u8]) {
    let mut script = Script::new(data);
    let schema = schema(SCHEMAS[script.below(SCHEMAS.len())]);
    let (rows, parts) = if script.flag() {
        made_up(&mut script, &schema)
    } else {
        let Ok(message) = Message::decode(&frame(&mut script)) else {
            return;
        };
        let rows = match &message {
            Message::Predict(predict) => predict.rows,
            Message::Reply(reply) => reply.rows,
            _ => 0,
        };
        (rows as usize, parts(message))
    };
    if let Ok(columns) = columns_from_parts(&schema.inputs, rows, &parts) {
        check_columns(&columns, &schema.inputs, rows);
    }
}

/// Parts that nobody encoded: the right ones but for what the script changes.
fn made_up(script: &mut Script<'_>, schema: &Schema) -> (usize, Parts) {
    let rows = script.below(6);
    let mut parts = Parts::new();
    while !script.is_empty() && parts.len() < PARTS_MAX {
        let tensor = script.below(4);
        let spec = schema.inputs.get(tensor).unwrap_or(&schema.inputs[0]);
        let (kind, datatype) = match script.below(3) {
            0 => (PartKind::Data, spec.datatype),
            1 => (PartKind::Offsets, DataType::Uint64),
            _ => (PartKind::Shapes, DataType::Uint32),
        };
        // Numbers are small, so that some of them fit.
        let wide = script.byte();
        let bytes: Vec<u8> = match kind {
            PartKind::Data => script.chunk().to_vec(),
            PartKind::Offsets => widened(script.chunk(), 8, wide),
            PartKind::Shapes => widened(script.chunk(), 4, wide),
        };
        let first = match kind {
            PartKind::Data => rows,
            PartKind::Offsets => bytes.len() / 8,
            PartKind::Shapes => bytes.len() / 4,
        };
        let mut shape = vec![first as i64];
        if kind == PartKind::Data {
            shape.extend(&spec.dims);
        }
        parts.push(Part {
            tensor: tensor as u16,
            kind,
            datatype,
            shape: shape.into(),
            payload: Payload::copy_from_slice(&bytes),
        });
    }
    (rows, parts)
}

/// Each byte as a number of `width` bytes; with `wide` 255, numbers as they stand.
fn widened(bytes: &[u8], width: usize, wide: u8) -> Vec<u8> {
    if wide == u8::MAX {
        return bytes.to_vec();
    }
    let number = |byte: &u8| u64::from(*byte).to_le_bytes().into_iter().take(width);
    bytes.iter().flat_map(number).collect()
}

/// Panics unless `columns` are `rows` rows of `specs`, whichever way they are looked at.
pub(crate) fn check_columns(columns: &Columns, specs: &[TensorSpec], rows: usize) {
    assert_eq!(columns.len(), specs.len());
    for (column, spec) in columns.iter().zip(specs) {
        assert_eq!(column.rows(), rows);
        assert_eq!(column.datatype(), spec.datatype);
        assert_eq!(column.dims(), &spec.dims[..]);
        let mut built = ColumnBuilder::new(spec, rows);
        let mut strings = column.strings();
        let mut bytes = 0;
        for cell in column.cells() {
            cell.check(spec).expect("a row of the schema");
            assert!(cell.iter_strings().all(|one| Some(one) == strings.next()));
            bytes += cell.data().len();
            built.push(&cell);
        }
        assert_eq!(bytes, column.data().len(), "rows are all of the data");
        assert_eq!(strings.next(), None);
        let same = |a: &Column, b: &Column| a.parts(0).eq(b.parts(0));
        assert!(same(column, &built.finish()), "{spec}");
        check_views(column);
    }
}

fn check_views(column: &Column) {
    fn view<T: Element>(column: &Column) {
        let elements = column.as_slice::<T>().map_or(0, <[T]>::len);
        let start = column.data().as_bytes().as_ptr().addr();
        assert!(start.is_multiple_of(align_of::<T>()) || elements == 0);
        if column.datatype().width().is_some() {
            let ends = column.row_ranges().map(|range| range.end).max();
            assert!(elements == 0 || ends.unwrap_or(0) <= elements);
        }
    }
    view::<u8>(column);
    view::<f32>(column);
    view::<f64>(column);
    view::<i32>(column);
    view::<i64>(column);
}

/// The batch of a reply or of a predict.
pub(crate) fn batch_of(message: &Message) -> Option<BatchId> {
    match message {
        Message::Predict(predict) => Some(predict.batch),
        Message::Reply(reply) => Some(reply.batch),
        _ => None,
    }
}
