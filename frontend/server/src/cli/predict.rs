//! `skysail predict`

use serde_json::Value;

use super::client::Client;
use super::render::{cell, items};
use super::{Common, Outcome, Printed, parse};

/// `predict`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skysail predict digits '[0, 1.5, 3]'
  skysail predict spam 'win a prize now'
  skysail predict digits '[0, 1.5, 3]' --version 2

The exit status is 0 also where the application's default is the answer; --json tells which.")]
pub(crate) struct Predict {
    /// The application
    application: String,
    /// The input: JSON, or a bare string
    #[arg(allow_hyphen_values = true)]
    input: String,
    /// Ask this version of the linked model, not the one that answers
    #[arg(long)]
    version: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Predict {
    pub(super) fn run(&self, client: &Client) -> Outcome {
        let status = client.get("status")?.value;
        let is_it = |one: &&Value| one["name"] == self.application.as_str();
        let application = items(&status["applications"]).iter().find(is_it);
        let input_type = application.and_then(|one| one["input_type"].as_str());
        let query = cell(&status["query"]);
        let answer = client.query(&query, &self.application, self.body(input_type))?;
        Ok(Printed {
            text: text(&answer.value),
            json: answer.text,
        })
    }

    fn body(&self, input_type: Option<&str>) -> String {
        let input = parse::input(&self.input, input_type);
        match &self.version {
            Some(version) => {
                format!(
                    "{{\"input\":{input},\"version\":{}}}",
                    Value::from(version.as_str())
                )
            }
            None => format!("{{\"input\":{input}}}"),
        }
    }
}

/// The output, and on a line of its own what made it.
fn text(answer: &Value) -> String {
    let output = &answer["output"];
    let output = output
        .as_str()
        .map_or_else(|| output.to_string(), str::to_owned);
    if answer["default"] == true {
        let why = cell(&answer["default_explanation"]);
        let cause = cell(&answer["default_cause"]);
        return format!("{output}\nthis is the application's default ({cause}): {why}\n");
    }
    let id = |one: &Value| format!("{}:{}", cell(&one["name"]), cell(&one["version"]));
    let models: Vec<_> = items(&answer["models"]).iter().map(id).collect();
    format!("{output}\npredicted by {}\n", models.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tells_a_default_from_a_prediction() {
        let prediction = json!({
            "query_id": 1, "output": [1.5, 2], "default": false,
            "models": [{ "name": "m", "version": "1", "voted": true }],
        });
        assert_eq!(text(&prediction), "[1.5,2]\npredicted by m:1\n");
        let default = json!({
            "query_id": 1, "output": "none", "default": true,
            "default_explanation": "No connected models found for query",
            "default_cause": "no_replica",
        });
        assert_eq!(
            text(&default),
            "none\nthis is the application's default (no_replica): No connected models found for \
             query\n"
        );
    }
}
