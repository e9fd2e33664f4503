//! The accept loop: caps, back-off, graceful end.
//!
//! Each core runs its own loop on its own listener; the loops of one port share a [`Door`],
//! which holds the caps. A connection is a task of the loop's runtime.
//!
//! A port closes in two steps. [`Door::ask_to_leave`]: everything is still accepted and answered,
//! but answers ask their clients to connect anew, by then to somebody else. The signal of
//! [`serve`]: the listener is closed, and so is each connection when it has nothing in progress.
//!
//! # Invariants
//! - The loop ends by its signal alone. Errors of `accept` never end it: those of one connection
//!   are skipped, exhaustion (descriptors, memory) waits [`ACCEPT_BACKOFF`].
//! - Every accepted connection holds a slot of the door until it is closed.
//! - A panic in a service ends its connection, and no other.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::HttpLimits;
use super::connection::drive;
use super::tls::Tls;

/// The pause after `accept` found no descriptor or memory.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// What a client beyond the caps reads, where it reads at all.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\ncontent-length: 51\r\nretry-after: 1\r\n\
    connection: close\r\n\r\n{\"error\":\"Overload\",\"cause\":\"too many connections\"}";

/// The caps of one port, shared by its accept loops.
#[derive(Debug)]
pub struct Door {
    limits: HttpLimits,
    tls: Option<Tls>,
    /// Whether clients are asked to leave.
    leaving: watch::Sender<bool>,
    /// Open connections.
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// How far a port has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Open,
    /// Clients are asked to leave.
    Leaving,
    /// Nothing is begun any more.
    Stopped,
}

impl Door {
    /// The door of a port under `limits`, without TLS.
    #[must_use]
    pub fn new(limits: HttpLimits) -> Arc<Self> {
        Self::with_tls(limits, None)
    }

    /// The door of a port under `limits`; with `tls`, whoever speaks none is closed.
    #[must_use]
    pub fn with_tls(limits: HttpLimits, tls: Option<Tls>) -> Arc<Self> {
        Arc::new(Door {
            limits,
            tls,
            leaving: watch::Sender::new(false),
            open: AtomicUsize::new(0),
            by_address: Mutex::default(),
        })
    }

    /// From now on answers ask their clients to leave: `connection: close` on HTTP/1, `GOAWAY` on
    /// HTTP/2. Clients that come anew are answered, and asked the same.
    pub fn ask_to_leave(&self) {
        self.leaving.send_replace(true);
    }

    /// What its connections begin with.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// What the port grants.
    #[must_use]
    pub fn limits(&self) -> &HttpLimits {
        &self.limits
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A slot for a connection from `address`, or `None` at a cap.
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        // The slot is made first, so that its drop undoes the count whatever comes next.
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let mut slot = Slot {
            door: Arc::clone(self),
            address: None,
        };
        if before >= self.limits.connections_max {
            return None;
        }
        if address.is_loopback() {
            return Some(slot);
        }
        let mut counts = self
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.limits.connections_per_address_max {
            return None;
        }
        *count += 1;
        slot.address = Some(address);
        Some(slot)
    }
}

/// Room for one connection.
struct Slot {
    door: Arc<Door>,
    /// Set where the address is counted.
    address: Option<IpAddr>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.door.open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut counts = self
            .door
            .by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// Serves what `listener` accepts until `shutdown` is done and requests in flight are answered.
///
/// After `shutdown` the listener is closed, idle connections too, and each busy one after its
/// answer; what is not done within `drain_timeout` is dropped. Connections are spawned on the
/// runtime that polls this.
///
/// # Cancel safety
/// Dropping the future drops the listener and all its connections at once.
pub async fn serve<S, B>(
    listener: TcpListener,
    door: Arc<Door>,
    service: S,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut leaving = door.leaving.subscribe();
    leaving.mark_changed();
    let (stage, stages) = watch::channel(Stage::Open);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => report(ended),
            Ok(()) = leaving.changed() => {
                if *leaving.borrow_and_update() {
                    stage.send_replace(Stage::Leaving);
                }
            }
            stream = accept(&listener) => {
                if let Some((stream, slot)) = admit(stream, &door) {
                    let (service, stages) = (service.clone(), stages.clone());
                    connections.spawn(async move {
                        drive(stream, &slot.door, service, stages).await;
                    });
                }
            }
        }
    }
    drop(listener);
    stage.send_replace(Stage::Stopped);
    drain(connections, &door).await;
}

/// Waits for connections that finish what they have, and drops the others.
async fn drain(mut connections: JoinSet<()>, door: &Door) {
    let drained = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    let in_time = tokio::time::timeout(door.limits.drain_timeout, drained).await;
    if in_time.is_err() {
        tracing::warn!(
            connections = door.open_connections(),
            "connections dropped while busy"
        );
    }
}

/// The next connection, however long and often `accept` fails.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, waiting");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Whether the connection failed, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Gives the connection a slot, or tells it that there is none.
fn admit(stream: TcpStream, door: &Arc<Door>) -> Option<(TcpStream, Slot)> {
    let address = stream.peer_addr().ok()?.ip().to_canonical();
    // Listeners of other makers than `bind` may not have it set.
    drop(stream.set_nodelay(true));
    match door.enter(address) {
        Some(slot) => Some((stream, slot)),
        None => {
            // Over TLS the client would not understand it.
            if door.tls.is_none() {
                refuse(&stream);
            }
            tracing::debug!("connection refused: too many");
            None
        }
    }
}

#[cold]
fn refuse(stream: &TcpStream) {
    // As far as the socket's buffer takes it: a refused client is not waited for.
    drop(socket2::SockRef::from(stream).send(FULL));
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended by a panic");
    }
}
