//! `skysail load`: drives an application, or any HTTP endpoint, open-loop.
//!
//! [`target`] says where requests go and what they hold, [`schedule`] when they are sent;
//! `skysail-load` sends and counts; [`server`] says what that costs the server, if it runs here;
//! [`text`] and [`json`] say what came of it.
//!
//! Exit status: 0 measured, whatever the server answered; 1 nothing can be measured; 2 the command
//! line is wrong; 130 interrupted, after the table of what was measured until then.

mod json;
mod live;
mod schedule;
mod server;
mod target;
mod text;

use std::cell::Cell;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use skysail_load::search::Search;
use skysail_load::{Measured, OpenLoop, Window};

use super::client::{CliError, described, reason};
use super::place::Where;
use super::{parse, told, write_lines};
use live::Live;
use schedule::{Schedule, ScheduleArgs};
use server::Server;
use target::{Target, TargetArgs};

/// Time that is counted unless told.
const DURATION: Duration = Duration::from_secs(10);
/// The same for each step of a search.
const DURATION_STEP: Duration = Duration::from_secs(5);
/// Load before anything is counted, unless told or recorded.
const WARM_UP: Duration = Duration::from_secs(1);
/// Most connections: most systems allow a process no more descriptors.
const CONNECTIONS_MAX: u64 = 16_384;
/// Exit status of a run that was interrupted.
const INTERRUPTED: u8 = 130;

const EXAMPLES: &str = "Examples:
  skysail load --app digits --rate 1000
  skysail load --app digits --rate 1000 --arrivals mmpp --burst-ratio 5 --duration 1min
  skysail load --app digits --steps 1000:10s,3000:5s,1000:10s --json
  skysail load --app digits --trace arrivals.txt --inputs images.jsonl
  skysail load --app digits --find-max --slo 20ms
  skysail load --url http://127.0.0.1:8501/v1/models/m:predict --body query.json --rate 500 --slo 20ms

Latency runs from the time at which a request should have been sent to the last byte of its
answer, so what a slow server keeps waiting counts in full (no coordinated omission). In time is
a prediction within the SLO; defaults and errors are not.";

/// `load`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES,
          group(clap::ArgGroup::new("endpoint").required(true).args(["app", "url"])))]
pub(crate) struct Load {
    /// Print JSON, with a series by second
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// Load that is counted [default: 10s, a --find-max step 5s, else all steps or the trace]
    #[arg(long, value_name = "TIME", value_parser = parse::duration, help_heading = "Run")]
    duration: Option<Duration>,
    /// Load before anything is counted: at the first rate, or the trace's begin [default: 1s; 0s
    /// for --trace]
    #[arg(long, value_name = "TIME", value_parser = parse::duration, help_heading = "Run")]
    warm_up: Option<Duration>,
    /// Latency within which a prediction is in time [default: the application's]
    #[arg(long, value_name = "TIME", value_parser = parse::duration, help_heading = "Run")]
    slo: Option<Duration>,
    /// Most requests in flight, each on a keep-alive connection of its own
    #[arg(long, value_name = "N", default_value_t = 256, help_heading = "Run",
          value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    connections: u64,
    /// Time for an answer, and for a request to find a connection
    #[arg(long, value_name = "TIME", value_parser = parse::duration, default_value = "10s",
          help_heading = "Run")]
    timeout: Duration,
    /// Seed of arrivals and random inputs; the same seed sends the same [default: random]
    #[arg(long, value_name = "N", help_heading = "Run")]
    seed: Option<u64>,
    /// Search the highest rate at which 99 % of what is offered is in time, from --rate on
    #[arg(long, conflicts_with_all = ["steps", "trace"], help_heading = "Run")]
    find_max: bool,
}

/// All that runs have in common.
struct Plan {
    target: Target,
    schedule: Schedule,
    window: Window,
    connections: usize,
    timeout: Duration,
    seed: u64,
}

