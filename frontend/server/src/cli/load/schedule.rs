//! When requests are sent: the flags of arrivals.

use std::path::PathBuf;
use std::time::Duration;

use skysail_load::arrivals::{Arrivals, Bursts, Gaps, Rate, Step, Trace, TraceUnit};

use super::super::client::CliError;
use super::super::parse;
use super::text::shown;

/// Requests a second unless told.
const RATE: f64 = 100.0;
/// Coefficient of variation of `gamma` unless told.
const CV: f64 = 4.0;
/// Bursts of `mmpp` unless told.
const BURST_RATIO: f64 = 3.0;
const BURST_MEAN: Duration = Duration::from_millis(200);
const CALM_MEAN: Duration = Duration::from_millis(800);
/// A trace counts to just after its last arrival.
const AFTER_LAST: Duration = Duration::from_millis(1);

/// Flags that say when requests are sent.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Arrivals")]
pub(super) struct ScheduleArgs {
    /// Requests a second, in the mean; where --find-max starts [default: 100]
    #[arg(long, value_name = "N", conflicts_with_all = ["steps", "trace"])]
    rate: Option<f64>,
    /// How gaps vary: poisson, gamma (--cv), mmpp (two-state bursts), constant
    #[arg(long, value_name = "PROCESS", default_value = "poisson", conflicts_with = "trace",
          value_parser = ["poisson", "gamma", "mmpp", "constant"])]
    arrivals: String,
    /// gamma: standard deviation of a gap over its mean [default: 4]
    #[arg(long, value_name = "N")]
    cv: Option<f64>,
    /// mmpp: rate inside a burst over the rate outside [default: 3]
    #[arg(long, value_name = "N")]
    burst_ratio: Option<f64>,
    /// mmpp: mean length of a burst [default: 200ms]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    burst_time: Option<Duration>,
    /// mmpp: mean time between bursts [default: 800ms]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    calm_time: Option<Duration>,
    /// Rates, each for a time, one after the other
    #[arg(long, value_name = "RATE:TIME,…", value_delimiter = ',', value_parser = step,
          conflicts_with = "trace")]
    steps: Vec<Step>,
    /// Send at these recorded timestamps, one a line: a number, or one with s or ms
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Unit of timestamps without one
    #[arg(long, value_name = "UNIT", default_value = "s", value_parser = ["s", "ms"],
          requires = "trace")]
    trace_unit: String,
}

/// When requests are sent.
#[derive(Debug)]
pub(super) enum Schedule {
    /// By a random process.
    Process { gaps: Gaps, rate: Rate },
    /// As recorded.
    Trace(Trace),
}

impl ScheduleArgs {
    /// Where a search starts.
    pub(super) fn rate(&self) -> f64 {
        self.rate.unwrap_or(RATE)
    }

    pub(super) fn schedule(&self) -> Result<Schedule, CliError> {
        self.refuse_what_does_nothing()?;
        if let Some(file) = &self.trace {
            let unit = match self.trace_unit.as_str() {
                "ms" => TraceUnit::Milliseconds,
                _ => TraceUnit::Seconds,
            };
            return read(file, unit).map(Schedule::Trace);
        }
        let gaps = match self.arrivals.as_str() {
            "constant" => Gaps::Constant,
            "gamma" => Gaps::Gamma {
                cv: self.cv.unwrap_or(CV),
            },
            _ => Gaps::Exponential,
        };
        let rate = if !self.steps.is_empty() {
            Rate::Steps(self.steps.clone())
        } else if self.arrivals == "mmpp" {
            Rate::Bursts(self.bursts())
        } else {
            Rate::Constant(self.rate())
        };
        let schedule = Schedule::Process { gaps, rate };
        drop(schedule.arrivals(0, Duration::ZERO)?); // its numbers are right
        Ok(schedule)
    }

    fn bursts(&self) -> Bursts {
        Bursts {
            rate_mean: self.rate(),
            ratio: self.burst_ratio.unwrap_or(BURST_RATIO),
            burst_mean: self.burst_time.unwrap_or(BURST_MEAN),
            calm_mean: self.calm_time.unwrap_or(CALM_MEAN),
        }
    }

