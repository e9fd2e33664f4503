//! Each bench that drives Skysail's processes, for as short as it can be: it works, and its JSON
//! is of the schema. What it measures is no concern of a test.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The front end, which another package builds: beside the benches if all tests are run.
fn skysail() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_scenarios")).with_file_name("skysail");
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--locked",
            "-p",
            "skysail-server",
            "--bin",
            "skysail",
        ]);
        let status = build.status().expect("cargo runs");
        assert!(status.success() && path.exists(), "the front end is built");
    }
    path
}

/// Runs a bench with `--json`.
fn results(bench: &str, args: &[&str]) -> Value {
    let output = Command::new(bench).arg("--json").args(args).output();
    let output = output.expect("the bench starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{bench}: {told}");
    let results: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(results["schema"], "skysail-bench/1");
    results
}

/// The median of a row.
fn median(results: &Value, name: &str, metric: &str) -> f64 {
    let rows = results["rows"].as_array().expect("rows");
    let row = rows
        .iter()
        .find(|row| row["name"] == name && row["metric"] == metric);
    let row = row.unwrap_or_else(|| panic!("no {metric} of {name} in {results}"));
    row["median"].as_f64().expect("a number")
}

fn bars(results: &Value) -> usize {
    results["bars"].as_array().expect("bars").len()
}

#[test]
fn scenarios_measure_a_cell_and_a_fault() {
    let skysail = skysail().display().to_string();
    let args = ["--pace", "0", "--only", "gpu,100,1", "--only", "slow-batch"];
    let results = results(
        env!("CARGO_BIN_EXE_scenarios"),
        &[&args[..], &["--skysail", &skysail]].concat(),
    );
    assert!(median(&results, "no-op", "answers") > 0.0);
    assert!(median(&results, "slow-batch", "queries") > 0.0);
    assert_eq!(median(&results, "slow-batch", "unanswered"), 0.0);
    let bars = bars(&results);
    if median(&results, "gpu 100 ms x1", "capacity") * 6.0 > median(&results, "no-op", "answers") {
        assert_eq!(
            bars, 1,
            "the cell is beyond this machine: only the fault counts"
        );
        return;
    }
    assert_eq!(bars, 5);
    assert!(median(&results, "gpu 100 ms x1", "queries") > 0.0);
    assert_eq!(median(&results, "gpu 100 ms x1", "unanswered"), 0.0);
}

#[test]
fn gain_measures_both_policies() {
    let args = ["--seconds", "0.02", "--reps", "1"];
    let results = results(env!("CARGO_BIN_EXE_gain"), &args);
    assert!(median(&results, "fixed 1, 4 in flight", "in time") >= 0.0);
    assert!(median(&results, "adaptive, 1024 in flight", "p99") > 0.0);
    assert_eq!(bars(&results), 2);
}

#[test]
fn idle_counts_wake_ups_of_a_front_end_with_replicas() {
    let skysail = skysail().display().to_string();
    let args = ["--models", "2", "--replicas", "2", "--seconds", "0.1"];
    let results = results(
        env!("CARGO_BIN_EXE_idle"),
        &[&args[..], &["--skysail", &skysail]].concat(),
    );
    let name = "2 models, 4 replicas";
    assert!(median(&results, name, "cpu of the front end") >= 0.0);
    assert!(median(&results, name, "wake-ups") >= 0.0);
    assert_eq!(bars(&results), 1);
}

#[test]
fn apis_measures_each_one_beside_its_bare_server() {
    let skysail = skysail().display().to_string();
    let args = ["--quick", "--in-flight", "4", "--skysail", &skysail];
    let results = results(env!("CARGO_BIN_EXE_apis"), &args);
    let lanes = ["clipper json", "v2 json", "v2 binary", "v2 grpc"];
    for name in lanes
        .into_iter()
        .chain(["bare json", "bare hyper", "bare tonic"])
    {
        for rows in ["1 row", "64 rows"] {
            assert!(median(&results, &format!("{name}, {rows}"), "throughput") >= 0.0);
        }
    }
    assert_eq!(bars(&results), 5);
}

#[test]
fn hostile_measures_a_normal_client_beside_each_attack() {
    let skysail = skysail().display().to_string();
    let only = ["--only", "rapid reset", "--only", "connection flood"];
    let args = ["--quick", "--rate", "50", "--skysail", &skysail];
    let results = results(env!("CARGO_BIN_EXE_hostile"), &[&only[..], &args].concat());
    for name in ["rapid reset", "connection flood"] {
        assert!(median(&results, name, "p99") > 0.0);
        assert!(median(&results, name, "connections opened") > 0.0);
    }
    assert!(median(&results, "no attack", "failed requests") >= 0.0);
}
