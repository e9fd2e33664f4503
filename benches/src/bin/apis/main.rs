//! What each API costs, beside the barest server of its protocol.
//!
//! Closed loop over loopback, the same number of requests in flight everywhere, at a no-op model of
//! 784 floats with the prediction cache and single flight off; requests are encoded beforehand.
//! The lanes take turns. Beside each API of Skysail:
//!
//! | API | its bare server |
//! |---|---|
//! | Clipper's JSON, V2's JSON | Skysail's accept loop and float scanner, asked Clipper's way |
//! | V2's binary HTTP | hyper's HTTP/1, which reads the body |
//! | V2's gRPC | tonic, which decodes the message |
//!
//! A bare server answers what Skysail answered when it was asked first. CPU is of the server's
//! processes, for Skysail of the front end and the container together; the client has its own.

#![forbid(unsafe_code)]

mod client;
#[path = "../../../../frontend/api/src/query/grpc/generated.rs"]
#[allow(dead_code, unused_imports, reason = "generated, most of it for others")]
mod generated;
mod grpc;
mod payload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use skysail_benches::bare;
use skysail_benches::frontend::{Application, Frontend};
use skysail_benches::process::{Process, cpu_time, skysail};
use skysail_benches::result::{Bar, Results, Row};

use client::{Found, Load, Wire, ask_once};
use payload::{APPLICATION, Api, FEATURES, MODEL};

/// Bytes of all distinct requests of a lane, at most.
const REQUESTS_BYTES_MAX: usize = 4 << 20;
/// Distinct requests of a lane, at most.
const REQUESTS_MAX: usize = 1024;
/// Rows of a request.
const ROWS: [usize; 2] = [1, 64];
/// The least throughput, as a share of the bare server's.
const SHARE_MIN: f64 = 0.7;
/// The most CPU milliseconds for 1,000 answers of one row: thirds of what older systems use.
const CPU_MS_MAX: [(Api, f64); 3] = [
    (Api::Clipper, 28.7),
    (Api::V2Binary, 21.7),
    (Api::Grpc, 26.3),
];

/// One figure of a measurement.
type Figure = fn(&Found) -> f64;

/// Measures every API against a bare server of its protocol.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Short: fewer repetitions, for a glance
    #[arg(long)]
    quick: bool,
    /// Interleaved repetitions
    #[arg(long, default_value_t = 5)]
    reps: usize,
    /// Requests in flight: a connection each, or on HTTP/2 a stream each
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Streams on each HTTP/2 connection
    #[arg(long, default_value_t = 8)]
    streams: usize,
    /// Seconds of one measurement, after a third of it to warm up
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only these APIs, for a profile
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Api::ALL)]
    only: Vec<Api>,
    /// The rows of a request
    #[arg(long, value_delimiter = ',', default_values_t = ROWS)]
    rows: Vec<usize>,
    /// The skysail binary [default: the one beside this]
    #[arg(long)]
    skysail: Option<PathBuf>,
    /// Be a bare server (used by this bench itself)
    #[arg(long, hide = true, requires = "answer")]
    bare: Option<Bare>,
    /// The file with the answer of a bare server
    #[arg(long, hide = true)]
    answer: Option<PathBuf>,
}

/// A bare server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bare {
    Json,
    Hyper,
    Tonic,
}

impl Bare {
    /// The one that an API is compared to.
    fn of(api: Api) -> Bare {
        match api {
            Api::Clipper | Api::V2Json => Bare::Json,
            Api::V2Binary => Bare::Hyper,
            Api::Grpc => Bare::Tonic,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Bare::Json => "bare json",
            Bare::Hyper => "bare hyper",
            Bare::Tonic => "bare tonic",
        }
    }

