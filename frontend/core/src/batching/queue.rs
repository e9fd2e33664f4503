//! Waiting queries, by deadline: a ring for each application and class.
//!
//! A deadline is an arrival plus the application's objective, so a ring is sorted by itself;
//! what comes out of order is inserted where it belongs. Each item knows the size that stands
//! before it in its ring, so that the size due from a moment on is one binary search a ring.
//!
//! # Invariants
//! - Each ring is sorted by deadline; equal ones leave in the order they came.
//! - `size` and `rows` are the sums over all items.
//!
//! # Cost
//! `push` in order: O(1); out of order: the distance to the nearer end. `head`, `pop`: O(rings).
//! `size_from`: O(rings log n). No allocation below the capacity reached before.

use std::collections::VecDeque;

use super::queries::Key;
use super::time::At;

/// Rings of one queue: two for each application (in and out of contract).
pub const RINGS_MAX: usize = 512;

/// A query, as the queue sees it.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// When it must be answered.
    pub deadline: At,
    /// When it came.
    pub arrival: At,
    /// What it adds to a batch: 1, or rows, bytes or tokens where inputs differ.
    pub cost: u32,
    /// Which query.
    pub key: Key,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    item: Item,
    /// Size of what stands before it, from an arbitrary start; wraps.
    before: u64,
}

#[derive(Debug, Default)]
struct Ring {
    items: VecDeque<Placed>,
    /// `before` of the item that comes next.
    end: u64,
}

impl Ring {
    fn push(&mut self, item: Item) {
        let in_order = self
            .items
            .back()
            .is_none_or(|last| last.item.deadline <= item.deadline);
        if in_order {
            self.items.push_back(Placed {
                item,
                before: self.end,
            });
            self.end = self.end.wrapping_add(u64::from(item.cost));
        } else {
            self.insert(item);
        }
    }

    #[cold]
    fn insert(&mut self, item: Item) {
        let cost = u64::from(item.cost);
        let index = self.index_after(item.deadline);
        if index < self.items.len() / 2 {
            // Those before it move down, which leaves those behind it as they are.
            let before = self.items[index].before.wrapping_sub(cost);
            let earlier = self.items.range_mut(..index);
            earlier.for_each(|placed| placed.before = placed.before.wrapping_sub(cost));
            self.items.insert(index, Placed { item, before });
        } else {
            let before = self.items[index].before;
            let later = self.items.range_mut(index..);
            later.for_each(|placed| placed.before = placed.before.wrapping_add(cost));
            self.items.insert(index, Placed { item, before });
            self.end = self.end.wrapping_add(cost);
        }
    }

    /// The first item with a deadline after `deadline`.
    fn index_after(&self, deadline: At) -> usize {
        self.items
            .partition_point(|placed| placed.item.deadline <= deadline)
    }

    fn size_from(&self, from: At) -> u64 {
        let index = self
            .items
            .partition_point(|placed| placed.item.deadline < from);
        self.items
            .get(index)
            .map_or(0, |placed| self.end.wrapping_sub(placed.before))
    }

    fn size(&self) -> u64 {
        self.items
            .front()
            .map_or(0, |placed| self.end.wrapping_sub(placed.before))
    }

    fn head(&self) -> Option<&Item> {
        self.items.front().map(|placed| &placed.item)
    }
}

/// Which rings are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All.
    Any,
    /// Those of queries within their application's guaranteed rate.
    InContract,
    /// The others.
    OutOfContract,
}

impl Class {
    fn holds(self, ring: usize) -> bool {
        match self {
            Class::Any => true,
            Class::InContract => ring.is_multiple_of(2),
            Class::OutOfContract => !ring.is_multiple_of(2),
        }
    }
}

/// The queue of one model version.
#[derive(Debug, Default)]
pub struct Queue {
    /// Of application `i`: `2 i` in contract, `2 i + 1` out of contract.
    rings: Vec<Ring>,
    /// The deadline of each ring's first item, [`NEVER`] if it has none: what is looked at
    /// most often lies together.
    heads: Vec<At>,
    rows: usize,
    size: u64,
}

const NEVER: At = At::from_nanos(u64::MAX);

