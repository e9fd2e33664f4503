//! ZeroMQ over ipc and tcp: a `ROUTER` at the front end, a `DEALER` in each container.
//!
//! The only file that names the `zmq` crate. A [`ZmqListener`] is driven by the tokio
//! runtime of the task that owns it, through `AsyncFd` on the sockets' `ZMQ_FD`; no thread
//! but libzmq's own and no polling interval. That descriptor is edge-triggered and says only
//! "look again", so the rules are: receive until empty before waiting; clear readiness
//! first, then read `ZMQ_EVENTS`; and look again after every send, which may swallow an edge. Sockets
//! that were found empty and not touched since are not looked at again before their descriptor says so.
//!
//! A vanished peer is known at once: the socket monitor reports the descriptor that was
//! disconnected, and each frame carries the descriptor it came by (`__fd`). Descriptors are
//! reused, so the monitor is drained before frames are read, and a peer whose descriptor was
//! reported is told of as closed only after the frames it had sent. A peer that dies between
//! its hello and our bookkeeping is caught by the send that follows (`ROUTER_MANDATORY`).
//!
//! With keys, tcp endpoints speak CURVE: a `ROUTER` of their own, because libzmq sets mechanisms
//! by socket, where ipc stays `NULL` and is fenced by its directory. libzmq asks a third socket
//! who may come in (`zap`); the same task answers. A peer's name comes with its frames.
//!
//! # Invariants
//! - With keys, no tcp peer is heard that has not proved a key which was let in.
//!
//! # Cost
//! `send` copies the header and payloads up to [`COPY_BYTES_MAX`]; larger ones go by
//! reference, for one allocation each. `try_recv` copies only payload frames that libzmq left
//! misaligned, which are those up to 8 KiB.
//!
//! # Unsafe
//! The crate offers no send of shared bytes, so `zmq_msg_init_data` is called directly; and
//! no safe code sets malloc's thresholds.

#![allow(
    unsafe_code,
    reason = "zmq_msg_init_data and mallopt; see the module's documentation"
)]

#[cfg(test)]
mod curve_tests;
mod zap;

use std::collections::{HashMap, VecDeque};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{
    Authenticate, ClientKeys, Closed, Incoming, Link, Listener, Origin, PeerId, SendError,
    ServerKeys, TransportError,
};
use crate::limits::{
    FRAMES_MAX, HANDSHAKE, HEADER_BYTES_MAX, HEARTBEAT, MESSAGE_BYTES_MAX, SILENCE,
};
use crate::message::Frame;
use crate::payload::Payload;
use skysail_memory::copies::{self, Copied};

/// Payloads up to this size are copied into the message: cheaper than counting references.
pub const COPY_BYTES_MAX: usize = 1024;
/// Bytes of an ipc path, by `sockaddr_un`.
pub const IPC_PATH_BYTES_MAX: usize = 107;
/// Messages waiting in one direction of one connection; slots keep it far below.
const HIGH_WATER: i32 = 1000;

/// Frames of forgotten peers that are dropped before others get their turn.
const IGNORED_MAX: usize = 64;
/// Why a link was refused: its key.
const NOT_LET_IN: &str =
    "the front end does not let this key in; its .pub belongs among the front end's allowed keys";
/// Why a link with keys was not agreed upon.
const DISAGREED: &str =
    "the front end hung up: it uses no keys here, or --server-key names the key of another";
/// Why a link without keys was not agreed upon.
const DISAGREED_KEYLESS: &str =
    "the front end hung up: it may let in only who has a key (--key, --server-key)";
/// Handshakes that are answered before frames get their turn.
const HANDSHAKES_MAX: usize = 16;

const _: () = assert!(HEADER_BYTES_MAX < MESSAGE_BYTES_MAX);

type RoutingId = SmallVec<[u8; 8]>;

