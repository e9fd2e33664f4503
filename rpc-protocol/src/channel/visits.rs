//! The front end's control socket: where containers fetch their shared memory.
//!
//! ```text
//!   offer(nonce) ─► visitor connects ─► shows the nonce ─► gets the setup ─► "ready": Arrived
//!                                  └─ anything else: hung up on     hang-up later: Gone
//! ```
//!
//! A visitor is whoever could open a socket in our directory and knows a nonce that was sent to
//! one container, once. Its socket stays open for the life of the path.
//!
//! # Invariants
//! - A nonce is good for one visit.
//! - At most [`VISITORS_MAX`] visitors have not shown a nonce yet; one more sends the oldest away.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{EventfdFlags, epoll};
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::pipe::{PipeFlags, pipe_with};
use skysail_memory::region::{Pages, Peer, Region, SharedWords};
use skysail_memory::ring::{RING_WORDS, Words};
use skysail_memory::rows::RowLog;
use tokio::io::unix::AsyncFd;

use super::frontend::{FrontendPath, Parts};
use super::setup::{CHALLENGE_WORD, FLAG_WORD, READY, Setup, Sizes, VISIT_BYTES, read_visit};
use crate::message::{NONCE_BYTES, Offer};
use crate::tensor::Schema;
use crate::transport::{PeerId, watched};

/// Visitors that have not shown a nonce.
const VISITORS_MAX: usize = 64;
/// Events looked at in one turn.
const EVENTS_MAX: usize = 32;
/// Turns of one look: whoever keeps the socket busy must not keep its reader from the rest.
const TURNS_MAX: usize = 4;
/// Visitors let in in one turn.
const ACCEPTS_MAX: usize = VISITORS_MAX;
/// The listening socket's number among the epoll's.
const LISTENER: u64 = 0;
/// Bytes of a socket's path.
const PATH_BYTES_MAX: usize = crate::transport::zmq::IPC_PATH_BYTES_MAX;

/// Shared memory of all sessions and logs of this process.
static SHARED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A part of the bytes that may be shared, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lease(usize);

impl Lease {
    /// A lease of `bytes`, if no more than `limit` are leased then.
    pub(super) fn take(bytes: usize, limit: usize) -> Option<Lease> {
        let grow = |taken: usize| taken.checked_add(bytes).filter(|all| *all <= limit);
        // Relaxed: a budget; nothing else is passed on.
        SHARED_BYTES
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow)
            .ok()
            .map(|_| Lease(bytes))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Relaxed: as above.
        SHARED_BYTES.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// What a path is made for.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) schema: Arc<Schema>,
    pub(super) max_batch: usize,
    pub(super) slots: usize,
    pub(super) log: Option<Arc<RowLog>>,
    pub(super) spin: Duration,
    /// Most bytes of the session's results, and of its requests.
    pub(super) session_bytes_max: usize,
    /// Most bytes that this process shares.
    pub(super) bytes_max: usize,
}

/// News from the control socket.
pub(super) enum Visit {
    /// A container has mapped its memory.
    Arrived(PeerId, Box<FrontendPath>),
    /// A container that had arrived has hung up: it is gone, or wants no more of it.
    Gone(PeerId),
}

/// The control socket and everybody on it.
pub(super) struct Visits {
    listener: OwnedFd,
    epoll: AsyncFd<OwnedFd>,
    path: PathBuf,
    offers: HashMap<[u8; NONCE_BYTES], (PeerId, Terms)>,
    visitors: BTreeMap<u64, Visitor>,
    next: u64,
    /// The last look came to a limit before it came to the end.
    unfinished: bool,
}

struct Visitor {
    socket: OwnedFd,
    state: State,
}

enum State {
    /// It has to show its nonce.
    Strange,
    /// It has to map its memory and answer the challenge.
    Mapping(Box<Candidate>),
    /// Its path is in use.
    Arrived(PeerId),
}

/// A path that is not proven yet.
struct Candidate {
    peer: PeerId,
    path: FrontendPath,
    challenge: u64,
    answer: SharedWords,
}

/// Where the control socket beside an ipc endpoint's path is.
#[must_use]
pub fn socket_beside(ipc: &Path) -> PathBuf {
    let mut path = ipc.as_os_str().to_owned();
    path.push(".shm");
    path.into()
}

