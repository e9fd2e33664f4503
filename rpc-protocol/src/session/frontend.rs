//! The front end's side of one session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Liveness, SessionError, Timing, columns_of};
use crate::message::{
    BatchId, Hello, Message, Offer, Outcome, Predict, Reject, RejectReason, Reply, RowError,
    Tensors, Welcome,
};
use crate::tensor::{Columns, Schema};
use crate::{PROTOCOL, limits};

/// The time left of a batch travels as whole microseconds.
const ROUNDING: Duration = Duration::from_micros(1);

/// One container's session.
#[derive(Debug)]
pub struct FrontendSession {
    phase: Phase,
    liveness: Liveness,
    terms: Terms,
    in_flight: VecDeque<InFlight>,
    next_batch: u64,
    /// An offer of shared memory is not answered yet.
    offered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    AwaitingHello,
    Deciding,
    Serving,
    Draining,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::AwaitingHello => "a hello is awaited",
            Phase::Deciding => "the hello is being decided",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        }
    }
}

/// What the hello settled.
#[derive(Clone, Debug, Default)]
struct Terms {
    schema: Arc<Schema>,
    max_batch: u32,
    slots: u16,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    batch: BatchId,
    rows: u32,
    sent: Instant,
    patience: Duration,
    /// No container can find that its deadline has passed before then.
    deadline: Instant,
    cancelled: bool,
}

/// A checked message from the container.
#[derive(Debug)]
#[non_exhaustive]
pub enum FrontendEvent {
    /// Answer with [`FrontendSession::accept`] or a [`Reject`].
    Hello(Box<Hello>),
    /// A batch came back.
    Reply {
        /// Which.
        batch: BatchId,
        /// Rows asked.
        rows: u32,
        /// What became of it.
        result: BatchResult,
        /// Since it was sent.
        round_trip: Duration,
        /// Time inside the model, as the container says.
        compute: Duration,
    },
    /// The container takes no further batches.
    Drain {
        /// Why.
        detail: String,
    },
    /// How batches travel from here on.
    Path {
        /// Through shared memory.
        shared: bool,
        /// Why not, if not.
        detail: String,
    },
    /// Nothing but a sign of life.
    Alive,
}

/// What became of a batch.
#[derive(Debug)]
pub enum BatchResult {
    /// Output tensors of all rows, in schema order, and the rows that failed.
    Ok {
        /// One a tensor.
        columns: Columns,
        /// Ascending by row; such a row's outputs mean nothing.
        row_errors: Vec<RowError>,
    },
    /// The whole batch failed.
    Failed {
        /// What the model said.
        error: String,
    },
    /// It was cancelled before it began.
    Cancelled,
    /// Its deadline passed before it began.
    Expired,
}

impl FrontendSession {
    /// A session of a connection that was just made.
    #[must_use]
    pub fn new(now: Instant, timing: Timing) -> Self {
        FrontendSession {
            phase: Phase::AwaitingHello,
            liveness: Liveness::new(now, timing),
            terms: Terms::default(),
            in_flight: VecDeque::new(),
            next_batch: 1,
            offered: false,
        }
    }

    /// Takes a message from the container.
    ///
    /// # Errors
    /// If the container broke the protocol; the session is over.
    pub fn on_message(
        &mut self,
        now: Instant,
        message: Message,
    ) -> Result<FrontendEvent, SessionError> {
        self.liveness.heard = now;
        match (self.phase, message) {
            (Phase::AwaitingHello, Message::Hello(hello)) => {
                self.phase = Phase::Deciding;
                Ok(FrontendEvent::Hello(hello))
            }
            (Phase::Serving | Phase::Draining, Message::Reply(reply)) => self.on_reply(now, reply),
            (Phase::Serving | Phase::Draining, Message::Heartbeat { .. }) => {
                Ok(FrontendEvent::Alive)
            }
            (Phase::Serving | Phase::Draining, Message::Drain { detail }) => {
                self.phase = Phase::Draining;
                Ok(FrontendEvent::Drain { detail })
            }
            // PROTOCOL 8.6
            (Phase::Serving | Phase::Draining, Message::Path { shared, detail })
                if std::mem::take(&mut self.offered) =>
            {
                Ok(FrontendEvent::Path { shared, detail })
            }
            (phase, message) => Err(SessionError::Unexpected {
                message: message.name(),
                phase: phase.name(),
            }),
        }
    }

