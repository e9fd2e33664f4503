//! `skysail conformance` as a command: the Rust SDK passes it, and nothing outlives it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod harness;

use std::path::Path;
use std::process::{Output, Stdio};

use harness::{Process, is_alive, run, skysail, stderr, until};
use rustix::process::Signal;
use serde_json::Value;

/// Longer than any machine takes for one case.
const PATIENCE: &str = "300";

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

#[test]
fn the_rust_sdk_passes_every_case_over_every_transport() {
    let program = env!("CARGO_BIN_EXE_skysail");
    let output = run(&[
        "conformance",
        "--json",
        "--patience",
        PATIENCE,
        "--",
        program,
        "suite-container",
    ]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut passed_over_memory = 0;
    for case in items(&report["cases"]) {
        for result in items(&case["results"]) {
            assert_ne!(result["outcome"], "failed", "{}: {result:#}", case["name"]);
            let reason = result["reason"].as_str().unwrap_or_default();
            assert!(
                !reason.contains("no shared memory"),
                "{}: {reason}",
                case["name"]
            );
            let is_over_memory = result["transport"] == "shm" && result["outcome"] == "ok";
            passed_over_memory += usize::from(is_over_memory);
        }
    }
    assert!(passed_over_memory > 40, "{passed_over_memory}");
    assert_eq!(
        (&report["ok"], &report["failed"]),
        (&true.into(), &0.into())
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_table_shows_what_failed_and_why() {
    let output = run(&[
        "conformance",
        "--transport",
        "tcp,ipc",
        "--only",
        "drain",
        "--",
        "/bin/sh",
        "-c",
        "echo out of order; exit 4",
    ]);
    let expected = "\
case   clause  ipc      tcp
drain  7.1     FAILED   FAILED
      FAILED over ipc, tcp: the container exited with status 4 before it said hello
        | out of order
1 case: 0 passed, 2 failed, 0 skipped
";
    assert_eq!(stdout(&output), expected);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn wrong_usage_is_told_and_nothing_is_played() {
    let file = tempfile::NamedTempFile::new().expect("a file nobody can execute");
    let file = file.path().to_str().expect("UTF-8");
    let wrong: [(&[&str], &str); 6] = [
        (&[], "<COMMAND>"),
        (
            &["--", "/no/such/program"],
            "'/no/such/program' is not found",
        ),
        (&["--", file], "is not an executable file"),
        (
            &["--only", "nothing", "--", "true"],
            "no case or group is named 'nothing'",
        ),
        (
            &["--transport", "udp", "--", "true"],
            "expected shm, ipc or tcp",
        ),
        (&["--patience", "0", "--", "true"], "--patience"),
    ];
    for (args, told) in wrong {
        let output = run(&[&["conformance"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&output).contains(told),
            "{args:?}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "");
    }
    let output = run(&["suite-container", "--model", "nothing", "--version", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("which are sum, golden-fixed"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn cases_are_listed_without_a_command() {
    let output = run(&["conformance", "--list", "--only", "life"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(text.starts_with("CASE"), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("leave ")),
        "{text}"
    );
    assert!(!text.contains("golden"), "{text}");
    let output = run(&["conformance", "--list", "--json"]);
    let listed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let golden = items(&listed["cases"])
        .iter()
        .filter(|case| case["group"] == "golden");
    assert!(golden.count() > 20);
}

/// A suite whose container writes its process id into a file and never says hello.
fn stuck(folder: &Path) -> (Process, u64) {
    let file = folder.join("pid");
    let script = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000",
        file.display()
    );
    let mut command = skysail();
    command.args(["conformance", "--patience", PATIENCE, "--transport", "ipc"]);
    command.args(["--only", "drain", "--", "sh", "-c", &script]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let suite = Process(command.spawn().expect("the suite runs"));
    let pid = until("the container runs", || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.trim().parse().ok()
    });
    assert!(is_alive(pid));
    (suite, pid)
}

#[test]
fn a_suite_that_is_interrupted_ends_its_containers() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut suite, pid) = stuck(folder.path());
    suite.signal(Signal::INT);
    assert_eq!(suite.exit_status(), Some(130));
    until("the container ends", || (!is_alive(pid)).then_some(()));
}

#[test]
fn a_suite_that_is_killed_leaves_no_container() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut suite, pid) = stuck(folder.path());
    suite.kill_9();
    until("the container ends", || (!is_alive(pid)).then_some(()));
}
