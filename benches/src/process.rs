//! Child processes of a bench: started, read, weighed, ended.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Kernel ticks a second in `/proc/PID/stat`, on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// How often, and how many times, a child that was asked to end is looked at.
const GRACE_CHECK: Duration = Duration::from_millis(10);
const GRACE_CHECKS: u32 = 1000;

/// A child that is ended when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    /// Starts `command` with its standard output read by this process.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Result<Process> {
        let what = format!("cannot start {}", command.get_program().display());
        let mut child = command.stdout(Stdio::piped()).spawn().context(what)?;
        let lines = BufReader::new(child.stdout.take().context("standard output is piped")?);
        Ok(Process { child, lines })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("the process has ended")
    }

    /// Kills it at once, with SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Writes a line to its standard input, which must be piped.
    ///
    /// # Errors
    /// If it is not, or the process has ended.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("no standard input")?;
        writeln!(input, "{line}").context("the process has ended")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Closes its standard input and waits for its end; whether it ended by `patience`.
    pub fn ended_within(&mut self, patience: Duration) -> bool {
        drop(self.child.stdin.take());
        let begin = Instant::now();
        while !self.has_ended() {
            if begin.elapsed() >= patience {
                return false;
            }
            std::thread::sleep(GRACE_CHECK / 5);
        }
        true
    }

    /// The next line that it prints, as JSON.
    ///
    /// # Errors
    /// If it ends, or prints something else.
    pub fn json_line(&mut self) -> Result<serde_json::Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            bail!("the process ended before it was ready");
        }
        serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))
    }
}

impl Drop for Process {
    /// Asks the process to end, so that it leaves nothing behind; insists after a while.
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        // It may have ended already.
        let _ = kill_process(pid, Signal::TERM);
        for _ in 0..GRACE_CHECKS {
            if self.has_ended() {
                return;
            }
            std::thread::sleep(GRACE_CHECK);
        }
        self.kill();
    }
}

/// User and system time that a process has used, its threads together.
///
/// # Errors
/// If there is no such process.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("no process {pid}"))?;
    // Fields are counted after the name in parentheses, which may hold anything.
    let rest = stat.rsplit_once(')').context("malformed stat")?.1;
    let ticks = rest.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
}

/// A size in `/proc/PID/status`, such as `RssAnon`, in bytes.
///
/// # Errors
/// If there is no such process or line.
pub fn memory(pid: u32, line: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("no process {pid}"))?;
    let of_line = |text: &str| {
        text.strip_prefix(line)?
            .strip_prefix(':')?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    };
    let kilobytes = status.lines().find_map(of_line);
    Ok(1024 * kilobytes.with_context(|| format!("no {line} in the status of {pid}"))?)
}

/// How often the threads of a process went to sleep by themselves, each to be woken again; by the
/// name of the thread.
///
/// # Errors
/// If there is no such process.
pub fn sleeps(pid: u32) -> Result<BTreeMap<String, u64>> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let mut sleeps = BTreeMap::new();
    for thread in threads.with_context(|| format!("no process {pid}"))? {
        // A thread may end while it is looked at.
        let Ok(status) = std::fs::read_to_string(thread?.path().join("status")) else {
            continue;
        };
        let line = |name| status.lines().find_map(|line| line.strip_prefix(name));
        let name = line("Name:").context("a thread has a name")?.trim();
        let count = line("voluntary_ctxt_switches:").context("a thread has a count")?;
        *sleeps.entry(name.to_owned()).or_default() += count.trim().parse::<u64>()?;
    }
    Ok(sleeps)
}

/// The `skysail` binary built beside the running bench, unless another is given.
///
/// # Errors
/// If it is not there.
pub fn skysail(given: Option<PathBuf>) -> Result<PathBuf> {
    match given {
        Some(path) if !path.exists() => bail!("{} is not there", path.display()),
        Some(path) => Ok(path),
        None => beside(
            "skysail",
            "run `cargo build --release` first, or give --skysail",
        ),
    }
}

/// The `sleep-model` container built beside the running bench.
///
/// # Errors
/// If it is not there.
pub fn sleep_model() -> Result<PathBuf> {
    let advice = "run `cargo build --release -p skysail-benches` first";
    beside("sleep-model", advice)
}

/// The container of a network that is built beside the running bench.
///
/// # Errors
/// If it is not there.
pub fn mlp() -> Result<PathBuf> {
    let advice = "run `cargo build --release -p skysail-benches` first";
    beside("mlp", advice)
}

fn beside(name: &str, advice: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("{} is not there; {advice}", path.display());
    }
    Ok(path)
}
