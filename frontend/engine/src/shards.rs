//! The prediction cache of all versions, in shards under locks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use skysail_core::Input;
use skysail_core::cache::{Cache, FlightId, Key, Lookup, Seed};

use crate::answer::Output;
use crate::ticket::{Answerer, Said};

/// Locks; more than the cores that may look up at once.
const SHARDS: usize = 16;

type Shard = Cache<Output, Answerer>;

/// The cache; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shards {
    seed: Seed,
    shards: Arc<[Mutex<Shard>]>,
}

/// A miss that must be completed: stores the answer and tells those who joined. Dropping it
/// completes it without an answer.
#[derive(Debug)]
pub(crate) struct Flight {
    key: Option<(Key, FlightId)>,
    cache: Shards,
}

/// What the cache had.
#[derive(Debug)]
pub(crate) enum Found {
    /// The answer.
    Output(Output),
    /// Another query for it, which may be answered until then; the waiter was taken.
    Joined(Instant),
    /// Nothing: ask, with a flight to complete unless too many ask already.
    Nothing(Answerer, Option<Flight>),
}

impl Shards {
    /// A cache of `capacity_bytes` in all.
    pub(crate) fn new(capacity_bytes: usize, seed: u64) -> Shards {
        let shard = |_| Mutex::new(Cache::new(capacity_bytes / SHARDS));
        Shards {
            seed: Seed::new(seed),
            shards: (0..SHARDS).map(shard).collect(),
        }
    }

    /// Looks an input of a version up for a query that ends at `deadline`.
    pub(crate) fn lookup(
        &self,
        generation: u64,
        input: &Input,
        deadline: Instant,
        waiter: Answerer,
    ) -> Found {
        let key = Key::new(&self.seed, generation, input.clone());
        let found = self
            .shard(&key)
            .lookup(&key, Instant::now(), deadline, waiter);
        match found {
            Lookup::Hit(output) => Found::Output(output),
            Lookup::Joined(until) => Found::Joined(until),
            Lookup::Crowded(waiter) => Found::Nothing(waiter, None),
            Lookup::Miss(waiter, flight) => {
                let flight = Flight {
                    key: Some((key, flight)),
                    cache: self.clone(),
                };
                Found::Nothing(waiter, Some(flight))
            }
        }
    }

    /// Drops everything stored for a version.
    pub(crate) fn purge(&self, generation: u64) {
        self.shards
            .iter()
            .for_each(|shard| lock(shard).purge(generation));
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        // The high bits: the low ones place the key inside its shard.
        lock(&self.shards[(key.hash() >> 32) as usize % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flight {
    /// Stores a prediction and passes on what was said.
    pub(crate) fn complete(mut self, said: &Said) {
        self.finish(said.as_ref().ok().map(Output::detached), said);
    }

    fn finish(&mut self, value: Option<Output>, said: &Said) {
        let Some((key, flight)) = self.key.take() else {
            return;
        };
        let stored = if value.is_some() {
            key.stored()
        } else {
            key.clone()
        };
        let joined = self.cache.shard(&key).complete(stored, flight, value);
        joined
            .into_iter()
            .for_each(|waiter| waiter.answer(said.clone()));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.finish(None, &Err(skysail_core::Cause::ReplicaLost.into()));
    }
}
