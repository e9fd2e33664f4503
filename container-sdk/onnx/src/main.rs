//! `skysail-onnx`: serves an ONNX file, by tract, without Python. `skysail container onnx` becomes it.
//!
//! ```text
//! PATH ─ file, lower ─► Graph: tract's model, typed, and the signature that the file tells
//!                  └─ model ─► one plan, optimised, for batches of every size
//! ```
//!
//! The first dimension of all inputs and outputs is the batch's. Where the file leaves it open, a batch
//! is run as it is; where it is a number, so many rows are run at a time, with rows of zeros behind
//! the last ones. Rows of which other dimensions differ are run one by one.

#![forbid(unsafe_code)]

mod file;
mod lower;
mod model;
mod quiet;
mod tensors;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use skysail_container::{Options, run_from};

use crate::file::{Graph, Wanted};

/// What is wrong lies in the command line or in the file.
const USAGE: u8 = 2;

/// Serves an ONNX file.
///
/// Inputs, outputs and their types are the file's. The first dimension is the batch's.
#[derive(Debug, Parser)]
#[command(
    name = "skysail-onnx",
    disable_version_flag = true,
    after_help = "Examples:
  skysail container onnx digits.onnx --selftest
  skysail container onnx digits.onnx --output probabilities --selftest
  skysail deploy --model digits --version 1 --input floats -- \\
      skysail container onnx $PWD/digits.onnx --output label

A classifier of scikit-learn is converted with the option zipmap=False."
)]
struct Args {
    /// The .onnx file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Answer this output only; may be repeated, in the order of the answer
    #[arg(long = "output", value_name = "NAME")]
    outputs: Vec<String>,
    /// Most rows of a batch
    #[arg(long, value_name = "ROWS", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=65536))]
    max_batch: u32,
    /// Take a file of a later operator set than is known
    #[arg(long)]
    any_version: bool,
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let wanted = Wanted {
        outputs: &args.outputs,
        max_batch: args.max_batch as usize,
        any_version: args.any_version,
    };
    match Graph::read(&args.file, wanted) {
        Ok(graph) => ExitCode::from(run_from(&graph, &args.options)),
        Err(error) => {
            say(&error);
            ExitCode::from(USAGE)
        }
    }
}

#[allow(clippy::print_stderr, reason = "a program's last word")]
fn say(error: &str) {
    eprintln!("error: {error}");
}
