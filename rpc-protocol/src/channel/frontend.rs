//! The front end's end of one shared path.
//!
//! Everything that decides is in this process's private memory: which slots are free, which
//! batches are out, where their rows lie. A container can only spoil its own results.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use skysail_memory::copies::{self, Copied};
use skysail_memory::payload::ALIGN;
use skysail_memory::pool::Pool;
use skysail_memory::region::{BulkReader, BulkWriter, SharedWords};
use skysail_memory::ring::{Awaited, Consumer, ENTRY_WORDS, Producer, SleepFlag};
use skysail_memory::rows::{RowLog, RowRanges};
use smallvec::SmallVec;
use tokio::io::unix::AsyncFd;
use zerocopy::IntoBytes;

use super::descriptor::{Answer, Content, INLINE_WORDS, Place, Request};
use super::setup::{Sizes, inline_rows_max, result_bytes};
use super::visits::Lease;
use crate::limits::HEADER_BYTES_MAX;
use crate::message::{BatchId, DecodeError, Encoder, Frame, Message, Outcome, Reply, Tensors};
use crate::payload::Payload;
use crate::tensor::{Column, Columns, Schema, TensorSpec};

/// A shared path to one container.
pub(super) struct FrontendPath {
    requests: Producer<SharedWords>,
    blocks: BulkWriter,
    replies: Consumer<SharedWords>,
    results: BulkReader,
    sizes: Sizes,
    schema: Arc<Schema>,
    inline_rows_max: usize,
    log: Option<Arc<RowLog>>,
    free_slots: SmallVec<[u16; 8]>,
    flights: SmallVec<[Flight; 4]>,
    /// Set by the container when it sleeps on its bell.
    container_sleeps: SleepFlag<SharedWords>,
    container_bell: OwnedFd,
    /// Set by us when we sleep on ours.
    we_sleep: SleepFlag<SharedWords>,
    our_bell: AsyncFd<OwnedFd>,
    encoder: Encoder,
    pool: Pool,
    armed: bool,
    /// The container wrote what is no reply to a batch of its own: nothing more is read.
    faulted: bool,
    spin: Duration,
    _lease: Lease,
}

/// What a path is made of.
pub(super) struct Parts {
    pub(super) requests: SharedWords,
    pub(super) blocks: BulkWriter,
    pub(super) replies: SharedWords,
    pub(super) results: BulkReader,
    pub(super) container_sleeps: SharedWords,
    pub(super) we_sleep: SharedWords,
    pub(super) container_bell: OwnedFd,
    pub(super) our_bell: AsyncFd<OwnedFd>,
    pub(super) sizes: Sizes,
    pub(super) schema: Arc<Schema>,
    pub(super) log: Option<Arc<RowLog>>,
    pub(super) spin: Duration,
    pub(super) lease: Lease,
}

/// A batch that the container has.
struct Flight {
    batch: BatchId,
    slot: u16,
    rows: u32,
    /// Held until it answers or hangs up.
    _input: Option<RowRanges>,
}

/// The rows that a batch in flight holds; copies in its block need nothing held.
fn take_tensors(message: &mut Message) -> Option<RowRanges> {
    let Message::Predict(predict) = message else {
        return None;
    };
    match std::mem::take(&mut predict.tensors) {
        Tensors::Rows(rows) => Some(rows.ranges),
        _ => None,
    }
}

impl FrontendPath {
    pub(super) fn new(parts: Parts) -> Self {
        FrontendPath {
            requests: Producer::new(parts.requests),
            blocks: parts.blocks,
            replies: Consumer::new(parts.replies),
            results: parts.results,
            sizes: parts.sizes,
            inline_rows_max: inline_rows_max(&parts.schema),
            schema: parts.schema,
            log: parts.log,
            free_slots: (0..parts.sizes.slots as u16).rev().collect(),
            flights: SmallVec::new(),
            container_sleeps: SleepFlag::new(parts.container_sleeps),
            container_bell: parts.container_bell,
            we_sleep: SleepFlag::new(parts.we_sleep),
            our_bell: parts.our_bell,
            encoder: Encoder::default(),
            pool: Pool::default(),
            armed: false,
            faulted: false,
            spin: parts.spin,
            _lease: parts.lease,
        }
    }

    /// Whether the container has batches of this path.
    pub(super) fn is_busy(&self) -> bool {
        !self.flights.is_empty()
    }

    /// How long waiting for this container may spin.
    pub(super) fn spin(&self) -> Duration {
        self.spin
    }

