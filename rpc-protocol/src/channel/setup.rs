//! What passes over the control socket, and the form of the regions. PROTOCOL 8
//!
//! ```text
//!   container ─► front end   visit    magic, nonce
//!   front end ─► container   setup    sizes, with the descriptors of what was made
//!   container ─► front end   ready    one byte, after the challenge is answered in memory
//! ```
//!
//! Afterwards nothing is said: the socket stays open so that each end hears the other go.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use skysail_memory::payload::ALIGN;
use skysail_memory::region::Layout;
use skysail_memory::ring::RING_WORDS;
use skysail_memory::rows::RowLayout;

use super::descriptor::INLINE_WORDS;
use crate::limits::HEADER_BYTES_MAX;
use crate::message::NONCE_BYTES;
use crate::tensor::{Schema, TensorSpec};

/// First bytes of a visit; the digits are the version of this page.
const MAGIC: [u8; 8] = *b"skysail1";
/// What the container says when it has mapped everything and answered the challenge.
pub(super) const READY: u8 = b'r';
/// Bytes of a visit.
pub(super) const VISIT_BYTES: usize = MAGIC.len() + NONCE_BYTES;
/// Numbers of a setup.
const SETUP_WORDS: usize = 6;
/// Descriptors of a setup, at most: two regions, two bells, the row log.
const DESCRIPTORS_MAX: usize = 5;

/// Words of a region: a ring, and two lines for the sleep flag and the challenge.
pub(super) const WORDS: usize = RING_WORDS + 16;
/// Where the sleep flag of the region's writer stands.
pub(super) const FLAG_WORD: usize = RING_WORDS;
/// Where the challenge stands, and in the other region its answer.
pub(super) const CHALLENGE_WORD: usize = RING_WORDS + 8;

/// Bytes of one session's results, and of its requests, that a container believes.
pub const SESSION_BYTES_MAX: usize = 1 << 30;
/// Room of a slot beside the results of fixed size: a header, and the texts of failed rows.
const SLOT_SPARE_BYTES: usize = HEADER_BYTES_MAX / 2;
/// Room for the rows of a batch, one way, where they have no fixed size.
const VARIABLE_BYTES: usize = 1 << 20;

/// The sizes of a session's shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Batches in flight.
    pub(super) slots: usize,
    /// Room for a batch's results.
    pub(super) slot_bytes: usize,
    /// Room for a batch that does not lie in the row log; 0 if every batch does.
    pub(super) block_bytes: usize,
    /// Rows of the log; 0 if there is none.
    pub(super) log_rows: usize,
}

impl Sizes {
    /// For a container of `schema`; its results, and its requests, have at most `bytes_max`.
    pub(super) fn new(
        schema: &Schema,
        max_batch: usize,
        slots: usize,
        log_rows: usize,
        bytes_max: usize,
    ) -> Sizes {
        let limit = bytes_max.min(SESSION_BYTES_MAX) / slots.max(1) / ALIGN * ALIGN;
        let results = result_bytes(schema, max_batch, ALIGN).unwrap_or(VARIABLE_BYTES);
        let slot_bytes = results.saturating_add(SLOT_SPARE_BYTES).min(limit);
        let fixed = schema.inputs.iter().all(|spec| spec.row_bytes().is_some());
        Sizes {
            slots,
            slot_bytes,
            block_bytes: if fixed { 0 } else { VARIABLE_BYTES.min(limit) },
            log_rows,
        }
    }

    /// Of the region that the front end writes.
    pub(super) fn requests(&self) -> Layout {
        Layout {
            words: WORDS,
            bulk_bytes: self.slots * self.block_bytes,
        }
    }

    /// Of the region that the container writes.
    pub(super) fn results(&self) -> Layout {
        Layout {
            words: WORDS,
            bulk_bytes: self.slots * self.slot_bytes,
        }
    }

    /// Of the row log, if there is one.
    pub(super) fn log(&self, schema: &Schema) -> Option<RowLayout> {
        let row_bytes = schema.inputs.iter().map(TensorSpec::row_bytes);
        let row_bytes: Option<Vec<usize>> = row_bytes.collect();
        RowLayout::new(row_bytes?, self.log_rows)
    }
}

