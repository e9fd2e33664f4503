//! The memory that both ends of a ring see.
//!
//! Two rings of entries and a slot for each payload in flight. An entry is published by one
//! release store of its turn number, and read after an acquire load has seen that turn; the
//! reader never writes to it. There are more entries than requests in flight, so an entry is
//! filled again only after the answer to its last request has been read.

#![allow(
    unsafe_code,
    reason = "memory shared with another process; nothing safe maps it"
)]

use std::cell::UnsafeCell;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::{Context, Result};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::harness::WINDOW;
use crate::payload::BYTES_MAX;

/// Entries of a ring, a power of two.
const ENTRIES: u64 = 16;
/// Payloads up to this size lie in the entry.
pub(super) const INLINE_BYTES: usize = 64;
/// Where the slots begin: at a page.
const SLOTS_AT: usize = 4096;
const MAP_BYTES: usize = SLOTS_AT + WINDOW * BYTES_MAX;

const _: () = assert!(size_of::<Control>() <= SLOTS_AT && BYTES_MAX.is_multiple_of(4096));
const _: () = assert!(ENTRIES > WINDOW as u64);
const _: () = assert!(size_of::<RequestEntry>() == 128 && size_of::<AnswerEntry>() == 64);

/// A request. The fields besides the turn are atomics only so that they can be shared.
#[repr(C, align(128))]
pub(super) struct RequestEntry {
    turn: AtomicU32,
    bytes: AtomicU32,
    ticket: AtomicU64,
    slot: AtomicU32,
    inline: Inline,
}

/// A small payload, in the entry's second line.
#[repr(C, align(64))]
struct Inline(UnsafeCell<[u8; INLINE_BYTES]>);

/// An answer: one line.
#[repr(C, align(64))]
struct AnswerEntry {
    turn: AtomicU32,
    sum: AtomicU32,
    ticket: AtomicU64,
    slot: AtomicU32,
}

/// Whether a side sleeps, or is about to; only that side writes it.
#[repr(C, align(128))]
pub(super) struct Sleeper(AtomicU32);

#[repr(C)]
struct Control {
    requests: [RequestEntry; ENTRIES as usize],
    answers: [AnswerEntry; ENTRIES as usize],
    front: Sleeper,
    peer: Sleeper,
}

/// What a request's entry says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) ticket: u64,
    pub(super) bytes: u32,
    pub(super) slot: u32,
}

/// What an answer's entry says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) ticket: u64,
    pub(super) sum: f32,
    pub(super) slot: u32,
}

/// The mapping, in either process.
pub(super) struct Map {
    base: NonNull<u8>,
}

// SAFETY: the mapping belongs to the process, not to a thread; its parts are atomics, or are
// handed from one side to the other by the turn numbers.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

/// The turn of the entry at `position`; never that of fresh memory.
fn turn(position: u64) -> u32 {
    // Turns of one entry repeat after 2^32 rounds of the ring, long after it was read.
    ((position / ENTRIES + 1) % (u64::from(u32::MAX) + 1)) as u32
}

impl Map {
    /// Fresh memory, and the descriptor by which a child inherits it.
    pub(super) fn create() -> Result<(Map, OwnedFd)> {
        let memory = memfd_create("ring", MemfdFlags::empty()).context("no memfd")?;
        ftruncate(&memory, MAP_BYTES as u64).context("no memory for the ring")?;
        Ok((Map::open(&memory)?, memory))
    }

