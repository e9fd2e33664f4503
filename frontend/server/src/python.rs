//! The verbs that are Python's: this process becomes `python3 -m skysail ...`, with the package that
//! is installed there.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow};

use crate::console::usage;

/// Which Python.
#[derive(Debug, clap::Args)]
pub(crate) struct Interpreter {
    /// The Python in whose environment the package skysail and the model's libraries are
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "python3",
        env = "SKYSAIL_PYTHON",
        hide_env_values = true
    )]
    pub(crate) python: PathBuf,
}

/// `skysail dev`.
#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:
  skysail dev model.py
  skysail dev model.py:Linear --query 127.0.0.1:8080
  skysail dev --python .venv/bin/python model.py"
)]
pub(crate) struct Dev {
    #[command(flatten)]
    interpreter: Interpreter,
    /// The model, model.py or model.py:Class, and options of python -m skysail dev
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true, value_name = "FILE")]
    arguments: Vec<OsString>,
}

/// `skysail container sklearn`.
#[derive(Debug, clap::Args)]
#[command(
    disable_version_flag = true,
    after_help = "Examples:
  skysail container sklearn digits.joblib --selftest
  skysail container sklearn digits.joblib --method predict --method predict_proba --selftest
  skysail deploy --model digits --version 1 --input doubles -- \\
      skysail container sklearn $PWD/digits.joblib

A joblib or pickle file runs code when it is read: serve only your own. All options:
  python3 -m skysail sklearn --help"
)]
pub(crate) struct Sklearn {
    #[command(flatten)]
    interpreter: Interpreter,
    /// The file, and options of python -m skysail sklearn and of the container
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true, value_name = "PATH")]
    arguments: Vec<OsString>,
}

impl Dev {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        self.interpreter.become_module("dev", &self.arguments)
    }
}

impl Sklearn {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        self.interpreter.become_module("sklearn", &self.arguments)
    }
}

impl Interpreter {
    /// Becomes `python -m skysail VERB ARGUMENTS`, which finds this program as `SKYSAIL`. Returns only
    /// if it cannot.
    fn become_module(&self, verb: &str, arguments: &[OsString]) -> Result<ExitCode> {
        self.check()?;
        let this = std::env::current_exe().context("cannot find the path of this program")?;
        let error = Command::new(&self.python)
            .args(["-m", "skysail", verb])
            .args(arguments)
            .env("SKYSAIL", this)
            .exec();
        Err(not_started(&self.python, &error))
    }

    /// Whether the package is there.
    fn check(&self) -> Result<()> {
        let looked = Command::new(&self.python)
            .args(["-c", "import skysail"])
            .output()
            .map_err(|error| not_started(&self.python, &error))?;
        if looked.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&looked.stderr);
        let why = said.trim().lines().last().unwrap_or("it says nothing");
        Err(usage(anyhow!(
            "{} does not import the package skysail ({why}): install it there \
             (docs/guides/python.md), or name another Python with --python",
            self.python.display()
        )))
    }
}

/// What to do about a Python that does not start.
pub(crate) fn not_started(python: &Path, error: &std::io::Error) -> anyhow::Error {
    usage(anyhow!(
        "cannot start {}: {error}; name a Python with --python or SKYSAIL_PYTHON",
        python.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(python: &str) -> String {
        let interpreter = Interpreter {
            python: python.into(),
        };
        let refused = interpreter.become_module("dev", &[]);
        refused.expect_err("no Python").to_string()
    }

    #[test]
    fn what_is_no_python_with_the_package_is_told_in_one_line() {
        assert_eq!(
            refused("/nowhere/python"),
            "cannot start /nowhere/python: No such file or directory (os error 2); \
             name a Python with --python or SKYSAIL_PYTHON"
        );
        assert_eq!(
            refused("false"),
            "false does not import the package skysail (it says nothing): install it there \
             (docs/guides/python.md), or name another Python with --python"
        );
    }
}
