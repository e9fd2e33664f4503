//! What Skysail weighs: memory of the front end after the demo's queries, and the time from
//! its start to the first prediction.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Parser;
use skysail_benches::process::{Process, memory, skysail};
use skysail_benches::result::{Bar, Results, Row};

const MEBIBYTE: f64 = (1 << 20) as f64;

/// Measures the memory of the front end after `demo`, and how fast it is there.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Repetitions
    #[arg(long, default_value_t = 7)]
    reps: usize,
    /// The skysail binary [default: the one beside this]
    #[arg(long)]
    skysail: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let binary = skysail(args.skysail)?;
    let (mut private, mut shared, mut first) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.reps {
        let any = "127.0.0.1:0";
        let mut command = Command::new(&binary);
        command.args([
            "demo",
            "--json",
            "--query",
            any,
            "--management",
            any,
            "--rpc",
            any,
        ]);
        let mut demo = Process::start(&mut command)?;
        demo.json_line().context("ready")?;
        let table = demo.json_line().context("the table")?;
        let bytes = memory(demo.id(), "RssAnon")? + memory(demo.id(), "RssFile")?;
        private.push(bytes as f64 / MEBIBYTE);
        shared.push(memory(demo.id(), "RssShmem")? as f64 / MEBIBYTE);
        first.push(
            table["first_prediction_ms"]
                .as_f64()
                .context("first_prediction_ms")?,
        );
    }
    let rows = vec![
        Row::new("front end", 0, "RssAnon + RssFile", "MiB", &private),
        Row::new("front end", 0, "RssShmem", "MiB", &shared),
        Row::new("start", 0, "to first prediction", "ms", &first),
    ];
    let bars = vec![
        Bar::at_most("memory of the front end, MiB", rows[0].median, 64.0),
        Bar::at_most("start to first prediction, ms", rows[2].median, 1000.0),
    ];
    Results::new("footprint", rows, bars).print(args.json);
    Ok(())
}
