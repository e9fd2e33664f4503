//! A container as a process of its own: started, watched, ended.
//!
//! # Invariants
//! - A container has a process group of its own, which is gone when its [`Container`] is dropped.
//! - Its process id is not used again before: it is waited for last.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getppid, kill_process, kill_process_group,
    set_parent_process_death_signal, waitid,
};
use thiserror::Error;
use tokio::sync::watch;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// Bytes of a log that are looked at: its end.
const LOG_BYTES_MAX: u64 = 64 << 10;
/// Variables that would answer for the flags.
const OWN_VARIABLES: &str = "SKYSAIL_";

/// The program under test, with the arguments of whoever tests it.
#[derive(Clone, Debug)]
pub struct Program {
    command: Vec<OsString>,
    guard: Vec<OsString>,
}

/// A command cannot be run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// There is no program's name.
    #[error("no command is given")]
    None,
    /// There is no such file.
    #[error("'{0}' is not found; give a path, or a name in PATH")]
    NotFound(String),
    /// The file cannot be executed.
    #[error("'{0}' is not an executable file")]
    NotExecutable(String),
}

impl Program {
    /// The program that `command` names, with its arguments.
    ///
    /// # Errors
    /// If there is none that can be executed.
    pub fn find(command: Vec<OsString>) -> Result<Program, ProgramError> {
        let name = command.first().ok_or(ProgramError::None)?;
        let told = || name.to_string_lossy().into_owned();
        let path = which(name).ok_or_else(|| ProgramError::NotFound(told()))?;
        let file = path.metadata();
        if !file.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0) {
            return Err(ProgramError::NotExecutable(told()));
        }
        Ok(Program {
            command,
            guard: Vec::new(),
        })
    }

    /// Starts containers by `guard`, a command that calls [`exec_under`] with the arguments
    /// after its own: so none outlives this process, however that ends.
    #[must_use]
    pub fn with_guard(mut self, guard: Vec<OsString>) -> Program {
        self.guard = guard;
        self
    }

    /// The command, for people.
    #[must_use]
    pub fn told(&self) -> String {
        let words: Vec<_> = self
            .command
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }
}

/// The file that a name stands for: itself if it is a path, else one in `PATH`.
fn which(name: &OsStr) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.components().count() > 1 || name.to_string_lossy().contains('/') {
        return path.exists().then(|| path.to_owned());
    }
    let folders = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&folders).map(|folder| folder.join(path));
    files.find(|file| file.is_file())
}

/// Becomes `command`, to be killed when the process `parent` ends. Returns only why it cannot.
#[must_use]
pub fn exec_under(parent: u32, command: &[OsString]) -> io::Error {
    let Some((program, args)) = command.split_first() else {
        return io::Error::other("no command is given");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // It may have ended before the kernel was asked.
    let is_its = |pid: Pid| u32::try_from(pid.as_raw_nonzero().get()) == Ok(parent);
    if !getppid().is_some_and(is_its) {
        return io::Error::other("whoever started it has ended");
    }
    Command::new(program).args(args).exec()
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Exit(i32),
    Signal(i32),
    /// The system does not say.
    Unknown,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Exit(status) => write!(f, "exited with status {status}"),
            Ending::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Ending::Unknown => write!(f, "ended"),
        }
    }
}

/// A running container, or one that has ended.
#[derive(Debug)]
pub(crate) struct Container {
    child: Child,
    pid: Pid,
    log: PathBuf,
    ending: watch::Receiver<Option<Ending>>,
    waiter: Option<JoinHandle<()>>,
}

