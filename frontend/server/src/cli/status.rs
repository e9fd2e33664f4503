//! `skysail status`

use serde_json::Value;

use super::client::Client;
use super::render::{Table, cell, items, sections};
use super::{Common, Outcome, Printed, applications};

/// `status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  skysail status\n  skysail status --json --data-dir /var/lib/skysail"
)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(super) common: Common,
}

impl Status {
    pub(super) fn run(&self, client: &Client) -> Outcome {
        let answer = client.get("status")?;
        Ok(Printed {
            text: text(&answer.value),
            json: answer.text,
        })
    }
}

/// A status for people; `demo` shows it too.
pub(super) fn text(status: &Value) -> String {
    let mut parts = vec![
        ("FRONT END", about(status)),
        (
            "APPLICATIONS",
            applications::table(&status["applications"]).or("none"),
        ),
        ("MODELS", models(&status["models"]).or("none")),
        ("REPLICAS", replicas(status).or("none connected")),
    ];
    let processes = troubled(&status["models"]);
    if !processes.is_empty() {
        parts.push(("PROCESSES THAT DO NOT RUN", processes.or("")));
    }
    let parts: Vec<_> = parts
        .into_iter()
        .map(|(title, body)| (title, indented(&body)))
        .collect();
    sections(&parts)
}

fn about(status: &Value) -> String {
    let rpc: Vec<_> = items(&status["rpc"]).iter().map(cell).collect();
    let scheme = if status["tls"] == true {
        "https"
    } else {
        "http"
    };
    format!(
        "skysail {}, pid {}, auth {}\nqueries {scheme}://{}  management {scheme}://{}\ncontainers {}",
        cell(&status["version"]),
        cell(&status["pid"]),
        cell(&status["auth"]),
        cell(&status["query"]),
        cell(&status["management"]),
        rpc.join("  "),
    )
}

fn models(models: &Value) -> Table {
    let mut table = Table::new([
        "MODEL",
        "VERSION",
        "CURRENT",
        "INPUT",
        "CONNECTED",
        "DEPLOYED",
    ]);
    for one in items(models) {
        table.row([
            cell(&one["name"]),
            cell(&one["version"]),
            if one["current"] == true { "yes" } else { "-" }.to_owned(),
            cell(&one["input_type"]),
            items(&one["replicas"]).len().to_string(),
            cell(&one["deployment"]["replicas"]),
        ]);
    }
    table
}

fn replicas(status: &Value) -> Table {
    let mut table = Table::new([
        "REPLICA",
        "MODEL",
        "STATE",
        "TRANSPORT",
        "PID",
        "IN FLIGHT",
        "MAX BATCH",
        "SDK",
        "WHY NOT SHM",
    ]);
    let registered = items(&status["models"])
        .iter()
        .flat_map(|one| items(&one["replicas"]));
    for one in registered {
        table.row(replica(one, ""));
    }
    for one in items(&status["unregistered"]) {
        table.row(replica(one, " (not registered)"));
    }
    table
}

fn replica(one: &Value, note: &str) -> [String; 9] {
    let pid = if one["pid"] == 0 {
        "-".to_owned()
    } else {
        cell(&one["pid"])
    };
    [
        cell(&one["id"]),
        format!("{}:{}{note}", cell(&one["model"]), cell(&one["version"])),
        cell(&one["state"]),
        cell(&one["transport"]),
        pid,
        cell(&one["in_flight"]),
        cell(&one["max_batch"]),
        cell(&one["sdk"]),
        cell(&one["transport_reason"]),
    ]
}

/// Processes of deployments that are not running, with how they ended.
fn troubled(models: &Value) -> Table {
    let mut table = Table::new(["PROCESS", "MODEL", "STATE", "RESTARTS", "LAST EXIT"]);
    for one in items(models) {
        for process in items(&one["deployment"]["processes"]) {
            if process["state"] == "running" {
                continue;
            }
            table.row([
                cell(&process["index"]),
                format!("{}:{}", cell(&one["name"]), cell(&one["version"])),
                cell(&process["state"]).replace('_', " "),
                cell(&process["restarts"]),
                cell(&process["last_exit"]),
            ]);
        }
    }
    table
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shows_everything_in_aligned_sections() {
        let replica = json!({
            "id": 3, "model": "m", "version": "1", "state": "ready", "transport": "ipc",
            "transport_reason": "the container asks for none", "pid": 12, "in_flight": 1, "sdk": "rust/0.1", "schema": "s",
            "max_batch": 64,
        });
        let status = json!({
            "version": "0.1.0", "pid": 7, "query": "127.0.0.1:1337",
            "management": "127.0.0.1:1338", "rpc": ["ipc:///d/rpc.sock"], "auth": "loopback",
            "applications": [{
                "name": "a", "input_type": "floats", "features": null,
                "latency_slo_micros": 20_000, "default_output": "-1", "linked_models": ["m"],
                "serving": { "model": "m", "version": "1" },
            }],
            "models": [{
                "name": "m", "version": "1", "current": true, "input_type": "floats",
                "generation": 1, "replicas": [replica],
                "deployment": { "replicas": 2, "command": ["p"], "processes": [
                    { "index": 0, "state": "running", "restarts": 0, "pid": 12, "last_exit": null },
                    {
                        "index": 1, "state": "backing_off", "delay_ms": 100, "restarts": 4,
                        "pid": null, "last_exit": "exited: code 3",
                    },
                ]},
            }],
            "unregistered": [],
        });
        let expected = "\
FRONT END
  skysail 0.1.0, pid 7, auth loopback
  queries http://127.0.0.1:1337  management http://127.0.0.1:1338
  containers ipc:///d/rpc.sock

APPLICATIONS
  APPLICATION  INPUT   FEATURES  SLO   DEFAULT  MODELS  SERVING
  a            floats  -         20ms  -1       m       m:1

MODELS
  MODEL  VERSION  CURRENT  INPUT   CONNECTED  DEPLOYED
  m      1        yes      floats  1          2

REPLICAS
  REPLICA  MODEL  STATE  TRANSPORT  PID  IN FLIGHT  MAX BATCH  SDK       WHY NOT SHM
  3        m:1    ready  ipc        12   1          64         rust/0.1  the container asks for none

PROCESSES THAT DO NOT RUN
  PROCESS  MODEL  STATE        RESTARTS  LAST EXIT
  1        m:1    backing off  4         exited: code 3
";
        assert_eq!(text(&status), expected);
    }

    #[test]
    fn an_empty_front_end_says_so() {
        let text = text(&json!({ "applications": [], "models": [], "unregistered": [] }));
        assert!(
            text.contains("APPLICATIONS\n  none\n\nMODELS\n  none\n"),
            "{text}"
        );
        assert!(text.ends_with("REPLICAS\n  none connected\n"), "{text}");
    }
}
