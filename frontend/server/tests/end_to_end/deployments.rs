//! Deploying, scaling, switching versions: the process orchestrator behind the command line.

use crate::harness::{Frontend, is_alive, until};

const EXE: &str = env!("CARGO_BIN_EXE_skysail");

fn deploy(frontend: &Frontend, version: &str, replicas: &str) {
    frontend.cli(&[
        "deploy",
        "--model",
        "m",
        "--version",
        version,
        "--replicas",
        replicas,
        "--input",
        "doubles",
        "--",
        EXE,
        "example-container",
        "sum",
    ]);
}

fn pids(frontend: &Frontend, count: usize) -> Vec<u64> {
    let replicas = frontend.wait_for_replicas("m", count);
    replicas
        .iter()
        .map(|replica| replica["pid"].as_u64().unwrap())
        .collect()
}

fn add_app(frontend: &Frontend) {
    let app = [
        "app",
        "add",
        "app",
        "--input",
        "doubles",
        "--slo",
        "2s",
        "--default",
        "-1",
    ];
    frontend.cli(&app);
    frontend.cli(&["app", "link", "app", "m"]);
}

fn answering_version(frontend: &Frontend) -> String {
    let answer = frontend.predict_in_the_end(r#"{"input":[1]}"#);
    answer["models"][0]["version"].as_str().unwrap().to_owned()
}

#[test]
fn replicas_are_started_scaled_restarted_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    deploy(&frontend, "1", "1");
    add_app(&frontend);
    let first = pids(&frontend, 1);
    frontend.cli(&["scale", "m", "3"]);
    assert_eq!(pids(&frontend, 3).len(), 3);
    frontend.cli(&["scale", "m", "1"]);
    assert_eq!(
        pids(&frontend, 1),
        first,
        "the highest indexes are stopped first"
    );
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(first[0] as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    until("it is started again", || {
        let replicas = frontend.replicas();
        let pid = replicas.first()?["pid"].as_u64()?;
        (replicas.len() == 1 && pid != first[0]).then_some(())
    });
    assert_eq!(
        frontend.predict_in_the_end(r#"{"input":[2,3]}"#)["output"],
        5.0
    );
    let logs = frontend.cli(&["logs", "m"]);
    assert!(
        logs.contains("started") && logs.contains("killed by signal 9"),
        "{logs}"
    );
}

#[test]
fn versions_switch_without_a_default() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    deploy(&frontend, "1", "1");
    add_app(&frontend);
    assert_eq!(answering_version(&frontend), "1");
    deploy(&frontend, "2", "1");
    // From here on every answer is a prediction, of one version or the other.
    until("version 2 answers", || {
        let answer = frontend.predict(r#"{"input":[1,1]}"#);
        assert_eq!(answer["default"], false, "{answer}");
        (answer["models"][0]["version"] == "2").then_some(())
    });
    frontend.cli(&["model", "rollback", "m"]);
    assert_eq!(answering_version(&frontend), "1");
    frontend.cli(&["model", "set-version", "m", "2"]);
    assert_eq!(answering_version(&frontend), "2");
    let pids = pids(&frontend, 2);
    frontend.cli(&["model", "remove", "m"]);
    until("the containers end", || {
        pids.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
    let answer = frontend.predict(r#"{"input":[1]}"#);
    assert_eq!(answer["default_cause"], "no_replica");
}

/// Also what they started themselves, in sessions of their own.
#[test]
fn containers_die_with_a_front_end_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut frontend = Frontend::start(folder.path());
    let marker = folder.path().join("daemon.pid");
    let script = format!(
        "setsid sh -c 'echo $$ > {}; sleep 1000' & exec {EXE} example-container sum",
        marker.display()
    );
    frontend.deploy("m", "doubles", &["sh", "-c", &script]);
    let mut pids = pids(&frontend, 1);
    pids.push(until("the daemon says who it is", || {
        std::fs::read_to_string(&marker).ok()?.trim().parse().ok()
    }));
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    frontend.process.kill_9();
    until("all are gone", || {
        pids.iter().all(|pid| !is_alive(*pid)).then_some(())
    });
}

#[test]
fn a_program_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    let program = "/nonexistent/model";
    frontend.deploy("m", "doubles", &[program]);
    until("the reason shows in the status", || {
        let status = frontend.json_cli(&["status"]).to_string();
        (status.contains(program) && status.contains("No such file")).then_some(())
    });
}
