//! `skysail app …`

use std::time::Duration;

use serde_json::{Value, json};
use skysail_load::Method;

use super::client::{Answer, CliError, Client};
use super::render::{Table, cell, items, time};
use super::{Common, Outcome, Printed, parse, segment};

/// Verbs of applications.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Register an application
    #[command(after_help = "Examples:
  skysail app add digits --input floats --features 64 --slo 20ms --default -1
  skysail app add spam --input strings --slo 50ms --default unknown --link spam-filter")]
    Add(Add),
    /// List applications
    #[command(visible_alias = "ls")]
    List(List),
    /// Show an application
    Show(Named),
    /// Remove an application; queries to it are refused from then on
    #[command(visible_alias = "rm")]
    Remove(Named),
    /// Link an application to a model, whose current version then answers it
    #[command(after_help = "Example:\n  skysail app link digits digits-mlp")]
    Link(Link),
    /// Remove the link of an application to a model
    #[command(after_help = "Example:\n  skysail app unlink digits digits-mlp")]
    Unlink(Link),
}

/// `app add`.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// Its name, which is its path on the query port
    name: String,
    /// What a query brings: integers, floats, doubles, strings or bytes
    #[arg(long, value_name = "TYPE")]
    input: String,
    /// Time from the last byte of a query to its answer: 500us, 20ms, 1.5s
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    slo: Duration,
    /// Queries a second that are served before those of other applications under overload
    #[arg(long, value_name = "RATE", value_parser = parse::rate)]
    guarantee: Option<f64>,
    /// The answer where there is no prediction in time
    #[arg(long, value_name = "OUTPUT", allow_hyphen_values = true)]
    default: String,
    /// Elements of every query, if they are all alike
    #[arg(long, value_name = "N")]
    features: Option<u32>,
    /// Link it to this model at once
    #[arg(long, value_name = "MODEL")]
    link: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// `app list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    common: Common,
}

/// `app show`, `app remove`.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// The application
    name: String,
    #[command(flatten)]
    common: Common,
}

/// `app link`, `app unlink`.
#[derive(Debug, clap::Args)]
pub(crate) struct Link {
    /// The application
    name: String,
    /// The model
    model: String,
    #[command(flatten)]
    common: Common,
}

impl Command {
    pub(super) fn common(&self) -> &Common {
        match self {
            Command::Add(add) => &add.common,
            Command::List(list) => &list.common,
            Command::Show(named) | Command::Remove(named) => &named.common,
            Command::Link(link) | Command::Unlink(link) => &link.common,
        }
    }

    pub(super) fn run(&self, client: &Client) -> Outcome {
        match self {
            Command::Add(add) => add.run(client),
            Command::List(_) => {
                let answer = client.get("applications")?;
                let text = table(&answer.value).or("no applications");
                Ok(Printed {
                    json: answer.text,
                    text,
                })
            }
            Command::Show(named) => Ok(shown(client.get(&path(&named.name))?)),
            Command::Remove(named) => {
                let answer = client.call(Method::DELETE, &path(&named.name), None)?;
                let text = format!("removed application '{}'", named.name);
                Ok(Printed {
                    json: answer.text,
                    text,
                })
            }
            Command::Link(link) => link.run(client, Method::PUT, "linked", "to"),
            Command::Unlink(link) => link.run(client, Method::DELETE, "unlinked", "from"),
        }
    }
}

impl Add {
    fn run(&self, client: &Client) -> Outcome {
        let body = json!({
            "name": self.name, "input_type": self.input, "features": self.features,
            "latency_slo_micros": parse::micros(self.slo), "default_output": self.default,
            "guarantee": self.guarantee,
        });
        let mut answer = client.call(Method::POST, "applications", Some(&body))?;
        let mut text = format!("added application '{}'", self.name);
        if let Some(model) = &self.link {
            answer = self.link(client, model)?;
            text = format!("{text}, linked to model '{model}'");
        }
        Ok(Printed {
            json: answer.text,
            text,
        })
    }

    /// Takes the application back where the link is refused: all or nothing.
    fn link(&self, client: &Client, model: &str) -> Result<Answer, CliError> {
        let linked = link(client, Method::PUT, &self.name, model);
        linked.map_err(
            |error| match client.call(Method::DELETE, &path(&self.name), None) {
                Ok(_) => error,
                Err(_) => CliError::Refused(format!(
                    "application '{}' was added, but not linked: {error}",
                    self.name
                )),
            },
        )
    }
}

impl Link {
    fn run(&self, client: &Client, method: Method, done: &str, to: &str) -> Outcome {
        let answer = link(client, method, &self.name, &self.model)?;
        let text = format!(
            "{done} application '{}' {to} model '{}'",
            self.name, self.model
        );
        Ok(Printed {
            json: answer.text,
            text,
        })
    }
}

fn link(client: &Client, method: Method, name: &str, model: &str) -> Result<Answer, CliError> {
    client.call(
        method,
        &format!("{}/links", path(name)),
        Some(&json!({ "models": [model] })),
    )
}

fn path(name: &str) -> String {
    format!("applications/{}", segment(name))
}

fn shown(answer: Answer) -> Printed {
    let text = table(&Value::Array(vec![answer.value])).or("");
    Printed {
        json: answer.text,
        text,
    }
}

/// Applications as a table.
pub(super) fn table(applications: &Value) -> Table {
    let mut table = Table::new([
        "APPLICATION",
        "INPUT",
        "FEATURES",
        "SLO",
        "DEFAULT",
        "MODELS",
        "SERVING",
    ]);
    for one in items(applications) {
        let serving = &one["serving"];
        table.row([
            cell(&one["name"]),
            cell(&one["input_type"]),
            cell(&one["features"]),
            time(&one["latency_slo_micros"]),
            cell(&one["default_output"]),
            cell(&one["linked_models"]),
            match serving {
                Value::Null => "-".to_owned(),
                _ => format!("{}:{}", cell(&serving["model"]), cell(&serving["version"])),
            },
        ]);
    }
    table
}
