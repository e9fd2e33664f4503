//! A model in its container, and what was measured of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use skysail_benches::frontend::Frontend;
use skysail_benches::process::{Process, cpu_time};
use skysail_load::{ClosedLoop, Mark, Request, Response, Timing};

use crate::request::Input;

/// Distinct requests.
const REQUESTS: u64 = 1024;
/// A container has come by then: it may start a JVM or import scikit-learn first.
const START: Duration = Duration::from_secs(60);
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(20);
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A model in its container.
pub(crate) struct Lane {
    pub(crate) name: String,
    pub(crate) input: Input,
    container: Process,
    pub(crate) found: Vec<Found>,
}

/// What one turn found.
pub(crate) struct Found {
    pub(crate) answers_per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// The front end's CPU time for an answer.
    pub(crate) frontend: Duration,
    /// The container's.
    pub(crate) container: Duration,
    /// Rows of a batch, on average.
    pub(crate) batch_rows: f64,
}

/// Counters at an end of the measured time.
#[derive(Clone, Copy, Default)]
struct Counters {
    frontend: Duration,
    container: Duration,
}

impl Lane {
    pub(crate) fn new(name: &str, input: Input, container: Process) -> Lane {
        Lane {
            name: name.to_owned(),
            input,
            container,
            found: Vec::new(),
        }
    }

    /// Waits until the model answers.
    pub(crate) async fn wait(&self, frontend: &Frontend) -> Result<()> {
        let request = self.input.request(&self.name, 0, false)?;
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            let response = skysail_load::send(frontend.query, &request, PATIENCE).await?;
            if response.is_success() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("no answer of {} within {} s", self.name, START.as_secs())
    }

    /// The elements of its first output for the same row.
    pub(crate) async fn outputs(&self, frontend: &Frontend) -> Result<Vec<f64>> {
        let request = self.input.request(&self.name, 0, false)?;
        let response = skysail_load::send(frontend.query, &request, PATIENCE).await?;
        let answer: Value = serde_json::from_slice(&response.body)?;
        let data = answer["outputs"][0]["data"].as_array();
        let data = data.with_context(|| format!("{} answers {answer}", self.name))?;
        Ok(data.iter().filter_map(Value::as_f64).collect())
    }

    /// One turn.
    pub(crate) async fn measure(
        &mut self,
        frontend: &Frontend,
        connections: usize,
        seconds: f64,
    ) -> Result<()> {
        let load = ClosedLoop {
            address: frontend.query,
            connections,
            timeout: PATIENCE,
        };
        let timing = Timing {
            warm_up: Duration::from_secs_f64(seconds / 2.0),
            measured: Duration::from_secs_f64(seconds),
        };
        let requests: Result<Vec<Request>> = (0..REQUESTS)
            .map(|seed| self.input.request(&self.name, seed, true))
            .collect();
        let mut counters = [Counters::default(); 2];
        let mark =
            |mark| counters[usize::from(matches!(mark, Mark::End))] = self.counters(frontend);
        let batches = self.batches(frontend).await?;
        let right = |_, answer: &Response| answer.is_success();
        let report = load.measure(requests?, timing, right, mark).await?;
        if report.refused + report.failed > 0 {
            let (refused, failed) = (report.refused, report.failed);
            bail!("{refused} errors, {failed} without an answer");
        }
        let per_answer = |time: Duration| time.div_f64(report.answered.max(1) as f64);
        let [before, after] = counters;
        self.found.push(Found {
            answers_per_second: report.answers_per_second(),
            p50: Duration::from_micros(report.p50_us()),
            p99: Duration::from_micros(report.p99_us()),
            frontend: per_answer(after.frontend.saturating_sub(before.frontend)),
            container: per_answer(after.container.saturating_sub(before.container)),
            batch_rows: self.batches(frontend).await?.rows_since(&batches),
        });
        Ok(())
    }

    fn counters(&self, frontend: &Frontend) -> Counters {
        // A process that has ended makes the requests fail, which is told.
        let used = |process: &Process| cpu_time(process.id()).unwrap_or_default();
        Counters {
            frontend: used(&frontend.process),
            container: used(&self.container),
        }
    }

    async fn batches(&self, frontend: &Frontend) -> Result<Batches> {
        let metrics = skysail_load::get(frontend.management, "/metrics").await?;
        Batches::read(&String::from_utf8_lossy(&metrics.body), &self.name)
    }
}

/// How many batches a model has had, and their rows.
#[derive(Debug, PartialEq)]
struct Batches {
    rows: f64,
    count: f64,
}

impl Batches {
    /// From the text of the metrics.
    fn read(metrics: &str, model: &str) -> Result<Batches> {
        let label = format!("model=\"{model}\"");
        let sum = |metric: &str| {
            let lines = metrics
                .lines()
                .filter(|line| line.starts_with(metric) && line.contains(&label));
            let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
        };
        let missing = || format!("no metric skysail_batch_rows of {model}");
        Ok(Batches {
            rows: sum("skysail_batch_rows_sum").with_context(missing)?,
            count: sum("skysail_batch_rows_count").with_context(missing)?,
        })
    }

    /// Rows a batch since then, on average.
    fn rows_since(&self, before: &Batches) -> f64 {
        (self.rows - before.rows) / (self.count - before.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_batches_are_read_from_the_metrics_of_one_model() {
        let metrics = "skysail_batch_rows_sum{model=\"a\",version=\"1\"} 12.0\n\
                       skysail_batch_rows_count{model=\"a\",version=\"1\"} 3\n\
                       skysail_batch_rows_sum{model=\"b\",version=\"1\"} 7.0\n";
        let read = Batches::read(metrics, "a").expect("model a has both");
        assert_eq!(
            read,
            Batches {
                rows: 12.0,
                count: 3.0
            }
        );
        assert!(Batches::read(metrics, "b").is_err());
        let before = Batches {
            rows: 2.0,
            count: 1.0,
        };
        assert_eq!(read.rows_since(&before), 5.0);
    }
}
