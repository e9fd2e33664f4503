//! The directory of a file store: made, locked, and watched for being swapped.
//!
//! # Invariants
//! - At most one live [`Claim`] exists for a directory; the kernel drops it with its process.
//! - The pid in the lock file is for messages only; the kernel's lock decides.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

pub(super) const LOCK_FILE: &str = "lock";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Longest holder record that is read; a pid has at most 10 digits.
const HOLDER_BYTES_MAX: u64 = 16;

/// The right to write in a directory, held until dropped.
#[derive(Debug)]
pub(super) struct Claim {
    lock: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Closing is not enough at once: a child between fork and exec still has the file open.
        let _ = self.lock.unlock();
    }
}

/// Makes `directory` if absent (0700, durable) and claims it.
pub(super) fn claim(directory: &Path) -> Result<Claim, StoreError> {
    make(directory).map_err(|source| unwritable(directory, source))?;
    let path = directory.join(LOCK_FILE);
    let mut lock = open_private(&path).map_err(|source| unwritable(&path, source))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(directory, &lock)),
        Err(TryLockError::Error(source)) => return Err(unwritable(&path, source)),
    }
    write_holder(&mut lock).map_err(|source| unwritable(&path, source))?;
    Ok(Claim { lock })
}

/// Opens `path` for reading and writing, making it (0600) if absent.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
}

/// Makes the names in `directory` durable.
pub(super) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

pub(super) fn unwritable(path: &Path, source: io::Error) -> StoreError {
    StoreError::Unwritable {
        path: path.to_owned(),
        source,
    }
}

fn make(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let made = missing_ancestors(directory);
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)?;
    // A new name is durable once the directory that holds it is.
    made.iter()
        .filter_map(|path| path.parent())
        .try_for_each(sync_parent)
}

fn sync_parent(parent: &Path) -> io::Result<()> {
    let here = Path::new(".");
    sync(if parent.as_os_str().is_empty() {
        here
    } else {
        parent
    })
}

fn missing_ancestors(directory: &Path) -> Vec<PathBuf> {
    let ancestors = directory
        .ancestors()
        .filter(|path| !path.as_os_str().is_empty());
    ancestors
        .take_while(|path| !path.exists())
        .map(Path::to_owned)
        .collect()
}

fn write_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn locked(directory: &Path, lock: &File) -> StoreError {
    StoreError::Locked {
        directory: directory.to_owned(),
        holder: read_holder(lock),
    }
}

fn read_holder(lock: &File) -> Option<u32> {
    let mut text = String::new();
    lock.take(HOLDER_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Which file a name led to when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// What `path` leads to now; `None` where it leads nowhere.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}
