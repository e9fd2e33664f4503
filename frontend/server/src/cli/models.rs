//! `skysail model …`

use std::time::Duration;

use serde_json::{Map, Value, json};
use skysail_load::Method;

use super::client::{CliError, Client};
use super::explain::Explain;
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
    Add(Box<Add>),
    /// List models and versions
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a model and its versions
    Show(Named),
    /// Explain how a model stands and why its last batches were as they were
    Explain(Explain),
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
    /// Asking a query twice does harm: none is, also if its replica is lost
    #[arg(long)]
    not_idempotent: bool,
    #[command(flatten)]
    common: Common,
}

/// How batches are sized.
#[derive(Debug, clap::Args)]
struct Batching {
    /// adaptive goes by deadlines and learned latency; aimd is Clipper's rule; fixed waits for a
    /// number of rows
    #[arg(long, value_name = "POLICY", default_value = "adaptive", value_parser = ["adaptive", "aimd", "fixed"])]
    batching: String,
    /// Rows of a batch: the number for fixed, else the most
    #[arg(long, value_name = "ROWS", required_if_eq("batching", "fixed"))]
    batch_size: Option<u32>,
    /// How long a fixed batch waits to fill
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    batch_wait: Option<Duration>,
    /// Share of the answers that may be late (adaptive; default 0.009)
    #[arg(long, value_name = "SHARE", value_parser = parse::share)]
    late_budget: Option<f64>,
    /// Most time that a query waits for company, as a share of its objective (adaptive; default
    /// 0.5)
    #[arg(long, value_name = "SHARE", value_parser = parse::share)]
    wait_share: Option<f64>,
    /// Share of the rows that may be asked of two replicas (adaptive; default 0.05)
    #[arg(long, value_name = "SHARE", value_parser = parse::share)]
    hedge_share: Option<f64>,
    /// Sizes that the model has compiled shapes for, ascending (adaptive)
    #[arg(long, value_name = "ROWS,…", value_delimiter = ',')]
    allowed_sizes: Vec<u32>,
    /// In what queries are measured where rows differ in length: rows, elements (as tokens are)
    /// or bytes (adaptive; default rows)
    #[arg(long, value_name = "UNIT", value_parser = ["rows", "elements", "bytes"])]
    cost: Option<String>,
    /// Known latency to start from: time of a batch, and of each row or other unit of --cost
    /// (adaptive)
    #[arg(long, value_name = "TIME,TIME", value_delimiter = ',', value_parser = parse::duration, num_args = 1)]
    profile: Vec<Duration>,
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
            Command::Explain(explain) => &explain.common,
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
            Command::Explain(explain) => explain.run(client),
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
            "idempotent": !self.not_idempotent,
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
        let knobs = self.knobs()?;
        if let Some(knob) = knobs.keys().next().filter(|_| self.batching != "adaptive") {
            let knob = knob.replace('_', "-");
            let text = format!("--{knob} needs --batching adaptive");
            return Err(CliError::Usage(text));
        }
        if self.batching == "fixed" {
            let wait_micros = wait_micros.unwrap_or(0);
            return Ok(json!({
                "policy": "fixed", "size": self.batch_size, "wait_micros": wait_micros,
            }));
        }
        if wait_micros.is_some() {
            let text = "--batch-wait needs --batching fixed: other batches do not wait to fill";
            return Err(CliError::Usage(text.to_owned()));
        }
        let mut body = json!({ "policy": self.batching, "size_max": self.batch_size });
        if let Value::Object(body) = &mut body {
            body.extend(knobs);
        }
        Ok(body)
    }

    /// The knobs of adaptive batching that were given.
    fn knobs(&self) -> Result<Map<String, Value>, CliError> {
        let mut knobs = Map::new();
        let shares = [
            ("late_budget", self.late_budget),
            ("wait_share", self.wait_share),
            ("hedge_share", self.hedge_share),
        ];
        let given = shares
            .into_iter()
            .filter_map(|(name, share)| Some((name, share?)));
        knobs.extend(given.map(|(name, share)| (name.to_owned(), json!(share))));
        if !self.allowed_sizes.is_empty() {
            knobs.insert("allowed_sizes".to_owned(), json!(self.allowed_sizes));
        }
        if let Some(cost) = &self.cost {
            knobs.insert("cost".to_owned(), json!(cost));
        }
        match self.profile[..] {
            [] => {}
            [alpha, beta] => {
                let micros = |time: Duration| time.as_secs_f64() * 1e6;
                let profile = json!({ "alpha_micros": micros(alpha), "beta_micros": micros(beta) });
                knobs.insert("profile".to_owned(), profile);
            }
            _ => {
                let text = "--profile takes two times: of a batch, and of each row, as in 5ms,1ms";
                return Err(CliError::Usage(text.to_owned()));
            }
        }
        Ok(knobs)
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
