//! In how many ranges of the row log the rows of a batch lie.
//!
//! A batch of one range reaches the model without a copy; of several it is gathered by the
//! container; of too many, rows move in the front end. How often is decided by the row log, the
//! queue and the batch sizes together, which run here as they are on invented time: the figures
//! are the same on every machine.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a binary that prints its results")]

mod simulation;
mod workload;

use clap::Parser;
use skysail_benches::result::{Results, Row};

use simulation::{Figures, ROW_BYTES, Setup, run};
use workload::{PROFILES, WORKLOADS, Workload};

/// Replicas of the model.
const REPLICAS: [usize; 2] = [1, 8];
/// Objectives and cores.
const SIDES: [(usize, usize); 4] = [(1, 1), (2, 1), (1, 2), (2, 2)];

/// Simulates how the rows of batches lie in the row log.
///
/// Each cell has the batches of one range in percent; the mean and the most ranges of a batch; and
/// of all rows, in percent, those that the container gathers, that the front end moves because
/// their ranges are too many, and that it copies because the log is full.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Runs of each cell; the table has their medians
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Share of queries that the cache answers, which come beside the others
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    hits: f64,
    /// One run of each cell, a tenth as long
    #[arg(long)]
    quick: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..0.99).contains(&share) => Ok(share),
        _ => Err("not a number from 0 to 0.99".to_owned()),
    }
}

/// One cell of the table.
struct Cell {
    setup: Setup,
    figures: Vec<Figures>,
}

fn main() {
    let args = Args::parse();
    let cells: Vec<Cell> = setups(args.hits)
        .map(|setup| measure(&args, setup))
        .collect();
    let results = Results::new("ranges", cells.iter().flat_map(rows).collect(), Vec::new());
    if args.json {
        return results.print(true);
    }
    println!("{}", results.heading());
    for side in SIDES {
        print_table(&cells, side);
    }
}

fn setups(hits: f64) -> impl Iterator<Item = Setup> {
    let of_side = move |(objectives, cores)| {
        let of_workload = move |workload: Workload| {
            let columns = PROFILES.iter().flat_map(|p| REPLICAS.map(|r| (*p, r)));
            columns.map(move |(profile, replicas)| Setup {
                workload,
                profile,
                replicas,
                objectives,
                cores,
                hits,
            })
        };
        WORKLOADS.into_iter().flat_map(of_workload)
    };
    SIDES.into_iter().flat_map(of_side)
}

fn measure(args: &Args, setup: Setup) -> Cell {
    let (seeds, time_share) = if args.quick {
        (1, 0.1)
    } else {
        (args.seeds, 1.0)
    };
    let figures = (1..=seeds.max(1)).map(|seed| run(&setup, seed, time_share));
    Cell {
        setup,
        figures: figures.collect(),
    }
}

/// The figures of a cell: metric, unit, value.
type Metric = (&'static str, &'static str, fn(&Figures) -> f64);

const METRICS: [Metric; 8] = [
    ("batches of one range", "%", Figures::single_percent),
    ("ranges of a batch", "ranges", Figures::ranges_mean),
    ("ranges at most", "ranges", Figures::ranges_max),
    (
        "rows gathered by the container",
        "%",
        Figures::gathered_percent,
    ),
    ("rows moved, ranges too many", "%", Figures::moved_percent),
    ("rows copied, log full", "%", Figures::full_percent),
    ("rows until one is used again", "rows", Figures::turn_rows),
    ("rows of a batch", "rows", Figures::batch_rows),
];

fn rows(cell: &Cell) -> Vec<Row> {
    let Setup {
        workload,
        profile,
        replicas,
        objectives,
        cores,
        hits,
    } = cell.setup;
    let mut name = format!(
        "{}, {} x{replicas}, {objectives} slo, {cores} core",
        workload.name, profile.name
    );
    if hits > 0.0 {
        name += &format!(", {hits} hits");
    }
    let row = |(metric, unit, value): Metric| {
        let values: Vec<f64> = cell.figures.iter().map(value).collect();
        Row::new(&name, ROW_BYTES as u64, metric, unit, &values)
    };
    METRICS.map(row).into()
}

fn print_table(cells: &[Cell], (objectives, cores): (usize, usize)) {
    let plural = |count: usize| if count > 1 { "s" } else { "" };
    println!(
        "\n{objectives} objective{}, {cores} core{}: batches of one range; ranges mean/most; \
         rows gathered, moved, copied",
        plural(objectives),
        plural(cores)
    );
    let of_table = |cell: &&Cell| (cell.setup.objectives, cell.setup.cores) == (objectives, cores);
    let cells: Vec<&Cell> = cells.iter().filter(of_table).collect();
    for (row, cells) in cells.chunks(PROFILES.len() * REPLICAS.len()).enumerate() {
        if row == 0 {
            print_line("", cells.iter().map(|cell| heading(&cell.setup)));
        }
        let name = cells[0].setup.workload.name;
        print_line(name, cells.iter().map(|cell| text(cell)));
    }
}

fn print_line(name: &str, cells: impl Iterator<Item = String>) {
    let cells: String = cells.map(|cell| format!(" | {cell:<22}")).collect();
    println!("{}", format!("{name:<10}{cells}").trim_end());
}

fn heading(setup: &Setup) -> String {
    format!("{} x{}", setup.profile.name, setup.replicas)
}

/// The first six metrics.
fn text(cell: &Cell) -> String {
    let medians = rows(cell).into_iter().map(|row| row.median);
    let [single, mean, most, gathered, moved, full] = medians
        .take(6)
        .collect::<Vec<_>>()
        .try_into()
        .expect("as many metrics");
    format!("{single:5.1} {mean:.2}/{most:.0} {gathered:3.0} {moved:2.0} {full:2.0}")
}
