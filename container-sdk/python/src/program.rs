//! What the Python modules call besides a model: the command line, the log, a worker's parent.

use std::path::PathBuf;

use clap::Parser;
use pyo3::exceptions::{PySystemExit, PyValueError};
use pyo3::prelude::*;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use skysail_container::{Options, TensorSpec, run_from};

use crate::model::Definition;

/// The most replica processes of one command.
const WORKERS_MAX: i64 = 256;

const HELP: &str = "\
Examples:
  Join a front end on this machine, with two replicas:
    python model.py --rpc ipc:///var/lib/skysail/rpc.sock --model digits --version 1 --workers 2
  Let the front end start it, and again when it ends:
    skysail deploy --model digits --version 1 -- python /srv/digits/model.py --path /srv/digits
  Check the model without a front end:
    python model.py --selftest

Exit status: 0 asked to stop, or the version was removed, 1 the model failed or the front
end refuses it, 2 wrong usage, environment or signature, 130 interrupted twice. RUST_LOG sets what is logged.";

/// Serves a Python model to a Skysail front end.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true, after_help = HELP)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// Replica processes, each with the model of its own
    #[arg(long, env = "SKYSAIL_WORKERS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=WORKERS_MAX))]
    workers: u16,
}

/// The options that a container was started with.
#[pyclass(frozen, module = "skysail._skysail")]
pub(crate) struct Command {
    options: Options,
    /// Replica processes.
    #[pyo3(get)]
    workers: u16,
}

#[pymethods]
impl Command {
    /// Whether the model is only checked.
    #[getter]
    fn selftest(&self) -> bool {
        self.options.selftest
    }

    /// Serves `definition` until it is asked to stop: the exit status.
    fn run(&self, py: Python<'_>, definition: &Bound<'_, PyAny>) -> PyResult<u8> {
        let source = Definition::new(definition)?;
        Ok(py.detach(|| run_from(&source, &self.options)))
    }
}

/// Options from a program's name and its arguments.
///
/// # Errors
/// `SystemExit`, after the help or what is wrong was printed.
#[pyfunction]
pub(crate) fn parse(args: Vec<String>) -> PyResult<Command> {
    match Cli::try_parse_from(args) {
        Ok(Cli {
            mut options,
            workers,
        }) => {
            options.health_file = options.health_file.map(of_this_worker);
            Ok(Command { options, workers })
        }
        Err(error) => {
            // Nobody is left to tell if the terminal is gone.
            drop(error.print());
            Err(PySystemExit::new_err(error.exit_code()))
        }
    }
}

/// The health file of one of several workers: with its number behind the name, so that each of
/// them is seen.
fn of_this_worker(file: PathBuf) -> PathBuf {
    let Some(number) = std::env::var_os("SKYSAIL_WORKER") else {
        return file;
    };
    let mut name = file.into_os_string();
    name.push(".");
    name.push(number);
    name.into()
}

/// Element type and row dimensions of a tensor's text, such as `f32[784]`.
///
/// # Errors
/// `ValueError`, if it is not like that.
#[pyfunction]
pub(crate) fn tensor(name: &str, text: &str) -> PyResult<(String, Vec<i64>)> {
    match TensorSpec::parse(name, text) {
        Ok(spec) => Ok((spec.datatype.to_string(), spec.dims.to_vec())),
        Err(error) => Err(PyValueError::new_err(error.to_string())),
    }
}

/// A line of the container's log; `level` is `error`, `warning` or `info`.
#[pyfunction]
pub(crate) fn log(py: Python<'_>, level: &str, text: &str) {
    py.detach(|| match level {
        "error" => tracing::error!("{text}"),
        "warning" => tracing::warn!("{text}"),
        _ => tracing::info!("{text}"),
    });
}

/// Has this process asked to stop when process `parent`, which started it, ends in whatever way;
/// false if that has ended already.
///
/// # Errors
/// `OSError`, if the system cannot.
#[pyfunction]
pub(crate) fn tie_to_parent(parent: i32) -> PyResult<bool> {
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from)?;
    Ok(getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent))
}
