//! The query port: `POST /{app}/predict`, in Clipper's shapes.
//!
//! The deadline is stamped once, when the last byte of the body has been read. A client's
//! batch is split into queries, which are batched again with everybody else's.
//!
//! # Cost
//! One parse, straight into the buffers that the batch is gathered from; one output buffer.

mod input;
mod output;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::CONTENT_ENCODING;
use hyper::{Method, Request, Response, StatusCode};
use skysail_core::Input;
use skysail_engine::{Answer, AskError, Resolved, Route};
use skysail_rpc::PayloadBuf;

use crate::answered::Answered;
use crate::frontend::Frontend;
use crate::guard;
use crate::http::body::BODY_TIMEOUT;
use crate::http::{BodyError, json_response, read_body};
use crate::json::{JsonLimits, PredictBody, parse_predict};
use crate::openapi;

/// The answer to a request.
pub type Reply = Response<Full<Bytes>>;

/// The handler of the query port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueryService {
    frontend: Arc<Frontend>,
    json: JsonLimits,
    answered: Answered,
}

/// Why a request gets no answers.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: &'static str,
    cause: String,
    field: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, cause: impl Into<String>) -> Refusal {
        Refusal {
            status,
            error,
            cause: cause.into(),
            field: None,
        }
    }
}

impl QueryService {
    /// The handler of a front end.
    #[must_use]
    pub fn new(frontend: Arc<Frontend>) -> QueryService {
        let answered = Answered::new(frontend.engine.metrics(), "query");
        QueryService {
            frontend,
            json: JsonLimits::default(),
            answered,
        }
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let reply = match openapi::query_reply(request.method(), request.uri().path()) {
            Some(document) => document,
            None => match self.respond(request).await {
                Ok(body) => json_response(StatusCode::OK, body),
                Err(refusal) => refuse(&refusal),
            },
        };
        self.answered.count(reply.status());
        reply
    }

    async fn respond<B>(&self, request: Request<B>) -> Result<Vec<u8>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if self.frontend.about.query.ip().is_loopback()
            && let Some(why) = guard::refusal(request.headers())
        {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "Forbidden", why));
        }
        let route = self.route(request.method(), request.uri().path())?;
        if request.headers().contains_key(CONTENT_ENCODING) {
            let cause = "compressed bodies are not accepted";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Refusal::new(status, "Body error", cause));
        }
        let limit = self.frontend.body_bytes_max;
        let body = read_body(request.into_body(), limit, BODY_TIMEOUT).await;
        let body = body.map_err(|error| body_refusal(&error))?;
        let arrival = Instant::now();
        let parsed = self.parse(&route, &body)?;
        drop(body);
        self.answer(&route, parsed, arrival).await
    }

    /// Reads a body; numbers go straight into rows of the version that serves.
    fn parse(&self, route: &Route, body: &[u8]) -> Result<PredictBody, Refusal> {
        let (kind, features) = (route.app.input_type, route.app.features);
        let hint = features.map(|features| features as usize);
        // A body that names another version is rare: its rows are moved there.
        let serving = route.resolve(None).ok();
        let row = || {
            let serving = serving.as_ref();
            serving.map_or_else(PayloadBuf::default, |to| to.row(kind.datatype()))
        };
        parse_predict(body, kind, hint, &self.json, &row).map_err(|error| Refusal {
            field: error.field.map(|field| field.to_string()),
            ..Refusal::new(StatusCode::BAD_REQUEST, "Json error", error.cause())
        })
    }

    fn route(&self, method: &Method, path: &str) -> Result<Arc<Route>, Refusal> {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let app = inner
            .strip_suffix("/predict")
            .filter(|app| !app.contains('/'));
        let Some(app) = app else {
            let cause = format!("no such path: {}", path.escape_default());
            return Err(Refusal::new(StatusCode::NOT_FOUND, "Not found", cause));
        };
        let Some(route) = self.frontend.engine.route(app) else {
            let cause = format!("no application is named '{}'", app.escape_default());
            return Err(Refusal::new(StatusCode::NOT_FOUND, "Not found", cause));
        };
        if method != Method::POST {
            let cause = format!("{method} is not allowed here, only POST");
            return Err(Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                cause,
            ));
        }
        Ok(route)
    }

    async fn answer(
        &self,
        route: &Route,
        parsed: PredictBody,
        arrival: Instant,
    ) -> Result<Vec<u8>, Refusal> {
        let PredictBody {
            rows,
            batch,
            version,
        } = parsed;
        let to = route
            .resolve(version.as_deref())
            .map_err(|error| ask_refusal(&error))?;
        let inputs = input::inputs(route, &to, rows, batch).map_err(|(field, cause)| Refusal {
            field: Some(field),
            ..Refusal::new(StatusCode::BAD_REQUEST, "Json error", cause)
        })?;
        let mut out = Vec::with_capacity(160 * inputs.len().max(1));
        if batch && inputs.len() != 1 {
            let asked = inputs
                .into_iter()
                .map(|input| self.ask(route, &to, input, arrival));
            let answers = join_all(asked).await;
            out.extend_from_slice(b"{\"batch_predictions\":[");
            for (index, answer) in answers.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                self.write(&mut out, route, &answer?, arrival)?;
            }
            out.extend_from_slice(b"]}");
        } else {
            for input in inputs {
                let answer = self.ask(route, &to, input, arrival).await?;
                self.write(&mut out, route, &answer, arrival)?;
            }
        }
        Ok(out)
    }

    async fn ask(
        &self,
        route: &Route,
        to: &Resolved,
        input: Input,
        arrival: Instant,
    ) -> Result<Answer, Refusal> {
        let deadline = arrival + route.app.slo();
        let answer = self.frontend.engine.ask(to, input, deadline).await;
        answer.map_err(|error| ask_refusal(&error))
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        route: &Route,
        answer: &Answer,
        arrival: Instant,
    ) -> Result<(), Refusal> {
        let id = self.frontend.query_ids.next().ok_or_else(|| {
            let cause = "no query id could be reserved; see the front end's log";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", cause)
        })?;
        let answered = output::write_answer(out, id, &route.app, answer);
        route.record(answered, arrival);
        Ok(())
    }
}

fn refuse(refusal: &Refusal) -> Reply {
    let mut body = serde_json::json!({ "error": refusal.error, "cause": refusal.cause });
    if let Some(field) = &refusal.field {
        body["field"] = field.as_str().into();
    }
    let mut reply = json_response(refusal.status, body.to_string());
    if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = hyper::header::HeaderValue::from_static("POST");
        reply.headers_mut().insert(hyper::header::ALLOW, allowed);
    }
    reply
}

fn ask_refusal(error: &AskError) -> Refusal {
    let field = match error {
        AskError::UnknownVersion { .. } | AskError::NotLinked { .. } => "version",
        _ => "input",
    };
    let cause = error.to_string();
    Refusal {
        field: Some(field.to_owned()),
        ..Refusal::new(StatusCode::BAD_REQUEST, "Query processing error", cause)
    }
}

fn body_refusal(error: &BodyError) -> Refusal {
    Refusal::new(error.status(), "Body error", error.to_string())
}
