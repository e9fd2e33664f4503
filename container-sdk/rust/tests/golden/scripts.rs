//! What the front end says in each golden exchange.

use std::time::Duration;

use skysail_conformance::Line::{self, Closed, Hear, HearHeartbeat, Send};
use skysail_container::{Cell, ColumnBuilder, Element, Payload, TensorSpec};
use skysail_rpc::message::{
    BatchId, Encoder, Frame, Message, Outcome, Part, Parts, Predict, Reject, RejectReason, Reply,
    Welcome,
};
use skysail_rpc::payload::PayloadBuf;

/// Longer than any machine is slow: no exchange but the heartbeat's turns on time.
const SOON: Duration = Duration::from_secs(3600);

/// Name, clause, container and lines of every exchange.
pub(crate) type Script = (&'static str, &'static str, &'static str, Vec<Line>);

pub(crate) fn all() -> Vec<Script> {
    let mut scripts = opening();
    scripts.extend(batches());
    scripts.extend(outcomes());
    scripts.extend(violations());
    scripts
}

fn opening() -> Vec<Script> {
    let reject = |reason, detail: &str| {
        Send(frame(&Message::Reject(Reject {
            reason,
            detail: detail.into(),
        })))
    };
    let wrong_schema = reject(RejectReason::WrongSchema, "the other replicas take f32[3]");
    let removed = reject(RejectReason::Removed, "by an operator");
    vec![
        (
            "hello-and-welcome",
            "4.2",
            "sum",
            with_welcome([drain(), Closed]),
        ),
        ("reject", "4.3", "sum", vec![Hear, wrong_schema, Closed]),
        (
            "reject-while-serving",
            "7.3",
            "sum",
            with_welcome([removed, Closed]),
        ),
        ("heartbeat", "6.4", "sum", {
            let welcome = welcome(Duration::from_millis(10));
            let ours = Send(frame(&Message::Heartbeat { batches_done: 0 }));
            let predict = predict(1, 1, rows(0, "f64[-1]", &[floats(&[0.5])]));
            vec![
                Hear,
                welcome,
                HearHeartbeat,
                ours,
                predict,
                Hear,
                HearHeartbeat,
            ]
        }),
    ]
}

fn batches() -> Vec<Script> {
    let x = [
        floats(&[1.5, -2.0, 4.25]),
        floats(&[]),
        floats(&[1e300, 7.0]),
    ];
    let fixed = [[1.0_f32, 2.0, 3.0], [0.5, -0.25, 0.125], [9.0, 9.0, 1.0]];
    let fixed: Vec<Cell> = fixed.iter().map(|row| Cell::fixed(payload(row))).collect();
    let shapes = [
        Cell::variable(payload(&[1_i32, 2, 3, 4, 5, 6]), [2, 3][..].into()),
        Cell::variable(payload::<i32>(&[]), [0, 5][..].into()),
        Cell::variable(payload(&[-7_i32]), [1, 1][..].into()),
    ];
    vec![
        (
            "predict-variable-rows",
            "5.4",
            "sum",
            with_welcome([predict(1, 3, rows(0, "f64[-1]", &x)), Hear]),
        ),
        (
            "predict-fixed-shape",
            "5.4",
            "golden-fixed",
            with_welcome([predict(1, 3, rows(0, "f32[3]", &fixed)), Hear]),
        ),
        (
            "predict-texts",
            "3.3",
            "golden-texts",
            with_welcome([predict(1, 2, texts()), Hear]),
        ),
        (
            "predict-several-variable-dims",
            "3.3",
            "golden-shapes",
            with_welcome([predict(1, 3, rows(0, "i32[-1,-1]", &shapes)), Hear]),
        ),
        (
            "predict-every-type",
            "3.2",
            "golden-types",
            with_welcome([predict(1, 1, types()), Hear]),
        ),
        (
            "predict-shared-frame",
            "3.4",
            "golden-texts",
            with_welcome([shared_frame(), Hear]),
        ),
        ("batch-after-batch", "5.2", "sum", {
            let one = |batch, x: f64| predict(batch, 1, rows(0, "f64[-1]", &[floats(&[x, 1.0])]));
            with_welcome([one(1, 2.0), Hear, one(2, 3.0), Hear, one(7, 4.0), Hear])
        }),
    ]
}

fn outcomes() -> Vec<Script> {
    let x = |values: &[i64]| rows(0, "i64", &integers(values));
    let ms = |ms: u32| rows(0, "u32", &[Cell::fixed(payload(&[ms]))]);
    let cancel = |batch| Send(frame(&Message::Cancel(BatchId(batch))));
    let expired = Predict {
        remaining: Duration::ZERO,
        ..message(1, 1, x(&[4]))
    };
    vec![
        ("row-error", "5.4", "golden-picky", {
            with_welcome([predict(1, 4, x(&[5, -1, 7, -3])), Hear])
        }),
        ("failed-batch", "5.9", "golden-picky", {
            let bad = predict(1, 2, x(&[5, 13]));
            with_welcome([bad, Hear, predict(2, 1, x(&[6])), Hear])
        }),
        ("expired-batch", "5.8", "golden-picky", {
            let expired = Send(frame(&Message::Predict(expired)));
            let computed = Reply {
                tensors: x(&[8]).into(),
                outcome: Outcome::Ok,
                rows: 1,
                ..cancelled(1)
            };
            with_welcome([expired, hear_reply(1, Some(computed))])
        }),
        ("cancel-a-queued-batch", "5.7", "golden-slow", {
            let late = Reply {
                tensors: ms(5).into(),
                outcome: Outcome::Ok,
                rows: 1,
                ..cancelled(2)
            };
            let (slow, queued) = (predict(1, 1, ms(300)), predict(2, 1, ms(5)));
            let replies = [hear_reply(1, None), hear_reply(2, Some(late))];
            with_welcome([slow, queued, cancel(2)].into_iter().chain(replies))
        }),
        ("cancel-what-is-not-in-hand", "5.7", "golden-picky", {
            let one = |batch| predict(batch, 1, x(&[1]));
            with_welcome([cancel(9), one(1), Hear, cancel(1), one(2), Hear])
        }),
        ("drain", "7.1", "golden-slow", {
            with_welcome([predict(1, 1, ms(20)), drain(), Hear, Closed])
        }),
    ]
}

fn violations() -> Vec<Script> {
    let part = || rows(0, "f64[-1]", &[floats(&[1.0])]);
    let broken = |parts: Parts, rows| with_welcome([predict(1, rows, parts), Closed]);
    let mut unknown = part();
    unknown.iter_mut().for_each(|part| part.tensor = 1);
    let mut twice = part();
    twice.extend(part());
    let header = Payload::copy_from_slice(&[0xff; 24]);
    let garbage = Send(Frame {
        header,
        ..Frame::default()
    });
    vec![
        ("unknown-tensor", "3.6", "sum", broken(unknown, 1)),
        ("doubled-part", "3.3", "sum", broken(twice, 1)),
        ("missing-part", "3.3", "sum", broken(Parts::new(), 1)),
        (
            "wrong-datatype",
            "3.6",
            "sum",
            broken(rows(0, "f32[-1]", &[row(&[1.0_f32])]), 1),
        ),
        ("no-rows", "5.1", "sum", broken(rows(0, "f64[-1]", &[]), 0)),
        (
            "too-many-rows",
            "5.2",
            "sum",
            broken(rows(0, "f64[-1]", &vec![floats(&[1.0]); 65]), 65),
        ),
        ("batch-id-again", "5.2", "sum", {
            let one = || predict(3, 1, part());
            with_welcome([one(), Hear, one(), Closed])
        }),
        (
            "not-a-message",
            "2.2",
            "sum",
            with_welcome([garbage, Closed]),
        ),
        (
            "predict-before-welcome",
            "4.3",
            "sum",
            vec![Hear, predict(1, 1, part()), Closed],
        ),
    ]
}

/// Hello and welcome, then `lines`.
fn with_welcome(lines: impl IntoIterator<Item = Line>) -> Vec<Line> {
    [Hear, welcome(SOON)].into_iter().chain(lines).collect()
}

fn welcome(heartbeat: Duration) -> Line {
    let welcome = Welcome {
        protocol: 1,
        replica: 7,
        heartbeat,
        silence: 3 * SOON,
        offer: None,
    };
    Send(frame(&Message::Welcome(welcome)))
}

fn drain() -> Line {
    Send(frame(&Message::Drain {
        detail: "scaled down".into(),
    }))
}

fn frame(message: &Message) -> Frame {
    Encoder::default().encode(message)
}

fn message(batch: u64, rows: u32, parts: Parts) -> Predict {
    Predict {
        batch: BatchId(batch),
        rows,
        remaining: SOON,
        tensors: parts.into(),
    }
}

fn predict(batch: u64, rows: u32, parts: Parts) -> Line {
    Send(frame(&Message::Predict(message(batch, rows, parts))))
}

fn hear_reply(batch: u64, or: Option<Reply>) -> Line {
    Line::HearReply {
        batch: BatchId(batch),
        or: or.map(Message::Reply),
    }
}

fn cancelled(batch: u64) -> Reply {
    Reply {
        batch: BatchId(batch),
        outcome: Outcome::Cancelled,
        rows: 0,
        tensors: Parts::new().into(),
        row_errors: Vec::new(),
        compute: Duration::ZERO,
    }
}

fn payload<T: Element>(values: &[T]) -> Payload {
    let mut buf = PayloadBuf::default();
    values.iter().for_each(|value| buf.push(*value));
    buf.freeze()
}

/// A row of one variable dimension.
fn row<T: Element>(values: &[T]) -> Cell {
    Cell::variable(payload(values), [values.len() as u32][..].into())
}

fn floats(values: &[f64]) -> Cell {
    row(values)
}

fn integers(values: &[i64]) -> Vec<Cell> {
    values
        .iter()
        .map(|value| Cell::fixed(payload(&[*value])))
        .collect()
}

/// The parts of one tensor.
fn rows(tensor: u16, text: &str, cells: &[Cell]) -> Parts {
    let spec = TensorSpec::parse("t", text).expect("a tensor type");
    let mut builder = ColumnBuilder::new(&spec, cells.len());
    cells.iter().for_each(|cell| {
        cell.check(&spec).expect("a row of the tensor");
        builder.push(cell);
    });
    builder.finish().parts(tensor).collect()
}

/// Two rows for `golden-texts`.
fn texts() -> Parts {
    let tags = |tags: &[&[u8]]| {
        let dims = [tags.len() as u32][..].into();
        Cell::strings(tags.iter().copied(), dims).expect("short")
    };
    let mut parts = rows(0, "string", &["naïve".into(), "".into()]);
    parts.extend(rows(
        1,
        "bytes[-1]",
        &[tags(&[b"a", b"", b"ccc"]), tags(&[])],
    ));
    parts
}

/// One row for `golden-types`: two different, non-zero values of each datatype.
fn types() -> Parts {
    let strings = |strings: [&[u8]; 2]| Cell::strings(strings, [][..].into()).expect("short");
    let cells = [
        ("bool", Cell::fixed(payload(&[1_u8, 0]))),
        ("u8", Cell::fixed(payload(&[1_u8, u8::MAX]))),
        ("u16", Cell::fixed(payload(&[2_u16, u16::MAX]))),
        ("u32", Cell::fixed(payload(&[3_u32, u32::MAX]))),
        ("u64", Cell::fixed(payload(&[4_u64, u64::MAX]))),
        ("i8", Cell::fixed(payload(&[5_i8, i8::MIN]))),
        ("i16", Cell::fixed(payload(&[6_i16, i16::MIN]))),
        ("i32", Cell::fixed(payload(&[7_i32, i32::MIN]))),
        ("i64", Cell::fixed(payload(&[8_i64, i64::MIN]))),
        ("f16", Cell::fixed(payload(&[0x3c00_u16, 0xc000]))),
        ("bf16", Cell::fixed(payload(&[0x3f80_u16, 0xc000]))),
        ("f32", Cell::fixed(payload(&[0.1_f32, f32::NAN]))),
        ("f64", Cell::fixed(payload(&[0.1_f64, f64::NEG_INFINITY]))),
        ("bytes", strings([&[0, 255], &[]])),
        ("string", strings(["é".as_bytes(), b"b"])),
    ];
    let parts = |(tensor, (name, cell)): (u16, &(&str, Cell))| {
        rows(tensor, &format!("{name}[2]"), std::slice::from_ref(cell))
    };
    (0..).zip(&cells).flat_map(parts).collect()
}

/// The batch of [`texts`] with all parts in one payload frame, each on a multiple of 8.
fn shared_frame() -> Line {
    let mut shared = PayloadBuf::default();
    let mut places = Vec::new();
    for part in texts() {
        places.push((part.clone(), shared.len()));
        shared.extend_from_slice(part.payload.as_bytes());
        shared.extend_from_slice(&vec![0; shared.len().next_multiple_of(8) - shared.len()]);
    }
    Send(Frame {
        header: shared_header(&places),
        payloads: [shared.freeze()].into_iter().collect(),
    })
}

/// The encoder gives each part its own frame, so this header is written by hand.
fn shared_header(places: &[(Part, usize)]) -> Payload {
    use skysail_rpc::message::PartKind;
    use skysail_schema::rpc_capnp as wire;
    let mut builder = capnp::message::Builder::new_default();
    let mut predict = builder
        .init_root::<wire::message::Builder<'_>>()
        .init_predict();
    predict.set_batch(1);
    predict.set_rows(2);
    predict.set_remaining_micros(SOON.as_micros() as u64);
    let mut parts = predict.init_parts(places.len() as u32);
    for (index, (part, offset)) in (0..).zip(places) {
        let mut to = parts.reborrow().get(index);
        to.set_tensor(part.tensor);
        to.set_kind(match part.kind {
            PartKind::Data => wire::PartKind::Data,
            PartKind::Offsets => wire::PartKind::Offsets,
            PartKind::Shapes => wire::PartKind::Shapes,
        });
        to.set_data_type(wire::DataType::try_from(part.datatype as u16).expect("known"));
        to.set_offset(*offset as u64);
        to.set_bytes(part.payload.len() as u64);
        let mut shape = to.init_shape(part.shape.len() as u32);
        (0..)
            .zip(&part.shape)
            .for_each(|(index, dim)| shape.set(index, *dim));
    }
    Payload::copy_from_slice(&capnp::serialize::write_message_to_words(&builder))
}
