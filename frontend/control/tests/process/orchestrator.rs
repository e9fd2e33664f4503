//! The process orchestrator with real processes.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use skysail_control::orchestrator::{
    Deployment, Orchestrator, OrchestratorErrorKind, ProcessOrchestrator, ProcessState,
    ReplicaProcess,
};

use crate::Test;
use crate::roles::{FAMILY_COUNT, FRONT_END_REPLICAS};
use crate::support::{
    Playground, kill, parent, pid_of, role, runs, signal, start, until, until_observed,
};

pub(crate) const TESTS: &[Test] = &[
    (
        "orchestrator::restarts_a_program_that_crashes_and_says_how",
        restarts_after_crash,
    ),
    (
        "orchestrator::says_why_a_program_cannot_be_started",
        cannot_start,
    ),
    ("orchestrator::says_why_a_log_cannot_be_kept", cannot_log),
    (
        "orchestrator::gives_replicas_their_environment_and_keeps_their_logs",
        environment_and_logs,
    ),
    (
        "orchestrator::stops_the_highest_indexes_when_scaled_down",
        scales_down,
    ),
    (
        "orchestrator::kills_the_whole_tree_once_the_grace_is_over",
        kills_after_grace,
    ),
    (
        "orchestrator::restarts_replicas_whose_command_changed",
        changed_command,
    ),
    (
        "orchestrator::leaves_nothing_of_a_replica_that_crashed",
        no_leftovers,
    ),
    (
        "orchestrator::leaves_nothing_when_the_front_end_is_killed",
        killed_front_end,
    ),
    ("orchestrator::leaves_nothing_when_it_is_dropped", dropped),
    (
        "orchestrator::replaces_a_supervisor_that_was_killed",
        killed_supervisor,
    ),
    (
        "orchestrator::keeps_replicas_when_the_supervisor_is_asked_to_end",
        asked_supervisor,
    ),
    (
        "orchestrator::refuses_an_executable_that_does_not_supervise",
        no_supervisor,
    ),
];

fn apply(orchestrator: &ProcessOrchestrator, desired: &[Deployment]) {
    orchestrator.apply(desired).expect("a sound declaration");
}

fn all_run(replicas: &[ReplicaProcess], count: usize) -> bool {
    replicas.len() == count
        && replicas
            .iter()
            .all(|one| one.state == ProcessState::Running)
}

fn until_running(orchestrator: &ProcessOrchestrator, count: usize) -> Vec<ReplicaProcess> {
    until_observed(orchestrator, "all replicas run", |seen| {
        all_run(seen, count)
    })
}

fn until_none_is_marked(playground: &Playground) {
    until("no process is left", || playground.marked(), Vec::is_empty);
}

fn restarts_after_crash() {
    let (playground, orchestrator) = (Playground::new(), start());
    let mut watch = orchestrator.watch();
    watch.mark_unchanged();
    let script = "echo try; test $SKYSAIL_REPLICA_INDEX = 1 && kill -9 $$; exit 3";
    apply(&orchestrator, &[playground.deployment(2, script)]);
    let often = |seen: &[ReplicaProcess]| seen.len() == 2 && seen.iter().all(|r| r.restarts >= 2);
    let seen = until_observed(&orchestrator, "two restarts", often);
    assert_eq!(seen[0].last_exit.as_deref(), Some("exited: code 3"));
    assert_eq!(seen[1].last_exit.as_deref(), Some("killed by signal 9"));
    assert!(watch.has_changed().expect("the orchestrator lives"));
    let has_three = |log: &String| log.contains(", start 3\n");
    let log = until(
        "the third start in the log",
        || playground.log(0),
        has_three,
    );
    assert!(log.starts_with("--- started, pid "), "{log}");
    assert!(
        log.contains(", start 1\ntry\n--- exited: code 3\n--- started, pid "),
        "{log}"
    );
    assert!(playground.log(1).contains("try\n--- killed by signal 9\n"));
}

