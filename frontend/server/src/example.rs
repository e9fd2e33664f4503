//! `skysail example-container`: the bundled models, each as a process of its own.

use std::process::ExitCode;

use skysail_examples::{bundled, names};

/// A bundled container with its options.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which one
    #[arg(value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(names()))]
    name: String,
    #[command(flatten)]
    options: skysail_container::Options,
}

const EXAMPLES: &str = "\
Examples:
  skysail example-container sum --selftest
  skysail example-container sum --model sum --version 1 --rpc ipc:///var/lib/skysail/rpc.sock
  skysail deploy --model sum --version 1 --input doubles -- skysail example-container sum";

/// Runs it until the front end sends it away or a signal comes.
pub(crate) fn run(args: Args) -> ExitCode {
    let run = bundled(&args.name).expect("clap allows bundled names only");
    run(args.options)
}
