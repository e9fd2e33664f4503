//! Store in a directory: one redb file, fsynced at each commit.
//!
//! A directory belongs to one process at a time, by a kernel lock that goes with the process.
//! What a failed commit means depends on what failed: no room before anything was synced can be
//! tried again after the file is reopened, anything else ends writing until restart, because a
//! later fsync that succeeds would prove nothing.
//!
//! # Invariants
//! - `revision` and `bytes` describe the last durable commit.
//! - Once `read_only` is set it stays set, and no commit is tried.
//! - `database` is `None` only after a disk-full failure, until the next use reopens it.
//!
//! # Cost
//! `load` reads all entries; `commit` writes a few pages and waits for one fsync or two.

mod backend;
mod database;
mod directory;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Database, Error};
use tokio::sync::watch;

use self::backend::Health;
use self::database::{FORMAT, Failure, Format};
use self::directory::{Claim, Identity};
use super::{
    Change, Contents, Revision, Store, StoreError, check_changes, check_revision, entry_bytes,
};

const STATE_FILE: &str = "state.redb";

/// Keeps its contents in `DIRECTORY/state.redb`.
#[derive(Debug)]
pub struct FileStore {
    state: Mutex<State>,
    revision: watch::Sender<Revision>,
    path: PathBuf,
    health: Arc<Health>,
    // Last, so that the database is closed before the directory is free.
    _claim: Claim,
}

#[derive(Debug)]
struct State {
    database: Option<Database>,
    revision: Revision,
    bytes: u64,
    identity: Option<Identity>,
    read_only: Option<String>,
}

impl FileStore {
    /// Opens the store in `directory`, which is made (0700) if absent.
    ///
    /// # Errors
    /// `Locked` where another process has it, `Unwritable`, `Format` where a later release wrote
    /// it, `Corrupt` where a page fails its checksum.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let claim = directory::claim(directory)?;
        let path = directory.join(STATE_FILE);
        let health = Arc::new(Health::default());
        let (database, contents) = open_database(&path, &health)?;
        directory::sync(directory).map_err(|source| directory::unwritable(directory, source))?;
        let state = State {
            database: Some(database),
            revision: contents.revision,
            bytes: bytes(&contents),
            identity: Identity::of(&path),
            read_only: None,
        };
        let revision = watch::Sender::new(contents.revision);
        Ok(Self {
            state: Mutex::new(state),
            revision,
            path,
            health,
            _claim: claim,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic inside redb leaves its transaction uncommitted; ours changes only after it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_writable(&self, state: &mut State) -> Result<(), StoreError> {
        if state.read_only.is_none() && Identity::of(&self.path) != state.identity {
            state.read_only = Some(format!("{} was removed or replaced", self.path.display()));
        }
        match &state.read_only {
            Some(reason) => Err(StoreError::ReadOnly {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// The open database; takes up what is on the disk if a disk-full failure closed it.
    fn database<'s>(&self, state: &'s mut State) -> Result<&'s Database, StoreError> {
        let database = match state.database.take() {
            Some(database) => database,
            None => self.reopen(state)?,
        };
        Ok(state.database.insert(database))
    }

    #[cold]
    fn reopen(&self, state: &mut State) -> Result<Database, StoreError> {
        self.check_writable(state)?; // opening would make a file that is gone
        let opened = open_database(&self.path, &self.health);
        if self.health.sync_failed() {
            let reason = || format!("fsync of {} failed", self.path.display());
            state.read_only.get_or_insert_with(reason);
        }
        let (database, contents) = opened?;
        state.bytes = bytes(&contents);
        self.publish(state, contents.revision);
        Ok(database)
    }

    fn publish(&self, state: &mut State, revision: Revision) {
        assert!(revision >= state.revision, "revisions never go back");
        state.revision = revision;
        self.revision
            .send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
    }

    #[cold]
    fn give_up(&self, state: &mut State, error: Error) -> StoreError {
        if !self.health.sync_failed() && is_disk_full(&error) {
            // redb refuses all work after a failed write; reopening is what a restart would do.
            state.database = None;
            if !self.health.sync_failed() {
                return storage_error("write", &self.path, error);
            }
        }
        let reason = format!("writing {} failed: {error}", self.path.display());
        tracing::error!(%reason, "store is read-only until restart");
        state.read_only = Some(reason);
        storage_error("write", &self.path, error)
    }
}

impl Store for FileStore {
    fn load(&self) -> Result<Contents, StoreError> {
        let mut state = self.lock();
        let database = self.database(&mut state)?;
        database::load(database).map_err(|error| storage_error("read", &self.path, error))
    }

    fn commit(&self, expected: Revision, changes: &[Change]) -> Result<Revision, StoreError> {
        check_changes(changes)?;
        let mut state = self.lock();
        self.check_writable(&mut state)?;
        self.database(&mut state)?; // reopening may find another revision, or fail to sync
        self.check_writable(&mut state)?;
        check_revision(expected, state.revision)?;
        if changes.is_empty() {
            return Ok(expected);
        }
        let (revision, bytes_before) = (expected.next(), state.bytes);
        let database = self.database(&mut state)?;
        match database::commit(database, revision, changes, bytes_before) {
            Ok(bytes) => state.bytes = bytes,
            Err(Failure::Refused(error)) => return Err(error),
            Err(Failure::Failed(error)) => return Err(self.give_up(&mut state, error)),
        }
        self.publish(&mut state, revision);
        Ok(revision)
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }
}

fn open_database(path: &Path, health: &Arc<Health>) -> Result<(Database, Contents), StoreError> {
    let file =
        directory::open_private(path).map_err(|source| directory::unwritable(path, source))?;
    open_file(file, path, health)
}

fn open_file(
    file: File,
    path: &Path,
    health: &Arc<Health>,
) -> Result<(Database, Contents), StoreError> {
    let failed = |error| storage_error("open", path, error);
    let database = database::open(file, health).map_err(failed)?;
    match database::format(&database).map_err(failed)? {
        Format::Current => {}
        Format::Newer(found) => {
            let path = path.to_owned();
            return Err(StoreError::FormatNewer {
                path,
                found,
                supported: FORMAT,
            });
        }
        Format::Missing => return Err(corrupt(path, "it has no format record".to_owned())),
    }
    let contents = database::load(&database).map_err(failed)?;
    Ok((database, contents))
}

fn storage_error(action: &'static str, path: &Path, error: Error) -> StoreError {
    let path = path.to_owned();
    match error {
        Error::Io(source) if source.kind() == io::ErrorKind::StorageFull => {
            StoreError::DiskFull { path, source }
        }
        Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
            corrupt(&path, source.to_string())
        }
        Error::Corrupted(reason) => corrupt(&path, reason),
        // redb's own lock: the file is open under another name of its directory.
        Error::DatabaseAlreadyOpen => StoreError::Locked {
            directory: path,
            holder: None,
        },
        Error::Io(source) => StoreError::Io {
            action,
            path,
            source: source.into(),
        },
        other => StoreError::Io {
            action,
            path,
            source: other.into(),
        },
    }
}

fn corrupt(path: &Path, reason: String) -> StoreError {
    StoreError::Corrupt {
        path: path.to_owned(),
        reason,
    }
}

fn is_disk_full(error: &Error) -> bool {
    matches!(error, Error::Io(source) if source.kind() == io::ErrorKind::StorageFull)
}

fn bytes(contents: &Contents) -> u64 {
    contents
        .entries
        .iter()
        .map(|(key, value)| entry_bytes(key, value))
        .sum()
}
