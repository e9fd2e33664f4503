//! `skysail predict`: one query, or a batch, by Clipper's API or by the Open Inference Protocol V2.
//!
//! Without `--query` the management port says where queries go and what the application takes,
//! which needs the scope `admin`; with it the query port is asked alone, and V2's metadata says
//! what the models take.

mod clipper;
mod v2;

use std::io::Read;
use std::time::Duration;

use serde_json::Value;
use skysail_load::Request;

use super::client::{CliError, Client, built};
use super::place::Place;
use super::render::{cell, items};
use super::{Common, Outcome, Printed, parse, segment};

const HELP: &str = "\
Examples:
  skysail predict digits '[0, 1.5, 3]'
  skysail predict spam 'win a prize now' --timeout 5ms --explain
  skysail predict digits '[0, 1.5, 3]' --version 2 --no-cache
  skysail predict digits @image.json
  printf '[0,1]\\n[2,3]\\n' | skysail predict digits - --batch
  skysail predict pair '{\"x\": [1, 2], \"name\": \"a\"}' --protocol v2
  skysail predict digits '[1]' --query https://skysail.example:1337 --token-file asker

INPUT is JSON or a bare string; @FILE and - read it from a file or standard input. A string that
begins so is written as JSON: '\"@home\"'. With --batch each of its lines is an input.
With --protocol v2 it is an object of named tensors, each a row as JSON; a model of one input takes
the row itself. It may name a model in place of an application.

Without --query the management port is asked first, which takes a token of scope admin where the
front end wants one; with --query a token of scope query will do.

The exit status is 0 also where the application's default is the answer; --json tells which.";

/// `predict`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Predict {
    /// The application
    application: String,
    /// The input: JSON, a bare string, @FILE, or - for standard input
    #[arg(allow_hyphen_values = true)]
    input: String,
    /// Ask this version of the linked model, not the one that answers
    #[arg(long)]
    version: Option<String>,
    /// Each line of INPUT that is not empty is an input; they are sent as one request
    #[arg(long)]
    batch: bool,
    /// Answer within this time, where that is less than the objective
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    timeout: Option<Duration>,
    /// Ask the model anew whatever the cache has
    #[arg(long)]
    no_cache: bool,
    /// From 2 on others go first under pressure; 1 is the highest
    #[arg(long, value_name = "N")]
    priority: Option<u64>,
    /// Tell how the answer came about
    #[arg(long)]
    explain: bool,
    /// Whose query it is
    #[arg(long, value_name = "UID")]
    uid: Option<String>,
    /// The API to ask by
    #[arg(long, value_enum, default_value = "clipper")]
    protocol: Protocol,
    /// Query port of the front end, to be asked alone; https://HOST:PORT where it has TLS
    #[arg(long, value_name = "URL|ADDR", conflicts_with_all = ["management", "data_dir"])]
    query: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// An API of the query port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// Clipper's: POST /APP/predict
    Clipper,
    /// The Open Inference Protocol: POST /v2/models/APP/infer
    V2,
}

/// Where queries go, and the application's input type if it is known.
struct Target {
    query: Place,
    input_type: Option<String>,
}