impl Visits {
    /// Listens beside an ipc endpoint's path.
    pub(super) fn beside(ipc: &Path) -> io::Result<Visits> {
        let path = socket_beside(ipc);
        if path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        // One that an earlier front end left: its data directory is locked by us.
        let _ = std::fs::remove_file(&path);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path)?)?;
        rustix::net::listen(&listener, VISITORS_MAX as i32)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        add(&epoll, &listener, LISTENER)?;
        Ok(Visits {
            listener,
            epoll: watched(epoll)?,
            path,
            offers: HashMap::new(),
            visitors: BTreeMap::new(),
            next: LISTENER,
            unfinished: false,
        })
    }

    /// An offer for `peer`; an earlier one is void.
    pub(super) fn offer(&mut self, peer: PeerId, terms: Terms) -> io::Result<Offer> {
        self.withdraw(peer);
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        self.offers.insert(nonce, (peer, terms));
        let name = self.path.file_name().unwrap_or_default();
        let socket = name.to_string_lossy().into_owned();
        Ok(Offer { socket, nonce })
    }

    /// `peer` will not come any more.
    pub(super) fn withdraw(&mut self, peer: PeerId) {
        self.offers.retain(|_, (offered, _)| *offered != peer);
        self.visitors.retain(|_, visitor| match &visitor.state {
            State::Mapping(candidate) => candidate.peer != peer,
            State::Strange | State::Arrived(_) => true,
        });
    }

    /// Closes the socket of a container that had arrived.
    pub(super) fn hang_up(&mut self, peer: PeerId) {
        let is_its = |visitor: &Visitor| matches!(visitor.state, State::Arrived(p) if p == peer);
        self.visitors.retain(|_, visitor| !is_its(visitor));
    }

    /// Whether the last look left something to do.
    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// Sockets that are open.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn count(&self) -> usize {
        self.visitors.len()
    }

    /// Whether there may be something to do.
    pub(super) fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unfinished {
            return Poll::Ready(Ok(()));
        }
        let ready = self.epoll.poll_read_ready(context);
        ready.map(|guard| guard.map(|mut guard| guard.clear_ready()))
    }

    /// Does what there is to do.
    pub(super) fn look(&mut self, news: &mut VecDeque<Visit>) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        if std::mem::take(&mut self.unfinished) {
            self.accept();
        }
        for _ in 0..TURNS_MAX {
            events.clear();
            let now = rustix::event::Timespec::default();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            let waited = epoll::wait(self.epoll.get_ref(), buffer, Some(&now));
            if waited.is_err() || events.is_empty() {
                return;
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    number => self.hear(number, news),
                }
            }
        }
        self.unfinished = true;
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..ACCEPTS_MAX {
            let Ok(socket) = rustix::net::accept_with(&self.listener, flags) else {
                return;
            };
            self.next += 1;
            if add(self.epoll.get_ref(), &socket, self.next).is_err() {
                continue;
            }
            let strange = |visitor: &&Visitor| matches!(visitor.state, State::Strange);
            if self.visitors.values().filter(strange).count() == VISITORS_MAX {
                let oldest = self.visitors.iter().find(|(_, v)| strange(v));
                let oldest = oldest.map(|(number, _)| *number);
                oldest
                    .into_iter()
                    .for_each(|n| drop(self.visitors.remove(&n)));
            }
            let state = State::Strange;
            self.visitors.insert(self.next, Visitor { socket, state });
        }
        self.unfinished = true;
    }

    /// A visitor said something, or hung up. Several of these may come as one event, so all
    /// are taken: a visitor goes from state to state, and there are three.
    fn hear(&mut self, number: u64, news: &mut VecDeque<Visit>) {
        while let Some(mut visitor) = self.visitors.remove(&number) {
            let mut said = [0; VISIT_BYTES + 1];
            let said = match rustix::net::recv(&visitor.socket, &mut said, RecvFlags::DONTWAIT) {
                Ok((bytes, _)) => &said[..bytes],
                Err(rustix::io::Errno::AGAIN) => {
                    self.visitors.insert(number, visitor);
                    return;
                }
                Err(_) => &[],
            };
            let Some(state) = self.next_state(&visitor.socket, visitor.state, said, news) else {
                return;
            };
            visitor.state = state;
            self.visitors.insert(number, visitor);
        }
    }

    /// Whoever says what is not expected is hung up on.
    fn next_state(
        &mut self,
        socket: &OwnedFd,
        state: State,
        said: &[u8],
        news: &mut VecDeque<Visit>,
    ) -> Option<State> {
        match state {
            State::Strange => self.welcome(socket, said),
            State::Mapping(candidate) if said == [READY] => arrived(*candidate, news),
            State::Mapping(_) => None,
            State::Arrived(peer) => {
                news.push_back(Visit::Gone(peer));
                None
            }
        }
    }

    /// Gives a visitor its memory, if it shows the nonce of an offer.
    fn welcome(&mut self, socket: &OwnedFd, said: &[u8]) -> Option<State> {
        let (peer, terms) = self.offers.remove(&read_visit(said)?)?;
        match make(socket, peer, terms) {
            Ok(candidate) => Some(State::Mapping(Box::new(candidate))),
            Err(error) => {
                tracing::warn!(%error, "no shared memory for a container");
                None
            }
        }
    }
}

