//! Clipper's routes: predictions, feedback, metrics.
//!
//! | path | answers |
//! |---|---|
//! | `POST /{app}/predict` | queries |
//! | `POST /{app}/update` | feedback (`update`) |
//! | `GET /metrics` | Clipper's metrics, or Prometheus' (`metrics`) |
//! | `GET /openapi.json` | the whole query port, described |
//!
//! Each path may end in a slash. The content type of a request does not matter, as in Clipper.
//!
//! The deadline is stamped once, when the last byte of the body has been read. A client's
//! batch is split into queries, which are batched again with everybody else's.
//!
//! # Cost
//! One parse, straight into the buffers that the batch is gathered from; one output buffer.

mod input;
mod metrics;
mod output;
mod update;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use skysail_engine::{Answer, AskError, Route};
use skysail_rpc::PayloadBuf;

use super::BodyFailure;
use super::encoding::{Encoding, EncodingError};
use super::reply::{Reply, json};
use crate::access::Denied;
use crate::frontend::Frontend;
use crate::http::body::BODY_TIMEOUT;
use crate::http::{BodyError, read_body};
use crate::json::{JsonLimits, PredictBody, parse_predict};
use crate::openapi;
use metrics::ClipperMetrics;
use output::Explained;

/// The handler of Clipper's route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clipper {
    frontend: Arc<Frontend>,
    json: JsonLimits,
    metrics: ClipperMetrics,
}

/// What a request is for.
enum Asked {
    Predict(Arc<Route>),
    Update(Arc<Route>),
    Metrics,
    Document,
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

impl Clipper {
    /// The handler of a front end.
    #[must_use]
    pub fn new(frontend: Arc<Frontend>) -> Clipper {
        Clipper {
            metrics: ClipperMetrics::new(frontend.clone()),
            frontend,
            json: JsonLimits::default(),
        }
    }

    /// Answers one request.
    pub async fn handle<B>(&self, request: Request<B>) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyFailure>,
    {
        let answered = self.respond(request).await;
        answered.unwrap_or_else(|refusal| refuse(&refusal))
    }

    async fn respond<B>(&self, request: Request<B>) -> Result<Reply, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyFailure>,
    {
        let asked = self.asked(request.uri().path())?;
        let (head, body) = request.into_parts();
        match asked {
            Asked::Predict(route) => {
                let body = self.read(&head.headers, body).await?;
                let arrival = Instant::now();
                let parsed = self.parse(&route, &body)?;
                drop(body);
                let answer = self.answer(&route, parsed, arrival).await?;
                Ok(json(StatusCode::OK, answer))
            }
            Asked::Update(route) => {
                let body = self.read(&head.headers, body).await?;
                Ok(update::answer(&route, &body, &self.json))
            }
            Asked::Metrics => Ok(self.metrics.answer(&head.headers)),
            Asked::Document => Ok(json(StatusCode::OK, openapi::QUERY)),
        }
    }

    /// The body of a request, decompressed.
    async fn read<B>(&self, headers: &HeaderMap, body: B) -> Result<Bytes, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyFailure>,
    {
        let limit = self.frontend.body_bytes_max;
        let encoding = Encoding::of_request(headers).map_err(|error| encoding_refusal(&error))?;
        let body = read_body(body, limit, BODY_TIMEOUT).await;
        let body = body.map_err(|error| body_refusal(&error))?;
        match encoding {
            None => Ok(body),
            Some(encoding) => encoding
                .decode(&body, limit)
                .await
                .map_err(|error| encoding_refusal(&error)),
        }
    }

    /// Reads a body; numbers go straight into rows of the version that serves.
    fn parse(&self, route: &Route, body: &[u8]) -> Result<PredictBody, Refusal> {
        let (kind, features) = (route.app.input_type, route.app.features);
        let hint = features.map(|features| features as usize);
        // A body that names another version is rare: its rows are moved there.
        let serving = route.resolve(None).ok();
        let row = || {
            let to = serving.as_ref().zip(kind.datatype());
            to.map_or_else(PayloadBuf::default, |(to, datatype)| to.row(datatype))
        };
        parse_predict(body, kind, hint, &self.json, &row).map_err(|error| Refusal {
            field: error.field.map(|field| field.to_string()),
            ..Refusal::new(StatusCode::BAD_REQUEST, "Json error", error.cause())
        })
    }

