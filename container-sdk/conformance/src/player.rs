//! The front end's side of an exchange.

use std::time::Duration;

use skysail_rpc::message::{BatchId, DecodeError, Encoder, Frame, Message};
use skysail_rpc::transport::{Incoming, Listener, PeerId, SendError};
use thiserror::Error;

use crate::compare::{compare, normal};
use crate::{Exchange, Step};

/// One line of a script from which an exchange is recorded.
#[derive(Clone, Debug)]
pub enum Line {
    /// The front end sends this.
    Send(Frame),
    /// The container says something other than a heartbeat, which is recorded.
    Hear,
    /// The container sends a heartbeat.
    HearHeartbeat,
    /// The container answers a batch; replies to other batches may come before.
    HearReply {
        /// Which batch.
        batch: BatchId,
        /// What it may say instead of what is recorded, where two sides race.
        or: Option<Message>,
    },
    /// The container closes the connection.
    Closed,
}

/// The container did not do what the exchange says.
#[derive(Debug, Error)]
#[error("step {step}: {what}")]
pub struct Mismatch {
    /// Counted from 1; one past the last for what came after all steps.
    pub step: usize,
    what: Wrong,
}

#[derive(Debug, Error)]
enum Wrong {
    #[error("nothing came for {} ms", .0.as_millis())]
    Silence(Duration),
    #[error("the container sent an undecodable message: {0}")]
    Undecodable(#[from] DecodeError),
    #[error("cannot send to the container: {0}")]
    Send(#[from] SendError),
    #[error("{0}")]
    Other(String),
    #[error("the container closed the connection, {0} expected")]
    Closed(&'static str),
    #[error("a {0} came, the connection was expected to close")]
    Open(&'static str),
}

/// Plays `exchange` with the next container that connects to `listener`, which has
/// `patience` for each of its messages.
///
/// # Errors
/// The first step that the container did not follow.
pub async fn play<L: Listener>(
    listener: &mut L,
    exchange: &Exchange,
    patience: Duration,
) -> Result<(), Mismatch> {
    let mut player = Player::new(listener, patience);
    for (step, line) in (1..).zip(&exchange.steps) {
        player
            .follow(line)
            .await
            .map_err(|what| Mismatch { step, what })?;
    }
    player.finish().map_err(|what| Mismatch {
        step: exchange.steps.len() + 1,
        what,
    })
}

/// Plays a script with the next container that connects, and writes down what it says.
///
/// # Errors
/// If the container says nothing, or closes the connection where it should not.
pub async fn record<L: Listener>(
    listener: &mut L,
    script: &[Line],
    patience: Duration,
) -> Result<Vec<Step>, Mismatch> {
    let mut player = Player::new(listener, patience);
    let mut steps = Vec::with_capacity(script.len());
    for (step, line) in (1..).zip(script) {
        steps.push(
            player
                .write_down(line)
                .await
                .map_err(|what| Mismatch { step, what })?,
        );
    }
    player.finish().map_err(|what| Mismatch {
        step: script.len() + 1,
        what,
    })?;
    Ok(steps)
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Heartbeat,
    Reply(BatchId),
    Other,
}

impl Wanted {
    fn like(message: &Message) -> Self {
        match message {
            Message::Heartbeat { .. } => Wanted::Heartbeat,
            Message::Reply(reply) => Wanted::Reply(reply.batch),
            _ => Wanted::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Wanted::Heartbeat => "a heartbeat",
            Wanted::Reply(_) => "a reply",
            Wanted::Other => "a message",
        }
    }
}

struct Player<'a, L> {
    listener: &'a mut L,
    patience: Duration,
    peer: Option<PeerId>,
    /// Replies that came before the ones that were expected first.
    early: Vec<Message>,
}

impl<'a, L: Listener> Player<'a, L> {
    fn new(listener: &'a mut L, patience: Duration) -> Self {
        Player {
            listener,
            patience,
            peer: None,
            early: Vec::new(),
        }
    }

    async fn follow(&mut self, step: &Step) -> Result<(), Wrong> {
        match step {
            Step::Frontend(frame) => self.send(frame),
            Step::Closed => self.expect_closed().await,
            Step::Container { frame, or } => {
                let expected = Message::decode(frame)?;
                let found = self.hear(Wanted::like(&expected)).await?;
                let Err(difference) = compare(&expected, &found) else {
                    return Ok(());
                };
                match or.as_ref().map(Message::decode).transpose()? {
                    Some(other) if compare(&other, &found).is_ok() => Ok(()),
                    _ => Err(Wrong::Other(difference)),
                }
            }
        }
    }

    async fn write_down(&mut self, line: &Line) -> Result<Step, Wrong> {
        match line {
            Line::Send(frame) => self.send(frame).map(|()| Step::Frontend(frame.clone())),
            Line::Closed => self.expect_closed().await.map(|()| Step::Closed),
            Line::Hear => self.write_heard(Wanted::Other, None).await,
            Line::HearHeartbeat => self.write_heard(Wanted::Heartbeat, None).await,
            Line::HearReply { batch, or } => {
                self.write_heard(Wanted::Reply(*batch), or.as_ref()).await
            }
        }
    }

    async fn write_heard(&mut self, wanted: Wanted, or: Option<&Message>) -> Result<Step, Wrong> {
        let mut encoder = Encoder::default();
        let message = normal(self.hear(wanted).await?);
        let or = or.map(|or| encoder.encode(or));
        Ok(Step::Container {
            frame: encoder.encode(&message),
            or,
        })
    }

    fn send(&mut self, frame: &Frame) -> Result<(), Wrong> {
        let peer = self
            .peer
            .ok_or(Wrong::Other("nobody has connected yet".to_owned()))?;
        Ok(self.listener.send(peer, frame)?)
    }

    /// The next message that is wanted. Heartbeats and, where a reply is wanted, replies to
    /// other batches may come before.
    async fn hear(&mut self, wanted: Wanted) -> Result<Message, Wrong> {
        if let Some(at) = self
            .early
            .iter()
            .position(|early| Wanted::like(early) == wanted)
        {
            return Ok(self.early.remove(at));
        }
        loop {
            let Some(message) = self.next().await? else {
                return Err(Wrong::Closed(wanted.name()));
            };
            match (Wanted::like(&message), wanted) {
                (found, wanted) if found == wanted => return Ok(message),
                (Wanted::Heartbeat, _) => {}
                (Wanted::Reply(_), Wanted::Reply(_)) => self.early.push(message),
                _ => return Ok(message),
            }
        }
    }

    async fn expect_closed(&mut self) -> Result<(), Wrong> {
        loop {
            match self.next().await? {
                None => return Ok(()),
                Some(Message::Heartbeat { .. }) => {}
                Some(message) => return Err(Wrong::Open(message.name())),
            }
        }
    }

    fn finish(self) -> Result<(), Wrong> {
        match self.early.first().map(Wanted::like) {
            Some(Wanted::Reply(batch)) => Err(Wrong::Other(format!(
                "an unexpected reply to batch {} came",
                batch.0
            ))),
            _ => Ok(()),
        }
    }

    /// What this exchange's container says next, or that it has closed the connection; the
    /// first to speak is the one.
    async fn next(&mut self) -> Result<Option<Message>, Wrong> {
        loop {
            let incoming = match self.listener.try_recv() {
                Some(incoming) => incoming,
                None => {
                    let readable = tokio::time::timeout(self.patience, self.listener.readable());
                    let woken = readable.await.map_err(|_| Wrong::Silence(self.patience))?;
                    woken.map_err(|error| Wrong::Other(error.to_string()))?;
                    continue;
                }
            };
            match incoming {
                Incoming::Frame { peer, frame, .. } if *self.peer.get_or_insert(peer) == peer => {
                    return Ok(Some(Message::decode(&frame)?));
                }
                Incoming::Closed { peer } if self.peer == Some(peer) => return Ok(None),
                _ => {}
            }
        }
    }
}
