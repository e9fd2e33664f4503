//! What the process says to whoever started it, and how it ends.

use std::io::Write;
use std::process::ExitCode;

/// A mistake in usage, configuration or environment: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{}", causes(.0))]
pub(crate) struct Usage(anyhow::Error);

/// Marks an error as one of usage, configuration or environment.
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    Usage(error.into()).into()
}

/// Prints a line to standard output.
pub(crate) fn print(line: &str) {
    // A reader that has gone away is no reason to stop serving.
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Prints a line beside the output, for people.
pub(crate) fn note(line: &str) {
    // As little a reason to stop.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Says in one line what went wrong; gives the exit status.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let text = causes(error);
    // Nobody is left to tell if this fails.
    drop(writeln!(std::io::stderr(), "skysail: {text}"));
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

/// An error with its causes, in one line. A cause that its error has quoted is not repeated.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string().trim().replace('\n', "; ");
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn causes_stand_in_one_line_and_once() {
        let inner = std::io::Error::other("disk\nfull");
        let error = anyhow::Error::from(inner)
            .context("cannot write: disk; full")
            .context("lost");
        assert_eq!(causes(&error), "lost: cannot write: disk; full");
    }

    #[test]
    fn a_mark_of_usage_survives_context() {
        let error = usage(anyhow::anyhow!("wrong flag"));
        assert!(error.is::<Usage>());
        let error: anyhow::Result<()> = Err(error);
        assert!(error.context("while starting").unwrap_err().is::<Usage>());
    }
}
