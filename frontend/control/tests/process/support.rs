//! A playground for one test: a directory, a mark, and what it started.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use skysail_control::orchestrator::{
    Deployment, Orchestrator, ProcessOrchestrator, ReplicaProcess,
};
use tempfile::TempDir;

/// Generous: it only bounds how long a failing test takes.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);
pub(crate) const MARK_VARIABLE: &str = "SKYSAIL_TEST_MARK";

pub(crate) struct Playground {
    directory: TempDir,
    mark: String,
}

impl Playground {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mark = directory.path().display().to_string();
        Self { directory, mark }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `sh -c SCRIPT`, marked, with its logs here.
    pub(crate) fn deployment(&self, replicas: u32, script: &str) -> Deployment {
        deployment(self.path(), replicas, script)
    }

    pub(crate) fn log(&self, index: u32) -> String {
        fs::read_to_string(self.path().join(format!("replica-{index}.log"))).unwrap_or_default()
    }

    /// The processes that carry the mark.
    pub(crate) fn marked(&self) -> Vec<i32> {
        let entry = format!("{MARK_VARIABLE}={}", self.mark).into_bytes();
        processes()
            .into_iter()
            .filter(|&pid| environment(pid).contains(&entry))
            .collect()
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        self.marked().into_iter().for_each(kill);
    }
}

pub(crate) fn deployment(directory: &Path, replicas: u32, script: &str) -> Deployment {
    Deployment {
        model: "m".to_owned(),
        version: "1".to_owned(),
        generation: 1,
        replicas,
        program: "sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![(MARK_VARIABLE.to_owned(), directory.display().to_string())],
        log_dir: directory.to_owned(),
    }
}

pub(crate) fn executable() -> PathBuf {
    std::env::current_exe().expect("this executable has a path")
}

pub(crate) fn start() -> ProcessOrchestrator {
    ProcessOrchestrator::start(&executable()).expect("the supervisor starts")
}

/// This executable in another role, with its stdout piped.
pub(crate) fn role(name: &str, directory: &Path) -> Child {
    let mut command = Command::new(executable());
    command
        .arg(name)
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command.spawn().expect("this executable runs again")
}

/// Looks until `holds` says yes about what `look` sees, and returns that.
pub(crate) fn until<T: Debug>(what: &str, look: impl Fn() -> T, holds: impl Fn(&T) -> bool) -> T {
    let began = Instant::now();
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "waited for: {what}; last seen: {seen:?}"
        );
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
}

pub(crate) fn until_observed(
    orchestrator: &impl Orchestrator,
    what: &str,
    holds: impl Fn(&[ReplicaProcess]) -> bool,
) -> Vec<ReplicaProcess> {
    until(what, || orchestrator.observe(), |seen| holds(seen))
}

pub(crate) fn pid_of(replica: &ReplicaProcess) -> i32 {
    replica
        .pid
        .and_then(|pid| pid.try_into().ok())
        .expect("it has a process")
}

pub(crate) fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// Whether `pid` runs; a zombie does not.
pub(crate) fn runs(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z")
}

pub(crate) fn parent(pid: i32) -> i32 {
    stat(pid)
        .and_then(|fields| fields[1].parse().ok())
        .expect("it has a parent")
}

/// The fields of `/proc/PID/stat` from the state on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn environment(pid: i32) -> Vec<Vec<u8>> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}
