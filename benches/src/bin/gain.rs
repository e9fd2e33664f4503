//! What batching gains: throughput of the learned policy over that of batches of one.
//!
//! Queries go through the engine's own API, without HTTP, to a `sleep-model` in a process of its
//! own. The load is a closed loop; each policy is measured at several numbers of queries in
//! flight, and is judged by the best of them: the most predictions in time, among those whose p99
//! holds if there are any.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::{Value, json};
use skysail_benches::process::{Process, sleep_model};
use skysail_benches::result::{Bar, Results, Row};
use skysail_core::Input;
use skysail_core::registry::{Application, Model, Registry};
use skysail_engine::{Answer, Cores, Engine, Options, Resolved};
use skysail_load::Histogram;
use skysail_rpc::transport::zmq::{ZmqListener, tune_allocator};
use skysail_rpc::{Cell, DataType};
use tokio::task::JoinSet;

/// The profile: 0.5 + 0.01 b ms for a batch of b rows.
const PROFILE: [&str; 6] = [
    "--alpha-ms",
    "0.5",
    "--beta-ms",
    "0.01",
    "--rows-max",
    "1024",
];
/// The application's objective.
const SLO: Duration = Duration::from_millis(20);
const SLO_MS: f64 = 20.0;
/// Queries in flight: a few that keep batches of one busy, up to more than two full batches.
const IN_FLIGHT: [usize; 6] = [4, 16, 64, 256, 1024, 2304];
/// The least that batching should gain.
const GAIN_MIN: f64 = 15.0;
/// Longer latencies are counted as this.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Bytes of a query's input.
const INPUT_BYTES: u64 = 4;
/// A container has come by then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures the throughput of learned batches over that of batches of one.
///
/// The container takes 0.5 + 0.01 b ms for a batch of b <= 1,024 rows, with the noise and the
/// stragglers of sleep-model; the objective is 20 ms.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Seconds of each measurement, after half as many to warm up
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Repetitions; the policies take turns
    #[arg(long, default_value_t = 3)]
    reps: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    tune_allocator();
    let cores = Cores::start(1)?;
    let time = Duration::from_secs_f64(args.seconds);
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..args.reps {
        for (found, policy) in found.iter_mut().zip(policies()) {
            found.push(cores.block_on(measure(policy, time))?);
        }
    }
    let [adaptive, single] = found.map(|reps| levels(&reps));
    results(&adaptive, &single).print(args.json);
    Ok(())
}

/// The policies, as the registry has them: learned, and batches of one.
fn policies() -> [Value; 2] {
    [
        json!({ "policy": "adaptive" }),
        json!({ "policy": "fixed", "size": 1, "wait_micros": 0 }),
    ]
}

/// What came of a policy with some number of queries in flight.
#[derive(Debug)]
struct Point {
    in_time_per_second: f64,
    /// Of all answers.
    p99_ms: f64,
    defaults_percent: f64,
}

/// A point for each of [`IN_FLIGHT`].
async fn measure(batching: Value, time: Duration) -> Result<Vec<Point>> {
    let folder = tempfile::tempdir()?;
    let rig = Rig::start(folder.path(), &batching).await?;
    let mut points = Vec::new();
    for in_flight in IN_FLIGHT {
        rig.load(in_flight, time / 2).await?;
        let tally = rig.load(in_flight, time).await?;
        points.push(tally.point(time));
    }
    Ok(points)
}

/// An engine with one container.
struct Rig {
    engine: Engine,
    _container: Process,
}

impl Rig {
    async fn start(folder: &Path, batching: &Value) -> Result<Rig> {
        let endpoint = format!("ipc://{}/rpc.sock", folder.display());
        let listener = ZmqListener::bind(std::slice::from_ref(&endpoint))?;
        let options = Options {
            cache_bytes: 0,
            ..Options::default()
        };
        let runtime = tokio::runtime::Handle::current();
        let engine = Engine::start(&runtime, listener, Arc::default(), options);
        engine.publish(&registry(batching)?);
        let mut command = Command::new(sleep_model()?);
        command.args(PROFILE).env("RUST_LOG", "error");
        command.args(["--rpc", &endpoint, "--model", "m", "--version", "1"]);
        let rig = Rig {
            engine,
            _container: Process::start(&mut command)?,
        };
        rig.wait_for_the_container().await?;
        Ok(rig)
    }