    /// What is wrong with a hello whatever the model: version, names, schema, bounds.
    /// PROTOCOL 4.3
    ///
    /// # Errors
    /// The reject to send.
    pub fn check_hello(hello: &Hello) -> Result<(), Reject> {
        let bad = |reason, detail| Err(Reject { reason, detail });
        if hello.protocol_min > PROTOCOL.1 || hello.protocol_max < PROTOCOL.0 {
            let (ours, theirs) = (PROTOCOL, (hello.protocol_min, hello.protocol_max));
            let detail = format!(
                "container speaks protocol {} to {}, front end {} to {}",
                theirs.0, theirs.1, ours.0, ours.1
            );
            return bad(RejectReason::ProtocolVersion, detail);
        }
        if let Err(error) = hello.schema.check() {
            return bad(RejectReason::BadHello, error.to_string());
        }
        let bounds = [
            ("max batch", hello.max_batch, limits::BATCH_ROWS_MAX),
            (
                "slots",
                u32::from(hello.slots),
                u32::from(limits::SLOTS_MAX),
            ),
        ];
        match bounds
            .iter()
            .find(|(_, value, limit)| *value == 0 || value > limit)
        {
            None => Ok(()),
            Some((what, value, limit)) => bad(
                RejectReason::BadHello,
                format!("{what} is {value}, 1 to {limit} allowed"),
            ),
        }
    }

    /// Accepts the hello as `replica`, perhaps with an offer of shared memory; returns the
    /// welcome to send.
    pub fn accept(
        &mut self,
        now: Instant,
        hello: &Hello,
        schema: Arc<Schema>,
        replica: u64,
        offer: Option<Offer>,
    ) -> Message {
        debug_assert_eq!(self.phase, Phase::Deciding);
        self.offered = offer.is_some();
        self.phase = Phase::Serving;
        self.liveness.sent = now;
        self.terms = Terms {
            schema,
            max_batch: hello.max_batch,
            slots: hello.slots,
        };
        Message::Welcome(Welcome {
            protocol: hello.protocol_max.min(PROTOCOL.1),
            replica,
            heartbeat: self.liveness.timing.heartbeat,
            silence: self.liveness.timing.silence,
            offer,
        })
    }

    /// Whether a further batch may be sent now.
    #[must_use]
    pub fn has_free_slot(&self) -> bool {
        self.phase == Phase::Serving && self.in_flight.len() < usize::from(self.terms.slots)
    }