    /// Sends a batch and takes its tensors; false if it is none, or does not fit this path.
    ///
    /// Nothing is moved before it is published: a load of what was just stored in other pieces
    /// waits for all stores before it, those of the rows among them.
    pub(super) fn send(&mut self, message: &mut Message) -> bool {
        let Some(slot) = self.free_slots.last().copied() else {
            return false;
        };
        let Message::Predict(predict) = &*message else {
            return false;
        };
        let place = match &predict.tensors {
            Tensors::Rows(rows) if self.has_log(rows.ranges.log()) => {
                Place::Ranges(rows.ranges.ranges())
            }
            _ => match self.write_block(slot, message) {
                Some(block) => block,
                None => return false,
            },
        };
        let request = Request {
            batch: predict.batch,
            slot,
            rows: predict.rows,
            remaining: predict.remaining,
            place,
        };
        self.requests.send(request.write(&mut [0; ENTRY_WORDS]));
        if self.container_sleeps.is_set() {
            // A full pipe has rung already; a closed one is heard of elsewhere.
            let _ = rustix::io::write(&self.container_bell, &[1]);
        }
        let (batch, rows) = (predict.batch, predict.rows);
        self.free_slots.pop();
        self.flights.push(Flight {
            batch,
            slot,
            rows,
            _input: take_tensors(message),
        });
        true
    }

    fn has_log(&self, log: &Arc<RowLog>) -> bool {
        self.log.as_ref().is_some_and(|own| Arc::ptr_eq(own, log))
    }

