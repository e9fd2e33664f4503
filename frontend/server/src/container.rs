//! `skysail container`: ready-made containers. Each is a program of its own, which this one becomes.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow};

use crate::console::usage;
use crate::python::Sklearn;

/// The program that serves ONNX files.
const ONNX: &str = "skysail-onnx";

/// `skysail container`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Container {
    /// A fitted estimator or pipeline of scikit-learn, from a joblib, pickle or skops file
    Sklearn(Sklearn),
    /// An ONNX file, natively, without Python
    Onnx(Onnx),
}

/// `skysail container onnx`.
#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:
  skysail container onnx digits.onnx --selftest
  skysail deploy --model digits --version 1 --input floats -- \\
      skysail container onnx $PWD/digits.onnx --output label

It is the program skysail-onnx, which is looked for beside this one and on the PATH. Its options:
  skysail-onnx --help"
)]
pub(crate) struct Onnx {
    /// The file, and options of skysail-onnx and of the container
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true, value_name = "FILE")]
    arguments: Vec<OsString>,
}

impl Container {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        match self {
            Container::Sklearn(sklearn) => sklearn.run(),
            Container::Onnx(onnx) => become_program(&beside_this(ONNX)?, &onnx.arguments),
        }
    }
}

/// `name` beside this program, or else as the PATH has it.
fn beside_this(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find the path of this program")?;
    let beside = this.with_file_name(name);
    Ok(if beside.exists() { beside } else { name.into() })
}

/// The file of the program that serves ONNX files, for whoever takes it elsewhere.
pub(crate) fn onnx_program() -> Result<PathBuf> {
    let found = beside_this(ONNX)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(&found));
    // A path that is absolute stays what it is.
    places.find(|place| place.is_file()).ok_or_else(|| {
        usage(anyhow!(
            "{ONNX} is neither beside skysail nor on the PATH: build it (cargo build --release -p {ONNX})"
        ))
    })
}

/// Returns only if it cannot.
fn become_program(program: &Path, arguments: &[OsString]) -> Result<ExitCode> {
    let error = Command::new(program).args(arguments).exec();
    let program = program.display();
    Err(usage(anyhow!(
        "cannot start {program}: {error}; build it (cargo build --release -p {ONNX}) and put it beside \
         skysail or on the PATH"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_is_told_with_what_to_do() {
        let missing = become_program(Path::new("/nowhere/skysail-onnx"), &[]);
        assert_eq!(
            missing.expect_err("nothing there").to_string(),
            "cannot start /nowhere/skysail-onnx: No such file or directory (os error 2); build it \
             (cargo build --release -p skysail-onnx) and put it beside skysail or on the PATH"
        );
    }

    #[test]
    fn a_program_that_is_not_beside_this_one_is_looked_for_on_the_path() {
        let found = beside_this("no-such-program").expect("this program has a path");
        assert_eq!(found, PathBuf::from("no-such-program"));
    }
}
