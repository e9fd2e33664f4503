//! The container's side of one session.

use std::time::{Duration, Instant};

use super::{Liveness, SessionError, Timing, columns_of};
use crate::message::{
    BatchId, Hello, Message, Outcome, Predict, Reject, Reply, RowError, Tensors, Welcome,
};
use crate::tensor::{Columns, Schema};

/// A container's session with one front end.
#[derive(Debug)]
pub struct ContainerSession {
    phase: Phase,
    liveness: Liveness,
    schema: Schema,
    max_batch: u32,
    slots: u16,
    last_batch: BatchId,
    last_shared_batch: BatchId,
    in_hand: u16,
    batches_done: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Serving,
    Leaving,
}

/// A checked message from the front end.
#[derive(Debug)]
#[non_exhaustive]
pub enum ContainerEvent {
    /// The hello was accepted.
    Welcome(Welcome),
    /// The hello was refused, or the session is ended.
    Rejected(Reject),
    /// A batch to compute; answer it with [`ContainerSession::reply`].
    Job(Job),
    /// The batch need not be computed if it has not begun; it still wants a reply.
    Cancel(BatchId),
    /// No further batches will come: finish what is in hand, then close.
    Drain {
        /// Why.
        detail: String,
    },
    /// Nothing but a sign of life.
    Alive,
}

/// A batch to compute.
#[derive(Debug)]
pub struct Job {
    /// For the reply.
    pub batch: BatchId,
    /// Rows in the batch, at least 1.
    pub rows: usize,
    /// On this side's clock.
    pub deadline: Instant,
    /// The input tensors, in schema order.
    pub columns: Columns,
}

impl ContainerSession {
    /// Opens a session; returns the hello to send.
    #[must_use]
    pub fn open(now: Instant, timing: Timing, hello: Hello) -> (Self, Message) {
        let session = ContainerSession {
            phase: Phase::Greeting,
            liveness: Liveness::new(now, timing),
            schema: hello.schema.clone(),
            max_batch: hello.max_batch,
            slots: hello.slots,
            last_batch: BatchId(0),
            last_shared_batch: BatchId(0),
            in_hand: 0,
            batches_done: 0,
        };
        (session, hello.into())
    }

    /// Takes a message from the front end.
    ///
    /// # Errors
    /// If the front end broke the protocol; the session is over.
    pub fn on_message(
        &mut self,
        now: Instant,
        message: Message,
    ) -> Result<ContainerEvent, SessionError> {
        self.liveness.heard = now;
        match (self.phase, message) {
            (_, Message::Reject(reject)) => Ok(ContainerEvent::Rejected(reject)),
            (Phase::Greeting, Message::Welcome(welcome)) => {
                self.phase = Phase::Serving;
                self.liveness.timing.heartbeat = welcome.heartbeat;
                self.liveness.timing.silence = welcome.silence;
                Ok(ContainerEvent::Welcome(welcome))
            }
            (Phase::Serving | Phase::Leaving, Message::Predict(predict)) => {
                self.on_predict(now, predict).map(ContainerEvent::Job)
            }
            (Phase::Serving | Phase::Leaving, Message::Cancel(batch)) => {
                Ok(ContainerEvent::Cancel(batch))
            }
            (Phase::Serving | Phase::Leaving, Message::Heartbeat { .. }) => {
                Ok(ContainerEvent::Alive)
            }
            (Phase::Serving | Phase::Leaving, Message::Drain { detail }) => {
                Ok(ContainerEvent::Drain { detail })
            }
            (phase, message) => {
                let phase = match phase {
                    Phase::Greeting => "a welcome is awaited",
                    Phase::Serving => "serving",
                    Phase::Leaving => "draining",
                };
                Err(SessionError::Unexpected {
                    message: message.name(),
                    phase,
                })
            }
        }
    }

