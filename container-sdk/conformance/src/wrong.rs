//! Why a case did not pass.

use std::fmt::Debug;
use std::time::Duration;

use skysail_rpc::message::DecodeError;
use skysail_rpc::session::SessionError;
use skysail_rpc::transport::{SendError, TransportError};
use thiserror::Error;

use crate::process::Ending;

/// What a container did not do, or did and should not have done.
#[derive(Debug, Error)]
pub(crate) enum Wrong {
    #[error("nothing came within {} s", .0.as_secs_f64())]
    Silence(Duration),
    #[error("the container sent an undecodable message: {0}")]
    Undecodable(#[from] DecodeError),
    #[error("the container broke the protocol: {}", causes(.0))]
    Session(#[from] SessionError),
    #[error("cannot send to the container: {0}")]
    Send(#[from] SendError),
    #[error("the container closed the connection, {0} expected")]
    Closed(&'static str),
    #[error("a {0} came, the connection was expected to close")]
    Open(&'static str),
    #[error("the container {0} before it said hello")]
    Ended(Ending),
    #[error("the container still runs after {} s", .0.as_secs_f64())]
    Runs(Duration),
    /// Perhaps only because it took long. PROTOCOL 8.3
    #[error("shared memory was offered and not taken: {0}")]
    NotTaken(String),
    #[error("{0}")]
    Other(String),
    /// The case cannot be played over this transport: no fault of the container.
    #[error("{0}")]
    Skip(String),
    #[error("the suite cannot listen: {0}")]
    Listen(#[from] TransportError),
    #[error("the suite cannot {what}: {source}")]
    Suite {
        what: &'static str,
        source: std::io::Error,
    },
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Wrong::Other(what)
    }
}

/// For `map_err`: the suite itself failed.
pub(crate) fn suite(what: &'static str) -> impl FnOnce(std::io::Error) -> Wrong {
    move |source| Wrong::Suite { what, source }
}

/// Whether both are the same; `what` names them.
pub(crate) fn same<T: PartialEq + Debug + ?Sized>(
    what: &str,
    expected: &T,
    found: &T,
) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!(
        "{what} is {}, {} expected",
        short(found),
        short(expected)
    ))
}

/// The most of a value that a person wants to see.
const SHOWN_CHARS_MAX: usize = 200;

fn short(value: &(impl Debug + ?Sized)) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// An error with its causes, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_and_not_too_long() {
        assert_eq!(
            same("rows", &2, &3),
            Err("rows is 3, 2 expected".to_owned())
        );
        let told = same("y", &vec![0.5; 100], &vec![]).expect_err("differs");
        assert!(told.starts_with("y is [], [0.5, 0.5"), "{told}");
        assert!(
            told.chars().count() < 250 && told.ends_with("… expected"),
            "{told}"
        );
    }
}
