//! The row log: where the rows of one model's queries lie until they are answered.
//!
//! A query's input is decoded straight into the next row, before it is known when, with which
//! others and to which replica it goes. A batch is then a list of row ranges, and rows that came
//! one after the other are one range: a dense tensor that nobody assembled.
//!
//! Each tensor has a column of all rows, dense, so a range of rows is contiguous in every
//! column. Rows are counted references in memory that only this process sees; a container that
//! maps the log can read it, and write nothing.
//!
//! ```text
//!   segments   [ 0 free ][ 1 full, 3 rows live ][ 2 open: next ► ][ 3 free ] …
//! ```
//!
//! Rows are claimed in the order of an open segment, one a core. A segment is free again when
//! none of its rows is held. After a full segment opens the one that follows it, so that a
//! batch across the two is still one range; if that is not free, the free one with the least
//! number. The latter opens too when no row waits for its batch that the next one could lie
//! beside, which keeps the log in fewer cache lines (`benches/src/bin/ranges`).
//!
//! Rows at the open end that are held by nobody and were in no batch are claimed again, so a
//! query that is refused or hits the cache leaves no gap. Rows of an answered batch are not: their
//! lines lie in the cache of the core that computed, and taking them back costs more than going
//! on (`benches/src/bin/rpc`, "last slot"). That is not so where a batch leaves by a socket.
//!
//! # Invariants
//! - A row has one writer until it is frozen, then readers only, then nobody.
//! - A segment is open for at most one core, and its rows are claimed by that core alone.
//! - `live` of a segment counts its rows that are held, and one more while it is open.
//!
//! # Cost
//! `claim`: an uncontended lock and two atomic operations. A reference: one atomic operation
//! to clone or drop it.

mod assembly;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::LocalKey;

use smallvec::SmallVec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::copies::{self, Copied};
use crate::mapping::{Access, Mapping, Peer};
use crate::payload::{ALIGN, Lent, Owner, Payload, PayloadBuf};
use crate::recycled::{Recycle, Recycled, Spares};

pub use assembly::{Placed, assemble};

/// Ranges of a batch.
pub const RANGES_MAX: usize = 8;
/// Segments of a log: bits of one word.
const SEGMENTS_MAX: usize = 16;

/// In a row's count: it was shown to a container since it was claimed, or waits for that in a
/// batch.
const BATCHED: u32 = 1 << 31;

const _: () = assert!(SEGMENTS_MAX < u64::BITS as usize);

/// The form of a log, on which both ends agree: the bytes of a row of each tensor, and how many
/// rows there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowLayout {
    columns: SmallVec<[Column; 1]>,
    rows: usize,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    offset: usize,
    row_bytes: usize,
}

impl RowLayout {
    /// `rows` rows of tensors that have `row_bytes` each; `None` if they have no size.
    pub fn new(row_bytes: impl IntoIterator<Item = usize>, rows: usize) -> Option<RowLayout> {
        let (mut columns, mut bytes) = (SmallVec::new(), 0_usize);
        for row_bytes in row_bytes {
            let offset = bytes;
            columns.push(Column { offset, row_bytes });
            let column = row_bytes.checked_mul(rows)?;
            bytes = bytes.checked_add(column)?.checked_next_multiple_of(ALIGN)?;
        }
        let rows_fit = u32::try_from(rows).is_ok();
        (bytes > 0 && rows_fit).then_some(RowLayout {
            columns,
            rows,
            bytes,
        })
    }

    /// Rows of the log.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the log.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tensors of a row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Bytes of a row of all tensors.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.columns.iter().map(|column| column.row_bytes).sum()
    }

    /// Where the rows of `range` lie in `column`, and their bytes, if the log has them.
    fn place(&self, column: usize, range: RowRange) -> Option<(usize, usize)> {
        let (first, rows) = (range.first as usize, range.rows as usize);
        let column = self.columns.get(column)?;
        let inside = first.checked_add(rows).is_some_and(|end| end <= self.rows);
        inside.then(|| {
            let offset = column.offset + first * column.row_bytes;
            (offset, rows * column.row_bytes)
        })
    }
}

