//! What every transport must do, played against each mechanism.

use std::time::{Duration, Instant};

use super::{
    ClientKeys, Closed, Incoming, Link, Listener, Origin, PeerId, SendError, ServerKeys, memory,
    zmq,
};
use crate::keys::SecretKey;
use crate::message::Frame;
use crate::payload::{ALIGN_MIN, Payload, PayloadBuf};

/// Long enough for any machine; a test that waits this long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

trait Mechanism {
    type Listener: Listener;
    type Link: Link + Send + 'static;
    fn listen(&mut self) -> Self::Listener;
    fn connect(&self) -> Self::Link;
}

#[derive(Default)]
struct Memory {
    connector: Option<memory::MemoryConnector>,
    key: Option<&'static str>,
}

impl Memory {
    fn with_key(name: &'static str) -> Self {
        Memory {
            key: Some(name),
            ..Self::default()
        }
    }
}

impl Mechanism for Memory {
    type Listener = memory::MemoryListener;
    type Link = memory::MemoryLink;
    fn listen(&mut self) -> Self::Listener {
        let (listener, connector) = memory::listen();
        self.connector = Some(connector);
        listener
    }
    fn connect(&self) -> Self::Link {
        let connector = self.connector.as_ref().expect("listening");
        match self.key {
            Some(name) => connector.connect_with_key(name).expect("open"),
            None => connector.connect().expect("open"),
        }
    }
}

struct Zmq {
    endpoint: String,
    keys: Option<ClientKeys>,
    _folder: tempfile::TempDir,
}

/// The key of a test's listener.
pub(super) const SERVER: [u8; 32] = [1; 32];
/// The key that it lets in, as `alice`.
pub(super) const ALICE: [u8; 32] = [2; 32];

impl Zmq {
    fn ipc() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Zmq {
            endpoint: format!("ipc://{}/s", folder.path().display()),
            keys: None,
            _folder: folder,
        }
    }

    fn tcp() -> Self {
        Zmq {
            endpoint: "tcp://127.0.0.1:0".into(),
            ..Self::ipc()
        }
    }

    /// Nothing where libzmq has no CURVE.
    fn with_keys(self) -> Option<Self> {
        let keys = Some(client_keys(ALICE));
        curve_is_there().then_some(Zmq { keys, ..self })
    }
}

/// Whether CURVE can be tested; it is a failure that it cannot where it must.
pub(super) fn curve_is_there() -> bool {
    let required = std::env::var_os("SKYSAIL_REQUIRE_CURVE").is_some();
    assert!(
        zmq::has_curve() || !required,
        "the linked libzmq has no CURVE"
    );
    zmq::has_curve()
}

pub(super) fn client_keys(secret: [u8; 32]) -> ClientKeys {
    ClientKeys {
        secret: SecretKey::new(secret),
        server: SecretKey::new(SERVER).public(),
    }
}

pub(super) fn server_keys() -> ServerKeys {
    let alice = SecretKey::new(ALICE).public();
    ServerKeys {
        secret: SecretKey::new(SERVER),
        authenticate: Box::new(move |key, address| {
            assert_eq!(address, "127.0.0.1");
            (*key == alice).then(|| "alice".to_owned())
        }),
    }
}

impl Mechanism for Zmq {
    type Listener = zmq::ZmqListener;
    type Link = zmq::ZmqLink;
    fn listen(&mut self) -> Self::Listener {
        let endpoints = std::slice::from_ref(&self.endpoint);
        let keys = self.keys.is_some().then(server_keys);
        let listener = zmq::ZmqListener::bind_with(endpoints, keys).expect("bound");
        self.endpoint.clone_from(&listener.endpoints()[0]);
        listener
    }
    fn connect(&self) -> Self::Link {
        zmq::connect_with(&self.endpoint, self.keys.as_ref()).expect("an endpoint")
    }
}

