//! Whether the front end holds its objectives: overload and faults, on running processes.
//!
//! `skysail serve` answers over HTTP, its replicas are `sleep-model` containers, and this process
//! sends the load. All share the cores of one machine, so a cell whose overload comes near what a
//! model that does nothing bears here is not measured: the machine would be, not the policy.
//!
//! ```text
//! each cell:  0.8 C … 1.2 C, the best of them;   0.7 C → 1.5 C → 0.7 C;   0.7 C → 3 C → 0.7 C
//! each fault: below C, fault, below C; repeated
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`cell`] | the cells, their capacity C, and which are wanted |
//! | [`plan`] | how long everything takes |
//! | [`stage`] | a front end with its replicas, and load on it |
//! | [`overload`] | what is measured in a cell |
//! | [`fault`], [`neighbour`] | faults; an application that cannot be served beside one that can |
//! | [`goodput`] | shares in time of parts of a run, and when they are full again |
//! | [`sleeper`] | how late this machine wakes a sleeper |
//! | [`report`], [`table`] | rows and bars; the same as text |

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a binary that prints its results, and its progress"
)]

mod cell;
mod fault;
mod goodput;
mod neighbour;
mod overload;
mod plan;
mod report;
mod sleeper;
mod stage;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use skysail_benches::process::{skysail, sleep_model};

use crate::cell::{Cell, Selection};
use crate::plan::Plan;
use crate::report::Report;
use crate::stage::{Stage, Tools};

/// A cell is beyond this machine if its largest load is more than this share of the no-op ceiling.
const CEILING_SHARE: f64 = 0.5;
/// A quick run takes that share of the time.
const QUICK: f64 = 0.3;

const EXAMPLES: &str = "Examples:
  scenarios --quick                        everything, briefly: for a look, not for a figure
  scenarios --only gpu,20,1                one cell: profile, SLO in ms, replicas
  scenarios --only gpu --only slow-batch   all cells of a profile, and one fault
  scenarios --faults                       the faults alone

C is the load that replicas bear when each batch is the largest that two fit into the objective
(one replica), or 1 + 1/R (R replicas). In time is a prediction within the SLO, measured at the
client from the intended send time.";

/// Drives a front end with sleeping models through overload and faults.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Short phases: for a look, not for a figure
    #[arg(long)]
    quick: bool,
    /// Only these: a fault's name, or of a cell one or more of profile, SLO in ms and replicas
    #[arg(long, value_name = "WHAT")]
    only: Vec<Selection>,
    /// Only the faults
    #[arg(long)]
    faults: bool,
    /// Seed of the arrivals and of the models' noise
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The skysail binary [default: the one beside this]
    #[arg(long, value_name = "FILE")]
    skysail: Option<PathBuf>,
    /// Multiplies the length of all phases
    #[arg(long, hide = true, default_value_t = 1.0)]
    pace: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(&args))?;
    report.print(args.json);
    Ok(())
}

impl Args {
    /// Whether one of the selections, if there are any, is for something.
    fn wants(&self, what: impl Fn(&Selection) -> bool) -> bool {
        self.only.is_empty() || self.only.iter().any(what)
    }
}

async fn measure(args: &Args) -> Result<Report> {
    let tools = Tools {
        skysail: skysail(args.skysail.clone())?,
        sleep_model: sleep_model()?,
        seed: args.seed,
    };
    let plan = Plan::new(args.pace * if args.quick { QUICK } else { 1.0 });
    let mut report = Report::default();
    let cells = cell::all().filter(|cell| args.wants(|only| only.has_cell(cell)));
    let cells: Vec<_> = cells.filter(|_| !args.faults).collect();
    if !cells.is_empty() {
        measure_cells(&tools, &plan, cells, &mut report).await?;
    }
    for fault in fault::ALL {
        if args.wants(|only| only.has_fault(fault.name)) {
            report
                .faults
                .push(fault::measure(&tools, &plan, &fault).await?);
        }
    }
    if args.wants(|only| only.has_fault(neighbour::NAME)) {
        report.neighbour = Some(neighbour::measure(&tools, &plan).await?);
    }
    Ok(report)
}

/// Measures the no-op ceiling, then the cells that are not beyond this machine.
async fn measure_cells(
    tools: &Tools,
    plan: &Plan,
    cells: Vec<Cell>,
    report: &mut Report,
) -> Result<()> {
    let ceiling = Stage::ceiling(tools, plan.ceiling).await?;
    eprintln!("a model that does nothing bears {ceiling:.0} queries/s here");
    report.ceiling = Some(ceiling);
    for cell in cells {
        let is_beyond = cell.load_max() > CEILING_SHARE * ceiling;
        let found = match is_beyond {
            true => None,
            false => Some(overload::measure(tools, plan, cell).await?),
        };
        report.cells.push((cell, found));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        assert!(Args::try_parse_from(["scenarios", "--only", "gpu,20,1"]).is_ok());
        assert!(Args::try_parse_from(["scenarios", "--only", "cpu"]).is_err());
    }
}
