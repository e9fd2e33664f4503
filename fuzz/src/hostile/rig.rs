//! A front end with its sessions, and what was promised to whom.
//!
//! It drives its channel as the engine's task does: what a session refuses ends that session.
//!
//! # Invariants
//! - What is heard of a peer is heard before it is forgotten.
//! - A batch is answered at most once, with what fits its schema.
//! - A row of a batch that the container may still read is not given out again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_rpc::channel::{FrontendChannel, Heard, Holdings, SharedLog, Sharing, host};
use skysail_rpc::message::{
    BatchId, Encoder, Frame, Message, Offer, Reject, RejectReason, Tensors,
};
use skysail_rpc::rows::RowRanges;
use skysail_rpc::session::{BatchResult, FrontendEvent, FrontendSession, Timing};
use skysail_rpc::tensor::{Column, ColumnBuilder, Columns, Rows};
use skysail_rpc::transport::PeerId;
use skysail_rpc::{Cell, Payload, Schema};

use super::raw::{self, Memory};
use super::wire::{Peers, Wire, wire};
use crate::messages::{check_columns, hello};

/// Elements of a row of the log.
pub(super) const WIDTH: usize = 3;
/// Messages that all peers together can have caused by one step.
const HEARD_MAX: usize = 64;

pub(super) struct Rig {
    pub(super) channel: FrontendChannel<Wire>,
    pub(super) wire: Peers,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    log: Option<SharedLog>,
    socket: PathBuf,
    /// Rows of batches that a container may read, and whose they are.
    reserved: BTreeMap<u32, (PeerId, BatchId)>,
    next: u64,
    now: Instant,
}

pub(super) struct Peer {
    schema: Arc<Schema>,
    session: FrontendSession,
    alive: bool,
    /// The offer of its welcome, until it is taken up.
    pub(super) offer: Option<Offer>,
    pub(super) control: Option<rustix::fd::OwnedFd>,
    pub(super) memory: Option<Memory>,
    out: BTreeMap<BatchId, Vec<f32>>,
    pub(super) answered: BTreeMap<BatchId, Vec<f32>>,
    pub(super) right: usize,
}

impl Peer {
    pub(super) fn is_alive(&self) -> bool {
        self.alive
    }

    /// The batches that are out.
    pub(super) fn batches(&self) -> Vec<u64> {
        self.out.keys().map(|batch| batch.0).collect()
    }

    /// Rows of a batch that is out.
    pub(super) fn rows_of(&self, batch: u64) -> usize {
        let values = self.out.get(&BatchId(batch));
        values.map_or(1, |values| values.len() / WIDTH)
    }

    pub(super) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }
}

impl Rig {
    /// A front end whose log has `log_rows` rows of `schema`.
    pub(super) fn new(schema: &Schema, log_rows: usize) -> Rig {
        let path = super::folder().join("rpc.sock");
        let socket = super::folder().join("rpc.sock.shm");
        let (listener, wire) = wire(format!("ipc://{}", path.display()));
        let sharing = Sharing {
            log_rows,
            spin_max: Duration::ZERO,
            ..Sharing::default()
        };
        Rig {
            log: sharing.log(schema, 1),
            channel: FrontendChannel::new(listener, sharing),
            wire,
            peers: BTreeMap::new(),
            socket,
            reserved: BTreeMap::new(),
            next: 1,
            now: Instant::now(),
        }
    }

    /// A container says hello; it has not visited yet.
    pub(super) fn greet(&mut self, schema: &Arc<Schema>) -> PeerId {
        let peer = PeerId(self.next);
        self.next += 1;
        let hello = Message::from(hello(schema, host()));
        self.wire.say(peer, Encoder::default().encode(&hello));
        let known = Peer {
            schema: schema.clone(),
            session: FrontendSession::new(self.now, Timing::default()),
            alive: true,
            offer: None,
            control: None,
            memory: None,
            out: BTreeMap::new(),
            answered: BTreeMap::new(),
            right: 0,
        };
        self.peers.insert(peer, known);
        self.pump();
        peer
    }

    /// It shows its nonce, and takes what it is given.
    pub(super) async fn visit(&mut self, peer: PeerId) {
        let nonce = self.peer(peer).offer.take().map(|offer| offer.nonce);
        let (Some(socket), Some(nonce)) = (raw::connect(&self.socket), nonce) else {
            return;
        };
        raw::say(&socket, &raw::visit(&nonce));
        self.turn().await;
        self.peer(peer).memory = Memory::receive(&socket);
        self.peer(peer).control = Some(socket);
    }

