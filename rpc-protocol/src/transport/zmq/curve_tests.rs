//! Who is not let in is not heard, and disturbs nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::link::{DISAGREED, DISAGREED_KEYLESS, NOT_LET_IN};
use super::*;
use crate::keys::SecretKey;
use crate::transport::conformance::{
    ALICE, PATIENCE, SERVER, client_keys, curve_is_there, frame, next_frame, server_keys,
};
use crate::transport::{ClientKeys, Closed, Incoming, Link, Listener, ServerKeys};

const LOOPBACK: &str = "tcp://127.0.0.1:0";

fn listen(keys: ServerKeys) -> (ZmqListener, String) {
    let listener = ZmqListener::bind_with(&[LOOPBACK.into()], Some(keys)).expect("bound");
    let endpoint = listener.endpoints()[0].clone();
    (listener, endpoint)
}

/// Serves `listener` until `link` is closed; gives what was heard, and why it is closed.
async fn until_closed(
    listener: &mut ZmqListener,
    mut link: ZmqLink,
) -> (Vec<Incoming>, Option<&'static str>) {
    let mut heard = Vec::new();
    let mut closed = tokio::task::spawn_blocking(move || {
        let answer = link.recv(Instant::now() + PATIENCE);
        assert!(matches!(answer, Err(Closed)), "{answer:?}");
        link.refusal()
    });
    loop {
        heard.extend(std::iter::from_fn(|| listener.try_recv()));
        tokio::select! {
            ready = listener.readable() => ready.expect("a listener"),
            refusal = &mut closed => return (heard, refusal.expect("no panic")),
        }
    }
}

/// Neither an unknown key, nor none, nor a belief in another front end.
#[tokio::test]
async fn who_is_not_let_in_is_not_heard_and_disturbs_nobody() {
    if !curve_is_there() {
        return;
    }
    let (mut listener, endpoint) = listen(server_keys());
    let mut alice = connect_with(&endpoint, Some(&client_keys(ALICE))).expect("an endpoint");
    alice.send(&frame(1, &[])).expect("open");
    let (peer, _) = next_frame(&mut listener).await;
    assert_eq!(listener.user(peer), Some("alice"));

    let elsewhere = SecretKey::new([9; 32]).public();
    let of_another_server = ClientKeys {
        server: elsewhere,
        ..client_keys(ALICE)
    };
    for (keys, told) in [
        (Some(client_keys([3; 32])), Some(NOT_LET_IN)),
        (None, Some(DISAGREED_KEYLESS)),
        (Some(of_another_server), Some(DISAGREED)),
    ] {
        let mut link = connect_with(&endpoint, keys.as_ref()).expect("an endpoint");
        // It may wait in the socket, but goes nowhere.
        link.send(&frame(7, &[100])).expect("open");
        let (heard, refusal) = until_closed(&mut listener, link).await;
        assert!(heard.is_empty(), "{keys:?}: {heard:?}");
        assert_eq!(refusal, told, "{keys:?}");

        alice.send(&frame(2, &[3])).expect("open");
        let (from, found) = next_frame(&mut listener).await;
        assert_eq!(from, peer);
        listener.send(peer, &found).expect("open");
        let echoed = alice.recv(Instant::now() + PATIENCE).expect("open");
        assert_eq!(echoed.expect("a frame").payloads, found.payloads);
    }
}

/// Bytes that never become a handshake.
#[tokio::test]
async fn garbage_on_a_port_with_keys_disturbs_nobody() {
    if !curve_is_there() {
        return;
    }
    let (mut listener, endpoint) = listen(server_keys());
    let address = endpoint.strip_prefix("tcp://").expect("tcp");
    for round in 0..20_u8 {
        let mut socket = std::net::TcpStream::connect(address).expect("listening");
        let garbage = vec![round.wrapping_mul(37); 4096];
        // The listener may have hung up already.
        drop(std::io::Write::write_all(&mut socket, &garbage));
    }
    let mut alice = connect_with(&endpoint, Some(&client_keys(ALICE))).expect("an endpoint");
    alice.send(&frame(1, &[])).expect("open");
    next_frame(&mut listener).await;
}

/// The name is that of the moment of the handshake; each connection is asked about anew.
#[tokio::test]
async fn a_key_that_is_let_in_later_needs_no_restart() {
    if !curve_is_there() {
        return;
    }
    let is_known = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (known, asking) = (is_known.clone(), asked.clone());
    let (mut listener, endpoint) = listen(ServerKeys {
        secret: SecretKey::new(SERVER),
        authenticate: Box::new(move |key, _| {
            asking.lock().expect("no panic").push(*key);
            known.load(Ordering::SeqCst).then(|| "late".to_owned())
        }),
    });
    let keys = client_keys(ALICE);
    let link = connect_with(&endpoint, Some(&keys)).expect("an endpoint");
    assert!(until_closed(&mut listener, link).await.0.is_empty());
    is_known.store(true, Ordering::SeqCst);
    let mut link = connect_with(&endpoint, Some(&keys)).expect("an endpoint");
    link.send(&frame(1, &[])).expect("open");
    let (peer, _) = next_frame(&mut listener).await;
    assert_eq!(listener.user(peer), Some("late"));
    let alice = keys.secret.public();
    assert_eq!(*asked.lock().expect("no panic"), [alice, alice]);
}

/// The two sockets share descriptors and wake-ups, not peers.
#[tokio::test]
async fn ipc_and_tcp_with_keys_are_served_side_by_side() {
    if !curve_is_there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let ipc = format!("ipc://{}/s", folder.path().display());
    let mut listener =
        ZmqListener::bind_with(&[ipc, LOOPBACK.into()], Some(server_keys())).expect("bound");
    let endpoints = listener.endpoints().to_vec();
    let keys = client_keys(ALICE);
    for round in 0..10 {
        let mut links: Vec<_> = endpoints
            .iter()
            .map(|endpoint| connect_with(endpoint, Some(&keys)).expect("an endpoint"))
            .collect();
        let mut users = Vec::new();
        for link in &mut links {
            link.send(&frame(round, &[])).expect("open");
            let (peer, found) = next_frame(&mut listener).await;
            users.push(listener.user(peer).map(str::to_owned));
            listener.send(peer, &found).expect("open");
            let echoed = link.recv(Instant::now() + PATIENCE).expect("open");
            assert_eq!(echoed.expect("a frame").header, found.header);
        }
        assert_eq!(users, [None, Some("alice".to_owned())]);
        drop(links);
        for _ in 0..2 {
            match crate::transport::conformance::next(&mut listener).await {
                Incoming::Closed { .. } => {}
                Incoming::Frame { frame, .. } => panic!("a frame from nobody: {frame:?}"),
            }
        }
    }
}

#[tokio::test]
async fn keys_are_refused_where_libzmq_has_no_curve() {
    if has_curve() {
        return;
    }
    let listener = ZmqListener::bind_with(&[LOOPBACK.into()], Some(server_keys()));
    assert!(matches!(listener, Err(TransportError::NoCurve)));
    let link = connect_with("tcp://127.0.0.1:1", Some(&client_keys(ALICE)));
    assert!(matches!(link, Err(TransportError::NoCurve)));
    let long = Duration::ZERO;
    let over_ipc = connect_with("ipc:///nonexistent/s", Some(&client_keys(ALICE)));
    let _ = over_ipc
        .expect("keys are for tcp")
        .recv(Instant::now() + long);
}
