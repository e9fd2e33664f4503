//! Address space in which memory of a peer is shown for one batch, and reads as zeros ever after.
//!
//! [`crate::views`] lets code have what it keeps of a batch, if somebody can tell what that is before the
//! batch is answered. Where only a garbage collector can, and only later, memory is shown at addresses
//! that are never used again: a stage goes through its space from one end to the other, and what was shown
//! in a batch is replaced by zeros when that is over. Whoever still reads there harms nobody and learns
//! nothing. When nobody can any more, the stage is dropped.
//!
//! # Invariants
//! - Every address of the space can be read as long as the stage lives.
//! - After [`Stage::clear`] nothing of what was shown before can be read in it.
//!
//! # Cost
//! `show`: a system call, and page faults as for any new mapping. `clear`: a system call a batch. The
//! space takes no memory.

use std::io;

use memmap2::{Mmap, MmapOptions};
use rustix::mm::{MapFlags, ProtFlags};

use crate::payload::{Owner, Payload};

/// See the module.
#[derive(Debug)]
pub struct Stage {
    space: Mmap,
    /// What was shown since the last clear begins here, and ends at `next`.
    first: usize,
    /// Nothing was shown from here on.
    next: usize,
}

impl Stage {
    /// A stage of `bytes` of address space.
    ///
    /// # Errors
    /// If there is not so much.
    pub fn new(bytes: usize) -> io::Result<Stage> {
        let space = MmapOptions::new().len(bytes).map_anon()?.make_read_only()?;
        let (first, next) = (0, 0);
        Ok(Stage { space, first, next })
    }

    /// Where the space begins. What can be read there changes with `show` and `clear`.
    #[must_use]
    pub fn base(&self) -> *const u8 {
        self.space.as_ptr()
    }

    /// Shows `payload`, which is of a batch that is not answered yet, until [`Self::clear`]: the offset
    /// in the space. None if it is not lent by a peer, or does not fit into what is left.
    pub fn show(&mut self, payload: &Payload) -> Option<usize> {
        let Owner::Lent(mapping) = payload.owner() else {
            return None;
        };
        if payload.is_empty() {
            return None;
        }
        let page = rustix::param::page_size();
        let offset = payload.start().addr().get() - mapping.at(0, 0).addr().get();
        let first = offset / page * page;
        let bytes = (offset + payload.len() - first).next_multiple_of(page);
        if bytes > self.space.len().saturating_sub(self.next) {
            return None;
        }
        let fd = mapping.fd()?;
        let at = self.next;
        // Also if it fails: there may be nothing mapped then until the stage is cleared.
        self.next += bytes;
        let place = self.base().wrapping_add(at).cast_mut().cast();
        let (access, flags) = (ProtFlags::READ, MapFlags::SHARED | MapFlags::FIXED);
        // SAFETY: whole pages of this stage's own space, in which nothing was shown yet; only addresses
        // of it are given away, no references. The descriptor's memory cannot shrink.
        unsafe { rustix::mm::mmap(place, bytes, access, flags, fd, first as u64) }.ok()?;
        Some(at + (offset - first))
    }

    /// Replaces what was shown by zeros. To be called before the batch is answered.
    ///
    /// # Errors
    /// If the system cannot: what was shown then changes once the batch is answered, and the process had
    /// better end.
    pub fn clear(&mut self) -> io::Result<()> {
        let bytes = self.next - self.first;
        if bytes == 0 {
            return Ok(());
        }
        let place = self.base().wrapping_add(self.first).cast_mut().cast();
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: whole pages of this stage's own space, as in `show`.
        unsafe { rustix::mm::mmap_anonymous(place, bytes, ProtFlags::READ, flags) }?;
        self.first = self.next;
        Ok(())
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::region::{Access, Layout, Peer, Region};

    const LAYOUT: Layout = Layout {
        words: 8,
        bulk_bytes: 3 * 4096,
    };

    fn seen(stage: &Stage, at: usize, bytes: usize) -> Vec<u8> {
        // SAFETY: inside of the space, which can be read everywhere; nothing is shown meanwhile.
        unsafe { std::slice::from_raw_parts(stage.base().add(at), bytes) }.to_vec()
    }

    #[test]
    fn what_was_shown_reads_as_zeros_once_it_is_cleared() {
        let region = Region::create("stage", LAYOUT, Peer::Reads).expect("memory");
        let fd = region.fd().expect("a memfd").try_clone_to_owned();
        let theirs = Region::open(fd.expect("a descriptor"), LAYOUT, Access::Read).expect("mapped");
        // SAFETY: written below only while nothing is shown.
        let theirs = unsafe { theirs.into_bulk().view() };
        let mut memory = region.into_bulk().writer();
        let mut stage = Stage::new(64 << 10).expect("address space");
        let mut shown = Vec::new();
        for round in 1..4_u8 {
            assert!(memory.write(4000, &[round; 200]));
            // Across a page, and twice in one batch.
            let payload = theirs.payload(4000, 200).expect("inside");
            let places = [(); 2].map(|()| stage.show(&payload).expect("room"));
            assert!(
                places
                    .iter()
                    .all(|at| seen(&stage, *at, 200) == [round; 200])
            );
            stage.clear().expect("cleared");
            stage.clear().expect("nothing to do");
            shown.extend(places);
            assert!(shown.iter().all(|at| seen(&stage, *at, 200) == [0; 200]));
        }
        shown.sort_unstable();
        shown.dedup();
        assert_eq!(shown.len(), 6, "no address is used twice");
    }

    #[test]
    fn what_is_not_lent_and_what_does_not_fit_is_not_shown() {
        let mut stage = Stage::new(4096).expect("address space");
        assert_eq!(stage.show(&Payload::copy_from_slice(&[3; 10])), None);
        let region = Region::create("stage", LAYOUT, Peer::Writes).expect("memory");
        // SAFETY: nobody writes.
        let theirs = unsafe { region.into_bulk().view() };
        let payload = |bytes| theirs.payload(64, bytes).expect("inside");
        assert_eq!(stage.show(&payload(0)), None);
        assert_eq!(stage.show(&payload(5000)), None, "two pages");
        assert!(stage.show(&payload(64)).is_some());
        assert_eq!(stage.show(&payload(64)), None, "it is full");
    }
}
