//! Encoding and decoding are inverse, and hostile bytes never panic.

use proptest::prelude::*;

use super::*;
use crate::limits;
use crate::payload::PayloadBuf;
use crate::tensor::TensorSpec;

fn hello() -> Hello {
    let spec = |name, text| TensorSpec::parse(name, text).expect("valid");
    Hello {
        protocol_min: 1,
        protocol_max: 3,
        sdk: "rust/0.1.0".into(),
        model: "digits".into(),
        version: "1".into(),
        schema: Schema {
            inputs: vec![spec("x", "f32[64]"), spec("tags", "string[-1]")],
            outputs: vec![spec("y", "i64")],
        },
        max_batch: 128,
        slots: 2,
        token: vec![1, 2, 3],
        pid: 99,
        host: "a-host".into(),
        spin: Duration::from_micros(50),
    }
}

fn part(payload: Payload) -> Part {
    let shape = smallvec::smallvec![1, -1];
    Part {
        tensor: 3,
        kind: PartKind::Offsets,
        datatype: DataType::Uint64,
        shape,
        payload,
    }
}

fn roundtrip(message: &Message) -> Message {
    Message::decode(&Encoder::default().encode(message)).expect("our own message")
}

#[test]
fn every_message_survives_the_wire() {
    let messages = [
        hello().into(),
        Message::Welcome(Welcome {
            protocol: 1,
            replica: 1 << 60,
            heartbeat: limits::HEARTBEAT,
            silence: limits::SILENCE,
            offer: Some(Offer {
                socket: "rpc.sock.shm".into(),
                nonce: [7; NONCE_BYTES],
            }),
        }),
        Message::Path {
            shared: true,
            detail: "why".into(),
        },
        Message::Reject(Reject {
            reason: RejectReason::WrongSchema,
            detail: "x".into(),
        }),
        Message::Predict(Predict {
            batch: BatchId(7),
            rows: 2,
            remaining: Duration::from_micros(19_500),
            tensors: [part(Payload::copy_from_slice(&[1; 24]))]
                .into_iter()
                .collect(),
        }),
        Message::Reply(Reply {
            batch: BatchId(7),
            outcome: Outcome::Failed { error: "no".into() },
            rows: 2,
            tensors: Tensors::default(),
            row_errors: vec![RowError {
                row: 1,
                error: "NaN".into(),
            }],
            compute: Duration::from_micros(3),
        }),
        Message::Cancel(BatchId(u64::MAX)),
        Message::Heartbeat { batches_done: 12 },
        Message::Drain {
            detail: "scaled down".into(),
        },
    ];
    for message in &messages {
        assert_eq!(format!("{message:?}"), format!("{:?}", roundtrip(message)));
    }
    let Message::Hello(back) = roundtrip(&messages[0]) else {
        panic!("a hello")
    };
    assert_eq!(*back, hello(), "the token too, which Debug leaves out");
}

#[test]
fn payloads_travel_by_reference() {
    let payload = Payload::copy_from_slice(&[7; 4096]);
    let base = payload.as_bytes().as_ptr();
    let predict = Predict {
        batch: BatchId(1),
        rows: 1,
        remaining: Duration::ZERO,
        tensors: [part(payload)].into_iter().collect(),
    };
    let Message::Predict(back) = roundtrip(&Message::Predict(predict)) else {
        panic!("a predict")
    };
    assert_eq!(
        back.tensors.into_parts()[0].payload.as_bytes().as_ptr(),
        base
    );
}

/// Each limit, one past it.
#[test]
fn refuses_what_passes_a_limit() {
    let error = |frame: &Frame| Message::decode(frame).expect_err("too much").to_string();
    let header = Payload::copy_from_slice(&vec![0; limits::HEADER_BYTES_MAX + 8]);
    let frame = Frame {
        header,
        ..Frame::default()
    };
    assert_eq!(
        error(&frame),
        "header bytes is 65544, at most 65536 allowed"
    );

    let mut frame = Encoder::default().encode(&Message::Cancel(BatchId(1)));
    frame.payloads = std::iter::repeat_n(Payload::default(), limits::FRAMES_MAX + 1).collect();
    assert_eq!(error(&frame), "payload frames is 97, at most 96 allowed");

    let mut frame = Encoder::default().encode(&Message::Cancel(BatchId(1)));
    frame.payloads = smallvec::smallvec![PayloadBuf::zeroed(limits::MESSAGE_BYTES_MAX).freeze()];
    assert!(error(&frame).starts_with("message bytes is"));

    let many = Hello {
        schema: Schema {
            inputs: vec![hello().schema.outputs[0].clone(); 33],
            ..hello().schema
        },
        ..hello()
    };
    let frame = Encoder::default().encode(&many.into());
    assert_eq!(error(&frame), "tensors is 33, at most 32 allowed");

    let long = Hello {
        token: vec![0; limits::TOKEN_BYTES_MAX + 1],
        ..hello()
    };
    let frame = Encoder::default().encode(&long.into());
    assert_eq!(error(&frame), "token bytes is 257, at most 256 allowed");
}

#[test]
fn refuses_a_part_outside_its_frame() {
    let predict = Predict {
        batch: BatchId(1),
        rows: 1,
        remaining: Duration::ZERO,
        tensors: [part(Payload::copy_from_slice(&[0; 24]))]
            .into_iter()
            .collect(),
    };
    let mut frame = Encoder::default().encode(&Message::Predict(predict));
    frame.payloads[0] = Payload::copy_from_slice(&[0; 16]);
    let error = Message::decode(&frame).expect_err("24 bytes of 16");
    assert_eq!(error, DecodeError::PartRange { part: 0, frame: 0 });
    frame.payloads.clear();
    assert_eq!(Message::decode(&frame).expect_err("no frame"), error);
}

#[test]
fn cuts_long_texts_between_characters() {
    let message = Message::Drain {
        detail: "é".repeat(limits::TEXT_BYTES_MAX),
    };
    let Message::Drain { detail } = roundtrip(&message) else {
        panic!("a drain")
    };
    assert_eq!(detail.len(), limits::TEXT_BYTES_MAX);
}

proptest! {
    #[test]
    fn hostile_headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let frame = Frame { header: Payload::copy_from_slice(&bytes), ..Frame::default() };
        drop(Message::decode(&frame));
    }

    #[test]
    fn a_flipped_byte_never_panics(at in any::<prop::sample::Index>(), value: u8) {
        let mut frame = Encoder::default().encode(&hello().into());
        let mut bytes = frame.header.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        frame.header = Payload::copy_from_slice(&bytes);
        drop(Message::decode(&frame));
    }
}
