//! The prediction cache, with single flight.
//!
//! A lookup is a *hit*, or *joins* a query for the same input that is already being asked,
//! or *misses*: then the caller asks, and completes the entry for all who joined. Inputs are
//! compared whole; the hash only finds the place.
//!
//! # Invariants
//! - An entry answers only the very version (by generation) and the very input that it was
//!   stored for.
//! - A flight is completed exactly once by whoever missed, with a value or without. Nobody
//!   joins a flight whose query has passed its deadline: the next one asks anew.
//! - Stored entries weigh at most the capacity, their keys and book-keeping included;
//!   pending ones are bounded by the queries in flight.
//!
//! # Cost
//! One hash of the input at 10 GB/s and more, one comparison on a hit; a key shares the query's
//! input while it is being asked, and has a copy of a row of a log once it is stored.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Instant;

use quick_cache::Weighter;
use quick_cache::unsync::Cache as Store;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use skysail_rpc::Cell;
use skysail_rpc::copies::Copied;

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

    /// The key as it is stored: an input in a row log is copied, so that the row can be
    /// used again.
    #[must_use]
    pub fn stored(&self) -> Key {
        let copy = |cell: &Cell| cell.without_row(Copied::CacheEntry);
        Key {
            input: Input(self.input.0.iter().map(copy).collect()),
            ..*self
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

/// One asking for a key; a later one may replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightId(u64);

/// What a lookup found.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<V, W> {
    /// The stored value.
    Hit(V),
    /// Being asked until then; the waiter was taken and will be given back by `complete`.
    Joined(Instant),
    /// Not there: ask, then `complete` the flight. The waiter is given back.
    Miss(W, FlightId),
    /// Being asked, but too many wait: ask, and do not `complete`. The waiter is given back.
    Crowded(W),
}

/// One shard of the cache: values `V`, and waiters `W` of queries that joined.
#[derive(Debug)]
pub struct Cache<V, W> {
    stored: Store<Key, V, ByBytes, Hashed>,
    pending: HashMap<Key, Pending<W>, Hashed>,
    flights: u64,
}

/// A query that is being asked.
#[derive(Debug)]
struct Pending<W> {
    flight: FlightId,
    until: Instant,
    waiters: Vec<W>,
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
            flights: 0,
        }
    }

    /// Looks `key` up at `now` for `waiter`, whose query ends at `deadline`.
    pub fn lookup(
        &mut self,
        key: &Key,
        now: Instant,
        deadline: Instant,
        waiter: W,
    ) -> Lookup<V, W> {
        if let Some(value) = self.stored.get(key) {
            return Lookup::Hit(value.clone());
        }
        let Some(pending) = self.pending.get_mut(key) else {
            self.flights += 1;
            let flight = FlightId(self.flights);
            let waiters = Vec::new();
            self.pending.insert(
                key.clone(),
                Pending {
                    flight,
                    until: deadline,
                    waiters,
                },
            );
            return Lookup::Miss(waiter, flight);
        };
        if pending.until <= now {
            // Whoever asked has given up; the answer may never come.
            self.flights += 1;
            pending.flight = FlightId(self.flights);
            pending.until = deadline;
            return Lookup::Miss(waiter, pending.flight);
        }
        if pending.waiters.len() >= WAITERS_MAX {
            return Lookup::Crowded(waiter);
        }
        pending.waiters.push(waiter);
        Lookup::Joined(pending.until)
    }

    /// Ends a miss: stores the value, if there is one, and gives back who joined. A flight
    /// that another has replaced still stores its value, and ends nobody's waiting without one.
    pub fn complete(&mut self, key: Key, flight: FlightId, value: Option<V>) -> Vec<W> {
        let current = self
            .pending
            .get(&key)
            .is_some_and(|pending| pending.flight == flight);
        let waiters = if current || value.is_some() {
            self.pending
                .remove(&key)
                .map_or_else(Vec::new, |pending| pending.waiters)
        } else {
            Vec::new()
        };
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
    use std::time::Duration;

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

    const PATIENCE: Duration = Duration::from_secs(1);

    /// A cache with a clock that stands still unless a test moves it.
    struct Clocked {
        cache: Cache<Value, u32>,
        now: Instant,
        flights: HashMap<String, FlightId>,
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Found {
        Hit(usize),
        Joined,
        Miss,
        Crowded,
    }

    impl Clocked {
        fn new(capacity_bytes: usize) -> Clocked {
            let cache = Cache::new(capacity_bytes);
            Clocked {
                cache,
                now: Instant::now(),
                flights: HashMap::new(),
            }
        }

        fn lookup(&mut self, key: &Key, waiter: u32) -> Found {
            match self
                .cache
                .lookup(key, self.now, self.now + PATIENCE, waiter)
            {
                Lookup::Hit(value) => Found::Hit(value.0),
                Lookup::Joined(_) => Found::Joined,
                Lookup::Crowded(_) => Found::Crowded,
                Lookup::Miss(_, flight) => {
                    self.flights.insert(format!("{key:?}"), flight);
                    Found::Miss
                }
            }
        }

        fn complete(&mut self, key: &Key, value: Option<usize>) -> Vec<u32> {
            let flight = self.flights[&format!("{key:?}")];
            self.cache.complete(key.clone(), flight, value.map(Value))
        }
    }

    #[test]
    fn equal_queries_are_asked_once() {
        let mut cache = Clocked::new(1 << 20);
        assert_eq!(cache.lookup(&key(1, "a"), 0), Found::Miss);
        assert_eq!(cache.lookup(&key(1, "a"), 1), Found::Joined);
        assert_eq!(cache.lookup(&key(1, "b"), 2), Found::Miss, "another input");
        assert_eq!(
            cache.lookup(&key(2, "a"), 3),
            Found::Miss,
            "another version"
        );
        assert_eq!(cache.complete(&key(1, "a"), Some(5)), [1]);
        assert_eq!(cache.lookup(&key(1, "a"), 4), Found::Hit(5));
    }

    #[test]
    fn a_failed_query_leaves_nothing_behind() {
        let mut cache = Clocked::new(1 << 20);
        cache.lookup(&key(1, "a"), 0);
        cache.lookup(&key(1, "a"), 1);
        assert_eq!(cache.complete(&key(1, "a"), None), [1]);
        assert_eq!(cache.lookup(&key(1, "a"), 2), Found::Miss);
    }

    /// A replica that hangs must not make its inputs unanswerable for the others.
    #[test]
    fn nobody_joins_a_query_that_has_passed_its_deadline() {
        let mut cache = Clocked::new(1 << 20);
        let a = key(1, "a");
        assert_eq!(cache.lookup(&a, 0), Found::Miss);
        let hung = cache.flights[&format!("{a:?}")];
        assert_eq!(cache.lookup(&a, 1), Found::Joined);
        cache.now += PATIENCE;
        assert_eq!(cache.lookup(&a, 2), Found::Miss, "asked anew");
        assert_eq!(cache.lookup(&a, 3), Found::Joined);
        let none: Vec<u32> = cache.cache.complete(a.clone(), hung, None);
        assert!(none.is_empty(), "the old flight's end ends nobody else's");
        assert_eq!(cache.complete(&a, Some(5)), [1, 3]);
        cache.cache.complete(a.clone(), hung, Some(Value(5)));
        assert_eq!(
            cache.lookup(&a, 4),
            Found::Hit(5),
            "late answers are answers"
        );
    }

    /// A collision of hashes is not a hit.
    #[test]
    fn inputs_are_compared_not_just_hashed() {
        let mut cache = Clocked::new(1 << 20);
        let (mine, mut other) = (key(1, "mine"), key(1, "other"));
        other.hash = mine.hash;
        cache.lookup(&mine, 0);
        cache.complete(&mine, Some(1));
        assert_eq!(cache.lookup(&other, 1), Found::Miss);
        assert_eq!(cache.lookup(&mine, 2), Found::Hit(1));
    }

    #[test]
    fn stays_within_its_capacity() {
        let mut cache = Clocked::new(100_000);
        for n in 0..1000 {
            let key = key(1, &n.to_string());
            cache.lookup(&key, n);
            cache.complete(&key, Some(1000));
            assert!(cache.cache.bytes() <= 100_000);
        }
        assert!(cache.cache.bytes() > 50_000, "and uses it");
        cache.cache.purge(1);
        assert_eq!(cache.cache.bytes(), 0);
    }

    #[test]
    fn too_many_waiters_ask_for_themselves() {
        let mut cache = Clocked::new(0);
        cache.lookup(&key(1, "a"), 0);
        for _ in 0..WAITERS_MAX {
            assert_eq!(cache.lookup(&key(1, "a"), 1), Found::Joined);
        }
        assert_eq!(cache.lookup(&key(1, "a"), 2), Found::Crowded);
        cache.complete(&key(1, "a"), Some(1));
        assert_eq!(
            cache.lookup(&key(1, "a"), 3),
            Found::Miss,
            "nothing is stored"
        );
    }
}
