//! The verbs that talk to a running front end.
//!
//! They use its APIs and nothing else, so that whatever they do a script can do too: that of
//! management, and `predict` that of queries.
//! Each takes `--json`, which prints the API's own answer; without it they print for people.
//!
//! Exit status: 0 done; 1 the front end refused, failed or cannot be reached; 2 the command line is
//! wrong.

mod applications;
mod client;
mod deployments;
mod explain;
pub(crate) mod load;
mod models;
pub(crate) mod parse;
mod place;
mod predict;
mod ready;
pub(crate) mod render;
mod status;
pub(crate) mod top;
mod trust;
mod tune;

use std::io::{self, Write};
use std::process::ExitCode;

use skysail_api::Frontend;

use crate::console::usage;
use client::{CliError, Client};
use place::Where;

/// A verb that talks to a running front end.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ClientCommand {
    /// Register applications, and link them to models
    #[command(subcommand, name = "app")]
    Application(applications::Command),
    /// Register models and versions, and choose the version that answers
    #[command(subcommand)]
    Model(models::Command),
    /// Have replicas of a version run, and keep them running
    Deploy(deployments::Deploy),
    /// Change how many replicas of a version run
    Scale(deployments::Scale),
    /// Show the ends of the logs of deployed replicas
    Logs(deployments::Logs),
    /// Show what is registered, connected and running
    Status(status::Status),
    /// Say whether the front end wants clients, by the exit status too; needs no token
    Ready(ready::Ready),
    /// Ask an application for a prediction
    Predict(Box<predict::Predict>),
    /// Say what an application's models bear, and which knob would change it
    Tune(tune::Tune),
}

/// What every verb takes.
#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    place: Where,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

/// What a verb prints on success.
struct Printed {
    /// The API's own answer.
    json: String,
    /// The same for people.
    text: String,
}

type Outcome = Result<Printed, CliError>;

impl ClientCommand {
    /// Carries the verb out and prints what came of it.
    ///
    /// # Errors
    /// One for [`report`](crate::console::report).
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let common = self.common();
        let outcome = self.client().and_then(|client| self.carry_out(&client));
        let printed = outcome.map_err(told)?;
        write_lines(if common.json {
            &printed.json
        } else {
            &printed.text
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// A client of the port that the verb needs.
    fn client(&self) -> Result<Client, CliError> {
        match self {
            ClientCommand::Predict(command) => command.client(),
            other => Client::connect(&other.common().place),
        }
    }

    fn common(&self) -> &Common {
        match self {
            ClientCommand::Application(command) => command.common(),
            ClientCommand::Model(command) => command.common(),
            ClientCommand::Deploy(command) => &command.common,
            ClientCommand::Scale(command) => &command.common,
            ClientCommand::Logs(command) => &command.common,
            ClientCommand::Status(command) => &command.common,
            ClientCommand::Ready(command) => &command.common,
            ClientCommand::Predict(command) => &command.common,
            ClientCommand::Tune(command) => &command.common,
        }
    }

    fn carry_out(&self, client: &Client) -> Outcome {
        match self {
            ClientCommand::Application(command) => command.run(client),
            ClientCommand::Model(command) => command.run(client),
            ClientCommand::Deploy(command) => command.run(client),
            ClientCommand::Scale(command) => command.run(client),
            ClientCommand::Logs(command) => command.run(client),
            ClientCommand::Status(command) => command.run(client),
            ClientCommand::Ready(command) => command.run(client),
            ClientCommand::Predict(command) => command.run(client),
            ClientCommand::Tune(command) => command.run(client),
        }
    }
}

/// An error for [`report`](crate::console::report).
fn told(error: CliError) -> anyhow::Error {
    match error {
        CliError::Usage(_) => usage(error),
        other => other.into(),
    }
}

/// What `skysail status` prints about this front end.
pub(crate) fn status_text(frontend: &Frontend) -> String {
    status::text(&skysail_api::management::status(frontend))
}

/// Prints a text as lines. Where the reader went away, as `head` does, that is no error.
fn write_lines(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let ending = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    match write!(out, "{text}{ending}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Names as one segment of a path.
fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
