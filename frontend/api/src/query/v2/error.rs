//! What can go wrong with a V2 request, and the one table to HTTP statuses and gRPC codes.

use hyper::StatusCode;
use skysail_core::Cause;
use skysail_engine::AskError;

use crate::access::Denied;
use crate::http::BodyError;
use crate::json::JsonError;
use crate::query::encoding::EncodingError;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::query) enum Kind {
    /// The request cannot be right.
    Invalid,
    /// No such path, model or version.
    NotFound,
    /// Not with this method.
    MethodNotAllowed,
    /// Without a token that is right.
    Unauthenticated,
    /// Not for this client.
    Forbidden,
    /// After too many wrong tokens.
    TooManyFailures,
    /// It exists already.
    AlreadyExists,
    /// A body beyond its limit.
    TooLarge,
    /// A body that did not come in time.
    BodyTimeout,
    /// Something that is not offered.
    Unsupported,
    /// An encoding of the body that is not offered.
    UnsupportedEncoding,
    /// Not now.
    Unavailable,
    /// Our own mistake.
    Internal,
    /// There is no prediction, and no default.
    NotPredicted(Cause),
}

/// A code of gRPC, by its number, so that only what speaks gRPC knows its library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(in crate::query) enum GrpcCode {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Kind {
    /// The table.
    pub(in crate::query) fn row(self) -> (&'static str, StatusCode, GrpcCode) {
        use GrpcCode as G;
        use StatusCode as S;
        match self {
            Kind::Invalid => ("invalid", S::BAD_REQUEST, G::InvalidArgument),
            Kind::NotFound => ("not_found", S::NOT_FOUND, G::NotFound),
            Kind::MethodNotAllowed => (
                "method_not_allowed",
                S::METHOD_NOT_ALLOWED,
                G::Unimplemented,
            ),
            Kind::Unauthenticated => ("unauthenticated", S::UNAUTHORIZED, G::Unauthenticated),
            Kind::TooManyFailures => (
                "too_many_failures",
                S::TOO_MANY_REQUESTS,
                G::ResourceExhausted,
            ),
            Kind::Forbidden => ("forbidden", S::FORBIDDEN, G::PermissionDenied),
            Kind::AlreadyExists => ("already_exists", S::BAD_REQUEST, G::AlreadyExists),
            Kind::TooLarge => ("too_large", S::PAYLOAD_TOO_LARGE, G::ResourceExhausted),
            Kind::BodyTimeout => ("timeout", S::REQUEST_TIMEOUT, G::DeadlineExceeded),
            Kind::Unsupported => ("unsupported", S::NOT_IMPLEMENTED, G::Unimplemented),
            Kind::UnsupportedEncoding => ("unsupported", S::NOT_IMPLEMENTED, G::Unimplemented),
            Kind::Unavailable => ("unavailable", S::SERVICE_UNAVAILABLE, G::Unavailable),
            Kind::Internal => ("internal", S::INTERNAL_SERVER_ERROR, G::Internal),
            Kind::NotPredicted(cause) => {
                let (status, code) = match cause {
                    Cause::QueueFull | Cause::Shed => (S::TOO_MANY_REQUESTS, G::ResourceExhausted),
                    Cause::ExpiredQueue | Cause::ExpiredModel => {
                        (S::GATEWAY_TIMEOUT, G::DeadlineExceeded)
                    }
                    Cause::ModelError => (S::INTERNAL_SERVER_ERROR, G::Internal),
                    Cause::NoReplica | Cause::ReplicaLost | Cause::Draining => {
                        (S::SERVICE_UNAVAILABLE, G::Unavailable)
                    }
                };
                (cause.name(), status, code)
            }
        }
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::query) struct V2Error {
    pub(in crate::query) kind: Kind,
    pub(in crate::query) message: String,
}

impl V2Error {
    pub(in crate::query) fn new(kind: Kind, message: impl Into<String>) -> V2Error {
        V2Error {
            kind,
            message: message.into(),
        }
    }

    pub(in crate::query) fn invalid(message: impl Into<String>) -> V2Error {
        V2Error::new(Kind::Invalid, message)
    }

    pub(in crate::query) fn not_found(message: impl Into<String>) -> V2Error {
        V2Error::new(Kind::NotFound, message)
    }

    pub(in crate::query) fn unsupported(message: impl Into<String>) -> V2Error {
        V2Error::new(Kind::Unsupported, message)
    }

    /// The same, about a part of the request.
    pub(in crate::query) fn within(mut self, place: &str) -> V2Error {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl From<&Denied> for V2Error {
    fn from(denied: &Denied) -> V2Error {
        match denied.status() {
            StatusCode::NOT_FOUND => V2Error::not_found("Not Found"),
            StatusCode::METHOD_NOT_ALLOWED => {
                V2Error::new(Kind::MethodNotAllowed, "Method Not Allowed")
            }
            StatusCode::UNAUTHORIZED => V2Error::new(Kind::Unauthenticated, denied.to_string()),
            StatusCode::TOO_MANY_REQUESTS => {
                V2Error::new(Kind::TooManyFailures, denied.to_string())
            }
            _ => V2Error::new(Kind::Forbidden, denied.to_string()),
        }
    }
}

impl From<JsonError> for V2Error {
    fn from(error: JsonError) -> V2Error {
        V2Error::invalid(error.plain())
    }
}

impl From<BodyError> for V2Error {
    fn from(error: BodyError) -> V2Error {
        let kind = match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
            StatusCode::REQUEST_TIMEOUT => Kind::BodyTimeout,
            _ => Kind::Invalid,
        };
        V2Error::new(kind, error.to_string())
    }
}

impl From<EncodingError> for V2Error {
    fn from(error: EncodingError) -> V2Error {
        let kind = match error {
            EncodingError::Unknown(_) => Kind::UnsupportedEncoding,
            EncodingError::Broken(_) => Kind::Invalid,
            EncodingError::TooLarge(_) => Kind::TooLarge,
        };
        V2Error::new(kind, error.to_string())
    }
}

impl From<AskError> for V2Error {
    fn from(error: AskError) -> V2Error {
        let kind = match error {
            AskError::UnknownVersion { .. } | AskError::NotLinked { .. } => Kind::NotFound,
            _ => Kind::Invalid,
        };
        V2Error::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_status_that_says_who_should_act() {
        for cause in Cause::ALL {
            let (name, status, _) = Kind::NotPredicted(cause).row();
            assert_eq!(name, cause.name());
            let is_overload = matches!(cause, Cause::Shed | Cause::QueueFull);
            assert_eq!(status == StatusCode::TOO_MANY_REQUESTS, is_overload);
            assert!(status.is_server_error() || is_overload, "{cause:?}");
        }
    }
}