/// Rows side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RowRange {
    /// The first.
    pub first: u32,
    /// How many.
    pub rows: u32,
}

impl Recycle for RowRange {
    fn spares() -> &'static LocalKey<Spares<RowRange>> {
        thread_local!(static SPARES: Spares<RowRange> = const { Spares::new() });
        &SPARES
    }
}

/// The rows of one model's queries.
pub struct RowLog {
    mapping: Mapping,
    layout: RowLayout,
    refs: Box<[AtomicU32]>,
    segment_rows: u32,
    live: Box<[AtomicU32]>,
    /// A bit for each free segment.
    free: AtomicU64,
    open: Box<[Mutex<Open>]>,
}

/// A core's open segment.
#[derive(Debug, Default)]
struct Open {
    segment: Option<u32>,
    /// The next row; without a segment, where it is wanted.
    next: u32,
}

impl RowLog {
    /// A log for queries that come on `cores` threads. Its memory has no pages yet; see
    /// [`RowLog::populate`].
    ///
    /// # Errors
    /// If the system has no memory or no sealed memory files.
    pub fn create(name: &str, layout: RowLayout, cores: usize) -> io::Result<Arc<RowLog>> {
        let segment_rows = layout.rows.div_ceil(SEGMENTS_MAX);
        // Rows that are no whole segment are left out: a run could never end in them.
        let segments = layout.rows / segment_rows;
        let counters = |count: usize| (0..count).map(|_| AtomicU32::new(0)).collect();
        Ok(Arc::new(RowLog {
            mapping: Mapping::create(name, layout.bytes, Peer::Reads)?,
            refs: counters(layout.rows),
            live: counters(segments),
            free: AtomicU64::new((1 << segments) - 1),
            open: (0..cores.max(1)).map(|_| Mutex::default()).collect(),
            segment_rows: segment_rows as u32,
            layout,
        }))
    }

    /// Backs the log with pages. Takes about a millisecond for 4 MiB: not for a thread that
    /// serves.
    pub fn populate(&self) {
        self.mapping.populate();
    }

