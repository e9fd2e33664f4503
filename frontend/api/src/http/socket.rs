//! The socket of a connection: what it tells the clock, TLS over it, and which HTTP it carries.
//!
//! Whether a client speaks HTTP/2 is told by the first 24 bytes (its *preface*), or by TLS (ALPN).
//! They are read once, into a buffer of that size, and given to hyper again.
//!
//! # Cost
//! One more read a connection, of 24 bytes. Of a request, a look at its head.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::clock::{Activity, Phase};
use super::head::Head;
use super::tls::{HTTP_2, Tls};

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A socket that tells what moves, and that ends without resetting its client.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    activity: Arc<Activity>,
    /// Whether our side is closed.
    shut: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Socket {
            stream,
            activity,
            shut: false,
        }
    }

    /// Drops what the client still sends, until it ends or, when closing, until nothing is there.
    fn poll_linger(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        /// Reads a turn; the deadline of the phase ends the turns.
        const READS_MAX: usize = 16;
        let mut dropped = [0; 16 << 10];
        for _ in 0..READS_MAX {
            if !self.activity.is_closing() {
                ready!(self.stream.poll_read_ready(cx))?;
            }
            match self.stream.try_read(&mut dropped) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Ok(()));
                }
                Err(_) if self.activity.is_closing() => return Poll::Ready(Ok(())),
                Err(_) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if outcome.is_ready() {
            self.activity.read(buf.filled().len() - before);
        }
        outcome
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.activity.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.activity.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.shut = true;
            self.activity.enter(Phase::Linger);
        }
        self.poll_linger(cx)
    }
}

/// A socket, with TLS or without, whose first bytes are read twice.
#[derive(Debug)]
pub(super) struct Transport {
    layer: Layer,
    preface: [u8; PREFACE.len()],
    /// Bytes of `preface` that are read, and those of them that hyper has.
    read: usize,
    replayed: usize,
    activity: Arc<Activity>,
    /// Of HTTP/1, and of which request.
    head: Head,
    request: usize,
}

#[derive(Debug)]
enum Layer {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Transport {
    /// Opens a connection: the handshake of TLS if there is one, and the first bytes. `None` if
    /// the client leaves meanwhile.
    pub(super) async fn open(socket: Socket, tls: Option<&Tls>) -> Option<(Transport, Protocol)> {
        let activity = Arc::clone(&socket.activity);
        let (layer, agreed) = match tls {
            None => (Layer::Plain(socket), None),
            Some(tls) => {
                // Boxed, so that connections without TLS do not pay for its size.
                let stream = Box::pin(tls.accept(socket)).await?;
                activity.enter(Phase::Silent);
                let alpn = stream.get_ref().1.alpn_protocol();
                let agreed = alpn.map(|name| match name == HTTP_2 {
                    true => Protocol::Http2,
                    false => Protocol::Http1,
                });
                (Layer::Tls(Box::new(stream)), agreed)
            }
        };
        let mut transport = Transport {
            layer,
            preface: [0; PREFACE.len()],
            read: 0,
            replayed: 0,
            activity,
            head: Head::default(),
            request: 0,
        };
        let seen = transport.read_preface().await?;
        Some((transport, agreed.unwrap_or(seen)))
    }

    /// Reads until it is clear what the client speaks; `None` if it says nothing and ends.
    async fn read_preface(&mut self) -> Option<Protocol> {
        loop {
            let mut room = ReadBuf::new(&mut self.preface[self.read..]);
            let layer = &mut self.layer;
            let outcome = std::future::poll_fn(|cx| layer.poll_read(cx, &mut room)).await;
            let bytes = room.filled().len();
            self.read += bytes;
            let seen = &self.preface[..self.read];
            if outcome.is_err() || seen.is_empty() {
                return None;
            }
            if bytes == 0 || *seen != PREFACE[..self.read] {
                return Some(Protocol::Http1);
            }
            if self.read == PREFACE.len() {
                return Some(Protocol::Http2);
            }
        }
    }
}

impl Transport {
    /// Tells what the head of a request says that hyper does not.
    fn see_head(&mut self, bytes: &[u8]) {
        let Some(request) = self.activity.head() else {
            return;
        };
        if std::mem::replace(&mut self.request, request) != request {
            self.head = Head::default();
        }
        self.head.see(bytes);
        if self.head.has_length() {
            self.activity.name_length();
        }
    }
}

impl Layer {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Layer::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Layer::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let outcome = if this.replayed == this.read {
            this.layer.poll_read(cx, buf)
        } else {
            let left = &this.preface[this.replayed..this.read];
            let bytes = left.len().min(buf.remaining());
            buf.put_slice(&left[..bytes]);
            this.replayed += bytes;
            Poll::Ready(Ok(()))
        };
        this.see_head(&buf.filled()[before..]);
        outcome
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Layer::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Layer::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.layer {
            Layer::Plain(socket) => socket.is_write_vectored(),
            Layer::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
