//! A transport that delivers what a script says.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use skysail_rpc::message::Frame;
use skysail_rpc::transport::{Closed, Incoming, Link, Listener, Origin, PeerId, SendError};

/// Frames on their way.
#[derive(Debug, Default)]
pub(super) struct Queues {
    incoming: VecDeque<Incoming>,
    forgotten: BTreeSet<PeerId>,
    waker: Option<Waker>,
    pub(super) sent: Vec<(PeerId, Frame)>,
}

/// The front end's side, beside whose endpoint its control socket is.
pub(super) struct Wire {
    endpoints: Vec<String>,
    queues: Arc<Mutex<Queues>>,
}

/// The other side of all of its peers.
#[derive(Clone)]
pub(super) struct Peers(Arc<Mutex<Queues>>);

pub(super) fn wire(endpoint: String) -> (Wire, Peers) {
    let queues = Arc::new(Mutex::default());
    let endpoints = vec![endpoint];
    let peers = Peers(queues.clone());
    (Wire { endpoints, queues }, peers)
}

impl Queues {
    fn bring(&mut self, incoming: Incoming) {
        self.incoming.push_back(incoming);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Peers {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, peer: PeerId, frame: Frame) {
        let origin = Origin::Ipc;
        self.lock().bring(Incoming::Frame {
            peer,
            origin,
            frame,
        });
    }

    pub(super) fn close(&self, peer: PeerId) {
        self.lock().bring(Incoming::Closed { peer });
    }

    /// What was sent to `peer` so far.
    pub(super) fn heard(&self, peer: PeerId) -> Vec<Frame> {
        let mut queues = self.lock();
        let sent = std::mem::take(&mut queues.sent);
        let (its, others) = sent.into_iter().partition(|(to, _)| *to == peer);
        queues.sent = others;
        let its: Vec<(PeerId, Frame)> = its;
        its.into_iter().map(|(_, frame)| frame).collect()
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Wire {
    fn send(&mut self, peer: PeerId, frame: &Frame) -> Result<(), SendError> {
        let mut queues = self.lock();
        if queues.forgotten.contains(&peer) {
            return Err(SendError::Gone);
        }
        queues.sent.push((peer, frame.clone()));
        Ok(())
    }

    fn try_recv(&mut self) -> Option<Incoming> {
        let mut queues = self.lock();
        loop {
            let incoming = queues.incoming.pop_front()?;
            let (Incoming::Frame { peer, .. } | Incoming::Closed { peer }) = &incoming;
            if queues.forgotten.contains(peer) {
                continue;
            }
            if matches!(incoming, Incoming::Closed { .. }) {
                let peer = *peer;
                queues.forgotten.insert(peer);
            }
            return Some(incoming);
        }
    }

    fn forget(&mut self, peer: PeerId) {
        self.lock().forgotten.insert(peer);
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut queues = self.lock();
        if !queues.incoming.is_empty() {
            return Poll::Ready(Ok(()));
        }
        queues.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn endpoints(&self) -> &[String] {
        &self.endpoints
    }
}

/// The container's side, from which nothing has to be waited for.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) frames: VecDeque<Frame>,
    pub(super) closed: bool,
    pub(super) sent: usize,
}

impl Link for Script {
    fn send(&mut self, _: &Frame) -> Result<(), SendError> {
        self.sent += 1;
        if self.closed {
            return Err(SendError::Gone);
        }
        Ok(())
    }

    fn recv(&mut self, _: Instant) -> Result<Option<Frame>, Closed> {
        match self.frames.pop_front() {
            None if self.closed => Err(Closed),
            frame => Ok(frame),
        }
    }

    fn recv_beside(&mut self, until: Instant, _: BorrowedFd<'_>) -> Result<Option<Frame>, Closed> {
        self.recv(until)
    }

    fn hears_bells(&self) -> bool {
        true
    }
}
