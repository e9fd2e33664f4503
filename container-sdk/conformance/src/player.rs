//! The front end's side of an exchange.

use skysail_rpc::message::{BatchId, Encoder, Frame, Message};
use skysail_rpc::transport::Listener;
use thiserror::Error;

use crate::compare::{compare, normal};
use crate::wrong::Wrong;
use crate::{Desk, Exchange, Step};

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
    pub(crate) what: Wrong,
}

/// Plays `exchange` with the next container that connects to `desk`.
///
/// # Errors
/// The first step that the container did not follow.
pub async fn play<L: Listener>(desk: &mut Desk<L>, exchange: &Exchange) -> Result<(), Mismatch> {
    let mut player = Player::new(desk);
    if player.desk.is_shared() && !exchange.steps.iter().any(is_welcome) {
        let what = Wrong::Skip("it ends before memory is shared".to_owned());
        return Err(Mismatch { step: 1, what });
    }
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
    desk: &mut Desk<L>,
    script: &[Line],
) -> Result<Vec<Step>, Mismatch> {
    let mut player = Player::new(desk);
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

fn is_welcome(step: &Step) -> bool {
    let Step::Frontend(frame) = step else {
        return false;
    };
    matches!(Message::decode(frame), Ok(Message::Welcome(_)))
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
    desk: &'a mut Desk<L>,
    /// Replies that came before the ones that were expected first.
    early: Vec<Message>,
}

impl<'a, L: Listener> Player<'a, L> {
    fn new(desk: &'a mut Desk<L>) -> Self {
        let early = Vec::new();
        Player { desk, early }
    }

    async fn follow(&mut self, step: &Step) -> Result<(), Wrong> {
        match step {
            Step::Frontend(frame) => self.send(frame).await,
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
            Line::Send(frame) => {
                self.send(frame).await?;
                Ok(Step::Frontend(frame.clone()))
            }
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

    /// Byte for byte; where memory is shared, by what means the same.
    async fn send(&mut self, frame: &Frame) -> Result<(), Wrong> {
        match Message::decode(frame) {
            Ok(Message::Welcome(welcome)) if self.desk.is_shared() => {
                self.desk.welcome(welcome).await
            }
            Ok(Message::Predict(predict)) if self.desk.is_shared() => self.desk.predict(predict),
            _ => self.desk.send_frame(frame),
        }
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
            let Some(message) = self.desk.next().await? else {
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
            match self.desk.next().await? {
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
}
