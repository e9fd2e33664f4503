//! A front end under test, as a process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use skysail_load::{Method, Request, Response};

use crate::process::Process;

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often what is waited for is looked at.
const POLL: Duration = Duration::from_millis(10);

/// An application to register.
#[derive(Clone, Copy, Debug)]
pub struct Application<'a> {
    /// Its name.
    pub name: &'a str,
    /// The model that answers.
    pub model: &'a str,
    /// What a query brings.
    pub input_type: &'a str,
    /// Elements of every query, if they are all alike.
    pub features: Option<usize>,
    /// Its objective.
    pub slo: Duration,
}

/// A running `skysail serve`.
#[derive(Debug)]
pub struct Frontend {
    /// The process.
    pub process: Process,
    /// Where queries go.
    pub query: SocketAddr,
    /// Where it is managed.
    pub management: SocketAddr,
    /// The ipc endpoint for containers.
    pub rpc: String,
}

impl Frontend {
    /// Starts one on `data_dir`, with free ports; returns when it is ready.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(binary: &Path, data_dir: &Path, more: &[&str]) -> Result<Frontend> {
        let any = "127.0.0.1:0";
        let mut command = Command::new(binary);
        command.args([
            "serve",
            "--json",
            "--log",
            "error",
            "--query",
            any,
            "--management",
            any,
        ]);
        command
            .args(["--rpc", any, "--drain-notice", "0"])
            .args(more)
            .arg("--data-dir")
            .arg(data_dir);
        let mut process = Process::start(&mut command)?;
        let ready = process.json_line()?;
        let address =
            |port: &str| Ok::<_, anyhow::Error>(ready[port].as_str().context("ready")?.parse()?);
        Ok(Frontend {
            query: address("query")?,
            management: address("management")?,
            rpc: ready["rpc"][0].as_str().context("an endpoint")?.to_owned(),
            process,
        })
    }

    /// Starts a bundled container by hand.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn container(&self, binary: &Path, example: &str, model: &str) -> Result<Process> {
        let mut command = Command::new(binary);
        command.args([
            "example-container",
            example,
            "--model",
            model,
            "--version",
            "1",
        ]);
        Process::start(command.args(["--rpc", &self.rpc]).env("RUST_LOG", "error"))
    }

    /// Sends JSON to the management API.
    ///
    /// # Errors
    /// If it cannot be reached or refuses.
    pub async fn manage(&self, method: Method, path: &str, body: &serde_json::Value) -> Result<()> {
        let request = Request::new(method, path)?.with_body(body.to_string());
        let response = skysail_load::send(self.management, &request, PATIENCE).await?;
        if !response.is_success() {
            bail!("{path}: {}", String::from_utf8_lossy(&response.body));
        }
        Ok(())
    }

    /// Registers version 1 of `model`, and an application of the same name linked to it.
    ///
    /// # Errors
    /// If either is refused.
    pub async fn register(
        &self,
        model: &str,
        input_type: &str,
        features: Option<usize>,
    ) -> Result<()> {
        self.add_model(model, input_type).await?;
        let app = Application {
            name: model,
            model,
            input_type,
            features,
            slo: Duration::from_secs(1),
        };
        self.add_application(&app).await
    }

    /// Registers version 1 of `model`.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn add_model(&self, model: &str, input_type: &str) -> Result<()> {
        let version = serde_json::json!({
            "model": model, "version": "1", "input_type": input_type,
        });
        self.manage(Method::POST, "/api/v1/models", &version).await
    }

    /// Registers an application and links it to its model.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn add_application(&self, app: &Application<'_>) -> Result<()> {
        let described = serde_json::json!({
            "name": app.name, "input_type": app.input_type, "features": app.features,
            "latency_slo_micros": app.slo.as_micros() as u64, "default_output": "0",
        });
        self.manage(Method::POST, "/api/v1/applications", &described)
            .await?;
        let link = serde_json::json!({ "models": [app.model] });
        let path = format!("/api/v1/applications/{}/links", app.name);
        self.manage(Method::PUT, &path, &link).await
    }

    /// Has the front end keep `replicas` processes of version 1 of `model` running.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn deploy(&self, model: &str, replicas: usize, command: &[String]) -> Result<()> {
        let deployment = serde_json::json!({ "replicas": replicas, "command": command });
        let path = format!("/api/v1/models/{model}/versions/1/deployment");
        self.manage(Method::PUT, &path, &deployment).await
    }

    /// Waits until `count` replicas of all models are connected; gives their process ids.
    ///
    /// # Errors
    /// If that does not come about.
    pub async fn wait_for_replicas(&self, count: usize) -> Result<Vec<i32>> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let response = skysail_load::get(self.management, "/api/v1/replicas").await?;
            let replicas: Vec<serde_json::Value> = serde_json::from_slice(&response.body)?;
            let pids = replicas
                .iter()
                .filter_map(|replica| replica["pid"].as_i64());
            let pids: Vec<i32> = pids.map(i32::try_from).collect::<Result<_, _>>()?;
            if pids.len() == count {
                return Ok(pids);
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("no {count} replicas within {} s", PATIENCE.as_secs())
    }

    /// Posts `body` to an application until it is answered by a prediction.
    ///
    /// # Errors
    /// If that does not come about.
    pub async fn wait_for_prediction(&self, app: &str, body: &str) -> Result<()> {
        let path = format!("/{app}/predict");
        for _ in 0..5000 {
            let response = skysail_load::post_json(self.query, &path, body.to_owned()).await?;
            if is_prediction(&response) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bail!("no prediction of {app} within {} s", PATIENCE.as_secs())
    }
}

/// Whether a query was answered by a model.
#[must_use]
pub fn is_prediction(response: &Response) -> bool {
    const WANTED: &[u8] = b"\"default\":false";
    response.is_success()
        && response
            .body
            .windows(WANTED.len())
            .any(|window| window == WANTED)
}
