//! The demo's table, and what to do next.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde::Serialize;
use skysail_api::About;
use skysail_examples::test_split::TestImage;

use crate::console::print;
use crate::frontend::Running;

/// What came of one application's queries.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) application: &'static str,
    pub(super) model: &'static str,
    pub(super) version: &'static str,
    pub(super) queries: u64,
    pub(super) predictions: u64,
    pub(super) defaults: u64,
    pub(super) correct: u64,
    #[serde(skip)]
    pub(super) correct_offline: u64,
    pub(super) accuracy: f64,
    pub(super) accuracy_offline: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) max_us: u64,
    pub(super) batch_rows_mean: f64,
    pub(super) cache_hits: u64,
}

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    pub(super) first_prediction_ms: f64,
    pub(super) ok: bool,
}

impl Table {
    pub(super) fn new(rows: Vec<Row>, first_prediction_ms: f64) -> Table {
        let right =
            |row: &Row| row.predictions == row.queries && row.correct == row.correct_offline;
        let ok = rows.iter().all(right);
        Table {
            rows,
            first_prediction_ms,
            ok,
        }
    }
}

/// What the metrics say of one model.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    batches: u64,
    batch_rows: u64,
    pub(super) cache_hits: u64,
}

impl Counters {
    /// Reads them from the management port, as Prometheus would.
    pub(super) async fn read(management: SocketAddr, model: &str) -> Result<Counters> {
        let response = skysail_load::get(management, "/metrics").await?;
        let text = std::str::from_utf8(&response.body).context("the metrics are not text")?;
        let value =
            |metric: &str, label: &str| sum(text, metric, &[&format!("model=\"{model}\""), label]);
        Ok(Counters {
            batches: value("skysail_batch_rows_count", ""),
            batch_rows: value("skysail_batch_rows_sum", ""),
            cache_hits: value("skysail_cache_lookups_total", "result=\"hit\""),
        })
    }

    pub(super) fn since(self, before: &Counters) -> Counters {
        Counters {
            batches: self.batches - before.batches,
            batch_rows: self.batch_rows - before.batch_rows,
            cache_hits: self.cache_hits - before.cache_hits,
        }
    }

    pub(super) fn batch_rows_mean(self) -> f64 {
        if self.batches == 0 {
            0.0
        } else {
            self.batch_rows as f64 / self.batches as f64
        }
    }
}

/// The sum over the lines of `metric` that have all `labels`.
fn sum(text: &str, metric: &str, labels: &[&str]) -> u64 {
    let value = |line: &str| {
        line.rsplit(' ')
            .next()
            .and_then(|value| value.parse::<f64>().ok())
    };
    let wanted = |line: &&str| {
        line.strip_prefix(metric)
            .is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| line.contains(label))
    };
    text.lines().filter(wanted).filter_map(value).sum::<f64>() as u64
}

/// Prints the result.
pub(super) fn show(table: &Table, about: &About, json: bool) {
    if json {
        print(&serde_json::to_string(table).expect("plain numbers and names"));
        return;
    }
    print(&format!(
        "Skysail {}: every image of the test split, over HTTP\n",
        about.version
    ));
    print(&format!(
        "{:<14} {:<16} {:>7} {:>9} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>8}",
        "application",
        "model",
        "queries",
        "accuracy",
        "offline",
        "p50",
        "p99",
        "max",
        "batch",
        "hits",
        "defaults"
    ));
    for row in &table.rows {
        print(&format!(
            "{:<14} {:<16} {:>7} {:>8.2}% {:>7.2}% {:>5.2} ms {:>5.2} ms {:>5.2} ms {:>6.1} {:>6} {:>8}",
            row.application,
            format!("{}:{}", row.model, row.version),
            row.queries,
            100.0 * row.accuracy,
            100.0 * row.accuracy_offline,
            row.p50_us as f64 / 1000.0,
            row.p99_us as f64 / 1000.0,
            row.max_us as f64 / 1000.0,
            row.batch_rows_mean,
            row.cache_hits,
            row.defaults
        ));
    }
    print(&format!(
        "\nfirst prediction {:.0} ms after start",
        table.first_prediction_ms
    ));
    if !table.ok {
        print("NOT as it should be: a query got the default, or an accuracy differs");
    }
}

/// Prints what to try while the demo serves.
pub(super) fn show_next_steps(running: &Running, image: &TestImage) {
    let about = running.about();
    let input = serde_json::to_string(&image.pixels).expect("plain numbers");
    print(&format!(
        "\nTry it (this image is a {}):\n  curl -s http://{}/digits/predict -d '{{\"input\":{input}}}'\n",
        image.label, about.query
    ));
    print(&crate::cli::status_text(&running.shared));
    print("\nServing until Ctrl-C");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_lines_of_a_metric() {
        let text = "# TYPE m\nm_sum{model=\"a\",version=\"1\"} 4.0\nm_sum{model=\"a\",version=\"2\"} 3\n\
                    m_sum{model=\"b\",version=\"1\"} 50\nm_summit{model=\"a\"} 9\n";
        assert_eq!(sum(text, "m_sum", &["model=\"a\""]), 7);
        assert_eq!(sum(text, "m_sum", &["model=\"a\"", "version=\"2\""]), 3);
    }
}
