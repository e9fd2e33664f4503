//! A batcher against the others, run by run: means hide where it loses.

use crate::grid::FLUID;
use crate::table::{Row, Sample, Table, policies};

/// A run is lost if it is worse by more than so many points.
const LOST: f64 = 0.2;
/// The worst losses that are listed.
const LISTED: usize = 12;

/// Differences in goodput to `own` over the runs that both have: mean and its standard error,
/// the share of the runs that are lost, and the worst of them.
#[must_use]
pub fn differences(samples: &[Sample], own: &str) -> Table {
    let rows = others(samples, own).map(|other| {
        let pairs = pairs(samples, own, other);
        let differences: Vec<f64> = pairs.map(|(one, other)| good(one) - good(other)).collect();
        let count = differences.len().max(1) as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let squares = differences.iter().map(|one| (one - mean).powi(2));
        let error = (squares.sum::<f64>() / count).sqrt() / count.sqrt();
        let lost = differences.iter().filter(|one| **one < -LOST).count();
        let worst = differences.iter().copied().fold(f64::INFINITY, f64::min);
        let values = [mean, error, 100.0 * lost as f64 / count, worst];
        Row {
            name: other.to_owned(),
            values: values.map(Some).to_vec(),
        }
    });
    Table {
        title: format!("{own} less the others, run by run, points of goodput"),
        columns: ["mean", "error", "runs lost %", "worst"]
            .map(String::from)
            .to_vec(),
        rows: rows.collect(),
    }
}

/// Where `own` loses most, the mean over seeds; `but` are left aside.
#[must_use]
pub fn losses(samples: &[Sample], own: &str, but: &[&str]) -> Table {
    let mut rows: Vec<Row> = Vec::new();
    let rivals = others(samples, own).filter(|other| !but.contains(other));
    for other in rivals {
        let pairs: Vec<_> = pairs(samples, own, other).collect();
        let same = |a: &Sample, b: &Sample| (&a.setting, &a.case) == (&b.setting, &b.case);
        for group in pairs.chunk_by(|one, next| same(one.0, next.0)) {
            let count = group.len() as f64;
            let mean =
                |pick: fn(&(&Sample, &Sample)) -> f64| group.iter().map(pick).sum::<f64>() / count;
            let (mine, theirs) = (mean(|pair| good(pair.0)), mean(|pair| good(pair.1)));
            let Sample { setting, case, .. } = group[0].0;
            rows.push(Row {
                name: format!("{setting} {case}, {other}"),
                values: [mine, theirs, mine - theirs].map(Some).to_vec(),
            });
        }
    }
    rows.retain(|row| row.values[2] < Some(-LOST));
    rows.sort_by(|one, other| {
        one.values[2]
            .partial_cmp(&other.values[2])
            .expect("numbers")
    });
    rows.truncate(LISTED);
    Table {
        title: format!("where {own} loses most, goodput %"),
        columns: [own, "the other", "points"].map(String::from).to_vec(),
        rows,
    }
}

fn others<'a>(samples: &'a [Sample], own: &'a str) -> impl Iterator<Item = &'a str> {
    let all = policies(samples).into_iter();
    all.filter(move |one| *one != own && *one != FLUID)
}

/// Runs of both batchers on the same arrivals, in the order of `own`'s.
fn pairs<'a>(
    samples: &'a [Sample],
    own: &'a str,
    other: &'a str,
) -> impl Iterator<Item = (&'a Sample, &'a Sample)> {
    let mine = samples.iter().filter(move |one| one.policy == own);
    mine.filter_map(move |one| {
        let key = (&one.setting, &one.case, one.seed);
        let theirs = samples.iter().filter(|sample| sample.policy == other);
        let mut same = theirs.filter(|two| (&two.setting, &two.case, two.seed) == key);
        Some((one, same.next()?))
    })
}

fn good(sample: &Sample) -> f64 {
    sample.figures["good"]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn sample(policy: &str, setting: &str, seed: u64, good: f64) -> Sample {
        Sample {
            policy: policy.to_owned(),
            setting: setting.to_owned(),
            case: "load".to_owned(),
            seed,
            figures: BTreeMap::from([("good", good)]),
        }
    }

    #[test]
    fn runs_are_paired_by_setting_and_seed_and_losses_listed() {
        let samples = [
            sample("own", "a", 1, 90.0),
            sample("own", "a", 2, 92.0),
            sample("own", "b", 1, 80.0),
            sample("other", "b", 1, 70.0),
            sample("other", "a", 1, 93.0),
            sample("other", "a", 2, 93.0),
            sample("oracle", "a", 1, 99.0),
        ];
        let table = differences(&samples, "own");
        assert_eq!(table.rows[0].values[0], Some(2.0));
        assert_eq!(table.rows[0].values[3], Some(-3.0));
        let table = losses(&samples, "own", &["oracle"]);
        assert_eq!(table.rows.len(), 1);
        assert_eq!(table.rows[0].name, "a load, other");
        assert_eq!(table.rows[0].values[2], Some(-2.0));
    }
}
