//! Durable state: a flat map of keys to bytes with one revision.
//!
//! [`Store`] is the contract; each mechanism has its own file and passes `store/conformance.rs`.
//! The trait blocks by design: control calls it from a thread that may wait for a disk.
//!
//! # Invariants
//! - A revision goes up by one with each commit that has changes, and never goes back.
//! - A commit is all or nothing, and durable before its revision is returned or watched.
//! - Keys hold 1 to [`KEY_BYTES_MAX`] bytes, values at most [`VALUE_BYTES_MAX`].
//! - Contents that grow stay below [`CONTENTS_BYTES_MAX`] less the reserve for deletes.

mod file;
mod memory;

#[cfg(test)]
mod conformance;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use file::FileStore;
pub use memory::MemoryStore;

/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Most bytes of keys and values together.
pub const CONTENTS_BYTES_MAX: u64 = 1 << 30;
/// Share of [`CONTENTS_BYTES_MAX`] that only commits which do not grow the contents may use.
pub const CONTENTS_RESERVE_PERCENT: u64 = 5;

/// Where contents stop growing.
const CONTENTS_GROWTH_BYTES_MAX: u64 = CONTENTS_BYTES_MAX / 100 * (100 - CONTENTS_RESERVE_PERCENT);

/// Number of a state of the store; 0 is the empty store.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One part of a commit; parts apply in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes or replaces `key`.
    Put {
        /// 1 to [`KEY_BYTES_MAX`] bytes.
        key: String,
        /// At most [`VALUE_BYTES_MAX`] bytes; the store does not look inside.
        value: Vec<u8>,
    },
    /// Removes `key`; a key that is not there is no error.
    Delete {
        /// 1 to [`KEY_BYTES_MAX`] bytes.
        key: String,
    },
}

impl Change {
    fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Everything in the store at one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The state that `entries` shows.
    pub revision: Revision,
    /// Keys in byte order.
    pub entries: BTreeMap<String, Vec<u8>>,
}

/// Keeps the state of control.
///
/// A caller loads the contents, decides, and commits against the revision that it decided on; a
/// `Conflict` means that someone else was first, and the caller loads and decides again.
pub trait Store: Send + Sync {
    /// Reads everything at the current revision.
    ///
    /// # Errors
    /// `Corrupt` or `Io` where the mechanism cannot be read.
    fn load(&self) -> Result<Contents, StoreError>;

    /// Applies `changes` in order, all or nothing, and returns the new revision once it is durable.
    ///
    /// No changes: nothing is written and `expected` is returned.
    ///
    /// # Errors
    /// - `Conflict` if `expected` is not the current revision.
    /// - `Invalid` for a key or value beyond its limit, `Full` where there is no room.
    /// - `ReadOnly` after a failure that leaves durability in doubt; it stays so until restart.
    /// - `Io`: the outcome is unknown; load to learn it.
    fn commit(&self, expected: Revision, changes: &[Change]) -> Result<Revision, StoreError>;

    /// Follows the current revision; it changes after a commit is durable.
    fn watch(&self) -> watch::Receiver<Revision>;
}

/// Why a store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another commit came first.
    #[error("store is at revision {current}, the change was made for revision {expected}")]
    Conflict {
        /// What the caller decided on.
        expected: Revision,
        /// What the store is at.
        current: Revision,
    },
    /// Another process has the directory.
    #[error(
        "directory {} is in use by {}; stop it or choose another directory",
        directory.display(), Holder(*holder)
    )]
    Locked {
        /// The directory that was asked for.
        directory: PathBuf,
        /// The process that has it, where it could be read.
        holder: Option<u32>,
    },
    /// The directory cannot be made or written.
    #[error(
        "cannot write to {}; choose a directory that this user may write to", path.display()
    )]
    Unwritable {
        /// What could not be made, opened or written.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An earlier failure left durability in doubt.
    #[error("store is read-only until restart: {reason}")]
    ReadOnly {
        /// The failure.
        reason: String,
    },
    /// No room on the disk.
    #[error("no room left for {}; free some space and try again", path.display())]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The contents are at their limit.
    #[error(
        "contents would hold {bytes} bytes, at most {} allowed; delete something first",
        CONTENTS_GROWTH_BYTES_MAX
    )]
    ContentsFull {
        /// What they would have held.
        bytes: u64,
    },
    /// The file is damaged.
    #[error("{} is damaged: {reason}; restore it from a backup", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file was written by a later release.
    #[error(
        "{} has format {found}, this release reads up to {supported}; use a later release",
        path.display()
    )]
    FormatNewer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The latest that is understood here.
        supported: u64,
    },
    /// A key without a byte.
    #[error("key is empty")]
    KeyEmpty,
    /// A key beyond the limit.
    #[error("key has {bytes} bytes, at most {} allowed", KEY_BYTES_MAX)]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A value beyond the limit.
    #[error(
        "value of {key:?} has {bytes} bytes, at most {} allowed",
        VALUE_BYTES_MAX
    )]
    ValueTooLarge {
        /// Whose value.
        key: String,
        /// Its length.
        bytes: usize,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a [`StoreError`] means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Load and decide again.
    Conflict,
    /// Another process has the store.
    Locked,
    /// The place cannot be written.
    Unwritable,
    /// No more commits until restart.
    ReadOnly,
    /// No room; deletes may still work.
    Full,
    /// Damaged.
    Corrupt,
    /// Written by a later release.
    Format,
    /// The change breaks a limit; nothing was written.
    Invalid,
    /// Failed; the outcome is unknown.
    Io,
}

impl StoreError {
    /// What to decide on.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Conflict { .. } => StoreErrorKind::Conflict,
            Self::Locked { .. } => StoreErrorKind::Locked,
            Self::Unwritable { .. } => StoreErrorKind::Unwritable,
            Self::ReadOnly { .. } => StoreErrorKind::ReadOnly,
            Self::DiskFull { .. } | Self::ContentsFull { .. } => StoreErrorKind::Full,
            Self::Corrupt { .. } => StoreErrorKind::Corrupt,
            Self::FormatNewer { .. } => StoreErrorKind::Format,
            Self::KeyEmpty | Self::KeyTooLong { .. } | Self::ValueTooLarge { .. } => {
                StoreErrorKind::Invalid
            }
            Self::Io { .. } => StoreErrorKind::Io,
        }
    }
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

/// Refuses changes that break a limit on their own.
fn check_changes(changes: &[Change]) -> Result<(), StoreError> {
    changes.iter().try_for_each(check_change)
}

fn check_change(change: &Change) -> Result<(), StoreError> {
    let key = change.key();
    if key.is_empty() {
        return Err(StoreError::KeyEmpty);
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(StoreError::KeyTooLong { bytes: key.len() });
    }
    match change {
        Change::Put { key, value } if value.len() > VALUE_BYTES_MAX => {
            Err(StoreError::ValueTooLarge {
                key: key.clone(),
                bytes: value.len(),
            })
        }
        _ => Ok(()),
    }
}

fn check_revision(expected: Revision, current: Revision) -> Result<(), StoreError> {
    if expected == current {
        Ok(())
    } else {
        Err(StoreError::Conflict { expected, current })
    }
}

/// Refuses growth into the reserve; what does not grow is always let through.
fn check_growth(bytes_before: u64, bytes_after: u64) -> Result<(), StoreError> {
    if bytes_after > bytes_before && bytes_after > CONTENTS_GROWTH_BYTES_MAX {
        return Err(StoreError::ContentsFull { bytes: bytes_after });
    }
    Ok(())
}

fn entry_bytes(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}
