//! Why a request is refused, and the one table from error kind to HTTP status.
//!
//! `/api/v1` and everything outside of `/admin` answer `{"error":{"kind","message","field"}}`;
//! `/admin` answers Clipper's plain text, with 400 for whatever the client can mend.

use std::error::Error;

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use skysail_control::{ControlError, Kind};

use crate::access::Denied;

/// A request that is refused or failed.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) message: String,
    /// The field of the request that is to blame, if it is one.
    pub(super) field: Option<String>,
    /// What the status goes with.
    pub(super) header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// The table.
fn status_of(kind: Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        Kind::AlreadyExists => (StatusCode::CONFLICT, "already_exists"),
        Kind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
        Kind::Conflict => (StatusCode::CONFLICT, "conflict"),
        Kind::Full => (StatusCode::INSUFFICIENT_STORAGE, "full"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Kind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "corrupt"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

impl Refusal {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            kind,
            message: message.into(),
            field: None,
            header: None,
        }
    }

    /// A request that breaks a rule by itself.
    pub(super) fn invalid(field: Option<String>, message: impl Into<String>) -> Refusal {
        let (status, kind) = status_of(Kind::Invalid);
        Refusal {
            field,
            ..Refusal::new(status, kind, message)
        }
    }

    /// A request for something that is not there.
    pub(super) fn not_found(field: &str, message: impl Into<String>) -> Refusal {
        let (status, kind) = status_of(Kind::NotFound);
        Refusal {
            field: Some(field.to_owned()),
            ..Refusal::new(status, kind, message)
        }
    }

    /// A request that is turned away before anything is done for it.
    pub(super) fn denied(denied: &Denied) -> Refusal {
        let kind = match denied.status() {
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            _ => "unauthorized",
        };
        Refusal {
            header: denied.header().map(Box::new),
            ..Refusal::new(denied.status(), kind, denied.to_string())
        }
    }

    pub(super) fn forbidden(why: &str) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, "forbidden", why)
    }

    pub(super) fn too_large(limit_bytes: usize) -> Refusal {
        let message = format!("body has more than {limit_bytes} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub(super) fn too_slow(message: String) -> Refusal {
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", message)
    }

    pub(super) fn broken_body(message: String) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// Something that does not work now.
    pub(super) fn unavailable(message: String) -> Refusal {
        let (status, kind) = status_of(Kind::Unavailable);
        Refusal::new(status, kind, message)
    }

    pub(super) fn internal() -> Refusal {
        let message = "the command failed unexpectedly; the front end's log says why";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Refusal {
        let (status, kind) = status_of(error.kind());
        if status.is_server_error() {
            tracing::warn!(kind, error = chain(&error), "a management command failed");
        }
        let field = error.field().map(str::to_owned);
        Refusal {
            field,
            ..Refusal::new(status, kind, chain(&error))
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = json!({ "kind": self.kind, "message": self.message, "field": self.field });
        let answer = (self.status, Json(json!({ "error": error }))).into_response();
        with_header(answer, self.header)
    }
}

/// A refusal as Clipper says it: plain text, under a JSON content type.
#[derive(Debug)]
pub(super) struct PlainRefusal(pub(super) Refusal);

impl From<Refusal> for PlainRefusal {
    fn from(refusal: Refusal) -> PlainRefusal {
        PlainRefusal(refusal)
    }
}

impl From<ControlError> for PlainRefusal {
    fn from(error: ControlError) -> PlainRefusal {
        PlainRefusal(error.into())
    }
}

impl IntoResponse for PlainRefusal {
    fn into_response(self) -> Response {
        let answer = plain(clipper_status(self.0.status), self.0.message);
        with_header(answer, self.0.header)
    }
}

fn with_header(mut answer: Response, header: Option<Box<(HeaderName, HeaderValue)>>) -> Response {
    if let Some((name, value)) = header.map(|header| *header) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Clipper knows one status for everything that the client can mend.
fn clipper_status(status: StatusCode) -> StatusCode {
    match status {
        StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::INSUFFICIENT_STORAGE => {
            StatusCode::BAD_REQUEST
        }
        other => other,
    }
}

/// Text under a JSON content type, as all of Clipper's answers are.
pub(super) fn plain(status: StatusCode, text: String) -> Response {
    let json = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, json)], text).into_response()
}

/// A JSON answer.
pub(super) fn json(value: &impl Serialize) -> Response {
    Json(value).into_response()
}

/// An error with its causes, outermost first.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use skysail_control::store::StoreError;

    use super::*;

    #[test]
    fn an_error_tells_its_causes_too() {
        let error = ControlError::from(StoreError::ReadOnly {
            reason: "fsync failed".to_owned(),
        });
        let refusal = Refusal::from(error);
        assert_eq!(
            (refusal.status.as_u16(), refusal.kind),
            (503, "unavailable")
        );
        assert!(
            refusal
                .message
                .starts_with("state cannot be read or written: "),
            "{refusal:?}"
        );
        assert!(refusal.message.contains("fsync failed"), "{refusal:?}");
    }

    #[test]
    fn clipper_has_one_status_for_what_the_client_can_mend() {
        for mended in [400, 404, 409, 507] {
            let status = StatusCode::from_u16(mended).expect("a status");
            assert_eq!(clipper_status(status), 400);
        }
        for other in [405, 413, 500, 503] {
            let status = StatusCode::from_u16(other).expect("a status");
            assert_eq!(clipper_status(status), other);
        }
    }
}
