//! A container without an SDK, which serves `sum` and does one thing wrong.
//!
//! For the suite's own tests: `wrong MISTAKE --rpc ENDPOINT --model sum …`.
//!
//! | mistake | does |
//! |---|---|
//! | `none` | nothing wrong |
//! | `row-more` | answers one row more than asked |
//! | `twice` | answers every batch twice |
//! | `mute` | answers nothing |
//! | `other-schema` | says that it takes floats |
//! | `stays` | goes on where the front end has removed it |
//! | `garbage` | answers with what is no message |

use std::process::ExitCode;
use std::time::{Duration, Instant};

use skysail_rpc::message::{
    Encoder, Frame, Hello, Message, Outcome, Part, PartKind, Predict, Reply,
};
use skysail_rpc::payload::PayloadBuf;
use skysail_rpc::transport::Link;
use skysail_rpc::transport::zmq::{ZmqLink, connect};
use skysail_rpc::{Payload, Schema, TensorSpec};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (mistake, flags) = args.split_first().expect("a mistake");
    let rpc = flags
        .iter()
        .position(|flag| flag == "--rpc")
        .expect("--rpc");
    let endpoint = &flags[rpc + 1];
    loop {
        let mut link = connect(endpoint).expect("an endpoint");
        if let Some(status) = session(mistake, &mut link) {
            return status;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One session; `None` if another is wanted.
fn session(mistake: &str, link: &mut ZmqLink) -> Option<ExitCode> {
    let mut encoder = Encoder::default();
    let input = if mistake == "other-schema" {
        "f32[-1]"
    } else {
        "f64[-1]"
    };
    say(link, &mut encoder, &Message::from(hello(input)));
    loop {
        let frame = link.recv(Instant::now() + LONG).ok()??;
        match Message::decode(&frame).expect("a message") {
            Message::Predict(predict) => match mistake {
                "mute" => {}
                "garbage" => {
                    let header = Payload::copy_from_slice(&[0xff; 24]);
                    let frame = Frame {
                        header,
                        ..Frame::default()
                    };
                    link.send(&frame).expect("open");
                }
                _ => {
                    let reply = Message::Reply(reply(&predict, u32::from(mistake == "row-more")));
                    say(link, &mut encoder, &reply);
                    if mistake == "twice" {
                        say(link, &mut encoder, &reply);
                    }
                }
            },
            Message::Reject(_) if mistake != "stays" => return Some(ExitCode::SUCCESS),
            Message::Reject(_) | Message::Drain { .. } => return None,
            _ => {}
        }
    }
}

fn say(link: &mut ZmqLink, encoder: &mut Encoder, message: &Message) {
    // A front end that has gone is heard of by the next look.
    let _ = link.send(&encoder.encode(message));
}

fn hello(input: &str) -> Hello {
    let spec = |name, text| TensorSpec::parse(name, text).expect("a tensor type");
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        sdk: "none/0".into(),
        model: "sum".into(),
        version: "1".into(),
        schema: Schema {
            inputs: vec![spec("x", input)],
            outputs: vec![spec("sum", "f64")],
        },
        max_batch: 64,
        slots: 2,
        token: Vec::new(),
        pid: std::process::id(),
        host: String::new(),
        spin: Duration::ZERO,
    }
}

/// The sums, and `more` rows besides.
fn reply(predict: &Predict, more: u32) -> Reply {
    let parts = predict.tensors.clone().into_parts();
    let find = |kind| parts.iter().find(|part| part.kind == kind).expect("a part");
    let data = find(PartKind::Data)
        .payload
        .as_slice::<f64>()
        .expect("doubles");
    let offsets = find(PartKind::Offsets)
        .payload
        .as_slice::<u64>()
        .expect("offsets");
    let mut sums = PayloadBuf::default();
    for row in offsets.windows(2) {
        let row = &data[row[0] as usize..row[1] as usize];
        sums.push(row.iter().fold(0.0_f64, |sum, x| sum + x));
    }
    (0..more).for_each(|_| sums.push(0.0_f64));
    let rows = predict.rows + more;
    let part = Part {
        tensor: 0,
        kind: PartKind::Data,
        datatype: skysail_rpc::DataType::Fp64,
        shape: [i64::from(rows)][..].into(),
        payload: sums.freeze(),
    };
    Reply {
        batch: predict.batch,
        outcome: Outcome::Ok,
        rows,
        tensors: [part].into_iter().collect(),
        row_errors: Vec::new(),
        compute: Duration::ZERO,
    }
}
