//! What every store must do; each mechanism's tests call [`run`].

use super::{
    CONTENTS_BYTES_MAX, CONTENTS_GROWTH_BYTES_MAX, Change, Contents, KEY_BYTES_MAX, Revision,
    Store, StoreError, StoreErrorKind, VALUE_BYTES_MAX, check_growth,
};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs every case on a fresh store from `make`.
pub(super) fn run<S: Store>(make: impl Fn() -> S) {
    starts_empty_at_revision_zero(&make());
    applies_changes_in_order(&make());
    refuses_a_stale_revision_and_writes_nothing(&make());
    refuses_what_breaks_a_limit_and_writes_nothing(&make());
    takes_keys_and_values_at_their_limits(&make());
    leaves_the_revision_alone_without_changes(&make());
    shows_each_durable_revision_to_watchers(&make());
    lets_one_of_two_racing_commits_win(&make());
    agrees_with_a_map_over_random_commits(&make());
}

pub(super) fn put(key: &str, value: &[u8]) -> Change {
    Change::Put {
        key: key.to_owned(),
        value: value.to_vec(),
    }
}

pub(super) fn delete(key: &str) -> Change {
    Change::Delete {
        key: key.to_owned(),
    }
}

fn load(store: &impl Store) -> Contents {
    store.load().expect("a healthy store loads")
}

fn commit(store: &impl Store, changes: &[Change]) -> Revision {
    let expected = load(store).revision;
    store
        .commit(expected, changes)
        .expect("a healthy store commits")
}

fn refused(result: Result<Revision, StoreError>) -> StoreErrorKind {
    result.expect_err("the commit must be refused").kind()
}

fn starts_empty_at_revision_zero(store: &impl Store) {
    assert_eq!(load(store), Contents::default());
    assert_eq!(*store.watch().borrow(), Revision(0));
}

fn applies_changes_in_order(store: &impl Store) {
    let changes = [
        put("a", b"1"),
        put("b", b""),
        put("a", b"2"),
        delete("b"),
        delete("never"),
    ];
    assert_eq!(commit(store, &changes), Revision(1));
    let contents = load(store);
    assert_eq!(contents.revision, Revision(1));
    assert_eq!(
        contents.entries,
        BTreeMap::from([("a".to_owned(), b"2".to_vec())])
    );
}

fn refuses_a_stale_revision_and_writes_nothing(store: &impl Store) {
    commit(store, &[put("a", b"1")]);
    let before = load(store);
    for stale in [Revision(0), Revision(2)] {
        let error = store
            .commit(stale, &[put("b", b"2")])
            .expect_err("not the current revision");
        assert_eq!(error.kind(), StoreErrorKind::Conflict);
        assert!(error.to_string().contains("revision 1"), "{error}");
    }
    assert_eq!(
        refused(store.commit(Revision(0), &[])),
        StoreErrorKind::Conflict
    );
    assert_eq!(load(store), before);
}

fn refuses_what_breaks_a_limit_and_writes_nothing(store: &impl Store) {
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let large = vec![0; VALUE_BYTES_MAX + 1];
    for bad in [
        put("", b"1"),
        delete(""),
        put(&long, b"1"),
        delete(&long),
        put("v", &large),
    ] {
        let kind = refused(store.commit(Revision(0), &[put("good", b"1"), bad]));
        assert_eq!(kind, StoreErrorKind::Invalid);
    }
    assert_eq!(load(store), Contents::default());
}

fn takes_keys_and_values_at_their_limits(store: &impl Store) {
    let key = "k".repeat(KEY_BYTES_MAX);
    let value = vec![7; VALUE_BYTES_MAX];
    commit(store, &[put(&key, &value)]);
    assert_eq!(load(store).entries.get(&key), Some(&value));
}

fn leaves_the_revision_alone_without_changes(store: &impl Store) {
    commit(store, &[put("a", b"1")]);
    assert_eq!(commit(store, &[]), Revision(1));
    assert_eq!(load(store).revision, Revision(1));
}

fn shows_each_durable_revision_to_watchers(store: &impl Store) {
    let mut watch = store.watch();
    commit(store, &[put("a", b"1")]);
    assert!(watch.has_changed().expect("the store lives"));
    assert_eq!(*watch.borrow_and_update(), Revision(1));
    refused(store.commit(Revision(0), &[put("a", b"2")]));
    assert!(!watch.has_changed().expect("the store lives"));
    assert_eq!(*store.watch().borrow(), Revision(1));
}

fn lets_one_of_two_racing_commits_win(store: &impl Store) {
    let won = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let won = &won;
            scope.spawn(
                move || match store.commit(Revision(0), &[put(name, b"1")]) {
                    Ok(_) => won.fetch_add(1, Ordering::Relaxed), // joined before it is read
                    Err(error) => {
                        assert_eq!(error.kind(), StoreErrorKind::Conflict);
                        0
                    }
                },
            );
        }
    });
    assert_eq!(won.into_inner(), 1);
    assert_eq!(load(store).entries.len(), 1);
}

fn agrees_with_a_map_over_random_commits(store: &impl Store) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut oracle = BTreeMap::new();
    for round in 1..=20 {
        let changes: Vec<_> = (0..random.usize(1..8))
            .map(|_| random_change(&mut random))
            .collect();
        assert_eq!(commit(store, &changes), Revision(round));
        for change in changes {
            match change {
                Change::Put { key, value } => oracle.insert(key, value),
                Change::Delete { key } => oracle.remove(&key),
            };
        }
        assert_eq!(load(store).entries, oracle);
    }
}

fn random_change(random: &mut fastrand::Rng) -> Change {
    let key = format!("key/{}", random.u8(0..10));
    if random.bool() {
        return Change::Delete { key };
    }
    let value = (0..random.usize(0..6000)).map(|_| random.u8(..)).collect();
    Change::Put { key, value }
}

#[test]
fn keeps_a_reserve_that_only_shrinking_commits_use() {
    let limit = CONTENTS_GROWTH_BYTES_MAX;
    assert!(check_growth(0, limit).is_ok());
    let error = check_growth(limit, limit + 1).expect_err("growth into the reserve");
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert!(check_growth(CONTENTS_BYTES_MAX, CONTENTS_BYTES_MAX - 1).is_ok());
}
