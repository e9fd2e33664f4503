//! What Skysail costs over a bare HTTP server.
//!
//! Closed loop: 64 connections post JSON bodies of 784 floats, 4,096 distinct ones, to a no-op
//! model behind Skysail, with cache and single flight off; and to a bare hyper server with the
//! same accept loop, runtimes, float scanner and response size that answers a constant. The two
//! take turns; each turn is one pair.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use skysail_benches::bare;
use skysail_benches::frontend::{Frontend, is_prediction};
use skysail_benches::inputs::float_body;
use skysail_benches::process::{Process, cpu_time, skysail};
use skysail_benches::result::{Bar, Results, Row};
use skysail_load::{ClosedLoop, Mark, Timing};

/// An answer of the size that Skysail's have.
const CONSTANT: &str = "{\"query_id\":1234567,\"output\":1.0,\"default\":false,\
                        \"models\":[{\"name\":\"noop\",\"version\":\"1\",\"voted\":true}]}";
const FEATURES: usize = 784;

/// Measures Skysail against a bare hyper server on this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Interleaved pairs
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds of one measurement, after one second to warm up
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Distinct bodies
    #[arg(long, default_value_t = 4096)]
    bodies: u64,
    /// Runtimes of either server
    #[arg(long, default_value_t = 1)]
    cores: usize,
    /// The skysail binary [default: the one beside this]
    #[arg(long)]
    skysail: Option<PathBuf>,
    /// Be the bare server (used by this bench itself)
    #[arg(long, hide = true)]
    bare_server: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.bare_server {
        return bare::serve_json(args.cores, FEATURES, CONSTANT);
    }
    skysail_benches::run(measure(&args), args.json)
}

/// A server under test: where it is, and which processes work for it.
struct Server {
    name: &'static str,
    path: &'static str,
    address: SocketAddr,
    processes: Vec<Process>,
    _folder: Option<tempfile::TempDir>,
}

async fn measure(args: &Args) -> Result<Results> {
    let servers = [start_bare(args.cores)?, start_skysail(args).await?];
    let mut found: [Vec<Measured>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..args.pairs {
        for (server, found) in servers.iter().zip(&mut found) {
            found.push(measure_one(args, server).await?);
        }
    }
    Ok(results(&servers, &found))
}

/// What one turn found.
struct Measured {
    answers_per_second: f64,
    cpu_us_per_answer: f64,
    p50_us: f64,
    p99_us: f64,
}

async fn measure_one(args: &Args, server: &Server) -> Result<Measured> {
    let bodies = (0..args.bodies).map(|seed| float_body(FEATURES, seed));
    let requests: Result<Vec<_>, _> = bodies
        .map(|body| skysail_load::Request::post_json(server.path, body))
        .collect();
    let load = ClosedLoop {
        address: server.address,
        connections: args.connections,
        timeout: Duration::from_secs(10),
    };
    let timing = Timing {
        warm_up: Duration::from_secs(1),
        measured: Duration::from_secs_f64(args.seconds),
    };
    let mut cpu = [Duration::ZERO; 2];
    let used = || {
        server
            .processes
            .iter()
            .filter_map(|p| cpu_time(p.id()).ok())
            .sum()
    };
    let right = |_, answer: &skysail_load::Response| is_prediction(answer);
    let mark = |mark| cpu[usize::from(matches!(mark, Mark::End))] = used();
    let report = load.measure(requests?, timing, right, mark).await?;
    if report.refused + report.failed > 0 {
        bail!(
            "{}: {} defaults or errors, {} failed",
            server.name,
            report.refused,
            report.failed
        );
    }
    Ok(Measured {
        answers_per_second: report.answers_per_second(),
        cpu_us_per_answer: (cpu[1] - cpu[0]).as_secs_f64() * 1e6 / report.answered as f64,
        p50_us: report.p50_us() as f64,
        p99_us: report.p99_us() as f64,
    })
}

fn results(servers: &[Server; 2], found: &[Vec<Measured>; 2]) -> Results {
    let payload = float_body(FEATURES, 0).len() as u64;
    let mut rows = Vec::new();
    for (server, found) in servers.iter().zip(found) {
        let mut row = |metric, unit, value: fn(&Measured) -> f64| {
            let values: Vec<f64> = found.iter().map(value).collect();
            rows.push(Row::new(server.name, payload, metric, unit, &values));
        };
        row("throughput", "/s", |m| m.answers_per_second);
        row("cpu per answer", "us", |m| m.cpu_us_per_answer);
        row("p50", "us", |m| m.p50_us);
        row("p99", "us", |m| m.p99_us);
    }
    let pairs = || found[0].iter().zip(&found[1]);
    let ratios: Vec<f64> = pairs()
        .map(|(bare, ours)| ours.answers_per_second / bare.answers_per_second)
        .collect();
    let added: Vec<f64> = pairs()
        .map(|(bare, ours)| ours.cpu_us_per_answer - bare.cpu_us_per_answer)
        .collect();
    let ratio = Row::new("skysail / bare", payload, "throughput ratio", "x", &ratios);
    let added = Row::new("skysail - bare", payload, "cpu per answer", "us", &added);
    let throughput = "throughput ratio to the bare server";
    let bars = vec![
        Bar::at_least(throughput, ratio.median, 0.75),
        Bar::at_most("cpu added to an answer, us", added.median, 6.0),
    ];
    rows.push(ratio);
    rows.push(added);
    Results::new("overhead", rows, bars)
}

fn start_bare(cores: usize) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--bare-server", "--cores", &cores.to_string()]);
    let mut process = Process::start(&mut command)?;
    let ready = process.json_line()?;
    let address = ready["query"].as_str().context("an address")?.parse()?;
    Ok(Server {
        name: "bare hyper",
        path: "/",
        address,
        processes: vec![process],
        _folder: None,
    })
}

async fn start_skysail(args: &Args) -> Result<Server> {
    let binary = skysail(args.skysail.clone())?;
    let folder = tempfile::tempdir()?;
    let more = ["--cache-bytes", "0", "--cores", &args.cores.to_string()];
    let frontend = Frontend::start(&binary, folder.path(), &more)?;
    frontend.register("noop", "floats", Some(FEATURES)).await?;
    let container = frontend.container(&binary, "noop", "noop")?;
    frontend
        .wait_for_prediction("noop", &float_body(FEATURES, 0))
        .await?;
    Ok(Server {
        name: "skysail",
        path: "/noop/predict",
        address: frontend.query,
        processes: vec![frontend.process, container],
        _folder: Some(folder),
    })
}