    /// It says that it has mapped its memory.
    pub(super) async fn arrive(&mut self, peer: PeerId) {
        let known = self.peer(peer);
        if let (Some(memory), Some(control)) = (&known.memory, &known.control) {
            memory.answer_challenge();
            raw::say(control, b"r");
        }
        self.turn().await;
        self.pump();
    }

    /// A connection to the control socket, from whoever can open it.
    pub(super) fn stranger(&self) -> Option<rustix::fd::OwnedFd> {
        raw::connect(&self.socket)
    }

    pub(super) fn peer(&mut self, peer: PeerId) -> &mut Peer {
        self.peers.get_mut(&peer).expect("it said hello")
    }

    /// Sends a batch of `rows`, by the log if that has room; whether it could.
    pub(super) fn send(&mut self, peer: PeerId, rows: usize) -> bool {
        let known = self.peers.get_mut(&peer).expect("it said hello");
        if !known.alive || !known.session.has_free_slot() {
            return false;
        }
        let values: Vec<f32> = (0..rows * WIDTH)
            .map(|index| (self.next * 100 + index as u64) as f32)
            .collect();
        self.next += 1;
        let schema = known.schema.clone();
        let (tensors, held) = self.tensors(&schema, &values);
        let known = self.peers.get_mut(&peer).expect("as above");
        let left = Duration::from_secs(1);
        let (batch, message) = known.session.predict(self.now, rows as u32, left, tensors);
        known.out.insert(batch, values);
        let before = self.wire.lock().sent.len();
        if self.channel.send(peer, message).is_err() {
            self.end(peer);
            return false;
        }
        if self.wire.lock().sent.len() == before {
            let held = held.into_iter().map(|row| (row, (peer, batch)));
            self.reserved.extend(held);
        }
        true
    }

    /// The rows as a batch of `schema`, and which rows of the log they are.
    fn tensors(&self, schema: &Arc<Schema>, values: &[f32]) -> (Tensors, Vec<u32>) {
        let spec = &schema.inputs[0];
        let rows = values.chunks(WIDTH);
        if spec.row_bytes().is_none() {
            let mut builder = ColumnBuilder::new(spec, rows.len());
            rows.for_each(|row| builder.push(&Cell::from(format!("{row:?}").as_str())));
            return (Tensors::Columns([builder.finish()].into()), Vec::new());
        }
        if let Some((ranges, held)) = self.claim(values) {
            let schema = schema.clone();
            return (Tensors::Rows(Rows { schema, ranges }), held);
        }
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let data = Payload::copy_from_slice(&bytes);
        let column = Column::of_rows(spec, rows.len(), data).expect("whole rows");
        (Tensors::Columns([column].into()), Vec::new())
    }

    fn claim(&self, values: &[f32]) -> Option<(RowRanges, Vec<u32>)> {
        let log = &self.log.as_ref()?.log;
        let mut rows = Vec::new();
        for row in values.chunks(WIDTH) {
            let mut buf = log.claim()?.into_bufs().swap_remove(0);
            row.iter().for_each(|value| buf.push(*value));
            rows.push(buf.freeze());
        }
        let numbers: Vec<u32> = rows.iter().filter_map(|row| row.row_in(log)).collect();
        let distinct: BTreeSet<u32> = numbers.iter().copied().collect();
        assert_eq!(
            distinct.len(),
            values.len() / WIDTH,
            "a row is given out once"
        );
        for row in &numbers {
            let holder = self.reserved.get(row);
            assert_eq!(holder, None, "row {row} is a batch's");
        }
        Some((RowRanges::of(log, &rows)?, numbers))
    }

    pub(super) fn cancel(&mut self, peer: PeerId, batch: u64) {
        let now = self.now;
        let known = self.peer(peer);
        if known.alive {
            let message = known.session.cancel(now, BatchId(batch));
            let _ = self.channel.send(peer, message);
        }
    }

    /// Lets the runtime look at its sockets.
    pub(super) async fn turn(&mut self) {
        for _ in 0..3 {
            let elapsed = async {
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            };
            tokio::select! {
                biased;
                ready = self.channel.readable() => ready.expect("the sockets are ours"),
                () = elapsed => return,
            }
        }
    }

    /// Takes everything that there is to hear.
    pub(super) fn pump(&mut self) {
        for _ in 0..HEARD_MAX {
            let Some(heard) = self.channel.try_recv() else {
                return;
            };
            self.check();
            self.on_heard(heard);
        }
        panic!(
            "peers keep the front end busy: {:?}",
            self.channel.holdings()
        );
    }

