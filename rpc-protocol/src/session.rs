//! The two ends of a session, as state machines without I/O.
//!
//! ```text
//!   front end                                   container
//!   AwaitingHello ◄────────── hello ─────────── Greeting
//!        │ accept ─────────── welcome ────────►   │
//!     Serving ◄──── predict / reply, heartbeat ──► Serving
//!        │ drain sent or received                 │ drain sent or received
//!     Draining ──── replies to what is out ────► Draining
//!        └────── drained: both ends close ────────┘
//! ```
//!
//! Messages and the time go in; checked events and messages to send come out. Whoever drives
//! a session sends what it returns at once and in order, asks [`FrontendSession::on_timer`]
//! or [`ContainerSession::on_timer`] when their `next_timer` is due, and closes the
//! connection on an error. PROTOCOL 4 to 7.
//!
//! # Invariants
//! - A batch that was sent is answered, or the session ends, exactly once.
//! - At most `slots` batches are in flight; batch ids ascend.
//! - A reply reaches the caller only with the rows, types and shapes that were agreed.

mod container;
mod frontend;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use thiserror::Error;

pub use container::{ContainerEvent, ContainerSession, Job};
pub use frontend::{BatchResult, FrontendEvent, FrontendSession};

use crate::limits;
use crate::message::{BatchId, DecodeError, Tensors};
use crate::tensor::{ColumnError, Columns, TensorSpec, columns_from_parts};

/// When to speak and when to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Send a heartbeat after this long without sending. Default 1 s.
    pub heartbeat: Duration,
    /// The peer is dead after this long without a message, unless it is computing. Default 3 s.
    pub silence: Duration,
    /// Hello and welcome must have passed by then. Default 5 s.
    pub handshake: Duration,
    /// A batch that is not answered for this long, or for four times the time it had left,
    /// ends the session. Default 30 s.
    pub stuck: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat: limits::HEARTBEAT,
            silence: limits::SILENCE,
            handshake: limits::HANDSHAKE,
            stuck: Duration::from_secs(30),
        }
    }
}

/// Why a session ends at once. The peer is at fault, or gone.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The frame is not a message.
    #[error("undecodable message")]
    Decode(#[from] DecodeError),
    /// A message that this phase does not allow.
    #[error("{message} is not allowed while {phase}")]
    Unexpected {
        /// The message's kind.
        message: &'static str,
        /// What the session was doing.
        phase: &'static str,
    },
    /// A reply for a batch that is not in flight: never sent, or answered before.
    #[error("batch {} is not in flight", .0.0)]
    UnknownBatch(BatchId),
    /// A predict whose id does not ascend.
    #[error("batch {} does not ascend", .0.0)]
    BatchOrder(BatchId),
    /// Another number of rows than asked, or more than agreed.
    #[error("batch {} has {found} rows, {expected} expected", .batch.0)]
    Rows {
        /// The batch.
        batch: BatchId,
        /// Rows in the message.
        found: u32,
        /// Rows asked, or the most that is allowed.
        expected: u32,
    },
    /// Row errors out of order, doubled or out of range.
    #[error("row errors of batch {} are out of order or out of range", .0.0)]
    RowErrors(BatchId),
    /// A batch is answered as cancelled that nobody cancelled.
    #[error("batch {} was answered as cancelled, but was not", .0.0)]
    NotCancelled(BatchId),
    /// A batch is answered as expired whose deadline has not passed.
    #[error("batch {} was answered as expired before its deadline", .0.0)]
    NotExpired(BatchId),
    /// More batches than slots.
    #[error("batch {} exceeds the {slots} slots agreed", .batch.0)]
    Slots {
        /// The batch.
        batch: BatchId,
        /// Slots agreed.
        slots: u16,
    },
    /// The tensors are not those of the schema.
    #[error("batch {} has other tensors than the schema", .batch.0)]
    Column {
        /// The batch.
        batch: BatchId,
        /// What differs.
        source: ColumnError,
    },
    /// Nothing was heard for too long.
    #[error("nothing heard for {} ms, at most {} ms allowed", .silent.as_millis(), .limit.as_millis())]
    Silent {
        /// How long.
        silent: Duration,
        /// What is allowed.
        limit: Duration,
    },
    /// A batch was not answered for too long.
    #[error("batch {} unanswered for {} ms", .batch.0, .waited.as_millis())]
    Stuck {
        /// The batch.
        batch: BatchId,
        /// How long.
        waited: Duration,
    },
}

/// What a peer sent, held to the schema.
fn columns_of(tensors: Tensors, specs: &[TensorSpec], rows: usize) -> Result<Columns, ColumnError> {
    match tensors {
        // Made by the path from the schema itself.
        Tensors::Columns(columns) => {
            debug_assert!(columns.iter().all(|column| column.rows() == rows));
            Ok(columns)
        }
        other => columns_from_parts(specs, rows, &other.into_parts()),
    }
}

/// When this side last spoke and last heard.
#[derive(Clone, Copy, Debug)]
struct Liveness {
    heard: Instant,
    sent: Instant,
    timing: Timing,
}

impl Liveness {
    fn new(now: Instant, timing: Timing) -> Self {
        Liveness {
            heard: now,
            sent: now,
            timing,
        }
    }

    fn next_heartbeat(&self) -> Instant {
        self.sent + self.timing.heartbeat
    }

    fn check(&self, now: Instant, limit: Duration) -> Result<(), SessionError> {
        let silent = now.saturating_duration_since(self.heard);
        if silent < limit {
            Ok(())
        } else {
            Err(SessionError::Silent { silent, limit })
        }
    }
}
