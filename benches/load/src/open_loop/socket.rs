//! A connection of the loop: it never blocks, and carries one request at a time.
//!
//! ```text
//!            ┌──────────────── answered, to be used again ◀─┐
//! closed ─▶ opening ─▶ (sent) ─▶ busy ─────────────────────┤
//!    ▲          └─ failed           └─ answered, failed ─▶ closed
//!    └───────── idle, and the server closed it
//! ```
//!
//! # Invariants
//! - A request is sent on a connection that carried nothing else since its last answer.
//! - An answer that is there before the request was sent whole is an answer; the connection is then
//!   its last.
//!
//! # Cost
//! An exchange: one `writev`, one `recv`. The end of what has arrived is told by a read that is
//! short, not by one that fails.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};

use super::poller::Poller;
use crate::answer::{Fault, Reader};
use crate::outcome::Outcome;

/// The other end sends no more.
pub(super) const OVER: EventFlags = EventFlags::RDHUP
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);

/// A slot for a connection.
#[derive(Debug)]
pub(super) struct Socket {
    state: State,
    reader: Reader,
    outgoing: Outgoing,
}

#[derive(Debug)]
enum State {
    Closed,
    Opening(TcpStream),
    Idle(TcpStream),
    Busy(TcpStream),
}

/// What is left of a request to be sent.
#[derive(Debug, Default)]
struct Outgoing {
    head: Vec<u8>,
    body: Bytes,
    sent_bytes: usize,
}

/// What came of an event or a send.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing yet.
    Nothing,
    /// It is open: the request can be sent.
    Opened,
    /// It cannot be opened.
    NotOpened,
    /// The request has come to this; the connection is idle or closed.
    Done(Outcome),
}

impl Socket {
    /// A slot without a connection; `is_head` if its requests are.
    pub(super) fn closed(is_head: bool) -> Self {
        Self {
            state: State::Closed,
            reader: Reader::new(is_head),
            outgoing: Outgoing::default(),
        }
    }

    /// Opens it and waits until that is done.
    pub(super) fn open_now(
        &mut self,
        address: SocketAddr,
        timeout: Duration,
        poller: &Poller,
        index: usize,
    ) -> io::Result<()> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        poller.add(&stream, index)?;
        self.state = State::Idle(stream);
        Ok(())
    }

    /// Begins to open it; an event says when it is open.
    pub(super) fn open(
        &mut self,
        address: SocketAddr,
        poller: &Poller,
        index: usize,
    ) -> io::Result<()> {
        self.close();
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        poller.add(&stream, index)?;
        self.state = State::Opening(stream);
        Ok(())
    }

    /// Whether a request can be sent at once.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle(_))
    }

    /// Gives the connection up: what is still on the wire belongs to no one.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.outgoing = Outgoing::default();
        self.reader.next();
    }

    /// Gives up what it is at: it took too long.
    pub(super) fn give_up(&mut self) -> Step {
        let is_opening = matches!(self.state, State::Opening(_));
        self.close();
        match is_opening {
            true => Step::NotOpened,
            false => Step::Done(Outcome::failed("timeout")),
        }
    }

    /// Sends a request, or as much of it as there is room for.
    ///
    /// # Panics
    /// If it is not idle.
    pub(super) fn send(&mut self, head: &[u8], body: Bytes, scratch: &mut [u8]) -> Step {
        let State::Idle(stream) = std::mem::replace(&mut self.state, State::Closed) else {
            panic!("a request is sent on an idle connection");
        };
        self.state = State::Busy(stream);
        self.reader.next();
        self.outgoing.begin(head, body);
        self.flush(scratch)
    }

    /// Takes an event.
    pub(super) fn on_event(&mut self, flags: EventFlags, scratch: &mut [u8]) -> Step {
        let is_over = flags.intersects(OVER);
        let is_readable = is_over || flags.contains(EventFlags::IN);
        match &self.state {
            State::Closed => Step::Nothing,
            State::Opening(stream) => {
                let result = sockopt::socket_error(stream);
                self.on_opened(flags, matches!(result, Ok(Ok(()))))
            }
            State::Idle(stream) => {
                if is_readable && !is_silent(stream) {
                    self.close();
                }
                Step::Nothing
            }
            State::Busy(_) => {
                if flags.contains(EventFlags::OUT) && !self.outgoing.is_sent() {
                    let step = self.flush(scratch);
                    if !matches!(step, Step::Nothing) {
                        return step;
                    }
                }
                match is_readable {
                    true => self.receive(is_over, scratch),
                    false => Step::Nothing,
                }
            }
        }
    }

    fn on_opened(&mut self, flags: EventFlags, is_well: bool) -> Step {
        let stream = match std::mem::replace(&mut self.state, State::Closed) {
            State::Opening(stream) if is_well => stream,
            _ => return Step::NotOpened,
        };
        if flags.contains(EventFlags::OUT) {
            self.state = State::Idle(stream);
            return Step::Opened;
        }
        self.state = State::Opening(stream);
        Step::Nothing
    }

    fn flush(&mut self, scratch: &mut [u8]) -> Step {
        let State::Busy(stream) = &mut self.state else {
            return Step::Nothing;
        };
        match self.outgoing.write(stream) {
            Ok(()) => Step::Nothing,
            // A server may answer and close before it has read all.
            Err(_) => match self.receive(true, scratch) {
                Step::Nothing => self.done(failed(Fault::Ended), false),
                step => step,
            },
        }
    }

    /// Reads what has arrived; `is_over` if no more will.
    fn receive(&mut self, is_over: bool, scratch: &mut [u8]) -> Step {
        let State::Busy(stream) = &mut self.state else {
            return Step::Nothing;
        };
        let (outcome, keeps) = loop {
            match stream.read(scratch) {
                Ok(0) => {
                    break match self.reader.end() {
                        Ok(answer) => (Outcome::answered(answer.status, answer.body), false),
                        Err(fault) => (failed(fault), false),
                    };
                }
                Ok(bytes) => match self.reader.read(&scratch[..bytes]) {
                    Ok(None) if bytes == scratch.len() || is_over => {}
                    Ok(None) => return Step::Nothing,
                    Ok(Some(answer)) => {
                        let is_last = is_over || bytes == scratch.len();
                        let outcome = Outcome::answered(answer.status, answer.body);
                        break (outcome, answer.keeps_connection && !is_last);
                    }
                    Err(fault) => break (failed(fault), false),
                },
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Nothing,
                Err(_) => break (failed(Fault::Ended), false),
            }
        };
        self.done(outcome, keeps)
    }

    fn done(&mut self, outcome: Outcome, keeps: bool) -> Step {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Busy(stream) if keeps && self.outgoing.is_sent() => {
                self.state = State::Idle(stream);
            }
            _ => self.close(),
        }
        Step::Done(outcome)
    }
}