/// Keeps glibc from giving the heap's top back between batches: a fresh page costs more than
/// copying it. Call it first in `main` of a process that sends or receives batches.
pub fn tune_allocator() {
    // The most that glibc takes for M_MMAP_THRESHOLD on 64 bits.
    const KEEP_BYTES: c_int = 32 << 20;
    for option in [
        libc::M_MMAP_THRESHOLD,
        libc::M_TRIM_THRESHOLD,
        libc::M_TOP_PAD,
    ] {
        let bytes = if option == libc::M_TOP_PAD {
            1 << 20
        } else {
            KEEP_BYTES
        };
        // SAFETY: mallopt only stores a number; it is called before other threads start.
        unsafe { libc::mallopt(option, bytes) };
    }
}

/// Whether the linked libzmq has CURVE. The one that the `zmq` crate brings has not.
#[must_use]
pub fn has_curve() -> bool {
    zmq::has("curve").unwrap_or(false)
}

/// The front end's sockets: any number of containers.
pub struct ZmqListener {
    /// One for all, or with keys one for ipc and one for tcp.
    routers: Vec<Router>,
    /// Which of them is read first.
    turn: usize,
    doorman: Option<Doorman>,
    endpoints: Vec<String>,
    peers: HashMap<PeerId, Peer>,
    by_descriptor: HashMap<RawFd, PeerId>,
    closing: VecDeque<PeerId>,
    next_peer: u64,
    /// Nothing was done with the sockets since they were found empty: until one of their
    /// descriptors is ready there is nothing, and asking libzmq costs system calls.
    quiet: bool,
    _context: zmq::Context,
}

/// A bound socket with its monitor. Routing ids are unique for one of them only.
struct Router {
    socket: Polled,
    monitor: Polled,
    by_routing_id: HashMap<RoutingId, PeerId>,
    is_curve: bool,
}

/// Answers libzmq's questions who may come in.
struct Doorman {
    socket: Polled,
    authenticate: Authenticate,
}

struct Peer {
    router: usize,
    routing_id: RoutingId,
    descriptor: RawFd,
    origin: Origin,
    /// The name of its key.
    user: Option<Box<str>>,
    /// Its frames are dropped, and its end is not told of. A `ROUTER` cannot close one
    /// connection, so the entry stays until the peer does.
    forgotten: bool,
}

/// A socket, and its descriptor as tokio watches it.
struct Polled {
    // Dropped before the socket that owns the descriptor.
    readiness: AsyncFd<Descriptor>,
    socket: zmq::Socket,
}

