//! The first thing a newcomer runs.

use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Process, run, skysail, stderr};

const ANY: &str = "127.0.0.1:0";

fn args() -> Vec<&'static str> {
    vec![
        "demo",
        "--once",
        "--json",
        // Not a matter of time: other tests keep the cores busy.
        "--slo",
        "5s",
        "--query",
        ANY,
        "--management",
        ANY,
        "--rpc",
        ANY,
    ]
}

fn check(stdout: &[u8]) {
    let text = String::from_utf8_lossy(stdout);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["event"], "ready");
    let rows = lines[1]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert!(row["queries"].as_u64().unwrap() >= 800, "{row}");
        assert_eq!(row["accuracy"], row["accuracy_offline"], "{row}");
        assert_eq!(row["predictions"], row["queries"], "{row}");
        assert!(row["batch_rows_mean"].as_f64().unwrap() >= 1.0, "{row}");
    }
    assert_eq!(lines[1]["ok"], true);
    assert!(lines[1]["first_prediction_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn once_predicts_every_image_with_the_offline_accuracy() {
    let output = run(&args());
    assert!(output.status.success(), "{}", stderr(&output));
    check(&output.stdout);
}

#[test]
fn two_run_side_by_side() {
    let start = || {
        let mut command = skysail();
        Process(command.args(args()).stdout(Stdio::piped()).spawn().unwrap())
    };
    let (mut one, mut two) = (start(), start());
    for process in [&mut one, &mut two] {
        let mut stdout = Vec::new();
        let mut pipe = process.0.stdout.take().unwrap();
        std::io::Read::read_to_end(&mut pipe, &mut stdout).unwrap();
        assert_eq!(process.exit_status(), Some(0));
        check(&stdout);
    }
}
