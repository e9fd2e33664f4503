//! What the front end bears: its counts, and why its batches are as they are.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use skysail_control::ControlError;

use super::super::advice::TuneView;
use super::super::lanes::{AnswersView, ExplainedView, Known, LaneView};
use super::{Answer, Shared, query_refusal, shown};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// All that are registered or connected where there is none.
    #[serde(default)]
    version: Option<String>,
}

/// The counts of a front end; another process begins with new ones.
#[derive(Serialize)]
struct Load {
    pid: u32,
    applications: Vec<AnswersView>,
    versions: Vec<LaneView>,
}

#[derive(Serialize)]
struct Explained {
    model: String,
    versions: Vec<ExplainedView>,
}

pub(super) async fn load(State(frontend): State<Shared>) -> Answer {
    let registry = frontend.control.registry();
    let applications = registry.applications.values();
    let standings = frontend.engine.standings();
    let known = Known::of(&frontend);
    shown(&Load {
        pid: frontend.about.pid,
        applications: applications
            .filter_map(|one| AnswersView::of(one, &frontend.engine))
            .collect(),
        versions: standings
            .iter()
            .map(|one| LaneView::of(one, &known))
            .collect(),
    })
}

pub(super) async fn explain(
    State(frontend): State<Shared>,
    Path(model): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer {
    let Query(asked) = asked.map_err(|fault| query_refusal(&fault, &["version"]))?;
    let mut standings = frontend.engine.standings();
    standings.retain(|one| one.model.as_str() == model);
    if standings.is_empty() {
        return Err(ControlError::ModelMissing { model }.into());
    }
    if let Some(version) = asked.version {
        standings.retain(|one| one.version.as_str() == version);
        if standings.is_empty() {
            return Err(ControlError::VersionMissing { model, version }.into());
        }
    }
    let known = Known::of(&frontend);
    shown(&Explained {
        versions: standings
            .iter()
            .map(|one| ExplainedView::of(one, &known))
            .collect(),
        model,
    })
}

/// What the models of an application bear within its objective, and what would make them bear
/// more.
pub(super) async fn advice(State(frontend): State<Shared>, Path(name): Path<String>) -> Answer {
    let registry = frontend.control.registry();
    let Some(application) = registry.applications.get(name.as_str()) else {
        return Err(ControlError::ApplicationMissing { name }.into());
    };
    let standings = frontend.engine.standings();
    shown(&TuneView::of(
        application,
        &standings,
        &Known::of(&frontend),
    ))
}
