//! Where requests go and what they hold: an application of Skysail, or any HTTP endpoint.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use skysail_load::{InputKind, RandomInputs, Request};

use super::super::client::{self, CliError, Client};
use super::super::place::{self, Environment, Where};
use super::super::render::{cell, items};
use super::super::{parse, segment};

/// Most features of a random query: what a body of 16 MiB holds.
const FEATURES_MAX: u64 = 1 << 20;

/// Flags that say what is sent where.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Target")]
pub(super) struct TargetArgs {
    /// Query this application of the front end, in Clipper's JSON
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Send to this endpoint, whatever serves it: POST of what --body, --inputs or --features
    /// say, else GET
    #[arg(long, value_name = "http://HOST[:PORT]/PATH")]
    url: Option<String>,
    /// Numbers of a random input, in Clipper's JSON [default: the application's]
    #[arg(long, value_name = "N", conflicts_with_all = ["inputs", "body"],
          value_parser = clap::value_parser!(u64).range(1..=FEATURES_MAX))]
    features: Option<u64>,
    /// Send the lines of this file in turn: each a JSON body, or with --app an input
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    inputs: Option<PathBuf>,
    /// Send the whole of this file as the body of each request
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// Content type of the bodies sent to --url [default: application/json]
    #[arg(long, value_name = "TYPE", conflicts_with = "app", value_parser = content_type)]
    content_type: Option<String>,
}

/// Where requests go and what they hold.
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) url: String,
    /// All but the body.
    pub(super) template: Request,
    /// The application's objective.
    pub(super) slo: Option<Duration>,
    /// Who answers, in words.
    pub(super) server: &'static str,
    content: Content,
}

enum Content {
    /// A `GET`.
    Nothing,
    /// In turn; never empty.
    Listed(Vec<Bytes>),
    Random(InputKind),
}

/// What the front end says about an application.
struct Application {
    address: SocketAddr,
    input_type: String,
    features: Option<u64>,
    slo: Option<Duration>,
}

impl TargetArgs {
    pub(super) fn target(&self, place: &Where) -> Result<Target, CliError> {
        match (&self.app, &self.url) {
            (Some(name), _) => self.application(name, place),
            (None, Some(url)) => self.endpoint(url, place),
            (None, None) => Err(CliError::Usage("give --app or --url".to_owned())),
        }
    }

    fn application(&self, name: &str, place: &Where) -> Result<Target, CliError> {
        let client = Client::connect(place)?;
        if client.place().has_tls() {
            let text = "load sends plain HTTP only, and this front end has TLS; load one without";
            return Err(CliError::Usage(text.to_owned()));
        }
        let found = find(name, &client)?;
        let content = match self.listed(Some(&found.input_type))? {
            Some(bodies) => Content::Listed(bodies),
            None => Content::Random(self.random(name, &found)?),
        };
        let path = format!("/{}/predict", segment(name));
        Ok(Target {
            address: found.address,
            url: format!("http://{}{path}", found.address),
            template: client
                .authorized(Request::post_json(&path, "").map_err(|error| usage(&error))?),
            slo: found.slo,
            server: "the front end and its containers",
            content,
        })
    }

    fn endpoint(&self, url: &str, place: &Where) -> Result<Target, CliError> {
        if place.is_given() {
            let text = "--management and --data-dir are for --app: --url says all by itself";
            return Err(CliError::Usage(text.to_owned()));
        }
        let (authority, path) = split(url)?;
        let address = place::listening(&place::addresses("--url", &authority)?);
        let content = match (self.listed(None)?, self.features) {
            (Some(bodies), _) => Content::Listed(bodies),
            (None, Some(features)) => Content::Random(InputKind::Floats {
                features: features as usize,
            }),
            (None, None) => Content::Nothing,
        };
        let template = match &content {
            Content::Nothing => Request::get(path),
            Content::Listed(_) | Content::Random(_) => Request::post_json(path, ""),
        };
        let template = template.map(|template| template.with_header("host", &authority));
        let mut template = template.map_err(|error| usage(&error))?;
        // The environment's is the front end's, and none of an endpoint's business.
        if let Some(authorization) = place.authorization(&Environment::default())? {
            template = template.with_header("authorization", &authorization);
        }
        if let Some(content_type) = &self.content_type {
            if matches!(content, Content::Nothing) {
                let text = "--content-type needs --body, --inputs or --features";
                return Err(CliError::Usage(text.to_owned()));
            }
            template = template.with_header("content-type", content_type);
        }
        Ok(Target {
            address,
            url: url.to_owned(),
            template,
            slo: None,
            server: "the server and its child processes",
            content,
        })
    }

