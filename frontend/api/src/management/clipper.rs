//! Clipper's management API, `/admin/*`: texts and shapes as `clipper_admin` 0.4.1 relies on.
//!
//! Successes are 200 with text or JSON, refusals 400 with plain text, all under a JSON content
//! type; what is not found is `{}` with 200 where a getter asks for one thing. Control's errors
//! have Clipper's texts already. Fields that a command does not know are ignored, as Clipper does.
//!
//! Unlike Clipper: an unknown `input_type` is refused, deleted versions are not listed, `labels`
//! are read back as they were given, and `batch_size` is shown.

mod applications;
mod containers;
mod models;
mod schemas;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use skysail_core::InputType;

use super::body::{self, JsonFault};
use super::errors::{PlainRefusal, Refusal, json, plain};
use super::{Shared, command};

/// The answer to a request.
type Answer = Result<Response, PlainRefusal>;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/ping", get(ping))
        .route("/add_app", post(applications::add))
        .route("/delete_app", post(applications::delete))
        .route("/get_application", post(applications::get))
        .route("/get_all_applications", post(applications::get_all))
        .route("/add_model_links", post(applications::link))
        .route("/delete_model_links", post(applications::unlink))
        .route("/get_linked_models", post(applications::linked))
        .route("/get_state", post(applications::state))
        .route("/add_model", post(models::add))
        .route("/delete_versioned_model", post(models::delete))
        .route("/set_model_version", post(models::set_version))
        .route("/get_model", post(models::get))
        .route("/get_all_models", post(models::get_all))
        .route("/get_container", post(containers::get))
        .route("/get_all_containers", post(containers::get_all))
}

/// What the listings take.
#[derive(Deserialize)]
struct Verbose {
    verbose: bool,
}

async fn ping() -> Response {
    plain(StatusCode::OK, "PONG".to_owned())
}

/// The body of `request`; `schema` is what Clipper prints where it is wrong.
async fn parse<T: serde::de::DeserializeOwned>(
    request: Request,
    schema: &str,
) -> Result<T, PlainRefusal> {
    let body = body::read(request).await?;
    body::parse(&body).map_err(|fault| PlainRefusal(Refusal::invalid(None, text(fault, schema))))
}

fn text(fault: JsonFault, schema: &str) -> String {
    let what = match fault {
        JsonFault::Syntax { what, offset } => {
            format!("JSON parse error: {what} (offset {offset})")
        }
        JsonFault::Missing { field } => {
            format!("JSON object does not have required key: {field}")
        }
        JsonFault::Wrong {
            field: Some(field),
            what,
        } => mismatch(&field, &what).unwrap_or_else(|| format!("JSON key {field}: {what}")),
        JsonFault::Wrong { field: None, what } => format!("Type mismatch! {what}"),
    };
    format!("Error parsing JSON: {what}. Expected JSON schema: {schema}")
}

/// What serde says of a value of another type, in Clipper's words, missing spaces included.
fn mismatch(field: &str, what: &str) -> Option<String> {
    let (found, expected) = what
        .strip_prefix("invalid type: ")?
        .split_once(", expected ")?;
    let found = match found.split([' ', ',']).next()? {
        "integer" | "floating" => "Number",
        "boolean" if found.contains("true") => "True",
        "boolean" => "False",
        "string" => "String",
        "sequence" => "Array",
        "map" => "Object",
        "null" => "Null",
        _ => return None,
    };
    let is_element = field.ends_with(']');
    Some(match expected {
        "a string" if is_element => format!("Array input of type {found} is not of type string"),
        "i64" | "u64" if found == "Number" => format!("Input of type {found} is not of type int"),
        "a boolean" => {
            format!("Type mismatch! JSON key {field} expected type bool but found type {found}")
        }
        _ => {
            let expected = match expected {
                "a string" => "String",
                "i64" | "u64" => "Number",
                "a sequence" => "Array",
                _ => return None,
            };
            format!(
                "Type mismatch! JSON key {field} expected type {expected}but found type {found}"
            )
        }
    })
}

/// Any of Clipper's spellings.
fn input_type(text: &str, schema: &str) -> Result<InputType, PlainRefusal> {
    text.parse().map_err(|what| {
        let text = format!("Error parsing JSON: {what}. Expected JSON schema: {schema}");
        PlainRefusal(Refusal::invalid(None, text))
    })
}

/// A success in words.
fn done(text: String) -> Answer {
    Ok(plain(StatusCode::OK, text))
}

/// One thing, or `{}` where it is not there.
fn one<T: Serialize>(found: Option<T>) -> Answer {
    Ok(match found {
        Some(found) => json(&found),
        None => json(&serde_json::json!({})),
    })
}
