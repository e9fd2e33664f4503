//! `skysail model explain`: how a model stands, and why its last batches were as they were.

use serde_json::Value;

use super::client::Client;
use super::render::{Facts, Table, cell, items, number, seconds, sections, unit};
use super::{Common, Outcome, Printed, segment};

/// `model explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  skysail model explain digits-mlp
  skysail model explain digits-mlp --version 2 --last 50

LIMIT says what kept a batch from being larger: queue (nothing else waited), rows_max (the
container, or --batch-size), slow_start (twice the largest batch so far), slack (the time that
its first query had left), fixed (--batch-size of a fixed batch). A + behind the replica: the
batch was sent ahead, while the replica ended another.")]
pub(crate) struct Explain {
    /// The model
    model: String,
    /// One version only
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Dispatches shown of each version
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
    #[command(flatten)]
    pub(super) common: Common,
}

impl Explain {
    pub(super) fn run(&self, client: &Client) -> Outcome {
        let version = self.version.as_ref();
        let query = version.map(|one| format!("?version={}", segment(one)));
        let path = format!(
            "explain/{}{}",
            segment(&self.model),
            query.unwrap_or_default()
        );
        let answer = client.get(&path)?;
        let versions = shown(items(&answer.value["versions"]), self.version.is_some());
        let texts: Vec<_> = versions.map(|one| text(one, self.last)).collect();
        Ok(Printed {
            text: texts.join("\n"),
            json: answer.text,
        })
    }
}

/// The current version first, then the others; those that do nothing only if they are asked for.
fn shown(versions: &[Value], all: bool) -> impl Iterator<Item = &Value> {
    let is_current = |one: &&Value| one["current"] == true;
    let does = move |one: &&Value| all || !items(&one["replicas"]).is_empty();
    let others = versions
        .iter()
        .filter(move |one| !is_current(one) && does(one));
    versions.iter().filter(is_current).chain(others)
}

fn text(version: &Value, last: usize) -> String {
    let dispatches = items(&version["dispatches"]);
    let shown = &dispatches[dispatches.len().saturating_sub(last)..];
    let title = format!("{}:{}", cell(&version["model"]), cell(&version["version"]));
    sections(&[
        (&title, state(version)),
        (
            "REPLICAS",
            replicas(&version["replicas"]).or("none connected"),
        ),
        ("LAST DISPATCHES", table(shown).or("none yet")),
    ])
}

fn state(version: &Value) -> String {
    let mut facts = Facts::default();
    facts.add("policy", cell(&version["policy"]));
    let queue = &version["queue"];
    let age = seconds(&queue["head_age_seconds"]);
    let queries = cell(&queue["queries"]);
    facts.add("queue", format!("{queries} queries, the oldest for {age}"));
    let learned = &version["learned"];
    if !learned.is_null() {
        facts.add("latency", latency(learned));
        facts.add("load", load(version));
    }
    done(&version["tally"], &mut facts);
    facts.text()
}

/// What was done with the queries so far.
fn done(tally: &Value, facts: &mut Facts) {
    let count = |of: &str| cell(&tally[of]);
    let late = by_name(&tally["late_by"]);
    facts.add(
        "answered",
        format!("{} in time, late: {late}", count("in_time")),
    );
    let shed = by_name(&tally["shed_by"]);
    facts.add(
        "given up",
        format!("{} expired, shed: {shed}", count("expired")),
    );
    let (batches, ahead) = (count("batches"), count("batches_ahead"));
    let asked_back = count("batches_cancelled");
    facts.add(
        "batches",
        format!("{batches}, {ahead} ahead, {asked_back} asked back"),
    );
    let (hedged, won, wasted) = (count("hedged"), count("hedges_won"), count("rows_wasted"));
    facts.add(
        "copies",
        format!("{hedged}, {won} answered first, {wasted} rows wasted"),
    );
}

fn latency(learned: &Value) -> String {
    format!(
        "{} a batch and {} a {}, planned with {:.2} of it",
        seconds(&learned["alpha_seconds"]),
        seconds(&learned["beta_seconds"]),
        unit(&learned["cost_mean"]),
        number(&learned["margin"]),
    )
}

fn load(version: &Value) -> String {
    let rate = number(&version["learned"]["queries_per_second"]);
    let capacity = &version["capacity"];
    if capacity.is_null() {
        return format!("{rate:.0} queries a second");
    }
    format!(
        "{rate:.0} of {:.0} queries a second that it bears within {}, in batches of {}",
        number(&capacity["queries_per_second"]),
        seconds(&version["objective_seconds"]),
        cell(&capacity["rows"]),
    )
}

