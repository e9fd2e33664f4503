//! The management port: Clipper's `/admin/*`, our own `/api/v1/*`, metrics and liveness.
//!
//! | path | holds |
//! |---|---|
//! | `/admin/*` | Clipper's management API, as an unmodified `clipper_admin` uses it |
//! | `/api/v1/*` | what the `skysail` command uses; one error shape |
//! | `/metrics` | everything, as Prometheus reads it |
//! | `/health` | 200 while requests are answered at all |
//! | `/ready` | 200 while new clients are wanted, else 503 and the reason |
//! | `/openapi.json` | all of these, described |
//!
//! What each route needs stands in [`MANAGEMENT_PORT`]; a route that is missing there is refused.
//! Commands block on a disk, so they run on tokio's blocking threads, never on a runtime that
//! carries queries.
//!
//! # Invariants
//! - Every request is answered once, with JSON, and counted; `/metrics` alone answers text.
//! - A body is at most [`BODY_BYTES_MAX`] and comes within [`BODY_TIME_MAX`].
//! - What an answer says was done is durable, and queries see it.

mod advice;
mod body;
mod clipper;
mod errors;
mod lanes;
mod v1;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use skysail_control::ControlError;
use skysail_monitor::metrics;

use crate::access::routes::MANAGEMENT_PORT;
use crate::access::{Caller, Granted, Now};
use crate::answered::Answered;
use crate::frontend::Frontend;
use crate::guard;
use crate::openapi;
use errors::{PlainRefusal, Refusal};

/// Longest body of a command.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Time for the body of a command to arrive.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// What the handlers share.
type Shared = Arc<Frontend>;

/// The whole management port of a front end.
pub fn router(frontend: Arc<Frontend>) -> Router {
    let gate = Gate {
        answered: Answered::new(frontend.engine.metrics(), "management"),
        is_loopback: frontend.about.management.ip().is_loopback(),
        frontend: frontend.clone(),
    };
    routes()
        .layer(middleware::from_fn_with_state(gate, Gate::pass))
        .with_state(frontend)
}

/// What there is, before anybody asks who may use it.
fn routes() -> Router<Shared> {
    Router::new()
        .nest("/admin", clipper::router())
        .nest("/api/v1", v1::router())
        .route("/metrics", get(metrics_text))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route(openapi::PATH, get(document))
}

/// What is registered, connected and running, as `/api/v1/status` answers it.
///
/// Takes a lock of control's, so that it may wait for a command.
pub fn status(frontend: &Frontend) -> serde_json::Value {
    serde_json::to_value(views::StatusView::of(frontend)).expect("its keys are strings")
}

/// What every request passes, and every answer on its way back.
#[derive(Clone)]
struct Gate {
    answered: Answered,
    is_loopback: bool,
    frontend: Shared,
}

impl Gate {
    async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
        let response = match gate.admit(&request) {
            Ok(granted) => audited(granted, request, next).await,
            Err(refusal) => turned_away(refusal, request.uri().path()),
        };
        gate.answered.count(response.status());
        response
    }

    fn admit(&self, request: &Request) -> Result<Granted, Refusal> {
        if self.is_loopback
            && let Some(why) = guard::refusal(request.headers())
        {
            return Err(Refusal::forbidden(why));
        }
        let pattern = request.extensions().get::<MatchedPath>();
        let pattern = pattern.map(MatchedPath::as_str);
        let (method, path) = (request.method(), request.uri().path());
        let found = MANAGEMENT_PORT.by_pattern(method, pattern, path);
        let access = &self.frontend.access;
        let admitted = access.admit(&Caller::of(request), &found, Now::read);
        admitted.map_err(|denied| Refusal::denied(&denied))
    }
}

/// Who asks is told so in Clipper's plain text by its routes; what is not there is no route of it.
fn turned_away(refusal: Refusal, path: &str) -> Response {
    let is_absent = matches!(
        refusal.status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    );
    match path.starts_with("/admin/") && !is_absent {
        true => PlainRefusal(refusal).into_response(),
        false => refusal.into_response(),
    }
}

/// Answers a request; logs what the holder of a token has done, or tried to.
async fn audited(granted: Granted, request: Request, next: Next) -> Response {
    let Some(token) = granted.name().filter(|_| !request.method().is_safe()) else {
        return in_json(next.run(request).await);
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = in_json(next.run(request).await);
    let status = response.status().as_u16();
    tracing::info!(token, %method, path, status, "a management request");
    response
}

/// What axum refuses by itself, a path that is not UTF-8, in our words.
fn in_json(response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind == "application/json");
    if is_json || !response.status().is_client_error() {
        return response;
    }
    Refusal::invalid(None, "the path is not valid: percent-encode names as UTF-8").into_response()
}

/// Runs a command where it may block.
async fn blocking<T: Send + 'static>(
    frontend: &Shared,
    command: impl FnOnce(&Frontend) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let frontend = frontend.clone();
    let task = tokio::task::spawn_blocking(move || command(&frontend));
    task.await.map_err(|panic| {
        tracing::error!(%panic, "a management command panicked");
        Refusal::internal()
    })
}

/// Runs a command that control may refuse.
async fn command<T: Send + 'static>(
    frontend: &Shared,
    command: impl FnOnce(&Frontend) -> Result<T, ControlError> + Send + 'static,
) -> Result<T, Refusal> {
    blocking(frontend, command).await?.map_err(Refusal::from)
}

async fn metrics_text(State(frontend): State<Shared>) -> impl IntoResponse {
    let text = frontend.engine.metrics_text();
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
}

async fn health() -> impl IntoResponse {
    errors::json(&serde_json::json!({ "status": "ok" }))
}

async fn ready(State(frontend): State<Shared>) -> impl IntoResponse {
    match frontend.readiness.state().reason() {
        None => (
            StatusCode::OK,
            errors::json(&serde_json::json!({ "ready": true })),
        ),
        Some(reason) => {
            let body = serde_json::json!({ "ready": false, "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, errors::json(&body))
        }
    }
}

async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], openapi::MANAGEMENT)
}

#[cfg(test)]
mod tests;
