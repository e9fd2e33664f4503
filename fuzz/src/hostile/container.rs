//! A front end, with an honest container and hostile ones.

use std::sync::Arc;
use std::time::Duration;

use skysail_rpc::message::{BatchId, Encoder, Frame, Message, Outcome, Reply, RowError, Tensors};
use skysail_rpc::tensor::{Column, ColumnBuilder, columns_from_parts};
use skysail_rpc::transport::PeerId;
use skysail_rpc::{Cell, Payload, Schema, TensorSpec};
use tokio::runtime::Runtime;

use super::raw::{self, WORDS};
use super::rig::{Rig, WIDTH};
use crate::messages::batch_of;
use crate::script::Script;

/// Steps of a script.
const STEPS_MAX: usize = 200;
/// Hostile containers, one after the other.
const HOSTILE_MAX: usize = 4;
/// Whoever else connects to the control socket.
const STRANGERS_MAX: usize = 80;
/// Rows of the log: fewer than the batches could have.
const LOG_ROWS: usize = 10;
/// The ring's kinds of entries.
const ROWS: u64 = 1;
const FRAME: u64 = 2;
const INLINE: u64 = 3;

/// A front end keeps its promises whatever containers do with the descriptors they were given:
/// a fault ends the session of who made it, and no other.
pub fn hostile_container(data: &[u8]) {
    thread_local!(static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime"));
    RUNTIME.with(|runtime| runtime.block_on(Play::run(Script::new(data))));
}

struct Play<'a> {
    script: Script<'a>,
    rig: Rig,
    honest: PeerId,
    hostile: PeerId,
    schema: Arc<Schema>,
    hostile_count: usize,
    strangers: Vec<rustix::fd::OwnedFd>,
    asked: usize,
}

/// What hostile containers claim to be.
fn schema(number: usize) -> Arc<Schema> {
    let spec = |name, text| TensorSpec::parse(name, text).expect("a tensor type");
    let (inputs, outputs) = match number {
        0 => (spec("x", "f32[3]"), vec![spec("y", "f32[3]")]),
        1 => (spec("x", "string"), vec![spec("y", "string")]),
        _ => (
            spec("x", "f32[3]"),
            vec![
                spec("ok", "bool"),
                spec("y", "f64[5]"),
                spec("b", "bool[3]"),
            ],
        ),
    };
    let inputs = vec![inputs];
    Arc::new(Schema { inputs, outputs })
}

impl<'a> Play<'a> {
    async fn run(mut script: Script<'a>) {
        let honest_schema = schema(0);
        let mut rig = Rig::new(&honest_schema, LOG_ROWS);
        let schema = schema(script.below(3));
        let honest = rig.greet(&honest_schema);
        rig.visit(honest).await;
        rig.arrive(honest).await;
        let hostile = rig.greet(&schema);
        if script.byte() < 240 {
            rig.visit(hostile).await;
            rig.arrive(hostile).await;
        }
        let mut play = Play {
            script,
            rig,
            honest,
            hostile,
            schema,
            hostile_count: 1,
            strangers: Vec::new(),
            asked: 0,
        };
        for _ in 0..STEPS_MAX {
            if play.script.is_empty() {
                break;
            }
            play.step().await;
            play.rig.check();
        }
        play.end().await;
    }

    async fn step(&mut self) {
        match self.script.below(26) {
            0..=2 => {
                let rows = 1 + self.script.below(4);
                self.rig.send(self.hostile, rows);
            }
            3 => self.ask_honest(),
            4 => self.answer_honestly(),
            5 | 6 => self.rig.pump(),
            7 => self.rig.turn().await,
            8 | 9 => self.answer(None),
            10 => self.answer_wrongly(),
            11 => self.scribble(),
            12 => self.write_slot(),
            13 => self.answer_with_frame(),
            14 => self.flood(),
            15 => self.bells(),
            16 => self.holes(),
            17 => self.answer_by_transport(),
            18 => self.say_by_transport(),
            19 => self.rig.wire.close(self.hostile),
            20 => self.rig.hang_up(self.hostile),
            21 => self.say_to_control(),
            22 => self.rig.end(self.hostile),
            23 => self.come_back().await,
            24 => self.visit_as_stranger(),
            _ => {
                let batch = self.batch();
                self.rig.cancel(self.hostile, batch);
            }
        }
    }

    fn ask_honest(&mut self) {
        let rows = 1 + self.script.below(4);
        self.asked += usize::from(self.rig.send(self.honest, rows));
    }

