//! A request, built once and sent often, and a response.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};

use crate::error::Error;

/// A prebuilt request; cloning it shares the body.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Request {
    /// A request without body or headers; `host` and `content-length` are added when it is sent.
    ///
    /// # Errors
    /// [`Error::Path`] unless `path` is a path such as `/a` or `/a?b=c`.
    pub fn new(method: Method, path: &str) -> Result<Self, Error> {
        let uri = path.starts_with('/').then(|| path.parse().ok()).flatten();
        let uri = uri.ok_or_else(|| Error::Path {
            path: path.to_owned(),
        })?;
        Ok(Self {
            method,
            uri,
            headers: Vec::new(),
            body: Bytes::new(),
        })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// See [`Request::new`].
    pub fn get(path: &str) -> Result<Self, Error> {
        Self::new(Method::GET, path)
    }

    /// `POST path` with a body of type `application/json`.
    ///
    /// # Errors
    /// See [`Request::new`].
    pub fn post_json(path: &str, body: impl Into<Bytes>) -> Result<Self, Error> {
        let request = Self::new(Method::POST, path)?.with_body(body);
        Ok(request.with_header("content-type", "application/json"))
    }

    /// The same request with this body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same request with this header, which replaces one of the same name.
    ///
    /// # Panics
    /// If `name` is not in lower case, or `value` has control characters.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let name = HeaderName::from_static(name);
        let value = HeaderValue::from_str(value).expect("header values have no control characters");
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value));
        self
    }

    /// Whether its answers have no body, whatever they say.
    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// What comes before the length of the body, or the empty line, when this is written as
    /// HTTP/1.1. The length is told by who knows it.
    pub(crate) fn opening(&self, address: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.uri).into_bytes();
        let told = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        let mut line = |name: &str, value: &[u8]| {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                head.extend_from_slice(part);
            }
        };
        if !self.headers.iter().any(|(name, _)| *name == header::HOST) {
            line("host", address.to_string().as_bytes());
        }
        for (name, value) in self.headers.iter().filter(|(name, _)| !told.contains(name)) {
            line(name.as_str(), value.as_bytes());
        }
        head
    }

    /// Whether the length of a body of no bytes is told too.
    pub(crate) fn tells_empty(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }

    /// What hyper sends; the entries of `headers` are dropped, its memory is used again.
    pub(crate) fn to_http(
        &self,
        host: &HeaderValue,
        mut headers: HeaderMap,
    ) -> hyper::Request<Full<Bytes>> {
        headers.clear();
        headers.insert(header::HOST, host.clone());
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        let mut request = hyper::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

impl Response {
    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_starts_with_a_slash_and_has_no_spaces() {
        for path in ["", "digits", "http://host/a", "/a b", "/a\n"] {
            let error = Request::get(path).unwrap_err();
            assert!(matches!(error, Error::Path { .. }), "{path:?}");
        }
        assert!(Request::get("/a?b=c").is_ok());
    }
}