impl Drop for Visits {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn add(epoll: &OwnedFd, socket: &OwnedFd, number: u64) -> rustix::io::Result<()> {
    let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    epoll::add(epoll, socket, epoll::EventData::new_u64(number), flags)
}

/// Makes the memory of a path and passes it.
fn make(socket: &OwnedFd, peer: PeerId, terms: Terms) -> io::Result<Candidate> {
    let log = terms.log.as_ref();
    let log_rows = log.map_or(0, |log| log.layout().rows());
    let sizes = Sizes::new(
        &terms.schema,
        terms.max_batch,
        terms.slots,
        log_rows,
        terms.session_bytes_max,
    );
    let (requests, results) = (sizes.requests(), sizes.results());
    let lease = Lease::take(requests.bytes() + results.bytes(), terms.bytes_max);
    let lease = lease.ok_or_else(|| io::Error::other("the budget of shared memory is used up"))?;
    let requests = Region::create("skysail-requests", requests, Peer::Reads)?;
    let results = Region::create("skysail-results", results, Peer::Writes)?;
    populate_elsewhere([requests.pages(), results.pages()]);
    let (our_bell, their_end, container_bell) = bells()?;
    let challenge = getrandom::u64().map_err(io::Error::other)?;
    // Relaxed: ordered before the setup message, which the container awaits.
    requests.words(CHALLENGE_WORD, 1).words()[0].store(challenge, Ordering::Relaxed);
    let none = || io::Error::other("no descriptor");
    let mut descriptors = vec![
        requests.fd().ok_or_else(none)?,
        results.fd().ok_or_else(none)?,
        our_bell.as_fd(),
        their_end.as_fd(),
    ];
    descriptors.extend(log.and_then(|log| log.fd()));
    Setup {
        sizes,
        challenge,
        descriptors,
    }
    .send(socket)?;
    let answer = results.words(CHALLENGE_WORD, 1);
    let path = FrontendPath::new(Parts {
        requests: requests.words(0, RING_WORDS),
        we_sleep: requests.words(FLAG_WORD, 1),
        blocks: requests.into_bulk().writer(),
        replies: results.words(0, RING_WORDS),
        container_sleeps: results.words(FLAG_WORD, 1),
        results: results.into_bulk().reader(),
        container_bell,
        our_bell: watched(our_bell)?,
        sizes,
        schema: terms.schema,
        log: terms.log,
        spin: terms.spin,
        lease,
    });
    Ok(Candidate {
        peer,
        path,
        challenge,
        answer,
    })
}

/// The pages come while the memory is used already: they may be many.
fn populate_elsewhere(pages: [Pages; 2]) {
    tokio::task::spawn_blocking(move || pages.into_iter().for_each(Pages::populate));
}

/// The front end's bell, and the reading and the writing end of the container's.
fn bells() -> io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let ours = rustix::event::eventfd(0, flags)?;
    // Of a pipe, the writing end's flags are ours alone: nobody can make our writes block.
    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    Ok((ours, reading, writing))
}

/// The container says that it is ready: the memory says whether it is the same memory.
fn arrived(candidate: Candidate, news: &mut VecDeque<Visit>) -> Option<State> {
    let Candidate {
        peer,
        path,
        challenge,
        answer,
    } = candidate;
    // Relaxed: written before the message that was just read.
    let answer = answer.words()[0].load(Ordering::Relaxed);
    if answer != !challenge {
        tracing::warn!("a container's memory is not the memory that it was given");
        return None;
    }
    news.push_back(Visit::Arrived(peer, Box::new(path)));
    Some(State::Arrived(peer))
}
