//! The tables inside `state.redb`, and one transaction for each operation.
//!
//! Errors are redb's own here; `file.rs` says what they mean.
//!
//! # Invariants
//! - Table `meta` holds `format` and `revision` from the first commit on.
//! - Each write transaction is durable (`Durability::Immediate`) when it returns.

use std::fs::File;
use std::sync::Arc;

use redb::{
    Builder, Database, Durability, Error, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use super::backend::{Backend, Health};
use crate::store::{Change, Contents, Revision, StoreError, check_growth, entry_bytes};

/// The format that this release writes.
pub(super) const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const META_FORMAT: &str = "format";
const META_REVISION: &str = "revision";
/// redb's page cache; its default of 1 GiB is meant for other uses.
const CACHE_BYTES: usize = 4 << 20;

/// Why an operation did not happen: refused by our rules, or failed in redb.
pub(super) enum Failure {
    Refused(StoreError),
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What the `meta` table says.
pub(super) enum Format {
    Current,
    Newer(u64),
    Missing,
}

/// Opens the database in `file`, verifying every page; an empty file becomes an empty database.
pub(super) fn open(file: File, health: &Arc<Health>) -> Result<Database, Error> {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    let database = builder.create_with_backend(Backend::new(file, health.clone())?)?;
    if is_empty(&database)? {
        initialize(&database)?;
    }
    Ok(database)
}

/// Whether nothing was ever committed: also so where the first opening was cut short.
fn is_empty(database: &Database) -> Result<bool, Error> {
    Ok(database.begin_read()?.list_tables()?.next().is_none())
}

fn initialize(database: &Database) -> Result<(), Error> {
    let transaction = begin_write(database)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT)?;
        meta.insert(META_REVISION, 0)?;
        transaction.open_table(ENTRIES)?;
    }
    Ok(transaction.commit()?)
}

fn begin_write(database: &Database) -> Result<WriteTransaction, Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}

pub(super) fn format(database: &Database) -> Result<Format, Error> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Format::Missing),
        meta => meta?,
    };
    Ok(match meta.get(META_FORMAT)?.map(|found| found.value()) {
        Some(FORMAT) => Format::Current,
        Some(found) if found > FORMAT => Format::Newer(found),
        Some(_) | None => Format::Missing,
    })
}

pub(super) fn load(database: &Database) -> Result<Contents, Error> {
    let transaction = database.begin_read()?;
    let mut contents = Contents {
        revision: read_revision(&transaction.open_table(META)?)?,
        ..Contents::default()
    };
    for entry in transaction.open_table(ENTRIES)?.iter()? {
        let (key, value) = entry?;
        contents
            .entries
            .insert(key.value().to_owned(), value.value().to_vec());
    }
    Ok(contents)
}

/// Writes `changes` and `revision`; returns the bytes that the contents then hold.
pub(super) fn commit(
    database: &Database,
    revision: Revision,
    changes: &[Change],
    bytes_before: u64,
) -> Result<u64, Failure> {
    let transaction = begin_write(database)?;
    let mut bytes_after = bytes_before;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        for change in changes {
            bytes_after = apply(&mut entries, change, bytes_after)?;
        }
        // An early return drops the transaction, which takes everything back.
        check_growth(bytes_before, bytes_after).map_err(Failure::Refused)?;
        transaction
            .open_table(META)?
            .insert(META_REVISION, revision.0)?;
    }
    transaction.commit()?;
    Ok(bytes_after)
}

fn apply(
    entries: &mut Table<'_, &'static str, &'static [u8]>,
    change: &Change,
    bytes: u64,
) -> Result<u64, Error> {
    let (replaced, written) = match change {
        Change::Put { key, value } => {
            let old = entries.insert(key.as_str(), value.as_slice())?;
            (
                old.map(|old| entry_bytes(key, old.value())),
                entry_bytes(key, value),
            )
        }
        Change::Delete { key } => {
            let old = entries.remove(key.as_str())?;
            (old.map(|old| entry_bytes(key, old.value())), 0)
        }
    };
    Ok(bytes + written - replaced.unwrap_or(0))
}

fn read_revision(meta: &impl ReadableTable<&'static str, u64>) -> Result<Revision, Error> {
    let found = meta.get(META_REVISION)?.map(|found| found.value());
    found
        .map(Revision)
        .ok_or_else(|| Error::Corrupted("no revision".to_owned()))
}

#[cfg(test)]
pub(super) fn set_format(database: &Database, format: u64) -> Result<(), Error> {
    let transaction = begin_write(database)?;
    transaction.open_table(META)?.insert(META_FORMAT, format)?;
    Ok(transaction.commit()?)
}
