//! ZeroMQ over ipc and tcp: a `ROUTER` at the front end, a `DEALER` in each container.
//!
//! Only these files name the `zmq` crate. A [`ZmqListener`] is driven by the tokio
//! runtime of the task that owns it, through `AsyncFd` on the sockets' `ZMQ_FD`; a [`ZmqLink`]
//! polls the same descriptors on its thread; no other thread but libzmq's own and no polling
//! interval. That descriptor is edge-triggered and says only "look again", so the rules are:
//! receive until empty before waiting; clear readiness first, then look; and look again after
//! every send, which may swallow an edge. Each look costs a system call. So sockets that were
//! found empty and not touched since are not looked at again before their descriptor says so.
//!
//! A vanished peer is known at once: the socket monitor reports the descriptor that was
//! disconnected, and each frame carries the descriptor it came by (`__fd`). A peer whose
//! descriptor was reported is told of as closed only after the frames it had sent.
//!
//! Descriptors are reused, and the monitor's events come by another way than frames. So the
//! monitor is drained once more when a peer's first frame was received: what was told of its
//! descriptor's earlier holders is then behind us, and must not be held against it. Its own end
//! may be behind us too, which is why descriptors that ended with nobody known are kept until
//! they are accepted again.
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
//! The crate offers no send of shared bytes, so `zmq_msg_init_data` is called directly; no safe
//! code watches a descriptor that libzmq owns, nor sets malloc's thresholds.

#![allow(
    unsafe_code,
    reason = "zmq_msg_init_data, descriptors of sockets and mallopt; see the module's documentation"
)]

#[cfg(test)]
mod curve_tests;
mod frames;
mod link;
mod listener;
mod zap;

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use super::TransportError;
use crate::limits::{HEADER_BYTES_MAX, HEARTBEAT, MESSAGE_BYTES_MAX, SILENCE};

pub use frames::COPY_BYTES_MAX;
pub use link::{ZmqLink, connect, connect_with};
pub use listener::ZmqListener;

/// Bytes of an ipc path, by `sockaddr_un`.
pub const IPC_PATH_BYTES_MAX: usize = 107;
/// Messages waiting in one direction of one connection; slots keep it far below.
const HIGH_WATER: i32 = 1000;

const _: () = assert!(HEADER_BYTES_MAX < MESSAGE_BYTES_MAX);

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
}
