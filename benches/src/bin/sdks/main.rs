//! What a model costs by the language that it is written in, over HTTP.
//!
//! | Lane | Model |
//! |---|---|
//! | `rust`, and each `--mlp NAME=COMMAND` | a network of 784, 512, 512 and 10 numbers, the same weights in each |
//! | `--linear COMMAND` | a linear model of 64 numbers, served twice: without batching and with it |
//!
//! A front end of one core, the prediction cache off; a closed loop of single rows in V2's binary
//! form over loopback. The lanes take turns. Each container is asked for the same row first, and the
//! networks must agree. A library's own threads are held to one.

#![forbid(unsafe_code)]

mod lane;
mod request;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;
use skysail_benches::frontend::Frontend;
use skysail_benches::process::{Process, mlp, skysail};
use skysail_benches::result::{Results, Row};
use skysail_load::Method;

use lane::{Found, Lane};
use request::Input;

/// What the networks take.
const MLP_INPUT: Input = Input {
    features: 784,
    is_double: false,
};
/// What the linear model takes: the digits of scikit-learn.
const LINEAR_INPUT: Input = Input {
    features: 64,
    is_double: true,
};
/// Where libraries read how many threads they may have.
const THREADS: [&str; 3] = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"];
/// Outputs of the same network in other languages differ by the order of their sums, by this at most.
const TOLERANCE: f64 = 1e-3;

/// Measures the same model in several languages.
#[derive(Debug, Parser)]
#[command(after_help = "tools/bench-sdks builds what the other languages need, and runs this.")]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Interleaved repetitions
    #[arg(long, default_value_t = 5)]
    reps: usize,
    /// Connections, with one request in flight on each
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds of one measurement, after a half of it to warm up
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The network in another language: a name, and a shell command; may be repeated
    #[arg(long, value_name = "NAME=COMMAND", value_parser = named)]
    mlp: Vec<(String, String)>,
    /// A container of a linear model: a shell command
    #[arg(long, value_name = "COMMAND")]
    linear: Option<String>,
    /// The skysail binary [default: the one beside this]
    #[arg(long)]
    skysail: Option<PathBuf>,
}

fn named(text: &str) -> Result<(String, String), String> {
    let (name, command) = text.split_once('=').ok_or("it has no '='")?;
    Ok((name.to_owned(), command.to_owned()))
}

fn main() -> Result<()> {
    let args = Args::parse();
    skysail_benches::run(measure(&args), args.json)
}

async fn measure(args: &Args) -> Result<Results> {
    let binary = skysail(args.skysail.clone())?;
    let folder = tempfile::tempdir()?;
    let more = ["--cache-bytes", "0", "--cores", "1"];
    let frontend = Frontend::start(&binary, folder.path(), &more)?;
    let mut lanes = networks(args, &frontend).await?;
    lanes.extend(linear(args, &frontend).await?);
    for _ in 0..args.reps {
        for lane in &mut lanes {
            let measured = lane
                .measure(&frontend, args.connections, args.seconds)
                .await;
            measured.with_context(|| lane.name.clone())?;
        }
    }
    Ok(results(&lanes))
}

/// The network in each language, once all agree.
async fn networks(args: &Args, frontend: &Frontend) -> Result<Vec<Lane>> {
    let mut commands = vec![("rust".to_owned(), quoted(&mlp()?))];
    commands.extend(args.mlp.iter().cloned());
    let mut lanes: Vec<Lane> = Vec::new();
    let mut first = Vec::new();
    for (name, command) in commands {
        let lane = start(frontend, &name, &command, MLP_INPUT, "adaptive").await?;
        let outputs = lane.outputs(frontend).await?;
        if lanes.is_empty() {
            first = outputs;
        } else if !agree(&first, &outputs) {
            bail!("{name} answers {outputs:?}, rust {first:?}");
        }
        lanes.push(lane);
    }
    Ok(lanes)
}

fn agree(one: &[f64], other: &[f64]) -> bool {
    let near = |(one, other): (&f64, &f64)| (one - other).abs() <= TOLERANCE;
    !one.is_empty() && one.len() == other.len() && one.iter().zip(other).all(near)
}

async fn linear(args: &Args, frontend: &Frontend) -> Result<Vec<Lane>> {
    let Some(command) = &args.linear else {
        return Ok(Vec::new());
    };
    let mut lanes = Vec::new();
    for (name, policy) in [("linear-alone", "fixed"), ("linear-batched", "adaptive")] {
        let lane = start(frontend, name, command, LINEAR_INPUT, policy).await?;
        lane.outputs(frontend).await?;
        lanes.push(lane);
    }
    Ok(lanes)
}

/// Registers a model and starts its container. `policy` is of batching: adaptive, or fixed at one row.
async fn start(
    frontend: &Frontend,
    name: &str,
    command: &str,
    input: Input,
    policy: &str,
) -> Result<Lane> {
    let mut batching = json!({ "policy": policy });
    if policy == "fixed" {
        batching = json!({ "policy": "fixed", "size": 1, "wait_micros": 0 });
    }
    let version = json!({
        "model": name, "version": "1", "input_type": "tensors", "batching": batching,
    });
    let models = "/api/v1/models";
    frontend.manage(Method::POST, models, &version).await?;
    // As itself, without a shell around it, it is weighed and ended.
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command} \"$@\""), "sh"]);
    shell.args(["--rpc", &frontend.rpc, "--model", name, "--version", "1"]);
    shell.env("RUST_LOG", "error");
    shell.envs(THREADS.map(|variable| (variable, "1")));
    let container = Process::start(&mut shell)?;
    let lane = Lane::new(name, input, container);
    lane.wait(frontend).await?;
    Ok(lane)
}

fn quoted(path: &std::path::Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// One figure of a measurement.
type Figure = fn(&Found) -> f64;

fn results(lanes: &[Lane]) -> Results {
    const COLUMNS: [(&str, &str, Figure); 6] = [
        ("throughput", "/s", |found| found.answers_per_second),
        ("p50", "ms", |found| found.p50.as_secs_f64() * 1e3),
        ("p99", "ms", |found| found.p99.as_secs_f64() * 1e3),
        ("front end's cpu", "us/answer", |found| {
            micros(found.frontend)
        }),
        ("container's cpu", "us/answer", |found| {
            micros(found.container)
        }),
        ("rows a batch", "", |found| found.batch_rows),
    ];
    let mut rows = Vec::new();
    for lane in lanes {
        for (metric, unit, of) in COLUMNS {
            let values: Vec<f64> = lane.found.iter().map(of).collect();
            let bytes = lane.input.bytes() as u64;
            rows.push(Row::new(&lane.name, bytes, metric, unit, &values));
        }
    }
    Results::new("sdks", rows, Vec::new())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_agree_within_the_tolerance_and_only_in_full() {
        assert!(agree(&[1.0, 2.0], &[1.0005, 2.0]));
        assert!(!agree(&[1.0, 2.0], &[1.01, 2.0]));
        assert!(!agree(&[1.0, 2.0], &[1.0]));
        assert!(!agree(&[], &[]));
        assert!(!agree(&[f64::NAN], &[f64::NAN]));
    }
}
