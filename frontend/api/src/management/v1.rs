//! Our own management API, `/api/v1/*`.
//!
//! | method and path | does |
//! |---|---|
//! | `GET /applications` · `POST` | lists · registers an application |
//! | `GET /applications/{name}` · `DELETE` | shows · removes it |
//! | `PUT /applications/{name}/links` · `DELETE` | adds · removes `{"models":["m"]}` |
//! | `GET /applications/{name}/advice` | what its models bear, and what would make them bear more |
//! | `GET /models` · `POST` | lists · registers a version, which becomes current |
//! | `GET /models/{m}` · `DELETE` | shows · removes it with all versions |
//! | `DELETE /models/{m}/versions/{v}` | removes a version |
//! | `PUT /models/{m}/current` | makes `{"version":"2"}` current |
//! | `POST /models/{m}/rollback` | makes the one before it current, and says which |
//! | `PUT /models/{m}/versions/{v}/deployment` · `DELETE` | `{"replicas":2,"command":["p","a"],"early":false}` |
//! | `PATCH /models/{m}/deployment` | scales: `{"replicas":3,"version":null}` |
//! | `GET /models/{m}/logs?version=&replica=&lines=` | the ends of its replicas' logs |
//! | `GET /replicas` · `GET /status` | what is connected · everything |
//! | `GET /load` | counts of applications, versions and replicas, to take differences of |
//! | `GET /explain/{m}?version=` | how a model's versions stand, and their last dispatches |
//!
//! Lists are arrays. Fields that are not known are refused. What was changed is answered as it is now.

mod applications;
mod deployments;
mod load;
mod logs;
mod models;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::body::{self, JsonFault};
use super::errors::{self, Refusal};
use super::views::{ReplicaView, StatusView};
use super::{Shared, blocking, command};

/// The answer to a request.
type Answer = Result<Response, Refusal>;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route(
            "/applications",
            get(applications::list).post(applications::add),
        )
        .route(
            "/applications/{name}",
            get(applications::show).delete(applications::remove),
        )
        .route(
            "/applications/{name}/links",
            put(applications::link).delete(applications::unlink),
        )
        .route("/applications/{name}/advice", get(load::advice))
        .route("/models", get(models::list).post(models::add))
        .route("/models/{model}", get(models::show).delete(models::remove))
        .route("/models/{model}/current", put(models::set_version))
        .route("/models/{model}/rollback", post(models::rollback))
        .route(
            "/models/{model}/versions/{version}",
            delete(models::remove_version),
        )
        .route(
            "/models/{model}/versions/{version}/deployment",
            put(deployments::deploy).delete(deployments::undeploy),
        )
        .route("/models/{model}/deployment", patch(deployments::scale))
        .route("/models/{model}/logs", get(logs::tails))
        .route("/replicas", get(replicas))
        .route("/status", get(status))
        .route("/load", get(load::load))
        .route("/explain/{model}", get(load::explain))
}

async fn replicas(State(frontend): State<Shared>) -> Response {
    let replicas = frontend.engine.replicas();
    let views: Vec<_> = replicas.iter().map(ReplicaView::of).collect();
    errors::json(&views)
}

async fn status(State(frontend): State<Shared>) -> Answer {
    Ok(errors::json(&blocking(&frontend, StatusView::of).await?))
}

/// A body of type `T`.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Body<T>, Refusal> {
        let body = body::read(request).await?;
        body::parse(&body).map(Body).map_err(refusal)
    }
}

fn refusal(fault: JsonFault) -> Refusal {
    match fault {
        JsonFault::Syntax { what, offset } => {
            Refusal::invalid(None, format!("body is not JSON: {what} at byte {offset}"))
        }
        JsonFault::Missing { field } => {
            let message = format!("{field} is missing");
            Refusal::invalid(Some(field), message)
        }
        JsonFault::Wrong {
            field: Some(field),
            what,
        } => {
            let message = format!("{field}: {what}");
            Refusal::invalid(Some(field), message)
        }
        JsonFault::Wrong { field: None, what } => Refusal::invalid(None, what),
    }
}

/// What is wrong with the parameters of a query, of which there are `known`. Names the
/// parameter where axum's text does: `...: lines: invalid digit ...` or
/// `...: unknown field `line`, ...`.
fn query_refusal(fault: &QueryRejection, known: &[&str]) -> Refusal {
    let text = fault.body_text();
    let what = text
        .rsplit_once("string: ")
        .map_or(text.as_str(), |(_, what)| what);
    let unknown = || what.split_once("unknown field `")?.1.split('`').next();
    let mut known = known.iter().copied();
    let field = known
        .find(|name| what.starts_with(&format!("{name}:")))
        .or_else(unknown);
    Refusal::invalid(
        field.map(str::to_owned),
        format!("query parameters are wrong: {what}"),
    )
}

/// What a command made.
fn created(view: &impl Serialize) -> Answer {
    Ok((StatusCode::CREATED, axum::Json(view)).into_response())
}

/// What is there.
fn shown(view: &impl Serialize) -> Answer {
    Ok(errors::json(view))
}
