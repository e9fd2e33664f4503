//! Results as tables and as JSON (`skysail-bench/1`).

use std::fmt;

use serde::Serialize;

/// Repetitions of one measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// Bytes of one payload.
    pub payload_bytes: u64,
    /// Of what.
    pub metric: &'static str,
    /// In what.
    pub unit: &'static str,
    /// Of the repetitions.
    pub median: f64,
    /// Of the repetitions.
    pub min: f64,
    /// Of the repetitions.
    pub max: f64,
    /// How many.
    pub reps: usize,
}

impl Row {
    /// Sums `values` up.
    #[must_use]
    pub fn new(
        name: &str,
        payload_bytes: u64,
        metric: &'static str,
        unit: &'static str,
        values: &[f64],
    ) -> Row {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Row {
            name: name.to_owned(),
            payload_bytes,
            metric,
            unit,
            median: at(sorted.len() / 2),
            min: at(0),
            max: at(sorted.len().saturating_sub(1)),
            reps: sorted.len(),
        }
    }
}

/// A figure with its limit. Bars are printed; they never set the exit status.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// What is held to the limit.
    pub name: String,
    /// What was measured; NaN, in JSON null, if it is missing.
    pub value: f64,
    /// `>=` or `<=`.
    pub op: &'static str,
    /// What is wanted.
    pub limit: f64,
    /// Whether it holds.
    pub pass: bool,
}

impl Bar {
    /// A value that should be at least `limit`.
    #[must_use]
    pub fn at_least(name: &str, value: f64, limit: f64) -> Bar {
        Bar {
            name: name.to_owned(),
            value,
            op: ">=",
            limit,
            pass: value >= limit,
        }
    }

    /// A value that should be at most `limit`.
    #[must_use]
    pub fn at_most(name: &str, value: f64, limit: f64) -> Bar {
        Bar {
            name: name.to_owned(),
            value,
            op: "<=",
            limit,
            pass: value <= limit,
        }
    }

    /// What became of it, in a word.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self.pass {
            true => "met",
            false if self.value.is_nan() => "missing",
            false => "MISSED",
        }
    }
}

/// One line: what, how much, the limit, and what became of it.
impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bar {
            name,
            value,
            op,
            limit,
            ..
        } = self;
        let verdict = self.verdict();
        write!(f, "{name:<49} {value:>12.3} {op} {limit}: {verdict}")
    }
}

/// Everything that a bench found.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    schema: &'static str,
    bench: &'static str,
    commit: String,
    machine: String,
    rows: Vec<Row>,
    bars: Vec<Bar>,
}

impl Results {
    /// The results of `bench` on this machine.
    #[must_use]
    pub fn new(bench: &'static str, rows: Vec<Row>, bars: Vec<Bar>) -> Results {
        let schema = "skysail-bench/1";
        Results {
            schema,
            bench,
            commit: commit(),
            machine: machine(),
            rows,
            bars,
        }
    }

    /// What was run, on what.
    #[must_use]
    pub fn heading(&self) -> String {
        format!("{} on {}, commit {}", self.bench, self.machine, self.commit)
    }

    /// Prints them, as one line of JSON or as a table.
    pub fn print(&self, json: bool) {
        if json {
            println!(
                "{}",
                serde_json::to_string(self).expect("plain numbers and names")
            );
            return;
        }
        println!("{}", self.heading());
        for row in &self.rows {
            println!(
                "  {:<26} {:<22} {:>12.2} {:<8} (min {:.2}, max {:.2}, {} reps)",
                row.name, row.metric, row.median, row.unit, row.min, row.max, row.reps
            );
        }
        for bar in &self.bars {
            println!("  {bar}");
        }
    }
}

fn commit() -> String {
    let output = std::process::Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output();
    let text = output
        .ok()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}, {cores} cores",
        model.map_or("unknown", |(_, name)| name.trim())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_without_a_value_is_missing() {
        for bar in [
            Bar::at_most("x", f64::NAN, 1.0),
            Bar::at_least("x", f64::NAN, 1.0),
        ] {
            assert_eq!((bar.pass, bar.verdict()), (false, "missing"));
            let value = serde_json::to_value(&bar).expect("plain numbers")["value"].clone();
            assert!(value.is_null(), "{value}");
        }
    }

    #[test]
    fn the_median_of_an_odd_number_is_the_middle_one() {
        let row = Row::new("x", 0, "m", "u", &[3.0, 1.0, 2.0]);
        assert_eq!((row.median, row.min, row.max, row.reps), (2.0, 1.0, 3.0, 3));
    }
}