fn replicas(replicas: &Value) -> Table {
    let mut table = Table::new([
        "REPLICA",
        "STATE",
        "SLOWNESS",
        "IN FLIGHT",
        "FOR",
        "TRANSPORT",
        "STRAGGLERS",
    ]);
    for one in items(replicas) {
        table.row([
            cell(&one["id"]),
            cell(&one["state"]),
            format!("{:.2}", number(&one["slowness"])),
            cell(&one["in_flight"]),
            seconds(&one["in_flight_age_seconds"]),
            seconds(&one["transport_seconds"]),
            cell(&one["stragglers"]),
        ]);
    }
    table
}

fn table(dispatches: &[Value]) -> Table {
    let mut table = Table::new([
        "BATCH",
        "AGO",
        "REPLICA",
        "QUEUED",
        "SLACK",
        "SHED",
        "ROWS",
        "LIMIT",
        "PREDICTED",
        "PLANNED",
        "ACTUAL",
    ]);
    for one in dispatches {
        let ahead = if one["ahead"] == true { "+" } else { "" };
        table.row([
            cell(&one["number"]),
            seconds(&one["age_seconds"]),
            format!("{}{ahead}", cell(&one["replica"])),
            cell(&one["queued"]),
            seconds(&one["head_slack_seconds"]),
            cell(&one["shed"]),
            cell(&one["rows"]),
            cell(&one["limit"]),
            seconds(&one["predicted_seconds"]),
            seconds(&one["cautious_seconds"]),
            seconds(&one["actual_seconds"]),
        ]);
    }
    table
}

/// Counts with their names; those that are 0 are left out.
fn by_name(counts: &Value) -> String {
    let counts = counts.as_object().into_iter().flatten();
    let some = counts.filter(|(_, count)| number(count) > 0.0);
    let named: Vec<_> = some
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if named.is_empty() {
        return "none".to_owned();
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn version() -> Value {
        json!({
            "model": "m", "version": "1", "policy": "adaptive", "objective_seconds": 0.02,
            "queue": { "queries": 3, "head_age_seconds": 0.0015 },
            "learned": {
                "alpha_seconds": 0.005, "beta_seconds": 0.001, "margin": 1.1, "queries_per_second": 120.4,
            },
            "capacity": { "queries_per_second": 487.0, "rows": 5, "headroom": 0.75 },
            "tally": {
                "in_time": 10, "expired": 1, "late_by": { "margin": 2, "straggler": 0 },
                "shed_by": { "window": 4 }, "batches": 7, "batches_ahead": 1, "batches_cancelled": 0,
                "hedged": 0, "hedges_won": 0, "rows_wasted": 0,
            },
            "replicas": [],
            "dispatches": [
                { "number": 1, "age_seconds": 2.0, "replica": 0, "queued": 9, "head_slack_seconds": 0.019,
                  "shed": 0, "rows": 4, "limit": "slack", "ahead": true, "predicted_seconds": 0.009,
                  "cautious_seconds": 0.01, "actual_seconds": null },
            ],
        })
    }

    #[test]
    fn says_how_it_stands_and_why() {
        let text = text(&version(), 20);
        for said in [
            "queue      3 queries, the oldest for 1.5ms",
            "latency    5.0ms a batch and 1.0ms a row, planned with 1.10 of it",
            "load       120 of 487 queries a second that it bears within 20.0ms, in batches of 5",
            "answered   10 in time, late: 2 margin",
            "given up   1 expired, shed: 4 window",
            "none connected",
            "0+       9       19.0ms  0     4     slack  9.0ms      10.0ms   -",
        ] {
            assert!(text.contains(said), "{said} in\n{text}");
        }
    }

    #[test]
    fn the_current_version_comes_first_and_idle_ones_are_left_out() {
        let one = |name: &str, current: bool, replicas: Value| json!({ "version": name, "current": current, "replicas": replicas });
        let versions = [
            one("1", false, json!([])),
            one("2", false, json!([{}])),
            one("3", true, json!([])),
        ];
        let names = |all| -> Vec<_> {
            let shown = shown(&versions, all);
            shown.map(|one| cell(&one["version"])).collect()
        };
        assert_eq!(names(false), ["3", "2"]);
        assert_eq!(names(true), ["3", "1", "2"]);
    }

    #[test]
    fn shows_the_last_ones() {
        let mut version = version();
        let one = version["dispatches"][0].clone();
        version["dispatches"] = Value::Array(vec![one; 30]);
        let rows = text(&version, 5)
            .lines()
            .filter(|line| line.contains("slack"))
            .count();
        assert_eq!(rows, 5);
    }
}