/// What a run came to.
struct Run {
    measured: Measured,
    /// CPU time of the server and its containers; `None` where it cannot be told.
    server_cpu: Option<Duration>,
    is_interrupted: bool,
}

/// A step of a search.
struct Step {
    rate: f64,
    run: Run,
}

/// How a run ended, for the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// With figures.
    Found,
    /// Without a single answer, or without a rate that holds.
    Nothing,
    Interrupted,
}

impl Load {
    /// Sends the load and prints what came of it.
    ///
    /// # Errors
    /// One for [`report`](crate::console::report).
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let plan = self.plan().map_err(told)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let ended = if self.find_max {
            runtime.block_on(self.search(plan))?
        } else {
            runtime.block_on(self.once(&plan))?
        };
        Ok(match ended {
            Ended::Found => ExitCode::SUCCESS,
            Ended::Nothing => ExitCode::FAILURE,
            Ended::Interrupted => ExitCode::from(INTERRUPTED),
        })
    }

    /// Checks all that can be checked before something is sent.
    fn plan(&self) -> Result<Plan, CliError> {
        above_zero("--timeout", Some(self.timeout))?;
        above_zero("--duration", self.duration)?;
        above_zero("--slo", self.slo)?;
        let schedule = self.schedule.schedule()?;
        let window = self.window(&schedule)?;
        let target = self.target.target(&self.place)?;
        let slo = self.slo.or(target.slo);
        if self.find_max && slo.is_none() {
            let text = "--find-max needs --slo, such as --slo 20ms: a URL has none of its own";
            return Err(CliError::Usage(text.to_owned()));
        }
        Ok(Plan {
            target,
            schedule,
            window: Window { slo, ..window },
            connections: self.connections as usize,
            timeout: self.timeout,
            seed: self.seed.map_or_else(random_seed, Ok)?,
        })
    }

    /// The window without its SLO.
    fn window(&self, schedule: &Schedule) -> Result<Window, CliError> {
        let is_trace = schedule.is_trace();
        let warm_up = if is_trace { Duration::ZERO } else { WARM_UP };
        let warm_up = self.warm_up.unwrap_or(warm_up);
        // A trace's warm-up is part of it, that of steps comes before them.
        let taken = if is_trace { warm_up } else { Duration::ZERO };
        let default = if self.find_max {
            DURATION_STEP
        } else {
            DURATION
        };
        let duration = match (schedule.length(), self.duration) {
            (None, duration) => duration.unwrap_or(default),
            (Some(length), _) if length <= taken => {
                let text = format!("--warm-up {warm_up:?} leaves nothing of the trace: {length:?}");
                return Err(CliError::Usage(text));
            }
            (Some(length), Some(duration)) if duration > length - taken => {
                let left = length - taken;
                let text = format!("--duration {duration:?} is longer than what is sent: {left:?}");
                return Err(CliError::Usage(text));
            }
            (Some(length), duration) => duration.unwrap_or(length - taken),
        };
        Ok(Window {
            warm_up,
            duration,
            slo: None,
        })
    }

    /// One run.
    async fn once(&self, plan: &Plan) -> anyhow::Result<Ended> {
        let run = plan.run(&plan.schedule, plan.seed).await?;
        let report = if self.json {
            json::report(plan, &run).to_string()
        } else {
            format!("{}\n{}", text::heading(plan), text::report(plan, &run))
        };
        write_lines(&report)?;
        Ok(Ended::of(run.is_interrupted, run.measured.answered > 0))
    }

    /// A run a step until the rate is found.
    async fn search(&self, plan: Plan) -> anyhow::Result<Ended> {
        let mut search = Search::new(self.schedule.rate());
        let (mut steps, mut best) = (Vec::<Value>::new(), None);
        let mut is_interrupted = false;
        if !self.json {
            write_lines(&text::heading(&plan))?;
        }
        while let Some(rate) = search.rate().filter(|_| !is_interrupted) {
            // Other inputs in each step: a cache must not answer a later one.
            let seed = plan.seed.wrapping_add(steps.len() as u64);
            let run = plan.run(&plan.schedule.at(rate), seed).await?;
            is_interrupted = run.is_interrupted;
            let step = Step { rate, run };
            steps.push(json::step(&plan, &step));
            if !self.json {
                write_lines(&text::step(&plan, &step))?;
            }
            if !is_interrupted {
                search.told(step.run.measured.p99_holds());
                if step.run.measured.p99_holds() {
                    best = Some(step);
                }
            }
        }
        write_lines(&if self.json {
            json::search(&plan, &steps, best.as_ref(), is_interrupted).to_string()
        } else {
            text::found(&plan, best.as_ref(), is_interrupted)
        })?;
        Ok(Ended::of(is_interrupted, best.is_some()))
    }
}

