//! Both ends of a channel over a real socket, in one process.

#![allow(
    clippy::needless_pass_by_value,
    reason = "a behaviour takes its batch, whether it keeps it or not"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use skysail_memory::rows::RowRanges;

use super::*;
use crate::message::{
    BatchId, Hello, Message, Offer, Outcome, Predict, Reply, RowError, Tensors, Welcome,
};
use crate::payload::Payload;
use crate::tensor::{Cell, Column, ColumnBuilder, Columns, Rows, Schema, TensorSpec};
use crate::transport::{PeerId, zmq};

const PATIENCE: Duration = Duration::from_secs(20);
const MAX_BATCH: u32 = 16;

fn schema(input: &str, output: &str) -> Arc<Schema> {
    let spec = |name, text| TensorSpec::parse(name, text).expect("valid");
    Arc::new(Schema {
        inputs: vec![spec("x", input)],
        outputs: vec![spec("y", output)],
    })
}

/// What the container under test does with a batch.
type Behaviour = fn(Predict, &mut Room) -> Reply;

/// A container that is welcomed, serves by `behave` and ends when the front end goes.
fn container(
    endpoint: String,
    directory: Option<PathBuf>,
    schema: Arc<Schema>,
    behave: Behaviour,
) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut link = zmq::connect(&endpoint).expect("an endpoint");
        let mut channel = ContainerChannel::new(&mut link, directory.as_deref(), Duration::ZERO);
        let hello = hello(&schema, channel.host());
        channel.send(hello.into(), None).expect("open");
        let mut told = String::new();
        loop {
            let received = match channel.recv(Instant::now(), Instant::now() + PATIENCE) {
                Ok(received) => received.expect("something comes"),
                Err(RecvError::Closed(_)) => return told,
                Err(error) => return error.to_string(),
            };
            match received {
                (Message::Welcome(Welcome { offer, .. }), _) => {
                    let Some(offer) = offer else { continue };
                    let path = channel.accept(&offer, &schema);
                    if let Message::Path { detail, .. } = &path {
                        told = detail.clone();
                    }
                    channel.send(path, None).expect("open");
                }
                (Message::Predict(predict), Some(mut room)) => {
                    let reply = behave(predict, &mut room);
                    channel
                        .send(Message::Reply(reply), Some(room))
                        .expect("open");
                }
                (Message::Predict(predict), None) => {
                    let mut slots = skysail_memory::region::Region::create(
                        "heap",
                        skysail_memory::region::Layout {
                            words: 8,
                            bulk_bytes: 1 << 16,
                        },
                        skysail_memory::region::Peer::Writes,
                    )
                    .expect("memory")
                    .into_bulk()
                    .slots(1, 1 << 16);
                    let mut room = slots.take(0).expect("free");
                    let reply = behave(predict, &mut room);
                    channel.send(Message::Reply(reply), None).expect("open");
                }
                (Message::Drain { .. }, _) => return told,
                (other, _) => panic!("a {}", other.name()),
            }
        }
    })
}

fn hello(schema: &Schema, host: &str) -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        sdk: "test/1".into(),
        model: "m".into(),
        version: "1".into(),
        schema: schema.clone(),
        max_batch: MAX_BATCH,
        slots: 2,
        token: vec![],
        pid: 0,
        host: host.to_owned(),
        spin: Duration::ZERO,
    }
}

fn columns(predict: &Predict, schema: &Schema) -> Columns {
    match predict.tensors.clone() {
        Tensors::Columns(columns) => columns,
        other => crate::tensor::columns_from_parts(
            &schema.inputs,
            predict.rows as usize,
            &other.into_parts(),
        )
        .expect("the schema's"),
    }
}

fn reply(predict: &Predict, columns: Columns, row_errors: Vec<RowError>) -> Reply {
    Reply {
        batch: predict.batch,
        outcome: Outcome::Ok,
        rows: predict.rows,
        tensors: Tensors::Columns(columns),
        row_errors,
        compute: Duration::from_micros(1),
    }
}

/// Doubles floats, in place.
fn double(predict: Predict, room: &mut Room) -> Reply {
    let schema = schema("f32[3]", "f32[3]");
    let inputs = columns(&predict, &schema);
    let x: &[f32] = inputs[0].as_slice().expect("floats");
    let mut y = room.carve(4 * x.len()).expect("room");
    x.iter().for_each(|x| y.push(2.0 * x));
    let column = Column::of_rows(&schema.outputs[0], predict.rows as usize, y.freeze());
    reply(&predict, [column.expect("fits")].into(), vec![])
}

