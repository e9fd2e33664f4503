//! ZeroMQ as it is: `ROUTER` in front, `DEALER` as the peer, on plain blocking threads.
//!
//! One frame each way besides the routing id. Payloads above [`COPY_BYTES_MAX`] are lent to
//! libzmq (`zmq_msg_init_data`, by [`zmq::Message`]'s conversion from a vector); what is
//! received is added up where libzmq put it.

use std::collections::VecDeque;
use std::future::{Future, ready};

use anyhow::{Context, Result, ensure};
use skysail_rpc::transport::zmq::COPY_BYTES_MAX;
use zmq::{Message, SNDMORE, Socket};

use crate::harness::{Answer, Exchange, OnThread, PATIENCE, Path, interrupted};
use crate::payload::{ANSWER_BYTES, Source, sum};
use crate::peer::{Peer, end_with_input};
use crate::probe::Cores;

/// A front socket bound to `endpoint`, and a peer that is connected to it.
///
/// # Errors
/// If it cannot be bound, or the peer does not come.
pub(crate) fn open(cores: Cores, endpoint: &str) -> Result<Box<dyn Path>> {
    let context = zmq::Context::new();
    let socket = socket(&context, zmq::ROUTER)?;
    socket.set_router_mandatory(true)?;
    socket.set_rcvtimeo(i32::try_from(PATIENCE.as_millis())?)?;
    let bound = socket.bind(endpoint);
    bound.with_context(|| format!("cannot bind {endpoint}"))?;
    let endpoint = socket.get_last_endpoint()?.unwrap_or_default();
    let peer = Peer::start(cores, &["zmq", &endpoint], &[])?;
    let routing_id = socket.recv_bytes(0).context("the peer does not come")?;
    socket.recv_bytes(0).context("the peer does not come")?;
    Ok(Box::new(OnThread(Router {
        _peer: peer,
        socket,
        routing_id,
        pending: VecDeque::new(),
        received: Message::new(),
    })))
}

fn socket(context: &zmq::Context, kind: zmq::SocketType) -> Result<Socket> {
    let socket = context.socket(kind)?;
    socket.set_linger(0)?;
    Ok(socket)
}

struct Router {
    _peer: Peer,
    socket: Socket,
    routing_id: Vec<u8>,
    /// Tickets of requests without an answer, in the order in which answers come.
    pending: VecDeque<u64>,
    received: Message,
}

impl Router {
    fn receive(&mut self) -> Result<Answer> {
        // The routing id, then the answer.
        for _ in 0..2 {
            let received = self.socket.recv(&mut self.received, 0);
            ensure!(!interrupted(), "interrupted");
            received.context("the peer does not answer")?;
        }
        let sum = self.received.first_chunk().copied();
        Ok(Answer {
            ticket: self.pending.pop_front().context("an answer too many")?,
            sum: Some(f32::from_le_bytes(sum.context("an empty answer")?)),
        })
    }
}

impl Exchange for Router {
    fn send(&mut self, source: &Source, ticket: u64) -> Result<()> {
        self.socket.send(&self.routing_id[..], SNDMORE)?;
        if source.len() <= COPY_BYTES_MAX {
            let mut message = Message::with_size(source.len());
            source.write(&mut message, ticket);
            self.socket.send(message, 0)?;
        } else {
            self.socket.send(Message::from(source.to_vec(ticket)), 0)?;
        }
        self.pending.push_back(ticket);
        Ok(())
    }

    fn recv(&mut self) -> impl Future<Output = Result<Answer>> + Send {
        ready(self.receive())
    }
}

/// The peer: adds up each payload.
///
/// # Errors
/// If it cannot connect.
pub(crate) fn serve(endpoint: &str) -> Result<()> {
    end_with_input();
    let context = zmq::Context::new();
    let socket = socket(&context, zmq::DEALER)?;
    let connected = socket.connect(endpoint);
    connected.with_context(|| format!("cannot connect to {endpoint}"))?;
    socket.send("hello", 0)?;
    let mut request = Message::new();
    let mut answer = [0; ANSWER_BYTES];
    loop {
        socket.recv(&mut request, 0)?;
        answer[..4].copy_from_slice(&sum(&request).to_le_bytes());
        socket.send(&answer[..], 0)?;
    }
}
