//! The front end's side: one session at a time, by the way that it agrees on.
//!
//! Over shared memory a desk is the front end's own [`FrontendChannel`]: it offers the memory
//! in its welcome, waits until the container says that batches travel by it, and puts rows of
//! fixed size into a row log, others into the batch's block.
//!
//! # Invariants
//! - What other connections say meanwhile is kept, in order, until one of them is the next session.
//! - Nothing is waited for beyond the desk's time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_rpc::Schema;
use skysail_rpc::channel::{FrontendChannel, Heard, SharedLog, Sharing};
use skysail_rpc::message::{Frame, Hello, Message, Offer, Predict, Tensors, Welcome};
use skysail_rpc::tensor::{Columns, Rows, columns_from_parts};
use skysail_rpc::transport::{Listener, PeerId};
use tokio::sync::watch;

use crate::process::Ending;
use crate::wrong::{Wrong, suite};

/// A container that has ended may have said something just before.
const LAST_WORDS: Duration = Duration::from_millis(500);

type Result<T> = std::result::Result<T, Wrong>;

/// Where a container is met.
pub struct Desk<L> {
    channel: FrontendChannel<L>,
    sharing: Option<Sharing>,
    patience: Duration,
    until: Instant,
    /// Whose session it is.
    peer: Option<PeerId>,
    /// What others said meanwhile.
    others: VecDeque<Heard>,
    /// Of this session.
    hello: Option<Hello>,
    log: Option<SharedLog>,
    /// How the container's process ended, where it is known.
    ending: Option<watch::Receiver<Option<Ending>>>,
}

impl<L: Listener> Desk<L> {
    /// A desk over `listener` that has `patience` for everything that happens at it. Call it
    /// inside the runtime.
    pub fn new(listener: L, patience: Duration) -> Self {
        Self::sharing(listener, patience, None)
    }

    /// A desk that exchanges batches through shared memory.
    pub(crate) fn shared(listener: L, patience: Duration) -> Self {
        Self::sharing(listener, patience, Some(Sharing::default()))
    }

    fn sharing(listener: L, patience: Duration, sharing: Option<Sharing>) -> Self {
        let none = Sharing {
            offered: false,
            ..Sharing::default()
        };
        Desk {
            channel: FrontendChannel::new(listener, sharing.clone().unwrap_or(none)),
            sharing,
            patience,
            until: Instant::now() + patience,
            peer: None,
            others: VecDeque::new(),
            hello: None,
            log: None,
            ending: None,
        }
    }

    /// Gives up at `until` instead.
    pub(crate) fn give_up_at(&mut self, until: Instant) {
        self.until = until;
    }

    /// A container that ends before it says anything is not waited for.
    pub(crate) fn watch(&mut self, ending: watch::Receiver<Option<Ending>>) {
        self.ending = Some(ending);
    }

    pub(crate) fn endpoints(&self) -> &[String] {
        self.channel.endpoints()
    }

    /// Whether batches are to travel through shared memory.
    pub(crate) fn is_shared(&self) -> bool {
        self.sharing.is_some()
    }

    /// The hello of this session.
    pub(crate) fn hello(&self) -> Result<&Hello> {
        let none = || Wrong::Other("the container has not said hello".to_owned());
        self.hello.as_ref().ok_or_else(none)
    }

    /// From here on whoever speaks next is meant.
    pub(crate) fn next_session(&mut self) {
        if let Some(peer) = self.peer.take() {
            self.channel.forget(peer);
        }
        (self.hello, self.log) = (None, None);
    }

    pub(crate) fn send(&mut self, message: Message) -> Result<()> {
        Ok(self.channel.send(self.peer()?, message)?)
    }

    /// By the connection, byte for byte.
    pub(crate) fn send_frame(&mut self, frame: &Frame) -> Result<()> {
        Ok(self.channel.send_frame(self.peer()?, frame)?)
    }

    /// Sends a batch: where memory is shared, by that.
    pub(crate) fn predict(&mut self, predict: Predict) -> Result<()> {
        let predict = self.in_log(predict)?;
        self.send(Message::Predict(predict))
    }

    /// Welcomes the container. Where batches are to travel through shared memory, they do.
    pub(crate) async fn welcome(&mut self, mut welcome: Welcome) -> Result<()> {
        welcome.offer = self.offer()?;
        let is_offered = welcome.offer.is_some();
        self.send(Message::Welcome(welcome))?;
        if is_offered {
            self.path().await
        } else {
            Ok(())
        }
    }

