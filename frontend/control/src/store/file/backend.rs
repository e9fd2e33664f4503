//! The file under redb, and what its failures say about durability.
//!
//! redb reports a failed write and a failed fsync alike. They differ: after a failed write the
//! file holds what it held, after a failed fsync nobody knows, and a second fsync that succeeds
//! proves nothing.
//!
//! # Invariants
//! - `Health::sync_failed` goes up once and stays up.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// What the backend saw; shared with the store that owns it.
#[derive(Debug, Default)]
pub(super) struct Health {
    sync_failed: AtomicBool,
    #[cfg(test)]
    pub(super) faults: Faults,
}

/// Failures that a test asks for.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) sync: AtomicBool,
    pub(super) disk_full: AtomicBool,
}

impl Health {
    pub(super) fn sync_failed(&self) -> bool {
        // Pairs with the store in `record_sync`: the same thread, by way of redb.
        self.sync_failed.load(Ordering::Acquire)
    }

    fn record_sync(&self, result: io::Result<()>) -> io::Result<()> {
        if result.is_err() {
            // Pairs with the load in `sync_failed`.
            self.sync_failed.store(true, Ordering::Release);
        }
        result
    }

    #[cfg(test)]
    fn fault_on_sync(&self) -> io::Result<()> {
        fault(&self.faults.sync, io::ErrorKind::Other)
    }

    #[cfg(not(test))]
    fn fault_on_sync(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn fault_on_write(&self) -> io::Result<()> {
        fault(&self.faults.disk_full, io::ErrorKind::StorageFull)
    }

    #[cfg(not(test))]
    fn fault_on_write(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
fn fault(asked: &AtomicBool, kind: io::ErrorKind) -> io::Result<()> {
    // Set and read by one test thread.
    if asked.load(Ordering::Relaxed) {
        Err(kind.into())
    } else {
        Ok(())
    }
}

/// A file that tells its [`Health`].
#[derive(Debug)]
pub(super) struct Backend {
    file: FileBackend,
    health: Arc<Health>,
}

impl Backend {
    pub(super) fn new(file: File, health: Arc<Health>) -> Result<Self, redb::DatabaseError> {
        Ok(Self {
            file: FileBackend::new(file)?,
            health,
        })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.health.fault_on_write()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let result = self
            .health
            .fault_on_sync()
            .and_then(|()| self.file.sync_data());
        self.health.record_sync(result)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.health.fault_on_write()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
