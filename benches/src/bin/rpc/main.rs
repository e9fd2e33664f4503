//! What it costs to have a payload read by another process, by every way there is.
//!
//! One run measures them all: Skysail's sessions, and beside each the least that does the same
//! without Skysail. In every row the producer writes every element and the peer adds every
//! element up; a wrong sum ends the bench. Front side and peer are pinned to two cores, and
//! bursts go round all rows in turn, so that what the machine does meanwhile hits all alike.
//!
//! ```text
//!   for each round, payload and path:   probe, burst of 1 in flight, probe, burst of 8
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`payload`], [`harness`] | what is sent, and the loop that sends and times it |
//! | [`probe`], [`peer`] | cores and their distance; the other process |
//! | [`copy`], [`ring`], [`zmq`], [`iceoryx`], [`grpc`], [`skysail`] | the paths |
//! | [`report`] | tables, ratios, bars |

mod copy;
mod grpc;
mod harness;
mod iceoryx;
mod payload;
mod peer;
mod probe;
mod report;
mod ring;
mod skysail;
mod zmq;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};
use skysail_rpc::transport::zmq::tune_allocator;

use crate::harness::{INTERRUPTED, Job, OnThread, Path, WINDOW, interrupted};
use crate::payload::{SIZES, Source};
use crate::probe::{Cores, Probe, pin};
use crate::report::{Burst, Report, Row, size};
use crate::ring::Slots;
use crate::skysail::Place;

/// Exit status of a bench that was interrupted.
const STOPPED: u8 = 130;

