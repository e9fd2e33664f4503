//! The container's end of one shared path.
//!
//! It trusts its front end as far as the layout goes, and checks what it is told all the same:
//! a slot that is taken, rows that are not there and blocks that do not fit end the session.

#![allow(
    unsafe_code,
    reason = "the front end promises not to write what it has sent; see `open`"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::net::sockopt::Timeout;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use skysail_memory::copies::{self, Copied};
use skysail_memory::payload::ALIGN;
use skysail_memory::region::{Access, BulkView, Region, Room, SharedWords, Slots};
use skysail_memory::ring::{Consumer, ENTRY_WORDS, Producer, RING_WORDS, SleepFlag, Words};
use skysail_memory::rows::{RowRange, RowView};
use smallvec::SmallVec;

use super::descriptor::{Answer, Content, INLINE_WORDS, Place, Request};
use super::setup::{CHALLENGE_WORD, FLAG_WORD, READY, Setup, Sizes, inline_rows_max, visit};
use crate::limits::HEADER_BYTES_MAX;
use crate::message::{
    BatchId, DecodeError, Encoder, Frame, Message, Offer, Outcome, Predict, Reply, Tensors,
};
use crate::payload::Payload;
use crate::tensor::{Column, Columns, Schema, columns_from_parts};

/// The handshake takes no longer, or the session stays on its transport.
const HANDSHAKE: Duration = Duration::from_millis(200);

/// A shared path to the front end.
pub(super) struct ContainerPath {
    requests: Consumer<SharedWords>,
    blocks: BulkView,
    replies: Producer<SharedWords>,
    slots: Slots,
    /// Where small results are written before they go into their descriptor.
    small: Slots,
    log: Option<RowView>,
    sizes: Sizes,
    schema: Arc<Schema>,
    inline_rows_max: usize,
    in_hand: SmallVec<[(BatchId, u16); 4]>,
    frontend_sleeps: SleepFlag<SharedWords>,
    frontend_bell: OwnedFd,
    we_sleep: SleepFlag<SharedWords>,
    our_bell: OwnedFd,
    encoder: Encoder,
    armed: bool,
    /// The front end has closed its end of our bell: it has done with this path, and says so
    /// by the transport, or is gone.
    is_over: bool,
    /// Open as long as the path is in use: its end tells the other side.
    _control: OwnedFd,
}

impl ContainerPath {
    /// Fetches the memory that `offer` promises from the control socket in `directory`.
    ///
    /// # Errors
    /// At which step it failed, and why.
    pub(super) fn open(
        directory: &Path,
        offer: &Offer,
        schema: &Arc<Schema>,
    ) -> Result<ContainerPath, String> {
        let step = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        if offer.socket.contains('/') {
            return Err("the front end names a control socket in another directory".to_owned());
        }
        let control = connect(&directory.join(&offer.socket))
            .map_err(step("cannot connect to the front end's control socket"))?;
        rustix::net::send(&control, &visit(&offer.nonce), SendFlags::NOSIGNAL)
            .map_err(io::Error::from)
            .map_err(step("cannot show the nonce"))?;
        let setup = Setup::receive(&control).map_err(step("no shared memory was passed"))?;
        // SAFETY: the front end that made the memory keeps rows and blocks of a batch as they
        // are until the batch is answered or this session is over.
        let path = unsafe { Self::map(setup, control, schema) };
        path.map_err(step("cannot map the shared memory"))
    }

    /// # Safety
    /// The front end must not write rows and blocks of a batch in hand.
    unsafe fn map(
        setup: Setup<OwnedFd>,
        control: OwnedFd,
        schema: &Arc<Schema>,
    ) -> io::Result<ContainerPath> {
        let Setup {
            sizes,
            challenge,
            descriptors,
        } = setup;
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or(io::ErrorKind::InvalidData);
        let requests = Region::open(next()?, sizes.requests(), Access::Read)?;
        let results = Region::open(next()?, sizes.results(), Access::Write)?;
        let (frontend_bell, our_bell) = (next()?, next()?);
        let log = match sizes.log(schema) {
            // SAFETY: by this function's own condition.
            Some(layout) => Some(unsafe { RowView::open(next()?, layout)? }),
            None => None,
        };
        let asked = requests.words(CHALLENGE_WORD, 1);
        // Relaxed: written before the setup message was sent.
        if asked.words()[0].load(Ordering::Relaxed) != challenge {
            return Err(io::Error::other("it is not the front end's memory"));
        }
        // Relaxed: read after the message that follows.
        results.words(CHALLENGE_WORD, 1).words()[0].store(!challenge, Ordering::Relaxed);
        let path = ContainerPath {
            requests: Consumer::new(requests.words(0, RING_WORDS)),
            frontend_sleeps: SleepFlag::new(requests.words(FLAG_WORD, 1)),
            // SAFETY: by this function's own condition.
            blocks: unsafe { requests.into_bulk().view() },
            replies: Producer::new(results.words(0, RING_WORDS)),
            we_sleep: SleepFlag::new(results.words(FLAG_WORD, 1)),
            slots: results.into_bulk().slots(sizes.slots, sizes.slot_bytes),
            small: Slots::private(sizes.slots, schema.outputs.len() * ALIGN),
            log,
            sizes,
            schema: schema.clone(),
            inline_rows_max: inline_rows_max(schema),
            in_hand: SmallVec::new(),
            frontend_bell,
            our_bell,
            encoder: Encoder::default(),
            armed: false,
            is_over: false,
            _control: control,
        };
        rustix::net::send(&path._control, &[READY], SendFlags::NOSIGNAL)?;
        Ok(path)
    }

