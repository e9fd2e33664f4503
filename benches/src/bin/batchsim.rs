//! Batching policies on a virtual clock: the code that serves, beside an oracle and others.

#![forbid(unsafe_code)]

use std::io::{stderr, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use skysail_sim::command::Command;

/// Simulates batching policies over 84 configurations and prints their goodput.
#[derive(Debug, Parser)]
struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// A fraction of the work
    #[arg(long)]
    quick: bool,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also plot goodput and p99 through an overload step
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Only profiles and loads whose names contain this
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let command = Command {
        json: args.json,
        quick: args.quick,
        seed: args.seed,
        svg: args.svg,
        only: args.only,
    };
    Ok(command.run(&mut stdout().lock(), &mut stderr().lock())?)
}
