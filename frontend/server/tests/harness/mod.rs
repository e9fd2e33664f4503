//! A front end, containers and commands as child processes.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use skysail_load::{Method, Request, Response};

/// Long enough for any machine; what takes longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn skysail() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skysail"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SKYSAIL_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    skysail().args(args).output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Polls until `what` gives something.
pub(crate) fn until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < end, "gave up waiting: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A child that is killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn kill_9(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; gives the exit status.
    pub(crate) fn exit_status(&mut self) -> Option<i32> {
        until("the process ends", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A running front end.
pub(crate) struct Frontend {
    pub(crate) process: Process,
    pub(crate) query: SocketAddr,
    pub(crate) management: SocketAddr,
    pub(crate) rpc: Vec<String>,
}

impl Frontend {
    /// Starts one on `data_dir` with free ports.
    pub(crate) fn start(data_dir: &Path) -> Frontend {
        Self::start_with(data_dir, &[])
    }

    pub(crate) fn start_with(data_dir: &Path, more: &[&str]) -> Frontend {
        let any = "127.0.0.1:0";
        let mut command = skysail();
        command.args(["serve", "--json", "--query", any]);
        command.args(["--management", any, "--rpc", any]);
        // No test waits for balancers, unless it says so.
        if !more.contains(&"--drain-notice") {
            command.args(["--drain-notice", "0"]);
        }
        command.args(more).arg("--data-dir").arg(data_dir);
        Self::spawn(command)
    }

    /// Starts one by a command of `serve --json`; waits until it is ready.
    pub(crate) fn spawn(mut command: Command) -> Frontend {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let process = Process(child);
        let ready: Value = serde_json::from_str(&line).expect("the ready line");
        assert_eq!(ready["event"], "ready");
        let address = |port: &str| ready[port].as_str().unwrap().parse().unwrap();
        let rpc = ready["rpc"].as_array().unwrap().iter();
        Frontend {
            process,
            query: address("query"),
            management: address("management"),
            rpc: rpc
                .map(|endpoint| endpoint.as_str().unwrap().to_owned())
                .collect(),
        }
    }

    /// Its tcp endpoint for containers.
    pub(crate) fn tcp(&self) -> &str {
        let mut rpc = self.rpc.iter();
        rpc.find(|endpoint| endpoint.starts_with("tcp://")).unwrap()
    }

    /// Starts a bundled container by hand.
    pub(crate) fn container(&self, example: &str, model: &str, version: &str) -> Process {
        let mut command = skysail();
        command.args([
            "example-container",
            example,
            "--model",
            model,
            "--version",
            version,
        ]);
        command.args(["--rpc", &self.rpc[0]]).stderr(Stdio::null());
        Process(command.spawn().unwrap())
    }

    /// Runs a client verb against this front end; it must succeed.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        let output = self.try_cli(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Deploys version 1 of `model`: a program with its arguments.
    pub(crate) fn deploy(&self, model: &str, input: &str, command: &[&str]) {
        let deploy = [
            "deploy",
            "--model",
            model,
            "--version",
            "1",
            "--input",
            input,
            "--",
        ];
        self.cli(&[&deploy[..], command].concat());
    }

    pub(crate) fn try_cli(&self, args: &[&str]) -> Output {
        let management = self.management.to_string();
        let split = args
            .iter()
            .position(|arg| *arg == "--")
            .unwrap_or(args.len());
        let (before, after) = args.split_at(split);
        skysail()
            .args(before)
            .args(["--management", &management])
            .args(after)
            .output()
            .unwrap()
    }

    pub(crate) fn json_cli(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.cli(&[args, &["--json"]].concat())).unwrap()
    }

    /// Registers model `m`, version 1, and application `app` linked to it.
    pub(crate) fn register(&self, slo: &str) {
        self.cli(&["model", "add", "m", "1", "--input", "doubles"]);
        let app = [
            "app",
            "add",
            "app",
            "--input",
            "doubles",
            "--slo",
            slo,
            "--default",
            "-1",
        ];
        self.cli(&app);
        self.cli(&["app", "link", "app", "m"]);
    }

    /// Posts a query to `app`.
    pub(crate) fn predict(&self, body: &str) -> Value {
        let response = self.post("/app/predict", body);
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Posts the query until it is a prediction.
    pub(crate) fn predict_in_the_end(&self, body: &str) -> Value {
        until("a prediction", || {
            let answer = self.predict(body);
            (answer["default"] == false).then_some(answer)
        })
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Response {
        request(self.query, Method::POST, path, body)
    }

    pub(crate) fn replicas(&self) -> Vec<Value> {
        let response = request(self.management, Method::GET, "/api/v1/replicas", "");
        let found: Value = serde_json::from_slice(&response.body).unwrap();
        found.as_array().unwrap().clone()
    }

    /// Waits until as many replicas of a model are connected.
    pub(crate) fn wait_for_replicas(&self, model: &str, count: usize) -> Vec<Value> {
        until("the replicas", || {
            let mut replicas = self.replicas();
            replicas.retain(|replica| replica["model"] == model);
            (replicas.len() == count).then_some(replicas)
        })
    }
}

/// One request on a connection of its own.
pub(crate) fn request(address: SocketAddr, method: Method, path: &str, body: &str) -> Response {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let request = Request::new(method, path)
        .unwrap()
        .with_body(body.to_owned());
    runtime
        .block_on(skysail_load::send(address, &request, PATIENCE))
        .unwrap()
}

/// Whether a process exists and is no zombie.
pub(crate) fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
