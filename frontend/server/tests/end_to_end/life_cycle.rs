//! Starting, stopping, being killed.

use rustix::process::Signal;

use crate::harness::{Frontend, run, stderr, until};

/// One line that names what is wrong, and status 2.
fn refused(args: &[&str], words: &[&str]) {
    let output = run(args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "'{word}' is not in: {text}");
    }
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data_dir = folder.path().to_str().unwrap();
    let any = "127.0.0.1:0";
    for flag in ["--query", "--management", "--rpc"] {
        let mut args = vec!["serve", "--data-dir", data_dir];
        for port in ["--query", "--management", "--rpc"] {
            args.extend([port, if port == flag { &address } else { any }]);
        }
        refused(&args, &[&address, "in use", flag]);
    }
}

#[test]
fn an_unwritable_data_directory_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("data");
    refused(
        &["serve", "--data-dir", below.to_str().unwrap()],
        &[below.to_str().unwrap()],
    );
}

#[test]
fn a_second_serve_on_the_same_data_directory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = Frontend::start(folder.path());
    let any = "127.0.0.1:0";
    let data_dir = folder.path().to_str().unwrap();
    let pid = first.process.0.id().to_string();
    refused(
        &[
            "serve",
            "--data-dir",
            data_dir,
            "--query",
            any,
            "--management",
            any,
            "--rpc",
            any,
        ],
        &[data_dir, &pid],
    );
}

#[test]
fn wrong_flags_and_configuration_are_refused() {
    assert_eq!(run(&["serve", "--no-such-flag"]).status.code(), Some(2));
    let folder = tempfile::tempdir().unwrap();
    let data_dir = ["--data-dir", folder.path().to_str().unwrap()];
    refused(
        &[&["serve", "--query", "0.0.0.0:1337"], &data_dir[..]].concat(),
        &["--query 0.0.0.0:1337", "--auth none"],
    );
    refused(
        &["serve", "--config", "/nonexistent.toml"],
        &["/nonexistent.toml"],
    );
    refused(&["serve", "--query", "nonsense"], &["--query", "nonsense"]);
    assert!(run(&["--help"]).status.success());
}

#[test]
fn sigterm_ends_it_with_status_0_and_ctrl_c_with_130() {
    for (signal, status) in [(Signal::TERM, 0), (Signal::INT, 130)] {
        let folder = tempfile::tempdir().unwrap();
        let mut frontend = Frontend::start(folder.path());
        let while_it_runs = ["endpoints.json", "rpc.sock", "rpc.sock.shm"];
        let path = |name: &str| folder.path().join(name);
        assert!(while_it_runs.iter().all(|name| path(name).exists()));
        frontend.process.signal(signal);
        assert_eq!(frontend.process.exit_status(), Some(status));
        for name in while_it_runs {
            assert!(!path(name).exists(), "{name} is left");
        }
    }
}

#[test]
fn after_kill_9_everything_acknowledged_is_there_and_serves_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut frontend = Frontend::start(folder.path());
    frontend.register("2s");
    let exe = env!("CARGO_BIN_EXE_skysail");
    frontend.cli(&[
        "deploy",
        "--model",
        "deployed",
        "--version",
        "1",
        "--replicas",
        "2",
        "--input",
        "doubles",
        "--",
        exe,
        "example-container",
        "sum",
    ]);
    let _by_hand = frontend.container("sum", "m", "1");
    let first = frontend.predict_in_the_end(r#"{"input":[1,2,3]}"#);
    assert_eq!(first["output"], 6.0);
    frontend.wait_for_replicas("deployed", 2);
    let before = frontend.json_cli(&["app", "list"]);
    frontend.process.kill_9();

    let frontend = Frontend::start(folder.path());
    assert_eq!(frontend.json_cli(&["app", "list"]), before);
    let again = frontend.predict_in_the_end(r#"{"input":[4,5]}"#);
    assert_eq!(again["output"], 9.0);
    assert!(
        again["query_id"].as_u64() > first["query_id"].as_u64(),
        "never used twice"
    );
    frontend.wait_for_replicas("deployed", 2);
}

#[test]
fn status_is_found_by_the_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("20ms");
    let data_dir = folder.path().to_str().unwrap();
    let output = run(&["status", "--json", "--data-dir", data_dir]);
    assert!(output.status.success(), "{}", stderr(&output));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["models"][0]["name"], "m");
    assert_eq!(status["auth"], "loopback");
    drop(frontend);
    until("the front end is gone", || {
        let output = run(&["status", "--data-dir", data_dir]);
        (output.status.code() == Some(1)).then_some(())
    });
}