    /// The descriptor to pass.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.mapping.fd()
    }

    /// Its form.
    #[must_use]
    pub fn layout(&self) -> &RowLayout {
        &self.layout
    }

    /// The next row of this thread, to be written; `None` if all are held.
    pub fn claim(self: &Arc<Self>) -> Option<Claim> {
        self.claim_on(thread_number())
    }

    /// The next row of a core, to be written; `None` if all are held. Cores beyond those of the
    /// log share its segments.
    pub fn claim_on(self: &Arc<Self>, core: usize) -> Option<Claim> {
        let open = &self.open[core % self.open.len()];
        let row = self.next_rows(&mut open.lock().unwrap_or_else(PoisonError::into_inner), 1)?;
        let row = RowRef {
            log: self.clone(),
            row,
        };
        Some(Claim(row))
    }

    /// The next `rows` rows side by side, to be written as one; `None` if no segment has so
    /// many left.
    pub fn claim_run(self: &Arc<Self>, rows: usize) -> Option<Run> {
        let rows = u32::try_from(rows).ok().filter(|rows| *rows > 0)?;
        let open = &self.open[thread_number() % self.open.len()];
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.next_rows(&mut open, rows)?;
        let log = self.clone();
        let ranges = [RowRange { first, rows }].into_iter().collect();
        Some(Run(RowRanges { log, ranges }))
    }

    /// Rows that are held.
    #[must_use]
    pub fn rows_held(&self) -> usize {
        // Relaxed: a figure for people and tests.
        let held = |count: &&AtomicU32| count.load(Ordering::Relaxed) & !BATCHED > 0;
        self.refs.iter().filter(held).count()
    }

    /// Claims rows of the open segment, or of the next one that is free.
    fn next_rows(&self, open: &mut Open, rows: u32) -> Option<u32> {
        if rows > self.segment_rows {
            return None;
        }
        loop {
            let Some(segment) = open.segment else {
                let segment = self.take_segment(open.next / self.segment_rows)?;
                *open = Open {
                    segment: Some(segment),
                    next: segment * self.segment_rows,
                };
                continue;
            };
            let first = segment * self.segment_rows;
            // Acquire pairs with the release of the row's last holder.
            while open.next > first && self.refs_of(open.next - 1).load(Ordering::Acquire) == 0 {
                open.next -= 1;
            }
            let end = first + self.segment_rows;
            let is_astray = open.next == first && self.is_astray(segment);
            if open.next + rows <= end && !is_astray {
                let row = open.next;
                open.next += rows;
                // Relaxed: the rows were free and the segment is ours; whoever is given a
                // reference gets it by a synchronising hand-over.
                let held = if rows > 1 { BATCHED | 1 } else { 1 };
                (row..row + rows).for_each(|row| self.refs_of(row).store(held, Ordering::Relaxed));
                self.live[segment as usize].fetch_add(rows, Ordering::Relaxed);
                return Some(row);
            }
            open.segment = None;
            open.next = if is_astray { 0 } else { end };
            self.leave_segment(segment);
        }
    }

    /// Whether no row waits for its batch beside the first one of an open segment, and an
    /// earlier segment is free.
    fn is_astray(&self, segment: u32) -> bool {
        // Relaxed, both: any answer is right, this one is good.
        let earlier = self.free.load(Ordering::Relaxed) & ((1 << segment) - 1);
        earlier != 0 && {
            let before = segment * self.segment_rows - 1;
            let count = self.refs_of(before).load(Ordering::Relaxed);
            count == 0 || count & BATCHED != 0
        }
    }

    /// Takes `wanted` if it is free, else the free one with the least number.
    fn take_segment(&self, wanted: u32) -> Option<u32> {
        // Acquire pairs with the release in `leave_segment`.
        let mut free = self.free.load(Ordering::Acquire);
        while free != 0 {
            let is_free = free & (1 << wanted) != 0;
            let segment = if is_free {
                wanted
            } else {
                free.trailing_zeros()
            };
            let rest = free & !(1 << segment);
            let taken =
                self.free
                    .compare_exchange_weak(free, rest, Ordering::Acquire, Ordering::Acquire);
            match taken {
                Ok(_) => {
                    // Relaxed: nobody else knows the segment now.
                    self.live[segment as usize].store(1, Ordering::Relaxed);
                    return Some(segment);
                }
                Err(now) => free = now,
            }
        }
        None
    }

    /// Drops a row's, or its opener's, hold on a segment.
    fn leave_segment(&self, segment: u32) {
        // Release what was read of its rows, and acquire what the others released.
        if self.live[segment as usize].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.free.fetch_or(1 << segment, Ordering::Release);
        }
    }

    fn hold(&self, row: u32) {
        // Relaxed: made from a reference that holds the row.
        self.refs_of(row).fetch_add(1, Ordering::Relaxed);
    }

    /// Holds a row as part of a batch.
    fn hold_batched(&self, row: u32) {
        // Relaxed: as `hold`. The bit is set before the row can have no holder.
        let count = self.refs_of(row);
        if count.load(Ordering::Relaxed) & BATCHED == 0 {
            count.fetch_or(BATCHED, Ordering::Relaxed);
        }
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A held row is shown to no other process.
    fn keep_here(&self, row: u32) {
        // Relaxed: made from a reference that holds the row.
        self.refs_of(row).fetch_and(!BATCHED, Ordering::Relaxed);
    }

    fn release(&self, row: u32) {
        // Release what was read of the row; acquire it for whoever claims the row next.
        if self.refs_of(row).fetch_sub(1, Ordering::AcqRel) & !BATCHED == 1 {
            self.leave_segment(row / self.segment_rows);
        }
    }

    fn refs_of(&self, row: u32) -> &AtomicU32 {
        &self.refs[row as usize]
    }
}

impl std::fmt::Debug for RowLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowLog({} rows)", self.layout.rows)
    }
}

/// A number of this thread, small and its own.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // Relaxed: only uniqueness matters.
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