    /// Copies a batch into the block of its slot, if it fits there.
    fn write_block(&mut self, slot: u16, message: &Message) -> Option<Place<'static>> {
        let bytes = self.sizes.block_bytes;
        let base = usize::from(slot) * bytes;
        let mut payloads: SmallVec<[(usize, Payload); 4]> = SmallVec::new();
        let mut end = 0_usize;
        let header = self.encoder.encode_placed(message, |payload| {
            let offset = end;
            end = (offset + payload.len()).next_multiple_of(ALIGN);
            payloads.push((offset, payload.clone()));
            (end <= bytes).then_some(offset)
        })?;
        let payload_base = header.len().next_multiple_of(ALIGN);
        if payload_base + end > bytes {
            return None;
        }
        let mut fits = self.blocks.write(base, header.as_bytes());
        for (offset, payload) in &payloads {
            fits &= self
                .blocks
                .write(base + payload_base + offset, payload.as_bytes());
            copies::record(Copied::Block, payload.len());
        }
        debug_assert!(fits, "measured before");
        Some(Place::Block {
            header_bytes: header.len(),
            payload_bytes: end,
        })
    }

    /// The next reply, or what is wrong with it. Each is checked here as far as memory goes;
    /// the session holds it to the schema. The first fault is the last that is heard: a
    /// container that never stops writing must not keep its reader busy.
    pub(super) fn recv(&mut self) -> Option<Result<Reply, DecodeError>> {
        if self.faulted {
            return None;
        }
        let mut entry = [0; ENTRY_WORDS];
        if !self.replies.recv(&mut entry) {
            return None;
        }
        let reply = match Answer::read(&entry) {
            Some(answer) => self.take(&answer),
            None => Err(DecodeError::Descriptor),
        };
        self.faulted = reply.is_err();
        Some(reply)
    }

    fn take(&mut self, answer: &Answer) -> Result<Reply, DecodeError> {
        let at = self
            .flights
            .iter()
            .position(|flight| flight.batch == answer.batch)
            .ok_or(DecodeError::Descriptor)?;
        let (slot, rows) = (self.flights[at].slot, self.flights[at].rows);
        let reply = match answer.content {
            // Other rows than were asked for: the session says so.
            Content::Rows if answer.rows != rows => Ok(self.reply(answer, Columns::new())),
            Content::Inline(_) if answer.rows != rows => Ok(self.reply(answer, Columns::new())),
            Content::Rows => self
                .in_slot(slot, rows as usize)
                .map(|columns| self.reply(answer, columns)),
            Content::Inline(results) => self
                .inline(&results, rows as usize)
                .map(|columns| self.reply(answer, columns)),
            Content::Frame { .. } => self.frame(slot, answer),
        };
        self.finish(answer.batch);
        reply
    }

    /// A batch was answered, on whichever path: what it held is free.
    pub(super) fn finish(&mut self, batch: BatchId) {
        if let Some(at) = self.flights.iter().position(|flight| flight.batch == batch) {
            self.free_slots.push(self.flights.swap_remove(at).slot);
        }
    }

    fn reply(&self, answer: &Answer, columns: Columns) -> Reply {
        Reply {
            batch: answer.batch,
            outcome: Outcome::Ok,
            rows: answer.rows,
            tensors: Tensors::Columns(columns),
            row_errors: Vec::new(),
            compute: answer.compute,
        }
    }

    /// The output tensors in a slot, copied out once.
    fn in_slot(&mut self, slot: u16, rows: usize) -> Result<Columns, DecodeError> {
        // Where rows may differ, results come as a frame.
        let bytes = result_bytes(&self.schema, rows, ALIGN)
            .filter(|bytes| *bytes <= self.sizes.slot_bytes)
            .ok_or(DecodeError::Descriptor)?;
        let mut buf = self.pool.take(bytes);
        let base = usize::from(slot) * self.sizes.slot_bytes;
        if !self.results.read(base, bytes, &mut buf) {
            return Err(DecodeError::Descriptor);
        }
        self.columns(buf.freeze(), rows, ALIGN)
    }

    /// The output tensors in a descriptor, which was copied out already.
    fn inline(
        &mut self,
        results: &[u64; INLINE_WORDS],
        rows: usize,
    ) -> Result<Columns, DecodeError> {
        if rows > self.inline_rows_max {
            return Err(DecodeError::Descriptor);
        }
        let mut buf = self.pool.take(size_of_val(results));
        buf.extend_from_slice(results.as_bytes());
        copies::record(Copied::Result, size_of_val(results));
        self.columns(buf.freeze(), rows, size_of::<u64>())
    }

    /// The output tensors that lie end to end in `all`, each on a multiple of `align`.
    fn columns(&self, all: Payload, rows: usize, align: usize) -> Result<Columns, DecodeError> {
        let mut columns = Columns::new();
        let mut offset = 0;
        let mut push = |spec: &TensorSpec, all: Payload| {
            let bytes = spec.row_bytes().unwrap_or(0) * rows;
            let data = all.into_slice(offset, bytes).unwrap_or_default();
            offset += bytes.next_multiple_of(align);
            Column::of_rows(spec, rows, data).map(|column| columns.push(column))
        };
        if let Some((last, others)) = self.schema.outputs.split_last() {
            for spec in others {
                push(spec, all.clone())?;
            }
            push(last, all)?;
        }
        Ok(columns)
    }

    /// A header and its payload frame in a slot, copied out once.
    fn frame(&mut self, slot: u16, answer: &Answer) -> Result<Reply, DecodeError> {
        let Content::Frame {
            header_offset,
            header_bytes,
            payload_bytes,
        } = answer.content
        else {
            return Err(DecodeError::Descriptor);
        };
        let slot_bytes = self.sizes.slot_bytes;
        let inside = header_offset
            .checked_add(header_bytes)
            .is_some_and(|end| end <= slot_bytes);
        if !inside || payload_bytes > slot_bytes || header_bytes > HEADER_BYTES_MAX {
            return Err(DecodeError::Descriptor);
        }
        let base = usize::from(slot) * slot_bytes;
        let mut header = self.pool.take(header_bytes);
        let mut payload = self.pool.take(payload_bytes);
        let read = self
            .results
            .read(base + header_offset, header_bytes, &mut header)
            && self.results.read(base, payload_bytes, &mut payload);
        if !read {
            return Err(DecodeError::Descriptor);
        }
        let frame = Frame {
            header: header.freeze(),
            payloads: [payload.freeze()].into_iter().collect(),
        };
        match Message::decode(&frame)? {
            Message::Reply(reply) if reply.batch == answer.batch => Ok(reply),
            _ => Err(DecodeError::Descriptor),
        }
    }

    /// Whether a reply is there.
    pub(super) fn is_ready(&self) -> bool {
        !self.faulted && self.replies.is_ready()
    }

    /// Where the next reply will be, and the flag to arm before sleeping.
    pub(super) fn awaited(&self) -> (Awaited<SharedWords>, SleepFlag<SharedWords>) {
        (self.replies.awaited(), self.we_sleep.clone())
    }

    /// Moves on what [`Self::awaited`] gave.
    pub(super) fn follow(&self, awaited: &mut Awaited<SharedWords>) {
        awaited.follow(&self.replies);
    }

    /// Asks to be rung for the next reply.
    pub(super) fn arm(&mut self) {
        self.we_sleep.arm();
        self.armed = true;
    }

    /// Note that somebody armed the flag from `awaited`, or may have.
    pub(super) fn may_be_armed(&mut self) {
        self.armed = true;
    }

    /// No need to ring: we look anyway.
    pub(super) fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.we_sleep.disarm();
        }
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub(super) fn check_invariants(&self) {
        let out = self.flights.iter().map(|flight| flight.slot);
        let mut slots: Vec<u16> = self.free_slots.iter().copied().chain(out).collect();
        slots.sort_unstable();
        let all = 0..self.sizes.slots as u16;
        assert!(slots.into_iter().eq(all), "a slot has one holder");
    }

    /// Registers the task for our bell; old rings are forgotten. The eventfd is never read: the
    /// container could make a read of it block, and its edges are enough.
    pub(super) fn poll_bell(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.our_bell.poll_read_ready(context) {
            Poll::Ready(Ok(mut guard)) => {
                guard.clear_ready();
                Poll::Ready(())
            }
            // The runtime is going away.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}