impl Predict {
    /// A client of the query port if that is named, else of the management port.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        let place = &self.common.place;
        match &self.query {
            Some(query) => Client::of_query_port(query, place),
            None => Client::connect(place),
        }
    }

    pub(super) fn run(&self, client: &Client) -> Outcome {
        let inputs = self.inputs()?;
        match self.protocol {
            Protocol::Clipper => {
                let target = self.target(client)?;
                let body = self.clipper_body(&inputs, target.input_type.as_deref())?;
                let path = format!("/{}/predict", segment(&self.application));
                let request = built(Request::post_json(&path, body))?;
                let answer = client.ask(&target.query, request)?;
                Ok(Printed {
                    text: clipper::text(&answer.value),
                    json: answer.text,
                })
            }
            Protocol::V2 => self.run_v2(client, &inputs),
        }
    }

    fn run_v2(&self, client: &Client, inputs: &[Input]) -> Outcome {
        let query = match &self.query {
            Some(_) => client.place().clone(),
            None => client.query_place(&cell(&client.get("status")?.value["query"]))?,
        };
        let path = self.v2_path();
        let metadata = built(Request::get(&path))?;
        let metadata = client.ask(&query, metadata)?.value;
        let mut body = v2::body(&metadata["inputs"], inputs)?;
        body["parameters"] = self.options(|option| option.v2);
        let request = Request::post_json(&format!("{path}/infer"), body.to_string());
        let answer = client.ask(&query, built(request)?)?;
        Ok(Printed {
            text: v2::text(&answer.value),
            json: answer.text,
        })
    }

    fn v2_path(&self) -> String {
        let path = format!("/v2/models/{}", segment(&self.application));
        match &self.version {
            Some(version) => format!("{path}/versions/{}", segment(version)),
            None => path,
        }
    }

    /// What is asked of the query port alone has the input type only where metadata tell strings.
    fn target(&self, client: &Client) -> Result<Target, CliError> {
        if self.query.is_some() {
            let query = client.place().clone();
            let metadata = client.learn(&query, &self.v2_path())?;
            let input_type = metadata.filter(|found| v2::takes_text(&found.value["inputs"]));
            return Ok(Target {
                query,
                input_type: input_type.map(|_| "strings".to_owned()),
            });
        }
        let status = client.get("status")?.value;
        let is_it = |one: &&Value| one["name"] == self.application.as_str();
        let application = items(&status["applications"]).iter().find(is_it);
        let input_type = application.and_then(|one| one["input_type"].as_str());
        Ok(Target {
            query: client.query_place(&cell(&status["query"]))?,
            input_type: input_type.map(str::to_owned),
        })
    }

    fn inputs(&self) -> Result<Vec<Input>, CliError> {
        let text = read(&self.input)?;
        if !self.batch {
            return Ok(vec![Input { text, line: 1 }]);
        }
        let lines = text.lines().zip(1..);
        let lines = lines.filter(|(line, _)| !line.trim().is_empty());
        let inputs: Vec<_> = lines
            .map(|(text, line)| Input {
                text: text.to_owned(),
                line,
            })
            .collect();
        match inputs.is_empty() {
            true => Err(CliError::Usage("--batch: INPUT has no lines".to_owned())),
            false => Ok(inputs),
        }
    }

    fn clipper_body(&self, inputs: &[Input], input_type: Option<&str>) -> Result<String, CliError> {
        // Numbers stay as they were written.
        let inputs = inputs.iter().map(|input| {
            let text = parse::input(&input.text, input_type);
            text.map_err(|error| input.broken(&error))
        });
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?.join(",");
        let mut body = match self.batch {
            true => format!("{{\"input_batch\":[{inputs}]"),
            false => format!("{{\"input\":{inputs}"),
        };
        let mut options = self.options(|option| option.clipper);
        if let Some(version) = &self.version {
            options["version"] = version.as_str().into();
        }
        for (name, value) in options.as_object().into_iter().flatten() {
            body.push_str(&format!(",\"{name}\":{value}"));
        }
        Ok(body + "}")
    }

    /// What is asked for beside the answer, by the names of a protocol.
    fn options(&self, name: impl Fn(&Named) -> &'static str) -> Value {
        let timeout = self.timeout.map(parse::micros);
        let given = [
            (&TIMEOUT, timeout.map(Value::from)),
            (&PRIORITY, self.priority.map(Value::from)),
            (&CACHE, self.no_cache.then(|| false.into())),
            (&EXPLAIN, self.explain.then(|| true.into())),
            (&UID, self.uid.as_deref().map(Value::from)),
        ];
        let given = given
            .into_iter()
            .filter_map(|(option, value)| value.map(|value| (name(option).to_owned(), value)));
        Value::Object(given.collect())
    }
}

/// A text of INPUT.
#[derive(Debug, PartialEq, Eq)]
struct Input {
    text: String,
    /// Where it begins, from 1.
    line: usize,
}

