//! Aligned, reference-counted bytes of tensors.
//!
//! A [`PayloadBuf`] is written by one owner; [`PayloadBuf::freeze`] makes it a [`Payload`],
//! which is cheap to clone and to slice and is never copied by the layers above. Where the bytes
//! lie is up to who made the buffer: on the heap, in a row of a row log, in a block of a pool,
//! in a result slot of shared memory. A payload may also borrow foreign memory, such as a
//! received ZeroMQ message, for as long as any clone of it lives.
//!
//! # Invariants
//! - A buffer on the heap starts 64-aligned, and stays so when it is frozen. A row lies on a
//!   multiple of its elements' size, everything else lent on a multiple of 64.
//! - A payload from [`Payload::from_owner`] starts on a multiple of [`ALIGN_MIN`]; owners
//!   whose bytes do not are copied once.
//! - Typed views check alignment and length; they never read outside the payload.
//! - While a `PayloadBuf` exists nobody else sees its bytes; while a `Payload` exists nobody
//!   writes them.
//!
//! # Cost
//! `freeze` of the heap and `from_owner`: one allocation for the count; of lent memory: none.
//! `slice`, `clone`: one or two atomic additions. A heap buffer zeroes what it grows by.

use std::ptr::NonNull;
use std::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::copies::{self, Copied};
use crate::mapping::Mapping;
use crate::rows::RowRef;

/// Alignment of a buffer that this process allocates, one cache line.
pub const ALIGN: usize = 64;
/// Alignment of a foreign payload's base: that of the widest element.
pub const ALIGN_MIN: usize = 8;

/// A type that any bytes may be seen as.
pub trait Pod: FromBytes + IntoBytes + Immutable + KnownLayout {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout> Pod for T {}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; ALIGN]);

const _: () = assert!(size_of::<Line>() == ALIGN && align_of::<Line>() == ALIGN);

/// So many zeroed lines.
pub(crate) fn lines(count: usize) -> Vec<Line> {
    vec![Line([0; ALIGN]); count]
}

/// What keeps a payload's bytes where they are.
#[derive(Clone, Default)]
pub(crate) enum Owner {
    /// Nothing: there are no bytes.
    #[default]
    Nobody,
    /// A row of a row log.
    Row(RowRef),
    /// Memory that a peer writes again once the batch is answered; see [`crate::views`].
    Lent(Arc<Mapping>),
    /// Anything else.
    #[allow(dead_code, reason = "it is held, not read")]
    Shared(Arc<dyn Send + Sync>),
}

/// Memory that somebody else owns, for one writer.
pub(crate) struct Lent {
    start: NonNull<u8>,
    capacity: usize,
    owner: Owner,
}

impl Lent {
    /// # Safety
    /// `start` must be valid for reads and writes of `capacity` initialised bytes as long as
    /// `owner` or a clone of it lives, and nobody else may access them until then.
    pub(crate) unsafe fn new(start: NonNull<u8>, capacity: usize, owner: Owner) -> Lent {
        Lent {
            start,
            capacity,
            owner,
        }
    }
}

enum Storage {
    Heap(Vec<Line>),
    Lent(Lent),
}

/// Bytes being written, growable.
pub struct PayloadBuf {
    storage: Storage,
    len: usize,
}

// SAFETY: lent memory has one writer, this buffer, wherever it goes; its owner is Send.
unsafe impl Send for PayloadBuf {}
// SAFETY: a shared buffer is only read.
unsafe impl Sync for PayloadBuf {}

impl Default for PayloadBuf {
    fn default() -> Self {
        PayloadBuf::with_capacity(0)
    }
}

impl From<Lent> for PayloadBuf {
    fn from(lent: Lent) -> Self {
        let storage = Storage::Lent(lent);
        PayloadBuf { storage, len: 0 }
    }
}