/// A counted reference to a row.
pub(crate) struct RowRef {
    log: Arc<RowLog>,
    row: u32,
}

impl Clone for RowRef {
    fn clone(&self) -> Self {
        self.log.hold(self.row);
        RowRef {
            log: self.log.clone(),
            row: self.row,
        }
    }
}

impl Drop for RowRef {
    fn drop(&mut self) {
        self.log.release(self.row);
    }
}

/// A row that was claimed and not yet written.
pub struct Claim(RowRef);

impl Claim {
    /// An empty buffer a tensor, each as long as the tensor's row.
    #[must_use]
    pub fn into_bufs(self) -> SmallVec<[PayloadBuf; 1]> {
        let log = &self.0.log;
        let range = RowRange {
            first: self.0.row,
            rows: 1,
        };
        let buf = |column| {
            let (offset, bytes) = log.layout.place(column, range).expect("a row of the log");
            let (start, owner) = (log.mapping.at(offset, bytes), Owner::Row(self.0.clone()));
            // SAFETY: the row was claimed by this `Claim` alone, each column is lent once, and
            // the owner keeps the row from being claimed again and the log mapped.
            unsafe { Lent::new(start, bytes, owner) }.into()
        };
        (0..log.layout.columns()).map(buf).collect()
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({})", self.0.row)
    }
}

/// Rows side by side that were claimed and are being written.
pub struct Run(RowRanges);

impl Run {
    /// The rows of one tensor, end to end; what lies there is left over from earlier.
    pub fn rows_mut(&mut self, column: usize) -> &mut [u8] {
        let (start, bytes) = self.0.place(column, self.0.ranges[0]);
        // SAFETY: the rows were claimed by this run alone, nobody has a reference to them, and
        // the run holds them and the log.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) }
    }

    /// Ends writing.
    #[must_use]
    pub fn freeze(self) -> RowRanges {
        self.0
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Run({:?})", self.0.ranges)
    }
}

impl Payload {
    /// Which row of `log` this is the first tensor of, if it is one.
    #[must_use]
    pub fn row_in(&self, log: &Arc<RowLog>) -> Option<u32> {
        match self.owner() {
            Owner::Row(row) if Arc::ptr_eq(&row.log, log) => {
                (self.len() == log.layout.columns[0].row_bytes).then_some(row.row)
            }
            _ => None,
        }
    }
}

/// The rows of a batch, held.
pub struct RowRanges {
    log: Arc<RowLog>,
    ranges: Recycled<RowRange>,
}

