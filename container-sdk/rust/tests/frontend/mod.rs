//! A front end of one container at a time, for tests: `FrontendSession` over memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skysail_container::ColumnBuilder;
use skysail_rpc::message::{BatchId, Encoder, Hello, Message, Reject, Tensors};
use skysail_rpc::session::{BatchResult, FrontendEvent, FrontendSession, Timing};
use skysail_rpc::transport::memory::{self, MemoryConnector, MemoryListener};
use skysail_rpc::transport::{Incoming, Listener, PeerId};

/// Longer than any machine is slow.
const LONG: Duration = Duration::from_secs(600);

/// The front end's side of a test.
pub(crate) struct Frontend {
    listener: MemoryListener,
    session: FrontendSession,
    hello: Option<Hello>,
    peer: Option<PeerId>,
    replies: BTreeMap<BatchId, BatchResult>,
    runtime: tokio::runtime::Runtime,
}

impl Frontend {
    pub(crate) fn new() -> (Self, MemoryConnector) {
        let (listener, connector) = memory::listen();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let (hello, peer, replies) = (None, None, BTreeMap::new());
        let session = session();
        (
            Frontend {
                listener,
                session,
                hello,
                peer,
                replies,
                runtime,
            },
            connector,
        )
    }

    /// Accepts the next container that says hello.
    pub(crate) fn welcome(&mut self) {
        let hello = self.next_hello();
        let schema = Arc::new(hello.schema.clone());
        let welcome = self.session.accept(Instant::now(), &hello, schema, 7, None);
        self.hello = Some(hello);
        self.say(&welcome);
    }

    /// Refuses the next container that says hello.
    pub(crate) fn reject(&mut self, reject: &Reject) {
        self.next_hello();
        self.say(&Message::Reject(reject.clone()));
    }

    /// Sends a batch of texts; several may be on their way.
    pub(crate) fn predict(&mut self, texts: &[&str]) -> BatchId {
        self.predict_within(texts, LONG)
    }

    pub(crate) fn predict_within(&mut self, texts: &[&str], remaining: Duration) -> BatchId {
        let hello = self.hello.as_ref().expect("welcomed");
        let mut builder = ColumnBuilder::new(&hello.schema.inputs[0], texts.len());
        texts.iter().for_each(|text| builder.push(&(*text).into()));
        let (column, rows) = (builder.finish(), texts.len() as u32);
        let (batch, message) = self.session.predict(
            Instant::now(),
            rows,
            remaining,
            Tensors::Columns([column].into()),
        );
        self.say(&message);
        batch
    }

    /// What became of a batch.
    pub(crate) fn reply_to(&mut self, batch: BatchId) -> BatchResult {
        loop {
            if let Some(result) = self.replies.remove(&batch) {
                return result;
            }
            self.take();
        }
    }

    /// Sends a batch and waits for what becomes of it.
    pub(crate) fn ask(&mut self, texts: &[&str]) -> BatchResult {
        let batch = self.predict(texts);
        self.reply_to(batch)
    }

    pub(crate) fn cancel(&mut self, batch: BatchId) {
        let message = self.session.cancel(Instant::now(), batch);
        self.say(&message);
    }

    pub(crate) fn drain(&mut self) {
        let message = self.session.drain(Instant::now(), "the front end stops");
        self.say(&message);
    }

    /// Until the container wants to leave and everything is answered.
    pub(crate) fn until_drained(&mut self) {
        while !self.session.is_drained() {
            self.take();
        }
    }

    /// Until the container has closed the connection.
    pub(crate) fn until_closed(&mut self) {
        while self.peer.is_some() {
            self.take();
        }
    }

    pub(crate) fn say(&mut self, message: &Message) {
        let peer = self.peer.expect("somebody has connected");
        let frame = Encoder::default().encode(message);
        self.listener
            .send(peer, &frame)
            .expect("the container listens");
    }

    fn next_hello(&mut self) -> Hello {
        // A container that was told to go is heard to go before the next one comes.
        self.until_closed();
        self.session = session();
        loop {
            if let Some(FrontendEvent::Hello(hello)) = self.take() {
                return *hello;
            }
        }
    }

    /// Takes one thing that the container does.
    fn take(&mut self) -> Option<FrontendEvent> {
        let incoming = loop {
            if let Some(incoming) = self.listener.try_recv() {
                break incoming;
            }
            self.runtime
                .block_on(self.listener.readable())
                .expect("memory does not fail");
        };
        match incoming {
            Incoming::Closed { .. } => {
                self.peer = None;
                None
            }
            Incoming::Frame { peer, frame, .. } => {
                self.peer = Some(peer);
                let message = Message::decode(&frame).expect("a message");
                let event = self.session.on_message(Instant::now(), message);
                match event.expect("the container follows the protocol") {
                    FrontendEvent::Reply { batch, result, .. } => {
                        self.replies.insert(batch, result);
                        None
                    }
                    event => Some(event),
                }
            }
        }
    }
}

fn session() -> FrontendSession {
    let timing = Timing {
        heartbeat: LONG,
        silence: LONG,
        handshake: LONG,
        stuck: LONG,
    };
    FrontendSession::new(Instant::now(), timing)
}