/// A front end with a connected container.
struct Rig {
    channel: FrontendChannel<zmq::ZmqListener>,
    peer: PeerId,
    schema: Arc<Schema>,
    log: Option<SharedLog>,
    next: u64,
    directory: tempfile::TempDir,
    container: JoinHandle<String>,
}

impl Rig {
    /// `visible`: whether the container sees the control socket's directory.
    async fn new(schema: Arc<Schema>, visible: bool, behave: Behaviour) -> Rig {
        let directory = tempfile::tempdir().expect("a directory");
        let endpoint = format!("ipc://{}/rpc.sock", directory.path().display());
        let listener = zmq::ZmqListener::bind(std::slice::from_ref(&endpoint)).expect("bound");
        let sharing = Sharing::default();
        let log = sharing.log(&schema, 1);
        let mut channel = FrontendChannel::new(listener, sharing);
        let elsewhere = directory.path().join("elsewhere");
        let seen = if visible {
            directory.path()
        } else {
            &elsewhere
        };
        let container = container(endpoint, Some(seen.into()), schema.clone(), behave);
        let Heard::Message { peer, message, .. } = next(&mut channel).await else {
            panic!("a hello")
        };
        let Ok(Message::Hello(hello)) = message else {
            panic!("a hello, not {message:?}")
        };
        let shared = log.as_ref().map(|shared| &shared.log);
        let offer = channel
            .offer(peer, &hello, &schema, shared)
            .expect("an offer");
        let welcome = welcome(Some(offer));
        channel.send(peer, welcome).expect("open");
        Rig {
            channel,
            peer,
            schema,
            log,
            next: 1,
            directory,
            container,
        }
    }

    /// Waits for the container's word on how batches travel.
    async fn path(&mut self) -> (bool, String) {
        match next(&mut self.channel).await {
            Heard::Message {
                message: Ok(Message::Path { shared, detail }),
                ..
            } => {
                let is_used = !self.channel.rings.is_empty();
                assert_eq!(shared, is_used, "it is in use when it is told of");
                (shared, detail)
            }
            other => panic!("a path, not {other:?}"),
        }
    }

    fn row(&self, values: &[f32]) -> Payload {
        let log = &self.log.as_ref().expect("a log").log;
        let mut buf = log.claim().expect("a free row").into_bufs().swap_remove(0);
        values.iter().for_each(|value| buf.push(*value));
        buf.freeze()
    }

    fn send(&mut self, rows: u32, tensors: Tensors) -> BatchId {
        let batch = BatchId(self.next);
        self.next += 1;
        let predict = Predict {
            batch,
            rows,
            remaining: PATIENCE,
            tensors,
        };
        self.channel
            .send(self.peer, Message::Predict(predict))
            .expect("open");
        batch
    }

    fn send_rows(&mut self, rows: &[Payload]) -> BatchId {
        let log = &self.log.as_ref().expect("a log").log;
        let ranges = RowRanges::of(log, rows).expect("few ranges");
        let schema = self.schema.clone();
        self.send(rows.len() as u32, Tensors::Rows(Rows { schema, ranges }))
    }

    async fn reply(&mut self) -> Reply {
        match next(&mut self.channel).await {
            Heard::Message {
                message: Ok(Message::Reply(reply)),
                ..
            } => reply,
            other => panic!("a reply, not {other:?}"),
        }
    }

    fn outputs(&self, reply: Reply) -> Columns {
        let rows = reply.rows as usize;
        match reply.tensors {
            Tensors::Columns(columns) => columns,
            other => {
                let parts = other.into_parts();
                crate::tensor::columns_from_parts(&self.schema.outputs, rows, &parts)
                    .expect("the schema's")
            }
        }
    }

    fn rows_held(&self) -> usize {
        self.log.as_ref().map_or(0, |shared| shared.log.rows_held())
    }
}

fn welcome(offer: Option<Offer>) -> Message {
    Message::Welcome(Welcome {
        protocol: 1,
        replica: 1,
        heartbeat: Duration::from_secs(1),
        silence: Duration::from_secs(3),
        offer,
    })
}

