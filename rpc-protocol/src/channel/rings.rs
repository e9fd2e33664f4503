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

use super::Heard;
use super::frontend::FrontendPath;
use super::park::{self, Spinner};
use crate::message::{BatchId, Message, Predict};
use crate::transport::{Origin, PeerId};

/// Paths of peers that the front end has done with, and that have not hung up.
const LINGERING_MAX: usize = 64;

/// All shared paths.
#[derive(Default)]
pub(super) struct Rings {
    paths: RapidHashMap<PeerId, Box<FrontendPath>>,
    busy: Vec<PeerId>,
    lingering: BTreeMap<PeerId, Box<FrontendPath>>,
    spinner: Option<Arc<Spinner>>,
}

impl Rings {
    /// A container has mapped its memory.
    pub(super) fn add(&mut self, peer: PeerId, path: Box<FrontendPath>) {
        self.paths.insert(peer, path);
    }

    /// Whether no peer has a path.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Sends a batch, or gives it back if there is no path, or it does not fit.
    #[allow(clippy::result_large_err, reason = "as `FrontendPath::send`")]
    pub(super) fn send(&mut self, peer: PeerId, predict: Predict) -> Result<(), Predict> {
        let Some(path) = self.paths.get_mut(&peer) else {
            return Err(predict);
        };
        let was_busy = path.is_busy();
        path.send(predict)?;
        if !was_busy {
            self.busy.push(peer);
        }
        Ok(())
    }

    /// The next reply of any peer.
    pub(super) fn recv(&mut self) -> Option<Heard> {
        for index in 0..self.busy.len() {
            let peer = self.busy[index];
            let Some(path) = self.paths.get_mut(&peer) else {
                continue;
            };
            path.disarm();
            let Some(reply) = path.recv() else { continue };
            if let Some(spinner) = &self.spinner {
                spinner.found(path.spin());
            }
            // The next look begins with another peer.
            self.busy.rotate_left(index + 1);
            self.settle(peer);
            return Some(heard(peer, reply.map(Message::Reply)));
        }
        None
    }

    /// All replies that `peer` has sent so far.
    pub(super) fn drain(&mut self, peer: PeerId, into: &mut VecDeque<Heard>) {
        let Some(path) = self.paths.get_mut(&peer) else {
            return;
        };
        while let Some(reply) = path.recv() {
            into.push_back(heard(peer, reply.map(Message::Reply)));
        }
        self.settle(peer);
    }

    /// A batch was answered by the transport.
    pub(super) fn answered_elsewhere(&mut self, peer: PeerId, batch: BatchId) {
        if let Some(path) = self.paths.get_mut(&peer) {
            path.finish(batch);
            self.settle(peer);
        }
    }

    /// The front end has done with `peer`, which may still read. Says whose hang-up need not
    /// be awaited.
    pub(super) fn forget(&mut self, peer: PeerId) -> Option<PeerId> {
        self.put_aside(peer);
        match self.paths.remove(&peer) {
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
        self.put_aside(peer);
        self.paths.remove(&peer).is_some()
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
        let spin = self.busy().map(|path| path.spin()).max();
        if park::is_hooked() && spin > Some(Duration::ZERO) {
            let spinner = self.spinner.get_or_insert_with(Spinner::register).clone();
            self.for_each_busy(FrontendPath::may_be_armed);
            let paths = &self.paths;
            spinner.watch(context.waker(), &self.busy, |peer| &paths[&peer]);
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
        for (peer, path) in &self.paths {
            path.check_invariants();
            let named = self.busy.iter().filter(|busy| *busy == peer).count();
            assert_eq!(named, usize::from(path.is_busy()), "the busy are named");
            assert!(!self.lingering.contains_key(peer), "in use, or done with");
        }
        let known = |peer: &PeerId| self.paths.contains_key(peer);
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
        self.busy().any(|path| path.is_ready())
    }

    /// Has every peer's bell wake the task; rings of before are forgotten, so look at the
    /// rings afterwards.
    pub(super) fn hear_bells(&self, context: &mut Context<'_>) {
        for path in self.paths.values() {
            while path.poll_bell(context).is_ready() {}
        }
    }

    fn busy(&self) -> impl Iterator<Item = &FrontendPath> {
        let paths = self.busy.iter().filter_map(|peer| self.paths.get(peer));
        paths.map(|path| &**path)
    }

    fn for_each_busy(&mut self, mut change: impl FnMut(&mut FrontendPath)) {
        for peer in &self.busy {
            self.paths.entry(*peer).and_modify(|path| change(path));
        }
    }

    /// Nothing more is awaited of `peer`.
    fn put_aside(&mut self, peer: PeerId) {
        self.busy.retain(|busy| *busy != peer);
        if let Some(spinner) = &self.spinner {
            spinner.forget(peer);
        }
    }

    /// Takes note of whether `peer` still has batches.
    fn settle(&mut self, peer: PeerId) {
        let busy = self.paths.get(&peer).is_some_and(|path| path.is_busy());
        if !busy {
            self.busy.retain(|other| *other != peer);
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
