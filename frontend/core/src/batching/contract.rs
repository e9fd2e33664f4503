//! Guaranteed rates of applications.
//!
//! A token bucket marks each arrival *in* or *out* of contract. Once a model has a guarantee,
//! under pressure the queries in contract are served first; applications without a guarantee
//! share what is left. A query of low priority is out of contract, whoever asks, and uses none. Guarantees of a model should sum to at most nine tenths of what it bears.

use super::actions::Priority;
use super::time::At;

/// Seconds of its rate that an application may send at once.
const BURST_SECONDS: f64 = 0.1;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: f64,
    tokens: f64,
    filled: At,
}

impl Bucket {
    fn take(&mut self, now: At) -> bool {
        let earned = self.rate * now.since(self.filled).max(0.0);
        let burst = (self.rate * BURST_SECONDS).max(1.0);
        self.tokens = (self.tokens + earned).min(burst);
        self.filled = now;
        let any = self.tokens >= 1.0;
        if any {
            self.tokens -= 1.0;
        }
        any
    }
}

/// The guarantees of one model's applications.
#[derive(Debug, Default)]
pub struct Contracts {
    buckets: Vec<Option<Bucket>>,
    any: bool,
    /// Whether a query of low priority ever came.
    low: bool,
}

impl Contracts {
    /// Guarantees an application this many queries a second, or nothing any more. What it has
    /// used of a guarantee that it has already stays used.
    pub fn set(&mut self, now: At, application: usize, rate: Option<f64>) {
        let known = self.buckets.get(application).copied().flatten();
        if known.map(|bucket| bucket.rate) == rate {
            return;
        }
        if application >= self.buckets.len() {
            self.buckets.resize(application + 1, None);
        }
        self.buckets[application] = rate.map(|rate| Bucket {
            rate,
            tokens: (rate * BURST_SECONDS).max(1.0),
            filled: now,
        });
        self.any = self.buckets.iter().any(Option::is_some);
    }

    /// Whether an arrival is in contract; without any guarantee all of normal priority are.
    pub fn admits(&mut self, now: At, application: usize, priority: Priority) -> bool {
        if priority == Priority::Low {
            self.low = true;
            return false;
        }
        if !self.any {
            return true;
        }
        match self.buckets.get_mut(application) {
            Some(Some(bucket)) => bucket.take(now),
            _ => false,
        }
    }

    /// Whether queries are told apart: some application has a guarantee, or some query came with
    /// low priority.
    #[must_use]
    pub fn any(&self) -> bool {
        self.any || self.low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarantee_covers_its_rate_and_no_more() {
        let mut contracts = Contracts::default();
        assert!(
            contracts.admits(At::default(), 3, Priority::Normal),
            "nobody has a guarantee"
        );
        contracts.set(At::default(), 0, Some(100.0));
        let times = (0..10_000_u64).map(|i| At::from_nanos(i * 1_000_000));
        let covered = times
            .filter(|now| contracts.admits(*now, 0, Priority::Normal))
            .count();
        assert!((1000..=1011).contains(&covered), "{covered} in 10 s");
        assert!(
            !contracts.admits(At::default(), 1, Priority::Normal),
            "it has none"
        );
        let end = At::from_nanos(10_000_000_000);
        while contracts.admits(end, 0, Priority::Normal) {}
        contracts.set(end, 0, Some(100.0));
        assert!(
            !contracts.admits(end, 0, Priority::Normal),
            "it is no new one"
        );
        contracts.set(end, 0, Some(200.0));
        assert!(contracts.admits(end, 0, Priority::Normal));
    }

    #[test]
    fn a_query_of_low_priority_is_out_of_contract_and_uses_none() {
        let mut contracts = Contracts::default();
        let now = At::default();
        assert!(!contracts.any());
        assert!(
            !contracts.admits(now, 0, Priority::Low),
            "nobody has a guarantee"
        );
        assert!(contracts.any(), "from now on classes are told apart");
        assert!(contracts.admits(now, 0, Priority::Normal));
        contracts.set(now, 0, Some(1.0));
        assert!(!contracts.admits(now, 0, Priority::Low));
        assert!(
            contracts.admits(now, 0, Priority::Normal),
            "its token is there"
        );
    }
}
