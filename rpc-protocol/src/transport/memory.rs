//! A transport inside one process, for tests and simulation.
//!
//! Frames move through bounded channels; payloads are shared, not copied.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::mpsc;

use super::{Closed, Incoming, Link, Listener, Origin, PeerId, SendError};
use crate::message::Frame;

/// Frames waiting at one end.
const CHANNEL_FRAMES: usize = 1024;

enum ToListener {
    Opened(PeerId, Opened),
    Frame(PeerId, Frame),
    Closed(PeerId),
}

struct Opened {
    to_link: blocking::SyncSender<Frame>,
    user: Option<String>,
}

/// The listening end.
pub struct MemoryListener {
    incoming: mpsc::Receiver<ToListener>,
    peeked: Option<ToListener>,
    peers: BTreeMap<PeerId, Opened>,
}

/// Makes links to one listener; clone it for each thread.
#[derive(Clone)]
pub struct MemoryConnector {
    outgoing: mpsc::Sender<ToListener>,
    next_peer: Arc<AtomicU64>,
}

/// A connection to a [`MemoryListener`].
pub struct MemoryLink {
    peer: PeerId,
    outgoing: mpsc::Sender<ToListener>,
    incoming: blocking::Receiver<Frame>,
}

/// A listener and what connects to it.
#[must_use]
pub fn listen() -> (MemoryListener, MemoryConnector) {
    let (outgoing, incoming) = mpsc::channel(CHANNEL_FRAMES);
    let listener = MemoryListener {
        incoming,
        peeked: None,
        peers: BTreeMap::new(),
    };
    (
        listener,
        MemoryConnector {
            outgoing,
            next_peer: Arc::default(),
        },
    )
}

impl MemoryConnector {
    /// Opens a connection.
    ///
    /// # Errors
    /// If the listener is gone or its channel is full.
    pub fn connect(&self) -> Result<MemoryLink, Closed> {
        self.open(None)
    }

    /// Opens a connection whose end counts as the holder of the key of this name.
    ///
    /// # Errors
    /// If the listener is gone or its channel is full.
    pub fn connect_with_key(&self, name: &str) -> Result<MemoryLink, Closed> {
        self.open(Some(name.to_owned()))
    }

    fn open(&self, user: Option<String>) -> Result<MemoryLink, Closed> {
        // Relaxed: only uniqueness matters.
        let peer = PeerId(self.next_peer.fetch_add(1, Ordering::Relaxed));
        let (to_link, incoming) = blocking::sync_channel(CHANNEL_FRAMES);
        self.outgoing
            .try_send(ToListener::Opened(peer, Opened { to_link, user }))
            .map_err(|_| Closed)?;
        Ok(MemoryLink {
            peer,
            outgoing: self.outgoing.clone(),
            incoming,
        })
    }
}

impl Listener for MemoryListener {
    fn send(&mut self, peer: PeerId, frame: &Frame) -> Result<(), SendError> {
        let opened = self.peers.get(&peer).ok_or(SendError::Gone)?;
        opened
            .to_link
            .try_send(frame.clone())
            .map_err(|error| match error {
                blocking::TrySendError::Full(_) => SendError::Full,
                blocking::TrySendError::Disconnected(_) => SendError::Gone,
            })
    }

    fn try_recv(&mut self) -> Option<Incoming> {
        loop {
            match self
                .peeked
                .take()
                .or_else(|| self.incoming.try_recv().ok())?
            {
                ToListener::Opened(peer, opened) => drop(self.peers.insert(peer, opened)),
                ToListener::Frame(peer, frame) if self.peers.contains_key(&peer) => {
                    return Some(Incoming::Frame {
                        peer,
                        origin: Origin::Memory,
                        frame,
                    });
                }
                ToListener::Closed(peer) if self.peers.remove(&peer).is_some() => {
                    return Some(Incoming::Closed { peer });
                }
                ToListener::Frame(..) | ToListener::Closed(_) => {}
            }
        }
    }

    fn forget(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.peeked.is_none() {
            self.peeked = std::task::ready!(self.incoming.poll_recv(context));
        }
        if self.peeked.is_some() {
            return Poll::Ready(Ok(()));
        }
        // Nobody can connect any more, so nothing will come.
        Poll::Pending
    }

    fn endpoints(&self) -> &[String] {
        &[]
    }

    fn user(&self, peer: PeerId) -> Option<&str> {
        self.peers.get(&peer)?.user.as_deref()
    }
}

impl Link for MemoryLink {
    fn send(&mut self, frame: &Frame) -> Result<(), SendError> {
        self.outgoing
            .try_send(ToListener::Frame(self.peer, frame.clone()))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::Gone,
            })
    }

    fn recv(&mut self, until: Instant) -> Result<Option<Frame>, Closed> {
        let wait = until.saturating_duration_since(Instant::now());
        match self.incoming.recv_timeout(wait) {
            Ok(frame) => Ok(Some(frame)),
            Err(blocking::RecvTimeoutError::Timeout) => Ok(None),
            Err(blocking::RecvTimeoutError::Disconnected) => Err(Closed),
        }
    }

    fn recv_beside(
        &mut self,
        until: Instant,
        _bell: BorrowedFd<'_>,
    ) -> Result<Option<Frame>, Closed> {
        self.recv(until)
    }

    fn hears_bells(&self) -> bool {
        false
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        // A full channel delays the news until the listener misses the heartbeats.
        drop(self.outgoing.try_send(ToListener::Closed(self.peer)));
    }
}
