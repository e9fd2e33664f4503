//! What came of requests to a version, counted as the Open Inference Protocol tells it.
//!
//! A request may have many rows; times of rows are those of their batch, as each row saw it.
//!
//! # Cost
//! A few relaxed additions a request and a batch.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counts and times since the front end has known the version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Requests that got a response, with predictions or defaults.
    pub succeeded: Summed,
    /// Requests that got an error.
    pub failed: Summed,
    /// Rows that a model computed.
    pub computed: Summed,
    /// Since the last request; none if there was none.
    pub idle: Option<Duration>,
}

/// How many, and how long together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summed {
    /// How many.
    pub count: u64,
    /// How long, together.
    pub time: Duration,
}

#[derive(Debug, Default)]
struct Counter {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Counter {
    fn add(&self, count: u64, each: Duration) {
        let nanos = count.saturating_mul(u64::try_from(each.as_nanos()).unwrap_or(u64::MAX));
        // Relaxed, here and below: sums that nothing else is read by.
        self.count.fetch_add(count, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    fn read(&self) -> Summed {
        Summed {
            count: self.count.load(Relaxed),
            time: Duration::from_nanos(self.nanos.load(Relaxed)),
        }
    }
}

/// The counters of a lane.
#[derive(Debug)]
pub(crate) struct Counters {
    made: Instant,
    succeeded: Counter,
    failed: Counter,
    computed: Counter,
    /// When the last request ended, in microseconds after `made`; 0: never.
    last_micros: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters {
            made: Instant::now(),
            succeeded: Counter::default(),
            failed: Counter::default(),
            computed: Counter::default(),
            last_micros: AtomicU64::new(0),
        }
    }

    /// Counts a request.
    pub(crate) fn request(&self, ok: bool, elapsed: Duration) {
        let counter = if ok { &self.succeeded } else { &self.failed };
        counter.add(1, elapsed);
        let micros = self.made.elapsed().as_micros() as u64;
        self.last_micros.store(micros.max(1), Relaxed);
    }

    /// Counts the rows of a batch, each of which saw the whole of its time.
    pub(crate) fn computed(&self, rows: usize, time: Duration) {
        self.computed.add(rows as u64, time);
    }

    pub(crate) fn read(&self) -> Requests {
        let last = self.last_micros.load(Relaxed);
        let age = |last| {
            self.made
                .elapsed()
                .saturating_sub(Duration::from_micros(last))
        };
        Requests {
            succeeded: self.succeeded.read(),
            failed: self.failed.read(),
            computed: self.computed.read(),
            idle: (last > 0).then(|| age(last)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_a_batch_saw_all_of_its_time() {
        let counters = Counters::new();
        assert_eq!(counters.read(), Requests::default());
        counters.computed(4, Duration::from_millis(3));
        counters.request(true, Duration::from_millis(5));
        counters.request(false, Duration::from_millis(1));
        let read = counters.read();
        let (computed, succeeded) = (read.computed, read.succeeded);
        assert_eq!(
            (computed.count, computed.time),
            (4, Duration::from_millis(12))
        );
        assert_eq!(
            (succeeded.count, succeeded.time),
            (1, Duration::from_millis(5))
        );
        assert_eq!(read.failed.count, 1);
        assert!(read.idle.is_some());
    }
}
