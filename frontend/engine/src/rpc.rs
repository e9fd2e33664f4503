//! The task that owns the containers' socket.
//!
//! It alone sends and receives: batches come to it as commands, replies leave it as answers,
//! and whoever receives a reply also forms the next batch of that replica. One wake-up reads
//! everything that has arrived.
//!
//! # Invariants
//! - A batch in flight is in exactly one session's table; when the session ends, its queries
//!   go back to their lane.
//! - A session that breaks the protocol ends with a logged reason; the others go on.
//!
//! # Cost
//! Rows of a batch stay where they were decoded ([`batch`] says when not); replies are sliced.

mod batch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_core::Name;
use skysail_core::batching::{Answered, BatchNumber, Cancel, Ended};
use skysail_core::replica::{ReplicaId, Terms};
use skysail_rpc::Schema;
use skysail_rpc::channel::{FrontendChannel, Heard, SharedLog};
use skysail_rpc::message::{BatchId, Hello, Message, Reject, RejectReason};
use skysail_rpc::session::{BatchResult, FrontendEvent, FrontendSession, SessionError};
use skysail_rpc::transport::{Listener, Origin, PeerId};
use subtle::ConstantTimeEq;
use tokio::sync::mpsc;

use crate::ask::Ask;
use crate::engine::{Shared, misfit};
use crate::lane::{Agreed, Batch, Lane, Row, Work};
use crate::replicas::{Entry, ReplicaStatus};
use batch::{Order, answer_rows, assemble, ended, observe};

/// Replicas of one front end, all versions together.
const REPLICAS_MAX: usize = 4096;
/// Commands and frames handled before the other is looked at again.
const BURST: usize = 64;

/// What other tasks want of this one.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send this batch of this lane.
    Batch(Arc<Lane>, Batch),
    /// Ask a batch back.
    Cancel(Cancel),
    /// End the sessions of a lane's replicas, except those that joined it as it is registered now,
    /// if it is.
    End {
        lane: Arc<Lane>,
        generation: Option<u64>,
        reject: Reject,
    },
    /// The front end is going away: ask all containers to finish.
    DrainAll,
}

/// The task's state.
pub(crate) struct Rpc<L> {
    channel: FrontendChannel<L>,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    peers: HashMap<PeerId, Peer>,
    by_replica: HashMap<ReplicaId, PeerId>,
    next_timer: Option<Instant>,
    /// The front end is going away: nobody new is let in.
    is_stopping: bool,
    /// Queries that a batch answers; empty between two batches.
    answered: Vec<Answered<Ask>>,
    order: Order,
}

/// A connected container.
struct Peer {
    session: FrontendSession,
    replica: ReplicaId,
    lane: Arc<Lane>,
    agreed: Agreed,
    /// How its version was registered when it joined, if it was.
    generation: Option<u64>,
    in_flight: HashMap<BatchId, Sent>,
}

/// A batch that a container has: what its lane calls it, and its rows, which stay where they
/// are until it has answered.
struct Sent {
    number: BatchNumber,
    rows: Vec<Row>,
}

/// A hello that may join: what it joins, and how it came.
struct Admitted {
    lane: Arc<Lane>,
    agreed: Agreed,
    generation: Option<u64>,
    origin: Origin,
}

/// Why a session ends.
#[derive(Debug)]
enum End {
    /// The container broke the protocol, is silent or is stuck.
    Error(SessionError),
    /// The connection is gone.
    Closed,
    /// It finished what it had and left.
    Drained,
    /// We send it away.
    Sent(Reject),
}

impl<L: Listener> Rpc<L> {
    pub(crate) fn new(
        channel: FrontendChannel<L>,
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Rpc {
            channel,
            shared,
            commands,
            peers: HashMap::new(),
            by_replica: HashMap::new(),
            next_timer: None,
            is_stopping: false,
            answered: Vec::new(),
            order: Order::default(),
        }
    }

    /// Serves as long as its runtime runs.
    pub(crate) async fn run(mut self) {
        loop {
            self.drain_ready();
            let timer = self.next_timer.map_or_else(
                || tokio::time::Instant::now() + Duration::from_secs(3600),
                Into::into,
            );
            tokio::select! {
                biased;
                Some(command) = self.commands.recv() => self.on_command(command),
                ready = self.channel.readable() => if let Err(error) = ready {
                    tracing::error!(%error, "the containers' socket failed");
                    return;
                },
                () = tokio::time::sleep_until(timer) => self.on_timer(),
            }
        }
    }

