//! `skysail serve`: run a front end until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::config::{Config, Flags};
use crate::console::{print, usage};
use crate::frontend::{INTERRUPTED, Running, Signal};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Configuration file (TOML); environment variables SKYSAIL_SERVE_… and flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// Print the endpoints as JSON when ready
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  skysail serve
  skysail serve --data-dir /var/lib/skysail --cores 4
  skysail serve --query 127.0.0.1:0 --management 127.0.0.1:0 --rpc 127.0.0.1:0 --json
  skysail serve --tls-cert chain.pem --tls-key key.pem
  skysail tokens new --name ops --scope admin,query && skysail serve --query 0.0.0.0:1337
  SKYSAIL_SERVE_CACHE_BYTES=0 skysail serve --config skysail.toml";

/// Runs a front end.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let config = Config::read(args.config.as_ref(), &args.flags).map_err(usage)?;
    let running = Running::start(&config).map_err(usage)?;
    announce(&running, args.json);
    let signal = running.wait_for_signal();
    running.stop(notice(signal, &config));
    Ok(exit_status(signal))
}

/// How long a front end answers new clients after a signal. Whoever presses Ctrl-C does not want
/// to wait.
pub(crate) fn notice(signal: Signal, config: &Config) -> Duration {
    match signal {
        Signal::Terminate => config.drain_notice(),
        Signal::Interrupt => Duration::ZERO,
    }
}

/// The status that a signal ends the process with.
pub(crate) fn exit_status(signal: Signal) -> ExitCode {
    match signal {
        Signal::Terminate => ExitCode::SUCCESS,
        Signal::Interrupt => ExitCode::from(INTERRUPTED),
    }
}

/// Says that the front end is ready, and where.
pub(crate) fn announce(running: &Running, json: bool) {
    let about = running.about();
    if json {
        let ready = serde_json::json!({
            "event": "ready", "pid": about.pid, "query": about.query.to_string(),
            "management": about.management.to_string(), "rpc": about.rpc,
            "version": about.version, "tls": about.tls,
        });
        print(&format!("{ready}"));
        return;
    }
    let scheme = if about.tls { "https" } else { "http" };
    print(&format!(
        "Skysail {} is ready\n  queries     {scheme}://{}\n  management  {scheme}://{}\n  containers  {}",
        about.version,
        about.query,
        about.management,
        about.rpc.join(", ")
    ));
    match about.auth {
        "token" => print("  auth        token: clients send one; see skysail tokens"),
        "none" => print("  auth        none: anybody who reaches these ports may use them"),
        _ => {}
    }
}
