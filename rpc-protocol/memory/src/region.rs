//! Memory of one session: words that both ends see, and bulk bytes that one end writes.
//!
//! A session has two regions. The front end makes both, and each end may do one thing with the
//! bulk of each, which is what the types say:
//!
//! | region | words | bulk, at the front end | bulk, in the container |
//! |---|---|---|---|
//! | requests, which the container only reads | ring of requests, the front end's sleep flag | [`BulkWriter`] | [`BulkView`] |
//! | results, which the container writes | ring of replies, the container's sleep flag | [`BulkReader`] | [`Slots`] |
//!
//! The front end trusts nothing that a container can write: [`BulkReader::read`] copies it out
//! once, by instructions that assume nothing about what changes meanwhile, and there is no view.
//! A container trusts the front end not to write what it has sent until it is answered.
//!
//! # Invariants
//! - Words are only ever accessed as atomics; bulk never as words.
//! - A result slot has one holder at a time.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::copies::{self, Copied};
use crate::mapping::Mapping;
pub use crate::mapping::{Access, Peer, has_huge_pages};
use zerocopy::IntoBytes;

use crate::payload::{ALIGN, Lent, Line, Owner, Payload, PayloadBuf, lines};
use crate::ring;
use crate::sync::{AtomicU64, Ordering, fence};

/// The size of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Words that both ends see.
    pub words: usize,
    /// Bytes that one end writes; may be 0.
    pub bulk_bytes: usize,
}

impl Layout {
    fn bulk_offset(self) -> usize {
        (self.words * size_of::<AtomicU64>()).next_multiple_of(ALIGN)
    }

    /// Bytes of the whole region.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.bulk_offset() + self.bulk_bytes
    }
}

/// A region, before its parts are taken.
#[derive(Debug)]
pub struct Region {
    mapping: Arc<Mapping>,
    layout: Layout,
}

/// The pages of a region, to be.
#[derive(Debug)]
pub struct Pages(Arc<Mapping>);

impl Pages {
    /// Backs the region with pages. Takes about a millisecond for 4 MiB: not for a thread that
    /// serves.
    pub fn populate(self) {
        self.0.populate();
    }
}

/// Some words of a region.
#[derive(Clone, Debug)]
pub struct SharedWords {
    /// What keeps them mapped.
    _mapping: Arc<Mapping>,
    start: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: words are only accessed as atomics, from wherever.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

/// The bulk bytes of a region, for one use.
#[derive(Debug)]
pub struct Bulk {
    mapping: Arc<Mapping>,
    offset: usize,
    bytes: usize,
}

impl Region {
    /// New zeroed memory. It has no pages yet; see [`Region::pages`].
    ///
    /// # Errors
    /// If the system has no memory or no sealed memory files.
    pub fn create(name: &str, layout: Layout, peer: Peer) -> io::Result<Region> {
        let mapping = Arc::new(Mapping::create(name, layout.bytes(), peer)?);
        Ok(Region { mapping, layout })
    }

    /// What backs the region with pages, on whatever thread.
    #[must_use]
    pub fn pages(&self) -> Pages {
        Pages(self.mapping.clone())
    }

    /// A region that the peer made.
    ///
    /// # Errors
    /// If it has another size or could be shrunk, or cannot be mapped.
    pub fn open(fd: OwnedFd, layout: Layout, access: Access) -> io::Result<Region> {
        let mapping = Arc::new(Mapping::open(fd, layout.bytes(), access)?);
        Ok(Region { mapping, layout })
    }

    /// The descriptor to pass.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.mapping.fd()
    }

    /// `count` words from `first`.
    ///
    /// # Panics
    /// If they are not all there.
    #[must_use]
    pub fn words(&self, first: usize, count: usize) -> SharedWords {
        assert!(first + count <= self.layout.words, "words of the region");
        let width = size_of::<AtomicU64>();
        SharedWords {
            start: self.mapping.at(first * width, count * width).cast(),
            count,
            _mapping: self.mapping.clone(),
        }
    }

    /// The bulk. Taken once: this consumes the region.
    #[must_use]
    pub fn into_bulk(self) -> Bulk {
        Bulk {
            offset: self.layout.bulk_offset(),
            bytes: self.layout.bulk_bytes,
            mapping: self.mapping,
        }
    }
}