    /// Batches that are not answered yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the session is draining and everything is answered.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.phase == Phase::Draining && self.in_flight.is_empty()
    }

    /// The predict for a batch of `rows`; its id is returned for matching the reply.
    ///
    /// # Panics
    /// If there is no free slot or the batch is empty or larger than agreed.
    pub fn predict(
        &mut self,
        now: Instant,
        rows: u32,
        remaining: Duration,
        tensors: impl Into<Tensors>,
    ) -> (BatchId, Message) {
        assert!(self.has_free_slot(), "a batch needs a free slot");
        assert!(
            rows >= 1 && rows <= self.terms.max_batch,
            "batch of {rows} rows"
        );
        let batch = BatchId(self.next_batch);
        self.next_batch += 1;
        self.liveness.sent = now;
        let patience = self.liveness.timing.stuck.max(4 * remaining);
        self.in_flight.push_back(InFlight {
            batch,
            rows,
            sent: now,
            patience,
            deadline: now + remaining.saturating_sub(ROUNDING),
            cancelled: false,
        });
        let tensors = tensors.into();
        (
            batch,
            Message::Predict(Predict {
                batch,
                rows,
                remaining,
                tensors,
            }),
        )
    }

    /// Asks the container to skip a batch that it may not have begun.
    pub fn cancel(&mut self, now: Instant, batch: BatchId) -> Message {
        for flight in self
            .in_flight
            .iter_mut()
            .filter(|flight| flight.batch == batch)
        {
            flight.cancelled = true;
        }
        self.liveness.sent = now;
        Message::Cancel(batch)
    }

    /// Stops sending batches; returns the drain to send.
    pub fn drain(&mut self, now: Instant, detail: &str) -> Message {
        self.phase = Phase::Draining;
        self.liveness.sent = now;
        Message::Drain {
            detail: detail.to_owned(),
        }
    }

    /// When [`Self::on_timer`] has something to do.
    #[must_use]
    pub fn next_timer(&self) -> Instant {
        if matches!(self.phase, Phase::AwaitingHello | Phase::Deciding) {
            return self.liveness.heard + self.liveness.timing.handshake;
        }
        let stuck = self
            .in_flight
            .front()
            .map(|batch| batch.sent + batch.patience);
        let end = stuck.unwrap_or(self.liveness.heard + self.liveness.timing.silence);
        self.liveness.next_heartbeat().min(end)
    }

    /// Heartbeats and time-outs; returns what is to be sent. A container with a batch in hand may be computing on the
    /// thread that would speak, so silence counts only while nothing is in flight; the
    /// transport's own heartbeats watch over the rest. PROTOCOL 6.2
    ///
    /// # Errors
    /// If the container is silent or stuck; the session is over.
    pub fn on_timer(&mut self, now: Instant) -> Result<Option<Message>, SessionError> {
        let timing = self.liveness.timing;
        if matches!(self.phase, Phase::AwaitingHello | Phase::Deciding) {
            return self.liveness.check(now, timing.handshake).map(|()| None);
        }
        match self.in_flight.front() {
            None => self.liveness.check(now, timing.silence)?,
            Some(batch) if now >= batch.sent + batch.patience => {
                let waited = now.saturating_duration_since(batch.sent);
                return Err(SessionError::Stuck {
                    batch: batch.batch,
                    waited,
                });
            }
            Some(_) => {}
        }
        if now < self.liveness.next_heartbeat() {
            return Ok(None);
        }
        self.liveness.sent = now;
        Ok(Some(Message::Heartbeat { batches_done: 0 }))
    }

    fn on_reply(&mut self, now: Instant, reply: Reply) -> Result<FrontendEvent, SessionError> {
        let batch = reply.batch;
        let position = self
            .in_flight
            .iter()
            .position(|flight| flight.batch == batch);
        let flight = position.and_then(|at| self.in_flight.remove(at));
        let flight = flight.ok_or(SessionError::UnknownBatch(batch))?;
        let (compute, rows) = (reply.compute, flight.rows);
        if reply.outcome == Outcome::Cancelled && !flight.cancelled {
            return Err(SessionError::NotCancelled(batch));
        }
        if reply.outcome == Outcome::Expired && now < flight.deadline {
            return Err(SessionError::NotExpired(batch));
        }
        let result = self.result(rows, reply)?;
        let round_trip = now.saturating_duration_since(flight.sent);
        Ok(FrontendEvent::Reply {
            batch,
            rows,
            result,
            round_trip,
            compute,
        })
    }

    fn result(&self, expected: u32, reply: Reply) -> Result<BatchResult, SessionError> {
        let batch = reply.batch;
        match reply.outcome {
            Outcome::Failed { error } => Ok(BatchResult::Failed { error }),
            Outcome::Cancelled => Ok(BatchResult::Cancelled),
            Outcome::Expired => Ok(BatchResult::Expired),
            Outcome::Ok if reply.rows != expected => Err(SessionError::Rows {
                batch,
                found: reply.rows,
                expected,
            }),
            Outcome::Ok => {
                let ascending = reply.row_errors.is_sorted_by(|a, b| a.row < b.row);
                if !ascending
                    || reply
                        .row_errors
                        .last()
                        .is_some_and(|last| last.row >= expected)
                {
                    return Err(SessionError::RowErrors(batch));
                }
                let specs = &self.terms.schema.outputs;
                let columns = columns_of(reply.tensors, specs, expected as usize)
                    .map_err(|source| SessionError::Column { batch, source })?;
                Ok(BatchResult::Ok {
                    columns,
                    row_errors: reply.row_errors,
                })
            }
        }
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub fn check_invariants(&self) {
        let ids = || self.in_flight.iter().map(|flight| flight.batch);
        assert!(ids().is_sorted_by(|a, b| a < b), "batch ids ascend");
        assert!(
            ids().all(|id| id.0 < self.next_batch),
            "ids in flight were given out"
        );
        assert!(
            self.in_flight.len() <= usize::from(self.terms.slots),
            "no more than the slots"
        );
        let serving = matches!(self.phase, Phase::Serving | Phase::Draining);
        assert!(
            serving || self.in_flight.is_empty(),
            "nothing in flight before the welcome"
        );
    }
}
