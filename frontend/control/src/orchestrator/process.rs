//! Replicas as child processes: the front end's side.
//!
//! The front end tells a supervisor what it wants and hears what runs. Two threads do that, so
//! that no caller waits for the supervisor: the *writer* sends the latest declaration, the
//! *keeper* takes in observations and replaces a supervisor that ended.
//!
//! # Invariants
//! - At most one supervisor lives; a new one gets the latest declaration again.
//! - `observed` is empty while there is no supervisor: its replicas ended with it.
//! - Dropping the orchestrator ends the supervisor and everything below it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use super::backoff::Backoff;
use super::descendants::{MARK_VARIABLE, kill_marked, to_pid};
use super::protocol::{Command, LINE_BYTES_MAX, Report, encode};
use super::{Deployment, Orchestrator, OrchestratorError, ReplicaProcess, check};

const SUPERVISE_COMMAND: &str = "child-supervise";
/// How long a supervisor may take to end by itself; it waits for killed processes to leave.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Runs replicas as processes below a supervisor.
#[derive(Debug)]
pub struct ProcessOrchestrator {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    observation: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// The latest declaration, as a line.
    declaration: Option<Arc<[u8]>>,
    is_sent: bool,
    /// `None` without a supervisor, and while the writer uses it.
    stdin: Option<ChildStdin>,
    /// Which supervisor is the present one.
    epoch: u64,
    handle: Option<Arc<OwnedFd>>,
    observed: Vec<ReplicaProcess>,
    is_stopping: bool,
    has_ended: bool,
}

impl ProcessOrchestrator {
    /// Starts the supervisor, `EXECUTABLE child-supervise`, and waits until it is ready.
    ///
    /// Call it before the front end opens a socket, so that nothing of that is near replicas.
    ///
    /// # Errors
    /// Where the executable cannot be run, or ends before it is ready (it says why on stderr).
    pub fn start(executable: &Path) -> Result<Self, OrchestratorError> {
        let supervisor = Supervisor::start(executable)?;
        let shared = Arc::new(Shared::default());
        let keeper = Keeper {
            shared: shared.clone(),
            executable: executable.to_owned(),
        };
        let supervisor = shared.hand_over(supervisor);
        let writer = shared.clone();
        let threads = [
            spawn_thread("supervisor-writer", move || writer.write_declarations()),
            spawn_thread("supervisor-keeper", move || keeper.run(supervisor)),
        ];
        let failed = |source| OrchestratorError::SupervisorStart {
            executable: executable.to_owned(),
            source,
        };
        let threads = threads
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        Ok(Self { shared, threads })
    }
}

fn spawn_thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

impl Orchestrator for ProcessOrchestrator {
    fn apply(&self, desired: &[Deployment]) -> Result<(), OrchestratorError> {
        check(desired)?;
        let line = encode(&Command::Apply(desired.to_vec()))
            .map_err(|reason| OrchestratorError::Encode { reason })?;
        let mut state = self.shared.lock();
        if state.declaration.as_deref() != Some(line.as_slice()) {
            state.declaration = Some(line.into());
            state.is_sent = false;
            self.shared.changed.notify_all();
        }
        Ok(())
    }

    fn observe(&self) -> Vec<ReplicaProcess> {
        self.shared.lock().observed.clone()
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.shared.observation.subscribe()
    }
}

impl Drop for ProcessOrchestrator {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is one assignment or a few that cannot panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `supervisor` the present one.
    fn hand_over(&self, mut supervisor: Supervisor) -> Supervisor {
        let mut state = self.lock();
        state.epoch += 1;
        state.is_sent = state.declaration.is_none();
        state.stdin = supervisor.stdin.take().filter(|_| !state.is_stopping);
        state.handle = Some(supervisor.handle.clone());
        self.changed.notify_all();
        supervisor
    }

    fn set_observed(&self, observed: Vec<ReplicaProcess>) {
        self.lock().observed = observed;
        self.observation.send_modify(|number| *number += 1);
    }

    /// The writer: sends the latest declaration whenever there is one and someone to send it to.
    fn write_declarations(&self) {
        while let Some((mut stdin, line, epoch)) = self.next_declaration() {
            let result = stdin.write_all(&line);
            let mut state = self.lock();
            if result.is_ok() && state.epoch == epoch && !state.is_stopping {
                state.stdin = Some(stdin);
            }
            // Else the supervisor is gone or shall go; the keeper does the rest.
        }
    }

