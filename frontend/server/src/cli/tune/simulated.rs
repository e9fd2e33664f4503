//! The advice, checked by simulation.

use serde::Serialize;
use serde_json::Value;
use skysail_sim::check::{Checked, Known};

use super::super::render::{items, number, seconds};

/// A latency beyond this many times the typical one is a straggler, and is left out.
const STRAGGLER: f64 = 4.0;
/// Slowness that one replica may be simulated with.
const FIRST: std::ops::RangeInclusive<f64> = 0.2..=5.0;

/// What the simulator says of a version.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Simulated {
    /// The rate that is advised with room for bursts.
    queries_per_second: f64,
    /// Share of it that is in time.
    in_time: f64,
    p99_seconds: f64,
    /// The highest rate of which 99 % are in time.
    bears_per_second: f64,
}

impl Simulated {
    /// Simulates what `advice` says; nothing where it says that nothing is borne.
    pub(super) fn of(advice: &Value, objective: f64, seed: u64) -> Option<Simulated> {
        let known = known(advice, objective)?;
        let advised = number(&advice["capacity"]["queries_per_second"]);
        let Checked { rate, in_time, p99 } = known.check(number(&advice["safe_per_second"]), seed);
        Some(Simulated {
            queries_per_second: rate,
            in_time,
            p99_seconds: p99,
            bears_per_second: known.bears(advised, seed),
        })
    }

    /// The same for people.
    pub(super) fn text(&self) -> String {
        format!(
            "{:.0} a second with 99 % in time; of {:.0} a second {:.1} % are, p99 {}",
            self.bears_per_second,
            self.queries_per_second,
            100.0 * self.in_time,
            seconds(&self.p99_seconds.into()),
        )
    }
}

/// A straight latency through a query alone and the batches at capacity; of what differs between
/// replicas the first has all.
fn known(advice: &Value, objective: f64) -> Option<Known> {
    let known = &advice["known"];
    let rows = number(&advice["capacity"]["rows"]);
    let alone = advice["alone"]["typical_seconds"].as_f64()?;
    let full = advice["batch"]["typical_seconds"].as_f64()?;
    let beta = if rows > 1.0 {
        ((full - alone) / (rows - 1.0)).max(0.0)
    } else {
        0.0
    };
    Some(Known {
        alpha: (alone - beta).max(0.0),
        beta,
        sigma: sigma(items(&known["residuals"])),
        rows_max: known["rows_max"].as_u64()? as usize,
        replicas: items(&known["replicas"]).len(),
        first: first(items(&known["replicas"])),
        objective,
    })
}

/// Standard deviation of the logarithms of ratios, given as upper edges of buckets with shares.
fn sigma(residuals: &[Value]) -> f64 {
    let pairs = residuals
        .iter()
        .map(|one| (number(&one[0]), number(&one[1])));
    let usual = pairs.filter(|(edge, _)| (1e-6..STRAGGLER).contains(edge));
    let (mut weight, mut mean, mut square) = (0.0, 0.0, 0.0);
    for (edge, share) in usual {
        let log = edge.ln();
        weight += share;
        mean += share * log;
        square += share * log * log;
    }
    if weight <= 0.0 {
        return 0.0;
    }
    (square / weight - (mean / weight).powi(2)).max(0.0).sqrt()
}

/// The slowness of one replica over that of typical others, so that all together are as fast as
/// they are.
fn first(slowness: &[Value]) -> f64 {
    let mut sorted: Vec<f64> = slowness.iter().map(number).collect();
    sorted.sort_by(f64::total_cmp);
    let Some(typical) = sorted.get(sorted.len() / 2).copied() else {
        return 1.0;
    };
    let speeds: f64 = sorted.iter().map(|one| typical / one.max(1e-9)).sum();
    let rest = speeds - (sorted.len() - 1) as f64;
    (1.0 / rest.max(1e-3)).clamp(*FIRST.start(), *FIRST.end())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_spread_is_that_of_the_ratios() {
        let even = json!([[(-0.1_f64).exp(), 0.5], [0.1_f64.exp(), 0.5], [8.0, 0.1]]);
        assert!(
            (sigma(items(&even)) - 0.1).abs() < 1e-9,
            "stragglers are left out"
        );
        assert_eq!(sigma(&[]), 0.0);
    }

    #[test]
    fn one_replica_carries_what_differs() {
        let first = |all: Value| first(items(&all));
        assert_eq!(first(json!([1.0, 1.0, 1.0])), 1.0);
        assert!((first(json!([1.0, 2.0, 1.0])) - 2.0).abs() < 1e-9);
        assert_eq!(first(json!([])), 1.0);
    }

    #[test]
    fn what_bears_nothing_is_not_simulated() {
        let nothing = json!({ "alone": { "typical_seconds": 0.01 }, "batch": null });
        assert_eq!(Simulated::of(&nothing, 0.02, 1), None);
    }
}
