//! Memory of a peer, shown to code that may keep it.
//!
//! A container sees rows where the front end wrote them, and once it has answered, the front end
//! writes there again. A model in Rust cannot hold on to a batch; one in a language with a garbage
//! collector can, and would then read numbers of other queries. Nothing can be changed about a
//! pointer that such a model has, but what lies behind it can: [`Views`] shows lent memory through a
//! *window*, a second mapping of it that nothing else uses, and [`Views::keep`] replaces the
//! window's pages under a view by private ones with the same bytes. The view stays valid, at its
//! address, for as long as it lives, and the next batch is shown through a new window.
//!
//! ```text
//!   shared memory   [ … rows of other batches … | batch | … ]   written again by the front end
//!   first mapping   [ ………………………………………………………………………………… ]   what the container itself reads
//!   window          [ ……………………………… | private copy | ……………… ]   after keep(): the model's
//! ```
//!
//! # Invariants
//! - Bytes of a view do not change from [`Views::show`] on until its batch is answered, and if it
//!   was kept before that, never.
//!
//! # Cost
//! `show`: a look at few windows; for the first batch of a session a mapping of no pages, and then a
//! page fault for each group of pages the first time that it is seen. `keep`: a copy of the batch's
//! pages and four system calls.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};
use rustix::mm::{MapFlags, MprotectFlags, MremapFlags, ProtFlags};

use crate::copies::{self, Copied};
use crate::mapping::Mapping;
use crate::payload::{Owner, Payload};
use crate::region::copy_out;

/// Windows through which lent payloads are shown, one for each piece of shared memory.
#[derive(Debug, Default)]
pub struct Views {
    windows: Vec<Arc<Window>>,
}

/// A payload to show. Its bytes are there as long as it or a clone of it lives.
///
/// They stay as they are until the batch is answered; beyond that only after [`Views::keep`].
#[derive(Clone, Debug)]
pub struct View {
    payload: Payload,
    /// None if nobody writes the bytes again.
    window: Option<Arc<Window>>,
}

impl View {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.payload.as_bytes()
    }

    /// Whether the bytes change once the batch is answered, unless the view is kept.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        self.window.is_some()
    }
}

impl Views {
    /// Shows the bytes of `payload`, which is of a batch that is not answered yet. They are copied
    /// only if the system has no window for them.
    pub fn show(&mut self, payload: &Payload) -> View {
        let Owner::Lent(mapping) = payload.owner() else {
            let (payload, window) = (payload.clone(), None);
            return View { payload, window };
        };
        match self.window(mapping) {
            Ok(window) => View {
                payload: window.show(payload),
                window: Some(window),
            },
            Err(_) => Self::copy(payload),
        }
    }

    /// A copy to show, which can be kept at no further cost.
    #[must_use]
    pub fn copy(payload: &Payload) -> View {
        copies::record(Copied::Kept, payload.len());
        View {
            payload: Payload::copy_from_slice(payload.as_bytes()),
            window: None,
        }
    }

    /// Makes the bytes of `view` stay as they are. To be called before its batch is answered.
    ///
    /// # Errors
    /// If the system has no memory for a copy. The bytes then change once the batch is answered:
    /// the process had better end.
    pub fn keep(&mut self, view: &View) -> io::Result<()> {
        let Some(window) = &view.window else {
            return Ok(());
        };
        // What was replaced shows nothing new.
        self.windows.retain(|other| !Arc::ptr_eq(other, window));
        copies::record(Copied::Kept, view.payload.len());
        window.detach(&view.payload)
    }

    fn window(&mut self, mapping: &Arc<Mapping>) -> io::Result<Arc<Window>> {
        let of = |window: &&Arc<Window>| Arc::ptr_eq(&window.of, mapping);
        if let Some(window) = self.windows.iter().find(of) {
            return Ok(window.clone());
        }
        // Those of sessions that are over.
        self.windows
            .retain(|window| Arc::strong_count(&window.of) > 1);
        let window = Arc::new(Window::open(mapping.clone())?);
        self.windows.push(window.clone());
        Ok(window)
    }
}

/// A second mapping of shared memory, for reading.
#[derive(Debug)]
struct Window {
    of: Arc<Mapping>,
    mapped: MmapRaw,
}

impl Window {
    fn open(of: Arc<Mapping>) -> io::Result<Window> {
        let fd = of.fd().ok_or(io::ErrorKind::Unsupported)?;
        let mapped = MmapOptions::new().len(of.bytes()).map_raw_read_only(&fd)?;
        Ok(Window { of, mapped })
    }

    /// The same bytes, seen through this window.
    fn show(self: &Arc<Self>, payload: &Payload) -> Payload {
        let offset = payload.start().addr().get() - self.of.at(0, 0).addr().get();
        assert!(offset + payload.len() <= self.mapped.len(), "inside");
        let base = NonNull::new(self.mapped.as_mut_ptr()).expect("mapped");
        // SAFETY: inside of the mapping, which was just checked.
        let start = unsafe { base.add(offset) };
        let owner = Owner::Shared(self.clone());
        // SAFETY: mapped as long as the owner lives; that nobody writes is what made `payload`, until
        // its batch is answered, and from then on `Views` asks for `keep`.
        unsafe { Payload::new(start, payload.len(), owner) }
    }