    /// Until the container says that batches travel through shared memory. PROTOCOL 8.6
    async fn path(&mut self) -> Result<()> {
        loop {
            let message = self.next().await?;
            match message.ok_or(Wrong::Closed("its path"))? {
                Message::Heartbeat { .. } => {}
                Message::Path { shared: true, .. } => return Ok(()),
                Message::Path { detail, .. } => return Err(Wrong::NotTaken(detail)),
                other => {
                    return Err(format!("a {} came, its path was expected", other.name()).into());
                }
            }
        }
    }

    /// An offer of shared memory, if this desk has any.
    pub(crate) fn offer(&mut self) -> Result<Option<Offer>> {
        let Some(sharing) = &self.sharing else {
            return Ok(None);
        };
        let (peer, hello) = (self.peer()?, self.hello()?.clone());
        let unfit = |error: &dyn std::error::Error| format!("its hello is not valid: {error}");
        hello.schema.check().map_err(|error| unfit(&error))?;
        let schema = Arc::new(hello.schema.clone());
        self.log = sharing.log(&schema, 1);
        let log = self.log.as_ref().map(|log| &log.log);
        // A container need not want any. PROTOCOL 8.1
        let offer = self.channel.offer(peer, &hello, &schema, log);
        offer
            .map(Some)
            .map_err(|why| Wrong::Skip(format!("no shared memory: {why}")))
    }

    /// What this session's container says next, or that it has closed the connection; the first
    /// to speak is the one.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>> {
        let (until, patience) = (self.until, self.patience);
        let next = tokio::time::timeout_at(until.into(), self.next_in_time());
        next.await.map_err(|_| Wrong::Silence(patience))?
    }

    async fn next_in_time(&mut self) -> Result<Option<Message>> {
        loop {
            let heard = match self.kept().or_else(|| self.channel.try_recv()) {
                Some(heard) => heard,
                None => {
                    self.readable().await?;
                    continue;
                }
            };
            match heard {
                Heard::Message { peer, message, .. } if *self.peer.get_or_insert(peer) == peer => {
                    let message = message?;
                    if let Message::Hello(hello) = &message {
                        self.hello = Some((**hello).clone());
                    }
                    return Ok(Some(message));
                }
                Heard::Closed { peer } if self.peer == Some(peer) => return Ok(None),
                other => self.others.push_back(other),
            }
        }
    }

    /// What was kept and is of interest now.
    fn kept(&mut self) -> Option<Heard> {
        let at = self.others.iter().position(|heard| match heard {
            Heard::Message { peer, .. } => self.peer.is_none_or(|own| own == *peer),
            Heard::Closed { peer } => self.peer == Some(*peer),
        })?;
        self.others.remove(at)
    }

    async fn readable(&mut self) -> Result<()> {
        let Some(ending) = self.ending.as_mut().filter(|_| self.peer.is_none()) else {
            return self.channel.readable().await.map_err(suite("listen"));
        };
        if let Some(ending) = *ending.borrow() {
            let last = tokio::time::timeout(LAST_WORDS, self.channel.readable());
            let heard = last.await.map_err(|_| Wrong::Ended(ending))?;
            return heard.map_err(suite("listen"));
        }
        tokio::select! {
            readable = self.channel.readable() => readable.map_err(suite("listen")),
            _ = ending.changed() => Ok(()),
        }
    }

    fn peer(&self) -> Result<PeerId> {
        let nobody = || Wrong::Other("nobody has connected yet".to_owned());
        self.peer.ok_or_else(nobody)
    }

    /// The batch with its rows in the row log, if there is one and they fit it.
    fn in_log(&self, predict: Predict) -> Result<Predict> {
        let Some(log) = &self.log else {
            return Ok(predict);
        };
        let schema = &self.hello()?.schema;
        let (rows, parts) = (predict.rows as usize, predict.tensors.into_parts());
        let columns = columns_from_parts(&schema.inputs, rows, &parts).ok();
        let in_log = columns.and_then(|columns| in_log(log, schema, rows, &columns));
        let tensors = in_log.unwrap_or(Tensors::Parts(parts));
        Ok(Predict { tensors, ..predict })
    }
}

fn in_log(log: &SharedLog, schema: &Schema, rows: usize, columns: &Columns) -> Option<Tensors> {
    let mut run = (rows > 0).then(|| log.log.claim_run(rows)).flatten()?;
    for (index, column) in columns.iter().enumerate() {
        run.rows_mut(index)
            .copy_from_slice(column.data().as_bytes());
    }
    let (schema, ranges) = (Arc::new(schema.clone()), run.freeze());
    Some(Tensors::Rows(Rows { schema, ranges }))
}
