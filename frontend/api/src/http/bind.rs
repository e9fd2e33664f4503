//! Listeners on a port that nobody else has.
//!
//! One current-thread runtime per core wants one listener each on the same port, which
//! `SO_REUSEPORT` gives; the kernel spreads connections over them. But it gives the port to any
//! process of the same user that asks with `SO_REUSEPORT` too, so a second server would silently
//! take half of the connections. Hence the *holder*: a socket that first listens without
//! `SO_REUSEPORT`, which fails if anyone has the port, and only then allows sharing. It is closed
//! after the others listen, so at no moment is the port free for another holder.
//!
//! # Invariants
//! - Two processes that both bind through this module never share a port.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// Connections that the kernel completes ahead of `accept`; it may allow fewer
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 1024;

/// A port that cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process listens there.
    #[error(
        "address {0} is in use by another process; stop it (`ss -ltnp` shows it) or choose \
         another port, 0 for any free one"
    )]
    InUse(SocketAddr),
    /// A port that this user may not have.
    #[error("address {0} needs privileges; choose a port of 1024 or above")]
    Denied(SocketAddr),
    /// An address that this machine does not have.
    #[error("address {0} is not one of this machine; choose a local one, such as 127.0.0.1")]
    NotLocal(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {0}")]
    Other(SocketAddr, #[source] io::Error),
}

/// `listeners` listeners on one port, non-blocking, ready for `tokio::net::TcpListener::from_std`.
///
/// With port 0 all get the same free port; `local_addr` tells it. `TCP_NODELAY` is set on what
/// they accept.
///
/// # Errors
/// If the port is in use, by whomever, or cannot be had.
///
/// # Panics
/// If `listeners` is 0.
pub fn bind(address: SocketAddr, listeners: usize) -> Result<Vec<TcpListener>, BindError> {
    assert!(listeners > 0, "a port needs a listener");
    try_bind(address, listeners).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::PermissionDenied => BindError::Denied(address),
        io::ErrorKind::AddrNotAvailable => BindError::NotLocal(address),
        _ => BindError::Other(address, error),
    })
}

fn try_bind(address: SocketAddr, listeners: usize) -> io::Result<Vec<TcpListener>> {
    let holder = listening(address, false)?;
    if listeners == 1 {
        return Ok(vec![holder.into()]);
    }
    let address = holder.local_addr()?.as_socket().unwrap_or(address);
    holder.set_reuse_port(true)?;
    (0..listeners)
        .map(|_| Ok(listening(address, true)?.into()))
        .collect()
}

fn listening(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Past connections in TIME_WAIT must not keep a restarted server from its port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_tcp_nodelay(true)?; // Linux: inherited by what is accepted
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    const LOOPBACK: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn shares_a_port_with_itself_but_with_no_other() {
        for listeners in [1, 2, 4] {
            let first = bind(LOOPBACK, listeners).expect("a free port");
            let address = first[0].local_addr().expect("bound");
            assert_eq!(first.len(), listeners);
            assert!(
                first
                    .iter()
                    .all(|l| l.local_addr().expect("bound") == address)
            );
            for second in [1, 2] {
                let error = bind(address, second).expect_err("taken");
                assert!(matches!(error, BindError::InUse(_)), "{error}");
                assert!(error.to_string().contains(&address.to_string()));
            }
            drop(first);
            bind(address, listeners).expect("free again");
        }
    }

    #[test]
    fn refuses_a_port_that_a_socket_with_reuse_port_has() {
        let other = listening(LOOPBACK, true).expect("a free port");
        let address = other
            .local_addr()
            .expect("bound")
            .as_socket()
            .expect("IPv4");
        assert!(matches!(bind(address, 2), Err(BindError::InUse(_))));
    }

    #[test]
    fn every_connection_reaches_one_of_the_listeners() {
        let listeners = bind(LOOPBACK, 3).expect("a free port");
        let address = listeners[0].local_addr().expect("bound");
        let clients: Vec<_> = (0..60)
            .map(|_| TcpStream::connect(address).expect("accepted"))
            .collect();
        let mut accepted = 0;
        for listener in &listeners {
            while let Ok((stream, _)) = listener.accept() {
                assert!(stream.nodelay().expect("an option"));
                accepted += 1;
            }
        }
        assert_eq!(accepted, clients.len());
    }

    #[test]
    fn says_what_is_wrong_with_an_address() {
        let foreign = "192.0.2.1:0".parse().expect("an address");
        assert!(matches!(bind(foreign, 1), Err(BindError::NotLocal(_))));
    }
}