async fn next(channel: &mut FrontendChannel<zmq::ZmqListener>) -> Heard {
    let wait = async {
        loop {
            if let Some(heard) = channel.try_recv() {
                return heard;
            }
            channel.readable().await.expect("open");
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("something comes")
}

#[tokio::test]
async fn batches_and_results_stay_where_they_are_written() {
    let mut rig = Rig::new(schema("f32[3]", "f32[3]"), true, double).await;
    assert_eq!(rig.path().await, (true, String::new()));
    for round in 0..300_u16 {
        let value = f32::from(round);
        let rows = [rig.row(&[value, 1.0, 2.0]), rig.row(&[3.0, 4.0, value])];
        let batch = rig.send_rows(&rows);
        drop(rows);
        assert_eq!(rig.rows_held(), 2, "the batch holds its rows");
        let reply = rig.reply().await;
        assert_eq!((reply.batch, reply.rows), (batch, 2));
        assert!(
            matches!(reply.tensors, Tensors::Columns(_)),
            "by shared memory"
        );
        let outputs = rig.outputs(reply);
        let expected = [2.0 * value, 2.0, 4.0, 6.0, 8.0, 2.0 * value];
        assert_eq!(outputs[0].as_slice(), Some(&expected[..]));
        assert_eq!(rig.rows_held(), 0);
    }
}

#[tokio::test]
async fn rows_of_several_ranges_arrive_in_order() {
    let mut rig = Rig::new(schema("f32[3]", "f32[3]"), true, double).await;
    rig.path().await;
    let mut rows: Vec<_> = (0..10_u8).map(|i| rig.row(&[f32::from(i); 3])).collect();
    rows.swap(0, 9);
    rows.remove(4);
    let sent = rows.len();
    rig.send_rows(&rows);
    let reply = rig.reply().await;
    let outputs = rig.outputs(reply);
    let firsts: Vec<f32> = outputs[0].as_slice::<f32>().expect("floats").to_vec();
    let expected: Vec<f32> = rows
        .iter()
        .flat_map(|row| row.as_slice::<f32>().expect("floats"))
        .map(|x| 2.0 * x)
        .collect();
    assert_eq!((firsts.len(), &firsts), (3 * sent, &expected));
}

/// Echoes texts: nothing about them has a fixed size.
fn echo(predict: Predict, _: &mut Room) -> Reply {
    let schema = schema("string", "string");
    let inputs = columns(&predict, &schema);
    let mut builder = ColumnBuilder::new(&schema.outputs[0], inputs[0].rows());
    inputs[0].cells().for_each(|cell| builder.push(&cell));
    reply(&predict, [builder.finish()].into(), vec![])
}

fn texts(texts: &[&str]) -> Tensors {
    let spec = &schema("string", "string").inputs[0];
    let mut builder = ColumnBuilder::new(spec, texts.len());
    texts
        .iter()
        .for_each(|text| builder.push(&Cell::from(*text)));
    Tensors::Columns([builder.finish()].into())
}

#[tokio::test]
async fn rows_of_their_own_size_travel_in_blocks() {
    let mut rig = Rig::new(schema("string", "string"), true, echo).await;
    assert!(rig.path().await.0 && rig.log.is_none());
    for round in 0..100 {
        let long = "x".repeat(round * 50);
        rig.send(3, texts(&["naïve", "", &long]));
        let reply = rig.reply().await;
        let outputs = rig.outputs(reply);
        let found: Vec<&[u8]> = outputs[0].strings().collect();
        assert_eq!(found, ["naïve".as_bytes(), b"", long.as_bytes()]);
    }
}

/// PROTOCOL 8
#[tokio::test]
async fn what_does_not_fit_shared_memory_goes_by_the_transport() {
    let mut rig = Rig::new(schema("string", "string"), true, echo).await;
    rig.path().await;
    let large = "y".repeat(3 << 20);
    for text in ["small", &large, "small again"] {
        rig.send(1, texts(&[text]));
        let reply = rig.reply().await;
        let outputs = rig.outputs(reply);
        assert!(outputs[0].strings().eq([text.as_bytes()]));
    }
}

/// The second row fails.
fn fail_second(predict: Predict, room: &mut Room) -> Reply {
    let reply = double(predict, room);
    let error = "no".to_owned();
    Reply {
        row_errors: vec![RowError { row: 1, error }],
        ..reply
    }
}

#[tokio::test]
async fn row_errors_travel_with_results_in_place() {
    let mut rig = Rig::new(schema("f32[3]", "f32[3]"), true, fail_second).await;
    rig.path().await;
    let rows = [rig.row(&[1.0; 3]), rig.row(&[2.0; 3])];
    rig.send_rows(&rows);
    let reply = rig.reply().await;
    assert_eq!(reply.row_errors.len(), 1);
    let outputs = rig.outputs(reply);
    assert_eq!(
        outputs[0].as_slice(),
        Some(&[2.0_f32, 2.0, 2.0, 4.0, 4.0, 4.0][..])
    );
}

fn fail(predict: Predict, _: &mut Room) -> Reply {
    Reply {
        outcome: Outcome::Failed { error: "no".into() },
        rows: 0,
        tensors: Tensors::default(),
        ..reply(&predict, Columns::new(), vec![])
    }
}

#[tokio::test]
async fn a_failed_batch_gives_its_rows_and_slot_back() {
    let mut rig = Rig::new(schema("f32[3]", "f32[3]"), true, fail).await;
    rig.path().await;
    for _ in 0..10 {
        let row = rig.row(&[1.0; 3]);
        rig.send_rows(&[row]);
        let reply = rig.reply().await;
        assert_eq!(reply.outcome, Outcome::Failed { error: "no".into() });
        assert_eq!(rig.rows_held(), 0);
    }
}

/// PROTOCOL 8.3
#[tokio::test]
async fn without_a_common_directory_the_session_stays_on_its_transport() {
    let mut rig = Rig::new(schema("f32[3]", "f32[3]"), false, double).await;
    let (shared, why) = rig.path().await;
    assert!(!shared && why.contains("control socket"), "{why}");
    let rows = [rig.row(&[1.0; 3]), rig.row(&[2.0; 3])];
    rig.send_rows(&rows);
    let reply = rig.reply().await;
    let outputs = rig.outputs(reply);
    assert_eq!(
        outputs[0].as_slice(),
        Some(&[2.0_f32, 2.0, 2.0, 4.0, 4.0, 4.0][..])
    );
}

fn never(_: Predict, _: &mut Room) -> Reply {
    panic!("the container dies with a batch in hand")
}

#[tokio::test]
async fn a_container_that_dies_is_noticed_and_its_rows_come_back() {
    let mut rig = Rig::new(schema("f32[3]", "f32[3]"), true, never).await;
    rig.path().await;
    let row = rig.row(&[1.0; 3]);
    rig.send_rows(&[row]);
    assert_eq!(rig.rows_held(), 1);
    let heard = next(&mut rig.channel).await;
    assert!(
        matches!(heard, Heard::Closed { peer } if peer == rig.peer),
        "{heard:?}"
    );
    rig.channel.forget(rig.peer);
    // Which of its sockets is heard to close first is not known; the rows come back with the
    // control socket's end.
    let hang_up = async {
        while rig.rows_held() > 0 {
            rig.channel.readable().await.expect("open");
            assert!(
                rig.channel.try_recv().is_none(),
                "nothing is heard of it any more"
            );
        }
    };
    tokio::time::timeout(PATIENCE, hang_up)
        .await
        .expect("it hangs up");
    assert!(rig.container.join().is_err());
}

/// Waits for the front end's word, then answers.
fn slow(predict: Predict, room: &mut Room) -> Reply {
    let inputs = columns(&predict, &schema("f32[3]", "f32[3]"));
    let before = inputs[0].data().as_bytes().to_vec();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        inputs[0].data().as_bytes(),
        before,
        "the rows stayed as they were"
    );
    double(predict, room)
}

/// PROTOCOL 8.7
#[tokio::test]
async fn rows_of_a_batch_that_nobody_waits_for_are_kept_until_the_container_has_done() {
    let mut rig = Rig::new(schema("f32[3]", "f32[3]"), true, slow).await;
    rig.path().await;
    let row = rig.row(&[1.0; 3]);
    rig.send_rows(&[row]);
    // The session is ended by the front end; the container computes on.
    rig.channel.forget(rig.peer);
    assert_eq!(rig.rows_held(), 1);
    let all: Vec<_> = std::iter::from_fn(|| {
        let log = &rig.log.as_ref()?.log;
        let mut buf = log.claim()?.into_bufs().swap_remove(0);
        (0..3).for_each(|_| buf.push(9.0_f32));
        Some(buf)
    })
    .collect();
    assert!(!all.is_empty());
    drop(rig.channel);
    let ended = rig
        .container
        .join()
        .expect("the rows did not change under the model");
    assert_eq!(ended, "");
}

#[tokio::test]
async fn a_nonce_is_good_once_and_others_are_hung_up_on() {
    use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
    let mut rig = Rig::new(schema("f32[3]", "f32[3]"), true, double).await;
    rig.path().await;
    let path = rig.directory.path().join("rpc.sock.shm");
    for said in [&b"skysail1"[..], &[0; 24], &setup::visit(&[1; 16]), &[]] {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None);
        let socket = socket.expect("a socket");
        let address = SocketAddrUnix::new(&path).expect("an address");
        rustix::net::connect(&socket, &address).expect("listening");
        if said.is_empty() {
            rustix::net::shutdown(&socket, rustix::net::Shutdown::Write).expect("open");
        } else {
            rustix::net::send(&socket, said, SendFlags::NOSIGNAL).expect("open");
        }
        let gone = tokio::task::spawn_blocking(move || setup::Setup::receive(&socket).is_err());
        let serve = async {
            loop {
                rig.channel.readable().await.expect("open");
                assert!(rig.channel.try_recv().is_none());
            }
        };
        tokio::select! {
            gone = gone => assert!(gone.expect("no panic"), "no memory for {said:?}"),
            () = serve => unreachable!("it serves for ever"),
        }
    }
    let row = rig.row(&[1.0; 3]);
    rig.send_rows(&[row]);
    assert_eq!(rig.reply().await.rows, 1, "the others are not disturbed");
}

