//! `skysail model …`

use std::time::Duration;

use serde_json::{Value, json};
use skysail_load::Method;

use super::client::{CliError, Client};
use super::render::{Table, cell, items, time};
use super::{Common, Outcome, Printed, parse, segment};

/// Verbs of models.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Register a version of a model; it becomes the current one
    #[command(after_help = "Examples:
  skysail model add digits-mlp 2 --input floats
  skysail model add digits-mlp 3 --input floats --label nightly \\
      --batching fixed --batch-size 32 --batch-wait 2ms")]
    Add(Add),
    /// List models and versions
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a model and its versions
    Show(Named),
    /// Make a version current: it answers once it has a replica
    #[command(after_help = "Example:\n  skysail model set-version digits-mlp 2")]
    SetVersion(SetVersion),
    /// Make the version before the current one current
    Rollback(Named),
    /// Remove a version, or a model with all of its versions, and stop their replicas
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  skysail model remove digits-mlp 1
  skysail model remove digits-mlp"
    )]
    Remove(Remove),
}

/// `model add`.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// The model
    model: String,
    /// The version: any name
    version: String,
    /// What it takes: integers, floats, doubles, strings or bytes
    #[arg(long, value_name = "TYPE")]
    input: String,
    /// An annotation; may be given several times
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    #[command(flatten)]
    batching: Batching,
    #[command(flatten)]
    common: Common,
}

/// How batches are sized.
#[derive(Debug, clap::Args)]
struct Batching {
    /// adaptive learns the size; fixed waits for a number of rows
    #[arg(long, value_name = "POLICY", default_value = "adaptive", value_parser = ["adaptive", "fixed"])]
    batching: String,
    /// Rows of a batch: the most for adaptive, the number for fixed
    #[arg(long, value_name = "ROWS", required_if_eq("batching", "fixed"))]
    batch_size: Option<u32>,
    /// How long a fixed batch waits to fill
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    batch_wait: Option<Duration>,
}

/// `model list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    common: Common,
}

/// `model show`, `model rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// The model
    model: String,
    #[command(flatten)]
    common: Common,
}

/// `model set-version`.
#[derive(Debug, clap::Args)]
pub(crate) struct SetVersion {
    /// The model
    model: String,
    /// The version
    version: String,
    #[command(flatten)]
    common: Common,
}

/// `model remove`.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// The model
    model: String,
    /// The version; all of them if not given
    version: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Command {
    pub(super) fn common(&self) -> &Common {
        match self {
            Command::Add(add) => &add.common,
            Command::List(list) => &list.common,
            Command::Show(named) | Command::Rollback(named) => &named.common,
            Command::SetVersion(set) => &set.common,
            Command::Remove(remove) => &remove.common,
        }
    }

    pub(super) fn run(&self, client: &Client) -> Outcome {
        match self {
            Command::Add(add) => add.run(client),
            Command::List(_) => {
                let answer = client.get("models")?;
                let text = table(&answer.value).or("no models");
                Ok(Printed {
                    json: answer.text,
                    text,
                })
            }
            Command::Show(named) => {
                let answer = client.get(&path(&named.model))?;
                let text = table(&Value::Array(vec![answer.value])).or("");
                Ok(Printed {
                    json: answer.text,
                    text,
                })
            }
            Command::SetVersion(set) => set.run(client),
            Command::Rollback(named) => named.roll_back(client),
            Command::Remove(remove) => remove.run(client),
        }
    }
}

impl Add {
    fn run(&self, client: &Client) -> Outcome {
        let body = json!({
            "model": self.model, "version": self.version, "input_type": self.input,
            "labels": self.labels, "batching": self.batching.body()?,
        });
        let answer = client.call(Method::POST, "models", Some(&body))?;
        let text = format!(
            "added model '{}' version '{}', now current",
            self.model, self.version
        );
        Ok(Printed {
            json: answer.text,
            text,
        })
    }
}

impl Batching {
    fn body(&self) -> Result<Value, CliError> {
        let wait_micros = self.batch_wait.map(parse::micros);
        if self.batching == "fixed" {
            let wait_micros = wait_micros.unwrap_or(0);
            return Ok(json!({
                "policy": "fixed", "size": self.batch_size, "wait_micros": wait_micros,
            }));
        }
        if wait_micros.is_some() {
            let text = "--batch-wait needs --batching fixed: adaptive batches do not wait to fill";
            return Err(CliError::Usage(text.to_owned()));
        }
        Ok(json!({ "policy": "adaptive", "size_max": self.batch_size }))
    }
}

impl SetVersion {
    fn run(&self, client: &Client) -> Outcome {
        let body = json!({ "version": self.version });
        let path = format!("{}/current", path(&self.model));
        let answer = client.call(Method::PUT, &path, Some(&body))?;
        let text = format!(
            "version '{}' of model '{}' is current",
            self.version, self.model
        );
        Ok(Printed {
            json: answer.text,
            text,
        })
    }
}

impl Named {
    fn roll_back(&self, client: &Client) -> Outcome {
        let path = format!("{}/rollback", path(&self.model));
        let answer = client.call(Method::POST, &path, None)?;
        let version = cell(&answer.value["version"]);
        let text = format!(
            "version '{version}' of model '{}' is current again",
            self.model
        );
        Ok(Printed {
            json: answer.text,
            text,
        })
    }
}

impl Remove {
    fn run(&self, client: &Client) -> Outcome {
        let model = path(&self.model);
        let (path, text) = match &self.version {
            Some(version) => (
                format!("{model}/versions/{}", segment(version)),
                format!("removed version '{version}' of model '{}'", self.model),
            ),
            None => (
                model,
                format!("removed model '{}' with all its versions", self.model),
            ),
        };
        let answer = client.call(Method::DELETE, &path, None)?;
        Ok(Printed {
            json: answer.text,
            text,
        })
    }
}

pub(super) fn path(model: &str) -> String {
    format!("models/{}", segment(model))
}

fn table(models: &Value) -> Table {
    let mut table = Table::new(["MODEL", "VERSION", "CURRENT", "INPUT", "BATCHING", "LABELS"]);
    for model in items(models) {
        for version in items(&model["versions"]) {
            table.row([
                cell(&model["name"]),
                cell(&version["version"]),
                if version["current"] == true {
                    "yes"
                } else {
                    "-"
                }
                .to_owned(),
                cell(&version["input_type"]),
                batching(&version["batching"]),
                cell(&version["labels"]),
            ]);
        }
    }
    table
}

fn batching(batching: &Value) -> String {
    match (batching["policy"].as_str(), batching["size_max"].as_u64()) {
        (Some("fixed"), _) => {
            format!(
                "fixed {} in {}",
                cell(&batching["size"]),
                time(&batching["wait_micros"])
            )
        }
        (Some(policy), Some(most)) => format!("{policy} to {most}"),
        (Some(policy), None) => policy.to_owned(),
        (None, _) => "-".to_owned(),
    }
}
