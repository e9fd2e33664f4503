//! The shared paths of all peers of a front end.
//!
//! # Invariants
//! - `busy` names the peers that have batches, and no others.
//! - A path whose peer is gone lingers, with the rows of its batches, until the peer has hung up
//!   its control socket; at most [`LINGERING_MAX`] do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rapidhash::RapidHashMap;
use slab::Slab;

use super::Heard;
use super::frontend::FrontendPath;
use super::park::{self, Spinner};
use crate::message::{BatchId, Message};
use crate::transport::{Origin, PeerId};

/// Paths of peers that the front end has done with, and that have not hung up.
const LINGERING_MAX: usize = 64;

/// All shared paths.
#[derive(Default)]
pub(super) struct Rings {
    paths: Slab<(PeerId, Box<FrontendPath>)>,
    /// Where each peer's path is.
    places: RapidHashMap<PeerId, usize>,
    /// Places of paths.
    busy: Vec<usize>,
    lingering: BTreeMap<PeerId, Box<FrontendPath>>,
    spinner: Option<Arc<Spinner>>,
}

impl Rings {
    /// A container has mapped its memory.
    pub(super) fn add(&mut self, peer: PeerId, path: Box<FrontendPath>) {
        let place = self.paths.insert((peer, path));
        self.places.insert(peer, place);
    }

    /// Whether no peer has a path.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Sends a batch and takes its tensors; false if it is none, there is no path, or it does
    /// not fit.
    pub(super) fn send(&mut self, peer: PeerId, message: &mut Message) -> bool {
        let Some(place) = self.places.get(&peer).copied() else {
            return false;
        };
        let (_, path) = &mut self.paths[place];
        let was_busy = path.is_busy();
        let is_sent = path.send(message);
        if is_sent && !was_busy {
            self.busy.push(place);
        }
        is_sent
    }

    /// The next reply of any peer.
    pub(super) fn recv(&mut self) -> Option<Heard> {
        for index in 0..self.busy.len() {
            let place = self.busy[index];
            let (peer, path) = &mut self.paths[place];
            path.disarm();
            let Some(reply) = path.recv() else { continue };
            if let Some(spinner) = &self.spinner {
                spinner.found(path.spin());
            }
            let heard = heard(*peer, reply.map(Message::Reply));
            // The next look begins with another peer.
            self.busy.rotate_left(index + 1);
            self.settle(place);
            return Some(heard);
        }
        None
    }

    /// All replies that `peer` has sent so far.
    pub(super) fn drain(&mut self, peer: PeerId, into: &mut VecDeque<Heard>) {
        let Some(place) = self.places.get(&peer).copied() else {
            return;
        };
        while let Some(reply) = self.paths[place].1.recv() {
            into.push_back(heard(peer, reply.map(Message::Reply)));
        }
        self.settle(place);
    }

    /// A batch was answered by the transport.
    pub(super) fn answered_elsewhere(&mut self, peer: PeerId, batch: BatchId) {
        if let Some(place) = self.places.get(&peer).copied() {
            self.paths[place].1.finish(batch);
            self.settle(place);
        }
    }

    /// The front end has done with `peer`, which may still read. Says whose hang-up need not
    /// be awaited.
    pub(super) fn forget(&mut self, peer: PeerId) -> Option<PeerId> {
        match self.take(peer) {
            Some(path) if path.is_busy() => self.lingering.insert(peer, path),
            _ => return Some(peer),
        };
        if self.lingering.len() <= LINGERING_MAX {
            return None;
        }
        self.lingering.pop_first().map(|(peer, _)| peer)
    }

    /// `peer` has hung up; says whether it was in use.
    pub(super) fn hung_up(&mut self, peer: PeerId) -> bool {
        self.lingering.remove(&peer);
        self.take(peer).is_some()
    }

    /// Whether a reply of any peer is there; if not, the task is woken by the park hook, or
    /// after [`Rings::hear_bells`] by a bell.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.busy.is_empty() {
            return Poll::Pending;
        }
        if self.is_ready() {
            return Poll::Ready(());
        }
        let spin = self.busy().map(|(_, path)| path.spin()).max();
        if park::is_hooked() && spin > Some(Duration::ZERO) {
            let spinner = self.spinner.get_or_insert_with(Spinner::register).clone();
            self.for_each_busy(FrontendPath::may_be_armed);
            spinner.watch(context.waker(), self.busy());
            return Poll::Pending;
        }
        self.for_each_busy(FrontendPath::arm);
        if self.is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.places.len(), self.paths.len(), "a place for each");
        for (place, (peer, path)) in &self.paths {
            path.check_invariants();
            assert_eq!(
                self.places.get(peer),
                Some(&place),
                "it is where it is sought"
            );
            let named = self.busy.iter().filter(|busy| **busy == place).count();
            assert_eq!(named, usize::from(path.is_busy()), "the busy are named");
            assert!(!self.lingering.contains_key(peer), "in use, or done with");
        }
        let known = |place: &usize| self.paths.contains(*place);
        assert!(self.busy.iter().all(known), "the busy have paths");
        assert!(self.lingering.len() <= LINGERING_MAX);
        for path in self.lingering.values() {
            path.check_invariants();
            assert!(path.is_busy(), "nobody lingers without a batch");
        }
    }

    /// Paths in use, and paths that linger.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.paths.len(), self.lingering.len())
    }

    /// Whether a reply of any peer is there.
    pub(super) fn is_ready(&self) -> bool {
        self.busy().any(|(_, path)| path.is_ready())
    }

    /// Has every peer's bell wake the task; rings of before are forgotten, so look at the
    /// rings afterwards.
    pub(super) fn hear_bells(&self, context: &mut Context<'_>) {
        for (_, (_, path)) in &self.paths {
            while path.poll_bell(context).is_ready() {}
        }
    }

    fn busy(&self) -> impl Iterator<Item = (PeerId, &FrontendPath)> + Clone {
        let paths = self.busy.iter().map(|place| &self.paths[*place]);
        paths.map(|(peer, path)| (*peer, &**path))
    }

    fn for_each_busy(&mut self, mut change: impl FnMut(&mut FrontendPath)) {
        for place in &self.busy {
            change(&mut self.paths[*place].1);
        }
    }

    /// Nothing more is awaited of `peer`: its path, if it had one.
    fn take(&mut self, peer: PeerId) -> Option<Box<FrontendPath>> {
        let place = self.places.remove(&peer)?;
        self.busy.retain(|busy| *busy != place);
        if let Some(spinner) = &self.spinner {
            spinner.forget(peer);
        }
        Some(self.paths.remove(place).1)
    }

    /// Takes note of whether the peer at `place` still has batches.
    fn settle(&mut self, place: usize) {
        if !self.paths[place].1.is_busy() {
            self.busy.retain(|other| *other != place);
        }
    }
}

/// Whatever a peer's transport is, its shared path is on this host.
fn heard(peer: PeerId, message: Result<Message, crate::message::DecodeError>) -> Heard {
    let origin = Origin::Ipc;
    Heard::Message {
        peer,
        origin,
        message,
    }
}