    fn asked(&self, path: &str) -> Result<Asked, Refusal> {
        let inner = path.strip_prefix('/').unwrap_or(path);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        match inner.split_once('/') {
            None if inner == "metrics" => Ok(Asked::Metrics),
            None if path == openapi::PATH => Ok(Asked::Document),
            Some((app, "predict")) => self.route(app).map(Asked::Predict),
            Some((app, "update")) => self.route(app).map(Asked::Update),
            _ => {
                let cause = format!("no such path: {}", path.escape_default());
                Err(Refusal::new(StatusCode::NOT_FOUND, "Not found", cause))
            }
        }
    }

    /// The route of an application.
    fn route(&self, app: &str) -> Result<Arc<Route>, Refusal> {
        self.frontend.engine.route(app).ok_or_else(|| {
            let cause = format!("no application is named '{}'", app.escape_default());
            Refusal::new(StatusCode::NOT_FOUND, "Not found", cause)
        })
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
            options,
        } = parsed;
        let to = route
            .resolve(version.as_deref())
            .map_err(|error| ask_refusal(&error))?;
        let inputs = input::inputs(route, &to, rows, batch).map_err(|(field, cause)| Refusal {
            field: Some(field),
            ..Refusal::new(StatusCode::BAD_REQUEST, "Json error", cause)
        })?;
        let asked = options.ask(arrival, route.app.slo());
        let answers = self.frontend.engine.ask_all(&to, inputs, asked).await;
        let answers = answers.map_err(|error| ask_refusal(&error))?;
        to.record_request(true, arrival.elapsed());
        let explained = options.explain.then_some(Explained {
            options: &options,
            arrival,
        });
        let mut out = Vec::with_capacity(160 * answers.len().max(1));
        let is_list = batch && answers.len() != 1;
        if is_list {
            out.extend_from_slice(b"{\"batch_predictions\":[");
        }
        for (index, answer) in answers.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.write(&mut out, route, answer, arrival, explained)?;
        }
        if is_list {
            out.extend_from_slice(b"]}");
        }
        Ok(out)
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        route: &Route,
        answer: &Answer,
        arrival: Instant,
        explained: Option<Explained<'_>>,
    ) -> Result<(), Refusal> {
        let id = self.frontend.query_ids.next().ok_or_else(|| {
            let cause = "no query id could be reserved; see the front end's log";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "Unavailable", cause)
        })?;
        let answered = output::write_answer(out, id, &route.app, answer, explained);
        route.record(answered, arrival);
        Ok(())
    }
}

/// The answer to whoever may not do this, or to what there is not.
pub(super) fn denied(denied: &Denied) -> Reply {
    let error = match denied.status() {
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::TOO_MANY_REQUESTS => "Too many requests",
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::METHOD_NOT_ALLOWED => "Method not allowed",
        _ => "Unauthorized",
    };
    refuse(&Refusal::new(denied.status(), error, denied.to_string()))
}

/// The answer to a request that this port refuses by its head.
pub(super) fn forbidden(why: &str) -> Reply {
    refuse(&Refusal::new(StatusCode::FORBIDDEN, "Forbidden", why))
}

fn refuse(refusal: &Refusal) -> Reply {
    let mut body = serde_json::json!({ "error": refusal.error, "cause": refusal.cause });
    if let Some(field) = &refusal.field {
        body["field"] = field.as_str().into();
    }
    json(refusal.status, body.to_string())
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

fn encoding_refusal(error: &EncodingError) -> Refusal {
    let status = match error {
        EncodingError::Unknown(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        EncodingError::Broken(_) => StatusCode::BAD_REQUEST,
        EncodingError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
    };
    Refusal::new(status, "Body error", error.to_string())
}
