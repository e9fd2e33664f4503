//! A container, with a hostile front end.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use skysail_memory::ring::ENTRY_WORDS;
use skysail_rpc::Schema;
use skysail_rpc::channel::{ContainerChannel, Room};
use skysail_rpc::message::{
    BatchId, Encoder, Message, NONCE_BYTES, Offer, Outcome, Predict, Tensors,
};
use skysail_rpc::session::{ContainerEvent, ContainerSession, Job, Timing};
use skysail_rpc::tensor::{Column, Columns};

use super::raw::{BULK, WORDS, place, turn, write_bytes, write_words};
use super::wire::Script as Link;
use crate::messages::{check_columns, hello, schema};
use crate::script::Script;

/// Steps of a script.
const STEPS_MAX: usize = 100;
/// Sizes as a front end of these schemas would choose them.
const SLOTS: usize = 2;
const SLOT_BYTES: usize = 33 << 10;
const BLOCK_BYTES: usize = 4 << 10;
const LOG_ROWS: usize = 8;

/// A container ends its session, or takes up a batch that fits its schema, whatever its front
/// end writes into rings and blocks.
pub fn hostile_frontend(data: &[u8]) {
    let mut script = Script::new(data);
    let text = ["f32[3]", "string", "u8[2]"][script.below(3)];
    let schema = Arc::new(schema(&[text]));
    let made = Made::new(&schema, &mut script);
    let mut link = Link::default();
    let folder = super::folder();
    let (path, socket) = (folder.join("hostile.shm"), "hostile.shm".to_owned());
    let listener = listen(&path);
    let nonce = [7; NONCE_BYTES];
    let mut channel = ContainerChannel::new(&mut link, Some(&folder), Duration::ZERO);
    let (session, _) =
        ContainerSession::open(Instant::now(), Timing::default(), hello(&schema, "here"));
    std::thread::scope(|scope| {
        let welcome = scope.spawn(|| made.give(&listener, &nonce));
        let said = channel.accept(&Offer { socket, nonce }, &schema);
        let is_shared = channel.is_shared();
        assert!(matches!(said, Message::Path { shared, .. } if shared == is_shared));
        welcome.join().expect("no panic");
    });
    if channel.is_shared() {
        let play = Play {
            script,
            made,
            channel,
            session,
            schema,
            jobs: Vec::new(),
            now: Instant::now(),
            number: 0,
        };
        play.run();
    }
}

fn listen(path: &Path) -> OwnedFd {
    let _ = std::fs::remove_file(path);
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a socket");
    let address = SocketAddrUnix::new(path).expect("a short path");
    rustix::net::bind(&socket, &address).expect("a new name");
    rustix::net::listen(&socket, 1).expect("bound");
    socket
}

/// What a front end passes.
struct Made {
    words: [u64; 6],
    requests: OwnedFd,
    results: OwnedFd,
    bell: OwnedFd,
    container_bell: (OwnedFd, OwnedFd),
    log: Option<OwnedFd>,
    row_bytes: usize,
    truncated: usize,
}

/// A memory file, sealed as it should be or as the script says.
fn memory(bytes: usize, script: &mut Script<'_>) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("hostile", flags).expect("memory");
    let (bytes, seals) = match script.byte() {
        255 => (bytes / 2, SealFlags::SHRINK),
        254 => (bytes, SealFlags::GROW),
        _ => (bytes, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL),
    };
    rustix::fs::ftruncate(&fd, bytes as u64).expect("room");
    rustix::fs::fcntl_add_seals(&fd, seals).expect("new");
    fd
}

