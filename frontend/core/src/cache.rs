//! The prediction cache, with single flight.
//!
//! A lookup is a *hit*, or *joins* a query for the same input that is already being asked,
//! or *misses*: then the caller asks, and completes the entry for all who joined. Inputs are
//! compared whole; the hash only finds the place.
//!
//! # Invariants
//! - An entry answers only the very version (by generation) and the very input that it was
//!   stored for.
//! - A pending entry is completed exactly once by whoever missed, with a value or without;
//!   nothing waits for an entry that nobody works on.
//! - Stored entries weigh at most the capacity, their keys and book-keeping included;
//!   pending ones are bounded by the queries in flight.
//!
//! # Cost
//! One hash of the input at 10 GB/s and more, one comparison on a hit; the stored key shares
//! the query's input.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use quick_cache::Weighter;
use quick_cache::unsync::Cache as Store;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use skysail_rpc::Cell;

use crate::Input;

/// Queries that may join one that is being asked; further ones ask for themselves.
pub const WAITERS_MAX: usize = 1024;
/// Largest entry that is stored.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;
/// An odd number with well-mixed bits (Knuth, the golden ratio), to spread generations.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Book-keeping of one entry, estimated.
const OVERHEAD_BYTES: usize = 128;

/// A process's random seed, so that nobody outside can make collisions.
#[derive(Clone, Copy)]
pub struct Seed(RapidSecrets);

impl Seed {
    /// A seed from a random number.
    #[must_use]
    pub fn new(random: u64) -> Seed {
        Seed(RapidSecrets::seed(random))
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed")
    }
}

/// A version's generation and an input.
#[derive(Clone, Debug)]
pub struct Key {
    hash: u64,
    generation: u64,
    input: Input,
}

impl Key {
    /// The key of `input` for the version of `generation`.
    #[must_use]
    pub fn new(seed: &Seed, generation: u64, input: Input) -> Key {
        let fold = |hash: u64, cell: &Cell| {
            rapidhash_v3_seeded(cell.data().as_bytes(), &seed.0) ^ hash.rotate_left(23)
        };
        let hash = input.0.iter().fold(generation.wrapping_mul(SPREAD), fold);
        Key {
            hash,
            generation,
            input,
        }
    }

    /// A well-spread number, to choose a shard by.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.hash == other.hash && self.generation == other.generation && self.input == other.input
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The key is hashed already.
#[derive(Clone, Copy, Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("keys hash as one u64");
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl BuildHasher for Hashed {
    type Hasher = Hashed;
    fn build_hasher(&self) -> Hashed {
        Hashed(0)
    }
}

/// A value that knows its size.
pub trait Weigh {
    /// Bytes that it keeps alive.
    fn weight(&self) -> usize;
}

#[derive(Clone, Copy, Debug)]
struct ByBytes;

impl<V: Weigh> Weighter<Key, V> for ByBytes {
    fn weight(&self, key: &Key, value: &V) -> u64 {
        (key.input.weight() + value.weight() + OVERHEAD_BYTES) as u64
    }
}

/// What a lookup found.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<V, W> {
    /// The stored value.
    Hit(V),
    /// Being asked; the waiter was taken and will be given back by `complete`.
    Joined,
    /// Not there: ask, then `complete` the key. The waiter is given back.
    Miss(W),
    /// Being asked, but too many wait: ask, and do not `complete`. The waiter is given back.
    Crowded(W),
}

/// One shard of the cache: values `V`, and waiters `W` of queries that joined.
#[derive(Debug)]
pub struct Cache<V, W> {
    stored: Store<Key, V, ByBytes, Hashed>,
    pending: HashMap<Key, Vec<W>, Hashed>,
}

impl<V: Weigh + Clone, W> Cache<V, W> {
    /// A cache of at most `capacity_bytes`; zero stores nothing, and still joins equal
    /// queries.
    #[must_use]
    pub fn new(capacity_bytes: usize) -> Self {
        const ENTRY_BYTES_TYPICAL: usize = 1024;
        let items = capacity_bytes / ENTRY_BYTES_TYPICAL;
        Cache {
            stored: Store::with(
                items,
                capacity_bytes as u64,
                ByBytes,
                Hashed(0),
                Default::default(),
            ),
            pending: HashMap::with_hasher(Hashed(0)),
        }
    }

