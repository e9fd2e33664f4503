//! Recorded arrivals: a timestamp on each line.
//!
//! A line is a number in the unit of the trace, or with a unit of its own (`1.5s`, `1500ms`). Empty
//! lines and lines that start with `#` count for nothing. The first timestamp is the start; what it
//! says does not matter.

use std::sync::Arc;
use std::time::Duration;

use super::RATE_MAX;

/// Most timestamps of a trace; they are held in memory at 16 bytes each.
pub const TRACE_LINES_MAX: usize = 20_000_000;
/// Longest trace, for whoever gives milliseconds as seconds.
const LENGTH_S_MAX: f64 = 7.0 * 86_400.0;

/// The unit of timestamps that bear none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// Recorded arrivals, in order; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    offsets: Arc<[Duration]>,
}

/// What is wrong with a trace. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// A line is no timestamp.
    #[error("line {line}: '{text}' is not a timestamp, expected a number of s or ms, such as 1.5")]
    Timestamp {
        /// Its number.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// A timestamp is before the one above it.
    #[error("line {line}: '{text}' is before the timestamp above it")]
    Order {
        /// Its number.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// A timestamp is far after the first.
    #[error("line {line}: '{text}' is more than a week after the first; is the unit right?")]
    Length {
        /// Its number.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// There are too many lines.
    #[error("line {line}: at most {TRACE_LINES_MAX} timestamps allowed")]
    Lines {
        /// The first too many.
        line: usize,
    },
    /// There is no line.
    #[error("no timestamp in the trace")]
    Empty,
}

impl Trace {
    /// Reads the lines of `text`.
    ///
    /// # Errors
    /// [`TraceError`] for the first line that is wrong.
    pub fn parse(text: &str, unit: TraceUnit) -> Result<Self, TraceError> {
        let mut offsets: Vec<Duration> = Vec::new();
        let mut first_s = None;
        for (number, text) in text.lines().enumerate() {
            let (line, text) = (number + 1, text.trim());
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let shown = || text.chars().take(40).collect::<String>();
            if offsets.len() == TRACE_LINES_MAX {
                return Err(TraceError::Lines { line });
            }
            let at_s = seconds(text, unit).ok_or_else(|| TraceError::Timestamp {
                line,
                text: shown(),
            })?;
            let offset_s = at_s - *first_s.get_or_insert(at_s);
            if offset_s > LENGTH_S_MAX {
                return Err(TraceError::Length {
                    line,
                    text: shown(),
                });
            }
            let before = offsets.last().copied().unwrap_or_default();
            match Duration::try_from_secs_f64(offset_s) {
                Ok(offset) if offset >= before => offsets.push(offset),
                _ => {
                    return Err(TraceError::Order {
                        line,
                        text: shown(),
                    });
                }
            }
        }
        if offsets.is_empty() {
            return Err(TraceError::Empty);
        }
        Ok(Self {
            offsets: offsets.into(),
        })
    }

    /// The instants, as offsets from the first; they share the trace's memory.
    pub fn arrivals(&self) -> impl Iterator<Item = Duration> + use<> {
        let offsets = self.offsets.clone();
        (0..offsets.len()).map(move |index| offsets[index])
    }

    /// From the first arrival to the last.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.offsets.last().copied().unwrap_or_default()
    }

    /// Arrivals a second over the whole trace.
    #[must_use]
    pub fn rate_mean(&self) -> f64 {
        let length_s = self.length().as_secs_f64().max(1.0 / RATE_MAX);
        self.offsets.len() as f64 / length_s
    }
}

fn seconds(text: &str, unit: TraceUnit) -> Option<f64> {
    let (number, unit) = if let Some(number) = text.strip_suffix("ms") {
        (number, TraceUnit::Milliseconds)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, TraceUnit::Seconds)
    } else {
        (text, unit)
    };
    let number: f64 = number.trim_end().parse().ok()?;
    number.is_finite().then_some(match unit {
        TraceUnit::Seconds => number,
        TraceUnit::Milliseconds => number / 1e3,
    })
}