impl Made {
    fn new(schema: &Schema, script: &mut Script<'_>) -> Made {
        let row_bytes = schema.inputs[0].row_bytes().unwrap_or(0);
        let (block_bytes, log_rows) = if row_bytes == 0 {
            (BLOCK_BYTES, 0)
        } else {
            (0, LOG_ROWS)
        };
        let sizes = [SLOTS, SLOT_BYTES, block_bytes, log_rows, WORDS];
        let challenge = 0x5eed;
        let mut words = [0; 6];
        words[..5].copy_from_slice(&sizes.map(|size| size as u64));
        words[5] = challenge;
        let requests = memory(BULK + SLOTS * block_bytes, script);
        let asked = if script.byte() == 255 { 1 } else { challenge };
        write_words(&requests, WORDS - 8, &[asked]);
        if script.byte() > 240 {
            words[script.below(6)] = script.u64();
        }
        let flags = rustix::event::EventfdFlags::NONBLOCK;
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK);
        Made {
            words,
            requests,
            results: memory(BULK + SLOTS * SLOT_BYTES, script),
            bell: rustix::event::eventfd(0, flags).expect("a bell"),
            container_bell: pipe.expect("a bell"),
            log: (log_rows > 0).then(|| {
                let bytes = (LOG_ROWS * row_bytes).next_multiple_of(64);
                let log = memory(bytes, script);
                let numbers: Vec<u8> = (0..LOG_ROWS * row_bytes).map(|at| at as u8).collect();
                write_bytes(&log, 0, &numbers);
                log
            }),
            row_bytes,
            truncated: if script.byte() > 250 {
                script.below(48)
            } else {
                48
            },
        }
    }

    /// Takes the visit, and gives what was made.
    fn give(&self, listener: &OwnedFd, nonce: &[u8; NONCE_BYTES]) {
        let Ok(socket) = rustix::net::accept(listener) else {
            return;
        };
        let mut said = [0; 64];
        let heard = rustix::net::recv(&socket, &mut said, RecvFlags::empty());
        let (bytes, _) = heard.expect("a visit");
        assert_eq!(said[..bytes], super::raw::visit(nonce));
        let descriptors: Vec<BorrowedFd<'_>> = [
            Some(&self.requests),
            Some(&self.results),
            Some(&self.bell),
            Some(&self.container_bell.0),
            self.log.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(AsFd::as_fd)
        .collect();
        let bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        let bytes = [std::io::IoSlice::new(&bytes[..self.truncated])];
        let _ = rustix::net::sendmsg(&socket, &bytes, &mut control, SendFlags::NOSIGNAL);
    }
}

struct Play<'a, 'l> {
    script: Script<'a>,
    made: Made,
    channel: ContainerChannel<'l, Link>,
    session: ContainerSession,
    schema: Arc<Schema>,
    jobs: Vec<(Job, Option<Room>)>,
    now: Instant,
    number: u64,
}

impl Play<'_, '_> {
    fn run(mut self) {
        let welcome = Message::Welcome(skysail_rpc::message::Welcome {
            protocol: 1,
            replica: 1,
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(3),
            offer: None,
        });
        let welcomed = self.session.on_message(Instant::now(), welcome);
        welcomed.expect("it has said hello");
        for _ in 0..STEPS_MAX {
            if self.script.is_empty() {
                return;
            }
            match self.script.below(8) {
                0 | 1 => self.ask(),
                2 => self.ask_by_block(),
                3 => self.scribble(),
                4 => self.answer(),
                5 => self.write_block(),
                _ => {
                    if !self.take() {
                        return;
                    }
                }
            }
        }
    }

    /// A descriptor of rows, right but for what the script says.
    fn ask(&mut self) {
        let count = 1 + self.script.below(9);
        let mut entry = [0; ENTRY_WORDS];
        let mut rows = 0;
        for word in &mut entry[4..4 + count] {
            let (first, many) = (self.script.byte() % 10, self.script.byte() % 6);
            rows += u64::from(many);
            *word = u64::from(first) | u64::from(many) << 32;
        }
        let slot = self.script.below(4) as u64 % 3;
        entry[0] = 1 | (count as u64) << 8 | slot << 16;
        entry[1] = self.number + 1;
        entry[3] = rows;
        if self.script.byte() > 200 {
            entry[self.script.below(ENTRY_WORDS)] = self.script.u64();
        }
        self.send(entry);
    }

