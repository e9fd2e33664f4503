//! Requests of the Open Inference Protocol V2, over HTTP and gRPC.

use skysail_api::json::JsonLimits;
use skysail_api::query::check::{grpc_message, v2_request};
use skysail_rpc::{Schema, TensorSpec};

use crate::script::Script;
use crate::texts::NARROW;

/// Most rows that a request has.
const ROWS_MAX: usize = 1024;

/// Models for each way that a row can lie: fixed, open, text, several, none to count.
const MODELS: [&[(&str, &str)]; 5] = [
    &[("x", "f32[3]")],
    &[("x", "i64[-1,2]")],
    &[("x", "bytes[-1]")],
    &[("x", "f32[2]"), ("y", "bytes")],
    &[("x", "u8")],
];

fn schema(script: &mut Script<'_>) -> Schema {
    let tensor = |(name, text): &(&str, &str)| TensorSpec::parse(name, text).expect("a tensor");
    Schema {
        inputs: MODELS[script.below(MODELS.len())]
            .iter()
            .map(tensor)
            .collect(),
        outputs: vec![tensor(&("z", "f32[2]"))],
    }
}

/// A body of JSON, of JSON with binary data behind it, or of one bare tensor is rows of the model,
/// or is refused in words.
pub fn v2(data: &[u8]) {
    let mut script = Script::new(data);
    let schema = schema(&mut script);
    let limits = match script.flag() {
        true => NARROW,
        false => JsonLimits::default(),
    };
    let header_bytes = match script.below(4) {
        0 => Some(0),
        1 => Some(script.below(1024)),
        _ => None,
    };
    check(v2_request(script.rest(), header_bytes, &schema, &limits));
}

/// A message is rows of the model, or is refused in words.
pub fn grpc(data: &[u8]) {
    let mut script = Script::new(data);
    let schema = schema(&mut script);
    check(grpc_message(script.rest(), &schema));
}

fn check(read: Result<usize, String>) {
    match read {
        Ok(rows) => assert!((1..=ROWS_MAX).contains(&rows)),
        Err(why) => assert!(!why.is_empty()),
    }
}
