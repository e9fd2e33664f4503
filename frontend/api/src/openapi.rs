//! The OpenAPI 3.1 documents of both ports, which each port serves at `/openapi.json`.
//!
//! They are written by hand, in `frontend/api/openapi/`, and held to the code by tests: their
//! structure here, their routes and examples in `management::tests::openapi`, and all that a
//! schema can say by `tools/schemathesis`.

use bytes::Bytes;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Response, StatusCode};

use crate::http::json_answer;

/// Where a port serves its document.
pub(crate) const PATH: &str = "/openapi.json";
/// The document of the management port.
pub const MANAGEMENT: &str = include_str!("../openapi/management.json");
/// The document of the query port.
pub const QUERY: &str = include_str!("../openapi/query.json");

/// The query port's answer to a request for its document; `None` where another path is asked for.
pub(crate) fn query_reply<B: From<Bytes>>(method: &Method, path: &str) -> Option<Response<B>> {
    if path != PATH {
        return None;
    }
    if [Method::GET, Method::HEAD].contains(method) {
        let document = Bytes::from_static(QUERY.as_bytes());
        return Some(json_answer(StatusCode::OK, B::from(document)));
    }
    let cause = format!("{method} is not allowed here, only GET");
    let body = serde_json::json!({ "error": "Method not allowed", "cause": cause });
    let body = B::from(body.to_string().into());
    let mut reply = json_answer(StatusCode::METHOD_NOT_ALLOWED, body);
    let allowed = HeaderValue::from_static("GET,HEAD");
    reply.headers_mut().insert(ALLOW, allowed);
    Some(reply)
}

#[cfg(test)]
pub(crate) mod tests;
