//! The other process: this program again, in a role.
//!
//! A peer runs on its own core, says `{"ready":true}` when it can be used where somebody waits
//! for that, and ends when its standard input does; the kernel kills it if the bench dies
//! first. A peer that spins does so only during a burst: the bench says `go`, and the last
//! request of the burst sends it back to its standard input.

use std::io::{BufRead, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use rustix::process::{Signal, set_parent_process_death_signal};
use skysail_benches::process::Process;
use skysail_rpc::transport::zmq::tune_allocator;

use crate::probe::{Cores, pin};
use crate::{grpc, iceoryx, ring, skysail, zmq};

/// A peer whose standard input was closed has this long to tidy up.
const GRACE: Duration = Duration::from_secs(2);

/// What a peer is, and on which core.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    core: Option<usize>,
    #[command(subcommand)]
    role: Role,
}

/// What a peer is.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// The peer of the shared-memory rings
    Ring(ring::PeerArgs),
    /// The peer of plain ZeroMQ
    Zmq { endpoint: String },
    /// The peer of iceoryx2
    Iceoryx(iceoryx::PeerArgs),
    /// The peer of tonic
    Grpc { socket: String },
    /// Skysail's container with the model that adds up
    Sum { elements: usize },
    /// Somebody's container
    Command { command: String },
}

/// Plays the role until the bench ends it.
///
/// # Errors
/// Whatever goes wrong in the role.
pub(crate) fn play(args: Args) -> Result<ExitCode> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot follow the bench")?;
    if let Some(core) = args.core {
        pin(core)?;
    }
    tune_allocator();
    match args.role {
        Role::Ring(ring) => ring::serve(&ring)?,
        Role::Zmq { endpoint } => zmq::serve(&endpoint)?,
        Role::Iceoryx(shared) => iceoryx::serve(&shared)?,
        Role::Grpc { socket } => grpc::serve(&socket)?,
        Role::Sum { elements } => return skysail::serve(elements),
        Role::Command { command } => {
            let command = format!("exec {command}");
            // The signal at the bench's death stays set.
            return Err(Command::new("sh").args(["-c", &command]).exec()).context("cannot run sh");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A running peer, ended when dropped.
pub(crate) struct Peer {
    process: Process,
    /// Somebody's container.
    is_container: bool,
}

impl Peer {
    /// Starts a peer; `arguments` are a role and its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(cores: Cores, arguments: &[&str], env: &[(&str, &str)]) -> Result<Peer> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("peer");
        if let Some(core) = cores.peer {
            command.args(["--core", &core.to_string()]);
        }
        // A group of its own: Ctrl-C is for the bench, which then ends its peers.
        command
            .args(arguments)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .process_group(0);
        Ok(Peer {
            process: Process::start(&mut command)?,
            is_container: arguments.first() == Some(&"command"),
        })
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// If it ends instead.
    pub(crate) fn ready(mut self) -> Result<Peer> {
        self.process.json_line()?;
        Ok(self)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Tells it that a burst begins.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn go(&mut self) -> Result<()> {
        self.process.say("go")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.is_container {
            // It would wait for the bench to answer that it leaves.
            return self.process.kill();
        }
        // Whoever does not end by itself is ended by its process's drop.
        self.process.ended_within(GRACE);
    }
}

/// Says that this peer can be used.
///
/// # Errors
/// If the bench is gone.
pub(crate) fn say_ready() -> Result<()> {
    writeln!(std::io::stdout(), "{{\"ready\":true}}").context("the bench is gone")
}

/// Serves one burst each time the bench says so, until it is gone.
///
/// # Errors
/// If a burst fails.
pub(crate) fn serve_bursts(mut burst: impl FnMut() -> Result<()>) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "go" => burst()?,
            other => bail!("'{other}' is not what a bench says"),
        }
    }
    Ok(())
}

/// Ends this process when the bench closes its standard input, for peers that wait elsewhere.
pub(crate) fn end_with_input() {
    std::thread::spawn(|| {
        // However reading ends, nobody is at the other side any longer.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        std::process::exit(0);
    });
}