    async fn wait_for_the_container(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.engine.replicas().is_empty() {
            if Instant::now() > deadline {
                bail!("no container within {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Keeps `in_flight` queries in flight for `time`.
    async fn load(&self, in_flight: usize, time: Duration) -> Result<Tally> {
        let (tally, end) = (Arc::new(Mutex::new(Tally::new())), Instant::now() + time);
        let mut tasks = JoinSet::new();
        for _ in 0..in_flight {
            tasks.spawn(ask_until(end, self.engine.clone(), tally.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        let tally = Arc::into_inner(tally).context("the tasks are done")?;
        Ok(tally.into_inner().expect("no holder panics"))
    }
}

/// Asks one query after the other.
async fn ask_until(end: Instant, engine: Engine, tally: Arc<Mutex<Tally>>) -> Result<()> {
    let route = engine.route("app").context("the application")?;
    loop {
        let to = route.resolve(None)?;
        let (input, now) = (input(&to), Instant::now());
        if now >= end {
            return Ok(());
        }
        let answer = engine.ask(&to, input, now + SLO).await?;
        let is_prediction = matches!(answer, Answer::Prediction(_));
        tally
            .lock()
            .expect("no holder panics")
            .count(is_prediction, now.elapsed());
        if !is_prediction {
            // What is refused at once must not keep the others from being answered.
            tokio::task::yield_now().await;
        }
    }
}

/// One float, as the front end reads it: into the row log where there is room.
fn input(to: &Resolved) -> Input {
    let mut row = to.row(DataType::Fp32);
    row.spare_mut::<f32>(1)[0] = 0.5;
    row.advance::<f32>(1);
    Input::single(Cell::fixed(row.freeze()))
}

/// What came of the queries.
#[derive(Debug)]
struct Tally {
    in_time: u64,
    defaults: u64,
    latencies_us: Histogram<u64>,
}

impl Tally {
    fn new() -> Tally {
        Tally {
            in_time: 0,
            defaults: 0,
            latencies_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("valid bounds"),
        }
    }

    fn count(&mut self, is_prediction: bool, latency: Duration) {
        self.in_time += u64::from(is_prediction && latency <= SLO);
        self.defaults += u64::from(!is_prediction);
        self.latencies_us
            .saturating_record(latency.as_micros() as u64);
    }

    fn point(&self, time: Duration) -> Point {
        let answers = self.latencies_us.len().max(1) as f64;
        Point {
            in_time_per_second: self.in_time as f64 / time.as_secs_f64(),
            p99_ms: self.latencies_us.value_at_quantile(0.99) as f64 / 1e3,
            defaults_percent: 100.0 * self.defaults as f64 / answers,
        }
    }
}

/// All repetitions with some number of queries in flight.
#[derive(Debug)]
struct Level {
    in_flight: usize,
    in_time: Row,
    p99: Row,
    defaults: Row,
}

/// Sums repetitions up, each of which has a point for each of [`IN_FLIGHT`].
fn levels(reps: &[Vec<Point>]) -> Vec<Level> {
    let level = |(index, in_flight)| {
        let row = |metric, unit, value: fn(&Point) -> f64| {
            let values: Vec<f64> = reps.iter().map(|points| value(&points[index])).collect();
            Row::new("", INPUT_BYTES, metric, unit, &values)
        };
        Level {
            in_flight,
            in_time: row("in time", "/s", |point| point.in_time_per_second),
            p99: row("p99", "ms", |point| point.p99_ms),
            defaults: row("defaults", "%", |point| point.defaults_percent),
        }
    };
    IN_FLIGHT.into_iter().enumerate().map(level).collect()
}

/// The best level: the most in time, among those whose p99 holds if there are any.
fn best(levels: &[Level]) -> &Level {
    let holds = |level: &Level| level.p99.median <= SLO_MS;
    let ascending = |one: &&Level, other: &&Level| {
        let in_time = one.in_time.median.total_cmp(&other.in_time.median);
        holds(one).cmp(&holds(other)).then(in_time)
    };
    levels.iter().max_by(ascending).expect("there are levels")
}

fn results(adaptive: &[Level], single: &[Level]) -> Results {
    let mut rows = Vec::new();
    for (policy, levels) in [("adaptive", adaptive), ("fixed 1", single)] {
        for level in levels {
            let name = format!("{policy}, {} in flight", level.in_flight);
            for row in [&level.in_time, &level.p99, &level.defaults] {
                let name = name.clone();
                rows.push(Row {
                    name,
                    ..row.clone()
                });
            }
        }
    }
    let (adaptive, single) = (best(adaptive), best(single));
    let gain = adaptive.in_time.median / single.in_time.median;
    let bars = vec![
        Bar::at_least("gain over batches of one", gain, GAIN_MIN),
        Bar::at_most("p99 of adaptive, ms", adaptive.p99.median, SLO_MS),
    ];
    Results::new("gain", rows, bars)
}

/// Application `app` and model `m` with these batches.
fn registry(batching: &Value) -> Result<Registry> {
    let version = json!({
        "model": "m", "version": "1", "generation": 1, "input_type": "floats",
        "batching": batching,
    });
    let model: Model = serde_json::from_value(json!({
        "name": "m", "current": "1", "versions": { "1": version },
    }))?;
    let app: Application = serde_json::from_value(json!({
        "name": "app", "input_type": "floats", "features": 1, "default_output": "0",
        "latency_slo_micros": SLO.as_micros() as u64, "linked_models": ["m"],
    }))?;
    Ok(Registry {
        applications: [(app.name.clone(), app.into())].into(),
        models: [(model.name.clone(), model.into())].into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best throughput of these pairs of throughput and p99.
    fn best_of(pairs: [(f64, f64); 6]) -> f64 {
        let point = |(in_time_per_second, p99_ms)| Point {
            in_time_per_second,
            p99_ms,
            defaults_percent: 0.0,
        };
        let points = pairs.map(point).into();
        best(&levels(&[points])).in_time.median
    }

    #[test]
    fn the_best_holds_the_objective_if_any_does() {
        let (good, late) = ((7.0, 20.0), (9.0, 20.1));
        assert_eq!(best_of([late, good, (5.0, 1.0), late, late, late]), 7.0);
        assert_eq!(best_of([late, late, late, late, (9.5, 30.0), late]), 9.5);
    }

    #[test]
    fn only_predictions_within_the_objective_are_in_time() {
        let mut tally = Tally::new();
        tally.count(true, SLO);
        tally.count(true, SLO + Duration::from_micros(1));
        tally.count(false, Duration::ZERO);
        assert_eq!((tally.in_time, tally.defaults), (1, 1));
        assert_eq!(tally.point(2 * SLO).in_time_per_second, 25.0);
    }
}
