//! Starts one replica through a shim: this executable again, as `exec-container`.
//!
//! The shim asks the kernel to kill it when the supervisor's main thread ends, then becomes the
//! program. Between fork and exec only the standard library runs, so no `unsafe` is needed. Until
//! it is the program, the shim's stdin is a socket to the supervisor: a byte from there says that
//! the start is in the log, its end that the supervisor is gone, and what the shim writes is why
//! the program cannot run.
//!
//! # Invariants
//! - The program starts with stdin at `/dev/null`, its own process group, and no descriptor of
//!   ours.
//! - It inherits our environment but for the token of a client.
//! - The log tells of a start before the program can print.
//! - A shim whose supervisor ended before it asked to be killed does not become the program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitStatus, set_parent_process_death_signal};

use super::descendants::MARK_VARIABLE;
use super::{Deployment, REPLICA_INDEX_VARIABLE, replica_log};

/// The executable that runs now, also where its file was replaced since.
const THIS_EXECUTABLE: &str = "/proc/self/exe";
/// What `ps` shows until the shim is the program.
const SHIM_NAME: &str = "skysail";
const SHIM_COMMAND: &str = "exec-container";
/// A token of whoever started the front end, for the commands; none of a model's business.
const CLIENT_TOKEN_VARIABLE: &str = "SKYSAIL_TOKEN";
/// Longest reason that is taken from a shim.
const REASON_BYTES_MAX: u64 = 4096;
/// Tells the shim to go on.
const GO: u8 = b'g';
/// What a shell answers for a command that it cannot run.
const EXIT_CANNOT_START: u8 = 127;

/// Which start this is.
pub(super) struct Start<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) index: u32,
    /// From 1.
    pub(super) number: u32,
    /// Carried by all that the replica starts.
    pub(super) mark: &'a str,
}

/// A replica's process.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) pid: u32,
    log: File,
    shim: UnixStream,
}

/// Starts a replica; call it from the main thread only, whose end ends the replica.
pub(super) fn launch(start: &Start<'_>) -> Result<Launched, String> {
    let deployment = start.deployment;
    let log = replica_log::open(&deployment.log_dir, start.index).map_err(|error| {
        format!(
            "cannot open a log in {}: {}",
            deployment.log_dir.display(),
            brief(&error)
        )
    })?;
    let failed = |error: io::Error| cannot_start(deployment, &error);
    let (mut shim, stdin) = UnixStream::pair().map_err(failed)?;
    let pid = spawn(start, &log, OwnedFd::from(stdin).into()).map_err(failed)?;
    let text = format!("started, pid {pid}, start {}", start.number);
    replica_log::note(&log, &text);
    // A shim that was killed does not hear it; its end is noticed as any other.
    let _ = shim.write_all(&[GO]);
    Ok(Launched { pid, log, shim })
}

fn spawn(start: &Start<'_>, log: &File, stdin: Stdio) -> io::Result<u32> {
    let deployment = start.deployment;
    let mut command = Command::new(THIS_EXECUTABLE);
    command
        .arg0(SHIM_NAME)
        .args([SHIM_COMMAND, "--"])
        .arg(&deployment.program)
        .args(&deployment.args)
        .env_remove(CLIENT_TOKEN_VARIABLE)
        .envs(deployment.env.iter().map(|(name, value)| (name, value)))
        .env(REPLICA_INDEX_VARIABLE, start.index.to_string())
        .env(MARK_VARIABLE, start.mark)
        .process_group(0)
        .stdin(stdin)
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    // The command owns our copy of the shim's end; it must not outlive this function.
    Ok(command.spawn()?.id())
}

impl Launched {
    /// Notes the end in the log and says how it came; call it after the process was reaped.
    pub(super) fn ended(self, status: WaitStatus) -> String {
        let mut reason = String::new();
        // Whoever held the other end is gone, or became the program and closed it.
        let read = self.shim.take(REASON_BYTES_MAX).read_to_string(&mut reason);
        let how = if read.is_ok() && !reason.is_empty() {
            reason
        } else {
            describe(status)
        };
        replica_log::note(&self.log, &how);
        how
    }
}

/// `exited: code 3` or `killed by signal 9`.
pub(super) fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited: code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Becomes `program`, to be killed when the supervisor ends; returns only where that fails.
///
/// This is the hidden command `exec-container -- PROGRAM ARGS…`. It must run before the process
/// has a second thread.
pub fn exec_container(program: &OsStr, args: &[OsString]) -> ExitCode {
    let reason = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(stdin) => replace(program, args, stdin.into()),
        Err(error) => format!("cannot read stdin: {}", brief(&error)),
    };
    let _ = writeln!(io::stderr(), "{reason}");
    ExitCode::from(EXIT_CANNOT_START)
}

/// Becomes the program, or tells the supervisor why not.
fn replace(program: &OsStr, args: &[OsString], mut supervisor: UnixStream) -> String {
    let reason = match wait_for_supervisor(&mut supervisor) {
        Ok(()) => {
            let error = Command::new(program).args(args).stdin(Stdio::null()).exec();
            format!("cannot start {}: {}", program.display(), brief(&error))
        }
        Err(reason) => reason,
    };
    // Nobody reads it where the supervisor is gone.
    let _ = supervisor.write_all(reason.as_bytes());
    reason
}

fn wait_for_supervisor(supervisor: &mut UnixStream) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot ask to end with the supervisor: {error}"))?;
    let is_told = supervisor.read_exact(&mut [0]).is_ok();
    // A supervisor that ended before the first line had closed its end by then.
    if !is_told || is_hung_up(supervisor) {
        return Err("stdin has no supervisor at its other end".to_owned());
    }
    Ok(())
}

fn is_hung_up(socket: &UnixStream) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
        && fds[0].revents().contains(PollFlags::HUP)
}

fn cannot_start(deployment: &Deployment, error: &io::Error) -> String {
    format!(
        "cannot start {}: {}",
        deployment.program.display(),
        brief(error)
    )
}

/// The system's words, without the number.
fn brief(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