    fn serve(self, answer: &Path) -> Result<()> {
        let answer = std::fs::read(answer).context("the answer")?;
        match self {
            Bare::Json => bare::serve_json(1, FEATURES, answer),
            Bare::Hyper => bare::serve_hyper(answer),
            // Behind the frame's mark and length.
            Bare::Tonic => grpc::serve(answer.get(5..).context("an answer in its frame")?),
        }
    }
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    if let (Some(bare), Some(answer)) = (args.bare, &args.answer) {
        return bare.serve(answer);
    }
    if args.quick {
        (args.reps, args.seconds) = (1, 0.3);
    }
    skysail_benches::run(measure(&args), args.json)
}

async fn measure(args: &Args) -> Result<Results> {
    let folder = tempfile::tempdir()?;
    let ours = Ours::start(args, folder.path()).await?;
    let mut lanes = Vec::new();
    for &rows in &args.rows {
        let mut compared = Vec::new();
        for &api in &args.only {
            let requests = requests(api, rows);
            let wire = args.wire(api);
            let answer = ask_once(ours.frontend.query, wire, requests[0].clone()).await?;
            lanes.push(ours.lane(api, rows, requests.clone()));
            // Both JSON APIs are compared to the same.
            if !compared.contains(&Bare::of(api)) {
                compared.push(Bare::of(api));
                lanes.push(start_bare(api, rows, &answer, requests, folder.path())?);
            }
        }
    }
    for _ in 0..args.reps {
        for lane in &mut lanes {
            let found = lane.measure(args).await;
            lane.found.push(found.with_context(|| lane.name())?);
        }
    }
    Ok(results(&lanes))
}

impl Args {
    fn wire(&self, api: Api) -> Wire {
        let streams = self.streams;
        match api {
            Api::Grpc => Wire::Http2 { streams },
            _ => Wire::Http1,
        }
    }
}

fn requests(api: Api, rows: usize) -> Arc<[Bytes]> {
    let first = api.request(rows, 0);
    let count = (REQUESTS_BYTES_MAX / first.len()).clamp(1, REQUESTS_MAX);
    let rest = (1..count as u64).map(|seed| api.request(rows, seed));
    std::iter::once(first).chain(rest).collect()
}

/// Skysail, with its container.
struct Ours {
    frontend: Frontend,
    container: Process,
}

impl Ours {
    async fn start(args: &Args, folder: &Path) -> Result<Ours> {
        let binary = skysail(args.skysail.clone())?;
        let more = ["--cache-bytes", "0", "--cores", "1"];
        let frontend = Frontend::start(&binary, &folder.join("data"), &more)?;
        frontend.add_model(MODEL, "floats").await?;
        let application = Application {
            name: APPLICATION,
            model: MODEL,
            input_type: "floats",
            features: Some(FEATURES),
            slo: Duration::from_secs(1),
        };
        frontend.add_application(&application).await?;
        let container = frontend.container(&binary, "noop", MODEL)?;
        let body = skysail_benches::inputs::float_body(FEATURES, 0);
        frontend.wait_for_prediction(APPLICATION, &body).await?;
        Ok(Ours {
            frontend,
            container,
        })
    }

    fn lane(&self, api: Api, rows: usize, requests: Arc<[Bytes]>) -> Lane {
        Lane {
            api,
            bare: None,
            rows,
            requests,
            address: self.frontend.query,
            pids: vec![self.frontend.process.id(), self.container.id()],
            found: Vec::new(),
            _process: None,
        }
    }
}

fn start_bare(
    api: Api,
    rows: usize,
    answer: &[u8],
    requests: Arc<[Bytes]>,
    folder: &Path,
) -> Result<Lane> {
    let bare = Bare::of(api);
    let file = folder.join(format!("{} {rows}", bare.name()));
    std::fs::write(&file, answer)?;
    let kind = bare.to_possible_value().context("a kind")?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--bare", kind.get_name(), "--answer"])
        .arg(file);
    let mut process = Process::start(&mut command)?;
    let ready = process.json_line()?;
    Ok(Lane {
        api,
        bare: Some(bare),
        rows,
        requests,
        address: ready["query"].as_str().context("an address")?.parse()?,
        pids: vec![process.id()],
        found: Vec::new(),
        _process: Some(process),
    })
}

