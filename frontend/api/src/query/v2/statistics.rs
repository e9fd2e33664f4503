//! What came of requests, as the statistics extension tells it.
//!
//! | field | counts |
//! |---|---|
//! | `success`, `fail` | requests, and their time from the last byte of the body |
//! | `queue` | rows sent to replicas, and what they waited for that; rows answered by the cache or with another's, which waited for nothing |
//! | `compute_infer` | rows computed, and the time of their batch inside the model |
//! | `compute_input`, `compute_output` | the same rows; 0 ns, for nothing is converted |
//! | `cache_hit`, `cache_miss` | rows; 0 ns, for a lookup is not timed |

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use skysail_engine::{Standing, Summed};

use super::error::V2Error;
use super::path::Named;
use super::target::Target;
use crate::frontend::Frontend;

#[derive(Debug, Serialize)]
pub(in crate::query) struct AllStatistics {
    pub(in crate::query) model_stats: Vec<ModelStatistics>,
}

#[derive(Debug, Serialize)]
pub(in crate::query) struct ModelStatistics {
    pub(in crate::query) name: String,
    pub(in crate::query) version: String,
    /// Milliseconds since 1970; 0 if there was none.
    pub(in crate::query) last_inference: u64,
    /// Rows computed.
    pub(in crate::query) inference_count: u64,
    /// Batches sent.
    pub(in crate::query) execution_count: u64,
    pub(in crate::query) inference_stats: InferenceStatistics,
    /// Not told apart by size.
    pub(in crate::query) batch_stats: [(); 0],
}

#[derive(Debug, Serialize)]
pub(in crate::query) struct InferenceStatistics {
    pub(in crate::query) success: Statistic,
    pub(in crate::query) fail: Statistic,
    pub(in crate::query) queue: Statistic,
    pub(in crate::query) compute_input: Statistic,
    pub(in crate::query) compute_infer: Statistic,
    pub(in crate::query) compute_output: Statistic,
    pub(in crate::query) cache_hit: Statistic,
    pub(in crate::query) cache_miss: Statistic,
}

/// How many, and how long together.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::query) struct Statistic {
    pub(in crate::query) count: u64,
    pub(in crate::query) ns: u64,
}

impl Statistic {
    fn counted(count: u64) -> Statistic {
        Statistic { count, ns: 0 }
    }
}

impl From<Summed> for Statistic {
    fn from(summed: Summed) -> Statistic {
        Statistic {
            count: summed.count,
            ns: nanos(summed.time),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The statistics of all versions.
pub(in crate::query) fn all(frontend: &Frontend) -> AllStatistics {
    let standings = frontend.engine.standings();
    AllStatistics {
        model_stats: standings
            .iter()
            .map(|standing| of(frontend, standing, standing.model.as_str()))
            .collect(),
    }
}

/// The statistics of one version, or of all versions of a model, under the name that was asked
/// for.
///
/// # Errors
/// If there is no such model or version.
pub(in crate::query) fn of_model(
    frontend: &Frontend,
    named: &Named<'_>,
) -> Result<AllStatistics, V2Error> {
    let target = Target::find(frontend, named)?;
    let wanted = named
        .version
        .as_deref()
        .filter(|version| !version.is_empty());
    let is_wanted = |standing: &&Standing| {
        target.route.model() == Some(&standing.model)
            && wanted.is_none_or(|version| version == standing.version.as_str())
    };
    let standings = frontend.engine.standings();
    let found = standings.iter().filter(is_wanted);
    Ok(AllStatistics {
        model_stats: found
            .map(|standing| of(frontend, standing, target.name()))
            .collect(),
    })
}

fn of(frontend: &Frontend, standing: &Standing, name: &str) -> ModelStatistics {
    let (requests, tally) = (&standing.requests, &standing.report.tally);
    let metrics = frontend.engine.metrics();
    let metrics = metrics.model(standing.model.as_str(), standing.version.as_str());
    let computed = Statistic::from(requests.computed);
    ModelStatistics {
        name: name.to_owned(),
        version: standing.version.to_string(),
        last_inference: requests.idle.map_or(0, milliseconds_at),
        inference_count: computed.count,
        execution_count: tally.batches,
        inference_stats: InferenceStatistics {
            success: requests.succeeded.into(),
            fail: requests.failed.into(),
            queue: Statistic {
                count: tally.rows + metrics.cache_hits.get() + metrics.cache_joins.get(),
                ns: tally.waited_micros.saturating_mul(1000),
            },
            compute_input: Statistic::counted(computed.count),
            compute_infer: computed,
            compute_output: Statistic::counted(computed.count),
            cache_hit: Statistic::counted(metrics.cache_hits.get()),
            cache_miss: Statistic::counted(metrics.cache_misses.get()),
        },
        batch_stats: [],
    }
}

/// The wall clock so long ago, for people.
fn milliseconds_at(ago: Duration) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(ago).as_millis() as u64
}
