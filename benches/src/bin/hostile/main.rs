//! What hostile clients do to a normal one.
//!
//! A normal client asks at a fixed rate, far below what the server can do (open loop, a no-op model
//! of 784 floats, cache off). Beside it each kind of hostile client in turn, and before each a time
//! without any: the p99 of the normal client with and without, its failed requests, what the server
//! used, how long its management port took, and whether its limits bit. [`attack`] has the kinds and
//! their pace; all run against one front end, so that what one leaves behind shows in the next.
//!
//! A limit that is longer than `--patience` is not waited for, and not judged.

#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "a long run says how far it is")]

mod attack;
mod attacker;
mod frames;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use skysail_benches::frontend::Frontend;
use skysail_benches::inputs::float_body;
use skysail_benches::process::{Process, cpu_time, memory, skysail};
use skysail_benches::result::{Bar, Results, Row};
use skysail_load::arrivals::{Arrivals, Gaps, Rate};
use skysail_load::{Measured, OpenLoop, Request, Window};

use attack::{Attack, Bite};
use attacker::{Attacker, Tally};

const FEATURES: usize = 784;
const MODEL: &str = "noop";
/// Distinct bodies of the normal client.
const BODIES: u64 = 256;
/// Connections of the normal client.
const CONNECTIONS: usize = 64;
/// A normal request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Load before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// How much longer than its limit an attack goes on, so that the limit is seen to bite.
const BEYOND_LIMIT: Duration = Duration::from_secs(2);
/// How often the server is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The most that an attack may add to the p99 of a normal client.
const RATIO_MAX: f64 = 1.5;

/// Measures what hostile clients do to a normal one.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Short: one repetition of half a second each, limits not waited for
    #[arg(long)]
    quick: bool,
    /// Interleaved repetitions
    #[arg(long, default_value_t = 3)]
    reps: usize,
    /// Requests a second of the normal client
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds of one measurement, more where a limit is waited for
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Wait for limits of so many seconds at most
    #[arg(long, default_value_t = 12.0)]
    patience: f64,
    /// Only attacks whose name has this in it; may be given again
    #[arg(long)]
    only: Vec<String>,
    /// The skysail binary [default: the one beside this]
    #[arg(long)]
    skysail: Option<PathBuf>,
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    if args.quick {
        (args.reps, args.seconds, args.patience) = (1, 0.5, 0.0);
    }
    // Connections in the thousands; where that is not allowed, some are counted as not opened.
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, all);
    skysail_benches::run(measure(&args), args.json)
}

async fn measure(args: &Args) -> Result<Results> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::start(args, folder.path()).await?;
    let attacks = Attack::all(
        &format!("/{MODEL}/predict"),
        &format!("/v2/models/{MODEL}/infer"),
    );
    let is_wanted = |name: &str| args.only.iter().any(|only| name.contains(only.as_str()));
    let attacks = attacks
        .into_iter()
        .filter(|attack| args.only.is_empty() || is_wanted(attack.name));
    let mut trials: Vec<Trial> = attacks.map(Trial::new).collect();
    for rep in 1..=args.reps {
        for trial in &mut trials {
            let attack = &trial.attack;
            eprintln!("{rep}/{}: {} ({})", args.reps, attack.name, attack.pace());
            let quiet = stage.ask(Duration::from_secs_f64(args.seconds)).await?;
            trial.quiet.push(quiet);
            trial.turns.push(stage.attack(attack, args).await?);
        }
    }
    Ok(results(args, &trials))
}

/// An attack, with what was found.
struct Trial {
    attack: Attack,
    quiet: Vec<Normal>,
    turns: Vec<(Normal, Tally)>,
}

impl Trial {
    fn new(attack: Attack) -> Trial {
        Trial {
            attack,
            quiet: Vec::new(),
            turns: Vec::new(),
        }
    }
}

/// What the normal client and the server had.
struct Normal {
    measured: Measured,
    /// Of a core.
    cpu_percent: f64,
    resident_bytes: u64,
    resident_bytes_max: u64,
    /// The longest that the management port took to say that it lives; more than [`TIMEOUT`]
    /// where it did not.
    management: Duration,
}