impl ring::Words for SharedWords {
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: inside of the mapping by `Region::words`, 8-aligned since mappings start on a
        // page, and words are only accessed as atomics, by every process that maps them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Bulk {
    /// For the end that writes copies into it.
    #[must_use]
    pub fn writer(self) -> BulkWriter {
        BulkWriter(self)
    }

    /// For the end that copies out what a peer wrote.
    #[must_use]
    pub fn reader(self) -> BulkReader {
        BulkReader(self)
    }

    /// For the end that is shown what a peer wrote.
    ///
    /// # Safety
    /// The peer must not write bytes of which there is a view. The front end keeps this towards
    /// its containers: what it sent stays as it is until it is answered or the session is over.
    #[must_use]
    pub unsafe fn view(self) -> BulkView {
        BulkView(self)
    }

    /// For the end that writes in place, `bytes` a slot.
    #[must_use]
    pub fn slots(self, count: usize, bytes: usize) -> Slots {
        let slot = |index: usize| {
            let start = self.mapping.at(self.offset + index * bytes, bytes);
            Arc::new(Slot {
                _memory: SlotMemory::Shared(self.mapping.clone()),
                start,
                bytes,
            })
        };
        Slots((0..count).map(slot).collect())
    }
}

/// Writes copies into a bulk.
#[derive(Debug)]
pub struct BulkWriter(Bulk);

impl BulkWriter {
    /// Copies `bytes` to `offset`; false if they do not fit.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let fits = offset
            .checked_add(bytes.len())
            .is_some_and(|end| end <= self.0.bytes);
        if fits {
            let to = self.0.mapping.at(self.0.offset + offset, bytes.len());
            // SAFETY: inside of the mapping; `&mut self` is the only writer, and nobody in
            // this process reads.
            unsafe {
                to.as_ptr()
                    .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            };
        }
        fits
    }
}

/// Copies out what a peer wrote, whatever the peer does meanwhile.
#[derive(Debug)]
pub struct BulkReader(Bulk);

impl BulkReader {
    /// Appends `bytes` bytes from `offset` to `into`; false if they are not all there.
    pub fn read(&self, offset: usize, bytes: usize, into: &mut PayloadBuf) -> bool {
        let fits = offset
            .checked_add(bytes)
            .is_some_and(|end| end <= self.0.bytes);
        if fits {
            let from = self.0.mapping.at(self.0.offset + offset, bytes);
            let to = into.spare_mut::<u8>(bytes);
            // SAFETY: both are valid for `bytes` bytes; the source may change, which the
            // routine allows.
            unsafe { copy_out(from.as_ptr(), to.as_mut_ptr(), bytes) };
            into.advance::<u8>(bytes);
            copies::record(Copied::Result, bytes);
        }
        fits
    }
}

/// Copies from memory that another process may write at the same time. What arrives is then
/// any mixture of what was there, and nothing else goes wrong: the compiler knows nothing of
/// the source, so it can neither read it twice nor draw conclusions from it.
///
/// # Safety
/// `from` must be mapped and readable, `to` valid for writes, for `bytes` bytes; they must not
/// overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) unsafe fn copy_out(from: *const u8, to: *mut u8, bytes: usize) {
    // SAFETY: by this function's own conditions; the direction flag is clear by the ABI.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") bytes => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}

/// As above, by relaxed atomic bytes.
///
/// # Safety
/// As above.
#[cfg(any(not(target_arch = "x86_64"), miri))]
pub(crate) unsafe fn copy_out(from: *const u8, to: *mut u8, bytes: usize) {
    use std::sync::atomic::{AtomicU8, Ordering};
    for index in 0..bytes {
        // SAFETY: inside of both by this function's conditions; the source is accessed as an
        // atomic here and by no other means in this process.
        unsafe {
            // Relaxed: the bytes are checked once they are private.
            let byte = AtomicU8::from_ptr(from.add(index).cast_mut()).load(Ordering::Relaxed);
            to.add(index).write(byte);
        }
    }
}

