//! The decoders of requests by themselves, without a front end: what strangers' bytes meet first.
//!
//! Fuzzing drives them, as a query does: a request, the outputs that it wants, its rows under the
//! model's schema.

use bytes::Bytes;
use skysail_rpc::{PayloadBuf, Schema};

use super::grpc;
use super::v2::{self, InferRequest, Selection, V2Error};
use crate::json::JsonLimits;

/// Reads a body of `POST /v2/models/{name}/infer`; says how many rows it has.
///
/// `header_bytes` is what the header `Inference-Header-Content-Length` says, if it is there. More
/// than the body has is taken as all of it.
///
/// # Errors
/// What the client is told.
pub fn v2_request(
    body: &[u8],
    header_bytes: Option<usize>,
    schema: &Schema,
    limits: &JsonLimits,
) -> Result<usize, String> {
    let body = Bytes::copy_from_slice(body);
    let header_bytes = header_bytes.map(|bytes| bytes.min(body.len()));
    let request = match header_bytes {
        Some(0) => v2::raw(body, schema),
        _ => v2::split(body, header_bytes, limits, &|_, _| PayloadBuf::default()),
    };
    rows(request, schema)
}

/// Reads a message of `ModelInfer`; says how many rows it has.
///
/// # Errors
/// What the client is told.
pub fn grpc_message(message: &[u8], schema: &Schema) -> Result<usize, String> {
    rows(grpc::decoded(Bytes::copy_from_slice(message)), schema)
}

fn rows(request: Result<InferRequest, V2Error>, schema: &Schema) -> Result<usize, String> {
    let checked = request.and_then(|request| {
        Selection::new(schema, &request)?;
        let tensors = schema.inputs.len();
        let buffers = || (0..tensors).map(|_| PayloadBuf::default()).collect();
        v2::inputs(request.inputs, schema, buffers)
    });
    let inputs = checked.map_err(|error| error.message)?;
    Ok(inputs.len())
}
