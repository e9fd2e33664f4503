//! Mapped memory that two processes may share: sealed memfds, never names.
//!
//! The front end makes every region and passes its descriptor. A region is sealed against
//! growing and shrinking, so that no access to it can fault, and one that the peer must not
//! write also against new writable mappings.
//!
//! # Invariants
//! - A mapping of a peer's descriptor has the size that was agreed and cannot be shrunk.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};

/// Who may write a region besides this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The peer only reads.
    Reads,
    /// The peer writes.
    Writes,
}

/// How this process maps a region that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write.
    Write,
}

/// Mapped memory and its descriptor.
#[derive(Debug)]
pub(crate) struct Mapping {
    backing: Backing,
    fd: Option<OwnedFd>,
}

#[derive(Debug)]
enum Backing {
    Mapped(memmap2::MmapRaw),
    /// Miri cannot map files: the same memory without a second process.
    #[cfg(miri)]
    Heap(NonNull<u8>, std::alloc::Layout),
}

// SAFETY: a mapping is plain memory; how it is accessed is up to the types built on it.
#[cfg(miri)]
unsafe impl Send for Backing {}
// SAFETY: as above.
#[cfg(miri)]
unsafe impl Sync for Backing {}

impl Mapping {
    /// New zeroed memory of `bytes`, mapped for writing.
    pub(crate) fn create(name: &str, bytes: usize, peer: Peer) -> io::Result<Mapping> {
        #[cfg(miri)]
        return Ok(Self::heap(name, bytes, peer));
        #[cfg(not(miri))]
        {
            let fd = memfd(name)?;
            rustix::fs::ftruncate(&fd, bytes as u64)?;
            let backing = Backing::Mapped(memmap2::MmapOptions::new().len(bytes).map_raw(&fd)?);
            // This mapping stays writable; later ones of whoever may not write are refused.
            let mut seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
            if peer == Peer::Reads {
                seals |= SealFlags::FUTURE_WRITE;
            }
            rustix::fs::fcntl_add_seals(&fd, seals)?;
            let fd = Some(fd);
            Ok(Mapping { backing, fd })
        }
    }

    /// Memory of `bytes` that a peer made.
    pub(crate) fn open(fd: OwnedFd, bytes: usize, access: Access) -> io::Result<Mapping> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let seals = rustix::fs::fcntl_get_seals(&fd)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(wrong("shared memory is not sealed against shrinking"));
        }
        if rustix::fs::fstat(&fd)?.st_size != i64::try_from(bytes).unwrap_or(i64::MAX) {
            return Err(wrong("shared memory has another size than was agreed"));
        }
        let mut options = memmap2::MmapOptions::new();
        options.len(bytes);
        let mapped = match access {
            Access::Read => options.map_raw_read_only(&fd)?,
            Access::Write => options.map_raw(&fd)?,
        };
        let (backing, fd) = (Backing::Mapped(mapped), Some(fd));
        Ok(Mapping { backing, fd })
    }

    #[cfg(miri)]
    fn heap(_name: &str, bytes: usize, _peer: Peer) -> Mapping {
        let layout = std::alloc::Layout::from_size_align(bytes, 4096).expect("a size");
        // SAFETY: the layout is not empty: no region is.
        let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).expect("memory");
        let backing = Backing::Heap(start, layout);
        Mapping { backing, fd: None }
    }

    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn bytes(&self) -> usize {
        match &self.backing {
            Backing::Mapped(mapped) => mapped.len(),
            #[cfg(miri)]
            Backing::Heap(_, layout) => layout.size(),
        }
    }

    /// The first of `bytes` bytes from `offset`.
    ///
    /// # Panics
    /// If they are not all inside.
    pub(crate) fn at(&self, offset: usize, bytes: usize) -> NonNull<u8> {
        let inside = offset
            .checked_add(bytes)
            .is_some_and(|end| end <= self.bytes());
        assert!(inside, "{bytes} bytes at {offset} are outside a region");
        let base = match &self.backing {
            Backing::Mapped(mapped) => NonNull::new(mapped.as_mut_ptr()).expect("mapped"),
            #[cfg(miri)]
            Backing::Heap(start, _) => *start,
        };
        // SAFETY: the offset is inside of the mapping, which was just checked.
        unsafe { base.add(offset) }
    }

    /// Backs all of it with pages, huge ones where the system offers them. What fails is left
    /// to the first access.
    pub(crate) fn populate(&self) {
        match &self.backing {
            Backing::Mapped(mapped) => {
                // Not configured for shared memory on most systems.
                let _ = mapped.advise(memmap2::Advice::HugePage);
                let _ = mapped.advise(memmap2::Advice::PopulateWrite);
            }
            #[cfg(miri)]
            Backing::Heap(..) => {}
        }
    }
}

/// Whether the system backs shared memory that asks for it with huge pages; what it does not say
/// is no.
#[must_use]
pub fn has_huge_pages() -> bool {
    const OFFERED: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let chosen = std::fs::read_to_string(OFFERED).unwrap_or_default();
    ["[always]", "[within_size]", "[advise]", "[force]"]
        .iter()
        .any(|kind| chosen.contains(kind))
}

#[cfg(miri)]
impl Drop for Mapping {
    fn drop(&mut self) {
        if let Backing::Heap(start, layout) = self.backing {
            // SAFETY: allocated with this layout in `heap`.
            unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
        }
    }
}

#[cfg(not(miri))]
fn memfd(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the last flag.
    rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create(name, flags))
        .map_err(io::Error::from)
}
