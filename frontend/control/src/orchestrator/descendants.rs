//! Finds and kills processes through `/proc`.
//!
//! A process that is killed starts no other any more, so a search that is repeated until it finds
//! nothing new has found all. A supervisor is the reaper of everything below it: what lost its
//! parent becomes its child, and stays below it.
//!
//! # Invariants
//! - Only processes below the caller are killed, but for [`kill_marked`], which goes by a random
//!   mark in the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

/// Environment variable whose value starts with the mark of the supervisor, and goes on with a
/// dot and the number of the start; inherited by all that a replica starts.
pub(super) const MARK_VARIABLE: &str = "SKYSAIL_SUPERVISED";

/// How long [`kill_all`] waits for killed processes to leave; one may be stuck in the kernel.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);
/// First and longest pause between two looks at processes that are leaving.
const LEAVE_PAUSE_MIN: Duration = Duration::from_millis(1);
const LEAVE_PAUSE_MAX: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    is_alive: bool,
}

/// Kills everything below the caller and reaps it; returns how many were left after a long wait.
pub(super) fn kill_all() -> usize {
    let began = Instant::now();
    let mut pause = LEAVE_PAUSE_MIN;
    while has_children() {
        let living = below(getpid());
        living.iter().for_each(|process| kill(process.pid));
        if began.elapsed() > LEAVE_PATIENCE {
            return living.len();
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LEAVE_PAUSE_MAX);
    }
    0
}

/// Reaps all children that ended; whether others are left.
fn has_children() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Kills what is left of a replica: its process `pid`, what is below that or in its process
/// group, and what carries `mark`. Only processes below the caller count.
pub(super) fn kill_replica(pid: u32, mark: &str) {
    let Some(root) = to_pid(pid) else { return };
    let root_raw = root.as_raw_nonzero().get();
    let wanted = mark_entry(mark);
    kill_until_none_is_new(|| {
        let tree: BTreeSet<_> = below(root).iter().map(|process| process.pid).collect();
        let mut members = below(getpid());
        members.retain(|process| {
            process.pid == root_raw
                || process.group == root_raw
                || tree.contains(&process.pid)
                || environment_has(process.pid, |entry| entry == wanted)
        });
        members
    });
}

/// Kills what carries a mark that starts with `mark` and a dot, wherever it is.
pub(super) fn kill_marked(mark: &str) {
    let prefix = mark_entry(&format!("{mark}."));
    kill_until_none_is_new(|| {
        let mut members = living(&table());
        members.retain(|process| environment_has(process.pid, |e| e.starts_with(&prefix)));
        members
    });
}

fn kill_until_none_is_new(search: impl Fn() -> Vec<Process>) {
    let mut killed = BTreeSet::new();
    let mut quiet_rounds = 0;
    // Twice: a process that changes its parent during a search can be missed by that one.
    while quiet_rounds < 2 {
        let new: Vec<_> = search()
            .into_iter()
            .filter(|one| killed.insert(one.pid))
            .collect();
        quiet_rounds = if new.is_empty() { quiet_rounds + 1 } else { 0 };
        new.iter().for_each(|process| kill(process.pid));
    }
}

fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended by itself, or belong to another user; then there is nothing to do.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// `pid` as the kernel's type; `None` for what is no process.
pub(super) fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The living processes below `root`, without it.
fn below(root: Pid) -> Vec<Process> {
    let table = table();
    let mut found = Vec::new();
    let mut parents = vec![root.as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        let children = table.get(&parent).map_or(&[][..], Vec::as_slice);
        parents.extend(children.iter().map(|child| child.pid));
        found.extend(children.iter().filter(|child| child.is_alive));
    }
    found
}

fn living(table: &BTreeMap<i32, Vec<Process>>) -> Vec<Process> {
    table
        .values()
        .flatten()
        .filter(|process| process.is_alive)
        .copied()
        .collect()
}

/// All processes, by parent.
fn table() -> BTreeMap<i32, Vec<Process>> {
    let mut table: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for process in fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| read(&entry))
    {
        table.entry(process.parent).or_default().push(process);
    }
    table
}

fn read(entry: &fs::DirEntry) -> Option<Process> {
    let pid = entry.file_name().to_str()?.parse().ok()?;
    parse(pid, &fs::read(entry.path().join("stat")).ok()?)
}

/// Reads `PID (NAME) STATE PARENT GROUP …`; the name may hold anything, also parentheses.
fn parse(pid: i32, stat: &[u8]) -> Option<Process> {
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[name_end + 1..])
        .ok()?
        .split_ascii_whitespace();
    let is_alive = !matches!(fields.next()?, "Z" | "X" | "x");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        group,
        is_alive,
    })
}

fn mark_entry(mark: &str) -> Vec<u8> {
    format!("{MARK_VARIABLE}={mark}").into_bytes()
}

fn environment_has(pid: i32, wanted: impl Fn(&[u8]) -> bool) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|&byte| byte == 0).any(wanted)
}

#[cfg(test)]
mod tests {
    use super::{Process, below, parse};
    use rustix::process::getpid;

    #[test]
    fn reads_names_that_look_like_fields() {
        let stat = b"42 (a) S 7 (b) Z 5 6 7 8";
        let process = Process {
            pid: 42,
            parent: 5,
            group: 6,
            is_alive: false,
        };
        assert_eq!(parse(42, stat), Some(process));
        assert_eq!(parse(42, b"42 (a"), None);
        assert_eq!(parse(42, b"42 (a) S"), None);
    }

    #[test]
    fn finds_a_child() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep");
        let found = below(getpid());
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        assert!(
            found
                .iter()
                .any(|process| u32::try_from(process.pid) == Ok(child.id()))
        );
    }
}