    /// A descriptor of a block, right but for what the script says.
    fn ask_by_block(&mut self) {
        let slot = self.script.below(3);
        let rows = 1 + self.script.below(3);
        let mut builder = skysail_rpc::ColumnBuilder::new(&self.schema.inputs[0], rows);
        let text = String::from_utf8_lossy(self.script.chunk()).into_owned();
        if self.made.row_bytes == 0 {
            (0..rows).for_each(|_| builder.push(&skysail_rpc::Cell::from(text.as_str())));
        }
        let predict = Message::Predict(Predict {
            batch: BatchId(self.number + 1),
            rows: rows as u32,
            remaining: Duration::from_secs(1),
            tensors: Tensors::Columns([builder.finish()].into()),
        });
        let mut end = 0;
        let mut payloads = Vec::new();
        let header = Encoder::default().encode_placed(&predict, |payload| {
            payloads.push((end, payload.clone()));
            let offset = end;
            end = (offset + payload.len()).next_multiple_of(64);
            Some(offset)
        });
        let mut header = header.expect("everything has a place").as_bytes().to_vec();
        if self.script.byte() > 128 {
            let at = self.script.below(header.len());
            header[at] ^= self.script.byte();
        }
        let base = BULK + slot * BLOCK_BYTES;
        write_bytes(&self.made.requests, base, &header);
        for (offset, payload) in payloads {
            let at = base + header.len().next_multiple_of(64) + offset;
            write_bytes(&self.made.requests, at, payload.as_bytes());
        }
        let mut entry = [0; ENTRY_WORDS];
        entry[0] = 2 | 1 << 8 | (slot as u64) << 16;
        entry[1] = self.number + 1;
        entry[3] = rows as u64 | (header.len() as u64) << 32;
        entry[4] = end as u64;
        if self.script.byte() > 200 {
            entry[self.script.below(5)] = self.script.u64();
        }
        self.send(entry);
    }

    fn send(&mut self, mut entry: [u64; ENTRY_WORDS]) {
        entry[0] = entry[0] & u64::from(u32::MAX) | turn(self.number);
        write_words(&self.made.requests, place(self.number), &entry);
        self.number += 1;
    }

    fn scribble(&mut self) {
        let first = self.script.below(WORDS);
        let words = [self.script.u64(), self.script.u64()];
        let region = if self.script.flag() {
            &self.made.requests
        } else {
            &self.made.results
        };
        write_words(region, first, &words);
    }

    /// Blocks change before they are looked at; while they are held, no front end writes them.
    fn write_block(&mut self) {
        let offset = BULK + self.script.below(2 * BLOCK_BYTES);
        let bytes = self.script.chunk();
        if self.jobs.is_empty() {
            write_bytes(&self.made.requests, offset, bytes);
        }
    }

    /// Takes what has come; whether the session goes on.
    fn take(&mut self) -> bool {
        if self.script.flag() {
            // Long enough for a look at the link.
            self.now += Duration::from_millis(1);
        }
        let now = self.now;
        let received = match self.channel.try_recv(now) {
            Ok(Some(received)) => received,
            Ok(None) => return true,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return false;
            }
        };
        let (message, room) = received;
        match self.session.on_message(now, message) {
            Ok(ContainerEvent::Job(job)) => {
                check_columns(&job.columns, &self.schema.inputs, job.rows);
                let bytes = job.columns[0].data().len();
                assert!(self.made.row_bytes == 0 || bytes == job.rows * self.made.row_bytes);
                self.check_rows(&job.columns);
                self.jobs.push((job, room));
                true
            }
            Ok(_) => true,
            Err(_) => false,
        }
    }

    /// Rows are those of the log, each of which holds its own numbers.
    fn check_rows(&self, columns: &Columns) {
        if self.made.row_bytes == 0 {
            return;
        }
        for cell in columns[0].cells() {
            let bytes = cell.data().as_bytes();
            assert!(
                usize::from(bytes[0]) % self.made.row_bytes == 0,
                "a row begins here"
            );
            assert!(bytes.is_sorted_by(|a, b| a + 1 == *b), "and it is one row");
        }
    }

    /// Answers the oldest batch, in one of the ways that a model may.
    fn answer(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let (job, mut room) = self.jobs.remove(0);
        let (now, compute) = (Instant::now(), Duration::from_micros(1));
        let spec = &self.schema.outputs[0];
        let reply = match (self.script.below(3), &mut room, spec.row_bytes()) {
            (0, Some(room), Some(bytes)) => {
                let bytes = bytes * job.rows;
                let Some(mut buf) = room.carve(bytes) else {
                    return;
                };
                buf.extend_from_slice(&vec![1; bytes]);
                let column = Column::of_rows(spec, job.rows, buf.freeze()).expect("whole rows");
                self.session
                    .reply(now, &job, [column].into(), Vec::new(), compute)
            }
            (1, ..) => {
                room = None;
                let error = "no".to_owned();
                let outcome = Outcome::Failed { error };
                self.session.reply_without(now, job.batch, outcome, compute)
            }
            _ => self
                .session
                .reply(now, &job, job.columns.clone(), Vec::new(), compute),
        };
        let _ = self.channel.send(reply, room);
    }
}
