//! Batching policies on a virtual clock: the code that serves, beside an oracle and others.

#![forbid(unsafe_code)]

use std::io::{stderr, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use skysail_sim::command::{Choice, Command};

/// Simulates batching policies on a virtual clock and prints how many queries they answer in time.
///
/// Without `--study` it runs 84 configurations and holds the results to bars. Studies show what
/// these leave out. The same seed gives the same figures. Progress goes to stderr.
#[derive(Debug, Parser)]
#[command(name = "batchsim")]
struct Args {
    /// What to simulate
    #[arg(long, value_name = "NAME", default_value = "grid", value_parser = choices())]
    study: Choice,
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
    /// Only profiles, loads and cases whose names contain this
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

fn choices() -> impl TypedValueParser<Value = Choice> {
    let names = Choice::names().into_iter();
    let values = names.map(|(name, about)| PossibleValue::new(name).help(about));
    PossibleValuesParser::new(values)
        .map(|name| Choice::named(&name).expect("only choices are possible"))
}

fn main() -> Result<()> {
    let args = Args::parse();
    let command = Command {
        choice: args.study,
        json: args.json,
        quick: args.quick,
        seed: args.seed,
        svg: args.svg,
        only: args.only,
    };
    Ok(command.run(&mut stdout().lock(), &mut stderr().lock())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_study_it_is_the_grid() {
        let args = Args::try_parse_from(["batchsim"]).expect("nothing is required");
        assert_eq!(args.study, Choice::Grid);
    }

    #[test]
    fn a_wrong_study_is_a_usage_error_that_names_the_choices() {
        let error = Args::try_parse_from(["batchsim", "--study", "grids"]);
        let error = error.expect_err("there is no such study");
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        for (name, _) in Choice::names() {
            assert!(text.contains(name), "{name} in {text}");
        }
    }
}