impl Normal {
    fn p99_us(&self) -> f64 {
        self.measured.latencies.value_at_quantile(0.99) as f64
    }

    /// Requests that were not answered by a prediction.
    fn failed(&self) -> u64 {
        let defaults: u64 = self.measured.defaults.values().sum();
        self.measured.offered - self.measured.answered + defaults
    }
}

/// A front end with a model.
struct Stage {
    frontend: Frontend,
    rate: f64,
    _container: Process,
}

impl Stage {
    async fn start(args: &Args, folder: &Path) -> Result<Stage> {
        let binary = skysail(args.skysail.clone())?;
        let more = ["--cache-bytes", "0", "--cores", "1"];
        let frontend = Frontend::start(&binary, folder, &more)?;
        frontend.register(MODEL, "floats", Some(FEATURES)).await?;
        let container = frontend.container(&binary, "noop", MODEL)?;
        let body = float_body(FEATURES, 0);
        frontend.wait_for_prediction(MODEL, &body).await?;
        Ok(Stage {
            frontend,
            rate: args.rate,
            _container: container,
        })
    }

    /// The normal client, for so long, beside whatever else happens.
    async fn ask(&self, time: Duration) -> Result<Normal> {
        let load = OpenLoop {
            address: self.frontend.query,
            connections: CONNECTIONS,
            timeout: TIMEOUT,
            window: Window {
                warm_up: WARM_UP,
                duration: time,
                slo: None,
            },
        };
        let bodies = (0..BODIES).map(|seed| Bytes::from(float_body(FEATURES, seed)));
        let mut bodies = bodies.collect::<Vec<_>>().into_iter().cycle();
        let bodies = move || bodies.next().expect("endless");
        let template = Request::post_json(&format!("/{MODEL}/predict"), "")?;
        let arrivals = Arrivals::new(Gaps::Constant, &Rate::Constant(self.rate), 0)?;
        let pid = self.frontend.process.id();
        let done = Arc::new(AtomicBool::new(false));
        let watch = tokio::spawn(watch(pid, self.frontend.management, done.clone()));
        let (begin, cpu, resident) = (Instant::now(), cpu_time(pid)?, memory(pid, "VmRSS")?);
        let never = std::future::pending();
        let measured = load.run(&template, arrivals, bodies, never, |_| {}).await?;
        let cpu = cpu_time(pid)?.saturating_sub(cpu).as_secs_f64();
        let cpu_percent = 100.0 * cpu / begin.elapsed().as_secs_f64();
        // Relaxed: nothing else goes with it.
        done.store(true, Ordering::Relaxed);
        let (resident_bytes_max, management) = watch.await??;
        Ok(Normal {
            measured,
            cpu_percent,
            resident_bytes: resident,
            resident_bytes_max,
            management,
        })
    }

    async fn attack(&self, attack: &Attack, args: &Args) -> Result<(Normal, Tally)> {
        let attacker = Attacker::start(attack.clone(), self.frontend.query)?;
        let found = self.ask(args.time(attack)).await?;
        Ok((found, attacker.stop()?))
    }
}

impl Args {
    /// Whether the limit of an attack is waited for, or none.
    fn waits_for(&self, attack: &Attack) -> bool {
        match attack.bite {
            Bite::Closed(limit) => limit.as_secs_f64() <= self.patience,
            Bite::Refused(_) | Bite::Borne => true,
        }
    }

    fn time(&self, attack: &Attack) -> Duration {
        let seconds = Duration::from_secs_f64(self.seconds);
        match attack.bite {
            Bite::Closed(limit) if self.waits_for(attack) => seconds.max(limit + BEYOND_LIMIT),
            _ => seconds,
        }
    }
}

/// The most memory that a server has until `done`, and the longest that its management port takes.
async fn watch(
    pid: u32,
    management: std::net::SocketAddr,
    done: Arc<AtomicBool>,
) -> Result<(u64, Duration)> {
    let (mut resident, mut longest) = (0, Duration::ZERO);
    let request = Request::get("/health")?;
    while !done.load(Ordering::Relaxed) {
        resident = resident.max(memory(pid, "VmRSS")?);
        let asked = Instant::now();
        let answer = skysail_load::send(management, &request, TIMEOUT).await;
        let took = match answer {
            Ok(answer) if answer.is_success() => asked.elapsed(),
            _ => 2 * TIMEOUT,
        };
        longest = longest.max(took);
        tokio::time::sleep(LOOK).await;
    }
    Ok((resident, longest))
}