    /// The next batch and the room for its results, or what is wrong with it.
    pub(super) fn recv(&mut self) -> Option<Result<(Predict, Room), DecodeError>> {
        let mut entry = [0; ENTRY_WORDS];
        self.requests.recv(&mut entry).then(|| {
            let request = Request::read(&entry).ok_or(DecodeError::Descriptor)?;
            self.take(&request)
        })
    }

    fn take(&mut self, request: &Request<'_>) -> Result<(Predict, Room), DecodeError> {
        let slot = usize::from(request.slot);
        let room = match request.rows as usize <= self.inline_rows_max {
            // One cache line less: the results go into the descriptor.
            true => self.small.take(slot),
            false => self.slots.take(slot),
        };
        let room = room.ok_or(DecodeError::Descriptor)?;
        let columns = match request.place {
            Place::Ranges(ranges) => self.rows(request.rows, ranges)?,
            Place::Block {
                header_bytes,
                payload_bytes,
            } => self.block(request, header_bytes, payload_bytes)?,
        };
        self.in_hand.push((request.batch, request.slot));
        let predict = Predict {
            batch: request.batch,
            rows: request.rows,
            remaining: request.remaining,
            tensors: Tensors::Columns(columns),
        };
        Ok((predict, room))
    }

    /// The tensors of a batch that lies in the row log.
    fn rows(&self, rows: u32, ranges: &[RowRange]) -> Result<Columns, DecodeError> {
        let log = self.log.as_ref().ok_or(DecodeError::Descriptor)?;
        let found: u64 = ranges.iter().map(|range| u64::from(range.rows)).sum();
        if found != u64::from(rows) {
            return Err(DecodeError::Descriptor);
        }
        let mut columns = Columns::new();
        for (index, spec) in self.schema.inputs.iter().enumerate() {
            let data = log.payload(index, ranges).ok_or(DecodeError::Descriptor)?;
            columns.push(Column::of_rows(spec, rows as usize, data)?);
        }
        Ok(columns)
    }

    /// The tensors of a batch that lies in its block.
    fn block(
        &self,
        request: &Request<'_>,
        header_bytes: usize,
        payload_bytes: usize,
    ) -> Result<Columns, DecodeError> {
        let base = usize::from(request.slot) * self.sizes.block_bytes;
        if header_bytes > HEADER_BYTES_MAX {
            return Err(DecodeError::Descriptor);
        }
        let payload_offset = header_bytes.next_multiple_of(ALIGN);
        let end = payload_offset.checked_add(payload_bytes);
        // The next block is another batch's, which the front end may write.
        if end.is_none_or(|end| end > self.sizes.block_bytes) {
            return Err(DecodeError::Descriptor);
        }
        let payload_base = base + payload_offset;
        let header = self.blocks.payload(base, header_bytes);
        let payload = self.blocks.payload(payload_base, payload_bytes);
        let (Some(header), Some(payload)) = (header, payload) else {
            return Err(DecodeError::Descriptor);
        };
        let payloads = [payload].into_iter().collect();
        match Message::decode(&Frame { header, payloads })? {
            Message::Predict(predict) if predict.batch == request.batch => {
                let rows = request.rows as usize;
                let parts = predict.tensors.into_parts();
                Ok(columns_from_parts(&self.schema.inputs, rows, &parts)?)
            }
            _ => Err(DecodeError::Descriptor),
        }
    }

    /// Sends a reply to a batch of this path; false if it is none, or needs the transport.
    pub(super) fn send(&mut self, message: &mut Message, room: Option<Room>) -> bool {
        let Message::Reply(reply) = &*message else {
            return false;
        };
        let found = self
            .in_hand
            .iter()
            .position(|(batch, _)| *batch == reply.batch);
        let Some(at) = found else { return false };
        let (batch, slot) = self.in_hand.swap_remove(at);
        let (rows, compute) = (reply.rows, reply.compute);
        let small = rows as usize <= self.inline_rows_max;
        let content = match small.then(|| inline(reply)).flatten() {
            Some(results) => Content::Inline(results),
            None => match self.write(slot, message, room) {
                Some(content) => content,
                None => return false,
            },
        };
        let answer = Answer {
            batch,
            rows,
            compute,
            content,
        };
        self.replies.send(answer.write(&mut [0; ENTRY_WORDS]));
        if self.frontend_sleeps.is_set() {
            // It counts; that it is full already is enough of a bell.
            let _ = rustix::io::write(&self.frontend_bell, &1_u64.to_ne_bytes());
        }
        true
    }

