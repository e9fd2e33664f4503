//! Blocks that are used again without an allocation.
//!
//! A block is free when nobody but the pool holds it, so nothing has to be given back: the last
//! payload that is dropped frees it, on whatever thread.
//!
//! # Invariants
//! - At most [`BLOCKS_MAX`] blocks of at most [`BLOCK_BYTES_MAX`]; what does not fit, or finds
//!   all of them taken, comes from the heap.
//!
//! # Cost
//! `take`: one atomic operation where blocks come back in the order in which they were taken;
//! no allocation once there are as many blocks as are ever held at a time.

use std::ptr::NonNull;
use std::sync::Arc;

use zerocopy::IntoBytes;

use crate::payload::{ALIGN, Lent, Line, Owner, PayloadBuf, lines};
use crate::sync::{Ordering, fence};

/// Blocks of a pool: the batches of one session that are answered but not yet encoded.
pub const BLOCKS_MAX: usize = 64;
/// Bytes of a block. Larger buffers are rare, and their allocation is not what they cost.
pub const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Blocks looked at before a new one is made.
const LOOKS_MAX: usize = 8;

/// A pool of blocks for one thread; what it gives out goes anywhere.
#[derive(Default)]
pub struct Pool {
    blocks: Vec<Arc<Block>>,
    next: usize,
}

/// Memory that is only accessed through what was lent of it.
struct Block {
    start: NonNull<u8>,
    bytes: usize,
    _memory: Vec<Line>,
}

// SAFETY: a block is only where memory lies; who may access it is up to `lend`.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn new(bytes: usize) -> Arc<Block> {
        let mut memory = lines(bytes.div_ceil(ALIGN));
        let room = memory.as_mut_slice().as_mut_bytes();
        Arc::new(Block {
            bytes: room.len(),
            start: NonNull::from(room).cast(),
            _memory: memory,
        })
    }
}

impl Pool {
    /// An empty buffer with room for `bytes`, 64-aligned; what lies in the room is left over
    /// from earlier.
    pub fn take(&mut self, bytes: usize) -> PayloadBuf {
        if bytes > BLOCK_BYTES_MAX {
            return PayloadBuf::with_capacity(bytes);
        }
        for _ in 0..self.blocks.len().min(LOOKS_MAX) {
            self.next = (self.next + 1) % self.blocks.len();
            if let Some(buf) = lend(&mut self.blocks[self.next], bytes) {
                return buf;
            }
        }
        if self.blocks.len() == BLOCKS_MAX {
            return PayloadBuf::with_capacity(bytes);
        }
        // A power of two, so that batches of about one size share blocks.
        let capacity = bytes.next_power_of_two().max(4 * ALIGN);
        self.next = self.blocks.len();
        self.blocks.push(Block::new(capacity));
        lend(&mut self.blocks[self.next], bytes).expect("a new block is free")
    }
}

/// The block's memory, if nobody holds it.
fn lend(block: &mut Arc<Block>, bytes: usize) -> Option<PayloadBuf> {
    // Cheaper than `Arc::get_mut`; there are no weak references.
    if Arc::strong_count(block) > 1 {
        return None;
    }
    // Pairs with the release of whoever held it last.
    fence(Ordering::Acquire);
    if block.bytes < bytes {
        // Made for smaller batches: grown once.
        *block = Block::new(bytes.next_power_of_two());
    }
    let owner = Owner::Shared(block.clone());
    // SAFETY: the block was held by the pool alone, so the new owner is the only other one,
    // and the pool touches no block that is held.
    Some(unsafe { Lent::new(block.start, block.bytes, owner) }.into())
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} blocks)", self.blocks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_when_its_last_payload_goes() {
        let mut pool = Pool::default();
        let mut first = pool.take(100);
        first.extend_from_slice(&[1; 100]);
        let base = first.as_bytes().as_ptr();
        let payload = first.freeze();
        let slice = payload.slice(10, 10).expect("inside");
        drop(payload);
        assert_ne!(pool.take(100).freeze().start().as_ptr().cast_const(), base);
        assert_eq!(slice.as_bytes(), [1; 10], "still held");
        drop(slice);
        let again: Vec<_> = (0..2).map(|_| pool.take(100)).collect();
        assert!(again.iter().any(|buf| buf.as_bytes().as_ptr() == base));
        assert_eq!(pool.blocks.len(), 2);
    }

    #[test]
    fn what_does_not_fit_comes_from_the_heap() {
        let mut pool = Pool::default();
        assert!(pool.take(BLOCK_BYTES_MAX + 1).capacity() > BLOCK_BYTES_MAX);
        assert!(pool.blocks.is_empty());
        let held: Vec<_> = (0..BLOCKS_MAX + 3).map(|_| pool.take(64)).collect();
        assert_eq!(pool.blocks.len(), BLOCKS_MAX);
        drop(held);
        let mut larger = pool.take(10_000);
        larger.extend_from_slice(&[7; 10_000]);
        assert_eq!(larger.freeze().as_bytes(), [7; 10_000]);
    }
}