struct Descriptor(RawFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Polled {
    fn register(socket: zmq::Socket) -> std::io::Result<Polled> {
        let descriptor = Descriptor(socket.get_fd()?);
        // SAFETY: the descriptor is the socket's, which lives longer than its registration.
        let readiness = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?;
        Ok(Polled { readiness, socket })
    }

    fn has_input(&self) -> bool {
        self.socket
            .get_events()
            .is_ok_and(|events| events.contains(zmq::POLLIN))
    }

    /// Whether its descriptor has become ready, as far as the runtime has seen.
    fn is_ready(&self) -> bool {
        let ready = |_: &Descriptor| Ok(());
        self.readiness.try_io(Interest::READABLE, ready).is_ok()
    }

    /// Whether there is something to look for; clears it.
    fn poll_clear(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let ready = self.readiness.poll_read_ready(cx);
        ready.map(|guard| guard.map(|mut guard| guard.clear_ready()))
    }
}

impl Router {
    fn open(context: &zmq::Context, keys: Option<&ServerKeys>) -> std::io::Result<Router> {
        let ends = zmq::SocketEvent::DISCONNECTED.to_raw();
        let (socket, monitor) = monitored(context, zmq::ROUTER, ends)?;
        socket.set_router_mandatory(true)?;
        socket.set_handshake_ivl(HANDSHAKE.as_millis() as i32)?;
        if let Some(keys) = keys {
            socket.set_curve_server(true)?;
            socket.set_curve_secretkey(keys.secret.as_bytes())?;
            socket.set_zap_domain(zap::DOMAIN)?;
        }
        Ok(Router {
            socket: Polled::register(socket)?,
            monitor: Polled::register(monitor)?,
            by_routing_id: HashMap::new(),
            is_curve: keys.is_some(),
        })
    }
}

impl Doorman {
    fn open(context: &zmq::Context, authenticate: Authenticate) -> std::io::Result<Doorman> {
        let socket = context.socket(zmq::ROUTER)?;
        socket.set_linger(0)?;
        socket.bind(zap::ENDPOINT)?;
        let socket = Polled::register(socket)?;
        Ok(Doorman {
            socket,
            authenticate,
        })
    }

    fn answer(&mut self) {
        let socket = &self.socket.socket;
        for _ in 0..HANDSHAKES_MAX {
            let Ok(question) = socket.recv_multipart(zmq::DONTWAIT) else {
                return;
            };
            // Who asks, and a delimiter.
            let Some((envelope, request)) = question.split_at_checked(2) else {
                continue;
            };
            let answer = zap::answer(request, &mut self.authenticate);
            // Who asked and is gone needs no answer.
            let _ = socket.send_multipart(envelope.iter().chain(&answer), zmq::DONTWAIT);
        }
    }
}

impl ZmqListener {
    /// Binds every endpoint: `ipc://PATH`, `tcp://ADDRESS:PORT`, port 0 for any.
    /// Must be called inside the runtime that will drive it.
    ///
    /// # Errors
    /// Which endpoint cannot be bound, and why.
    pub fn bind(endpoints: &[String]) -> Result<ZmqListener, TransportError> {
        Self::bind_with(endpoints, None)
    }

    /// [`ZmqListener::bind`], where with keys tcp endpoints speak CURVE.
    ///
    /// # Errors
    /// Which endpoint cannot be bound, and why; or that libzmq has no CURVE.
    pub fn bind_with(
        endpoints: &[String],
        keys: Option<ServerKeys>,
    ) -> Result<ZmqListener, TransportError> {
        if keys.is_some() && !has_curve() {
            return Err(TransportError::NoCurve);
        }
        let set_up = TransportError::SetUp;
        let context = zmq::Context::new();
        let mut routers = vec![Router::open(&context, None).map_err(set_up)?];
        let mut doorman = None;
        if let Some(keys) = keys {
            routers.push(Router::open(&context, Some(&keys)).map_err(set_up)?);
            doorman = Some(Doorman::open(&context, keys.authenticate).map_err(set_up)?);
        }
        let bind = |endpoint: &String| {
            let is_tcp = endpoint.starts_with("tcp://");
            let own = routers.iter().rfind(|router| router.is_curve && is_tcp);
            bind_one(&own.unwrap_or(&routers[0]).socket.socket, endpoint)
        };
        let endpoints: Result<_, _> = endpoints.iter().map(bind).collect();
        Ok(ZmqListener {
            endpoints: endpoints?,
            routers,
            turn: 0,
            doorman,
            peers: HashMap::new(),
            by_descriptor: HashMap::new(),
            closing: VecDeque::new(),
            next_peer: 0,
            quiet: false,
            _context: context,
        })
    }

    /// Notes whose descriptors were disconnected, without telling of it yet.
    fn drain_monitors(&mut self) {
        for router in &self.routers {
            while let Some((_, descriptor)) = next_event(&router.monitor.socket) {
                if let Some(peer) = self.by_descriptor.remove(&descriptor) {
                    self.closing.push_back(peer);
                }
            }
        }
    }

    /// The next frame; without one, whether that is because none is there.
    fn receive(&mut self, is_empty: &mut bool) -> Option<Incoming> {
        // Each in its turn, so that none is starved by another.
        (0..self.routers.len()).find_map(|_| {
            self.turn = (self.turn + 1) % self.routers.len();
            self.receive_from(self.turn, is_empty)
        })
    }

    fn receive_from(&mut self, router: usize, is_empty: &mut bool) -> Option<Incoming> {
        for _ in 0..IGNORED_MAX {
            let Router {
                socket,
                by_routing_id,
                ..
            } = &self.routers[router];
            let socket = &socket.socket;
            let mut routing_id = zmq::Message::new();
            socket.recv(&mut routing_id, zmq::DONTWAIT).ok()?;
            let known = by_routing_id.get(&routing_id[..]).copied();
            let mut sender = None;
            let is_new = known.is_none();
            let frame = receive_frame(socket, |first| {
                sender = is_new.then(|| Sender::of(first));
            });
            let Some(frame) = frame else {
                continue;
            };
            let added = sender.map(|sender| self.add_peer(router, routing_id[..].into(), sender));
            let Some(peer) = known.or(added) else {
                continue;
            };
            if let Some(known) = self.peers.get(&peer).filter(|known| !known.forgotten) {
                let origin = known.origin;
                return Some(Incoming::Frame {
                    peer,
                    origin,
                    frame,
                });
            }
        }
        *is_empty = false;
        None
    }

    fn add_peer(&mut self, router: usize, routing_id: RoutingId, sender: Sender) -> PeerId {
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        let to = &mut self.routers[router];
        to.by_routing_id.insert(routing_id.clone(), peer);
        let Sender {
            descriptor,
            origin,
            user,
        } = sender;
        // Whoever had the descriptor before is gone, whatever the monitor said.
        self.closing
            .extend(self.by_descriptor.insert(descriptor, peer));
        // libzmq lets nobody in without a name; nobody without one is heard.
        let forgotten = to.is_curve && user.is_none();
        self.peers.insert(
            peer,
            Peer {
                router,
                routing_id,
                descriptor,
                origin,
                user,
                forgotten,
            },
        );
        peer
    }

    fn remove(&mut self, id: PeerId) -> Option<Peer> {
        let peer = self.peers.remove(&id)?;
        self.routers[peer.router]
            .by_routing_id
            .remove(&peer.routing_id);
        if self.by_descriptor.get(&peer.descriptor) == Some(&id) {
            self.by_descriptor.remove(&peer.descriptor);
        }
        Some(peer)
    }

    /// Every socket whose input wakes the task.
    fn sockets(&mut self) -> impl Iterator<Item = &mut Polled> {
        let routers = self.routers.iter_mut();
        let doorman = self.doorman.iter_mut();
        routers
            .flat_map(|router| [&mut router.socket, &mut router.monitor])
            .chain(doorman.map(|doorman| &mut doorman.socket))
    }

    fn next_closed(&mut self) -> Option<Incoming> {
        loop {
            let peer = self.closing.pop_front()?;
            if self.remove(peer).is_some_and(|removed| !removed.forgotten) {
                return Some(Incoming::Closed { peer });
            }
        }
    }
}

impl Listener for ZmqListener {
    fn send(&mut self, peer: PeerId, frame: &Frame) -> Result<(), SendError> {
        let peer = self.peers.get(&peer).filter(|peer| !peer.forgotten);
        let peer = peer.ok_or(SendError::Gone)?;
        let socket = &mut self.routers[peer.router].socket.socket;
        let sent = socket
            .send(&peer.routing_id[..], zmq::DONTWAIT | zmq::SNDMORE)
            .and_then(|()| send_frame(socket, frame));
        self.quiet = false;
        sent.map_err(send_error)
    }

    fn try_recv(&mut self) -> Option<Incoming> {
        if self.quiet && !self.sockets().any(|socket| socket.is_ready()) {
            return self.next_closed();
        }
        self.quiet = false;
        if let Some(doorman) = &mut self.doorman {
            doorman.answer();
        }
        self.drain_monitors();
        let mut is_empty = true;
        let received = self.receive(&mut is_empty);
        // Whoever is gone may have frames behind those that were dropped.
        if received.is_none() && is_empty {
            return self.next_closed();
        }
        received
    }

    fn forget(&mut self, peer: PeerId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.forgotten = true;
        }
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            if !self.closing.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if !self.quiet && self.sockets().any(|socket| socket.has_input()) {
                return Poll::Ready(Ok(()));
            }
            self.quiet = true;
            // Every one is asked, so that each wakes this task.
            let polls = self.sockets().map(|socket| socket.poll_clear(context));
            let ready = polls.fold(Poll::Pending, |all, one| match one {
                Poll::Ready(_) if !matches!(all, Poll::Ready(Err(_))) => one,
                _ => all,
            });
            std::task::ready!(ready)?;
            self.quiet = false;
        }
    }

    fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    fn user(&self, peer: PeerId) -> Option<&str> {
        self.peers.get(&peer)?.user.as_deref()
    }
}