/// Whether something can be received.
fn has_input(socket: &std::os::fd::OwnedFd) -> bool {
    use rustix::net::RecvFlags;
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    rustix::net::recv(socket, &mut [0_u8], flags).is_ok()
}

/// Its last word and its end are there at once, and are one edge to whoever waits.
#[tokio::test]
async fn a_container_that_dies_as_it_arrives_is_noticed() {
    use std::sync::atomic::Ordering;

    use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
    use skysail_memory::region::{Access, Region};
    use skysail_memory::ring::Words;

    let mut rig = Rig::new(schema("f32[3]", "f32[3]"), true, double).await;
    rig.path().await;
    let other = PeerId(u64::MAX);
    let log = rig.log.as_ref().map(|shared| shared.log.clone());
    let hello = hello(&rig.schema, host());
    let offer = rig
        .channel
        .offer(other, &hello, &rig.schema, log.as_ref())
        .expect("an offer");
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a socket");
    let path = rig.directory.path().join("rpc.sock.shm");
    let address = SocketAddrUnix::new(&path).expect("an address");
    rustix::net::connect(&socket, &address).expect("listening");
    rustix::net::send(&socket, &setup::visit(&offer.nonce), SendFlags::NOSIGNAL).expect("open");
    while !has_input(&socket) {
        rig.channel.readable().await.expect("open");
        assert!(rig.channel.try_recv().is_none());
    }
    let setup = setup::Setup::receive(&socket).expect("the memory");
    let results = setup.descriptors.into_iter().nth(1).expect("two regions");
    let results = Region::open(results, setup.sizes.results(), Access::Write).expect("mapped");
    let answer = results.words(setup::CHALLENGE_WORD, 1);
    answer.words()[0].store(!setup.challenge, Ordering::Relaxed);
    rustix::net::send(&socket, &[setup::READY], SendFlags::NOSIGNAL).expect("open");
    drop(socket);
    let heard = next(&mut rig.channel).await;
    assert!(
        matches!(heard, Heard::Closed { peer } if peer == other),
        "{heard:?}"
    );
}

