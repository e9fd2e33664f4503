//! The front end's end.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Context, Poll};

use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::frames::{receive_frame, send_error, send_frame};
use super::{check_endpoint, has_curve, monitored, next_event, zap};
use crate::limits::HANDSHAKE;
use crate::message::Frame;
use crate::transport::{
    Authenticate, Incoming, Listener, Origin, PeerId, SendError, ServerKeys, TransportError,
};

/// Frames of forgotten peers that are dropped before others get their turn.
const IGNORED_MAX: usize = 64;
/// Handshakes that are answered before frames get their turn.
const HANDSHAKES_MAX: usize = 16;

type RoutingId = SmallVec<[u8; 8]>;

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
    /// Descriptors whose connections ended before a frame of theirs was read.
    ended: HashSet<RawFd>,
    next_peer: u64,
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
    /// It may have something since it was found empty; until its descriptor is ready or
    /// something is sent by it there is nothing, and asking libzmq costs system calls.
    is_stirred: bool,
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
        Ok(Polled {
            readiness,
            socket,
            is_stirred: true,
        })
    }

    #[cfg(test)]
    fn has_input(&self) -> bool {
        self.socket
            .get_events()
            .is_ok_and(|events| events.contains(zmq::POLLIN))
    }

    /// Whether there may be something, as far as the runtime has seen. Its readiness is
    /// cleared before anybody looks.
    fn may_have_input(&mut self) -> bool {
        let is_stirred = &mut self.is_stirred;
        let clear = |_: &Descriptor| -> std::io::Result<()> {
            *is_stirred = true;
            Err(std::io::ErrorKind::WouldBlock.into())
        };
        // Without readiness the closure is not called; with it, its error clears it.
        let _ = self.readiness.try_io(Interest::READABLE, clear);
        self.is_stirred
    }

    /// Whether there may be something; if not, the task is woken when there is.
    fn poll_stirred(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let ready = self.readiness.poll_read_ready(cx);
        ready.map(|guard| {
            guard?.clear_ready();
            self.is_stirred = true;
            Ok(())
        })
    }
}