    fn refuse_what_does_nothing(&self) -> Result<(), CliError> {
        let process = match self.trace {
            Some(_) => "trace",
            None => self.arrivals.as_str(),
        };
        let only_with = |flag: &str, is_given: bool, needs: &str| {
            if is_given && process != needs {
                let text = format!("{flag} needs --arrivals {needs}");
                return Err(CliError::Usage(text));
            }
            Ok(())
        };
        only_with("--cv", self.cv.is_some(), "gamma")?;
        only_with("--burst-ratio", self.burst_ratio.is_some(), "mmpp")?;
        only_with("--burst-time", self.burst_time.is_some(), "mmpp")?;
        only_with("--calm-time", self.calm_time.is_some(), "mmpp")?;
        if process == "mmpp" && !self.steps.is_empty() {
            let text = "--steps needs --arrivals poisson, gamma or constant: mmpp sets the rate";
            return Err(CliError::Usage(text.to_owned()));
        }
        Ok(())
    }
}

impl Schedule {
    /// The instants; those of a process begin with `warm_up` at its first rate.
    pub(super) fn arrivals(
        &self,
        seed: u64,
        warm_up: Duration,
    ) -> Result<Box<dyn Iterator<Item = Duration> + Send>, CliError> {
        let (gaps, rate) = match self {
            Schedule::Trace(trace) => return Ok(Box::new(trace.arrivals())),
            Schedule::Process { gaps, rate } => (*gaps, rate),
        };
        let warmed = match rate {
            Rate::Steps(steps) if !warm_up.is_zero() => {
                let first = steps.first().map(|step| Step {
                    time: warm_up,
                    ..*step
                });
                &Rate::Steps(first.into_iter().chain(steps.iter().copied()).collect())
            }
            other => other,
        };
        match Arrivals::new(gaps, warmed, seed) {
            Ok(arrivals) => Ok(Box::new(arrivals)),
            Err(error) => Err(CliError::Usage(error.to_string())),
        }
    }

    /// The same at another mean rate.
    pub(super) fn at(&self, rate: f64) -> Schedule {
        match self {
            Schedule::Process { gaps, rate: old } => {
                let rate = match old {
                    Rate::Bursts(bursts) => Rate::Bursts(Bursts {
                        rate_mean: rate,
                        ..*bursts
                    }),
                    _ => Rate::Constant(rate),
                };
                Schedule::Process { gaps: *gaps, rate }
            }
            Schedule::Trace(trace) => Schedule::Trace(trace.clone()),
        }
    }

    pub(super) fn is_trace(&self) -> bool {
        matches!(self, Schedule::Trace(_))
    }

    /// For how long there is something to send; `None` for ever.
    pub(super) fn length(&self) -> Option<Duration> {
        match self {
            Schedule::Trace(trace) => Some(trace.length() + AFTER_LAST),
            Schedule::Process {
                rate: Rate::Steps(steps),
                ..
            } => Some(steps.iter().map(|step| step.time).sum()),
            Schedule::Process { .. } => None,
        }
    }

    /// In a few words.
    pub(super) fn described(&self) -> String {
        let (gaps, rate) = match self {
            Schedule::Trace(trace) => return format!("trace of {:.1}/s", trace.rate_mean()),
            Schedule::Process { gaps, rate } => (gaps, rate),
        };
        let gaps = match gaps {
            Gaps::Constant => "constant".to_owned(),
            Gaps::Gamma { cv } => format!("gamma of CV {cv}"),
            _ => "poisson".to_owned(),
        };
        match rate {
            Rate::Steps(steps) => {
                let step = |step: &Step| format!("{}/s for {}", step.rate, shown(step.time));
                let steps: Vec<_> = steps.iter().map(step).collect();
                format!("{gaps}, {}", steps.join(", "))
            }
            Rate::Bursts(bursts) => format!(
                "mmpp {}/s, bursts of {} times the rate for {}, {} apart",
                bursts.rate_mean,
                bursts.ratio,
                shown(bursts.burst_mean),
                shown(bursts.calm_mean),
            ),
            Rate::Constant(rate) => format!("{gaps} {rate}/s"),
            _ => gaps,
        }
    }
}

fn read(file: &std::path::Path, unit: TraceUnit) -> Result<Trace, CliError> {
    let wrong = |why: String| CliError::Usage(format!("--trace: {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    Trace::parse(&text, unit).map_err(|error| wrong(error.to_string()))
}

/// `1000:10s`.
fn step(text: &str) -> Result<Step, String> {
    let parts = text.split_once(':');
    let rate = parts.and_then(|(rate, _)| rate.trim().parse().ok());
    let (Some(rate), Some((_, time))) = (rate, parts) else {
        return Err(format!(
            "'{text}' is no step, expected RATE:TIME, such as 1000:10s"
        ));
    };
    let time = parse::duration(time.trim())?;
    Ok(Step { rate, time })
}