/// What a container has by its descriptors, and what it does not tell.
mod hostile {
    use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
    use skysail_memory::region::{Access, Region};
    use skysail_memory::ring::{ENTRIES, Producer, RING_WORDS, Words};
    use std::os::fd::OwnedFd;
    use std::sync::atomic::Ordering;

    use super::setup::{CHALLENGE_WORD, READY, Setup, visit};
    use super::*;
    use crate::transport::memory::{MemoryConnector, MemoryLink, MemoryListener, listen};
    use crate::transport::{Incoming, Link, Listener, SendError};

    /// A transport in memory that has an ipc endpoint to put the control socket beside.
    struct Beside(MemoryListener, Vec<String>);

    impl Listener for Beside {
        fn send(&mut self, peer: PeerId, frame: &crate::message::Frame) -> Result<(), SendError> {
            self.0.send(peer, frame)
        }
        fn try_recv(&mut self) -> Option<Incoming> {
            self.0.try_recv()
        }
        fn forget(&mut self, peer: PeerId) {
            self.0.forget(peer);
        }
        fn poll_readable(
            &mut self,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            self.0.poll_readable(context)
        }
        fn endpoints(&self) -> &[String] {
            &self.1
        }
    }

    struct Bench {
        channel: FrontendChannel<Beside>,
        connector: MemoryConnector,
        schema: Arc<Schema>,
        log: SharedLog,
        directory: tempfile::TempDir,
    }

