//! How many payload bytes were copied, and why.
//!
//! Every place that copies rows names its cause here, so that a test can hold the sums to what
//! is promised. Without the feature `count-copies` nothing is counted.

/// Why payload bytes are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Rows that do not lie side by side, into one batch, in the front end.
    Gathered,
    /// Rows of several ranges, into one batch, in the container.
    GatheredByContainer,
    /// An input or output that the cache keeps.
    CacheEntry,
    /// A row for a model other than the one that it was decoded for.
    FurtherModel,
    /// A frame written into, or read from, a block of shared memory.
    Block,
    /// Results, out of memory that a container can write.
    Result,
    /// A row that a model asked for on its own, in the container.
    ModelRow,
    /// A batch that a model kept longer than it was lent, or might.
    Kept,
    /// A payload small enough that ZeroMQ takes a copy.
    SmallFrame,
    /// A received payload that is not aligned.
    Misaligned,
}

impl Copied {
    /// Every cause.
    pub const ALL: [Copied; 10] = [
        Copied::Gathered,
        Copied::GatheredByContainer,
        Copied::CacheEntry,
        Copied::FurtherModel,
        Copied::Block,
        Copied::Result,
        Copied::ModelRow,
        Copied::Kept,
        Copied::SmallFrame,
        Copied::Misaligned,
    ];
}

#[cfg(any(test, feature = "count-copies"))]
mod counted {
    use super::Copied;
    use std::sync::atomic::{AtomicU64, Ordering};

    static BYTES: [AtomicU64; Copied::ALL.len()] = [const { AtomicU64::new(0) }; Copied::ALL.len()];

    /// Notes that `bytes` were copied.
    pub fn record(why: Copied, bytes: usize) {
        // Relaxed: a counter.
        BYTES[why as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes copied so far in this process.
    #[must_use]
    pub fn bytes(why: Copied) -> u64 {
        // Relaxed: a counter.
        BYTES[why as usize].load(Ordering::Relaxed)
    }
}

#[cfg(any(test, feature = "count-copies"))]
pub use counted::{bytes, record};

/// Notes nothing: the feature `count-copies` is off.
#[cfg(not(any(test, feature = "count-copies")))]
#[inline(always)]
pub fn record(_why: Copied, _bytes: usize) {}