/// A container's connection to one endpoint of a front end.
pub struct ZmqLink {
    socket: zmq::Socket,
    monitor: zmq::Socket,
    closed: bool,
    has_keys: bool,
    refusal: Option<&'static str>,
    _context: zmq::Context,
}

/// Opens a connection. It may still fail: then [`Link::recv`] says that it is closed.
///
/// # Errors
/// If the endpoint is not one of ZeroMQ's.
pub fn connect(endpoint: &str) -> Result<ZmqLink, TransportError> {
    connect_with(endpoint, None)
}

/// [`connect`], with CURVE if the endpoint is one of tcp and keys are given.
///
/// # Errors
/// If the endpoint is not one of ZeroMQ's, or libzmq has no CURVE.
pub fn connect_with(endpoint: &str, keys: Option<&ClientKeys>) -> Result<ZmqLink, TransportError> {
    check_endpoint(endpoint)?;
    let keys = keys.filter(|_| endpoint.starts_with("tcp://"));
    if keys.is_some() && !has_curve() {
        return Err(TransportError::NoCurve);
    }
    let context = zmq::Context::new();
    let ends = zmq::SocketEvent::DISCONNECTED.to_raw()
        | zmq::SocketEvent::CLOSED.to_raw()
        | zmq::SocketEvent::HANDSHAKE_FAILED_NO_DETAIL.to_raw()
        | zmq::SocketEvent::HANDSHAKE_FAILED_PROTOCOL.to_raw()
        | zmq::SocketEvent::HANDSHAKE_FAILED_AUTH.to_raw();
    let (socket, monitor) = monitored(&context, zmq::DEALER, ends)
        .map_err(|error| TransportError::SetUp(error.into()))?;
    let open = |source: zmq::Error| TransportError::Open {
        endpoint: endpoint.to_owned(),
        source: source.into(),
    };
    // One connection, one session: whoever drives the session decides when to try again.
    socket.set_reconnect_ivl(-1).map_err(open)?;
    if let Some(ClientKeys { secret, server }) = keys {
        let set_keys = || {
            socket.set_curve_serverkey(server.as_bytes())?;
            socket.set_curve_publickey(secret.public().as_bytes())?;
            socket.set_curve_secretkey(secret.as_bytes())
        };
        set_keys().map_err(open)?;
    }
    socket.connect(endpoint).map_err(open)?;
    Ok(ZmqLink {
        socket,
        monitor,
        closed: false,
        has_keys: keys.is_some(),
        refusal: None,
        _context: context,
    })
}