impl Outgoing {
    fn begin(&mut self, head: &[u8], body: Bytes) {
        self.head.clear();
        self.head.extend_from_slice(head);
        self.body = body;
        self.sent_bytes = 0;
    }

    fn is_sent(&self) -> bool {
        self.sent_bytes == self.head.len() + self.body.len()
    }

    /// Writes what there is room for.
    fn write(&mut self, mut to: &TcpStream) -> io::Result<()> {
        while !self.is_sent() {
            let head = self.head.get(self.sent_bytes..).unwrap_or_default();
            let body = &self.body[self.sent_bytes.saturating_sub(self.head.len())..];
            match to.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]) {
                Ok(bytes) => self.sent_bytes += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.body = Bytes::new();
        self.head.clear();
        self.sent_bytes = 0;
        Ok(())
    }
}

fn failed(fault: Fault) -> Outcome {
    Outcome::failed(match fault {
        Fault::Malformed | Fault::Ended => "connection",
        Fault::TooLong => "too_long",
    })
}

/// Whether nothing came on an idle connection, not even its end.
fn is_silent(mut stream: &TcpStream) -> bool {
    let read = stream.read(&mut [0]);
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    /// Takes events until one has these flags.
    fn take_events_to(flags: EventFlags, socket: &mut Socket, poller: &mut Poller) {
        let mut ready = Vec::new();
        loop {
            poller.wait(Duration::ZERO, LONG, &mut ready).unwrap();
            for one in &ready {
                let step = socket.on_event(one.flags, &mut [0; 100]);
                assert!(matches!(step, Step::Nothing), "{step:?}");
                if one.flags.contains(flags) {
                    return;
                }
            }
        }
    }

    #[test]
    fn an_idle_connection_that_ends_or_says_something_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (mut poller, _caller) = Poller::new().unwrap();
        let mut socket = Socket::closed(false);
        socket.open_now(address, LONG, &poller, 0).unwrap();
        let (far, _) = listener.accept().unwrap();
        take_events_to(EventFlags::OUT, &mut socket, &mut poller);
        assert!(socket.is_idle());
        drop(far);
        take_events_to(EventFlags::RDHUP, &mut socket, &mut poller);
        assert!(!socket.is_idle());

        socket.open_now(address, LONG, &poller, 0).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(b"HTTP/1.1 408 Too Slow\r\n\r\n").unwrap();
        take_events_to(EventFlags::IN, &mut socket, &mut poller);
        assert!(!socket.is_idle());
    }
}