    /// A container that has shown its nonce.
    struct Visitor {
        peer: PeerId,
        _link: MemoryLink,
        control: OwnedFd,
        setup: Setup<OwnedFd>,
    }

    impl Bench {
        fn new() -> Bench {
            let directory = tempfile::tempdir().expect("a directory");
            let (listener, connector) = listen();
            let endpoint = format!("ipc://{}/rpc.sock", directory.path().display());
            let schema = schema("f32[3]", "f32[3]");
            let sharing = Sharing::default();
            Bench {
                log: sharing.log(&schema, 1).expect("memory"),
                channel: FrontendChannel::new(Beside(listener, vec![endpoint]), sharing),
                connector,
                schema,
                directory,
            }
        }

        fn connect(&self) -> OwnedFd {
            let path = self.directory.path().join("rpc.sock.shm");
            let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
            let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None);
            let socket = socket.expect("a socket");
            let address = SocketAddrUnix::new(&path).expect("an address");
            rustix::net::connect(&socket, &address).expect("listening");
            socket
        }

        /// Looks at the sockets once.
        async fn turn(&mut self) {
            self.channel.readable().await.expect("open");
        }

        /// A visitor that has mapped its memory and said so; nobody has asked for news yet.
        async fn ready_visitor(&mut self) -> (Visitor, Region) {
            let visitor = self.visitor().await;
            let results = visitor.map();
            visitor.say_ready();
            self.turn().await;
            (visitor, results)
        }

        async fn visitor(&mut self) -> Visitor {
            let mut link = self.connector.connect().expect("listening");
            let hello = hello(&self.schema, host());
            let message = Message::from(hello.clone());
            let frame = crate::message::Encoder::default().encode(&message);
            link.send(&frame).expect("open");
            self.turn().await;
            let Some(Heard::Message { peer, .. }) = self.channel.try_recv() else {
                panic!("a hello")
            };
            let schema = self.schema.clone();
            let offer = self
                .channel
                .offer(peer, &hello, &schema, Some(&self.log.log));
            let control = self.connect();
            rustix::net::send(
                &control,
                &visit(&offer.expect("one").nonce),
                SendFlags::NOSIGNAL,
            )
            .expect("open");
            self.turn().await;
            let setup = Setup::receive(&control).expect("a setup");
            Visitor {
                peer,
                _link: link,
                control,
                setup,
            }
        }

