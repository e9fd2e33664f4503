//! The management port: Clipper's `/admin/*`, our own `/api/v1/*`, metrics and liveness.
//!
//! | path | holds |
//! |---|---|
//! | `/admin/*` | Clipper's management API, as an unmodified `clipper_admin` uses it |
//! | `/api/v1/*` | what the `skysail` command uses; one error shape |
//! | `/metrics` | everything, as Prometheus reads it |
//! | `/health` | 200 while requests are answered at all |
//! | `/openapi.json` | all of these, described |
//!
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
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use skysail_control::ControlError;
use skysail_monitor::metrics;

use crate::answered::Answered;
use crate::frontend::Frontend;
use crate::guard;
use crate::openapi;
use errors::Refusal;

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
    };
    Router::new()
        .nest("/admin", clipper::router())
        .nest("/api/v1", v1::router())
        .route("/metrics", get(metrics_text))
        .route("/health", get(health))
        .route(openapi::PATH, get(document))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(gate, Gate::pass))
        .with_state(frontend)
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
}

impl Gate {
    async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
        let refused = gate
            .is_loopback
            .then(|| guard::refusal(request.headers()))
            .flatten();
        let response = match refused {
            Some(why) => Refusal::forbidden(why).into_response(),
            None => in_json(next.run(request).await),
        };
        gate.answered.count(response.status());
        response
    }
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

async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], openapi::MANAGEMENT)
}

async fn no_such_path(uri: Uri) -> Refusal {
    Refusal::no_such_path(uri.path())
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    Refusal::wrong_method(&method, uri.path())
}

#[cfg(test)]
mod tests;
