//! What every transport must do, played against each mechanism.

use std::time::{Duration, Instant};

use super::{Closed, Incoming, Link, Listener, Origin, PeerId, SendError, memory, zmq};
use crate::message::Frame;
use crate::payload::{ALIGN_MIN, Payload, PayloadBuf};

/// Long enough for any machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

trait Mechanism {
    type Listener: Listener;
    type Link: Link + Send + 'static;
    fn listen(&mut self) -> Self::Listener;
    fn connect(&self) -> Self::Link;
}

#[derive(Default)]
struct Memory(Option<memory::MemoryConnector>);

impl Mechanism for Memory {
    type Listener = memory::MemoryListener;
    type Link = memory::MemoryLink;
    fn listen(&mut self) -> Self::Listener {
        let (listener, connector) = memory::listen();
        self.0 = Some(connector);
        listener
    }
    fn connect(&self) -> Self::Link {
        self.0.as_ref().expect("listening").connect().expect("open")
    }
}

struct Zmq {
    endpoint: String,
    _folder: tempfile::TempDir,
}

impl Zmq {
    fn ipc() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Zmq {
            endpoint: format!("ipc://{}/s", folder.path().display()),
            _folder: folder,
        }
    }

    fn tcp() -> Self {
        Zmq {
            endpoint: "tcp://127.0.0.1:0".into(),
            ..Self::ipc()
        }
    }
}

impl Mechanism for Zmq {
    type Listener = zmq::ZmqListener;
    type Link = zmq::ZmqLink;
    fn listen(&mut self) -> Self::Listener {
        let listener = zmq::ZmqListener::bind(std::slice::from_ref(&self.endpoint)).expect("bound");
        self.endpoint.clone_from(&listener.endpoints()[0]);
        listener
    }
    fn connect(&self) -> Self::Link {
        zmq::connect(&self.endpoint).expect("an endpoint")
    }
}

async fn next(listener: &mut impl Listener) -> Incoming {
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

async fn next_frame(listener: &mut impl Listener) -> (PeerId, Frame) {
    match next(listener).await {
        Incoming::Frame { peer, frame, .. } => (peer, frame),
        Incoming::Closed { peer } => panic!("{peer:?} closed"),
    }
}

fn frame(number: u8, sizes: &[usize]) -> Frame {
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

async fn a_listener_that_goes_is_noticed(mut mechanism: impl Mechanism) {
    let mut listener = mechanism.listen();
    let mut link = mechanism.connect();
    link.send(&frame(1, &[])).expect("open");
    next_frame(&mut listener).await;
    drop(listener);
    let closed = tokio::task::spawn_blocking(move || link.recv(Instant::now() + PATIENCE));
    assert!(matches!(closed.await.expect("no panic"), Err(Closed)));
}

macro_rules! conform {
    ($($mechanism:ident: $make:expr, $origin:expr;)+) => {$(
        mod $mechanism {
            use super::*;
            #[tokio::test]
            async fn frames_arrive_whole_and_in_order() {
                super::frames_arrive_whole_and_in_order($make).await;
            }
            #[tokio::test]
            async fn a_burst_needs_one_wake_up_only_to_be_read_whole() {
                super::a_burst_needs_one_wake_up_only_to_be_read_whole($make).await;
            }
            #[tokio::test]
            async fn the_origin_of_a_frame_is_told() {
                super::the_origin_of_a_frame_is_told($make, $origin).await;
            }
            #[tokio::test]
            async fn a_forgotten_peer_is_heard_no_more() {
                super::a_forgotten_peer_is_heard_no_more($make).await;
            }
            #[tokio::test]
            async fn peers_are_told_apart() {
                super::peers_are_told_apart($make).await;
            }
            #[tokio::test]
            async fn a_peer_that_goes_is_noticed_after_its_last_frame() {
                super::a_peer_that_goes_is_noticed_after_its_last_frame($make).await;
            }
            #[tokio::test]
            async fn a_listener_that_goes_is_noticed() {
                super::a_listener_that_goes_is_noticed($make).await;
            }
        }
    )+};
}

conform! {
    over_memory: Memory::default(), Origin::Memory;
    over_ipc: Zmq::ipc(), Origin::Ipc;
    over_tcp: Zmq::tcp(), Origin::Tcp;
}

#[tokio::test]
async fn a_link_to_nobody_closes() {
    let mut link = zmq::connect("ipc:///nonexistent/socket").expect("an endpoint");
    let closed = tokio::task::spawn_blocking(move || link.recv(Instant::now() + PATIENCE));
    assert!(matches!(closed.await.expect("no panic"), Err(Closed)));
}