impl Queue {
    /// Items that wait.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Sum of their costs.
    #[must_use]
    pub fn size(&self) -> f64 {
        self.size as f64
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds an item of an application.
    ///
    /// # Panics
    /// If `application` is beyond [`RINGS_MAX`] `/ 2`.
    pub fn push(&mut self, application: usize, in_contract: bool, item: Item) {
        let ring = 2 * application + usize::from(!in_contract);
        assert!(ring < RINGS_MAX, "too many applications of one model");
        if ring >= self.rings.len() {
            self.rings.resize_with(ring + 1, Ring::default);
            self.heads.resize(ring + 1, NEVER);
        }
        self.rings[ring].push(item);
        self.heads[ring] = self.heads[ring].min(item.deadline);
        self.rows += 1;
        self.size += u64::from(item.cost);
    }

    /// The item with the least deadline.
    #[must_use]
    pub fn head(&self) -> Option<&Item> {
        self.head_of(Class::Any)
    }

    /// The item with the least deadline of a class.
    #[must_use]
    pub fn head_of(&self, class: Class) -> Option<&Item> {
        self.rings.get(self.first(class)?)?.head()
    }

    /// Takes the item with the least deadline of a class.
    pub fn pop(&mut self, class: Class) -> Option<Item> {
        self.pop_if(class, |_| true)
    }

    /// Takes the item with the least deadline of a class, if it is wanted.
    pub fn pop_if(&mut self, class: Class, wanted: impl FnOnce(&Item) -> bool) -> Option<Item> {
        let first = self.first(class)?;
        let ring = &mut self.rings[first];
        if !wanted(ring.head()?) {
            return None;
        }
        let item = ring.items.pop_front()?.item;
        self.heads[first] = ring.head().map_or(NEVER, |next| next.deadline);
        self.rows -= 1;
        self.size -= u64::from(item.cost);
        Some(item)
    }

    /// Size of what is due at `from` or later.
    #[must_use]
    pub fn size_from(&self, class: Class, from: At) -> f64 {
        let rings = self.rings.iter().enumerate();
        let of_class = rings.filter(|(ring, _)| class.holds(*ring));
        of_class.map(|(_, ring)| ring.size_from(from)).sum::<u64>() as f64
    }

    /// Size of a class.
    #[must_use]
    pub fn size_of(&self, class: Class) -> f64 {
        let rings = self.rings.iter().enumerate();
        let of_class = rings.filter(|(ring, _)| class.holds(*ring));
        of_class.map(|(_, ring)| ring.size()).sum::<u64>() as f64
    }

    fn first(&self, class: Class) -> Option<usize> {
        let (mut first, mut least) = (None, NEVER);
        for (ring, head) in self.heads.iter().enumerate() {
            if *head < least && class.holds(ring) {
                (first, least) = (Some(ring), *head);
            }
        }
        first
    }

    /// Panics if an invariant does not hold; tests call it after every step.
    pub fn check_invariants(&self) {
        let (mut rows, mut size) = (0, 0);
        for (ring, head) in self.rings.iter().zip(&self.heads) {
            let first = ring.head().map_or(NEVER, |item| item.deadline);
            assert_eq!(*head, first, "heads are copies");
            let items = ring.items.iter();
            let pairs = items.clone().zip(items.clone().skip(1));
            for (one, next) in pairs {
                assert!(one.item.deadline <= next.item.deadline, "sorted");
                let step = next.before.wrapping_sub(one.before);
                assert_eq!(step, u64::from(one.item.cost), "sizes before add up");
            }
            let sum: u64 = items.map(|placed| u64::from(placed.item.cost)).sum();
            assert_eq!(ring.size(), sum, "a ring knows its size");
            rows += ring.items.len();
            size += sum;
        }
        assert_eq!((rows, size), (self.rows, self.size), "the sums hold");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(deadline: u64, cost: u32) -> Item {
        Item {
            deadline: At::from_nanos(deadline),
            arrival: At::default(),
            cost,
            key: Key::default(),
        }
    }

    proptest! {
        /// Against a list that is sorted anew each time.
        #[test]
        fn leaves_by_deadline_and_knows_what_is_due(
            steps in prop::collection::vec((0..200_u64, 1..9_u32, 0..3_usize, any::<bool>(), any::<bool>()), 1..120)
        ) {
            let (mut queue, mut oracle) = (Queue::default(), Vec::new());
            for (deadline, cost, application, in_contract, pop) in steps {
                if pop {
                    oracle.sort_by_key(|(deadline, _)| *deadline);
                    let expected = (!oracle.is_empty()).then(|| oracle[0].0);
                    let got = queue.pop(Class::Any).map(|item| (item.deadline.nanos(), item.cost));
                    prop_assert_eq!(got.map(|got| got.0), expected);
                    if let Some(got) = got {
                        let index = oracle.iter().position(|one| *one == got).expect("a member");
                        oracle.remove(index);
                    }
                } else {
                    queue.push(application, in_contract, item(deadline, cost));
                    oracle.push((deadline, cost));
                }
                queue.check_invariants();
                for from in [0, 50, 100, 199] {
                    let due = oracle.iter().filter(|one| one.0 >= from).map(|one| one.1).sum::<u32>();
                    prop_assert_eq!(queue.size_from(Class::Any, At::from_nanos(from)), f64::from(due));
                }
            }
        }
    }

    #[test]
    fn classes_are_apart() {
        let mut queue = Queue::default();
        queue.push(0, true, item(20, 3));
        queue.push(1, false, item(10, 2));
        assert_eq!(queue.head().map(|item| item.cost), Some(2));
        assert_eq!(queue.size_of(Class::InContract), 3.0);
        assert_eq!(queue.size_of(Class::OutOfContract), 2.0);
        assert_eq!(queue.pop(Class::InContract).map(|item| item.cost), Some(3));
        assert!(queue.pop(Class::InContract).is_none());
    }
}
