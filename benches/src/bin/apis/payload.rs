//! Requests as the client sends them, encoded beforehand.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use clap::ValueEnum;
use prost::Message;
use skysail_benches::inputs::float_body;

use crate::generated::ModelInferRequest;
use crate::generated::model_infer_request::InferInputTensor;

/// Floats of a row.
pub(crate) const FEATURES: usize = 784;
/// The application of Clipper's requests.
pub(crate) const APPLICATION: &str = "application";
/// The model of V2's requests.
pub(crate) const MODEL: &str = "noop";
/// Where gRPC's requests go.
pub(crate) const METHOD: &str = "/inference.GRPCInferenceService/ModelInfer";

/// A way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Api {
    Clipper,
    V2Json,
    V2Binary,
    Grpc,
}

impl Api {
    pub(crate) const ALL: [Api; 4] = [Api::Clipper, Api::V2Json, Api::V2Binary, Api::Grpc];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Api::Clipper => "clipper json",
            Api::V2Json => "v2 json",
            Api::V2Binary => "v2 binary",
            Api::Grpc => "v2 grpc",
        }
    }

    /// A request of `rows` rows: on HTTP/1 the whole of it, else the body.
    pub(crate) fn request(self, rows: usize, seed: u64) -> Bytes {
        match self {
            Api::Clipper => http(&format!("/{APPLICATION}/predict"), "", &clipper(rows, seed)),
            Api::V2Json => http(&v2_path(), "", v2_json(rows, seed).as_bytes()),
            Api::V2Binary => {
                let header = v2_header(rows);
                let length = format!("inference-header-content-length: {}\r\n", header.len());
                let body = [header.as_bytes(), &floats(rows, seed)].concat();
                http(&v2_path(), &length, &body)
            }
            Api::Grpc => framed(&message(rows, seed).encode_to_vec()),
        }
    }
}

fn v2_path() -> String {
    format!("/v2/models/{MODEL}/infer")
}

/// A whole HTTP/1.1 request.
fn http(path: &str, headers: &str, body: &[u8]) -> Bytes {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         {headers}content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request.into()
}

fn clipper(rows: usize, seed: u64) -> Vec<u8> {
    if rows == 1 {
        return float_body(FEATURES, seed).into_bytes();
    }
    let rows: Vec<String> = (0..rows as u64)
        .map(|row| format!("[{}]", numbers(FEATURES, seed << 16 | row)))
        .collect();
    format!("{{\"input_batch\":[{}]}}", rows.join(",")).into_bytes()
}

fn numbers(count: usize, seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = String::new();
    for index in 0..count {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}{}", random.f32()).expect("a string takes everything");
    }
    text
}

fn v2_json(rows: usize, seed: u64) -> String {
    format!(
        "{{\"inputs\":[{{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[{rows},{FEATURES}],\
         \"data\":[{}]}}]}}",
        numbers(rows * FEATURES, seed)
    )
}

fn v2_header(rows: usize) -> String {
    format!(
        "{{\"inputs\":[{{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[{rows},{FEATURES}],\
         \"parameters\":{{\"binary_data_size\":{}}}}}],\
         \"parameters\":{{\"binary_data_output\":true}}}}",
        rows * FEATURES * 4
    )
}

fn floats(rows: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let floats = std::iter::repeat_with(|| random.f32().to_le_bytes());
    floats.take(rows * FEATURES).flatten().collect()
}

fn message(rows: usize, seed: u64) -> ModelInferRequest {
    ModelInferRequest {
        model_name: MODEL.to_owned(),
        inputs: vec![InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![rows as i64, FEATURES as i64],
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![floats(rows, seed).into()],
        ..ModelInferRequest::default()
    }
}

/// A message as gRPC sends it: not compressed, behind its length.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a message is short"));
    frame.put_slice(message);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(request: &[u8]) -> &[u8] {
        let head = request
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("a head");
        &request[head + 4..]
    }

    #[test]
    fn requests_have_as_many_floats_as_they_say() {
        for rows in [1, 3] {
            let json: serde_json::Value =
                serde_json::from_slice(body(&Api::V2Json.request(rows, 7))).expect("JSON");
            let data = json["inputs"][0]["data"].as_array().expect("numbers");
            assert_eq!(data.len(), rows * FEATURES);

            let binary = Api::V2Binary.request(rows, 7);
            assert!(
                body(&binary).ends_with(&floats(rows, 7)),
                "the floats are at the end"
            );

            let framed = Api::Grpc.request(rows, 7);
            let message = ModelInferRequest::decode(&framed[5..]).expect("a message");
            assert_eq!(message.raw_input_contents[0].len(), rows * FEATURES * 4);
        }
    }

    #[test]
    fn clippers_requests_are_single_or_batches() {
        let parse = |rows| -> serde_json::Value {
            serde_json::from_slice(body(&Api::Clipper.request(rows, 1))).expect("JSON")
        };
        assert_eq!(parse(1)["input"].as_array().map(Vec::len), Some(FEATURES));
        let batch = parse(64);
        assert_eq!(batch["input_batch"].as_array().map(Vec::len), Some(64));
        assert_ne!(batch["input_batch"][0], batch["input_batch"][1]);
    }
}