impl Input {
    /// The refusal of what is no JSON.
    fn broken(&self, error: &serde_json::Error) -> CliError {
        CliError::Usage(format!("INPUT is {}", parse::broken(error, self.line)))
    }
}

/// What an option is called.
struct Named {
    clipper: &'static str,
    v2: &'static str,
}

const TIMEOUT: Named = named("timeout_micros", "timeout");
const PRIORITY: Named = named("priority", "priority");
const CACHE: Named = named("cache", "skysail_cache");
const EXPLAIN: Named = named("explain", "skysail_explain");
const UID: Named = named("uid", "skysail_uid");

const fn named(clipper: &'static str, v2: &'static str) -> Named {
    Named { clipper, v2 }
}

/// INPUT, or what the file holds that it names, without the end of its last line.
fn read(input: &str) -> Result<String, CliError> {
    let mut text = String::new();
    let (from, result) = match (input, input.strip_prefix('@')) {
        ("-", _) => {
            let read = std::io::stdin().read_to_string(&mut text);
            ("standard input", read.map(drop))
        }
        (_, Some(file)) => {
            let read = std::fs::read_to_string(file);
            (file, read.map(|all| text = all))
        }
        (literal, None) => return Ok(literal.to_owned()),
    };
    result.map_err(|error| CliError::Usage(format!("INPUT: {from}: {error}")))?;
    let end = text.strip_suffix('\n').map_or(text.len(), str::len);
    text.truncate(end);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        predict: Predict,
    }

    fn predict(words: &[&str]) -> Predict {
        let words = std::iter::once(&"predict").chain(words);
        Line::try_parse_from(words).expect("it parses").predict
    }

    #[test]
    fn options_are_members_of_clippers_body() {
        let all = predict(&[
            "a",
            "[1.50]",
            "--timeout",
            "5ms",
            "--no-cache",
            "--priority",
            "2",
            "--explain",
            "--uid",
            "u7",
            "--version",
            "2",
        ]);
        let inputs = all.inputs().expect("one");
        let body = all.clipper_body(&inputs, Some("doubles")).expect("JSON");
        assert!(body.starts_with("{\"input\":[1.50],"), "{body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(body["timeout_micros"], 5_000);
        assert_eq!(
            (&body["cache"], &body["explain"]),
            (&false.into(), &true.into())
        );
        assert_eq!(
            (&body["uid"], &body["version"]),
            (&"u7".into(), &"2".into())
        );
        let plain = predict(&["a", "5"]);
        let inputs = plain.inputs().expect("one");
        let body = plain.clipper_body(&inputs, None).expect("JSON");
        assert_eq!(body, "{\"input\":[5]}");
    }

    #[test]
    fn an_input_comes_from_the_line_or_a_file_and_a_batch_has_one_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rows");
        std::fs::write(&file, "[1]\n\n[2,3]\n").expect("written");
        let named = format!("@{}", file.display());
        let whole = predict(&["a", &named]).inputs().expect("read");
        assert_eq!(whole[0].text, "[1]\n\n[2,3]");
        let batch = predict(&["a", &named, "--batch"]);
        let rows = batch.inputs().expect("read");
        let body = batch.clipper_body(&rows, Some("doubles")).expect("JSON");
        assert_eq!(body, "{\"input_batch\":[[1],[2,3]]}");
        let negative = predict(&["a", "-5"]).inputs().expect("read");
        assert_eq!(negative[0].text, "-5");
        for wrong in [&["a", "@/nowhere/at/all"][..], &["a", " ", "--batch"]] {
            assert!(predict(wrong).inputs().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_line_of_a_batch_that_is_broken_is_told_by_its_number() {
        let batch = predict(&["a", "[1]\n\n[2,\n[3]", "--batch"]);
        let rows = batch.inputs().expect("three");
        let error = batch.clipper_body(&rows, Some("doubles"));
        let error = error.expect_err("the second is broken").to_string();
        assert!(
            error.starts_with("INPUT is not JSON at line 3, column 3: "),
            "{error}"
        );
    }
}
