use std::collections::BTreeMap;
use std::time::Duration;

use super::{Action, STOP_GRACE, Supervision};
use crate::orchestrator::backoff::{DELAY_MAX, DELAY_MIN, HEALTHY_AFTER};
use crate::orchestrator::{Deployment, ProcessState};

fn deployment(model: &str, replicas: u32, program: &str) -> Deployment {
    Deployment {
        model: model.to_owned(),
        version: "1".to_owned(),
        generation: 1,
        replicas,
        program: program.into(),
        args: Vec::new(),
        env: Vec::new(),
        log_dir: "/logs".into(),
    }
}

/// A machine without processes: gives out pids and remembers what runs.
struct Machine {
    supervision: Supervision,
    now: Duration,
    pid_next: u32,
    /// By pid: the program, and whether it was asked to end.
    running: BTreeMap<u32, (String, bool)>,
    stopped: Vec<u32>,
    killed: Vec<u32>,
}

impl Machine {
    fn new(seed: u64) -> Self {
        Self {
            supervision: Supervision::new(seed),
            now: Duration::ZERO,
            pid_next: 100,
            running: BTreeMap::new(),
            stopped: Vec::new(),
            killed: Vec::new(),
        }
    }

    fn apply(&mut self, desired: Vec<Deployment>) {
        self.supervision.apply(desired, self.now);
        self.step();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.step();
    }

    fn step(&mut self) {
        for action in self.supervision.step(self.now) {
            self.carry_out(action);
        }
        self.supervision.check_invariants();
        assert!(
            self.supervision
                .deadline()
                .is_none_or(|deadline| deadline > self.now)
        );
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn {
                key, deployment, ..
            } if deployment.program.starts_with("missing") => {
                self.supervision
                    .spawn_failed(&key, "cannot start".to_owned(), self.now);
            }
            Action::Spawn {
                key, deployment, ..
            } => {
                let pid = self.pid_next;
                self.pid_next += 1;
                self.running
                    .insert(pid, (deployment.program.display().to_string(), false));
                self.supervision.spawned(&key, pid, self.now);
            }
            Action::Terminate { pid } => {
                let (_, stopping) = self.running.get_mut(&pid).expect("it runs");
                assert!(!std::mem::replace(stopping, true), "asked to end once");
                self.stopped.push(pid);
            }
            Action::Kill { pid } => {
                assert!(self.running[&pid].1, "asked to end before it is killed");
                self.killed.push(pid);
            }
        }
    }

    fn exit(&mut self, pid: u32) {
        self.running.remove(&pid).expect("it runs");
        self.supervision
            .exited(pid, "exited: code 1".to_owned(), self.now);
        self.step();
    }

    fn pids(&self) -> Vec<u32> {
        self.running.keys().copied().collect()
    }

    fn states(&self) -> Vec<ProcessState> {
        self.supervision
            .observe()
            .iter()
            .map(|replica| replica.state)
            .collect()
    }
}

#[test]
fn starts_each_declared_replica_once() {
    let mut machine = Machine::new(0);
    machine.apply(vec![deployment("a", 2, "p"), deployment("b", 1, "p")]);
    machine.apply(vec![deployment("a", 2, "p"), deployment("b", 1, "p")]);
    assert_eq!(machine.pids(), [100, 101, 102]);
    let observed = machine.supervision.observe();
    let names: Vec<_> = observed
        .iter()
        .map(|one| (one.model.as_str(), one.index))
        .collect();
    assert_eq!(names, [("a", 0), ("a", 1), ("b", 0)]);
    assert_eq!(machine.supervision.deadline(), None);
}

#[test]
fn backs_off_longer_after_each_crash_and_counts_restarts() {
    let mut machine = Machine::new(0);
    machine.apply(vec![deployment("a", 1, "p")]);
    for restarts in 1..=5 {
        machine.exit(machine.pids()[0]);
        let observed = &machine.supervision.observe()[0];
        assert!(matches!(observed.state, ProcessState::BackingOff { .. }));
        assert_eq!(
            (observed.pid, observed.last_exit.as_deref()),
            (None, Some("exited: code 1"))
        );
        let delay = machine.supervision.deadline().expect("a restart is due") - machine.now;
        let whole = DELAY_MIN * 2_u32.pow(restarts - 1);
        assert!(delay >= whole / 2 && delay <= whole);
        machine.pass(delay);
        assert_eq!(machine.supervision.observe()[0].restarts, restarts);
        assert_eq!(machine.states(), [ProcessState::Running]);
    }
    machine.pass(HEALTHY_AFTER);
    machine.exit(machine.pids()[0]);
    let delay = machine.supervision.deadline().expect("a restart is due") - machine.now;
    assert!(delay <= DELAY_MIN);
}