impl Link for ZmqLink {
    fn send(&mut self, frame: &Frame) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Gone);
        }
        send_frame(&mut self.socket, frame).map_err(send_error)
    }

    fn recv(&mut self, until: Instant) -> Result<Option<Frame>, Closed> {
        self.wait(until, None)
    }

    fn recv_beside(
        &mut self,
        until: Instant,
        bell: BorrowedFd<'_>,
    ) -> Result<Option<Frame>, Closed> {
        self.wait(until, Some(bell))
    }

    fn hears_bells(&self) -> bool {
        true
    }

    fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }
}

impl ZmqLink {
    fn wait(
        &mut self,
        until: Instant,
        bell: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Frame>, Closed> {
        loop {
            while let Some((event, value)) = next_event(&self.monitor) {
                self.closed = true;
                self.refusal = self.refusal.or(refusal(event, value, self.has_keys));
            }
            if let Some(frame) = receive_frame(&self.socket, |_| {}) {
                return Ok(Some(frame));
            }
            if self.closed {
                return Err(Closed);
            }
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(None);
            }
            let mut items: SmallVec<[zmq::PollItem<'_>; 3]> = SmallVec::new();
            items.push(self.socket.as_poll_item(zmq::POLLIN));
            items.push(self.monitor.as_poll_item(zmq::POLLIN));
            items.extend(bell.map(|bell| zmq::PollItem::from_fd(bell.as_raw_fd(), zmq::POLLIN)));
            // Rounded up, so that a wait of less than a millisecond does not spin.
            let wait_ms = i64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
            match zmq::poll(&mut items, wait_ms) {
                Ok(_) if items.get(2).is_some_and(|bell| bell.is_readable()) => return Ok(None),
                Ok(_) => {}
                Err(zmq::Error::EINTR) => return Ok(None),
                Err(_) => return Err(Closed),
            }
        }
    }
}

/// A socket with the options that both ends share, and its monitor.
fn monitored(
    context: &zmq::Context,
    kind: zmq::SocketType,
    events: u16,
) -> zmq::Result<(zmq::Socket, zmq::Socket)> {
    // Relaxed: only uniqueness matters.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let socket = context.socket(kind)?;
    socket.set_linger(0)?;
    socket.set_maxmsgsize(MESSAGE_BYTES_MAX as i64)?;
    socket.set_sndhwm(HIGH_WATER)?;
    socket.set_rcvhwm(HIGH_WATER)?;
    // libzmq's own heartbeats are answered by its I/O thread, also while a model computes.
    socket.set_heartbeat_ivl(HEARTBEAT.as_millis() as i32)?;
    socket.set_heartbeat_timeout((SILENCE - HEARTBEAT).as_millis() as i32)?;
    let name = format!("inproc://monitor-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    socket.monitor(&name, i32::from(events))?;
    let monitor = context.socket(zmq::PAIR)?;
    monitor.set_linger(0)?;
    monitor.connect(&name)?;
    Ok((socket, monitor))
}

/// The next monitor event: its kind, and the descriptor that it speaks of.
fn next_event(monitor: &zmq::Socket) -> Option<(u16, RawFd)> {
    let mut event = zmq::Message::new();
    monitor.recv(&mut event, zmq::DONTWAIT).ok()?;
    let mut address = zmq::Message::new();
    monitor.recv(&mut address, zmq::DONTWAIT).ok()?;
    let kind = u16::from_ne_bytes(event.get(..2)?.try_into().ok()?);
    let value = i32::from_ne_bytes(event.get(2..6)?.try_into().ok()?);
    Some((kind, value))
}

/// Why a handshake failed, if that is what an event tells.
fn refusal(event: u16, value: i32, has_keys: bool) -> Option<&'static str> {
    // What the doorman answers to a key that it does not know.
    const NOT_ALLOWED: i32 = 400;
    if event == zmq::SocketEvent::HANDSHAKE_FAILED_AUTH.to_raw() && value == NOT_ALLOWED {
        return Some(NOT_LET_IN);
    }
    // Which of the two is told of one cause depends on who hangs up first.
    let disagreed = zmq::SocketEvent::HANDSHAKE_FAILED_PROTOCOL.to_raw()
        | zmq::SocketEvent::HANDSHAKE_FAILED_NO_DETAIL.to_raw();
    let told = if has_keys {
        DISAGREED
    } else {
        DISAGREED_KEYLESS
    };
    (event & disagreed != 0).then_some(told)
}

/// Where a frame came from.
struct Sender {
    descriptor: RawFd,
    origin: Origin,
    user: Option<Box<str>>,
}

impl Sender {
    fn of(message: &mut zmq::Message) -> Sender {
        let descriptor = message
            .gets("__fd")
            .and_then(|fd| fd.parse().ok())
            .unwrap_or(-1);
        let is_ipc = message.gets("Peer-Address").is_some_and(is_ipc_peer);
        Sender {
            descriptor,
            origin: if is_ipc { Origin::Ipc } else { Origin::Tcp },
            user: message.gets("User-Id").map(Box::from),
        }
    }
}

/// libzmq names a tcp peer by its address, and an ipc peer `HOST:UID:GID:PID`. What is neither
/// counts as tcp, where more is asked of it.
fn is_ipc_peer(address: &str) -> bool {
    let credentials = address.rsplitn(4, ':').take(3);
    let numbers = credentials
        .filter(|number| number.parse::<u32>().is_ok())
        .count();
    numbers == 3 && address.parse::<std::net::IpAddr>().is_err()
}

/// The header and payloads of the next message, without a copy where they are aligned.
/// Payload frames past the limit are dropped unseen; decoding then refuses the message.
fn receive_frame(socket: &zmq::Socket, look: impl FnOnce(&mut zmq::Message)) -> Option<Frame> {
    let mut message = zmq::Message::new();
    socket.recv(&mut message, zmq::DONTWAIT).ok()?;
    look(&mut message);
    let mut more = message.get_more();
    let mut frame = Frame {
        header: Payload::from_unaligned(Received(message)),
        ..Frame::default()
    };
    while more {
        let mut message = zmq::Message::new();
        // The parts of a message arrive together, so this does not wait.
        socket.recv(&mut message, zmq::DONTWAIT).ok()?;
        more = message.get_more();
        if frame.payloads.len() <= FRAMES_MAX {
            frame.payloads.push(Payload::from_owner(Received(message)));
        }
    }
    Some(frame)
}

struct Received(zmq::Message);

// SAFETY: a received message is only read, and libzmq frees it from any thread.
unsafe impl Sync for Received {}

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn send_frame(socket: &mut zmq::Socket, frame: &Frame) -> zmq::Result<()> {
    let flags = |more: bool| zmq::DONTWAIT | if more { zmq::SNDMORE } else { 0 };
    let last = frame.payloads.len();
    socket.send(frame.header.as_bytes(), flags(last > 0))?;
    for (index, payload) in (1..).zip(&frame.payloads) {
        send_payload(socket, payload, flags(index < last))?;
    }
    Ok(())
}

fn send_payload(socket: &mut zmq::Socket, payload: &Payload, flags: c_int) -> zmq::Result<()> {
    if payload.len() <= COPY_BYTES_MAX {
        copies::record(Copied::SmallFrame, payload.len());
        return socket.send(payload.as_bytes(), flags);
    }
    let owner = Box::into_raw(Box::new(payload.clone()));
    let data = payload.as_bytes().as_ptr().cast_mut().cast::<c_void>();
    let mut message = MaybeUninit::<zmq_sys::zmq_msg_t>::uninit();
    // SAFETY: `data` is valid for `len` bytes as long as `owner`, a clone of the payload,
    // lives, and `release` is called once, when libzmq needs it no longer. libzmq only reads.
    let made = unsafe {
        let (message, release) = (
            message.as_mut_ptr(),
            Some(release as unsafe extern "C" fn(_, _)),
        );
        zmq_sys::zmq_msg_init_data(message, data, payload.len(), release, owner.cast())
    };
    if made != 0 {
        // SAFETY: libzmq did not take the owner, which came from `Box::into_raw` above.
        drop(unsafe { Box::from_raw(owner) });
        return Err(last_error());
    }
    // SAFETY: the message was initialised above, the socket is open and used by this thread
    // alone.
    let sent = unsafe { zmq_sys::zmq_msg_send(message.as_mut_ptr(), socket.as_mut_ptr(), flags) };
    if sent >= 0 {
        return Ok(());
    }
    let error = last_error();
    // SAFETY: a message that was not sent is still ours to close, which releases the owner.
    unsafe { zmq_sys::zmq_msg_close(message.as_mut_ptr()) };
    Err(error)
}

/// Called by libzmq, on any of its threads, when it has no further use for a payload.
unsafe extern "C" fn release(_data: *mut c_void, owner: *mut c_void) {
    // SAFETY: `owner` came from `Box::into_raw` of a `Payload`, and libzmq calls this once.
    drop(unsafe { Box::from_raw(owner.cast::<Payload>()) });
}

fn last_error() -> zmq::Error {
    // SAFETY: zmq_errno only reads this thread's number.
    zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() })
}