    /// Puts private pages with the same bytes in the place of those of `payload`.
    fn detach(&self, payload: &Payload) -> io::Result<()> {
        if payload.is_empty() {
            return Ok(());
        }
        let page = rustix::param::page_size();
        let base = self.mapped.as_mut_ptr();
        let offset = payload.start().addr().get() - base.addr();
        let first = offset / page * page;
        let bytes = (offset + payload.len() - first).next_multiple_of(page);
        // SAFETY: inside of the mapping.
        let place = unsafe { base.add(first) };
        // SAFETY: a new mapping, of a size that is not 0.
        let fresh = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        // The last page may reach beyond the memory's end.
        let there = bytes.min(self.mapped.len() - first);
        // SAFETY: both are mapped for so many bytes. Those that are not the payload's may change
        // meanwhile, which the routine allows.
        unsafe { copy_out(place, fresh.cast(), there) };
        // SAFETY: the new mapping, which only this function knows.
        let moved = unsafe { rustix::mm::mprotect(fresh, bytes, MprotectFlags::READ) }
            // SAFETY: whole pages of this window's own mapping are replaced, in one step, by pages
            // that are readable and hold the same bytes. Their unmapping with the window covers them.
            .and_then(|()| unsafe {
                rustix::mm::mremap_fixed(fresh, bytes, bytes, MremapFlags::MAYMOVE, place.cast())
            });
        if let Err(error) = moved {
            // SAFETY: it was not moved, and nobody else knows it.
            let _ = unsafe { rustix::mm::munmap(fresh, bytes) };
            return Err(error.into());
        }
        Ok(())
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::region::{Access, BulkView, BulkWriter, Layout, Peer, Region};

    const LAYOUT: Layout = Layout {
        words: 8,
        bulk_bytes: 5 * 4096 + 100,
    };

    /// Memory of a front end, and the same memory as a container sees it.
    fn region() -> (BulkWriter, BulkView) {
        let region = Region::create("views", LAYOUT, Peer::Reads).expect("memory");
        let fd = region.fd().expect("a memfd").try_clone_to_owned();
        let view = Region::open(fd.expect("a descriptor"), LAYOUT, Access::Read).expect("mapped");
        // SAFETY: the tests write only what they have kept or let go of.
        let view = unsafe { view.into_bulk().view() };
        (region.into_bulk().writer(), view)
    }

    #[test]
    fn a_kept_view_stays_and_later_ones_see_what_is_written() {
        let (mut memory, container) = region();
        let mut views = Views::default();
        // Across a page, and up to the end of the memory.
        for (offset, bytes) in [(0, 64), (4000, 5000), (LAYOUT.bulk_bytes - 300, 300)] {
            assert!(memory.write(offset, &vec![1; bytes]));
            let payload = container.payload(offset, bytes).expect("inside");
            let view = views.show(&payload);
            assert!(view.is_lent());
            assert_ne!(view.as_bytes().as_ptr(), payload.as_bytes().as_ptr());
            views.keep(&view).expect("memory");
            let also = view.clone();
            assert!(memory.write(offset, &vec![2; bytes]));
            assert_eq!(also.as_bytes(), vec![1; bytes]);
            let next = views.show(&container.payload(offset, bytes).expect("inside"));
            assert_eq!(next.as_bytes(), vec![2; bytes]);
            drop(views.show(&payload));
            assert_eq!(view.as_bytes(), vec![1; bytes], "still");
        }
    }

    #[test]
    fn several_views_of_a_batch_are_kept_one_by_one() {
        let (mut memory, container) = region();
        let mut views = Views::default();
        assert!(memory.write(0, &[1; 200]));
        let shown = [0, 100].map(|at| views.show(&container.payload(at, 100).expect("inside")));
        for view in &shown {
            views.keep(view).expect("memory");
        }
        assert!(memory.write(0, &[2; 200]));
        assert!(shown.iter().all(|view| view.as_bytes() == [1; 100]));
        let empty = views.show(&container.payload(0, 0).expect("inside"));
        views.keep(&empty).expect("nothing to do");
    }

    #[test]
    fn views_share_a_window_until_one_is_kept_and_let_go_of_old_memory() {
        let (mut views, (_memory, container)) = (Views::default(), region());
        let at = |views: &mut Views, container: &BulkView| {
            views.show(&container.payload(64, 64).expect("inside"))
        };
        let first = at(&mut views, &container);
        let second = at(&mut views, &container);
        assert_eq!(first.as_bytes().as_ptr(), second.as_bytes().as_ptr());
        drop((first, second, container));
        let (_memory, container) = region();
        at(&mut views, &container);
        assert_eq!(views.windows.len(), 1, "the window of the first is gone");
    }

    #[test]
    fn what_nobody_writes_again_is_shown_itself() {
        let mut views = Views::default();
        let payload = Payload::copy_from_slice(&[3; 10]);
        let view = views.show(&payload);
        assert!(!view.is_lent());
        assert_eq!(view.as_bytes().as_ptr(), payload.as_bytes().as_ptr());
        views.keep(&view).expect("nothing to do");
        let copy = Views::copy(&payload);
        assert_ne!(copy.as_bytes().as_ptr(), payload.as_bytes().as_ptr());
    }
}
