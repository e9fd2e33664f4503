//! What each command does: pure decisions over the present state.
//!
//! A decision reads a `State` and gives the edits to commit, all or none, with the command's
//! answer; nothing changes until `control` has committed them. `limits` holds what a request must
//! keep to whatever is registered.
//!
//! # Invariants
//! - A decision's edits take a state that passes `State::check` to another one that does.
//! - A generation is given out once, also if its version is removed.

mod applications;
mod deployments;
pub mod limits;
mod models;

use std::ops::Range;

use skysail_core::InputType;
use skysail_core::registry::Batching;

pub(crate) use applications::{
    add_application, link_models, linked_models, remove_application, unlink_models,
};
pub(crate) use deployments::{deploy, deploy_early, resume, scale, undeploy};
pub(crate) use models::{
    add_model_version, remove_model, remove_model_version, rollback, set_version,
};

use crate::error::ControlError;
use crate::records::{Edit, Record};
use crate::state::State;

/// An application to register.
#[derive(Clone, Debug, PartialEq)]
pub struct NewApplication {
    /// A [`Name`](skysail_core::Name), except those of [`limits::NAMES_RESERVED`] and
    /// [`limits::NAMES_RESERVED_BY_V2`].
    pub name: String,
    /// What a query brings.
    pub input_type: InputType,
    /// Elements of every query, if they are all alike; 1 to [`limits::FEATURES_MAX`].
    pub features: Option<u32>,
    /// Time from the last byte of a query to its answer, in microseconds; within
    /// [`SLO_MICROS`](skysail_core::registry::SLO_MICROS).
    pub latency_slo_micros: u64,
    /// The answer when there is no prediction in time; up to [`limits::DEFAULT_OUTPUT_BYTES_MAX`].
    pub default_output: String,
    /// Queries a second that go first under overload; within [`limits::GUARANTEE`].
    pub guarantee: Option<f64>,
}

/// A model version to register.
#[derive(Clone, Debug, PartialEq)]
pub struct NewVersion {
    /// The model: a [`Name`](skysail_core::Name), except those of
    /// [`limits::NAMES_RESERVED_BY_V2`]; made if there is none.
    pub model: String,
    /// The version: a [`Name`](skysail_core::Name).
    pub version: String,
    /// What it takes.
    pub input_type: InputType,
    /// Annotations without `,` and `:`.
    pub labels: Vec<String>,
    /// Image that it is deployed from; may be empty.
    pub container_name: String,
    /// As `clipper_admin` says; may be empty.
    pub model_data_path: String,
    /// How batches are sized; for Clipper's number see [`limits::batching_of_clipper`].
    pub batching: Batching,
    /// Whether asking a query twice does no harm.
    pub idempotent: bool,
}

/// What a command would do.
#[derive(Debug)]
pub(crate) struct Decision<T> {
    /// To commit, all or none; empty where everything is as asked for.
    pub(crate) edits: Vec<Edit>,
    /// What the caller gets once they are durable.
    pub(crate) answer: T,
}

pub(crate) type Decided<T> = Result<Decision<T>, ControlError>;

/// A decision without an answer.
fn edits(edits: Vec<Edit>) -> Decided<()> {
    Ok(Decision { edits, answer: () })
}

/// Takes `count` query ids out of circulation.
pub(crate) fn reserve_query_ids(state: &State, count: u64) -> Decided<Range<u64>> {
    limits::check_query_id_block(count)?;
    let left = limits::QUERY_IDS_END.saturating_sub(state.query_id);
    if count > left {
        return Err(ControlError::Exhausted {
            what: "query ids",
            asked: count,
            left,
        });
    }
    let end = state.query_id + count;
    Ok(Decision {
        edits: vec![Edit::Put(Record::QueryId(end))],
        answer: state.query_id..end,
    })
}

#[cfg(test)]
mod tests;