    fn next_declaration(&self) -> Option<(ChildStdin, Arc<[u8]>, u64)> {
        let mut state = self.lock();
        loop {
            if state.is_stopping {
                return None;
            }
            if let (false, Some(line)) = (state.is_sent, state.declaration.clone())
                && let Some(stdin) = state.stdin.take()
            {
                state.is_sent = true;
                return Some((stdin, line, state.epoch));
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the supervisor; returns once the keeper is about to end.
    fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        state.stdin = None;
        self.changed.notify_all();
        let lives = |state: &mut State| !state.has_ended;
        let (state, timeout) = self
            .changed
            .wait_timeout_while(state, STOP_PATIENCE, lives)
            .unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out()
            && let Some(handle) = &state.handle
        {
            tracing::warn!("supervisor does not end, killing it");
            kill(handle);
        }
    }

    /// Waits `delay`, less if the orchestrator stops; whether it does.
    fn stops_within(&self, delay: Duration) -> bool {
        let goes_on = |state: &mut State| !state.is_stopping;
        let waited = self.changed.wait_timeout_while(self.lock(), delay, goes_on);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }

    fn note_end(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }
}

/// The thread that follows the supervisor and replaces it.
struct Keeper {
    shared: Arc<Shared>,
    executable: PathBuf,
}

impl Keeper {
    fn run(self, mut supervisor: Supervisor) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            supervisor.follow(&self.shared);
            let exit = supervisor.end();
            self.shared.lock().stdin = None;
            self.shared.set_observed(Vec::new());
            match self.replace(&exit, began.elapsed(), &mut backoff) {
                Some(next) => supervisor = self.shared.hand_over(next),
                None => return self.shared.note_end(),
            }
        }
    }

    /// Starts another supervisor, however long that takes; `None` when the orchestrator stops.
    fn replace(&self, exit: &str, ran: Duration, backoff: &mut Backoff) -> Option<Supervisor> {
        let mut random = fastrand::Rng::new();
        let mut delay = backoff.ended(ran, &mut random);
        if self.shared.stops_within(Duration::ZERO) {
            return None;
        }
        tracing::error!(%exit, ?delay, "supervisor ended, its replicas too; starting another");
        while !self.shared.stops_within(delay) {
            match Supervisor::start(&self.executable) {
                Ok(supervisor) => return Some(supervisor),
                Err(error) => {
                    delay = backoff.ended(Duration::ZERO, &mut random);
                    tracing::error!(%error, ?delay, "supervisor cannot be started");
                }
            }
        }
        None
    }
}

/// One supervisor process.
#[derive(Debug)]
struct Supervisor {
    child: Child,
    handle: Arc<OwnedFd>,
    stdin: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
    mark: String,
}

impl Supervisor {
    fn start(executable: &Path) -> Result<Self, OrchestratorError> {
        let mut supervisor =
            Self::spawn(executable).map_err(|source| OrchestratorError::SupervisorStart {
                executable: executable.to_owned(),
                source,
            })?;
        if matches!(supervisor.next_report(), Ok(Some(Report::Ready))) {
            return Ok(supervisor);
        }
        let executable = executable.to_owned();
        Err(OrchestratorError::SupervisorEnded {
            executable,
            exit: supervisor.end(),
        })
    }

    fn spawn(executable: &Path) -> io::Result<Self> {
        let mark = format!("{:016x}", fastrand::u64(..));
        let mut child = std::process::Command::new(executable)
            .arg(SUPERVISE_COMMAND)
            .env(MARK_VARIABLE, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pid = to_pid(child.id()).ok_or(io::ErrorKind::InvalidData)?;
        let handle = Arc::new(pidfd_open(pid, PidfdFlags::empty())?);
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            child,
            handle,
            stdin,
            reports: BufReader::new(stdout),
            mark,
        })
    }

    /// Passes observations on until there are no more.
    fn follow(&mut self, shared: &Shared) {
        loop {
            match self.next_report() {
                Ok(Some(Report::Observed(observed))) => shared.set_observed(observed),
                Ok(Some(Report::Ready)) => {}
                Ok(None) => return,
                Err(error) => return tracing::error!(%error, "supervisor sent a bad report"),
            }
        }
    }

    fn next_report(&mut self) -> io::Result<Option<Report>> {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64;
        self.reports
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }

    /// Makes sure that it and everything that it started is gone; says how it ended.
    fn end(&mut self) -> String {
        self.stdin = None;
        if !matches!(self.reports.fill_buf(), Ok([])) {
            kill(&self.handle); // it still talks, but not sense
        }
        let exit = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        // The kernel kills replicas with their supervisor; this finds what those had started.
        kill_marked(&self.mark);
        exit
    }
}

fn kill(handle: &OwnedFd) {
    // It may just have ended.
    let _ = pidfd_send_signal(handle, Signal::KILL);
}