fn send_error(error: zmq::Error) -> SendError {
    if error == zmq::Error::EAGAIN {
        SendError::Full
    } else {
        SendError::Gone
    }
}

fn bind_one(socket: &zmq::Socket, endpoint: &str) -> Result<String, TransportError> {
    check_endpoint(endpoint)?;
    let wildcard = endpoint
        .strip_suffix(":0")
        .map(|address| format!("{address}:*"));
    let open = |source: zmq::Error| TransportError::Open {
        endpoint: endpoint.to_owned(),
        source: source.into(),
    };
    socket
        .bind(wildcard.as_deref().unwrap_or(endpoint))
        .map_err(open)?;
    let bound = socket.get_last_endpoint().map_err(open)?;
    Ok(bound.unwrap_or_else(|_| endpoint.to_owned()))
}

/// Whether `endpoint` is one that this transport can bind or connect.
///
/// # Errors
/// What is wrong with it.
pub fn check_endpoint(endpoint: &str) -> Result<(), TransportError> {
    if let Some(path) = endpoint.strip_prefix("ipc://") {
        if path.len() > IPC_PATH_BYTES_MAX {
            let (path, bytes, limit) = (path.to_owned(), path.len(), IPC_PATH_BYTES_MAX);
            return Err(TransportError::PathTooLong { path, bytes, limit });
        }
        if !path.is_empty() {
            return Ok(());
        }
    }
    let port = |address: &str| {
        address
            .rsplit_once(':')
            .is_some_and(|(_, p)| p.parse::<u16>().is_ok())
    };
    match endpoint.strip_prefix("tcp://") {
        Some(address) if port(address) => Ok(()),
        _ => Err(TransportError::Endpoint(endpoint.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_an_endpoint() {
        for wrong in [
            "",
            "ipc://",
            "tcp://",
            "tcp://1.2.3.4",
            "tcp://x:99999",
            "http://x:1",
        ] {
            assert!(
                matches!(check_endpoint(wrong), Err(TransportError::Endpoint(_))),
                "{wrong}"
            );
        }
        let long = format!("ipc:///{}", "x".repeat(IPC_PATH_BYTES_MAX));
        let error = check_endpoint(&long).expect_err("108 bytes").to_string();
        assert!(
            error.ends_with("has 108 bytes, at most 107 allowed"),
            "{error}"
        );
    }

    #[test]
    fn tells_an_ipc_peer_from_a_tcp_peer() {
        for ipc in ["localhost:0:0:4711", ":1000:1000:1"] {
            assert!(is_ipc_peer(ipc), "{ipc}");
        }
        for tcp in ["127.0.0.1", "::1", "::1:2:3", "fe80::1%eth0", "", "1:2"] {
            assert!(!is_ipc_peer(tcp), "{tcp}");
        }
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error_that_names_it() {
        let first = ZmqListener::bind(&["tcp://127.0.0.1:0".into()]).expect("any port");
        let error = ZmqListener::bind(first.endpoints())
            .map(|_| ())
            .expect_err("taken");
        let cause = std::error::Error::source(&error).expect("why").to_string();
        assert_eq!(
            error.to_string(),
            format!("cannot open {}: {cause}", first.endpoints()[0])
        );
        assert!(cause.contains("in use"), "{cause}");
    }
}