    /// Handles everything that is there. Sending may swallow the socket's readiness, so
    /// after commands the socket is looked at again.
    fn drain_ready(&mut self) {
        loop {
            let mut handled = 0;
            while handled < BURST
                && let Some(heard) = self.channel.try_recv()
            {
                self.on_heard(heard);
                handled += 1;
            }
            let frames = handled;
            while handled < frames + BURST
                && let Ok(command) = self.commands.try_recv()
            {
                self.on_command(command);
                handled += 1;
            }
            if handled == 0 {
                return;
            }
        }
    }

    fn on_heard(&mut self, heard: Heard) {
        let now = Instant::now();
        let (peer, origin, message) = match heard {
            Heard::Closed { peer } => return self.end(now, peer, &End::Closed),
            Heard::Message {
                peer,
                origin,
                message,
            } => (peer, origin, message),
        };
        let message = message.map_err(SessionError::Decode);
        let Some(known) = self.peers.get_mut(&peer) else {
            return self.on_stranger(now, peer, origin, message);
        };
        match message.and_then(|message| known.session.on_message(now, message)) {
            Ok(event) => self.on_event(now, peer, event),
            Err(error) => self.end(now, peer, &End::Error(error)),
        }
    }

    fn on_event(&mut self, now: Instant, id: PeerId, event: FrontendEvent) {
        match event {
            FrontendEvent::Reply {
                batch,
                result,
                round_trip,
                compute,
                ..
            } => {
                self.on_reply(now, id, batch, result, (round_trip, compute));
            }
            FrontendEvent::Drain { detail } => {
                let Some(peer) = self.peers.get(&id) else {
                    return;
                };
                tracing::info!(replica = peer.replica.0, ?detail, "a replica is leaving");
                let lane = peer.lane.clone();
                let work = lane.replica_draining(now, peer.replica);
                self.carry_out(&lane, work);
            }
            FrontendEvent::Path { shared, detail } => self.on_path(id, shared, detail),
            _ => {}
        }
        if self
            .peers
            .get(&id)
            .is_some_and(|peer| peer.session.is_drained())
        {
            let detail = "drained".to_owned();
            self.send(now, id, Message::Drain { detail });
            self.end(now, id, &End::Drained);
        }
    }

