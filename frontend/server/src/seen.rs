//! A file as it was when it was read, to know when it is to be read again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file at a time. It differs from a later look if the file was written, replaced or touched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) path: PathBuf,
    inode: u64,
    bytes: u64,
    /// In seconds and nanoseconds: of the content, and of the inode.
    changed: [(i64, i64); 2],
}

impl Seen {
    /// Looks at a file; nothing where there is none. Links are followed, so that one to a mounted
    /// secret will do.
    pub(crate) fn of(path: &Path) -> Option<Seen> {
        let data = path.metadata().ok()?;
        data.is_file().then(|| Seen {
            path: path.to_owned(),
            inode: data.ino(),
            bytes: data.len(),
            changed: [
                (data.mtime(), data.mtime_nsec()),
                (data.ctime(), data.ctime_nsec()),
            ],
        })
    }
}