fn results(args: &Args, trials: &[Trial]) -> Results {
    let (mut rows, mut bars) = (Vec::new(), Vec::new());
    for trial in trials {
        let own = rows_of(trial);
        bars.extend(bars_of(args, trial, &own[0]));
        rows.extend(own);
    }
    let quiet = trials.iter().flat_map(|trial| &trial.quiet);
    let quiet: Vec<f64> = quiet.map(|normal| normal.failed() as f64).collect();
    let failed = Row::new("no attack", 0, "failed requests", "", &quiet);
    bars.push(Bar::at_most("no attack: failed requests", failed.max, 0.0));
    rows.push(failed);
    Results::new("hostile", rows, bars)
}

/// The ratio first.
fn rows_of(trial: &Trial) -> Vec<Row> {
    let name = trial.attack.name;
    let bytes = float_body(FEATURES, 0).len() as u64;
    let row = |metric, unit, values: Vec<f64>| Row::new(name, bytes, metric, unit, &values);
    let quiet = |of: fn(&Normal) -> f64| trial.quiet.iter().map(of).collect();
    let under = |of: fn(&Normal) -> f64| trial.turns.iter().map(|(turn, _)| of(turn)).collect();
    let tally = |of: fn(&Tally) -> f64| trial.turns.iter().map(|(_, tally)| of(tally)).collect();
    let pairs = trial.quiet.iter().zip(&trial.turns);
    let ratio = |(quiet, (turn, _)): (&Normal, &(Normal, Tally))| turn.p99_us() / quiet.p99_us();
    vec![
        row("p99 to that without", "x", pairs.map(ratio).collect()),
        row("p99 without", "us", quiet(Normal::p99_us)),
        row("p99", "us", under(Normal::p99_us)),
        row("failed requests", "", under(|n| n.failed() as f64)),
        row("cpu without", "% core", quiet(|n| n.cpu_percent)),
        row("cpu", "% core", under(|n| n.cpu_percent)),
        row("memory grows by", "MiB", under(grown_mib)),
        row("management, longest", "ms", under(management_ms)),
        row("connections opened", "", tally(|t| t.opened as f64)),
        row("not opened", "", tally(|t| t.not_opened as f64)),
        row("closed by the server", "", tally(|t| t.closed as f64)),
        row("longest until closed", "s", tally(lasted_s)),
        row("open for too long", "", tally(|t| t.overdue as f64)),
        row("answers of HTTP/1", "", tally(Tally::answers)),
        row("lowest status", "", tally(Tally::status_min)),
        row("highest status", "", tally(Tally::status_max)),
    ]
}

fn grown_mib(normal: &Normal) -> f64 {
    let grown = normal
        .resident_bytes_max
        .saturating_sub(normal.resident_bytes);
    grown as f64 / f64::from(1 << 20)
}

fn management_ms(normal: &Normal) -> f64 {
    normal.management.as_secs_f64() * 1e3
}

fn lasted_s(tally: &Tally) -> f64 {
    tally.lasted_max.as_secs_f64()
}

fn bars_of(args: &Args, trial: &Trial, ratio: &Row) -> Vec<Bar> {
    let Trial { attack, turns, .. } = trial;
    let name = attack.name;
    let failed = turns.iter().map(|(turn, _)| turn.failed()).max();
    let mut bars = vec![
        Bar::at_most(
            &format!("{name}: p99 to that without"),
            ratio.median,
            RATIO_MAX,
        ),
        Bar::at_most(
            &format!("{name}: failed requests"),
            failed.map_or(f64::NAN, |failed| failed as f64),
            0.0,
        ),
    ];
    if args.waits_for(attack) {
        let bit = turns.iter().all(|(_, tally)| tally.bites(attack.bite));
        let name = format!("{name}: the limit bites");
        bars.push(Bar::at_least(&name, f64::from(u8::from(bit)), 1.0));
    }
    bars
}