fn cannot_start() {
    let (playground, orchestrator) = (Playground::new(), start());
    let missing = Deployment {
        program: "/x/y".into(),
        ..playground.deployment(1, "")
    };
    apply(&orchestrator, &[missing]);
    let seen = until_observed(&orchestrator, "a second failure", |seen| {
        seen.len() == 1 && seen[0].restarts >= 1 && seen[0].last_exit.is_some()
    });
    let why = "cannot start /x/y: No such file or directory";
    assert_eq!(seen[0].last_exit.as_deref(), Some(why));
    assert!(playground.log(0).contains(why));
}

fn cannot_log() {
    let (playground, orchestrator) = (Playground::new(), start());
    let log_dir = Path::new("/proc/skysail").to_owned();
    apply(
        &orchestrator,
        &[Deployment {
            log_dir,
            ..playground.deployment(1, "exit")
        }],
    );
    let seen = until_observed(&orchestrator, "a failure", |seen| {
        seen.len() == 1 && seen[0].last_exit.is_some()
    });
    let why = seen[0].last_exit.as_deref().unwrap_or_default();
    assert!(
        why.starts_with("cannot open a log in /proc/skysail: "),
        "{why}"
    );
    assert!(matches!(seen[0].state, ProcessState::BackingOff { .. }));
}

fn environment_and_logs() {
    let (playground, orchestrator) = (Playground::new(), start());
    let script = "echo out $SKYSAIL_REPLICA_INDEX $SKYSAIL_TEST_EXTRA; cat; echo err >&2; \
                  ls /proc/self/fd | wc -l; exec sleep 1000";
    let mut deployment = playground.deployment(2, script);
    deployment
        .env
        .push(("SKYSAIL_TEST_EXTRA".to_owned(), "more words".to_owned()));
    apply(&orchestrator, &[deployment]);
    let seen = until_running(&orchestrator, 2);
    // As many descriptors as any child of this test has: none of ours.
    let last_line = format!("err\n{}", plain_child_says("ls /proc/self/fd | wc -l"));
    for index in 0..2 {
        let all_printed = |log: &String| log.contains(&last_line);
        let log = until("the output", || playground.log(index), all_printed);
        assert!(
            log.contains(&format!("out {index} more words\nerr\n")),
            "{log}"
        );
    }
    // The log belongs to the deployment, not to the process.
    apply(&orchestrator, &[]);
    until_observed(&orchestrator, "no replica", <[_]>::is_empty);
    assert!(!seen.iter().any(|replica| runs(pid_of(replica))));
    assert!(playground.log(1).ends_with("--- killed by signal 15\n"));
}

fn plain_child_says(script: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .output();
    String::from_utf8(output.expect("a shell").stdout).expect("text")
}

fn scales_down() {
    let (playground, orchestrator) = (Playground::new(), start());
    apply(
        &orchestrator,
        &[playground.deployment(3, "exec sleep 1000")],
    );
    let before = until_running(&orchestrator, 3);
    apply(
        &orchestrator,
        &[playground.deployment(1, "exec sleep 1000")],
    );
    let after = until_running(&orchestrator, 1);
    assert_eq!(after, before[..1]);
    assert!(!runs(pid_of(&before[1])) && !runs(pid_of(&before[2])));
    apply(
        &orchestrator,
        &[playground.deployment(2, "exec sleep 1000")],
    );
    assert_eq!(until_running(&orchestrator, 2)[0], before[0]);
}

fn kills_after_grace() {
    let (playground, orchestrator) = (Playground::new(), start());
    let script = "trap '' TERM; echo ready; sleep 1000 & setsid sleep 1000 & \
                  while true; do sleep 1000; done";
    apply(&orchestrator, &[playground.deployment(1, script)]);
    until(
        "the trap",
        || playground.log(0),
        |log| log.contains("ready"),
    );
    until("its children", || playground.marked(), |all| all.len() == 4);
    apply(&orchestrator, &[]);
    until_observed(&orchestrator, "stopping", |seen| {
        seen.iter().all(|one| one.state == ProcessState::Stopping)
    });
    until_observed(&orchestrator, "no replica", <[_]>::is_empty);
    until_none_is_marked(&playground);
    assert!(playground.log(0).ends_with("--- killed by signal 9\n"));
}