pub(super) async fn next(listener: &mut impl Listener) -> Incoming {
    let wait = async {
        loop {
            if let Some(incoming) = listener.try_recv() {
                return incoming;
            }
            listener.readable().await.expect("a listener");
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("something was sent")
}

pub(super) async fn next_frame(listener: &mut impl Listener) -> (PeerId, Frame) {
    match next(listener).await {
        Incoming::Frame { peer, frame, .. } => (peer, frame),
        Incoming::Closed { peer } => panic!("{peer:?} closed"),
    }
}

pub(super) fn frame(number: u8, sizes: &[usize]) -> Frame {
    let fill = |bytes: &usize| {
        let mut buf = PayloadBuf::zeroed(*bytes);
        buf.as_bytes_mut().fill(number);
        buf.freeze()
    };
    let header = Payload::copy_from_slice(&[number; 5]);
    Frame {
        header,
        payloads: sizes.iter().map(fill).collect(),
    }
}

fn assert_same(found: &Frame, sent: &Frame) {
    assert_eq!(found.header, sent.header);
    assert_eq!(found.payloads, sent.payloads);
    for payload in &found.payloads {
        assert!(payload.as_bytes().as_ptr().addr().is_multiple_of(ALIGN_MIN));
    }
}

async fn frames_arrive_whole_and_in_order(mut mechanism: impl Mechanism) {
    const SIZES: [&[usize]; 6] = [&[], &[0], &[1, 3, 64], &[3136], &[9000, 1], &[2_400_000]];
    let mut listener = mechanism.listen();
    let mut link = mechanism.connect();
    for (number, sizes) in (0..).zip(SIZES) {
        link.send(&frame(number, sizes)).expect("open");
    }
    for (number, sizes) in (0..).zip(SIZES) {
        let (peer, found) = next_frame(&mut listener).await;
        assert_same(&found, &frame(number, sizes));
        listener.send(peer, &found).expect("open");
    }
    for (number, sizes) in (0..).zip(SIZES) {
        let found = link
            .recv(Instant::now() + PATIENCE)
            .expect("open")
            .expect("echoed");
        assert_same(&found, &frame(number, sizes));
    }
    assert!(
        matches!(link.recv(Instant::now()), Ok(None)),
        "nothing more"
    );
}

async fn the_origin_of_a_frame_is_told(mut mechanism: impl Mechanism, expected: Origin) {
    let mut listener = mechanism.listen();
    let mut link = mechanism.connect();
    link.send(&frame(1, &[])).expect("open");
    match next(&mut listener).await {
        Incoming::Frame { origin, .. } => assert_eq!(origin, expected),
        Incoming::Closed { peer } => panic!("{peer:?} closed"),
    }
}

async fn a_burst_needs_one_wake_up_only_to_be_read_whole(mut mechanism: impl Mechanism) {
    let mut listener = mechanism.listen();
    let mut link = mechanism.connect();
    (0..200).for_each(|number| link.send(&frame(number, &[16])).expect("open"));
    for number in 0..200 {
        assert_same(&next_frame(&mut listener).await.1, &frame(number, &[16]));
    }
    assert!(listener.try_recv().is_none());
}

async fn peers_are_told_apart(mut mechanism: impl Mechanism) {
    let mut listener = mechanism.listen();
    let mut links = [mechanism.connect(), mechanism.connect()];
    let mut peers = Vec::new();
    for (number, link) in (0..).zip(&mut links) {
        link.send(&frame(number, &[])).expect("open");
        peers.push(next_frame(&mut listener).await.0);
    }
    assert_ne!(peers[0], peers[1]);
    for (number, peer) in (0..).zip(&peers) {
        listener.send(*peer, &frame(number, &[8])).expect("open");
    }
    for (number, link) in (0..).zip(&mut links) {
        let found = link
            .recv(Instant::now() + PATIENCE)
            .expect("open")
            .expect("a frame");
        assert_same(&found, &frame(number, &[8]));
    }
}

/// PROTOCOL 1.5
async fn a_forgotten_peer_is_heard_no_more(mut mechanism: impl Mechanism) {
    let mut listener = mechanism.listen();
    let mut links = [mechanism.connect(), mechanism.connect()];
    links[0].send(&frame(0, &[])).expect("open");
    let (first, _) = next_frame(&mut listener).await;
    listener.forget(first);
    assert_eq!(listener.send(first, &frame(0, &[])), Err(SendError::Gone));
    for _ in 0..300 {
        links[0].send(&frame(0, &[16])).expect("open");
    }
    links[1].send(&frame(1, &[16])).expect("open");
    let (second, found) = next_frame(&mut listener).await;
    assert_ne!(second, first);
    assert_same(&found, &frame(1, &[16]));
    drop(links);
    match next(&mut listener).await {
        Incoming::Closed { peer } => assert_eq!(peer, second, "the forgotten one's end is no news"),
        Incoming::Frame { frame, .. } => panic!("a frame from a forgotten peer: {frame:?}"),
    }
}

/// PROTOCOL 1.4
async fn a_peer_that_goes_is_noticed_after_its_last_frame(mut mechanism: impl Mechanism) {
    let mut listener = mechanism.listen();
    for round in 0..3 {
        let mut link = mechanism.connect();
        link.send(&frame(round, &[])).expect("open");
        let (peer, _) = next_frame(&mut listener).await;
        let answer = frame(round, &[2000]);
        listener.send(peer, &answer).expect("open");
        link.recv(Instant::now() + PATIENCE)
            .expect("open")
            .expect("a frame");
        drop(link);
        match next(&mut listener).await {
            Incoming::Closed { peer: closed } => assert_eq!(closed, peer, "round {round}"),
            Incoming::Frame { frame, .. } => panic!("a frame from nobody: {frame:?}"),
        }
        assert_eq!(listener.send(peer, &answer), Err(SendError::Gone));
    }
}

/// A container that computes looks now and then, and does not wait.
async fn a_look_finds_what_came_and_that_nothing_will(mut mechanism: impl Mechanism) {
    let mut listener = mechanism.listen();
    let mut link = mechanism.connect();
    link.send(&frame(1, &[])).expect("open");
    let (peer, _) = next_frame(&mut listener).await;
    assert!(
        matches!(link.recv(Instant::now()), Ok(None)),
        "no answer yet"
    );
    listener.send(peer, &frame(2, &[16])).expect("open");
    let found = look_until(|| link.recv(Instant::now()).expect("open")).await;
    assert_same(&found, &frame(2, &[16]));
    drop(listener);
    look_until(|| link.recv(Instant::now()).err()).await;
}

/// Looks again and again, until there is something.
async fn look_until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let looks = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looks).await;
    found.expect("a look finds it")
}

