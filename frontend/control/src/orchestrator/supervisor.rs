//! The supervisor: a small process that keeps replicas running while the front end lives.
//!
//! It is the front end's child and hears from it over stdin; the end of stdin is the end of the
//! front end, however that came. Everything that replicas start stays below the supervisor, which
//! is a subreaper, so the supervisor can leave nothing behind.
//!
//! # Invariants
//! - Replicas are started by the main thread: the kernel ties their end to the end of the
//!   *thread* that started them.
//! - The loop never blocks on the front end: what it cannot write yet is replaced by what is true
//!   later.
//! - Nothing is polled: the loop wakes for a message, an ended child or a deadline.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process};
use rustix::process::{set_child_subreaper, wait};
use rustix::thread::gettid;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

use super::descendants::{self, MARK_VARIABLE, to_pid};
use super::launch::{self, Launched, Start};
use super::protocol::{Command, Lines, Report, encode};
use super::supervision::{Action, ReplicaKey, Supervision};
use super::{Deployment, ReplicaProcess};

/// Bytes taken from stdin at once.
const READ_BYTES: usize = 64 << 10;

/// Runs the supervisor until stdin ends; this is the hidden command `child-supervise`.
///
/// Call it from the main thread, before there is any other and before any runtime: replicas end
/// with the thread that starts them. Exit status: 0 when stdin ended, 1 when supervising failed,
/// 2 when it could not begin.
pub fn supervise() -> ExitCode {
    match Supervisor::begin() {
        Ok((runtime, mut supervisor)) => {
            let result = runtime.block_on(supervisor.run());
            finish(result)
        }
        Err(reason) => {
            complain(&format!("cannot supervise: {reason}"));
            ExitCode::from(2)
        }
    }
}

fn finish(result: Result<(), String>) -> ExitCode {
    let left = descendants::kill_all();
    if left > 0 {
        complain(&format!("{left} processes could not be killed"));
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            complain(&format!("supervising failed: {reason}"));
            ExitCode::FAILURE
        }
    }
}

fn complain(text: &str) {
    // Nobody is left to tell where stderr is closed.
    let _ = writeln!(io::stderr(), "skysail supervisor: {text}");
}

struct Supervisor {
    began: Instant,
    supervision: Supervision,
    launched: BTreeMap<u32, Process>,
    mark: String,
    starts: u64,
    child_ended: Signals,
    front_end: FrontEnd,
}

struct Process {
    launched: Launched,
    mark: String,
}

enum Event {
    Readable,
    Writable,
    ChildEnded,
    Deadline,
}