fn changed_command() {
    let (playground, orchestrator) = (Playground::new(), start());
    apply(
        &orchestrator,
        &[playground.deployment(1, "echo old; exec sleep 1000")],
    );
    let before = until_running(&orchestrator, 1);
    apply(
        &orchestrator,
        &[playground.deployment(1, "echo new; exec sleep 1000")],
    );
    let changed = |seen: &[ReplicaProcess]| all_run(seen, 1) && seen[0].pid != before[0].pid;
    until_observed(&orchestrator, "another process", changed);
    until(
        "the new output",
        || playground.log(0),
        |log| log.contains("\nnew\n"),
    );
    assert!(!runs(pid_of(&before[0])));
}

fn no_leftovers() {
    let (playground, orchestrator) = (Playground::new(), start());
    let script = "sleep 1000 & setsid sleep 1000 & sh -c 'setsid sleep 1000 &'; exit 1";
    let crashing = playground.deployment(1, script);
    let healthy = Deployment {
        generation: 2,
        ..playground.deployment(1, "exec sleep 1000")
    };
    apply(&orchestrator, &[crashing, healthy.clone()]);
    until_observed(&orchestrator, "a restart", |seen| {
        seen.iter().any(|one| one.restarts >= 2)
    });
    apply(&orchestrator, &[healthy]);
    let left = until_running(&orchestrator, 1);
    until(
        "only the other deployment is left",
        || playground.marked(),
        |all| *all == [pid_of(&left[0])],
    );
}

fn killed_front_end() {
    let playground = Playground::new();
    let mut front_end = role("front-end", playground.path());
    let count = FAMILY_COUNT * FRONT_END_REPLICAS;
    let family = until(
        "the whole family",
        || playground.marked(),
        |all| all.len() == count,
    );
    let front_end_pid = i32::try_from(front_end.id()).expect("a pid");
    let supervisor = family
        .iter()
        .map(|&pid| parent(pid))
        .find(|&pid| parent(pid) == front_end_pid);
    let supervisor = supervisor.expect("replicas are children of the supervisor");
    front_end.kill().expect("the front end runs");
    front_end.wait().expect("the front end ended");
    until("the supervisor ends", || runs(supervisor), |runs| !runs);
    assert_eq!(playground.marked(), [0; 0], "the supervisor ends last");
}

fn dropped() {
    let (playground, orchestrator) = (Playground::new(), start());
    apply(
        &orchestrator,
        &[playground.deployment(2, "setsid sleep 1000 & exec sleep 1000")],
    );
    until(
        "all processes",
        || playground.marked(),
        |all| all.len() == 4,
    );
    drop(orchestrator);
    assert_eq!(playground.marked(), [0; 0]);
}

fn killed_supervisor() {
    let (playground, orchestrator) = (Playground::new(), start());
    apply(
        &orchestrator,
        &[playground.deployment(1, "setsid sleep 1000 & exec sleep 1000")],
    );
    let before = until_running(&orchestrator, 1);
    let family = until(
        "all processes",
        || playground.marked(),
        |all| all.len() == 2,
    );
    kill(parent(pid_of(&before[0])));
    until_observed(&orchestrator, "another process", |seen| {
        all_run(seen, 1) && seen[0].pid != before[0].pid
    });
    assert!(
        !family.into_iter().any(runs),
        "the first supervisor's processes are gone"
    );
}

fn asked_supervisor() {
    let (playground, orchestrator) = (Playground::new(), start());
    apply(
        &orchestrator,
        &[playground.deployment(1, "exec sleep 1000")],
    );
    let before = until_running(&orchestrator, 1);
    let supervisor = parent(pid_of(&before[0]));
    for stop in [Signal::TERM, Signal::INT, Signal::HUP] {
        signal(supervisor, stop);
    }
    apply(
        &orchestrator,
        &[playground.deployment(2, "exec sleep 1000")],
    );
    let after = until_running(&orchestrator, 2);
    assert_eq!(after[0], before[0]);
    assert_eq!(parent(pid_of(&after[1])), supervisor);
}

fn no_supervisor() {
    for (executable, says) in [
        ("/bin/true", "ended before it was ready: exit status: 0"),
        ("/x/y", "cannot start the supervisor /x/y"),
    ] {
        let error = ProcessOrchestrator::start(Path::new(executable)).expect_err("no supervisor");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.kind(), OrchestratorErrorKind::Unavailable);
    }
}