    fn on_heard(&mut self, heard: Heard) {
        let peer = match &heard {
            Heard::Message { peer, .. } | Heard::Closed { peer } => *peer,
        };
        let known = self.peers.get_mut(&peer).expect("it said hello");
        assert!(known.alive, "nothing is heard of a peer that was forgotten");
        let Heard::Message { message, .. } = heard else {
            return self.end(peer);
        };
        let now = self.now;
        let event = message
            .ok()
            .and_then(|message| known.session.on_message(now, message).ok());
        match event {
            None => {
                let (reason, detail) = (RejectReason::Violation, "no".to_owned());
                let reject = Message::Reject(Reject { reason, detail });
                let _ = self.channel.send(peer, reject);
                // Which of its batches it has spoiled is not told.
                self.reserved.retain(|_, (holder, _)| *holder != peer);
                self.end(peer);
            }
            Some(FrontendEvent::Hello(hello)) => {
                let log = self.log.as_ref().map(|shared| &shared.log);
                let schema = known.schema.clone();
                let offer = self.channel.offer(peer, &hello, &schema, log);
                known.offer = Some(offer.expect("the same host"));
                let offer = known.offer.clone();
                let welcome = known.session.accept(now, &hello, schema, 1, offer);
                self.channel.send(peer, welcome).expect("it is there");
            }
            Some(FrontendEvent::Reply {
                batch,
                rows,
                result,
                ..
            }) => {
                self.on_reply(peer, batch, rows, result);
            }
            Some(_) => {}
        }
    }

    fn on_reply(&mut self, peer: PeerId, batch: BatchId, rows: u32, result: BatchResult) {
        self.reserved.retain(|_, holder| *holder != (peer, batch));
        let known = self.peer(peer);
        let values = known.out.remove(&batch).expect("answered at most once");
        assert_eq!(values.len() / WIDTH, rows as usize);
        if let BatchResult::Ok {
            columns,
            row_errors,
        } = result
        {
            check_columns(&columns, &known.schema.outputs, rows as usize);
            assert!(row_errors.is_sorted_by(|a, b| a.row < b.row));
            assert!(row_errors.iter().all(|error| error.row < rows));
            known.right += usize::from(is_double(&columns, &values));
        }
        assert!(known.answered.insert(batch, values).is_none());
    }

    /// The session is over, whoever ended it.
    pub(super) fn end(&mut self, peer: PeerId) {
        let known = self.peers.get_mut(&peer).expect("it said hello");
        if std::mem::take(&mut known.alive) {
            if known.control.is_none() {
                self.reserved.retain(|_, (holder, _)| *holder != peer);
            }
            self.channel.forget(peer);
        }
    }

    /// The container closes its control socket, or is hung up on: its rows are nobody's.
    pub(super) fn hang_up(&mut self, peer: PeerId) {
        self.peer(peer).control = None;
        self.reserved.retain(|_, (holder, _)| *holder != peer);
    }

    /// A frame by the transport.
    pub(super) fn say(&mut self, peer: PeerId, frame: Frame) {
        if self.peer(peer).alive {
            self.wire.say(peer, frame);
        }
    }

    /// What must hold after every step.
    pub(super) fn check(&self) {
        self.channel.check_invariants();
        for peer in self.peers.values() {
            peer.session.check_invariants();
        }
        let Holdings {
            visitors, heard, ..
        } = self.channel.holdings();
        assert!(heard <= 8, "{heard} messages are held");
        assert!(visitors <= 64 + self.peers.len(), "{visitors} visitors");
    }

    /// Everybody leaves, and nothing is left of them.
    pub(super) async fn close(mut self) {
        for peer in self.peers.values_mut() {
            peer.control = None;
        }
        for _ in 0..4 {
            self.turn().await;
            self.pump();
        }
        let all: Vec<PeerId> = self.peers.keys().copied().collect();
        all.into_iter().for_each(|peer| self.end(peer));
        self.wire.lock().sent.clear();
        let holdings = self.channel.holdings();
        assert_eq!((holdings.paths, holdings.lingering), (0, 0), "{holdings:?}");
        assert_eq!((holdings.visitors, holdings.heard), (0, 0), "{holdings:?}");
        let held = self.log.as_ref().map_or(0, |shared| shared.log.rows_held());
        assert_eq!(held, 0, "all rows came back");
    }
}

/// Whether the first output is twice the input.
fn is_double(columns: &Columns, values: &[f32]) -> bool {
    let doubled = |output: &[f32]| output.iter().zip(values).all(|(y, x)| *y == 2.0 * x);
    columns[0].as_slice::<f32>().is_some_and(doubled)
}