#[test]
fn backs_off_where_nothing_can_be_started() {
    let mut machine = Machine::new(0);
    machine.apply(vec![deployment("a", 1, "missing")]);
    assert!(machine.supervision.deadline().is_some());
    assert_eq!(
        machine.supervision.observe()[0].last_exit.as_deref(),
        Some("cannot start")
    );
    machine.pass(DELAY_MAX);
    assert_eq!(machine.supervision.observe()[0].restarts, 1);
    machine.apply(vec![deployment("a", 1, "p")]);
    assert_eq!(
        machine.states(),
        [ProcessState::Running],
        "a new command starts at once"
    );
}

#[test]
fn stops_the_highest_indexes_first_and_kills_after_the_grace() {
    let mut machine = Machine::new(0);
    machine.apply(vec![deployment("a", 3, "p")]);
    machine.apply(vec![deployment("a", 1, "p")]);
    assert_eq!(machine.stopped, [102, 101]);
    machine.exit(101);
    machine.pass(STOP_GRACE - Duration::from_nanos(1));
    assert_eq!(machine.killed, [0; 0]);
    machine.pass(Duration::from_nanos(1));
    machine.pass(STOP_GRACE);
    assert_eq!(machine.killed, [102]);
    machine.exit(102);
    assert_eq!(machine.pids(), [100]);
    assert_eq!(machine.states(), [ProcessState::Running]);
    machine.apply(Vec::new());
    machine.exit(100);
    assert!(machine.supervision.observe().is_empty());
}

#[test]
fn restarts_replicas_whose_command_changed() {
    let mut machine = Machine::new(0);
    machine.apply(vec![deployment("a", 1, "old")]);
    machine.apply(vec![deployment("a", 2, "new")]);
    assert_eq!(machine.stopped, [100]);
    machine.apply(vec![deployment("a", 2, "newer")]);
    machine.exit(100);
    machine.exit(101);
    assert_eq!(machine.pids(), [102, 103]);
    assert!(
        machine
            .running
            .values()
            .all(|(program, _)| program == "newer")
    );
}

#[test]
fn starts_a_replica_again_that_was_declared_while_it_stopped() {
    let mut machine = Machine::new(0);
    machine.apply(vec![deployment("a", 1, "p")]);
    machine.apply(Vec::new());
    machine.apply(vec![deployment("a", 1, "p")]);
    assert_eq!(machine.states(), [ProcessState::Stopping]);
    machine.exit(100);
    assert_eq!(machine.states(), [ProcessState::Running]);
}

#[test]
fn keeps_generations_apart() {
    let mut machine = Machine::new(0);
    let old = deployment("a", 1, "p");
    let new = Deployment {
        generation: 2,
        ..old.clone()
    };
    machine.apply(vec![old, new.clone()]);
    assert_eq!(machine.pids(), [100, 101]);
    machine.apply(vec![new]);
    assert_eq!(machine.stopped, [100]);
}

#[test]
fn ignores_processes_that_are_nobodys() {
    let mut machine = Machine::new(0);
    machine.apply(vec![deployment("a", 1, "p")]);
    machine
        .supervision
        .exited(7, "exited: code 0".to_owned(), machine.now);
    assert_eq!(machine.states(), [ProcessState::Running]);
}

fn random_deployments(random: &mut fastrand::Rng) -> Vec<Deployment> {
    let models = ["a", "b", "c"]
        .into_iter()
        .filter(|_| random.bool())
        .collect::<Vec<_>>();
    let program = |random: &mut fastrand::Rng| ["p", "q", "missing"][random.usize(0..3)];
    models
        .iter()
        .map(|model| deployment(model, random.u32(0..4), program(random)))
        .collect()
}

fn random_event(machine: &mut Machine, random: &mut fastrand::Rng) {
    match random.u8(0..4) {
        0 => machine.apply(random_deployments(random)),
        1 => machine.pass(Duration::from_millis(random.u64(0..30_000))),
        _ => {
            if let Some(pid) = random.choice(machine.pids()) {
                machine.exit(pid);
            }
        }
    }
}

/// Lets time pass and processes obey, until nothing is left to do.
fn settle(machine: &mut Machine) {
    for pid in machine.pids() {
        if machine.running[&pid].1 {
            machine.exit(pid);
        }
    }
    machine.pass(DELAY_MAX);
}

#[test]
fn runs_what_was_declared_last_whatever_happened_before() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut machine = Machine::new(seed);
        for _ in 0..60 {
            random_event(&mut machine, &mut random);
        }
        let desired = vec![deployment("a", 2, "p"), deployment("c", 1, "q")];
        machine.apply(desired);
        settle(&mut machine);
        let mut programs: Vec<_> = machine
            .running
            .values()
            .map(|(program, _)| program.as_str())
            .collect();
        programs.sort_unstable();
        assert_eq!(programs, ["p", "p", "q"], "seed {seed}");
        assert_eq!(machine.states(), [ProcessState::Running; 3], "seed {seed}");
    }
}