    /// Looks `key` up for `waiter`.
    pub fn lookup(&mut self, key: &Key, waiter: W) -> Lookup<V, W> {
        if let Some(value) = self.stored.get(key) {
            return Lookup::Hit(value.clone());
        }
        match self.pending.get_mut(key) {
            Some(waiters) if waiters.len() >= WAITERS_MAX => Lookup::Crowded(waiter),
            Some(waiters) => {
                waiters.push(waiter);
                Lookup::Joined
            }
            None => {
                self.pending.insert(key.clone(), Vec::new());
                Lookup::Miss(waiter)
            }
        }
    }

    /// Ends a miss: stores the value, if there is one, and gives back who joined.
    pub fn complete(&mut self, key: Key, value: Option<V>) -> Vec<W> {
        let waiters = self.pending.remove(&key).unwrap_or_default();
        if let Some(value) = value
            && key.input.weight() + value.weight() <= ENTRY_BYTES_MAX
        {
            self.stored.insert(key, value);
        }
        waiters
    }

    /// Drops every stored entry of a generation.
    pub fn purge(&mut self, generation: u64) {
        self.stored.retain(|key, _| key.generation != generation);
    }

    /// Bytes stored.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.stored.weight()
    }
}

#[cfg(test)]
mod tests {
    use skysail_rpc::Payload;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Value(usize);

    impl Weigh for Value {
        fn weight(&self) -> usize {
            self.0
        }
    }

    fn key(generation: u64, text: &str) -> Key {
        let cell = Cell::fixed(Payload::copy_from_slice(text.as_bytes()));
        Key::new(&Seed::new(7), generation, Input::single(cell))
    }

    #[test]
    fn equal_queries_are_asked_once() {
        let mut cache: Cache<Value, u32> = Cache::new(1 << 20);
        assert_eq!(cache.lookup(&key(1, "a"), 0), Lookup::Miss(0));
        assert_eq!(cache.lookup(&key(1, "a"), 1), Lookup::Joined);
        assert_eq!(
            cache.lookup(&key(1, "b"), 2),
            Lookup::Miss(2),
            "another input"
        );
        assert_eq!(
            cache.lookup(&key(2, "a"), 3),
            Lookup::Miss(3),
            "another version"
        );
        assert_eq!(cache.complete(key(1, "a"), Some(Value(5))), [1]);
        assert_eq!(cache.lookup(&key(1, "a"), 4), Lookup::Hit(Value(5)));
    }

    #[test]
    fn a_failed_query_leaves_nothing_behind() {
        let mut cache: Cache<Value, u32> = Cache::new(1 << 20);
        cache.lookup(&key(1, "a"), 0);
        cache.lookup(&key(1, "a"), 1);
        assert_eq!(cache.complete(key(1, "a"), None), [1]);
        assert_eq!(cache.lookup(&key(1, "a"), 2), Lookup::Miss(2));
    }

    /// A collision of hashes is not a hit.
    #[test]
    fn inputs_are_compared_not_just_hashed() {
        let mut cache: Cache<Value, u32> = Cache::new(1 << 20);
        let (mine, mut other) = (key(1, "mine"), key(1, "other"));
        other.hash = mine.hash;
        cache.lookup(&mine, 0);
        cache.complete(mine.clone(), Some(Value(1)));
        assert_eq!(cache.lookup(&other, 1), Lookup::Miss(1));
        assert_eq!(cache.lookup(&mine, 2), Lookup::Hit(Value(1)));
    }

    #[test]
    fn stays_within_its_capacity() {
        let mut cache: Cache<Value, u32> = Cache::new(100_000);
        for n in 0..1000 {
            let key = key(1, &n.to_string());
            cache.lookup(&key, n);
            cache.complete(key, Some(Value(1000)));
            assert!(cache.bytes() <= 100_000);
        }
        assert!(cache.bytes() > 50_000, "and uses it");
        cache.purge(1);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn too_many_waiters_ask_for_themselves() {
        let mut cache: Cache<Value, u32> = Cache::new(0);
        cache.lookup(&key(1, "a"), 0);
        for _ in 0..WAITERS_MAX {
            assert_eq!(cache.lookup(&key(1, "a"), 1), Lookup::Joined);
        }
        assert_eq!(cache.lookup(&key(1, "a"), 2), Lookup::Crowded(2));
        cache.complete(key(1, "a"), Some(Value(1)));
        assert_eq!(
            cache.lookup(&key(1, "a"), 3),
            Lookup::Miss(3),
            "nothing is stored"
        );
    }
}