    /// The reply that carries a batch's outputs.
    pub fn reply(
        &mut self,
        now: Instant,
        job: &Job,
        outputs: Columns,
        row_errors: Vec<RowError>,
        compute: Duration,
    ) -> Message {
        let rows = u32::try_from(job.rows).unwrap_or(u32::MAX);
        self.finish(
            now,
            Reply {
                batch: job.batch,
                outcome: Outcome::Ok,
                rows,
                tensors: Tensors::Columns(outputs),
                row_errors,
                compute,
            },
        )
    }

    /// The reply for a batch that failed or was cancelled.
    pub fn reply_without(
        &mut self,
        now: Instant,
        batch: BatchId,
        outcome: Outcome,
        compute: Duration,
    ) -> Message {
        self.finish(
            now,
            Reply {
                batch,
                outcome,
                rows: 0,
                tensors: Tensors::default(),
                row_errors: Vec::new(),
                compute,
            },
        )
    }

    /// Asks to leave; returns the drain to send. Batches may still come until the front end
    /// answers with its own drain. PROTOCOL 7.2
    pub fn leave(&mut self, now: Instant, detail: &str) -> Message {
        self.phase = Phase::Leaving;
        self.liveness.sent = now;
        Message::Drain {
            detail: detail.to_owned(),
        }
    }

    /// When [`Self::on_timer`] has something to do.
    #[must_use]
    pub fn next_timer(&self) -> Instant {
        match self.phase {
            Phase::Greeting => self.liveness.heard + self.liveness.timing.handshake,
            Phase::Serving | Phase::Leaving => self
                .liveness
                .next_heartbeat()
                .min(self.liveness.heard + self.liveness.timing.silence),
        }
    }

    /// Heartbeats and time-outs; returns what is to be sent.
    ///
    /// # Errors
    /// If the front end is silent; the session is over.
    pub fn on_timer(&mut self, now: Instant) -> Result<Option<Message>, SessionError> {
        let timing = self.liveness.timing;
        if self.phase == Phase::Greeting {
            return self.liveness.check(now, timing.handshake).map(|()| None);
        }
        self.liveness.check(now, timing.silence)?;
        if now < self.liveness.next_heartbeat() {
            return Ok(None);
        }
        self.liveness.sent = now;
        Ok(Some(Message::Heartbeat {
            batches_done: self.batches_done,
        }))
    }

    fn on_predict(&mut self, now: Instant, predict: Predict) -> Result<Job, SessionError> {
        let batch = predict.batch;
        // PROTOCOL 5.2: on each of the two paths.
        let last = match predict.tensors {
            Tensors::Parts(_) => &mut self.last_batch,
            _ => &mut self.last_shared_batch,
        };
        if batch <= std::mem::replace(last, batch.max(*last)) {
            return Err(SessionError::BatchOrder(batch));
        }
        if predict.rows == 0 || predict.rows > self.max_batch {
            let expected = self.max_batch;
            return Err(SessionError::Rows {
                batch,
                found: predict.rows,
                expected,
            });
        }
        if self.in_hand == self.slots {
            return Err(SessionError::Slots {
                batch,
                slots: self.slots,
            });
        }
        let rows = predict.rows as usize;
        let columns = columns_of(predict.tensors, &self.schema.inputs, rows)
            .map_err(|source| SessionError::Column { batch, source })?;
        self.in_hand += 1;
        let deadline = now
            .checked_add(predict.remaining)
            .unwrap_or(now + Duration::from_secs(3600));
        Ok(Job {
            batch,
            rows,
            deadline,
            columns,
        })
    }

    fn finish(&mut self, now: Instant, reply: Reply) -> Message {
        debug_assert!(self.in_hand > 0, "a reply answers a batch in hand");
        self.in_hand -= 1;
        self.batches_done += 1;
        // The thread that computes does not read: what queued up meanwhile is not silence.
        self.liveness.heard = now;
        self.liveness.sent = now;
        Message::Reply(reply)
    }
}