    /// The memory that another process created.
    pub(super) fn open(memory: &impl AsFd) -> Result<Map> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                MAP_BYTES,
                protection,
                flags,
                memory,
                0,
            )
        };
        let base = NonNull::new(base.context("cannot map the ring")?.cast());
        Ok(Map {
            base: base.context("the ring is mapped at null")?,
        })
    }

    fn control(&self) -> &Control {
        // SAFETY: the mapping starts at a page, is larger than `Control`, and lives as long as
        // `self`; all zeros is a valid one, and everything in it may change under a shared
        // reference.
        unsafe { self.base.cast::<Control>().as_ref() }
    }

    fn request(&self, position: u64) -> &RequestEntry {
        &self.control().requests[(position % ENTRIES) as usize]
    }

    fn answer(&self, position: u64) -> &AnswerEntry {
        &self.control().answers[(position % ENTRIES) as usize]
    }

    pub(super) fn front_sleeper(&self) -> &Sleeper {
        &self.control().front
    }

    pub(super) fn peer_sleeper(&self) -> &Sleeper {
        &self.control().peer
    }

    fn place(&self, position: u64, request: Request) -> *mut [u8] {
        let bytes = request.bytes as usize;
        let first = if bytes <= INLINE_BYTES {
            self.request(position).inline.0.get().cast()
        } else {
            assert!((request.slot as usize) < WINDOW && bytes <= BYTES_MAX);
            let offset = SLOTS_AT + request.slot as usize * BYTES_MAX;
            // SAFETY: the slot lies inside the mapping, by the assertion above.
            unsafe { self.base.add(offset).as_ptr() }
        };
        std::ptr::slice_from_raw_parts_mut(first, bytes)
    }

    /// Where to write the payload of the request at `position` before publishing it.
    ///
    /// # Safety
    /// The slot is free, and so is the entry: the answer to the request that was
    /// [`ENTRIES`] positions before has been read. One such reference at a time.
    #[allow(
        clippy::mut_from_ref,
        reason = "the memory is shared with another process"
    )]
    pub(super) unsafe fn payload_mut(&self, position: u64, request: Request) -> &mut [u8] {
        // SAFETY: nobody else looks at a free slot or entry, as the caller promises.
        unsafe { &mut *self.place(position, request) }
    }

    /// The payload of the request at `position`.
    ///
    /// # Safety
    /// The request was read with [`Self::take_request`] and is not answered yet.
    pub(super) unsafe fn payload(&self, position: u64, request: Request) -> &[u8] {
        // SAFETY: the front side leaves it alone until it has read the answer.
        unsafe { &*self.place(position, request) }
    }

    pub(super) fn publish_request(&self, position: u64, request: Request) {
        let entry = self.request(position);
        entry.bytes.store(request.bytes, Ordering::Relaxed);
        entry.ticket.store(request.ticket, Ordering::Relaxed);
        entry.slot.store(request.slot, Ordering::Relaxed);
        // Pairs with the load in `take_request`: payload and fields are there.
        entry.turn.store(turn(position), Ordering::Release);
    }

    pub(super) fn take_request(&self, position: u64) -> Option<Request> {
        let entry = self.request(position);
        // Pairs with the store in `publish_request`.
        (entry.turn.load(Ordering::Acquire) == turn(position)).then(|| Request {
            ticket: entry.ticket.load(Ordering::Relaxed),
            bytes: entry.bytes.load(Ordering::Relaxed),
            slot: entry.slot.load(Ordering::Relaxed),
        })
    }

    pub(super) fn publish_answer(&self, position: u64, answer: Answer) {
        let entry = self.answer(position);
        entry.sum.store(answer.sum.to_bits(), Ordering::Relaxed);
        entry.ticket.store(answer.ticket, Ordering::Relaxed);
        entry.slot.store(answer.slot, Ordering::Relaxed);
        // Pairs with the load in `take_answer`: the payload was read, the fields are there.
        entry.turn.store(turn(position), Ordering::Release);
    }

    pub(super) fn take_answer(&self, position: u64) -> Option<Answer> {
        let entry = self.answer(position);
        // Pairs with the store in `publish_answer`.
        (entry.turn.load(Ordering::Acquire) == turn(position)).then(|| Answer {
            ticket: entry.ticket.load(Ordering::Relaxed),
            sum: f32::from_bits(entry.sum.load(Ordering::Relaxed)),
            slot: entry.slot.load(Ordering::Relaxed),
        })
    }

    /// Whether the answer at `position` is there.
    pub(super) fn has_answer(&self, position: u64) -> bool {
        // Relaxed: who takes the answer looks again.
        self.answer(position).turn.load(Ordering::Relaxed) == turn(position)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped in `open` with this length; no reference outlives `self`.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), MAP_BYTES) };
        debug_assert!(unmapped.is_ok(), "mapped once, unmapped once");
    }
}

impl Sleeper {
    /// About to sleep: look once more, then wait for the event.
    pub(super) fn lie_down(&self) {
        self.0.store(1, Ordering::Relaxed);
        // Pairs with the fence in `must_be_woken`: one of the two sides sees what the other
        // wrote, so an entry is not missed.
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    pub(super) fn get_up(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether the other side must be woken for the entry that was just published.
    pub(super) fn must_be_woken(&self) -> bool {
        // Pairs with the fence in `lie_down`.
        std::sync::atomic::fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read_once_at_its_turn() {
        let (front, memory) = Map::create().expect("memory");
        let peer = Map::open(&memory).expect("the same memory");
        for position in 0..3 * ENTRIES {
            assert!(peer.take_request(position).is_none(), "not published yet");
            let bytes = if position % 2 == 0 { 64 } else { 3136 };
            let slot = (position % WINDOW as u64) as u32;
            let request = Request {
                ticket: position,
                bytes,
                slot,
            };
            // SAFETY: every earlier request was answered.
            unsafe { front.payload_mut(position, request) }.fill(position as u8);
            front.publish_request(position, request);
            let found = peer.take_request(position).expect("published");
            assert_eq!((found.ticket, found.bytes), (position, bytes));
            // SAFETY: read above, not answered yet.
            let payload = unsafe { peer.payload(position, found) };
            assert!(payload.iter().all(|byte| *byte == position as u8));
            assert!(!front.has_answer(position));
            let answer = Answer {
                ticket: position,
                sum: 0.5,
                slot,
            };
            peer.publish_answer(position, answer);
            assert!(front.has_answer(position));
            let found = front.take_answer(position).expect("published");
            assert_eq!((found.ticket, found.sum, found.slot), (position, 0.5, slot));
        }
    }
}
