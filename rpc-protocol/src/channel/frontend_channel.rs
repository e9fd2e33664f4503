//! The front end's side: a listener, and the shared paths of its peers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use skysail_memory::region::has_huge_pages;
use skysail_memory::rows::{RowLayout, RowLog};

use super::relay::Relay;
use super::rings::Rings;
use super::setup::host;
use super::visits::{Lease, Terms, Visit, Visits};
use crate::message::{DecodeError, Encoder, Frame, Hello, Message, Offer};
use crate::tensor::{Schema, TensorSpec};
use crate::transport::{Incoming, Listener, Origin, PeerId, SendError};

/// What a channel has to tell.
#[derive(Debug)]
pub enum Heard {
    /// A message came, or something that is none.
    Message {
        /// From whom.
        peer: PeerId,
        /// How the peer's transport is connected.
        origin: Origin,
        /// What came.
        message: Result<Message, DecodeError>,
    },
    /// The peer is gone.
    Closed {
        /// Whose connection.
        peer: PeerId,
    },
}

/// How much memory is shared, and how long it is looked at.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Whether shared memory is offered at all.
    pub offered: bool,
    /// Most bytes of all of it in this process.
    pub bytes_max: usize,
    /// Most bytes of one session's results, and of its requests.
    pub session_bytes_max: usize,
    /// Most bytes of one version's row log.
    pub log_bytes_max: usize,
    /// Rows that a row log has, as far as its bytes allow.
    pub log_rows: usize,
    /// The longest that a front end spins for a container that asks for it.
    pub spin_max: Duration,
}

impl Default for Sharing {
    fn default() -> Self {
        Sharing {
            offered: true,
            bytes_max: 1 << 30,
            session_bytes_max: 64 << 20,
            log_bytes_max: 64 << 20,
            log_rows: 4096,
            spin_max: default_spin(),
        }
    }
}

/// Spinning pays where a core can be spared for it: not on the few cores of a small machine.
fn default_spin() -> Duration {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Duration::from_micros(if cores >= 4 { 50 } else { 0 })
}

impl Sharing {
    /// A row log for the queries of a version of `schema`, which come on `cores` threads;
    /// `None` if its rows have no fixed size, or there is no memory for it.
    #[must_use]
    pub fn log(&self, schema: &Schema, cores: usize) -> Option<SharedLog> {
        let row_bytes = schema.inputs.iter().map(TensorSpec::row_bytes);
        let row_bytes: Option<Vec<usize>> = row_bytes.collect();
        let row_bytes = row_bytes.filter(|_| self.offered)?;
        let all = row_bytes.iter().sum::<usize>().max(1);
        let rows = self.log_rows.min(self.log_bytes_max / all);
        let layout = RowLayout::new(row_bytes, rows)?;
        let lease = Lease::take(layout.bytes(), self.bytes_max)?;
        match RowLog::create("skysail-rows", layout, cores) {
            Ok(log) => {
                let (bytes, huge_pages) = (log.layout().bytes(), has_huge_pages());
                tracing::info!(rows, bytes, huge_pages, "shared memory for queries");
                Some(SharedLog { log, _lease: lease })
            }
            Err(error) => {
                tracing::warn!(%error, "no shared memory for queries");
                None
            }
        }
    }
}

/// The row log of one version, with the memory it may take.
#[derive(Debug)]
pub struct SharedLog {
    /// The log.
    pub log: Arc<RowLog>,
    _lease: Lease,
}

/// How much is held on behalf of peers, for tests.
#[cfg(any(test, feature = "fuzzing"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Shared paths in use.
    pub paths: usize,
    /// Shared paths of peers that were forgotten and have not hung up.
    pub lingering: usize,
    /// Sockets of visitors.
    pub visitors: usize,
    /// Messages that were heard and not asked for yet.
    pub heard: usize,
}

/// Where a front end and its containers exchange messages.
pub struct FrontendChannel<L> {
    listener: L,
    encoder: Encoder,
    sharing: Sharing,
    visits: Result<Visits, &'static str>,
    pub(super) rings: Rings,
    heard: VecDeque<Heard>,
    news: VecDeque<Visit>,
    others: Relay,
}

