use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use super::directory::{LOCK_FILE, open_private};
use super::{FileStore, STATE_FILE, backend::Health, database};
use crate::store::conformance::{self, delete, put};
use crate::store::{Change, Contents, Revision, Store, StoreError, StoreErrorKind};

fn temp() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn open(directory: &Path) -> FileStore {
    FileStore::open(directory).expect("the directory opens")
}

fn commit(store: &FileStore, changes: &[Change]) -> Revision {
    let expected = store.load().expect("the store loads").revision;
    store.commit(expected, changes).expect("the store commits")
}

fn refused(directory: &Path) -> StoreError {
    FileStore::open(directory).expect_err("opening must fail")
}

#[test]
fn conforms() {
    let parent = temp();
    let mut count = 0..;
    let count = std::cell::RefCell::new(&mut count);
    conformance::run(|| {
        let number = count.borrow_mut().next().expect("counts on");
        open(&parent.path().join(format!("store-{number}")))
    });
}

#[test]
fn keeps_contents_and_revision_over_a_reopening() {
    let directory = temp();
    let store = open(directory.path());
    commit(&store, &[put("a", b"1"), put("b", b"2")]);
    commit(&store, &[delete("a")]);
    let before = store.load().expect("the store loads");
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.load().expect("the store loads"), before);
    assert_eq!(*store.watch().borrow(), Revision(2));
    assert_eq!(commit(&store, &[put("c", b"3")]), Revision(3));
}

#[test]
fn holds_each_commit_when_the_process_vanishes_after_it() {
    let (directory, crashed) = (temp(), temp());
    let store = open(directory.path());
    for round in 1..=5_u8 {
        commit(&store, &[put("round", &[round])]);
        // What the disk holds now is what a killed process leaves behind: nothing was closed.
        let copy = crashed.path().join(round.to_string());
        fs::create_dir(&copy).expect("a directory for the copy");
        fs::copy(directory.path().join(STATE_FILE), copy.join(STATE_FILE)).expect("a copy");
        let contents = open(&copy).load().expect("the copy loads");
        assert_eq!(contents.revision, Revision(u64::from(round)));
        assert_eq!(contents.entries.get("round"), Some(&vec![round]));
    }
}

#[test]
fn takes_up_a_first_opening_that_was_cut_short() {
    let directory = temp();
    drop(redb::Database::create(directory.path().join(STATE_FILE)).expect("an empty database"));
    assert_eq!(
        commit(&open(directory.path()), &[put("a", b"1")]),
        Revision(1)
    );
}

#[test]
fn refuses_a_second_opening_and_names_the_holder() {
    let directory = temp();
    let store = open(directory.path());
    let error = refused(directory.path());
    assert_eq!(error.kind(), StoreErrorKind::Locked);
    let message = error.to_string();
    assert!(
        message.contains(&directory.path().display().to_string()),
        "{message}"
    );
    assert!(
        message.contains(&format!("process {}", std::process::id())),
        "{message}"
    );
    drop(store);
    open(directory.path());
}

#[test]
fn ignores_a_lock_file_that_nobody_holds() {
    let directory = temp();
    fs::write(directory.path().join(LOCK_FILE), "1\n").expect("a stale lock file");
    open(directory.path());
}

#[test]
fn makes_private_directories_and_files() {
    let parent = temp();
    let directory = parent.path().join("a/b");
    let _store = open(&directory);
    let mode = |path: &Path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join(STATE_FILE)), 0o600);
    assert_eq!(mode(&directory.join(LOCK_FILE)), 0o600);
}

#[test]
fn says_which_directory_cannot_be_written() {
    let parent = temp();
    let file = parent.path().join("file");
    fs::write(&file, "").expect("a regular file");
    for directory in [
        file.join("below"),
        Path::new("/proc/skysail").to_owned(),
        file,
    ] {
        let error = refused(&directory);
        assert_eq!(error.kind(), StoreErrorKind::Unwritable, "{error}");
        assert!(
            error.to_string().contains(&directory.display().to_string()),
            "{error}"
        );
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn refuses_a_newer_format() {
    let directory = temp();
    drop(open(directory.path()));
    let file = open_private(&directory.path().join(STATE_FILE)).expect("the file opens");
    let database = database::open(file, &Health::default().into()).expect("redb opens");
    database::set_format(&database, database::FORMAT + 1).expect("the format is set");
    drop(database);
    let error = refused(directory.path());
    assert_eq!(error.kind(), StoreErrorKind::Format);
    assert!(error.to_string().contains("format 2"), "{error}");
}

#[test]
fn refuses_a_file_that_is_not_a_store() {
    let directory = temp();
    fs::write(
        directory.path().join(STATE_FILE),
        "not a database".repeat(1000),
    )
    .expect("written");
    assert_eq!(refused(directory.path()).kind(), StoreErrorKind::Corrupt);
}

#[test]
fn finds_bits_that_changed_on_the_disk() {
    let directory = temp();
    let value = [0xa5; 4000];
    commit(&open(directory.path()), &[put("a", &value)]);
    let path = directory.path().join(STATE_FILE);
    let mut bytes = fs::read(&path).expect("the file reads");
    let position = bytes
        .windows(value.len())
        .position(|window| window == value);
    bytes[position.expect("the value lies in the file") + 2000] ^= 1;
    fs::write(&path, bytes).expect("the file is written");
    assert_eq!(refused(directory.path()).kind(), StoreErrorKind::Corrupt);
}

#[test]
fn stays_read_only_after_a_failed_fsync() {
    let directory = temp();
    let store = open(directory.path());
    commit(&store, &[put("a", b"1")]);
    store.health.faults.sync.store(true, Ordering::Relaxed);
    let error = store
        .commit(Revision(1), &[put("b", b"2")])
        .expect_err("fsync failed");
    assert_eq!(error.kind(), StoreErrorKind::Io);
    store.health.faults.sync.store(false, Ordering::Relaxed);
    for _ in 0..2 {
        let error = store
            .commit(Revision(1), &[put("b", b"2")])
            .expect_err("read-only");
        assert_eq!(error.kind(), StoreErrorKind::ReadOnly);
    }
    assert_eq!(*store.watch().borrow(), Revision(1));
    let contents = store.load().expect("reading goes on");
    assert_eq!(contents.revision, Revision(1));
    drop(store);
    assert!(
        open(directory.path()).load().is_ok(),
        "a restart takes up what is there"
    );
}

#[test]
fn goes_on_once_a_full_disk_has_room_again() {
    let directory = temp();
    let store = open(directory.path());
    commit(&store, &[put("a", b"1")]);
    store.health.faults.disk_full.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let error = store
            .commit(Revision(1), &[put("b", b"2")])
            .expect_err("the disk is full");
        assert_eq!(error.kind(), StoreErrorKind::Full);
    }
    store
        .health
        .faults
        .disk_full
        .store(false, Ordering::Relaxed);
    assert_eq!(commit(&store, &[put("b", b"2")]), Revision(2));
    drop(store);
    let Contents { revision, entries } = open(directory.path()).load().expect("the store loads");
    assert_eq!((revision, entries.len()), (Revision(2), 2));
}

#[test]
fn stops_writing_when_its_file_was_replaced() {
    let directory = temp();
    let store = open(directory.path());
    commit(&store, &[put("a", b"1")]);
    fs::remove_file(directory.path().join(STATE_FILE)).expect("the file is removed");
    let error = store
        .commit(Revision(1), &[put("b", b"2")])
        .expect_err("nothing to write to");
    assert_eq!(error.kind(), StoreErrorKind::ReadOnly);
}