/// Bytes of the results of `rows` rows, each tensor on a multiple of `align`; `None` where rows
/// have no fixed size.
pub(super) fn result_bytes(schema: &Schema, rows: usize, align: usize) -> Option<usize> {
    schema.outputs.iter().try_fold(0_usize, |sum, spec| {
        let bytes = spec.row_bytes()?.checked_mul(rows)?;
        sum.checked_add(bytes)?.checked_next_multiple_of(align)
    })
}

/// The most rows whose results travel in the descriptor.
pub(super) fn inline_rows_max(schema: &Schema) -> usize {
    let limit = INLINE_WORDS * size_of::<u64>();
    let bytes = |rows: &usize| result_bytes(schema, *rows, size_of::<u64>());
    let fits = |rows: &usize| bytes(rows).is_some_and(|bytes| bytes <= limit);
    // A row has a byte at least.
    (1..=limit).take_while(fits).last().unwrap_or(0)
}

/// The kernel that this process runs on; empty if it does not tell.
#[must_use]
pub fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.map(|id| id.trim().to_owned()).unwrap_or_default()
    })
}

/// The visit of whoever was given `nonce`.
pub(super) fn visit(nonce: &[u8; NONCE_BYTES]) -> [u8; VISIT_BYTES] {
    let mut bytes = [0; VISIT_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..].copy_from_slice(nonce);
    bytes
}

/// The nonce of a visit, if it is one.
pub(super) fn read_visit(bytes: &[u8]) -> Option<[u8; NONCE_BYTES]> {
    bytes.strip_prefix(&MAGIC)?.try_into().ok()
}

/// What the front end made for a container.
pub(super) struct Setup<F> {
    pub(super) sizes: Sizes,
    pub(super) challenge: u64,
    /// Requests, results, the front end's bell (an eventfd), the container's bell (the reading
    /// end of a pipe), and the row log if there is one.
    pub(super) descriptors: Vec<F>,
}

impl Setup<BorrowedFd<'_>> {
    /// Sends it to the container, without waiting.
    pub(super) fn send(&self, socket: &OwnedFd) -> io::Result<()> {
        let Sizes {
            slots,
            slot_bytes,
            block_bytes,
            log_rows,
        } = self.sizes;
        let numbers = [slots, slot_bytes, block_bytes, log_rows, WORDS];
        let mut bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|number| (*number as u64).to_le_bytes())
            .collect();
        bytes.extend(self.challenge.to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&self.descriptors)));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::sendmsg(socket, &[io::IoSlice::new(&bytes)], &mut control, flags)?;
        Ok(())
    }
}

impl Setup<OwnedFd> {
    /// Takes what the front end sends.
    pub(super) fn receive(socket: &OwnedFd) -> io::Result<Setup<OwnedFd>> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the setup is malformed");
        let mut bytes = [0; 8 * SETUP_WORDS];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            socket.as_fd(),
            &mut [io::IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let (sizes, challenge) = read_setup(&bytes[..received.bytes]).ok_or_else(wrong)?;
        if descriptors.len() != DESCRIPTORS_MAX - usize::from(sizes.log_rows == 0) {
            return Err(wrong());
        }
        Ok(Setup {
            sizes,
            challenge,
            descriptors,
        })
    }
}

/// The sizes and the challenge of a setup, if they are such as a front end sends.
pub(super) fn read_setup(bytes: &[u8]) -> Option<(Sizes, u64)> {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: [u64; SETUP_WORDS] = words
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect::<Vec<_>>()
        .try_into()
        .ok()?;
    let [
        slots,
        slot_bytes,
        block_bytes,
        log_rows,
        ring_words,
        challenge,
    ] = words;
    let size = |word: u64| usize::try_from(word).ok();
    let sizes = Sizes {
        slots: size(slots)?,
        slot_bytes: size(slot_bytes)?,
        block_bytes: size(block_bytes)?,
        log_rows: size(log_rows)?,
    };
    let bulk_fits = |bytes: usize| {
        let all = bytes.checked_mul(sizes.slots);
        bytes.is_multiple_of(ALIGN) && all.is_some_and(|all| all <= SESSION_BYTES_MAX)
    };
    let sound = rest.is_empty()
        && size(ring_words)? == WORDS
        && (1..=usize::from(crate::limits::SLOTS_MAX)).contains(&sizes.slots)
        && bulk_fits(sizes.slot_bytes)
        && bulk_fits(sizes.block_bytes);
    sound.then_some((sizes, challenge))
}