    /// The honest container doubles whatever has come.
    fn answer_honestly(&mut self) {
        let memory = self.rig.peer(self.honest).memory.as_mut();
        let memory = memory.expect("it has arrived");
        while let Some(asked) = memory.request() {
            let bytes = memory.rows(&asked.ranges, 4 * WIDTH);
            memory.write_slot(asked.slot, 0, &doubled(&bytes));
            memory.reply(&[ROWS, asked.batch, 7 | u64::from(asked.rows) << 32]);
            memory.ring(1);
        }
        for frame in self.rig.wire.heard(self.honest) {
            let Ok(Message::Predict(predict)) = Message::decode(&frame) else {
                continue;
            };
            let schema = self.rig.peer(self.honest).schema().clone();
            let (rows, parts) = (predict.rows as usize, predict.tensors.into_parts());
            let columns = columns_from_parts(&schema.inputs, rows, &parts).expect("the schema's");
            let data = Payload::copy_from_slice(&doubled(columns[0].data().as_bytes()));
            let column = Column::of_rows(&schema.outputs[0], rows, data).expect("whole rows");
            let reply = reply(predict.batch, rows, Tensors::Columns([column].into()));
            self.rig.say(self.honest, Encoder::default().encode(&reply));
        }
    }

    /// A batch that the hostile container has, or one that it has not.
    fn batch(&mut self) -> u64 {
        let batches = self.rig.peer(self.hostile).batches();
        match self.script.below(8) {
            7 => self.script.u64(),
            6 => batches.last().map_or(1, |last| last + 1),
            choice if batches.is_empty() => choice as u64,
            choice => batches[choice % batches.len()],
        }
    }

    /// A right answer to a batch, but for what a frame's byte is changed to.
    fn answer(&mut self, spoil: Option<(usize, u8)>) {
        let batch = self.batch();
        let slot = self.script.below(2);
        let rows = self.rig.peer(self.hostile).rows_of(batch);
        let schema = self.schema.clone();
        let Some(memory) = self.rig.peer(self.hostile).memory.as_mut() else {
            return;
        };
        if schema.outputs[0].row_bytes().is_some() && spoil.is_none() {
            memory.write_slot(slot, 0, &[0; 256]);
            // Either way is right for few rows.
            let kind = if slot == 0 { ROWS } else { INLINE };
            memory.reply(&[kind, batch, 1 | (rows as u64) << 32, 0, 0, 0, 0, 0]);
            return;
        }
        let message = reply(BatchId(batch), rows, zeros(&schema, rows));
        let (offset, bytes, used) = memory.write_frame(slot, &message, spoil);
        let (offset, used) = (offset as u64, used as u64);
        let head = 1 | (rows as u64) << 32;
        memory.reply(&[FRAME, batch, head, bytes as u64, offset | used << 32]);
    }

    fn answer_wrongly(&mut self) {
        let batch = self.batch();
        let (kind, rows) = (self.script.byte(), self.script.below(6));
        let (header, offset, used) = (self.script.u32(), self.script.u32(), self.script.u32());
        let mask = if self.script.flag() { 0xffff } else { u32::MAX };
        let two = |low: u32, high: u32| u64::from(low) | u64::from(high & mask) << 32;
        let entry = [
            u64::from(kind % 5),
            batch,
            u64::from(self.script.u32()) | (rows as u64) << 32,
            u64::from(header & mask),
            two(offset & mask, used),
            self.script.u64(),
        ];
        if let Some(memory) = self.rig.peer(self.hostile).memory.as_mut() {
            memory.reply(&entry);
        }
    }

    /// Any words, anywhere in what it may write.
    fn scribble(&mut self) {
        let first = self.script.below(WORDS + 64);
        let words: Vec<u64> = (0..1 + self.script.below(8))
            .map(|_| self.script.u64())
            .collect();
        if let Some(memory) = &self.rig.peer(self.hostile).memory {
            memory.scribble(first, &words);
        }
    }

    fn write_slot(&mut self) {
        let (slot, offset) = (self.script.below(4), self.script.below(40_000));
        let bytes = self.script.chunk();
        if let Some(memory) = &self.rig.peer(self.hostile).memory {
            memory.write_slot(slot, offset, bytes);
        }
    }

    fn answer_with_frame(&mut self) {
        let spoil = (self.script.below(400), self.script.byte());
        self.answer(Some(spoil));
    }

    /// The same entry in the whole ring, or some of it, whoever reads how far.
    fn flood(&mut self) {
        let (batch, count) = (self.batch(), self.script.below(257) as u64);
        let kind = u64::from(self.script.byte() % 5);
        let rows = self.rig.peer(self.hostile).rows_of(batch) as u64;
        if let Some(memory) = &self.rig.peer(self.hostile).memory {
            let first = memory.next_reply();
            for number in first..first + count {
                let other = if self.script.flag() { number } else { batch };
                memory.place(number, &[kind, other, rows << 32, 0, 0]);
            }
        }
    }

    fn bells(&mut self) {
        let (flag, count) = (self.script.byte(), self.script.u64());
        if let Some(memory) = &self.rig.peer(self.hostile).memory {
            memory.set_flag(u64::from(flag));
            memory.ring(count);
            memory.hear_bell();
        }
    }

    fn holes(&mut self) {
        let offset = self.script.below(40) as u64 * 4096;
        if let Some(memory) = &self.rig.peer(self.hostile).memory {
            memory.punch(offset);
            memory.break_out();
        }
    }