async fn a_listener_that_goes_is_noticed(mut mechanism: impl Mechanism) {
    let mut listener = mechanism.listen();
    let mut link = mechanism.connect();
    link.send(&frame(1, &[])).expect("open");
    next_frame(&mut listener).await;
    drop(listener);
    let closed = tokio::task::spawn_blocking(move || link.recv(Instant::now() + PATIENCE));
    assert!(matches!(closed.await.expect("no panic"), Err(Closed)));
}

async fn the_name_of_a_peers_key_is_told(mut mechanism: impl Mechanism, expected: Option<&str>) {
    let mut listener = mechanism.listen();
    let mut link = mechanism.connect();
    link.send(&frame(1, &[])).expect("open");
    let (peer, _) = next_frame(&mut listener).await;
    assert_eq!(listener.user(peer), expected);
    assert_eq!(listener.user(PeerId(u64::MAX)), None);
}

/// A mechanism that cannot be had here is left out.
macro_rules! conform {
    ($($mechanism:ident: $make:expr, $origin:expr, $user:expr;)+) => {$(
        mod $mechanism {
            use super::*;
            conform! { @tests $make;
                frames_arrive_whole_and_in_order();
                a_burst_needs_one_wake_up_only_to_be_read_whole();
                the_origin_of_a_frame_is_told($origin);
                a_forgotten_peer_is_heard_no_more();
                peers_are_told_apart();
                a_peer_that_goes_is_noticed_after_its_last_frame();
                a_listener_that_goes_is_noticed();
                a_look_finds_what_came_and_that_nothing_will();
                the_name_of_a_peers_key_is_told($user);
            }
        }
    )+};
    (@tests $make:expr; $($test:ident($($expected:expr)?);)+) => {$(
        #[tokio::test]
        async fn $test() {
            if let Some(mechanism) = $make {
                super::$test(mechanism, $($expected)?).await;
            }
        }
    )+};
}

conform! {
    over_memory: Some(Memory::default()), Origin::Memory, None;
    over_memory_with_keys: Some(Memory::with_key("alice")), Origin::Memory, Some("alice");
    over_ipc: Some(Zmq::ipc()), Origin::Ipc, None;
    over_tcp: Some(Zmq::tcp()), Origin::Tcp, None;
    over_tcp_with_keys: Zmq::tcp().with_keys(), Origin::Tcp, Some("alice");
    over_ipc_beside_keys: Zmq::ipc().with_keys(), Origin::Ipc, None;
}

#[tokio::test]
async fn a_link_to_nobody_closes() {
    let mut link = zmq::connect("ipc:///nonexistent/socket").expect("an endpoint");
    let closed = tokio::task::spawn_blocking(move || link.recv(Instant::now() + PATIENCE));
    assert!(matches!(closed.await.expect("no panic"), Err(Closed)));
}