impl<L: Listener> FrontendChannel<L> {
    /// A channel over `listener`. Shared memory is offered beside its ipc endpoint.
    pub fn new(listener: L, sharing: Sharing) -> Self {
        let visits = if sharing.offered {
            control_socket(&listener)
        } else {
            Err("shared memory is turned off")
        };
        FrontendChannel {
            listener,
            encoder: Encoder::default(),
            sharing,
            visits,
            rings: Rings::default(),
            heard: VecDeque::new(),
            news: VecDeque::new(),
            others: Relay::default(),
        }
    }

    /// The transport's endpoints.
    pub fn endpoints(&self) -> &[String] {
        self.listener.endpoints()
    }

    /// The transport.
    pub fn listener(&self) -> &L {
        &self.listener
    }

    /// An offer of shared memory for a container that said `hello`, or why there is none.
    ///
    /// # Errors
    /// The reason, for status and logs.
    pub fn offer(
        &mut self,
        peer: PeerId,
        hello: &Hello,
        schema: &Arc<Schema>,
        log: Option<&Arc<RowLog>>,
    ) -> Result<Offer, String> {
        let visits = self
            .visits
            .as_mut()
            .map_err(|reason| (*reason).to_owned())?;
        if hello.host.is_empty() {
            return Err("the container asks for none".to_owned());
        }
        if hello.host != host() {
            return Err("the container runs on another host".to_owned());
        }
        let terms = Terms {
            schema: schema.clone(),
            max_batch: hello.max_batch as usize,
            slots: usize::from(hello.slots),
            log: log.cloned(),
            spin: hello.spin.min(self.sharing.spin_max),
            session_bytes_max: self.sharing.session_bytes_max,
            bytes_max: self.sharing.bytes_max,
        };
        let offer = visits.offer(peer, terms);
        offer.map_err(|error| format!("no randomness for an offer: {error}"))
    }

    /// Sends a message, a batch through shared memory where it can.
    ///
    /// # Errors
    /// If the peer is gone or does not keep up: treat it as lost and [`Self::forget`] it.
    pub fn send(&mut self, peer: PeerId, mut message: Message) -> Result<(), SendError> {
        if self.rings.send(peer, &mut message) {
            return Ok(());
        }
        let frame = self.encoder.encode(&message);
        self.send_frame(peer, &frame)
    }

