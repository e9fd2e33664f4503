//! Store in memory: for tests, and for a front end that may forget.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{
    Change, Contents, Revision, Store, StoreError, check_changes, check_growth, check_revision,
    entry_bytes,
};

/// Keeps its contents until it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    contents: Mutex<Contents>,
    revision: watch::Sender<Revision>,
}

impl MemoryStore {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        Self {
            contents: Mutex::default(),
            revision: watch::Sender::new(Revision::default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // Contents are replaced whole, so that a panic elsewhere leaves them sound.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Contents, StoreError> {
        Ok(self.lock().clone())
    }

    fn commit(&self, expected: Revision, changes: &[Change]) -> Result<Revision, StoreError> {
        check_changes(changes)?;
        let mut contents = self.lock();
        check_revision(expected, contents.revision)?;
        if changes.is_empty() {
            return Ok(expected);
        }
        let mut entries = contents.entries.clone();
        changes
            .iter()
            .for_each(|change| apply(&mut entries, change));
        check_growth(bytes(&contents.entries), bytes(&entries))?;
        *contents = Contents {
            revision: expected.next(),
            entries,
        };
        self.revision.send_replace(contents.revision);
        Ok(contents.revision)
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }
}

fn apply(entries: &mut BTreeMap<String, Vec<u8>>, change: &Change) {
    match change {
        Change::Put { key, value } => {
            entries.insert(key.clone(), value.clone());
        }
        Change::Delete { key } => {
            entries.remove(key);
        }
    }
}

fn bytes(entries: &BTreeMap<String, Vec<u8>>) -> u64 {
    entries
        .iter()
        .map(|(key, value)| entry_bytes(key, value))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;
    use crate::store::conformance;

    #[test]
    fn conforms() {
        conformance::run(MemoryStore::new);
    }
}