    /// A container says how batches travel.
    fn on_path(&mut self, id: PeerId, shared: bool, detail: String) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let (replica, model, version) = (peer.replica.0, &peer.lane.model, &peer.lane.version);
        if shared {
            tracing::debug!(replica, %model, %version, "batches travel through shared memory");
        } else {
            tracing::info!(replica, %model, %version, detail, "no shared memory for a replica");
        }
        let transport = shared.then_some("shm");
        let directory = &self.shared.directory;
        directory.set_transport(peer.replica, transport, detail);
    }

    /// The first message of a connection. PROTOCOL 4.1 to 4.4
    fn on_stranger(
        &mut self,
        now: Instant,
        id: PeerId,
        origin: Origin,
        message: Result<Message, SessionError>,
    ) {
        let mut session = FrontendSession::new(now, self.shared.options.timing);
        let refused = match message.and_then(|message| session.on_message(now, message)) {
            Ok(FrontendEvent::Hello(hello)) => match self.admit(id, &hello, origin) {
                Ok(admitted) => return self.accept(now, id, session, &hello, &admitted),
                Err(reject) => reject,
            },
            Ok(_) => return,
            Err(error) => Reject {
                reason: RejectReason::Violation,
                detail: causes(&error),
            },
        };
        tracing::warn!(reason = ?refused.reason, detail = ?refused.detail, "a container was refused");
        self.shared.metrics.session_ended("refused");
        // Whether it hears why or not, it is not one of ours.
        let _ = self.channel.send(id, Message::Reject(refused));
        self.channel.forget(id);
    }

    /// Whether a container may join, and what it joins. PROTOCOL 4.4
    fn admit(&self, id: PeerId, hello: &Hello, origin: Origin) -> Result<Admitted, Reject> {
        let refuse = |reason, detail: String| Err(Reject { reason, detail });
        if self.is_stopping {
            let detail = "the front end is stopping".to_owned();
            return refuse(RejectReason::Overloaded, detail);
        }
        let key = self.channel.listener().user(id);
        if key.is_none() && origin == Origin::Tcp && !self.token_fits(&hello.token) {
            let detail = "over tcp the hello needs the join token (SKYSAIL_TOKEN_FILE)".to_owned();
            return refuse(RejectReason::BadToken, detail);
        }
        FrontendSession::check_hello(hello)?;
        let names = Name::new(&hello.model).and_then(|m| Ok((m, Name::new(&hello.version)?)));
        let (model, version) = match names {
            Ok(names) => names,
            Err(error) => return refuse(RejectReason::BadHello, error.to_string()),
        };
        if let Some(key) = key
            && !self.shared.options.grants.load().allows(key, &model)
        {
            tracing::warn!(key, %model, %version, "a key may not register this model");
            let detail = format!("key '{key}' may not register model '{model}'");
            return refuse(RejectReason::BadToken, detail);
        }
        if self.peers.len() >= REPLICAS_MAX {
            let detail = format!("{REPLICAS_MAX} replicas are connected, no more are allowed");
            return refuse(RejectReason::TooManyReplicas, detail);
        }
        let lane = self.shared.lane(&model, &version);
        let registered = lane.registered();
        let version = registered.as_deref();
        if let Some(detail) = version.and_then(|version| misfit(version, &hello.schema)) {
            return refuse(RejectReason::WrongSchema, detail);
        }
        match lane.agree(&hello.schema, |schema| self.make_log(schema)) {
            Ok(agreed) => Ok(Admitted {
                lane,
                agreed,
                generation: version.map(|version| version.generation),
                origin,
            }),
            Err(agreed) => {
                let detail = format!(
                    "the other replicas are {agreed}, this one is {}",
                    hello.schema
                );
                refuse(RejectReason::WrongSchema, detail)
            }
        }
    }

    /// A row log for the queries of a version. Its pages come while it is used already.
    fn make_log(&self, schema: &Schema) -> Option<SharedLog> {
        let options = &self.shared.options;
        let shared = options.sharing.log(schema, options.cores)?;
        let log = shared.log.clone();
        tokio::task::spawn_blocking(move || log.populate());
        Some(shared)
    }

    fn token_fits(&self, token: &[u8]) -> bool {
        match &self.shared.options.join_token {
            None => true,
            Some(expected) => expected.as_slice().ct_eq(token).into(),
        }
    }

    fn accept(
        &mut self,
        now: Instant,
        id: PeerId,
        mut session: FrontendSession,
        hello: &Hello,
        admitted: &Admitted,
    ) {
        let Admitted {
            lane,
            agreed,
            generation,
            origin,
        } = admitted;
        let schema = &agreed.schema;
        let replica = self.shared.next_replica();
        let offer = self.channel.offer(id, hello, schema, agreed.log());
        let (offer, reason) = match offer {
            Ok(offer) => (Some(offer), "shared memory is being set up".to_owned()),
            Err(reason) => (None, format!("no shared memory: {reason}")),
        };
        let welcome = session.accept(now, hello, schema.clone(), replica.0, offer);
        tracing::info!(
            replica = replica.0, model = %lane.model, version = %lane.version, pid = hello.pid,
            transport = origin.name(), schema = %schema, "a replica joined"
        );
        let fixed = status(replica, lane, hello, *origin, reason);
        self.shared.directory.add(
            replica,
            Entry {
                lane: lane.clone(),
                fixed,
            },
        );
        self.by_replica.insert(replica, id);
        self.watch(session.next_timer());
        let (lane, agreed) = (lane.clone(), agreed.clone());
        let in_flight = HashMap::new();
        self.peers.insert(
            id,
            Peer {
                session,
                replica,
                lane: lane.clone(),
                agreed,
                generation: *generation,
                in_flight,
            },
        );
        let (slots, max_batch) = (usize::from(hello.slots), hello.max_batch as usize);
        let work = lane.replica_joined(now, replica, Terms { slots, max_batch });
        self.send(now, id, welcome);
        self.carry_out(&lane, work);
    }

    fn on_reply(
        &mut self,
        now: Instant,
        id: PeerId,
        batch: BatchId,
        result: BatchResult,
        (round_trip, compute): (Duration, Duration),
    ) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(sent) = peer.in_flight.remove(&batch) else {
            return;
        };
        let (lane, replica, schema) = (peer.lane.clone(), peer.replica, peer.agreed.schema.clone());
        observe(&lane, &result, sent.rows.len(), (round_trip, compute));
        self.order.note(&sent.rows);
        let mut answered = std::mem::take(&mut self.answered);
        let (batch, ended) = ((replica, sent.number), ended(&result, compute));
        let mut work = lane.batch_ended(now, batch, ended, sent.rows, &mut answered);
        if let BatchResult::Failed { error } = &result {
            work.error = Some(error.as_str().into());
        }
        // The replica gets its next batch before this one's answers are told.
        self.carry_out(&lane, work);
        if let BatchResult::Ok {
            columns,
            row_errors,
        } = result
        {
            self.order.restore(&mut answered);
            answer_rows(&mut answered, &columns, &row_errors, &schema);
        }
        self.answered = answered;
    }

    fn on_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Batch(lane, batch) => self.send_batch(now, &lane, batch),
            Command::Cancel(cancel) => self.cancel(now, cancel),
            Command::End {
                lane,
                generation,
                reject,
            } => {
                let stays = |peer: &Peer| generation.is_some() && peer.generation == generation;
                let of_lane = |peer: &Peer| Arc::ptr_eq(&peer.lane, &lane) && !stays(peer);
                let ids: Vec<_> = self.ids(of_lane);
                ids.into_iter()
                    .for_each(|id| self.end(now, id, &End::Sent(reject.clone())));
            }
            Command::DrainAll => {
                self.is_stopping = true;
                for id in self.ids(|_| true) {
                    let peer = self.peers.get_mut(&id);
                    let drain =
                        peer.map(|peer| peer.session.drain(now, "the front end is stopping"));
                    drain
                        .into_iter()
                        .for_each(|drain| self.send(now, id, drain));
                }
            }
        }
    }

    fn ids(&self, which: impl Fn(&Peer) -> bool) -> Vec<PeerId> {
        self.peers
            .iter()
            .filter(|(_, peer)| which(peer))
            .map(|(id, _)| *id)
            .collect()
    }

    fn send_batch(&mut self, now: Instant, lane: &Arc<Lane>, batch: Batch) {
        let id = self.by_replica.get(&batch.replica).copied();
        let peer = id.and_then(|id| Some((id, self.peers.get_mut(&id)?)));
        let Some((id, peer)) = peer.filter(|(_, peer)| peer.session.has_free_slot()) else {
            return self.give_back(now, lane, batch);
        };
        let Batch {
            number,
            mut rows,
            deadline,
            ..
        } = batch;
        let tensors = assemble(&peer.agreed, &mut rows);
        let remaining = deadline.saturating_duration_since(now);
        let count = rows.len() as u32;
        let (batch, message) = peer.session.predict(now, count, remaining, tensors);
        peer.in_flight.insert(batch, Sent { number, rows });
        self.send(now, id, message);
    }

    /// The replica left between the decision and now: the lane of its batch decides again.
    fn give_back(&mut self, now: Instant, lane: &Arc<Lane>, batch: Batch) {
        let (of, mut answered) = ((batch.replica, batch.number), Vec::new());
        let work = lane.batch_ended(now, of, Ended::Cancelled, batch.rows, &mut answered);
        debug_assert!(answered.is_empty(), "nothing was computed");
        self.carry_out(lane, work);
    }

    /// Asks a batch back, unless it was answered meanwhile.
    fn cancel(&mut self, now: Instant, cancel: Cancel) {
        let id = self.by_replica.get(&cancel.replica).copied();
        let Some((id, peer)) = id.and_then(|id| Some((id, self.peers.get_mut(&id)?))) else {
            return;
        };
        let mut batches = peer.in_flight.iter();
        let found = batches.find(|(_, sent)| sent.number == cancel.number);
        if let Some(batch) = found.map(|(batch, _)| *batch) {
            let message = peer.session.cancel(now, batch);
            self.send(now, id, message);
        }
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        self.next_timer = None;
        for id in self.ids(|peer| peer.session.next_timer() <= now) {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            match peer.session.on_timer(now) {
                Ok(Some(message)) => self.send(now, id, message),
                Ok(None) => {}
                Err(error) => self.end(now, id, &End::Error(error)),
            }
        }
        let next = self
            .peers
            .values()
            .map(|peer| peer.session.next_timer())
            .min();
        next.into_iter().for_each(|at| self.watch(at));
    }

    fn watch(&mut self, at: Instant) {
        self.next_timer = Some(self.next_timer.map_or(at, |next| next.min(at)));
    }

    /// Does what a lane wants done; batches are sent from here at once.
    fn carry_out(&mut self, lane: &Arc<Lane>, mut work: Work) {
        let now = Instant::now();
        for batch in work.batches.drain(..) {
            self.send_batch(now, lane, batch);
        }
        for cancel in work.cancels.drain(..) {
            self.cancel(now, cancel);
        }
        work.answer_given_back();
        if let Some(at) = work.wake_at {
            self.shared.wake_later(lane, at);
        }
    }

    fn send(&mut self, now: Instant, id: PeerId, message: Message) {
        if self.channel.send(id, message).is_err() {
            self.end(now, id, &End::Closed);
        }
    }

    /// Ends a session: its queries go back to their lane.
    fn end(&mut self, now: Instant, id: PeerId, end: &End) {
        self.say_goodbye(id, end);
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        self.by_replica.remove(&peer.replica);
        self.shared.directory.remove(peer.replica);
        self.log_end(&peer, end);
        if !peer.in_flight.is_empty() {
            peer.lane.metrics.failed_replica_lost.inc();
        }
        let work = peer.lane.replica_left(now, peer.replica);
        self.carry_out(&peer.lane, work);
        self.shared.forget_if_unused(&peer.lane);
    }

    fn say_goodbye(&mut self, id: PeerId, end: &End) {
        let reject = match end {
            End::Closed | End::Drained => None,
            End::Sent(reject) => Some(reject.clone()),
            End::Error(error) => {
                let detail = causes(error);
                let reason = match error {
                    // It may be well again when it reads this, and come back. PROTOCOL 6.5
                    SessionError::Silent { .. } | SessionError::Stuck { .. } => {
                        RejectReason::Overloaded
                    }
                    _ => RejectReason::Violation,
                };
                Some(Reject { reason, detail })
            }
        };
        if let Some(reject) = reject {
            // The session is over whether it hears so or not.
            let _ = self.channel.send(id, Message::Reject(reject));
        }
        self.channel.forget(id);
    }

    fn log_end(&self, peer: &Peer, end: &End) {
        let (replica, model, version) = (peer.replica.0, &peer.lane.model, &peer.lane.version);
        let reason = match end {
            End::Error(error) => {
                let reason = match error {
                    SessionError::Silent { .. } => "silent",
                    SessionError::Stuck { .. } => "stuck",
                    _ => "violation",
                };
                let error = causes(error);
                tracing::warn!(replica, %model, %version, ?error, "a replica's session was dropped");
                reason
            }
            End::Closed => {
                tracing::info!(replica, %model, %version, "a replica's connection closed");
                "closed"
            }
            End::Drained => {
                tracing::info!(replica, %model, %version, "a replica left");
                "drained"
            }
            End::Sent(reject) => {
                tracing::info!(replica, %model, %version, detail = %reject.detail, "a replica was sent away");
                "sent_away"
            }
        };
        self.shared.metrics.session_ended(reason);
    }
}

fn status(
    replica: ReplicaId,
    lane: &Lane,
    hello: &Hello,
    origin: Origin,
    transport_reason: String,
) -> ReplicaStatus {
    ReplicaStatus {
        id: replica.0,
        model: lane.model.to_string(),
        version: lane.version.to_string(),
        state: "ready",
        transport: origin.name(),
        transport_reason,
        pid: hello.pid,
        in_flight: 0,
        sdk: hello.sdk.clone(),
        schema: hello.schema.to_string(),
        max_batch: hello.max_batch,
    }
}

/// An error with its causes, in one line.
fn causes(error: &SessionError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