    /// Puts results into their slot, as far as they are not there yet.
    fn write(&mut self, slot: u16, message: &mut Message, room: Option<Room>) -> Option<Content> {
        let index = usize::from(slot);
        // A model that failed has dropped its room, and small results have another.
        let shared = room.filter(|room| self.slots.is_of(index, room));
        let mut room = shared.or_else(|| self.slots.take(index))?;
        if in_place(message, &room) {
            return Some(Content::Rows);
        }
        let content = write_frame(&mut self.encoder, message, &mut room);
        if content.is_none() {
            move_out(message, &room);
        }
        content
    }

    /// Whether a batch is there.
    pub(super) fn is_ready(&self) -> bool {
        self.requests.is_ready()
    }

    /// Asks to be rung for the next batch.
    pub(super) fn arm(&mut self) {
        self.we_sleep.arm();
        self.armed = true;
    }

    /// No need to ring: we look anyway. Rings of before are forgotten.
    pub(super) fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.we_sleep.disarm();
            let mut rings = [0; 64];
            let mut read = || rustix::io::read(&self.our_bell, &mut rings);
            let last = std::iter::repeat_with(&mut read).find(|read| *read != Ok(64));
            self.is_over |= last == Some(Ok(0));
        }
    }

    /// Readable when it rang; none once it never will.
    pub(super) fn bell(&self) -> Option<BorrowedFd<'_>> {
        (!self.is_over).then(|| self.our_bell.as_fd())
    }
}

/// The results as they stand in a descriptor, if they fit there and there is nothing else to tell.
fn inline(reply: &Reply) -> Option<[u64; INLINE_WORDS]> {
    let Tensors::Columns(columns) = &reply.tensors else {
        return None;
    };
    let plain = reply.outcome == Outcome::Ok && reply.row_errors.is_empty();
    if !plain || !columns.iter().all(Column::is_of_fixed_rows) {
        return None;
    }
    let (mut bytes, mut offset) = ([0; INLINE_WORDS * size_of::<u64>()], 0);
    for column in columns {
        let data = column.data().as_bytes();
        bytes
            .get_mut(offset..)?
            .get_mut(..data.len())?
            .copy_from_slice(data);
        offset += data.len().next_multiple_of(size_of::<u64>());
    }
    let mut words = bytes.chunks_exact(size_of::<u64>());
    Some(std::array::from_fn(|_| {
        let word = words.next().and_then(|word| word.try_into().ok());
        u64::from_ne_bytes(word.unwrap_or_default())
    }))
}

/// Whether the results lie in their slot as the schema says, one after the other, with nothing
/// else to tell.
fn in_place(message: &Message, room: &Room) -> bool {
    let Message::Reply(reply) = message else {
        return false;
    };
    let Tensors::Columns(columns) = &reply.tensors else {
        return false;
    };
    let mut offset = 0;
    reply.outcome == Outcome::Ok
        && reply.row_errors.is_empty()
        && columns.iter().all(|column| {
            let expected = offset;
            offset += column.data().len().next_multiple_of(ALIGN);
            column.is_of_fixed_rows() && room.offset_of(column.data()) == Some(expected)
        })
}

/// Writes a reply's header, and the payloads that are not there yet, into the slot.
fn write_frame(encoder: &mut Encoder, message: &Message, room: &mut Room) -> Option<Content> {
    let header = encoder.encode_placed(message, |payload| {
        room.offset_of(payload).or_else(|| put(payload, room))
    })?;
    let payload_bytes = room.bytes_used();
    Some(Content::Frame {
        header_offset: put(&header, room)?,
        header_bytes: header.len(),
        payload_bytes,
    })
}

/// A reply that goes by the transport instead: nothing of it may lie in the slot, which is
/// free as soon as the front end has the reply.
#[cold]
fn move_out(message: &mut Message, room: &Room) {
    let Message::Reply(reply) = message else {
        return;
    };
    let mut parts = std::mem::take(&mut reply.tensors).into_parts();
    for part in &mut parts {
        if room.offset_of(&part.payload).is_some() {
            copies::record(Copied::Block, part.payload.len());
            part.payload = Payload::copy_from_slice(part.payload.as_bytes());
        }
    }
    reply.tensors = parts.into();
}

/// Copies a payload into what is left of the room.
fn put(payload: &Payload, room: &mut Room) -> Option<usize> {
    let offset = room.bytes_used();
    room.carve(payload.len())?
        .extend_from_slice(payload.as_bytes());
    copies::record(Copied::Block, payload.len());
    Some(offset)
}

/// A control socket whose operations take no longer than the handshake may.
fn connect(path: &Path) -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    for timeout in [Timeout::Recv, Timeout::Send] {
        rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(HANDSHAKE))?;
    }
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}