    fn answer_by_transport(&mut self) {
        let batch = self.batch();
        let rows = self.rig.peer(self.hostile).rows_of(batch);
        let tensors = zeros(&self.schema, rows);
        let mut message = reply(BatchId(batch), rows, tensors);
        if let Message::Reply(reply) = &mut message {
            match self.script.below(7) {
                6 => reply.outcome = Outcome::Expired,
                0 => reply.outcome = Outcome::Cancelled,
                1 => reply.outcome = Outcome::Failed { error: "no".into() },
                2 => reply.tensors = Tensors::default(),
                3 => {
                    let row = self.script.below(6) as u32;
                    let error = "no".to_owned();
                    reply.row_errors = vec![RowError { row, error }];
                }
                _ => {}
            }
        }
        assert_eq!(batch_of(&message), Some(BatchId(batch)));
        self.rig
            .say(self.hostile, Encoder::default().encode(&message));
    }

    fn say_by_transport(&mut self) {
        let (shared, detail) = (self.script.flag(), String::new());
        let message = match self.script.below(6) {
            0 => Message::Heartbeat { batches_done: 9 },
            1 => Message::Drain { detail },
            2 => Message::Cancel(BatchId(1)),
            3 | 4 => Message::Path { shared, detail },
            _ => {
                let header = Payload::copy_from_slice(self.script.chunk());
                let payloads = [Payload::copy_from_slice(self.script.chunk())];
                let payloads = payloads.into_iter().collect();
                return self.rig.say(self.hostile, Frame { header, payloads });
            }
        };
        self.rig
            .say(self.hostile, Encoder::default().encode(&message));
    }

    /// Whatever is said after the arrival means that it wants no more of it.
    fn say_to_control(&mut self) {
        let text = self.script.chunk();
        let ready = self.script.flag();
        if let Some(control) = self.rig.peer(self.hostile).control.take() {
            raw::say(&control, if ready { b"r" } else { text });
            self.rig.hang_up(self.hostile);
            self.strangers.push(control);
        }
    }

    /// The next hostile container, which may leave out a step, or take two at a time.
    async fn come_back(&mut self) {
        if self.hostile_count == HOSTILE_MAX {
            return;
        }
        self.hostile_count += 1;
        self.hostile = self.rig.greet(&self.schema);
        let steps = self.script.byte();
        if steps & 1 == 0 {
            self.rig.visit(self.hostile).await;
        }
        if let Some(memory) = &self.rig.peer(self.hostile).memory
            && steps & 16 == 0
        {
            memory.answer_challenge();
        }
        if steps & 2 == 0 {
            self.rig.arrive(self.hostile).await;
        } else if let Some(control) = &self.rig.peer(self.hostile).control {
            raw::say(control, b"r");
        }
        if steps & 8 != 0 {
            self.rig.hang_up(self.hostile);
        }
        if steps & 4 != 0 {
            // Before the front end has looked at its arrival.
            let header = Payload::copy_from_slice(b"not a message");
            let payloads = smallvec::SmallVec::new();
            self.rig.say(self.hostile, Frame { header, payloads });
        }
    }

    fn visit_as_stranger(&mut self) {
        let count = self.script.below(STRANGERS_MAX);
        for _ in 0..count {
            if self.strangers.len() >= STRANGERS_MAX {
                self.strangers.remove(0);
            }
            self.strangers.extend(self.rig.stranger());
        }
        let text = self.script.chunk();
        if let Some(socket) = self.strangers.last() {
            raw::say(socket, text);
        }
    }

    /// The honest container has had nothing but right answers, and still has.
    async fn end(mut self) {
        self.rig.pump();
        self.ask_honest();
        self.answer_honestly();
        self.rig.turn().await;
        self.rig.pump();
        let honest = self.rig.peer(self.honest);
        assert!(
            honest.is_alive(),
            "the fault of one ends the session of another"
        );
        assert!(honest.batches().is_empty(), "every batch is answered");
        assert_eq!(
            (honest.answered.len(), honest.right),
            (self.asked, self.asked)
        );
        self.strangers.clear();
        self.rig.close().await;
    }
}

fn doubled(bytes: &[u8]) -> Vec<u8> {
    let (words, _) = bytes.as_chunks::<4>();
    let double = |word: &[u8; 4]| (2.0 * f32::from_le_bytes(*word)).to_le_bytes();
    words.iter().flat_map(double).collect()
}

/// Outputs of `schema` that mean nothing.
fn zeros(schema: &Schema, rows: usize) -> Tensors {
    let column = |spec: &TensorSpec| {
        if let Some(bytes) = spec.row_bytes() {
            let data = Payload::copy_from_slice(&vec![0; bytes * rows]);
            return Column::of_rows(spec, rows, data).expect("whole rows");
        }
        let mut builder = ColumnBuilder::new(spec, rows);
        (0..rows).for_each(|_| builder.push(&Cell::from("zero")));
        builder.finish()
    };
    Tensors::Columns(schema.outputs.iter().map(column).collect())
}

fn reply(batch: BatchId, rows: usize, tensors: Tensors) -> Message {
    Message::Reply(Reply {
        batch,
        outcome: Outcome::Ok,
        rows: rows as u32,
        tensors,
        row_errors: Vec::new(),
        compute: Duration::from_micros(1),
    })
}