impl RowRanges {
    /// The rows that `payloads` lie in, in their order; `None` if one is not a row of `log`, or
    /// they are more than [`RANGES_MAX`] ranges.
    pub fn of<'a>(
        log: &Arc<RowLog>,
        payloads: impl IntoIterator<Item = &'a Payload>,
    ) -> Option<RowRanges> {
        let mut held = RowRanges {
            log: log.clone(),
            ranges: Recycled::new(),
        };
        for payload in payloads {
            let row = payload.row_in(log)?;
            if !held.extend(row) {
                return None;
            }
        }
        Some(held)
    }

    /// Holds `row` as well; false if that is one range too many.
    fn extend(&mut self, row: u32) -> bool {
        let full = self.ranges.len() == RANGES_MAX;
        match self.ranges.last_mut() {
            Some(last) if last.first + last.rows == row => last.rows += 1,
            _ if full => return false,
            _ => self.ranges.push(RowRange {
                first: row,
                rows: 1,
            }),
        }
        self.log.hold_batched(row);
        true
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<RowLog> {
        &self.log
    }

    /// The ranges, in the order of the batch.
    #[must_use]
    pub fn ranges(&self) -> &[RowRange] {
        &self.ranges
    }

    /// Rows in all.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ranges.iter().map(|range| range.rows as usize).sum()
    }

    /// The rows end to end, a payload a tensor: in place if they are one range, else copied.
    /// They are for this process: as soon as nobody holds them they are claimed again.
    #[must_use]
    pub fn into_payloads(self) -> SmallVec<[Payload; 1]> {
        self.rows_of_ranges()
            .for_each(|row| self.log.keep_here(row));
        let columns = 0..self.log.layout.columns();
        if let [range] = self.ranges[..] {
            let held = Arc::new(self);
            let payload = |column| {
                let (start, bytes) = held.place(column, range);
                // SAFETY: the rows are held by the owner, and held rows are not written.
                unsafe { Payload::new(start, bytes, Owner::Shared(held.clone())) }
            };
            return columns.map(payload).collect();
        }
        let gather = |column: usize| {
            let bytes = self.rows() * self.log.layout.columns[column].row_bytes;
            let mut buf = PayloadBuf::with_capacity(bytes);
            for range in &self.ranges {
                let (start, bytes) = self.place(column, *range);
                // SAFETY: as above, for as long as `self` lives.
                let rows = unsafe { std::slice::from_raw_parts(start.as_ptr(), bytes) };
                buf.extend_from_slice(rows);
            }
            copies::record(Copied::Gathered, bytes);
            buf.freeze()
        };
        columns.map(gather).collect()
    }

    fn rows_of_ranges(&self) -> impl Iterator<Item = u32> {
        let ranges = self.ranges.iter();
        ranges.flat_map(|range| range.first..range.first + range.rows)
    }

    fn place(&self, column: usize, range: RowRange) -> (std::ptr::NonNull<u8>, usize) {
        let layout = &self.log.layout;
        let (offset, bytes) = layout.place(column, range).expect("rows of the log");
        (self.log.mapping.at(offset, bytes), bytes)
    }
}

impl Clone for RowRanges {
    fn clone(&self) -> Self {
        self.rows_of_ranges().for_each(|row| self.log.hold(row));
        RowRanges {
            log: self.log.clone(),
            ranges: self.ranges.clone(),
        }
    }
}

impl Drop for RowRanges {
    fn drop(&mut self) {
        self.rows_of_ranges().for_each(|row| self.log.release(row));
    }
}

impl std::fmt::Debug for RowRanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowRanges({:?})", self.ranges)
    }
}

/// A log as a container sees it: read only.
#[derive(Debug)]
pub struct RowView {
    mapping: Arc<Mapping>,
    layout: RowLayout,
}

impl RowView {
    /// The log behind a descriptor that the front end passed.
    ///
    /// # Safety
    /// The front end must not write rows of which there is a payload: it keeps the rows of a
    /// batch as they are until the batch is answered or the session is over.
    ///
    /// # Errors
    /// If it has another size or could be shrunk, or cannot be mapped.
    pub unsafe fn open(fd: OwnedFd, layout: RowLayout) -> io::Result<RowView> {
        let mapping = Arc::new(Mapping::open(fd, layout.bytes, Access::Read)?);
        Ok(RowView { mapping, layout })
    }

    /// Its form.
    #[must_use]
    pub fn layout(&self) -> &RowLayout {
        &self.layout
    }

    /// The rows of `ranges` of one tensor, end to end: in place if they are one range, else
    /// copied. `None` if the log does not have them.
    #[must_use]
    pub fn payload(&self, column: usize, ranges: &[RowRange]) -> Option<Payload> {
        if let [range] = ranges {
            return self.in_place(column, *range);
        }
        let mut buf = PayloadBuf::default();
        for range in ranges {
            buf.extend_from_slice(self.in_place(column, *range)?.as_bytes());
        }
        copies::record(Copied::GatheredByContainer, buf.len());
        Some(buf.freeze())
    }

    fn in_place(&self, column: usize, range: RowRange) -> Option<Payload> {
        let (offset, bytes) = self.layout.place(column, range)?;
        let start = self.mapping.at(offset, bytes);
        let owner = Owner::Lent(self.mapping.clone());
        // SAFETY: inside of the mapping, which the owner keeps; that nobody writes is the
        // condition of `open`.
        Some(unsafe { Payload::new(start, bytes, owner) })
    }
}

#[cfg(test)]
mod tests;
