//! The linear example as a process: its self-test, and what it says when it is started wrong.

use std::path::Path;
use std::process::{Command, Output};

/// Cargo builds the example before it runs the tests, beside their own directory.
fn linear(arguments: &[&str], directory: &Path) -> Output {
    let test = std::env::current_exe().expect("this test");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps");
    let mut command = Command::new(profile.join("examples/linear"));
    for variable in [
        "RPC",
        "MODEL",
        "VERSION",
        "TOKEN_FILE",
        "SLOTS",
        "MODEL_PATH",
    ] {
        command.env_remove(format!("SKYSAIL_{variable}"));
    }
    command
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("the example runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn passes_its_self_test_with_weights_and_names_the_file_without() {
    let directory = tempfile::tempdir().expect("a directory");
    let without = linear(&["--selftest"], directory.path());
    let told = String::from_utf8_lossy(&without.stdout).into_owned();
    assert_eq!(without.status.code(), Some(1), "{told}");
    let expected = "load: FAILED: the model does not load: cannot read ./w.json: ";
    assert!(told.contains(expected), "{told}");

    let rows: Vec<Vec<f32>> = (0..784).map(|row| vec![row as f32 / 784.0; 10]).collect();
    let weights = serde_json::to_string(&rows).expect("JSON");
    std::fs::write(directory.path().join("w.json"), weights).expect("written");
    let with = linear(&["--selftest", "--json"], directory.path());
    assert_eq!(with.status.code(), Some(0), "{}", stderr(&with));
    let result: serde_json::Value = serde_json::from_slice(&with.stdout).expect("JSON");
    assert_eq!(result["ok"], true);
}

#[test]
fn says_in_one_line_what_is_missing_or_wrong() {
    let directory = tempfile::tempdir().expect("a directory");
    let check = |arguments: &[&str], expected: &str| {
        let output = linear(arguments, directory.path());
        let told = stderr(&output);
        assert_eq!(
            (output.status.code(), told.lines().count()),
            (Some(2), 1),
            "{told}"
        );
        assert!(told.starts_with(expected), "{told}");
    };
    check(
        &[],
        "error: --rpc (or SKYSAIL_RPC) is not given: it names the front end to join",
    );
    let served = ["--model", "m", "--rpc", "ipc://x"];
    check(
        &served,
        "error: --version (or SKYSAIL_VERSION) is not given",
    );
    check(
        &["--rpc", "http://x"],
        "error: --rpc: 'http://x' is not an endpoint",
    );
}