impl PayloadBuf {
    /// An empty buffer on the heap with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        PayloadBuf {
            storage: Storage::Heap(lines(bytes.div_ceil(ALIGN))),
            len: 0,
        }
    }

    /// A buffer of `bytes` zeros on the heap.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        let mut buf = Self::with_capacity(bytes);
        buf.len = bytes;
        buf
    }

    /// Bytes written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit without moving.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match &self.storage {
            Storage::Heap(lines) => lines.len() * ALIGN,
            Storage::Lent(lent) => lent.capacity,
        }
    }

    /// The bytes written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let room = match &self.storage {
            Storage::Heap(lines) => lines.as_slice().as_bytes(),
            // SAFETY: by `Lent::new` the memory is valid as long as its owner, which is here,
            // and nobody else writes it.
            Storage::Lent(lent) => unsafe {
                std::slice::from_raw_parts(lent.start.as_ptr(), lent.capacity)
            },
        };
        &room[..self.len]
    }

    /// The bytes written, to change.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        &mut self.room()[..len]
    }

    /// The whole elements written, or `None` if the length or the alignment does not fit them.
    #[must_use]
    pub fn as_slice<T: Pod>(&self) -> Option<&[T]> {
        <[T]>::ref_from_bytes(self.as_bytes()).ok()
    }

    /// As [`Self::as_slice`], to change.
    pub fn as_mut_slice<T: Pod>(&mut self) -> Option<&mut [T]> {
        <[T]>::mut_from_bytes(self.as_bytes_mut()).ok()
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.spare(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends one element.
    #[allow(clippy::needless_pass_by_value, reason = "elements are numbers")]
    pub fn push<T: Pod>(&mut self, element: T) {
        self.extend_from_slice(element.as_bytes());
    }

    /// Appends zeros up to the next multiple of `align`.
    pub fn pad_to(&mut self, align: usize) {
        self.extend_with_zeros(self.len.next_multiple_of(align) - self.len);
    }

    /// Room for at least `elements` more, to be written and then claimed with
    /// [`Self::advance`]. Empty if the length so far is not a multiple of an element.
    pub fn spare_mut<T: Pod>(&mut self, elements: usize) -> &mut [T] {
        let spare = self.spare(elements.saturating_mul(size_of::<T>()));
        let whole = spare.len() / size_of::<T>() * size_of::<T>();
        <[T]>::mut_from_bytes(&mut spare[..whole]).unwrap_or(&mut [])
    }

    /// Claims `elements` written through [`Self::spare_mut`].
    ///
    /// # Panics
    /// If there is less room than that.
    pub fn advance<T: Pod>(&mut self, elements: usize) {
        let len = self.len + elements * size_of::<T>();
        assert!(
            len <= self.capacity(),
            "advanced past the room of the buffer"
        );
        self.len = len;
    }

    /// Appends `bytes` zeros.
    pub fn extend_with_zeros(&mut self, bytes: usize) {
        self.spare(bytes)[..bytes].fill(0);
        self.len += bytes;
    }

    /// Shortens the buffer to `bytes`; does nothing if it is shorter.
    pub fn truncate(&mut self, bytes: usize) {
        self.len = self.len.min(bytes);
    }

    /// Ends writing. The bytes do not move.
    #[must_use]
    pub fn freeze(self) -> Payload {
        let len = self.len;
        match self.storage {
            Storage::Heap(lines) => {
                let start = NonNull::from(lines.as_slice().as_bytes()).cast();
                let owner = Owner::Shared(Arc::new(lines));
                Payload { start, len, owner }
            }
            Storage::Lent(Lent { start, owner, .. }) => Payload { start, len, owner },
        }
    }

    /// All of the room, written or not.
    fn room(&mut self) -> &mut [u8] {
        match &mut self.storage {
            Storage::Heap(lines) => lines.as_mut_slice().as_mut_bytes(),
            // SAFETY: by `Lent::new` the memory is valid as long as its owner, which is here,
            // and this buffer, borrowed mutably, is the only one that accesses it.
            Storage::Lent(lent) => unsafe {
                std::slice::from_raw_parts_mut(lent.start.as_ptr(), lent.capacity)
            },
        }
    }

    fn spare(&mut self, bytes: usize) -> &mut [u8] {
        let wanted = self.len.saturating_add(bytes);
        if wanted > self.capacity() {
            self.grow(wanted);
        }
        let len = self.len;
        &mut self.room()[len..]
    }

    /// Makes room on the heap; lent memory is given back.
    #[cold]
    fn grow(&mut self, wanted: usize) {
        let count = wanted.div_ceil(ALIGN);
        match &mut self.storage {
            Storage::Heap(heap) => {
                let count = count.max(2 * heap.len());
                heap.resize(count, Line([0; ALIGN]));
            }
            Storage::Lent(_) => {
                let mut heap = lines(count);
                heap.as_mut_slice().as_mut_bytes()[..self.len].copy_from_slice(self.as_bytes());
                self.storage = Storage::Heap(heap);
            }
        }
    }
}

impl AsRef<[u8]> for PayloadBuf {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl std::fmt::Debug for PayloadBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PayloadBuf({} bytes)", self.len)
    }
}

/// Immutable shared bytes of a tensor, or of a part of one.
#[derive(Clone)]
pub struct Payload {
    start: NonNull<u8>,
    len: usize,
    owner: Owner,
}

// SAFETY: the bytes are only read as long as any payload lives, and every owner is Send and Sync.
unsafe impl Send for Payload {}
// SAFETY: as above.
unsafe impl Sync for Payload {}

