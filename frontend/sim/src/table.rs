//! Samples of a study, and tables made from them.
//!
//! A sample is one run: a batcher in a setting and a case, with its figures by name. A column
//! of a table picks samples by case and shows the mean, or the least, of one figure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::outcome::Outcome;

/// What a batcher did in one run.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// The batcher.
    pub policy: String,
    /// Model, objective and replicas.
    pub setting: String,
    /// What the study varies, and the load.
    pub case: String,
    /// Of the run.
    pub seed: u64,
    /// By name; shares are in per cent.
    pub figures: BTreeMap<&'static str, f64>,
}

/// Figures that every run has: `good`, `late` and `shed` in per cent of the arrivals, `mean_ms`
/// and `p99_ms` of the answers, mean rows of a `batch`, and `good_middle` of the middle third.
#[must_use]
pub fn figures(outcome: &Outcome) -> BTreeMap<&'static str, f64> {
    let middle = outcome.applications.first().map_or(0, Vec::len) / 2;
    BTreeMap::from([
        ("good", 100.0 * outcome.all.goodput()),
        ("late", 100.0 * outcome.all.late_share()),
        ("shed", 100.0 * outcome.all.shed_share()),
        ("mean_ms", 1e3 * outcome.all.mean()),
        ("p99_ms", 1e3 * outcome.all.p99()),
        ("batch", outcome.batch_mean()),
        ("good_middle", 100.0 * outcome.goodput_in(middle)),
    ])
}

/// What a column shows of its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Their mean.
    Mean,
    /// The least.
    Least,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its head.
    pub title: String,
    /// Samples of which case; all if none.
    pub case: Option<String>,
    /// Samples of which setting; all if none.
    pub setting: Option<String>,
    /// Which figure.
    pub figure: &'static str,
    /// Mean or least.
    pub show: Show,
}

impl Column {
    /// The mean of a figure in one case, under its name.
    #[must_use]
    pub fn of_case(case: &str, figure: &'static str) -> Self {
        Column {
            case: Some(case.to_owned()),
            ..Column::of_all(case, figure)
        }
    }

    /// The mean of a figure in all cases.
    #[must_use]
    pub fn of_all(title: &str, figure: &'static str) -> Self {
        Column {
            title: title.to_owned(),
            case: None,
            setting: None,
            figure,
            show: Show::Mean,
        }
    }

    /// The same under another head.
    #[must_use]
    pub fn titled(self, title: String) -> Self {
        Column { title, ..self }
    }

    /// Of one setting only.
    #[must_use]
    pub fn in_setting(self, setting: &str) -> Self {
        let setting = Some(setting.to_owned());
        Column { setting, ..self }
    }

    /// The least rather than the mean.
    #[must_use]
    pub fn least(self) -> Self {
        Column {
            show: Show::Least,
            ..self
        }
    }

    /// None if there is no such sample.
    fn value(&self, samples: &[Sample], policy: &str) -> Option<f64> {
        let of = |sample: &&Sample| {
            let of_case = self.case.as_ref().is_none_or(|case| *case == sample.case);
            let setting = self.setting.as_ref();
            let in_setting = setting.is_none_or(|setting| *setting == sample.setting);
            of_case && in_setting && sample.policy == policy
        };
        let samples = samples.iter().filter(of);
        let values = samples.filter_map(|sample| sample.figures.get(self.figure));
        let values: Vec<f64> = values.copied().collect();
        match self.show {
            _ if values.is_empty() => None,
            Show::Mean => Some(values.iter().sum::<f64>() / values.len() as f64),
            Show::Least => values.into_iter().reduce(f64::min),
        }
    }
}

/// A row of a table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What it is about, mostly a batcher.
    pub name: String,
    /// By column.
    pub values: Vec<Option<f64>>,
}

/// A table of figures.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What it shows, with the unit.
    pub title: String,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Row>,
}

impl Table {
    /// A row for each batcher; columns without any sample are left out.
    #[must_use]
    pub fn of(title: &str, samples: &[Sample], columns: &[Column]) -> Self {
        let policies = policies(samples);
        let is_empty = |column: &Column| {
            let mut values = policies.iter();
            values.all(|policy| column.value(samples, policy).is_none())
        };
        let columns: Vec<_> = columns.iter().filter(|one| !is_empty(one)).collect();
        let row = |policy: &&str| Row {
            name: (*policy).to_owned(),
            values: columns
                .iter()
                .map(|column| column.value(samples, policy))
                .collect(),
        };
        Table {
            title: title.to_owned(),
            rows: policies.iter().map(row).collect(),
            columns: columns.iter().map(|column| column.title.clone()).collect(),
        }
    }

    /// As aligned text.
    #[must_use]
    pub fn text(&self) -> String {
        let names = self.rows.iter().map(|row| row.name.chars().count());
        let name_width = names.max().unwrap_or(0) + 2;
        let width = |title: &String| (title.chars().count() + 2).max(9);
        let mut text = format!("{}\n{:name_width$}", self.title, "");
        for title in &self.columns {
            let _ = write!(text, "{title:>width$}", width = width(title));
        }
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "{:name_width$}", row.name);
            for (value, title) in row.values.iter().zip(&self.columns) {
                let value = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
                let _ = write!(text, "{value:>width$}", width = width(title));
            }
            text.push('\n');
        }
        text
    }
}

/// Batchers in the order in which they first appear.
#[must_use]
pub fn policies(samples: &[Sample]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for sample in samples {
        if !names.contains(&sample.policy.as_str()) {
            names.push(&sample.policy);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(policy: &str, case: &str, good: f64) -> Sample {
        Sample {
            policy: policy.to_owned(),
            setting: "any".to_owned(),
            case: case.to_owned(),
            seed: 1,
            figures: BTreeMap::from([("good", good)]),
        }
    }

    #[test]
    fn columns_pick_their_case_and_empty_ones_are_left_out() {
        let samples = [
            sample("b", "one", 10.0),
            sample("a", "one", 1.0),
            sample("b", "two", 20.0),
        ];
        let columns = [
            Column::of_case("one", "good"),
            Column::of_case("two", "good"),
            Column::of_case("three", "good"),
            Column::of_all("mean", "good"),
            Column::of_all("worst", "good").least(),
        ];
        let table = Table::of("goodput %", &samples, &columns);
        assert_eq!(table.columns, ["one", "two", "mean", "worst"]);
        assert_eq!(table.rows[0].name, "b");
        let values = [Some(10.0), Some(20.0), Some(15.0), Some(10.0)];
        assert_eq!(table.rows[0].values, values);
        assert_eq!(table.rows[1].values[1], None);
        let text = table.text();
        assert!(
            text.ends_with("a       1.00        -     1.00     1.00\n"),
            "{text}"
        );
    }
}