impl Router {
    fn open(context: &zmq::Context, keys: Option<&ServerKeys>) -> std::io::Result<Router> {
        let events = zmq::SocketEvent::ACCEPTED.to_raw() | zmq::SocketEvent::DISCONNECTED.to_raw();
        let (socket, monitor) = monitored(context, zmq::ROUTER, events)?;
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
                self.socket.is_stirred = false;
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
            ended: HashSet::new(),
            next_peer: 0,
            _context: context,
        })
    }

    /// Notes whose descriptors were disconnected, without telling of it yet.
    fn drain_monitors(&mut self) {
        for router in &mut self.routers {
            router.monitor.is_stirred = false;
            while let Some((event, descriptor)) = next_event(&router.monitor.socket) {
                if event == zmq::SocketEvent::ACCEPTED.to_raw() {
                    self.ended.remove(&descriptor);
                    continue;
                }
                // The monitor may be ahead of the socket: what the peer sent is read first.
                router.socket.is_stirred = true;
                match self.by_descriptor.remove(&descriptor) {
                    Some(peer) => self.closing.push_back(peer),
                    None => drop(self.ended.insert(descriptor)),
                }
            }
        }
    }

    /// The next frame that matters.
    fn receive(&mut self) -> Option<Incoming> {
        // Each in its turn, so that none is starved by another.
        (0..self.routers.len()).find_map(|_| {
            self.turn = (self.turn + 1) % self.routers.len();
            self.receive_from(self.turn)
        })
    }

    fn receive_from(&mut self, router: usize) -> Option<Incoming> {
        if !self.routers[router].socket.is_stirred {
            return None;
        }
        for _ in 0..IGNORED_MAX {
            let Router {
                socket: polled,
                by_routing_id,
                ..
            } = &mut self.routers[router];
            let socket = &polled.socket;
            let mut routing_id = zmq::Message::new();
            if socket.recv(&mut routing_id, zmq::DONTWAIT).is_err() {
                polled.is_stirred = false;
                return None;
            }
            let known = by_routing_id.get(&routing_id[..]).copied();
            let mut sender = None;
            let is_new = known.is_none();
            let frame = receive_frame(socket, |first| {
                sender = is_new.then(|| Sender::of(first));
            });
            let Some(frame) = frame else {
                continue;
            };
            let added = sender.map(|sender| {
                self.drain_monitors();
                self.add_peer(router, routing_id[..].into(), sender)
            });
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
        if self.ended.remove(&descriptor) {
            self.closing.push_back(peer);
        } else {
            // Whoever had the descriptor before is gone, whatever the monitor said.
            let before = self.by_descriptor.insert(descriptor, peer);
            self.closing.extend(before);
        }
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
        let polled = &mut self.routers[peer.router].socket;
        // Sending may take what would have told of input.
        polled.is_stirred = true;
        let socket = &mut polled.socket;
        let sent = socket
            .send(&peer.routing_id[..], zmq::DONTWAIT | zmq::SNDMORE)
            .and_then(|()| send_frame(socket, frame));
        sent.map_err(send_error)
    }

    fn try_recv(&mut self) -> Option<Incoming> {
        // Every one is asked: each is cleared before it is looked at.
        let mut is_stirred = false;
        for socket in self.sockets() {
            is_stirred |= socket.may_have_input();
        }
        if !is_stirred {
            return self.next_closed();
        }
        if let Some(doorman) = self.doorman.as_mut().filter(|d| d.socket.is_stirred) {
            doorman.answer();
        }
        if self.routers.iter().any(|router| router.monitor.is_stirred) {
            self.drain_monitors();
        }
        if let Some(received) = self.receive() {
            return Some(received);
        }
        // Whoever is gone may have frames behind those that were dropped.
        let is_empty = self.routers.iter().all(|router| !router.socket.is_stirred);
        is_empty.then(|| self.next_closed()).flatten()
    }

    fn forget(&mut self, peer: PeerId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.forgotten = true;
        }
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !self.closing.is_empty() || self.sockets().any(|socket| socket.is_stirred) {
            return Poll::Ready(Ok(()));
        }
        // Every one is asked, so that each wakes this task.
        let polls = self.sockets().map(|socket| socket.poll_stirred(context));
        polls.fold(Poll::Pending, |all, one| match one {
            Poll::Ready(_) if !matches!(all, Poll::Ready(Err(_))) => one,
            _ => all,
        })
    }

    fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    fn user(&self, peer: PeerId) -> Option<&str> {
        self.peers.get(&peer)?.user.as_deref()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Link;
    use crate::transport::conformance::next;
    use crate::transport::zmq::{ZmqLink, connect};

    #[test]
    fn tells_an_ipc_peer_from_a_tcp_peer() {
        for ipc in ["localhost:0:0:4711", ":1000:1000:1"] {
            assert!(is_ipc_peer(ipc), "{ipc}");
        }
        for tcp in ["127.0.0.1", "::1", "::1:2:3", "fe80::1%eth0", "", "1:2"] {
            assert!(!is_ipc_peer(tcp), "{tcp}");
        }
    }

    /// A link whose first frame has arrived and is not read.
    async fn unread(listener: &mut ZmqListener) -> ZmqLink {
        let mut link = connect(&listener.endpoints()[0]).expect("an endpoint");
        link.send(&Frame::default()).expect("open");
        while !listener.routers[0].socket.has_input() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        link
    }

    /// Its end is told by the monitor before anybody knows whose end it is.
    #[tokio::test]
    async fn a_peer_that_is_gone_before_its_first_frame_is_read_is_told_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let endpoint = format!("ipc://{}/s", folder.path().display());
        let mut listener = ZmqListener::bind(&[endpoint]).expect("bound");
        let link = unread(&mut listener).await;
        listener.drain_monitors();
        drop(link);
        while listener.ended.is_empty() {
            listener.drain_monitors();
            tokio::task::yield_now().await;
        }
        let Incoming::Frame { peer, .. } = next(&mut listener).await else {
            panic!("its frame first")
        };
        let closed = next(&mut listener).await;
        assert!(matches!(closed, Incoming::Closed { peer: gone } if gone == peer));
        assert!(listener.ended.is_empty());
    }

    /// The monitor speaks of it while the runtime has not seen yet that the socket is ready.
    #[tokio::test]
    async fn a_last_frame_comes_before_the_end_that_the_monitor_told_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let endpoint = format!("ipc://{}/s", folder.path().display());
        let mut listener = ZmqListener::bind(&[endpoint]).expect("bound");
        let mut link = unread(&mut listener).await;
        let Incoming::Frame { peer, .. } = next(&mut listener).await else {
            panic!("its frame")
        };
        assert!(listener.try_recv().is_none());
        link.send(&Frame::default()).expect("open");
        while !listener.routers[0].socket.has_input() {
            std::thread::yield_now();
        }
        drop(link);
        while listener.closing.is_empty() {
            listener.drain_monitors();
        }
        let last = listener.try_recv();
        assert!(matches!(last, Some(Incoming::Frame { peer: sender, .. }) if sender == peer));
        let closed = next(&mut listener).await;
        assert!(matches!(closed, Incoming::Closed { peer: gone } if gone == peer));
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
