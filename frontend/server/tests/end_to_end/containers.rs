//! Containers that come, go and misbehave.

use std::io::Write;

use rustix::process::Signal;

use crate::harness::{Frontend, skysail, stderr, until};

#[test]
fn a_killed_container_that_nobody_watches_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("1s");
    let mut container = frontend.container("sum", "m", "1");
    frontend.predict_in_the_end(r#"{"input":[1]}"#);
    container.kill_9();
    frontend.wait_for_replicas("m", 0);
    let answer = frontend.predict(r#"{"input":[2]}"#);
    assert_eq!(
        (&answer["default"], &answer["default_cause"]),
        (&true.into(), &"no_replica".into())
    );
    assert_eq!(answer["output"], -1);
}

/// Stopped, it keeps its connection open and says nothing.
#[test]
fn a_stopped_container_is_noticed_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("1s");
    let container = frontend.container("sum", "m", "1");
    frontend.predict_in_the_end(r#"{"input":[1]}"#);
    container.signal(Signal::STOP);
    frontend.wait_for_replicas("m", 0);
    container.signal(Signal::CONT);
    let answer = frontend.predict_in_the_end(r#"{"input":[2,2]}"#);
    assert_eq!(answer["output"], 4.0);
}

#[test]
fn a_container_told_to_end_leaves_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("1s");
    let mut container = frontend.container("sum", "m", "1");
    frontend.predict_in_the_end(r#"{"input":[1]}"#);
    container.signal(Signal::TERM);
    assert_eq!(container.exit_status(), Some(0));
    frontend.wait_for_replicas("m", 0);
}

#[test]
fn over_tcp_the_join_token_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("1s");
    let tcp = frontend
        .rpc
        .iter()
        .find(|endpoint| endpoint.starts_with("tcp://"))
        .unwrap();
    let container = [
        "example-container",
        "sum",
        "--model",
        "m",
        "--version",
        "1",
        "--rpc",
        tcp,
    ];
    let refused = skysail().args(container).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("token"), "{}", stderr(&refused));
    let token = folder.path().join("join.token");
    let mut welcome = skysail();
    welcome.args(container).arg("--token-file").arg(token);
    let _container = crate::harness::Process(welcome.spawn().unwrap());
    frontend.predict_in_the_end(r#"{"input":[1]}"#);
    assert_eq!(frontend.replicas()[0]["transport"], "tcp");
}

/// Bytes that are no ZeroMQ at all.
#[test]
fn garbage_on_the_containers_port_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("1s");
    let _container = frontend.container("sum", "m", "1");
    frontend.predict_in_the_end(r#"{"input":[1]}"#);
    let tcp = frontend
        .rpc
        .iter()
        .find_map(|endpoint| endpoint.strip_prefix("tcp://"))
        .unwrap();
    for round in 0..20_u8 {
        let mut socket = std::net::TcpStream::connect(tcp).unwrap();
        drop(socket.write_all(&vec![round.wrapping_mul(37); 4096]));
    }
    let answer = frontend.predict_in_the_end(r#"{"input":[20,1]}"#);
    assert_eq!(answer["output"], 21.0);
}

/// A removed version's containers end by themselves.
#[test]
fn a_removed_versions_container_is_sent_away() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("1s");
    let mut container = frontend.container("sum", "m", "1");
    frontend.predict_in_the_end(r#"{"input":[1]}"#);
    frontend.cli(&["model", "remove", "m", "1"]);
    assert_eq!(container.exit_status(), Some(0));
    let answer = frontend.predict(r#"{"input":[1]}"#);
    assert_eq!(answer["default_cause"], "no_replica");
}

#[test]
fn a_container_of_another_input_type_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("1s");
    let mut command = skysail();
    command.args([
        "example-container",
        "noop",
        "--model",
        "m",
        "--version",
        "1",
    ]);
    let output = command.args(["--rpc", &frontend.rpc[0]]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("doubles"), "{}", stderr(&output));
    until("nobody joined", || {
        frontend.replicas().is_empty().then_some(())
    });
}

#[test]
fn strings_go_in_and_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.cli(&["model", "add", "upper", "1", "--input", "strings"]);
    frontend.cli(&[
        "app",
        "add",
        "app",
        "--input",
        "strings",
        "--slo",
        "1s",
        "--default",
        "none",
        "--link",
        "upper",
    ]);
    let _container = frontend.container("upper", "upper", "1");
    let answer = frontend.predict_in_the_end(r#"{"input":"na\u00efve \ud83d\ude00"}"#);
    assert_eq!(answer["output"], "NAÏVE 😀");
    let batch = frontend.predict(r#"{"input_batch":["a","","bc"]}"#);
    let outputs: Vec<_> = batch["batch_predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["output"])
        .collect();
    assert_eq!(outputs, ["A", "", "BC"]);
}

/// The input is shaped by the version that the query names, not by the one that serves.
#[test]
fn a_query_may_name_a_version() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("1s");
    frontend.cli(&["model", "add", "m", "2", "--input", "doubles"]);
    let _container = frontend.container("sum", "m", "1");
    frontend.wait_for_replicas("m", 1);
    let answer = frontend.predict_in_the_end(r#"{"input":[1,9],"version":"1"}"#);
    assert_eq!(
        (&answer["output"], &answer["models"][0]["version"]),
        (&10.0.into(), &"1".into())
    );
    let other = frontend.predict(r#"{"input":[1,9],"version":"2"}"#);
    assert_eq!(other["default_cause"], "no_replica");
}

/// Queries come in on every core; one of them owns the containers' socket.
#[test]
fn several_cores_share_the_replicas() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start_with(folder.path(), &["--cores", "3"]);
    frontend.register("10s");
    let _containers = [
        frontend.container("sum", "m", "1"),
        frontend.container("sum", "m", "1"),
    ];
    frontend.wait_for_replicas("m", 2);
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let frontend = &frontend;
            scope.spawn(move || {
                for query in 0..30 {
                    let answer = frontend.predict(&format!(r#"{{"input":[{thread},{query}]}}"#));
                    assert_eq!(answer["output"], f64::from(thread + query), "{answer}");
                }
            });
        }
    });
}