    /// The bodies of files; `None` where no file is given.
    fn listed(&self, input_type: Option<&str>) -> Result<Option<Vec<Bytes>>, CliError> {
        if let Some(file) = &self.body {
            let body = std::fs::read(file).map_err(|error| unreadable("--body", file, &error))?;
            return Ok(Some(vec![body.into()]));
        }
        let Some(file) = &self.inputs else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|error| unreadable("--inputs", file, &error))?;
        let lines = text.lines().zip(1..);
        let lines = lines.filter(|(line, _)| !line.trim().is_empty());
        let bodies: Result<Vec<Bytes>, _> = match (&self.app, input_type) {
            (Some(_), input_type) => lines
                .map(|(text, line)| {
                    let body = body(text, input_type).map(Bytes::from);
                    body.map_err(|error| {
                        let why = parse::broken(&error, line);
                        CliError::Usage(format!("--inputs: {} is {why}", file.display()))
                    })
                })
                .collect(),
            (None, _) => Ok(lines.map(|(line, _)| line.to_owned().into()).collect()),
        };
        let bodies = bodies?;
        if bodies.is_empty() {
            let text = format!("--inputs: {} has no lines", file.display());
            return Err(CliError::Usage(text));
        }
        Ok(Some(bodies))
    }

    fn random(&self, name: &str, found: &Application) -> Result<InputKind, CliError> {
        let features = self.features.or(found.features);
        let features = features.map(|features| features as usize);
        match (found.input_type.as_str(), features) {
            ("floats" | "doubles", Some(features)) => Ok(InputKind::Floats { features }),
            ("integers", Some(features)) => Ok(InputKind::Integers { features }),
            ("strings" | "bytes", _) if self.features.is_none() => Ok(InputKind::Text),
            ("strings" | "bytes", _) => Err(CliError::Usage(format!(
                "--features is for numbers; application '{name}' takes {}",
                found.input_type
            ))),
            _ => Err(CliError::Usage(format!(
                "application '{name}' does not say how many features it takes: give --features N, \
                 or --inputs FILE"
            ))),
        }
    }
}

impl Target {
    /// How it is sent.
    pub(super) fn method(&self) -> &'static str {
        match self.content {
            Content::Nothing => "GET",
            Content::Listed(_) | Content::Random(_) => "POST",
        }
    }

    /// The bodies of a run.
    pub(super) fn bodies(&self, seed: u64) -> Box<dyn FnMut() -> Bytes + Send> {
        match &self.content {
            Content::Nothing => Box::new(Bytes::new),
            Content::Listed(bodies) => {
                let (bodies, mut next) = (bodies.clone(), 0);
                Box::new(move || {
                    let body = bodies[next].clone();
                    next = (next + 1) % bodies.len();
                    body
                })
            }
            Content::Random(kind) => {
                let mut inputs = RandomInputs::new(*kind, seed);
                Box::new(move || inputs.next_body())
            }
        }
    }
}

fn find(name: &str, client: &Client) -> Result<Application, CliError> {
    let status = client.get("status")?.value;
    let applications = items(&status["applications"]);
    let Some(found) = applications.iter().find(|one| one["name"] == name) else {
        return Err(CliError::Refused(format!(
            "there is no application '{name}'; `skysail app list` shows those there are"
        )));
    };
    Ok(Application {
        address: client.query_address(&cell(&status["query"]))?,
        input_type: cell(&found["input_type"]),
        features: found["features"].as_u64(),
        slo: found["latency_slo_micros"]
            .as_u64()
            .map(Duration::from_micros),
    })
}

/// A line of inputs as a body: an object is one already.
fn body(line: &str, input_type: Option<&str>) -> Result<String, serde_json::Error> {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(_)) => Ok(line.to_owned()),
        _ => parse::input(line, input_type).map(|input| format!("{{\"input\":{input}}}")),
    }
}

/// `HOST:PORT` and the path of a URL.
fn split(url: &str) -> Result<(String, &str), CliError> {
    if url.starts_with("https://") {
        return Err(CliError::Usage(format!(
            "--url: '{url}' has TLS, but load sends plain HTTP only: load a port without TLS"
        )));
    }
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    let Some(rest) = url.strip_prefix("http://").filter(|_| is_plain) else {
        return Err(CliError::Usage(format!(
            "--url: '{url}' is not supported, expected http://HOST:PORT/PATH"
        )));
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.contains(']'));
    let port = if has_port { "" } else { ":80" };
    Ok((format!("{authority}{port}"), path))
}

fn unreadable(flag: &str, file: &Path, error: &io::Error) -> CliError {
    CliError::Usage(format!("{flag}: {}: {error}", file.display()))
}

fn content_type(text: &str) -> Result<String, String> {
    let is_right = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    is_right
        .then(|| text.to_owned())
        .ok_or_else(|| "expected a content type, such as application/json".to_owned())
}

fn usage(error: &skysail_load::Error) -> CliError {
    CliError::Usage(client::described(error))
}
