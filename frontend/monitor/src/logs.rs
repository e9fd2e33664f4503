//! Log set-up: to standard error, one line an event, nothing per query above `trace`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends events to standard error: those that `SKYSAIL_LOG` names (as in
/// `info,skysail_engine=debug`), else those of `level` and above. Does nothing if a
/// subscriber is set already.
pub fn init(format: Format, level: &str) {
    let filter = EnvFilter::try_from_env("SKYSAIL_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // Only the first of a process can be set; tests start several front ends in one.
    drop(match format {
        Format::Text => lines.with_target(false).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    });
}
