//! `skysail deploy`, `scale` and `logs`.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use skysail_load::Method;

use super::client::{CliError, Client};
use super::models::path;
use super::render::{cell, items};
use super::{Common, Outcome, Printed, segment};

/// `deploy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skysail deploy --model digits --version 1 --input floats --replicas 2 -- ./digits-container
  skysail deploy --model noop --version 1 -- python3 noop.py --verbose

The replicas are told what they serve in SKYSAIL_RPC, SKYSAIL_MODEL, SKYSAIL_VERSION and
SKYSAIL_TOKEN_FILE. They are started again when they end, and when the front end is started again.")]
pub(crate) struct Deploy {
    /// The model
    #[arg(long)]
    model: String,
    /// The version
    #[arg(long)]
    version: String,
    /// How many replicas run
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: u32,
    /// Register the version first if need be, with this input type
    #[arg(long, value_name = "TYPE")]
    input: Option<String>,
    /// Program and arguments of a replica
    #[arg(last = true, required = true, value_name = "PROGRAM ARGS")]
    command: Vec<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `scale`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  skysail scale digits 4\n  skysail scale digits 0 --version 1")]
pub(crate) struct Scale {
    /// The model
    model: String,
    /// How many replicas run
    replicas: u32,
    /// The version, if not the current one
    #[arg(long)]
    version: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// `logs`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  skysail logs digits\n  skysail logs digits --version 1 --replica 0 --lines 500"
)]
pub(crate) struct Logs {
    /// The model
    model: String,
    /// The version, if not the current one
    #[arg(long)]
    version: Option<String>,
    /// One replica, by its number from 0; all of them if not given
    #[arg(long, value_name = "N")]
    replica: Option<u32>,
    /// Lines of each replica
    #[arg(long, value_name = "N", default_value_t = 100)]
    lines: usize,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Deploy {
    pub(super) fn run(&self, client: &Client) -> Outcome {
        let added = self.register(client)?;
        let command = command(&self.command)?;
        let body = json!({ "replicas": self.replicas, "command": command });
        let path = format!(
            "{}/versions/{}/deployment",
            path(&self.model),
            segment(&self.version)
        );
        let answer = client
            .call(Method::PUT, &path, Some(&body))
            .map_err(|error| match error {
                CliError::Refused(why) if added => CliError::Refused(format!(
                    "{why} (the version was registered, but not deployed)"
                )),
                other => other,
            })?;
        let replicas = counted(self.replicas);
        let text = format!(
            "deployed {replicas} of model '{}' version '{}'; `skysail status` shows them",
            self.model, self.version
        );
        Ok(Printed {
            json: answer.text,
            text,
        })
    }

    /// Registers the version where `--input` allows it; says whether it did.
    fn register(&self, client: &Client) -> Result<bool, CliError> {
        let model = client.find(&path(&self.model))?;
        let is_it = |one: &&Value| one["version"] == self.version.as_str();
        let versions = model.as_ref().map(|model| items(&model.value["versions"]));
        let found = versions.and_then(|versions| versions.iter().find(is_it));
        match (found, &self.input) {
            (Some(_), None) => Ok(false),
            (Some(version), Some(input)) => self.check_input(&version["input_type"], input),
            (None, None) => Err(CliError::Refused(format!(
                "model '{}' has no version '{}'; give --input TYPE to register it, or use \
                 `skysail model add` first",
                self.model, self.version
            ))),
            (None, Some(input)) => {
                let body =
                    json!({ "model": self.model, "version": self.version, "input_type": input });
                client
                    .call(Method::POST, "models", Some(&body))
                    .map(|_| true)
            }
        }
    }

    fn check_input(&self, registered: &Value, asked: &str) -> Result<bool, CliError> {
        let asked_type = asked
            .parse::<skysail_core::InputType>()
            .map_err(CliError::Usage)?;
        if registered == asked_type.name() {
            return Ok(false);
        }
        Err(CliError::Refused(format!(
            "model '{}' version '{}' is registered with input type {}, not {asked_type}; leave \
             --input out, or choose another version",
            self.model,
            self.version,
            cell(registered)
        )))
    }
}

/// The command as the front end runs it. A program that is given by a path is meant from here, and
/// the front end may stand elsewhere.
fn command(given: &[String]) -> Result<Vec<String>, CliError> {
    let mut command = given.to_vec();
    let Some(program) = command.first_mut().filter(|program| program.contains('/')) else {
        return Ok(command);
    };
    let absolute = std::path::absolute(Path::new(program.as_str()));
    let absolute = absolute
        .ok()
        .and_then(|path| path.to_str().map(str::to_owned));
    *program = absolute
        .ok_or_else(|| CliError::Usage(format!("program '{program}' has no absolute path")))?;
    Ok(command)
}

impl Scale {
    pub(super) fn run(&self, client: &Client) -> Outcome {
        let body = json!({ "replicas": self.replicas, "version": self.version });
        let path = format!("{}/deployment", path(&self.model));
        let answer = client.call(Method::PATCH, &path, Some(&body))?;
        let version = cell(&answer.value["version"]);
        let replicas = counted(self.replicas);
        let text = format!(
            "scaled model '{}' version '{version}' to {replicas}",
            self.model
        );
        Ok(Printed {
            json: answer.text,
            text,
        })
    }
}

impl Logs {
    pub(super) fn run(&self, client: &Client) -> Outcome {
        let answer = client.get(&self.path())?;
        let text = tails(&answer.value["replicas"]);
        Ok(Printed {
            json: answer.text,
            text,
        })
    }

    fn path(&self) -> String {
        let mut text = format!("{}/logs?lines={}", path(&self.model), self.lines);
        if let Some(version) = &self.version {
            text = format!("{text}&version={}", segment(version));
        }
        if let Some(replica) = self.replica {
            text = format!("{text}&replica={replica}");
        }
        text
    }
}

/// Logs one after the other, with a title where there are several.
fn tails(replicas: &Value) -> String {
    let replicas = items(replicas);
    let mut text = String::new();
    for one in replicas {
        if replicas.len() > 1 {
            let gap = if text.is_empty() { "" } else { "\n" };
            // A string takes everything.
            let _ = writeln!(text, "{gap}==> replica {} <==", cell(&one["replica"]));
        }
        for line in items(&one["lines"]) {
            let _ = writeln!(text, "{}", line.as_str().unwrap_or_default());
        }
    }
    text
}

fn counted(replicas: u32) -> String {
    match replicas {
        1 => "1 replica".to_owned(),
        count => format!("{count} replicas"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_given_by_a_path_is_meant_from_here() {
        let of = |program: &str| command(&[program.to_owned(), "./x".to_owned()]).expect("a path");
        assert_eq!(of("python3"), ["python3", "./x"]);
        assert_eq!(of("/bin/true"), ["/bin/true", "./x"]);
        let here = std::env::current_dir().expect("a directory").join("a/b");
        assert_eq!(of("./a/b"), [here.to_str().expect("UTF-8"), "./x"]);
    }

    #[test]
    fn several_logs_have_titles() {
        let one = json!([{ "replica": 0, "lines": ["a", "b"] }]);
        assert_eq!(tails(&one), "a\nb\n");
        let two = json!([{ "replica": 0, "lines": ["a"] }, { "replica": 3, "lines": [] }]);
        assert_eq!(tails(&two), "==> replica 0 <==\na\n\n==> replica 3 <==\n");
    }
}
