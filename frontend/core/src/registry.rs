//! What is registered: an immutable snapshot that the data plane reads.
//!
//! `control` changes it by validated commands and publishes each new snapshot whole; nothing
//! here can be changed in place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Cost, InputType, Name};

/// Shortest and longest latency objective, in microseconds.
pub const SLO_MICROS: std::ops::RangeInclusive<u64> = 1_000..=600_000_000;

/// Everything that is registered.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// By name.
    pub applications: BTreeMap<Name, Arc<Application>>,
    /// By name.
    pub models: BTreeMap<Name, Arc<Model>>,
}

/// An endpoint with its objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// Its path on the query port.
    pub name: Name,
    /// What a query brings.
    pub input_type: InputType,
    /// Elements of every query, if they are all alike.
    #[serde(default)]
    pub features: Option<u32>,
    /// Time from the last byte of a query to its answer, in microseconds.
    pub latency_slo_micros: u64,
    /// The answer when there is no prediction in time.
    pub default_output: String,
    /// Queries a second that are served before those of other applications under overload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<f64>,
    /// The models that answer; at most one until selection policies exist.
    #[serde(default)]
    pub linked_models: Vec<Name>,
}

impl Application {
    /// Time from the last byte of a query to its answer.
    #[must_use]
    pub fn slo(&self) -> Duration {
        Duration::from_micros(self.latency_slo_micros)
    }
}

/// A model's name with its versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name.
    pub name: Name,
    /// The version that answers.
    pub current: Option<Name>,
    /// The versions that were current before, latest last; for roll-back, and to answer
    /// until the current one has a replica.
    #[serde(default)]
    pub history: Vec<Name>,
    /// By version.
    pub versions: BTreeMap<Name, Arc<ModelVersion>>,
}

impl Model {
    /// The current version.
    #[must_use]
    pub fn current_version(&self) -> Option<&Arc<ModelVersion>> {
        self.versions.get(self.current.as_ref()?)
    }

    /// The version that was current before and still exists.
    #[must_use]
    pub fn previous_version(&self) -> Option<&Arc<ModelVersion>> {
        let earlier = |version: &&Name| Some(*version) != self.current.as_ref();
        self.history
            .iter()
            .rev()
            .filter(earlier)
            .find_map(|version| self.versions.get(version))
    }
}

/// An immutable version of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelVersion {
    /// The model's name.
    pub model: Name,
    /// The version's name; versions are not ordered.
    pub version: Name,
    /// Unique for each registration, so that a version that is removed and registered again
    /// shares nothing with the old one.
    pub generation: u64,
    /// What it takes.
    pub input_type: InputType,
    /// Annotations.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Image that it is deployed from, as `clipper_admin` says.
    #[serde(default)]
    pub container_name: String,
    /// As `clipper_admin` says.
    #[serde(default)]
    pub model_data_path: String,
    /// How batches are sized.
    #[serde(default)]
    pub batching: Batching,
    /// Whether asking a query twice does no harm. If so, a query whose replica is lost or
    /// unusually late is asked elsewhere as well.
    #[serde(default = "yes")]
    pub idempotent: bool,
}

fn yes() -> bool {
    true
}

/// How batches are sized. The container's own maximum always holds besides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Batching {
    /// By the deadlines of what waits and the latency as learned from batches.
    Adaptive(Adaptive),
    /// Clipper's rule: one row more while batches return in time, a tenth less when one is late.
    Aimd {
        /// At most this many rows, if set.
        #[serde(default)]
        size_max: Option<u32>,
    },
    /// Always `size` rows, or what is there after `wait_micros`.
    Fixed {
        /// Rows to wait for.
        size: u32,
        /// Time that the first query waits for the batch to fill.
        wait_micros: u64,
    },
}

impl Batching {
    /// In what queries are measured.
    #[must_use]
    pub fn cost(&self) -> Cost {
        match self {
            Batching::Adaptive(adaptive) => adaptive.cost,
            _ => Cost::Rows,
        }
    }

    /// Adaptive with at most so many rows, if given.
    #[must_use]
    pub fn adaptive(size_max: Option<u32>) -> Batching {
        Batching::Adaptive(Adaptive {
            size_max,
            ..Adaptive::default()
        })
    }
}

impl Default for Batching {
    fn default() -> Self {
        Batching::adaptive(None)
    }
}

/// Knobs of adaptive batching; none needs to be turned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    /// At most this many rows.
    #[serde(default)]
    pub size_max: Option<u32>,
    /// Share of the answered queries that may be late; 0.009 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_budget: Option<f64>,
    /// Most time that a query waits for company under load, as a share of its objective; 0.5
    /// if not given, 0 never waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_share: Option<f64>,
    /// Share of the rows that may be asked of two replicas; 0.05 if not given, 0 asks none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge_share: Option<f64>,
    /// Sizes that the model has compiled shapes for, ascending; any if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_sizes: Vec<u32>,
    /// In what queries are measured; the profile's `beta` is that of one such unit.
    #[serde(default, skip_serializing_if = "Cost::is_rows")]
    pub cost: Cost,
    /// Known latency to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<SeedProfile>,
}

/// Latency of a batch of size `b`: `alpha + beta b`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedProfile {
    /// Microseconds of a batch, whatever its size.
    pub alpha_micros: f64,
    /// Microseconds of each row, or other unit of [`Adaptive::cost`].
    pub beta_micros: f64,
}

/// Replicas that an orchestrator keeps running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The model.
    pub model: Name,
    /// The version.
    pub version: Name,
    /// How many.
    pub replicas: u32,
    /// How many there were before it was scaled to none, while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas_before: Option<u32>,
    /// Program and arguments of one replica.
    pub command: Vec<String>,
}