/// Shows what a peer wrote, in place.
#[derive(Debug)]
pub struct BulkView(Bulk);

impl BulkView {
    /// `bytes` bytes from `offset`; `None` if they are not all there.
    #[must_use]
    pub fn payload(&self, offset: usize, bytes: usize) -> Option<Payload> {
        let end = offset.checked_add(bytes)?;
        if end > self.0.bytes {
            return None;
        }
        let start = self.0.mapping.at(self.0.offset + offset, bytes);
        let owner = Owner::Lent(self.0.mapping.clone());
        // SAFETY: inside of the mapping, which the owner keeps; that the peer does not write
        // is the condition of `Bulk::view`.
        Some(unsafe { Payload::new(start, bytes, owner) })
    }
}

#[derive(Debug)]
struct Slot {
    _memory: SlotMemory,
    start: NonNull<u8>,
    bytes: usize,
}

/// What a slot's memory is part of.
#[derive(Debug)]
#[allow(dead_code, reason = "it is held, not read")]
enum SlotMemory {
    Shared(Arc<Mapping>),
    Private(Vec<Line>),
}

// SAFETY: a slot is only where memory lies; who may access it is up to `Slots::take`.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

/// Slots of a bulk, each written in place by one holder at a time.
#[derive(Debug)]
pub struct Slots(Vec<Arc<Slot>>);

/// A slot to write results into, piece after piece.
#[derive(Debug)]
pub struct Room {
    slot: Arc<Slot>,
    used: usize,
}

impl Slots {
    /// Slots of this process alone, for what goes on by a copy.
    #[must_use]
    pub fn private(count: usize, bytes: usize) -> Slots {
        let slot = |_| {
            let mut memory = lines(bytes.div_ceil(ALIGN));
            let start = NonNull::from(memory.as_mut_slice().as_mut_bytes()).cast();
            Arc::new(Slot {
                _memory: SlotMemory::Private(memory),
                start,
                bytes,
            })
        };
        Slots((0..count).map(slot).collect())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether `room` is that of slot `index`.
    #[must_use]
    pub fn is_of(&self, index: usize, room: &Room) -> bool {
        self.0
            .get(index)
            .is_some_and(|slot| Arc::ptr_eq(slot, &room.slot))
    }

    /// Takes a slot; `None` if there is no such slot, or something still holds it.
    pub fn take(&mut self, index: usize) -> Option<Room> {
        let slot = self.0.get(index)?;
        if Arc::strong_count(slot) > 1 {
            return None;
        }
        // Acquire what the last holder wrote; nobody but this list can make another one.
        fence(Ordering::Acquire);
        let slot = slot.clone();
        Some(Room { slot, used: 0 })
    }
}

impl Room {
    /// Bytes that are left.
    #[must_use]
    pub fn bytes_left(&self) -> usize {
        self.slot.bytes - self.used
    }

    /// Bytes that were carved, with what lies between the pieces.
    #[must_use]
    pub fn bytes_used(&self) -> usize {
        self.used
    }

    /// The next piece, 64-aligned, `bytes` long and empty; `None` if there is not enough room.
    pub fn carve(&mut self, bytes: usize) -> Option<PayloadBuf> {
        let from = self.used;
        let used = from.checked_add(bytes)?.checked_next_multiple_of(ALIGN)?;
        if used > self.slot.bytes {
            return None;
        }
        self.used = used;
        // SAFETY: inside of the slot, which was just checked.
        let start = unsafe { self.slot.start.add(from) };
        let owner = Owner::Shared(self.slot.clone());
        // SAFETY: inside of the slot, whose only holder is this room and what it carved;
        // pieces do not overlap, and the owner keeps the mapping.
        Some(unsafe { Lent::new(start, bytes, owner) }.into())
    }

    /// Where in the slot `payload` lies, if it was carved from it.
    #[must_use]
    pub fn offset_of(&self, payload: &Payload) -> Option<usize> {
        let offset = payload
            .start()
            .addr()
            .get()
            .checked_sub(self.slot.start.addr().get())?;
        (offset.checked_add(payload.len())? <= self.slot.bytes).then_some(offset)
    }
}

#[cfg(test)]
mod tests;