/// Compares Skysail's transports with the least that does the same, on this machine.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Run this shell command as Skysail's container, with SKYSAIL_RPC and the rest in its
    /// environment; any model with one f32 input of fixed shape and 8 slots will do
    #[arg(long, value_name = "COMMAND")]
    container: Option<String>,
    /// Three short bursts a row: for a look, not for a figure
    #[arg(long, conflicts_with = "bursts")]
    quick: bool,
    /// Only rows whose `PATH, PAYLOAD` contains this, such as "zmq" or "ipc, 3 KB"
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    only: String,
    /// Bursts a row
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    bursts: u16,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Be the other side (used by this bench itself)
    #[command(hide = true)]
    Peer(peer::Args),
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(Role::Peer(peer)) = args.role {
        return peer::play(peer);
    }
    for signal in [SIGINT, SIGTERM] {
        // In this order: a second signal ends the bench at once, and the kernel its peers.
        let flag = || Arc::clone(&INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(signal, STOPPED.into(), flag())?;
        signal_hook::flag::register(signal, flag())?;
    }
    match measure(&args) {
        // Whatever failed after the signal failed because of it.
        _ if interrupted() => Ok(ExitCode::from(STOPPED)),
        Ok(report) => {
            report.print(args.json);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(error),
    }
}

/// A path of the table.
struct Lane {
    name: &'static str,
    yardstick: Option<&'static str>,
    /// Whether both sides need a core of their own.
    spins: bool,
    open: Open,
}

/// How a path comes to be.
type Open = fn(&Place<'_>) -> Result<Box<dyn Path>>;

const LANES: [Lane; 14] = {
    const fn lane(name: &'static str, yardstick: &'static str, spins: bool, open: Open) -> Lane {
        Lane {
            name,
            yardstick: Some(yardstick),
            spins,
            open,
        }
    }
    [
        Lane {
            name: "memory copy",
            yardstick: None,
            spins: false,
            open: |_| Ok(Box::new(OnThread(copy::Copy::new()))),
        },
        lane("raw ring spinning", "memory copy", true, |place| {
            ring::spinning(place.cores, Slots::OldestFree)
        }),
        lane("raw ring last slot", "raw ring spinning", true, |place| {
            ring::spinning(place.cores, Slots::LastFree)
        }),
        lane("raw ring park hook", "raw ring spinning", true, |place| {
            ring::park_hook(place.cores)
        }),
        lane("raw ring sleeping", "raw ring spinning", false, |place| {
            ring::sleeping(place.cores)
        }),
        lane("raw zmq ipc", "raw ring sleeping", false, |place| {
            let folder = place.folder.display();
            zmq::open(place.cores, &format!("ipc://{folder}/raw.sock"))
        }),
        lane("raw zmq tcp", "raw ring sleeping", false, |place| {
            zmq::open(place.cores, "tcp://127.0.0.1:*")
        }),
        lane("iceoryx2", "raw ring spinning", true, |place| {
            iceoryx::open(place.cores, place.folder)
        }),
        lane("tonic unix", "raw zmq ipc", false, |place| {
            grpc::open(place.cores, place.folder)
        }),
        lane("skysail shm spinning", "raw ring spinning", true, |place| {
            skysail::open(skysail::Row::ShmSpinning, place)
        }),
        lane(
            "skysail shm park hook",
            "raw ring park hook",
            true,
            |place| skysail::open(skysail::Row::ShmParkHook, place),
        ),
        lane(
            "skysail shm sleeping",
            "raw ring sleeping",
            false,
            |place| skysail::open(skysail::Row::ShmSleeping, place),
        ),
        lane("skysail ipc", "raw zmq ipc", false, |place| {
            skysail::open(skysail::Row::Ipc, place)
        }),
        lane("skysail tcp", "raw zmq tcp", false, |place| {
            skysail::open(skysail::Row::Tcp, place)
        }),
    ]
};

/// How long bursts are, and how many.
struct Plan {
    rounds: usize,
    warm_up: Duration,
    measured: Duration,
}

impl Plan {
    fn of(args: &Args) -> Plan {
        let milliseconds = Duration::from_millis;
        if args.quick {
            return Plan {
                rounds: 3,
                warm_up: milliseconds(10),
                measured: milliseconds(50),
            };
        }
        Plan {
            rounds: args.bursts.into(),
            warm_up: milliseconds(30),
            measured: milliseconds(150),
        }
    }

    fn job(&self, source: &Arc<Source>, in_flight: usize) -> Job {
        Job {
            source: Arc::clone(source),
            in_flight,
            warm_up: self.warm_up,
            measured: self.measured,
        }
    }
}

fn measure(args: &Args) -> Result<Report> {
    let cores = Cores::choose()?;
    tune_allocator();
    pin(cores.front)?;
    let folder = tempfile::tempdir()?;
    let place = Place {
        cores,
        folder: folder.path(),
        command: args.container.as_deref(),
    };
    let sources: Sources = SIZES
        .map(|bytes| (bytes, Arc::new(Source::new(bytes))))
        .into();
    let progress = Progress::new();
    let mut paths = Paths::new();
    let mut rows = Vec::new();
    for lane in &LANES {
        rows.extend(start(
            lane, &args.only, &place, &sources, &mut paths, &progress,
        )?);
    }
    // By payload, then as the lanes stand: what is compared runs close together.
    rows.sort_by_key(|row| row.bytes);
    let mut probe = cores.peer.map(Probe::start);
    let plan = Plan::of(args);
    for round in 1..=plan.rounds {
        for row in rows.iter_mut().filter(|row| row.missing.is_none()) {
            let what = format!("{}, {}", row.path, size(row.bytes));
            progress.show(&format!("round {round} of {}: {what}", plan.rounds));
            let path = paths.get_mut(row.path).context("a row that is there")?;
            let mut burst = |in_flight| {
                let job = plan.job(&sources[&row.bytes], in_flight);
                burst(path.as_mut(), &job, probe.as_mut()).with_context(|| what.clone())
            };
            row.one.push(burst(1)?);
            row.many.push(burst(WINDOW)?);
            ensure!(!interrupted(), "interrupted");
        }
    }
    progress.clear();
    // The machine is described by all that it has.
    cores.unpin()?;
    Ok(Report { rows })
}

type Sources = BTreeMap<usize, Arc<Source>>;
type Paths = BTreeMap<&'static str, Box<dyn Path>>;

/// The rows of a lane that were asked for, and its path if there is one to run.
fn start(
    lane: &Lane,
    only: &str,
    place: &Place<'_>,
    sources: &Sources,
    paths: &mut Paths,
    progress: &Progress,
) -> Result<Vec<Row>> {
    let asked = |bytes: &usize| format!("{}, {}", lane.name, size(*bytes)).contains(only);
    let asked: Vec<usize> = SIZES.into_iter().filter(asked).collect();
    let alone = lane.spins && place.cores.peer.is_none();
    let mut path = None;
    if !asked.is_empty() && !alone {
        progress.show(&format!("starting {}", lane.name));
        let opened = (lane.open)(place);
        let opened = opened.with_context(|| format!("cannot start {}", lane.name))?;
        path = Some(opened);
    }
    let missing = |bytes| match &path {
        None => Some("needs two cores"),
        Some(path) if !path.takes(&sources[&bytes]) => Some("does not fit the model"),
        Some(_) => None,
    };
    let row = |bytes| Row {
        path: lane.name,
        yardstick: lane.yardstick,
        bytes,
        one: Vec::new(),
        many: Vec::new(),
        missing: missing(bytes),
    };
    let rows = asked.into_iter().map(row).collect();
    paths.extend(path.map(|path| (lane.name, path)));
    Ok(rows)
}

fn burst(path: &mut dyn Path, job: &Job, probe: Option<&mut Probe>) -> Result<Burst> {
    let probe_ns = probe.map(Probe::measure_ns);
    let mut timed = path.burst(job)?;
    Ok(Burst {
        probe_ns,
        p50_us: timed.percentile_us(0.5),
        p99_us: timed.percentile_us(0.99),
        p999_us: timed.percentile_us(0.999),
        per_second: timed.per_second,
    })
}

/// One line on a terminal's standard error that says what is going on; elsewhere nothing.
struct Progress(bool);

impl Progress {
    fn new() -> Progress {
        Progress(std::io::stderr().is_terminal())
    }

    fn show(&self, text: &str) {
        if self.0 {
            // Nobody looks if the terminal is gone.
            drop(write!(std::io::stderr(), "\r\x1b[K{text}"));
        }
    }

    fn clear(&self) {
        self.show("");
    }
}
