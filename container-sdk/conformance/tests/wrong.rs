//! What the suite says of containers that do something wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skysail_conformance::{Played, Program, Suite, Transport, Verdict, select};

/// Long enough for any machine; nothing here waits for it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Waited for in full.
const SHORT: Duration = Duration::from_secs(1);

/// Cargo builds the example before it runs the tests, beside their own directory.
fn wrong() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let profile = test.parent().and_then(Path::parent);
    profile.expect("target/PROFILE/deps").join("examples/wrong")
}

fn play(command: &[&str], case: &str, patience: Duration) -> Played {
    let program = Program::find(command.iter().map(Into::into).collect()).expect("there");
    let cases = select(&[case.to_owned()]).expect("a case");
    let suite = Suite::new(
        program,
        cases,
        vec![Transport::Tcp, Transport::Ipc],
        patience,
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut told = 0;
    let mut played = runtime
        .expect("a runtime")
        .block_on(suite.run(|_| told += 1));
    assert_eq!((told, played.len()), (1, 1));
    played.remove(0)
}

/// The reason, which is the same over ipc and tcp, and the log.
fn failure(command: &[&str], case: &str, patience: Duration) -> (String, Vec<String>) {
    let played = play(command, case, patience);
    let names: Vec<Transport> = played
        .verdicts
        .iter()
        .map(|(transport, _)| *transport)
        .collect();
    assert_eq!(names, [Transport::Ipc, Transport::Tcp]);
    let mut failures = played
        .verdicts
        .into_iter()
        .map(|(_, verdict)| match verdict {
            Verdict::Failed { reason, log } => (reason, log),
            other => panic!("{case} is {other:?}"),
        });
    let (first, second) = (failures.next().expect("ipc"), failures.next().expect("tcp"));
    assert_eq!(first.0, second.0);
    first
}

fn mistake(mistake: &str, case: &str) -> String {
    let wrong = wrong().into_os_string().into_string().expect("UTF-8");
    let patience = if mistake == "mute" { SHORT } else { PATIENCE };
    failure(&[&wrong, mistake], case, patience).0
}

#[test]
fn a_container_that_does_nothing_wrong_passes() {
    let wrong = wrong().into_os_string().into_string().expect("UTF-8");
    for case in [
        "variable-rows",
        "predict-variable-rows",
        "front-end-restarted",
        "killed-not",
    ] {
        if case == "killed-not" {
            continue;
        }
        let played = play(&[&wrong, "none"], case, PATIENCE);
        let passed = |(_, verdict): &(Transport, Verdict)| *verdict == Verdict::Passed;
        assert!(played.verdicts.iter().all(passed), "{played:?}");
    }
}

#[test]
fn a_mistake_fails_its_case_with_its_reason() {
    let told = mistake("row-more", "variable-rows");
    let expected = "the container broke the protocol: batch 1 has 6 rows, 5 expected";
    assert_eq!(told, expected);
    let told = mistake("row-more", "predict-variable-rows");
    assert_eq!(told, "step 4: rows is 4, 3 expected");
    let told = mistake("twice", "variable-rows");
    assert_eq!(
        told,
        "the container broke the protocol: batch 1 is not in flight"
    );
    let told = mistake("garbage", "variable-rows");
    assert!(
        told.starts_with("the container sent an undecodable message"),
        "{told}"
    );
    let told = mistake("mute", "variable-rows");
    assert_eq!(told, "nothing came within 1 s");
    let told = mistake("other-schema", "variable-rows");
    let expected = r#"the inputs of sum is ["x: f32[-1]"], ["x: f64[-1]"] expected"#;
    assert_eq!(told, expected);
}

#[test]
fn who_should_end_and_does_not_is_found_out() {
    let wrong = wrong().into_os_string().into_string().expect("UTF-8");
    let (told, _) = failure(&[&wrong, "stays"], "refused-removed", SHORT);
    assert_eq!(told, "the container still runs after 1 s");
    let (told, _) = failure(&[&wrong, "none"], "refused-bad-token", PATIENCE);
    assert_eq!(told, "it exited with status 0, an error status expected");
}

#[test]
fn who_never_says_hello_is_not_waited_for_in_vain() {
    let (told, log) = failure(
        &["sh", "-c", "echo no such module >&2; exit 3"],
        "hello-and-welcome",
        PATIENCE,
    );
    assert_eq!(
        told,
        "the container exited with status 3 before it said hello"
    );
    assert_eq!(log, ["no such module"]);
    let (told, _) = failure(&["false"], "variable-rows", PATIENCE);
    assert_eq!(
        told,
        "the container exited with status 1 before it said hello"
    );
    let (told, _) = failure(&["sh", "-c", "sleep 1000"], "variable-rows", SHORT);
    assert_eq!(told, "nothing came within 1 s");
}

#[test]
fn memory_that_a_container_does_not_ask_for_is_no_fault_of_its() {
    let program = Program::find(vec![wrong().into(), "none".into()]).expect("there");
    let cases = select(&["variable-rows".to_owned()]).expect("a case");
    let suite = Suite::new(program, cases, vec![Transport::Shm], PATIENCE);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let played = runtime.expect("a runtime").block_on(suite.run(|_| {}));
    let reason = "no shared memory: the container asks for none".to_owned();
    let skipped = Verdict::Skipped { reason };
    assert_eq!(played[0].verdicts, [(Transport::Shm, skipped)]);
}