    /// Sends a frame byte for byte by the transport: for whoever plays what was recorded.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_frame(&mut self, peer: PeerId, frame: &Frame) -> Result<(), SendError> {
        // Sending may take what would have woken this task.
        self.others.wake();
        self.listener.send(peer, frame)
    }

    /// The next thing heard, if there is one.
    pub fn try_recv(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Some(heard);
            }
            if let Some(heard) = self.rings.recv() {
                return Some(heard);
            }
            match self.listener.try_recv() {
                Some(incoming) => {
                    self.others.wake();
                    self.on_incoming(incoming);
                }
                None => {
                    let visit = self.news.pop_front()?;
                    self.on_visit(visit);
                }
            }
        }
    }

    /// Drops a peer: nothing more is heard of it.
    pub fn forget(&mut self, peer: PeerId) {
        self.listener.forget(peer);
        self.heard.retain(|heard| heard.peer() != peer);
        // It may have mapped its memory a moment ago.
        let arrived = |visit: &Visit| matches!(visit, Visit::Arrived(who, _) if *who == peer);
        self.news.retain(|visit| !arrived(visit));
        let gone = self.rings.forget(peer);
        if let Ok(visits) = &mut self.visits {
            visits.withdraw(peer);
            gone.into_iter().for_each(|peer| visits.hang_up(peer));
        }
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub fn check_invariants(&self) {
        self.rings.check_invariants();
    }

    /// What is held on behalf of peers.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn holdings(&self) -> Holdings {
        let (paths, lingering) = self.rings.counts();
        Holdings {
            paths,
            lingering,
            visitors: self.visits.as_ref().map_or(0, Visits::count),
            heard: self.heard.len(),
        }
    }

    /// Waits until [`Self::try_recv`] may have something.
    ///
    /// # Errors
    /// If the transport failed.
    ///
    /// # Cancel safety
    /// Cancel safe. Call `try_recv` until it is empty before waiting.
    pub async fn readable(&mut self) -> io::Result<()> {
        // A crowd at the control socket leaves this thread's other tasks their turn.
        if self.visits.as_ref().is_ok_and(Visits::is_unfinished) {
            tokio::task::yield_now().await;
        }
        poll_fn(|context| self.poll_readable(context)).await
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.heard.is_empty() || !self.news.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.rings.poll_ready(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        // Nothing else has happened since all of it was asked and said to wake this task.
        if self.others.is_asleep(context.waker()) {
            return Poll::Pending;
        }
        let waker = self.others.sleep(context.waker());
        let context = &mut Context::from_waker(&waker);
        self.rings.hear_bells(context);
        if self.rings.is_ready() {
            // Not all of them were asked.
            self.others.wake();
            return Poll::Ready(Ok(()));
        }
        if let Ok(visits) = &mut self.visits
            && let Poll::Ready(visited) = visits.poll_ready(context)
        {
            self.others.wake();
            visits.look(&mut self.news);
            return Poll::Ready(visited);
        }
        let readable = self.listener.poll_readable(context);
        if readable.is_ready() {
            self.others.wake();
        }
        readable
    }

    /// What lies in the peer's ring came before this.
    fn on_incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Closed { peer } => {
                self.rings.drain(peer, &mut self.heard);
                self.heard.push_back(Heard::Closed { peer });
            }
            Incoming::Frame {
                peer,
                origin,
                frame,
            } => {
                self.rings.drain(peer, &mut self.heard);
                let message = Message::decode(&frame);
                match &message {
                    Ok(Message::Reply(reply)) => self.rings.answered_elsewhere(peer, reply.batch),
                    Ok(Message::Path { .. }) => {
                        self.let_in();
                        let is_end = |heard: &Heard| matches!(heard, Heard::Closed { .. });
                        let own = |heard: &&Heard| heard.peer() == peer;
                        if self.heard.iter().filter(own).any(is_end) {
                            return;
                        }
                    }
                    _ => {}
                }
                self.heard.push_back(Heard::Message {
                    peer,
                    origin,
                    message,
                });
            }
        }
    }

    /// Lets in who said so at the control socket, which a container does before it says so here:
    /// once its `path` is heard, batches travel by it.
    fn let_in(&mut self) {
        if let Ok(visits) = &mut self.visits {
            visits.look(&mut self.news);
        }
        while let Some(visit) = self.news.pop_front() {
            self.on_visit(visit);
        }
    }

    fn on_visit(&mut self, visit: Visit) {
        match visit {
            Visit::Arrived(peer, path) => {
                self.rings.add(peer, path);
                // Its bell is to be heard too.
                self.others.wake();
            }
            Visit::Gone(peer) => {
                self.rings.drain(peer, &mut self.heard);
                if self.rings.hung_up(peer) {
                    self.listener.forget(peer);
                    self.heard.push_back(Heard::Closed { peer });
                }
            }
        }
    }
}

impl Heard {
    fn peer(&self) -> PeerId {
        match self {
            Heard::Message { peer, .. } | Heard::Closed { peer } => *peer,
        }
    }
}

/// The control socket beside the first ipc endpoint.
fn control_socket(listener: &impl Listener) -> Result<Visits, &'static str> {
    let path = |endpoint: &String| Some(endpoint.strip_prefix("ipc://")?.to_owned());
    let path = listener.endpoints().iter().find_map(path);
    let path = path.filter(|path| !path.starts_with('@'));
    let path = path.ok_or("the front end has no ipc endpoint")?;
    Visits::beside(Path::new(&path)).map_err(|error| {
        tracing::warn!(%error, path, "no control socket for shared memory");
        "the front end has no control socket; its log says why"
    })
}