impl Container {
    /// Starts `program`, which writes into the file `log`. The kernel ends the container with
    /// the calling thread if the program has a guard: call this from the main one.
    pub(crate) fn start(program: &Program, args: &[OsString], log: &Path) -> io::Result<Container> {
        let file = File::create(log)?;
        let mut words = program.guard.iter().chain(&program.command).chain(args);
        let mut command = Command::new(words.next().ok_or(io::ErrorKind::InvalidInput)?);
        command
            .args(words)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(OWN_VARIABLES) {
                command.env_remove(name);
            }
        }
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (tell, ending) = watch::channel(None);
        let waiter = std::thread::spawn(move || {
            // Nobody needs to know any more if this fails.
            let _ = tell.send(Some(wait_for(pid)));
        });
        Ok(Container {
            child,
            pid,
            log: log.to_owned(),
            ending,
            waiter: Some(waiter),
        })
    }

    /// Tells when and how it ends.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Ending>> {
        self.ending.clone()
    }

    /// How it has ended; `None` while it runs.
    pub(crate) fn ending(&self) -> Option<Ending> {
        *self.ending.borrow()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> Ending {
        let ended = self.ending.wait_for(Option::is_some).await;
        ended
            .ok()
            .and_then(|ending| *ending)
            .unwrap_or(Ending::Unknown)
    }

    /// Asks the container itself to leave, as an orchestrator does.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        Ok(kill_process(self.pid, Signal::TERM)?)
    }

    /// Kills it and all that it has started.
    pub(crate) fn kill(&self) {
        // Of those that are gone there is nobody to kill.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Ends it and all that it has started: first politely.
    pub(crate) async fn end(&mut self) {
        let _ = kill_process_group(self.pid, Signal::TERM);
        drop(tokio::time::timeout(GRACE, self.ended()).await);
        self.kill();
    }

    /// The end of what it wrote.
    pub(crate) fn log(&self) -> String {
        // A log that cannot be read is shown as none.
        read_end(&self.log).unwrap_or_default()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
        if let Some(waiter) = self.waiter.take() {
            drop(waiter.join());
        }
        drop(self.child.wait());
    }
}

/// Waits for the end of a child, and leaves it to be waited for again.
fn wait_for(pid: Pid) -> Ending {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some(status)) => {
                let exit = status.exit_status().map(Ending::Exit);
                let signal = status.terminating_signal().map(Ending::Signal);
                return exit.or(signal).unwrap_or(Ending::Unknown);
            }
            Ok(None) | Err(_) => return Ending::Unknown,
        }
    }
}

fn read_end(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(LOG_BYTES_MAX)))?;
    let mut end = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(words: &[&str]) -> Result<Program, ProgramError> {
        Program::find(words.iter().map(Into::into).collect())
    }

    #[test]
    fn only_a_program_that_can_be_run_is_one() {
        let error = |words: &[&str]| program(words).expect_err("none").to_string();
        assert_eq!(error(&[]), "no command is given");
        assert!(error(&["no-such-program-anywhere"]).contains("is not found"));
        assert!(error(&["/no/such/program"]).contains("is not found"));
        assert!(error(&["/"]).contains("is not an executable file"));
        assert_eq!(
            program(&["sh", "-c", "x"]).expect("there").told(),
            "sh -c x"
        );
    }

    fn start(script: &str) -> (tempfile::TempDir, Container) {
        let folder = tempfile::tempdir().expect("a folder");
        let program = program(&["sh", "-c", script]).expect("there");
        let container = Container::start(&program, &[], &folder.path().join("log"));
        (folder, container.expect("started"))
    }

    #[tokio::test]
    async fn tells_how_it_ended_and_what_it_wrote() {
        let (_folder, mut container) = start("echo out; echo err >&2; exit 3");
        assert_eq!(container.ended().await.to_string(), "exited with status 3");
        assert_eq!(container.log(), "out\nerr\n");
        let (_folder, mut container) = start("kill -9 $$");
        assert_eq!(container.ended().await, Ending::Signal(9));
    }

    #[tokio::test]
    async fn what_does_not_end_is_killed_with_all_that_it_started() {
        let (_folder, mut container) = start("trap '' TERM; sleep 1000 & echo $!; wait; wait");
        let child = loop {
            match container.log().trim().parse::<i32>() {
                Ok(pid) => break Pid::from_raw(pid).expect("not 0"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        container.kill();
        assert_eq!(container.ended().await, Ending::Signal(9));
        drop(container);
        let is_zombie = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
            stat.is_ok_and(|stat| stat.contains(") Z "))
        };
        while rustix::process::test_kill_process(child).is_ok() && !is_zombie() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