impl Ended {
    fn of(is_interrupted: bool, found: bool) -> Ended {
        match (is_interrupted, found) {
            (true, _) => Ended::Interrupted,
            (false, true) => Ended::Found,
            (false, false) => Ended::Nothing,
        }
    }
}

impl Run {
    /// What a request cost the server; `None` where that cannot be told.
    fn server_cpu_us_per_request(&self) -> Option<f64> {
        let sent = self.measured.sent_in_all;
        let cpu = self.server_cpu.filter(|_| sent > 0)?;
        Some(cpu.as_secs_f64() * 1e6 / sent as f64)
    }
}

impl Plan {
    async fn run(&self, schedule: &Schedule, seed: u64) -> Result<Run, CliError> {
        let driver = OpenLoop {
            address: self.target.address,
            connections: self.connections,
            timeout: self.timeout,
            window: self.window,
        };
        let is_interrupted = Cell::new(false);
        let stop = async {
            match tokio::signal::ctrl_c().await {
                Ok(()) => is_interrupted.set(true),
                // No handler: the signal ends the process.
                Err(_) => std::future::pending().await,
            }
        };
        let arrivals = schedule.arrivals(seed, self.window.warm_up)?;
        let bodies = self.target.bodies(seed);
        let mut live = Live::new(self.window);
        let template = &self.target.template;
        let server = Server::at(self.target.address);
        let server_cpu = || server.as_ref()?.cpu();
        let cpu_before = server_cpu();
        let run = driver.run(template, arrivals, bodies, stop, |progress| {
            live.show(&progress);
        });
        let measured = run.await;
        drop(live); // clears its line
        let measured = measured.map_err(|error| self.unreachable(&error))?;
        let server_cpu = server_cpu().zip(cpu_before);
        Ok(Run {
            measured,
            server_cpu: server_cpu.map(|(after, before)| after.saturating_sub(before)),
            is_interrupted: is_interrupted.get(),
        })
    }

    fn unreachable(&self, error: &skysail_load::Error) -> CliError {
        if let skysail_load::Error::Poller { .. } = error {
            return CliError::Refused(format!("{}: {}", described(error), reason(error)));
        }
        CliError::Absent(format!(
            "{} at {}: {}; is the server running there, and does it take {} connections? \
             (--connections)",
            described(error),
            self.target.url,
            reason(error),
            self.connections,
        ))
    }
}

fn above_zero(flag: &str, time: Option<Duration>) -> Result<(), CliError> {
    match time {
        Some(Duration::ZERO) => Err(CliError::Usage(format!("{flag} must be above 0"))),
        _ => Ok(()),
    }
}

fn random_seed() -> Result<u64, CliError> {
    let mut bytes = [0; 4]; // short enough to be typed again
    let filled = getrandom::fill(&mut bytes);
    filled.map_err(|error| CliError::Refused(format!("no random seed: {error}; give --seed")))?;
    Ok(u32::from_le_bytes(bytes).into())
}

#[cfg(test)]
mod tests;
