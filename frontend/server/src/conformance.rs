//! `skysail conformance`: holds a container program in any language to the protocol.
//!
//! `skysail-conformance` plays; here flags are read and its table printed. Its containers are
//! started through this executable again, as `exec-under`, so that none outlives it.
//!
//! Exit status: 0 everything passed or was skipped with a reason; 1 something failed; 2 the command
//! line is wrong; 130 interrupted.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use skysail_conformance::report::{self, Sums, Table};
use skysail_conformance::{Case, Played, Program, Suite, Transport, select};
use tokio::signal::unix::{SignalKind, signal};

use crate::console::{note, print, usage};

/// The executable that runs now, also where its file was replaced since.
const THIS_EXECUTABLE: &str = "/proc/self/exe";
const GUARD_COMMAND: &str = "exec-under";
/// What a shell answers for a command that it cannot run.
const EXIT_CANNOT_START: u8 = 127;
/// Exit status of a run that was interrupted.
const INTERRUPTED: u8 = 130;

const EXAMPLES: &str = "\
Examples:
  skysail conformance -- python3 suite.py
  skysail conformance --transport tcp --only golden -- java -jar suite.jar
  skysail conformance --only exception --only leave --patience 5 -- ./suite
  skysail conformance --list

COMMAND is started as often as the cases need, each time with --rpc ENDPOINT --model NAME --version 1
--slots 2 behind its arguments, over tcp with --token-file FILE, and in two cases with --path DIR. It
serves the model that --model names; container-sdk/conformance/README.md defines them. A case passes,
fails, or is skipped: over shared memory also where the container asks for none. The last lines that
a container wrote are shown where it fails.";

/// `conformance`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How containers are connected: shm, ipc, tcp
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "shm,ipc,tcp"
    )]
    transport: Vec<Transport>,
    /// Play this case, or this group of cases, only; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// List the cases and play none
    #[arg(long)]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Time that a case has for its container
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: u64,
    /// The container program and its arguments
    #[arg(last = true, num_args = 1.., value_name = "COMMAND", required_unless_present = "list")]
    command: Vec<OsString>,
}

/// `suite-container`.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub(crate) struct ContainerArgs {
    #[command(flatten)]
    options: skysail_container::Options,
}

impl Args {
    /// Plays the cases and prints what came of them.
    ///
    /// # Errors
    /// One for [`report`](crate::console::report).
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let cases = select(&self.only).map_err(usage)?;
        if self.list {
            print(&listed(&cases, self.json));
            return Ok(ExitCode::SUCCESS);
        }
        let guard = [THIS_EXECUTABLE, GUARD_COMMAND].map(OsString::from);
        let parent = OsString::from(std::process::id().to_string());
        let program = Program::find(self.command).map_err(usage)?;
        let program = program.with_guard(guard.into_iter().chain([parent]).collect());
        let (command, patience) = (program.told(), Duration::from_secs(self.patience));
        let suite = Suite::new(program, cases, self.transport, patience);
        // In this thread: the kernel ends containers with the thread that has started them.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let played = runtime.block_on(play(&suite, self.json))?;
        let Some(played) = played else {
            note("skysail: interrupted");
            return Ok(ExitCode::from(INTERRUPTED));
        };
        let sums = Sums::of(&played);
        if self.json {
            print(&report::json(&command, &played).to_string());
        } else {
            print(&sums.line(played.len()));
        }
        Ok(ExitCode::from(u8::from(sums.failed > 0)))
    }
}

/// All cases, with a row for each as it ends; `None` if a signal came.
async fn play(suite: &Suite, json: bool) -> std::io::Result<Option<Vec<Played>>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let table = Table::of(suite);
    if !json {
        print(&table.heading());
    }
    let told = |played: &Played| {
        if !json {
            print(&table.row(played));
        }
    };
    tokio::select! {
        played = suite.run(told) => Ok(Some(played)),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}

fn listed(cases: &[Case], json: bool) -> String {
    if json {
        let case = |case: &Case| {
            let Case {
                name,
                clause,
                group,
                shows,
                ..
            } = case;
            json!({ "name": name, "group": group, "clause": clause, "shows": shows })
        };
        return json!({ "cases": cases.iter().map(case).collect::<Vec<_>>() }).to_string();
    }
    let mut table = crate::cli::render::Table::new(["CASE", "GROUP", "CLAUSE", "HOLDS"]);
    for case in cases {
        let Case {
            name,
            clause,
            group,
            shows,
            ..
        } = case;
        table.row([
            name.clone(),
            (*group).to_owned(),
            clause.clone(),
            shows.clone(),
        ]);
    }
    table.or("no cases").trim_end().to_owned()
}

impl ContainerArgs {
    /// Serves until the front end sends it away or a signal comes.
    ///
    /// # Errors
    /// If the suite has no such model.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let status = skysail_examples::suite::run(&self.options);
        status
            .map(ExitCode::from)
            .map_err(|error| usage(anyhow::anyhow!(error)))
    }
}

/// Becomes `command`, to end with the process `parent`; returns only where that fails.
pub(crate) fn exec(parent: u32, command: &[OsString]) -> ExitCode {
    let error = skysail_conformance::exec_under(parent, command);
    let name = command.first().map(|name| name.to_string_lossy());
    note(&format!(
        "cannot start {}: {error}",
        name.unwrap_or_default()
    ));
    ExitCode::from(EXIT_CANNOT_START)
}
