//! Each query from its arrival to its one outcome.
//!
//! Queue and batches hold [`Key`]s. A query is taken out *by value* when its outcome is known,
//! so it cannot have two; keys of copies that are still about (a hedge, a withdrawn query in
//! the queue) then lead nowhere and are dropped where they turn up.
//!
//! # Invariants
//! - A key leads to the query that it was made for, or nowhere.
//! - A query that is neither queued nor in flight does not exist.
//!
//! # Cost
//! O(1) each; no allocation below the number of queries held before.

use super::time::At;

/// Which query. Never used again for another one, until 2^32 have used its slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    slot: u32,
    generation: u32,
}

/// A query with what the batcher must know of it.
#[derive(Debug)]
pub struct Held<Q> {
    /// The caller's query.
    pub query: Q,
    /// When it must be answered.
    pub deadline: At,
    /// When it came.
    pub arrival: At,
    /// Whose it is.
    pub application: usize,
    /// Whether its application's guarantee covers it.
    pub in_contract: bool,
    /// What it adds to a batch.
    pub cost: u32,
    /// Bytes that it keeps alive.
    pub bytes: usize,
    /// Whether a copy waits in the queue.
    pub queued: bool,
    /// Batches that it is in.
    pub in_flight: u32,
    /// Whether it was queued again after its replica was lost.
    pub failed_over: bool,
}

#[derive(Debug)]
struct Slot<Q> {
    generation: u32,
    held: Option<Held<Q>>,
}

/// All queries of a batcher.
#[derive(Debug)]
pub struct Queries<Q> {
    slots: Vec<Slot<Q>>,
    free: Vec<u32>,
}

impl<Q> Default for Queries<Q> {
    fn default() -> Self {
        Queries {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<Q> Queries<Q> {
    /// Queries held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Holds a query.
    ///
    /// # Panics
    /// Beyond 2^32 queries.
    pub fn add(&mut self, held: Held<Q>) -> Key {
        if let Some(slot) = self.free.pop() {
            let place = &mut self.slots[slot as usize];
            place.held = Some(held);
            let generation = place.generation;
            return Key { slot, generation };
        }
        let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 queries are bounded");
        self.slots.push(Slot {
            generation: 0,
            held: Some(held),
        });
        Key {
            slot,
            generation: 0,
        }
    }

    /// The query of a key, unless it had its outcome.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&Held<Q>> {
        let slot = self.slots.get(key.slot as usize)?;
        slot.held
            .as_ref()
            .filter(|_| slot.generation == key.generation)
    }

    /// The query of a key, unless it had its outcome.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Held<Q>> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        slot.held
            .as_mut()
            .filter(|_| slot.generation == key.generation)
    }

    /// Takes a query out, for its outcome.
    pub fn take(&mut self, key: Key) -> Option<Held<Q>> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let held = slot.held.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot);
        Some(held)
    }

    /// Takes some query out, if there is any: to give all back.
    pub fn take_any(&mut self) -> Option<Held<Q>> {
        let slot = self.slots.iter().position(|slot| slot.held.is_some())?;
        let generation = self.slots[slot].generation;
        self.take(Key {
            slot: slot as u32,
            generation,
        })
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub fn check_invariants(&self) {
        for held in self.slots.iter().filter_map(|slot| slot.held.as_ref()) {
            assert!(held.queued || held.in_flight > 0, "nobody forgets a query");
        }
        let held = self.slots.iter().filter(|slot| slot.held.is_some()).count();
        assert_eq!(held, self.len(), "free slots are counted");
    }
}
