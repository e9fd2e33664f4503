//! The container's side: a link, and its shared path.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_memory::region::Room;
use thiserror::Error;

use super::container::ContainerPath;
use super::setup::host;
use crate::message::{DecodeError, Encoder, Frame, Message, Offer};
use crate::tensor::Schema;
use crate::transport::{Closed, Link, SendError};

/// A look at the link costs system calls: while batches keep coming through shared memory there
/// is one in this time.
const LINK_EVERY: Duration = Duration::from_millis(1);
/// Looks at the ring between two readings of the clock.
const LOOKS: u32 = 32;

/// Why nothing more can be received.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// What came is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// A message, and for a batch through shared memory the room for its results.
pub type Received = (Message, Option<Room>);

/// A container's exchange of messages with its front end; used by one thread.
pub struct ContainerChannel<'a, L> {
    link: &'a mut L,
    encoder: Encoder,
    path: Option<ContainerPath>,
    socket_dir: Option<PathBuf>,
    spin: Duration,
    looked: Instant,
    held: VecDeque<Message>,
}

impl<'a, L: Link> ContainerChannel<'a, L> {
    /// A channel over `link`. The front end's control socket is looked for in `socket_dir`;
    /// without one, no shared memory is asked for. Waiting spins for `spin` before it sleeps.
    pub fn new(link: &'a mut L, socket_dir: Option<&Path>, spin: Duration) -> Self {
        let socket_dir = socket_dir.filter(|_| link.hears_bells());
        ContainerChannel {
            socket_dir: socket_dir.map(Path::to_owned),
            link,
            encoder: Encoder::default(),
            path: None,
            spin,
            looked: Instant::now(),
            held: VecDeque::new(),
        }
    }

    /// What the hello says of this host; empty where no shared memory is asked for.
    #[must_use]
    pub fn host(&self) -> &'static str {
        if self.socket_dir.is_some() {
            host()
        } else {
            ""
        }
    }

    /// Whether batches may come through shared memory.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.path.is_some()
    }

    /// Takes up the front end's offer: from here on batches may come through shared memory.
    /// Returns what to tell the front end.
    pub fn accept(&mut self, offer: &Offer, schema: &Arc<Schema>) -> Message {
        let directory = self
            .socket_dir
            .as_deref()
            .ok_or("none was asked for".to_owned());
        let opened = directory.and_then(|dir| ContainerPath::open(dir, offer, schema));
        let (shared, detail) = match opened {
            Ok(path) => {
                self.path = Some(path);
                (true, String::new())
            }
            Err(detail) => (false, detail),
        };
        Message::Path { shared, detail }
    }

    /// Sends a message; a reply goes back the way that its batch came, into `room` if that was
    /// shared memory.
    ///
    /// # Errors
    /// If the connection is closed or the peer does not keep up.
    pub fn send(&mut self, mut message: Message, room: Option<Room>) -> Result<(), SendError> {
        if let Some(path) = &mut self.path
            && path.send(&mut message, room)
        {
            return Ok(());
        }
        let frame = self.encoder.encode(&message);
        self.link.send(&frame)
    }

    /// Waits for a message until `until`; a past time only looks. `None` when the time has
    /// come or a signal interrupted the wait. What time it is, `now`, need not be exact.
    ///
    /// # Errors
    /// If the connection is closed, or what came is no message; what came before is delivered
    /// first.
    pub fn recv(&mut self, now: Instant, until: Instant) -> Result<Option<Received>, RecvError> {
        if self.path.is_some() {
            if let Some(received) = self.try_recv(now)? {
                return Ok(Some(received));
            }
            if self.spin_until(until) {
                return self.next();
            }
        } else if let Some(message) = self.held.pop_front() {
            return Ok(Some((message, None)));
        }
        self.wait_for_link(until)?;
        self.next()
    }

    /// Takes a message that is there already, when it is about `now`. The link is looked at
    /// each time, or where batches come through shared memory, once a millisecond.
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub fn try_recv(&mut self, now: Instant) -> Result<Option<Received>, RecvError> {
        let is_due = now.saturating_duration_since(self.looked) >= LINK_EVERY;
        if self.path.is_none() || is_due {
            let heard = self.link.recv(now);
            if !matches!(heard, Ok(Some(_))) {
                // Else there may be more.
                self.looked = now;
            }
            self.hold(heard)?;
        }
        self.next()
    }

    /// What is there already: batches first, which came before what the link brought.
    fn next(&mut self) -> Result<Option<Received>, RecvError> {
        if let Some(path) = &mut self.path
            && let Some(taken) = path.recv()
        {
            let (predict, room) = taken?;
            return Ok(Some((Message::Predict(predict), Some(room))));
        }
        Ok(self.held.pop_front().map(|message| (message, None)))
    }

    /// Whether a batch came while this spun.
    fn spin_until(&self, until: Instant) -> bool {
        let Some(path) = self.path.as_ref().filter(|_| !self.spin.is_zero()) else {
            return false;
        };
        let end = until.min(Instant::now() + self.spin);
        loop {
            for _ in 0..LOOKS {
                if path.is_ready() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= end {
                return false;
            }
        }
    }

    /// Sleeps until the link or the bell has something, and takes what the link has.
    fn wait_for_link(&mut self, until: Instant) -> Result<(), RecvError> {
        let Some(path) = &mut self.path else {
            let heard = self.link.recv(until);
            return self.hold(heard);
        };
        path.arm();
        let until = if path.is_ready() {
            Instant::now()
        } else {
            until
        };
        let heard = match path.bell() {
            Some(bell) => self.link.recv_beside(until, bell),
            None => self.link.recv(until),
        };
        path.disarm();
        self.hold(heard)
    }

    /// Keeps what the link brought until the ring is empty.
    fn hold(&mut self, heard: Result<Option<Frame>, Closed>) -> Result<(), RecvError> {
        match heard {
            Ok(Some(frame)) => self.held.push_back(Message::decode(&frame)?),
            Ok(None) => {}
            // What lies in the ring came before; the next look says so again.
            Err(Closed) if self.path.as_ref().is_some_and(|path| path.is_ready()) => {}
            Err(Closed) => return Err(Closed.into()),
        }
        Ok(())
    }
}
