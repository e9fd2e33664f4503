//! `skysail top`: how applications, versions and replicas do, anew every interval.
//!
//! It polls `GET /api/v1/load`, whose counts are sums, and shows what came between two answers:
//!
//! ```text
//! poll ──► answer ─┐
//! poll ──► answer ─┴► view ─┬► ui ──► draw ──► screen     on a terminal
//!                           └► stream                    text or JSON elsewhere
//! ```
//!
//! [`view`] and [`ui`] are pure, [`draw`] writes into a buffer; [`screen`] is the loop.
//!
//! Exit status: 0 done or ended by a key; 1 the front end cannot be reached at the start, or the
//! terminal not be used; 2 the command line is wrong; 130 interrupted by a signal.

mod answer;
mod draw;
mod format;
mod poll;
mod screen;
mod since;
mod sort;
mod spread;
mod stream;
mod ui;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use super::place::Where;
use super::{parse, told};
use poll::Poller;
use sort::Sort;
use stream::Stream;
use ui::Ui;

/// Below this the terminal costs more than it shows.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Above this it is no live view.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

const HELP: &str = "\
Examples:
  skysail top
  skysail top --sort trouble --interval 5s
  skysail top --once | less
  skysail top --json | jq '.applications[] | {name, p99_seconds, in_time_share}'

Keys: q quit, j/k and PgUp/PgDn scroll, space hold, s sort, ? what the figures mean.

Where standard output is no terminal, or with --once, it prints one snapshot over one interval.
With --json it prints one object a line and interval; rates are of that interval, the rest is as
it stands at its end, and what there is none of is null:
  {\"pid\", \"interval_seconds\",
   \"applications\": [{\"name\", \"linked_models\", \"slo_seconds\",
     \"per_second\": {\"offered\", \"in_time\", \"late\", \"default\", \"default_by_cause\": {CAUSE: …}},
     \"in_time_share\", \"p50_seconds\", \"p99_seconds\"}],
   \"versions\": [{\"model\", \"version\", \"current\", \"policy\", \"objective_seconds\",
     \"queue\": {\"queries\", \"head_age_seconds\"},
     \"per_second\": {\"arrived\", \"in_time\", \"late_by\": {…}, \"shed_by\": {…}, \"expired\",
       \"batches\", \"hedged\", \"hedges_won\", \"rows_wasted\"},
     \"batch_rows_mean\",
     \"learned\": {\"alpha_seconds\", \"beta_seconds\", \"margin\", \"quantile\"},
     \"capacity\": {\"queries_per_second\", \"rows\", \"headroom\"},
     \"replicas\": [{\"id\", \"state\", \"transport\", \"slowness\", \"busy_share\", \"in_flight\",
       \"in_flight_age_seconds\", \"transport_seconds\", \"stragglers\",
       \"stragglers_per_second\"}]}]}

A front end that goes away is waited for. The counts of another process, and counts that went
down, begin at 0.";

/// `top`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Top {
    #[command(flatten)]
    place: Where,
    /// Time between two looks, over which rates are taken: 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Order of applications, versions and replicas
    #[arg(long, value_enum, default_value = "name")]
    sort: Sort,
    /// Print one snapshot over one interval and end
    #[arg(long)]
    once: bool,
    /// Print JSON, an object a line and interval
    #[arg(long)]
    json: bool,
    /// Objects before it ends [default: no end]
    #[arg(long, value_name = "N", requires = "json", conflicts_with = "once",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

impl Top {
    /// Shows or prints until it is to end.
    ///
    /// # Errors
    /// One for [`report`](crate::console::report).
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let is_terminal = std::io::stdout().is_terminal();
        let mut poller = Poller::new(self.place);
        if is_terminal && !self.once && !self.json {
            let first = poller.sample().map_err(told)?;
            let ui = Ui::new(poller.address(), first, self.interval, self.sort);
            return screen::run(ui, poller, self.interval);
        }
        let size = is_terminal.then(crossterm::terminal::size);
        let stream = Stream {
            interval: self.interval,
            sort: self.sort,
            is_json: self.json,
            count: if self.json && !self.once {
                self.count
            } else {
                Some(1)
            },
            width: size.and_then(Result::ok).map(|(width, _)| width),
        };
        stream.run(&mut poller)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A time that a live view can have.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse::duration(text)?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        return Ok(interval);
    }
    Err(format!(
        "'{text}' is not between {INTERVAL_MIN:?} and {}h",
        INTERVAL_MAX.as_secs() / 3600
    ))
}
