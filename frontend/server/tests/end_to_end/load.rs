//! `skysail load` against a front end.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use skysail_load::Method;

use crate::harness::{Frontend, Process, request, run, skysail, stderr, until};

/// An application of 4 floats whose model has no replica.
fn add_app(frontend: &Frontend, features: &[&str]) {
    let app = ["app", "add", "app", "--input", "floats", "--slo", "10s"];
    frontend.cli(&[&app, features, &["--default", "-1"]].concat());
}

#[test]
fn predictions_and_defaults_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.cli(&["model", "add", "linear", "1", "--input", "floats"]);
    add_app(&frontend, &["--features", "64"]);
    let load = [
        "load",
        "--app",
        "app",
        "--rate",
        "200",
        "--connections",
        "8",
    ];
    let load = [&load[..], &["--duration", "500ms", "--warm-up", "0s"]].concat();

    let report = frontend.json_cli(&load);
    let offered = report["offered"].as_u64().unwrap();
    assert!(offered > 0, "{report}");
    assert_eq!(report["answered"], offered, "{report}");
    assert_eq!(
        report["default_by_cause"]["no_replica"], offered,
        "{report}"
    );
    assert_eq!(report["in_time"], 0, "a default is not in time");
    assert_eq!(report["slo_us"], 10_000_000, "the application's");

    frontend.cli(&["app", "link", "app", "linear"]);
    let _container = frontend.container("digits-linear", "linear", "1");
    let zeros = format!("{{\"input\":[{}]}}", vec!["0"; 64].join(","));
    frontend.predict_in_the_end(&zeros);
    let report = frontend.json_cli(&load);
    assert_eq!(report["answered"], report["offered"], "{report}");
    assert_eq!(report["in_time"], report["offered"], "{report}");
    assert!(report["cpu_us_per_request"].as_f64().unwrap() > 0.0);
    // The front end is on this machine; the kernel counts its time in hundredths of a second.
    assert!(report["server_cpu_us_per_request"].as_f64().unwrap() >= 0.0);
    assert_eq!(report["seconds"].as_array().unwrap().len(), 1);
}

#[test]
fn an_interrupt_ends_the_load_with_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    add_app(&frontend, &["--features", "4"]);
    let mut command = skysail();
    command.args([
        "load",
        "--app",
        "app",
        "--duration",
        "60min",
        "--warm-up",
        "0s",
    ]);
    command.args(["--management", &frontend.management.to_string()]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut load = Process(child.unwrap());
    // It listens to the signal before it sends.
    until("a query", || {
        let metrics = request(frontend.management, Method::GET, "/metrics", "");
        let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
        let mut queries = metrics
            .lines()
            .filter(|line| line.starts_with("skysail_queries_total"));
        queries.find(|line| !line.ends_with(" 0")).map(drop)
    });
    load.signal(Signal::INT);
    assert_eq!(load.exit_status(), Some(130));
    let text = std::io::read_to_string(load.0.stdout.take().unwrap()).unwrap();
    assert!(text.contains("default: no_replica"), "{text}");
    assert!(text.contains("note: interrupted after"), "{text}");
    let text = std::io::read_to_string(load.0.stderr.take().unwrap()).unwrap();
    assert_eq!(text, "", "no progress where there is no terminal");
}

#[test]
fn a_search_ends_where_no_rate_holds() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    add_app(&frontend, &["--features", "4"]);
    let search = ["load", "--app", "app", "--find-max", "--rate", "20"];
    let times = ["--duration", "200ms", "--warm-up", "0s"];
    let output = frontend.try_cli(&[&search[..], &times, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "no rate was found");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rate_max"], Value::Null, "{report}");
    assert!(report["steps"].as_array().unwrap().len() >= 2);
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_its_status() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    add_app(&frontend, &[]);
    for (args, status, says) in [
        (
            &["load", "--app", "none"][..],
            1,
            "there is no application 'none'",
        ),
        (&["load", "--app", "app"], 2, "give --features N"),
        (&["load", "--app", "app", "--cv", "2"], 2, "--cv needs"),
    ] {
        let output = frontend.try_cli(args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{text}");
        assert!(text.contains(says) && text.lines().count() == 1, "{text}");
    }
    let output = run(&["load", "--url", "http://127.0.0.1:1/"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(run(&["load"]).status.code(), Some(2));
}
