//! Aligned, reference-counted bytes of tensors.
//!
//! A [`PayloadBuf`] is written by one owner; [`PayloadBuf::freeze`] makes it a [`Payload`],
//! which is cheap to clone and to slice and is never copied by the layers above. A payload
//! may also borrow foreign memory, such as a received ZeroMQ message, for as long as any
//! clone of it lives.
//!
//! # Invariants
//! - A `PayloadBuf`'s first byte is 64-aligned, and stays so when it is frozen.
//! - A payload from [`Payload::from_owner`] starts on a multiple of [`ALIGN_MIN`]; owners
//!   whose bytes do not are copied once.
//! - Typed views check alignment and length; they never read outside the payload.
//!
//! # Cost
//! `freeze` and `from_owner`: one allocation for the count. `slice`, `clone`: one atomic
//! addition. `PayloadBuf` zeroes what it grows by.

use bytes::Bytes;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::tensor::Element;

/// Alignment of a buffer that this process allocates, one cache line.
pub const ALIGN: usize = 64;
/// Alignment of every payload's base: that of the widest element.
pub const ALIGN_MIN: usize = 8;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

const _: () = assert!(size_of::<Line>() == ALIGN && align_of::<Line>() == ALIGN);

/// Growable bytes whose base is 64-aligned.
#[derive(Clone, Default)]
pub struct PayloadBuf {
    lines: Vec<Line>,
    len: usize,
}

impl PayloadBuf {
    /// An empty buffer with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        PayloadBuf {
            lines: vec![Line([0; ALIGN]); bytes.div_ceil(ALIGN)],
            len: 0,
        }
    }

    /// A buffer of `bytes` zeros.
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

    /// The bytes written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.lines.as_slice().as_bytes()[..self.len]
    }

    /// The bytes written, to change.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        &mut self.lines.as_mut_slice().as_mut_bytes()[..self.len]
    }

    /// The whole elements written, or `None` if the length is not a multiple of an element.
    #[must_use]
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        <[T]>::ref_from_bytes(self.as_bytes()).ok()
    }

    /// As [`Self::as_slice`], to change.
    pub fn as_mut_slice<T: Element>(&mut self) -> Option<&mut [T]> {
        <[T]>::mut_from_bytes(self.as_bytes_mut()).ok()
    }

    /// Appends `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.spare(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends one element.
    pub fn push<T: Element>(&mut self, element: T) {
        self.extend_from_slice(element.as_bytes());
    }

    /// Room for at least `elements` more, to be written and then claimed with
    /// [`Self::advance`]. Empty if the length so far is not a multiple of an element.
    pub fn spare_mut<T: Element>(&mut self, elements: usize) -> &mut [T] {
        let spare = self.spare(elements.saturating_mul(size_of::<T>()));
        let whole = spare.len() / size_of::<T>() * size_of::<T>();
        <[T]>::mut_from_bytes(&mut spare[..whole]).unwrap_or(&mut [])
    }

    /// Claims `elements` written through [`Self::spare_mut`].
    ///
    /// # Panics
    /// If there is less room than that.
    pub fn advance<T: Element>(&mut self, elements: usize) {
        let len = self.len + elements * size_of::<T>();
        assert!(
            len <= self.lines.len() * ALIGN,
            "advanced past the room of the buffer"
        );
        self.len = len;
    }

    /// Shortens the buffer to `bytes`; does nothing if it is shorter.
    pub fn truncate(&mut self, bytes: usize) {
        self.len = self.len.min(bytes);
    }

    /// Ends writing. The bytes do not move.
    #[must_use]
    pub fn freeze(self) -> Payload {
        Payload {
            bytes: Bytes::from_owner(self),
        }
    }

    fn spare(&mut self, bytes: usize) -> &mut [u8] {
        let wanted = (self.len + bytes).div_ceil(ALIGN);
        if wanted > self.lines.len() {
            self.lines
                .resize(wanted.max(2 * self.lines.len()), Line([0; ALIGN]));
        }
        &mut self.lines.as_mut_slice().as_mut_bytes()[self.len..]
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
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload {
    bytes: Bytes,
}

impl Payload {
    /// Lends the bytes of `owner`, which lives until the last clone is dropped. Copies them
    /// once if their base is not on a multiple of [`ALIGN_MIN`].
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + 'static) -> Self {
        let bytes = owner.as_ref();
        if bytes.as_ptr().addr().is_multiple_of(ALIGN_MIN) {
            return Payload {
                bytes: Bytes::from_owner(owner),
            };
        }
        Self::copy_from_slice(bytes)
    }

    /// A copy of `bytes`, 64-aligned.
    #[must_use]
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        let mut buf = PayloadBuf::with_capacity(bytes.len());
        buf.extend_from_slice(bytes);
        buf.freeze()
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements in place, or `None` if the length or the alignment does not fit them.
    #[must_use]
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        <[T]>::ref_from_bytes(&self.bytes).ok()
    }

    /// `bytes` bytes from `offset`, sharing the same memory; `None` if they are not all there.
    #[must_use]
    pub fn slice(&self, offset: usize, bytes: usize) -> Option<Payload> {
        let end = offset
            .checked_add(bytes)
            .filter(|end| *end <= self.bytes.len())?;
        Some(Payload {
            bytes: self.bytes.slice(offset..end),
        })
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({} bytes)", self.bytes.len())
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