impl Default for Payload {
    fn default() -> Self {
        Payload {
            start: NonNull::<Line>::dangling().cast(),
            len: 0,
            owner: Owner::Nobody,
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Payload {}

impl Payload {
    /// Lends the bytes of `owner`, which lives until the last clone is dropped. Copies them
    /// once if their base is not on a multiple of [`ALIGN_MIN`].
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let lent = Self::from_unaligned(owner);
        if lent.start.addr().get().is_multiple_of(ALIGN_MIN) {
            return lent;
        }
        copies::record(Copied::Misaligned, lent.len);
        Self::copy_from_slice(lent.as_bytes())
    }

    /// As [`Payload::from_owner`], but never copies: for bytes that are read as bytes.
    pub fn from_unaligned(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        // Shared first: what an owner shows may move with it.
        let owner = Arc::new(owner);
        let bytes = (*owner).as_ref();
        let (start, len) = (NonNull::from(bytes).cast::<u8>(), bytes.len());
        let owner = Owner::Shared(owner);
        Payload { start, len, owner }
    }

    /// # Safety
    /// `start` must be valid for reads of `len` initialised bytes that nobody writes, as long
    /// as `owner` or a clone of it lives.
    pub(crate) unsafe fn new(start: NonNull<u8>, len: usize, owner: Owner) -> Self {
        Payload { start, len, owner }
    }

    /// A copy of `bytes`, 64-aligned.
    #[must_use]
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        let mut buf = PayloadBuf::with_capacity(bytes.len());
        buf.extend_from_slice(bytes);
        buf.freeze()
    }

    /// A payload that holds no row of a log: a copy if this one does, for `why`.
    #[must_use]
    pub fn without_row(&self, why: Copied) -> Self {
        match self.owner {
            Owner::Row(_) => {
                copies::record(why, self.len);
                Self::copy_from_slice(self.as_bytes())
            }
            Owner::Nobody | Owner::Lent(_) | Owner::Shared(_) => self.clone(),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: valid, and written by nobody, as long as the owner lives: by construction in
        // `freeze`, `from_owner` and `new`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements in place, or `None` if the length or the alignment does not fit them.
    #[must_use]
    pub fn as_slice<T: Pod>(&self) -> Option<&[T]> {
        <[T]>::ref_from_bytes(self.as_bytes()).ok()
    }

    /// `bytes` bytes from `offset`, sharing the same memory; `None` if they are not all there.
    #[must_use]
    pub fn slice(&self, offset: usize, bytes: usize) -> Option<Payload> {
        let end = offset.checked_add(bytes).filter(|end| *end <= self.len)?;
        debug_assert!(offset <= end);
        Some(Payload {
            // SAFETY: the offset is inside of this payload, which was just checked.
            start: unsafe { self.start.add(offset) },
            len: bytes,
            owner: self.owner.clone(),
        })
    }

    /// As [`Self::slice`], of the last one who holds them: one count less is changed.
    #[must_use]
    pub fn into_slice(mut self, offset: usize, bytes: usize) -> Option<Payload> {
        offset.checked_add(bytes).filter(|end| *end <= self.len)?;
        // SAFETY: the offset is inside of this payload, which was just checked.
        self.start = unsafe { self.start.add(offset) };
        self.len = bytes;
        Some(self)
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Misaligned(Vec<u8>);

    impl AsRef<[u8]> for Misaligned {
        fn as_ref(&self) -> &[u8] {
            &self.0[1..]
        }
    }

    #[test]
    fn keeps_its_base_aligned_while_it_grows() {
        let mut buf = PayloadBuf::default();
        for i in 0..1000_u32 {
            buf.push(i);
            assert!(buf.as_bytes().as_ptr().addr().is_multiple_of(ALIGN));
        }
        let base = buf.as_bytes().as_ptr();
        let payload = buf.freeze();
        assert_eq!(payload.as_bytes().as_ptr(), base, "freezing copies nothing");
        assert_eq!(payload.as_slice::<u32>().expect("whole elements")[999], 999);
    }

    #[test]
    fn copies_an_owner_only_if_it_is_misaligned() {
        let aligned = PayloadBuf::zeroed(100);
        let base = aligned.as_bytes().as_ptr();
        assert_eq!(Payload::from_owner(aligned).as_bytes().as_ptr(), base);

        let owner = Misaligned(vec![7; 65]);
        let base = owner.as_ref().as_ptr();
        let payload = Payload::from_owner(owner);
        let copied = payload.as_bytes().as_ptr() != base;
        assert_eq!(copied, !base.addr().is_multiple_of(ALIGN_MIN));
        assert_eq!(payload.as_bytes(), [7; 64]);
    }

    #[test]
    fn refuses_views_that_do_not_fit() {
        let payload = Payload::copy_from_slice(&[0; 12]);
        assert_eq!(payload.as_slice::<f32>().map(<[f32]>::len), Some(3));
        assert!(
            payload.as_slice::<f64>().is_none(),
            "12 bytes are not whole f64s"
        );
        assert!(
            payload
                .slice(1, 4)
                .expect("inside")
                .as_slice::<f32>()
                .is_none(),
            "misaligned"
        );
        assert!(payload.slice(8, 5).is_none() && payload.slice(usize::MAX, 2).is_none());
    }

    #[test]
    fn spare_room_is_claimed_by_advancing() {
        let mut buf = PayloadBuf::with_capacity(8);
        buf.spare_mut::<f32>(2)[..2].copy_from_slice(&[1.0, 2.0]);
        assert!(buf.is_empty());
        buf.advance::<f32>(2);
        assert_eq!(buf.as_slice::<f32>(), Some(&[1.0, 2.0][..]));
    }
}