impl Supervisor {
    fn begin() -> Result<(tokio::runtime::Runtime, Self), String> {
        if gettid() != getpid() {
            return Err("not on the main thread".to_owned());
        }
        set_child_subreaper(Some(getpid())).map_err(|error| format!("no subreaper: {error}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
        let supervisor = {
            let _context = runtime.enter();
            Self::new()?
        };
        Ok((runtime, supervisor))
    }

    fn new() -> Result<Self, String> {
        outlive_stop_signals().map_err(|error| format!("cannot handle signals: {error}"))?;
        let child_ended = signal(SignalKind::child())
            .map_err(|error| format!("cannot notice ended children: {error}"))?;
        let mark = std::env::var(MARK_VARIABLE);
        Ok(Self {
            began: Instant::now(),
            supervision: Supervision::new(fastrand::u64(..)),
            launched: BTreeMap::new(),
            mark: mark.unwrap_or_else(|_| fastrand::u64(..).to_string()),
            starts: 0,
            child_ended,
            front_end: FrontEnd::new().map_err(|error| {
                format!("stdin and stdout must be pipes to a front end: {error}")
            })?,
        })
    }

    /// Supervises until the front end is gone, which is success.
    async fn run(&mut self) -> Result<(), String> {
        self.front_end.say(&Report::Ready)?;
        loop {
            self.step();
            self.front_end.show(self.supervision.observe())?;
            match self.next_event().await {
                Event::Readable => match self.front_end.read()? {
                    Read::Declarations(all) => all.into_iter().for_each(|one| self.apply(one)),
                    Read::End => return Ok(()),
                },
                Event::Writable => {
                    if self.front_end.write().is_err() {
                        return Ok(());
                    }
                }
                Event::ChildEnded => self.reap(),
                Event::Deadline => {}
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        let deadline = self.supervision.deadline();
        let left = deadline.map(|deadline| deadline.saturating_sub(self.now()));
        let front_end = &self.front_end;
        tokio::select! {
            _ = front_end.input.readable() => Event::Readable,
            _ = front_end.output.writable(), if front_end.has_pending() => Event::Writable,
            _ = self.child_ended.recv() => Event::ChildEnded,
            () = tokio::time::sleep(left.unwrap_or_default()), if left.is_some() => Event::Deadline,
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn apply(&mut self, desired: Vec<Deployment>) {
        self.supervision.apply(desired, self.now());
    }

    fn step(&mut self) {
        for action in self.supervision.step(self.now()) {
            match action {
                Action::Spawn {
                    key,
                    deployment,
                    start,
                } => self.spawn(&key, &deployment, start),
                Action::Terminate { pid } => terminate(pid),
                Action::Kill { pid } => self.kill(pid),
            }
        }
    }

    fn spawn(&mut self, key: &ReplicaKey, deployment: &Deployment, number: u32) {
        let mark = format!("{}.{}", self.mark, self.starts);
        self.starts += 1;
        let start = Start {
            deployment,
            index: key.index,
            number,
            mark: &mark,
        };
        match launch::launch(&start) {
            Ok(launched) => {
                self.supervision.spawned(key, launched.pid, self.now());
                self.launched
                    .insert(launched.pid, Process { launched, mark });
            }
            Err(reason) => self.supervision.spawn_failed(key, reason, self.now()),
        }
    }

    fn kill(&self, pid: u32) {
        if let Some(process) = self.launched.get(&pid) {
            descendants::kill_replica(pid, &process.mark);
        }
    }

    /// Takes all children that ended: replicas, and orphans that came to the subreaper.
    fn reap(&mut self) {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.ended(pid, status),
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn ended(&mut self, pid: Pid, status: WaitStatus) {
        let pid = pid.as_raw_nonzero().get().unsigned_abs();
        if let Some(Process { launched, mark }) = self.launched.remove(&pid) {
            // What it started ends with it; else each crash would leave some behind.
            descendants::kill_replica(pid, &mark);
            let how = launched.ended(status);
            self.supervision.exited(pid, how, self.now());
        }
    }
}

fn terminate(pid: u32) {
    if let Some(pid) = to_pid(pid) {
        // A child that ended is still there until it is reaped: this reaches no one else.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// A service manager that stops a whole group signals the supervisor too, but the front end
/// decides when replicas end: after it has drained.
fn outlive_stop_signals() -> io::Result<()> {
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        drop(signal(kind)?); // the handler stays for good
    }
    Ok(())
}

enum Read {
    Declarations(Vec<Vec<Deployment>>),
    End,
}

/// The two pipes, of which neither is waited for.
struct FrontEnd {
    input: pipe::Receiver,
    lines: Lines,
    output: pipe::Sender,
    pending: Vec<u8>,
    /// What the front end knows, or will once `pending` is written.
    shown: Vec<ReplicaProcess>,
}

impl FrontEnd {
    fn new() -> io::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self {
            input: pipe::Receiver::from_owned_fd(input)?,
            lines: Lines::default(),
            output: pipe::Sender::from_owned_fd(output)?,
            pending: Vec::new(),
            shown: Vec::new(),
        })
    }

    fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    fn say(&mut self, report: &Report) -> Result<(), String> {
        self.pending.extend(encode(report)?);
        Ok(())
    }

    /// Tells what changed, but not before the front end has read what it was told last.
    fn show(&mut self, replicas: Vec<ReplicaProcess>) -> Result<(), String> {
        if self.has_pending() || replicas == self.shown {
            return Ok(());
        }
        let report = Report::Observed(replicas);
        self.say(&report)?;
        if let Report::Observed(replicas) = report {
            self.shown = replicas;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        match self.output.try_write(&self.pending) {
            Ok(written) => {
                self.pending.drain(..written);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self) -> Result<Read, String> {
        let mut bytes = vec![0; READ_BYTES];
        match self.input.try_read(&mut bytes) {
            Ok(0) => Ok(Read::End),
            Ok(read) => {
                self.lines.push(&bytes[..read])?;
                self.declarations().map(Read::Declarations)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Read::Declarations(Vec::new()))
            }
            Err(error) => Err(format!("cannot read stdin: {error}")),
        }
    }

    fn declarations(&mut self) -> Result<Vec<Vec<Deployment>>, String> {
        let lines = std::iter::from_fn(|| self.lines.next_line());
        lines.map(|line| declaration(&line)).collect()
    }
}

fn declaration(line: &[u8]) -> Result<Vec<Deployment>, String> {
    let Command::Apply(desired) =
        serde_json::from_slice(line).map_err(|error| format!("bad message: {error}"))?;
    Ok(desired)
}