/// A server asked in one way.
struct Lane {
    api: Api,
    /// `None`: Skysail.
    bare: Option<Bare>,
    rows: usize,
    requests: Arc<[Bytes]>,
    address: SocketAddr,
    pids: Vec<u32>,
    found: Vec<Found>,
    _process: Option<Process>,
}

impl Lane {
    fn name(&self) -> String {
        let who = self.bare.map_or(self.api.name(), Bare::name);
        named(who, self.rows)
    }

    async fn measure(&self, args: &Args) -> Result<Found> {
        let load = Load {
            address: self.address,
            wire: args.wire(self.api),
            in_flight: args.in_flight,
            requests: &self.requests,
            warm_up: Duration::from_secs_f64(args.seconds / 3.0),
            measured: Duration::from_secs_f64(args.seconds),
        };
        let used = || self.pids.iter().filter_map(|pid| cpu_time(*pid).ok()).sum();
        load.run(used).await
    }

    fn values(&self, of: impl Fn(&Found) -> f64) -> Vec<f64> {
        self.found.iter().map(of).collect()
    }

    fn rows(&self) -> impl Iterator<Item = Row> {
        let (name, bytes) = (self.name(), self.requests[0].len() as u64);
        let columns: [(_, _, Figure); 4] = [
            ("throughput", "/s", Found::answers_per_second),
            ("cpu for 1,000 answers", "ms", cpu_ms),
            ("p50", "us", |found| found.quantile_us(0.5)),
            ("p99", "us", |found| found.quantile_us(0.99)),
        ];
        let row = move |(metric, unit, of)| Row::new(&name, bytes, metric, unit, &self.values(of));
        columns.into_iter().map(row)
    }
}

fn named(who: &str, rows: usize) -> String {
    match rows {
        1 => format!("{who}, 1 row"),
        rows => format!("{who}, {rows} rows"),
    }
}

/// CPU milliseconds of the server for 1,000 answers.
fn cpu_ms(found: &Found) -> f64 {
    found.cost.as_secs_f64() * 1e6 / found.answers()
}

fn results(lanes: &[Lane]) -> Results {
    let mut rows: Vec<Row> = lanes.iter().flat_map(Lane::rows).collect();
    let mut bars = Vec::new();
    for ours in lanes.iter().filter(|lane| lane.bare.is_none()) {
        let is_bare =
            |lane: &&Lane| lane.rows == ours.rows && lane.bare == Some(Bare::of(ours.api));
        let bare = lanes.iter().find(is_bare).expect("each has one beside it");
        let share = share(ours, bare);
        if ours.rows == 1 {
            bars.extend(bars_of(ours.api, share.median, ours));
        }
        rows.push(share);
    }
    Results::new("apis", rows, bars)
}

/// Throughput as a share of the bare server's, turn by turn.
fn share(ours: &Lane, bare: &Lane) -> Row {
    let turns = ours.found.iter().zip(&bare.found);
    let shares: Vec<f64> = turns
        .map(|(ours, bare)| ours.answers_per_second() / bare.answers_per_second())
        .collect();
    let name = format!("{} / {}", ours.name(), Bare::of(ours.api).name());
    let bytes = ours.requests[0].len() as u64;
    Row::new(&name, bytes, "throughput ratio", "x", &shares)
}

fn bars_of(api: Api, share: f64, ours: &Lane) -> Vec<Bar> {
    let mut bars = Vec::new();
    if matches!(api, Api::V2Binary | Api::Grpc) {
        let name = format!("{} to {}, throughput", api.name(), Bare::of(api).name());
        bars.push(Bar::at_least(&name, share, SHARE_MIN));
    }
    if let Some((_, most)) = CPU_MS_MAX.iter().find(|(of, _)| *of == api) {
        let name = format!("{}, cpu ms for 1,000 answers", api.name());
        let used = Row::new("", 0, "", "", &ours.values(cpu_ms)).median;
        bars.push(Bar::at_most(&name, used, *most));
    }
    bars
}