        fn send(&mut self, peer: PeerId, batch: u64) {
            let mut buf = self.log.log.claim().expect("free").into_bufs().remove(0);
            buf.extend_from_slice(&[0; 12]);
            let ranges = RowRanges::of(&self.log.log, &[buf.freeze()]).expect("one");
            let schema = self.schema.clone();
            let predict = Predict {
                batch: BatchId(batch),
                rows: 1,
                remaining: PATIENCE,
                tensors: Tensors::Rows(Rows { schema, ranges }),
            };
            let sent = self.channel.send(peer, Message::Predict(predict));
            sent.expect("there is a path");
        }
    }

    impl Visitor {
        /// Its results, and the challenge answered.
        fn map(&self) -> Region {
            let fd = self.setup.descriptors[1].try_clone().expect("a descriptor");
            let results = Region::open(fd, self.setup.sizes.results(), Access::Write);
            let results = results.expect("the size");
            let words = results.words(CHALLENGE_WORD, 1);
            words.words()[0].store(!self.setup.challenge, Ordering::Relaxed);
            results
        }

        fn say_ready(&self) {
            rustix::net::send(&self.control, &[READY], SendFlags::NOSIGNAL).expect("open");
        }
    }

    #[tokio::test]
    async fn the_first_fault_in_a_ring_is_the_last_that_is_heard_of_it() {
        let mut bench = Bench::new();
        let visitor = bench.visitor().await;
        let results = visitor.map();
        visitor.say_ready();
        bench.turn().await;
        assert!(bench.channel.try_recv().is_none());
        bench.send(visitor.peer, 1);
        let mut ring = Producer::new(results.words(0, RING_WORDS));
        (0..ENTRIES).for_each(|_| ring.send(&[9, 1, 0, 1, 0]));
        drop(visitor.control);
        bench.turn().await;
        let faults = std::iter::from_fn(|| bench.channel.try_recv());
        let faults = faults.filter(|heard| matches!(heard, Heard::Message { .. }));
        assert_eq!(
            faults.count(),
            1,
            "not one an entry, and none after another"
        );
        bench.channel.check_invariants();
    }

    #[tokio::test]
    async fn who_leaves_as_it_arrives_is_gone() {
        let mut bench = Bench::new();
        let visitor = bench.visitor().await;
        let _results = visitor.map();
        visitor.say_ready();
        // Both come as one event.
        drop(visitor.control);
        bench.turn().await;
        let heard = bench.channel.try_recv();
        assert!(
            matches!(heard, Some(Heard::Closed { peer }) if peer == visitor.peer),
            "{heard:?}"
        );
        let held = bench.channel.holdings();
        assert_eq!((held.paths, held.visitors), (0, 0));
    }

    #[tokio::test]
    async fn nothing_is_kept_for_who_is_forgotten_as_it_arrives() {
        let mut bench = Bench::new();
        let (visitor, _results) = bench.ready_visitor().await;
        bench.channel.forget(visitor.peer);
        assert!(bench.channel.try_recv().is_none());
        let held = bench.channel.holdings();
        assert_eq!((held.paths, held.visitors), (0, 0));
    }

    #[tokio::test]
    async fn the_socket_of_an_idle_container_is_closed_when_it_is_forgotten() {
        let mut bench = Bench::new();
        let (visitor, _results) = bench.ready_visitor().await;
        assert!(bench.channel.try_recv().is_none());
        assert_eq!(bench.channel.holdings().visitors, 1);
        bench.channel.forget(visitor.peer);
        assert_eq!(bench.channel.holdings().visitors, 0, "though it holds on");
        let mut said = [0; 1];
        let flags = rustix::net::RecvFlags::DONTWAIT;
        let heard = rustix::net::recv(&visitor.control, &mut said, flags);
        assert!(matches!(heard, Ok((0, _))), "{heard:?}");
    }

    #[tokio::test]
    async fn the_socket_of_a_busy_container_stays_until_it_hangs_up() {
        let mut bench = Bench::new();
        let (visitor, _results) = bench.ready_visitor().await;
        assert!(bench.channel.try_recv().is_none());
        bench.send(visitor.peer, 1);
        bench.channel.forget(visitor.peer);
        bench.channel.check_invariants();
        assert_eq!(bench.channel.holdings().lingering, 1);
        assert_eq!(bench.log.log.rows_held(), 1);
        drop(visitor.control);
        bench.turn().await;
        assert!(bench.channel.try_recv().is_none());
        assert_eq!(bench.channel.holdings().lingering, 0);
        assert_eq!(bench.log.log.rows_held(), 0);
    }

    #[tokio::test]
    async fn a_crowd_at_the_control_socket_keeps_no_container_out() {
        let mut bench = Bench::new();
        let crowd: Vec<OwnedFd> = (0..60).map(|_| bench.connect()).collect();
        bench.turn().await;
        let more: Vec<OwnedFd> = (0..60).map(|_| bench.connect()).collect();
        bench.turn().await;
        while bench.channel.holdings().visitors < 64 {
            bench.turn().await;
        }
        drop((crowd, more));
        let visitor = bench.visitor().await;
        let _results = visitor.map();
        visitor.say_ready();
        while bench.channel.holdings().paths == 0 {
            bench.turn().await;
            assert!(bench.channel.try_recv().is_none());
        }
    }
}
