//! `POST /{app}/update`: feedback, in Clipper's words.
//!
//! A body is checked as a query's would be: against the application and against the model that
//! serves. There is no selection policy that keeps state, so the answer is the one that Clipper
//! gives where it has no state for the `uid`: 0 of them received it, and nothing is stored.

use hyper::StatusCode;
use skysail_engine::Route;

use super::input;
use crate::json::{JsonLimits, parse_update};
use crate::query::reply::{Reply, json};

/// Answers feedback on an application.
pub(super) fn answer(route: &Route, body: &[u8], limits: &JsonLimits) -> Reply {
    match check(route, body, limits) {
        Ok(()) => json(StatusCode::OK, "Feedback received? 0"),
        Err(text) => json(StatusCode::BAD_REQUEST, text),
    }
}

fn check(route: &Route, body: &[u8], limits: &JsonLimits) -> Result<(), String> {
    let parsed = parse_update(body, route.app.input_type, limits);
    let parsed = parsed.map_err(|error| error.feedback_text())?;
    let to = route.resolve(None).map_err(|error| error.to_string())?;
    let checked = input::inputs(route, &to, vec![parsed.input], false);
    checked.map(drop).map_err(|(_, what)| what)
}
