//! Deadline-ordered queue of one model version.
//!
//! Replicas pull; nothing is pushed, so an idle replica never waits behind a busy one.
//!
//! # Invariants
//! - `len <= QUEUE_LEN_MAX` and `bytes <= QUEUE_BYTES_MAX`; a push beyond fails, it never waits.
//! - Every accepted query leaves exactly once: taken, expired or drained.
//! - Queries leave in the order of their deadlines, equal ones in the order they came.
//!
//! # Cost
//! `push`, `take`: O(log n), no allocation below the capacity reached before.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Queries that wait for one version.
pub const QUEUE_LEN_MAX: usize = 10_000;
/// Input bytes that wait for one version.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// What a queue holds: it knows its deadline and its size.
pub trait Queued {
    /// When it must be answered.
    fn deadline(&self) -> Instant;
    /// Bytes that it keeps alive.
    fn bytes(&self) -> usize;
}

/// A bounded queue, least deadline first.
#[derive(Debug)]
pub struct DeadlineQueue<Q> {
    heap: BinaryHeap<Entry<Q>>,
    bytes: usize,
    pushed: u64,
}

#[derive(Debug)]
struct Entry<Q> {
    deadline: Instant,
    order: u64,
    query: Q,
}

impl<Q> Ord for Entry<Q> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed: the heap's greatest is the queue's first.
        (other.deadline, other.order).cmp(&(self.deadline, self.order))
    }
}

impl<Q> PartialOrd for Entry<Q> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<Q> PartialEq for Entry<Q> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<Q> Eq for Entry<Q> {}

impl<Q: Queued> Default for DeadlineQueue<Q> {
    fn default() -> Self {
        DeadlineQueue {
            heap: BinaryHeap::new(),
            bytes: 0,
            pushed: 0,
        }
    }
}

impl<Q: Queued> DeadlineQueue<Q> {
    /// Queries that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Adds a query.
    ///
    /// # Errors
    /// Gives it back if the queue is full.
    pub fn push(&mut self, query: Q) -> Result<(), Q> {
        let bytes = self.bytes.saturating_add(query.bytes());
        if self.heap.len() >= QUEUE_LEN_MAX || bytes > QUEUE_BYTES_MAX {
            return Err(query);
        }
        self.bytes = bytes;
        self.pushed += 1;
        self.heap.push(Entry {
            deadline: query.deadline(),
            order: self.pushed,
            query,
        });
        Ok(())
    }

    /// The least deadline.
    #[must_use]
    pub fn first_deadline(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.deadline)
    }

    /// The query with the least deadline.
    #[must_use]
    pub fn peek(&self) -> Option<&Q> {
        self.heap.peek().map(|entry| &entry.query)
    }

    /// Takes the query with the least deadline.
    pub fn take(&mut self) -> Option<Q> {
        let query = self.heap.pop()?.query;
        self.bytes -= query.bytes();
        Some(query)
    }

    /// Takes the first query if its deadline has passed.
    pub fn take_expired(&mut self, now: Instant) -> Option<Q> {
        if self.first_deadline()? > now {
            return None;
        }
        self.take()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Query(Instant, usize);

    impl Queued for Query {
        fn deadline(&self) -> Instant {
            self.0
        }
        fn bytes(&self) -> usize {
            self.1
        }
    }

    #[test]
    fn refuses_one_past_either_limit() {
        let now = Instant::now();
        let mut queue = DeadlineQueue::default();
        for _ in 0..QUEUE_LEN_MAX {
            queue.push(Query(now, 1)).expect("room");
        }
        assert!(queue.push(Query(now, 1)).is_err());
        let mut queue = DeadlineQueue::default();
        queue.push(Query(now, QUEUE_BYTES_MAX)).expect("room");
        assert!(queue.push(Query(now, 1)).is_err());
        queue.take();
        queue.push(Query(now, 1)).expect("room again");
    }

    proptest! {
        /// Against a list that is sorted anew each time.
        #[test]
        fn leaves_in_the_order_of_deadlines(steps in prop::collection::vec(0..20_u64, 1..80)) {
            let start = Instant::now();
            let mut queue = DeadlineQueue::default();
            let mut oracle: Vec<(u64, usize)> = Vec::new();
            for (index, step) in steps.into_iter().enumerate() {
                if step < 15 {
                    queue.push(Query(start + Duration::from_millis(step), index)).expect("room");
                    oracle.push((step, index));
                } else {
                    oracle.sort_unstable();
                    let expected = if oracle.is_empty() { None } else { Some(oracle.remove(0).1) };
                    prop_assert_eq!(queue.take().map(|query| query.1), expected);
                }
                prop_assert_eq!(queue.len(), oracle.len());
                prop_assert_eq!(queue.bytes, oracle.iter().map(|entry| entry.1).sum::<usize>());
            }
        }

        #[test]
        fn gives_out_exactly_the_expired(deadlines in prop::collection::vec(0..50_u64, 0..40)) {
            let start = Instant::now();
            let mut queue = DeadlineQueue::default();
            for deadline in &deadlines {
                queue.push(Query(start + Duration::from_millis(*deadline), 1)).expect("room");
            }
            let now = start + Duration::from_millis(25);
            let expired = std::iter::from_fn(|| queue.take_expired(now)).count();
            prop_assert_eq!(expired, deadlines.iter().filter(|deadline| **deadline <= 25).count());
        }
    }
}
