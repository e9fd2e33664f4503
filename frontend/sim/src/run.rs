//! One run: arrivals, replicas and a batcher on a virtual clock.
//!
//! # Cost
//! About a tenth of a microsecond a query, the policy included.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use skysail_core::batching::Policy;
use skysail_core::batching::{Actions, Arrival, BatchNumber, Batcher, Ended, Options};
use skysail_core::replica::{ReplicaId, Terms};

use crate::truth::{Noise, Shape};

/// Application, model and replicas of a run.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The model.
    pub shape: Shape,
    /// Seconds from arrival to deadline.
    pub objective: f64,
    /// Replicas.
    pub replicas: usize,
    /// Of the batches.
    pub noise: Noise,
}

impl Setting {
    /// Queries a second that it bears.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        self.shape.capacity(self.replicas, self.objective)
    }
}

/// Queries by what became of them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// All that arrived.
    pub arrived: u64,
    /// Answered in time.
    pub good: u64,
    /// Answered too late.
    pub late: u64,
    /// Not answered.
    pub shed: u64,
    /// Seconds that answers took, in sum.
    pub seconds: f64,
    latencies: Histogram,
}

impl Counts {
    /// Share of the arrivals that were answered in time.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        share(self.good, self.arrived)
    }

    /// Share of the arrivals that were answered too late.
    #[must_use]
    pub fn late_share(&self) -> f64 {
        share(self.late, self.arrived)
    }

    /// Share of the arrivals that were not answered.
    #[must_use]
    pub fn shed_share(&self) -> f64 {
        share(self.shed, self.arrived)
    }

    /// Mean seconds of an answer.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.seconds / (self.good + self.late).max(1) as f64
    }

    /// Seconds below which 99 % of the answers took.
    #[must_use]
    pub fn p99(&self) -> f64 {
        self.latencies.quantile(0.99)
    }

    fn answered(&mut self, seconds: f64, objective: f64) {
        if seconds <= objective {
            self.good += 1;
        } else {
            self.late += 1;
        }
        self.seconds += seconds;
        self.latencies.add(seconds);
    }
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Over the whole run.
    pub all: Counts,
    /// By equal parts of the run, by arrival.
    pub parts: Vec<Counts>,
    /// Batches.
    pub batches: u64,
    /// Rows in them, copies included.
    pub rows: u64,
    /// Seconds of the run.
    pub length: f64,
}

impl Outcome {
    /// Mean rows of a batch.
    #[must_use]
    pub fn batch_mean(&self) -> f64 {
        self.rows as f64 / self.batches.max(1) as f64
    }
}

/// Latencies in buckets of 1 %, from a microsecond on.
#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        let bucket = ((seconds * 1e6).max(1.0).ln() * 100.0) as usize;
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut left = (self.total as f64 * share) as u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            if left < u64::from(*count) {
                return ((bucket as f64 + 0.5) / 100.0).exp() / 1e6;
            }
            left -= u64::from(*count);
        }
        0.0
    }
}

/// The state of a run.
struct Run<'a> {
    setting: &'a Setting,
    origin: Instant,
    /// A query is its arrival in nanoseconds.
    batcher: Batcher<u64>,
    actions: Actions<u64>,
    /// Ends of batches: nanoseconds, replica and number.
    ends: BinaryHeap<Reverse<(u64, u64, u64)>>,
    started: Vec<u64>,
    wake_at: u64,
    outcome: Outcome,
    part_nanos: u64,
}

/// Runs `arrivals` through a batcher with `policy`; the outcome is told in `parts`.
#[must_use]
pub fn run(
    setting: &Setting,
    policy: Box<dyn Policy>,
    arrivals: &[u64],
    length: f64,
    parts: usize,
) -> Outcome {
    let origin = Instant::now();
    let options = Options {
        bytes_max: usize::MAX,
        ..Options::default()
    };
    let mut batcher = Batcher::new(origin, options, policy);
    for replica in 0..setting.replicas {
        let terms = Terms {
            slots: 1,
            max_batch: setting.shape.rows_max,
        };
        batcher.replica_joined(ReplicaId(replica as u64), terms);
    }
    let mut run = Run {
        setting,
        origin,
        batcher,
        actions: Actions::default(),
        ends: BinaryHeap::new(),
        started: vec![0; setting.replicas],
        wake_at: u64::MAX,
        outcome: Outcome {
            parts: vec![Counts::default(); parts.max(1)],
            length,
            ..Outcome::default()
        },
        part_nanos: (length * 1e9 / parts.max(1) as f64) as u64 + 1,
    };
    run.drive(arrivals);
    run.outcome
}

impl Run<'_> {
    fn drive(&mut self, arrivals: &[u64]) {
        let mut coming = arrivals.iter().copied().peekable();
        loop {
            let arrival = coming.peek().copied().unwrap_or(u64::MAX);
            let end = self.ends.peek().map_or(u64::MAX, |end| end.0.0);
            let now = arrival.min(end).min(self.wake_at);
            if now == u64::MAX {
                break;
            }
            if end == now {
                self.end_batch(now);
            } else if arrival == now {
                coming.next();
                self.arrive(now);
            }
            self.poll(now);
        }
        assert!(self.batcher.is_empty(), "every query has its outcome");
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.origin + Duration::from_nanos(nanos)
    }

    fn arrive(&mut self, now: u64) {
        self.outcome.all.arrived += 1;
        self.part(now).arrived += 1;
        let arrival = Arrival {
            application: 0,
            deadline: self.instant(now) + Duration::from_secs_f64(self.setting.objective),
            cost: 1,
            bytes: 0,
        };
        let pushed = self
            .batcher
            .push(self.instant(now), now, arrival, &mut self.actions);
        assert!(pushed.is_ok(), "a query with time and replicas is accepted");
    }

    fn end_batch(&mut self, now: u64) {
        let Some(Reverse((_, replica, number))) = self.ends.pop() else {
            return;
        };
        let (instant, id) = (self.instant(now), ReplicaId(replica));
        let compute = Duration::MAX;
        let (number, ended) = (BatchNumber(number), Ended::Answered { compute });
        self.batcher
            .batch_ended(instant, id, number, ended, &mut self.actions);
        let objective = self.setting.objective + 1e-9;
        let answered = std::mem::take(&mut self.actions.answered);
        for answer in &answered {
            let seconds = (now - answer.query) as f64 / 1e9;
            self.outcome.all.answered(seconds, objective);
            self.part(answer.query).answered(seconds, objective);
        }
        self.actions.answered = answered;
        self.actions.answered.clear();
    }

    fn poll(&mut self, now: u64) {
        self.batcher.poll(self.instant(now), &mut self.actions);
        for index in 0..self.actions.dispatches.len() {
            let dispatch = self.actions.dispatches[index];
            let replica = dispatch.replica.0 as usize;
            let factor = self.setting.noise.factor(replica, self.started[replica]);
            self.started[replica] += 1;
            let seconds = factor * self.setting.shape.seconds(dispatch.rows as f64);
            let end = now + (seconds * 1e9) as u64;
            let (id, number) = (dispatch.replica.0, dispatch.number.0);
            self.ends.push(Reverse((end, id, number)));
            self.outcome.batches += 1;
            self.outcome.rows += dispatch.rows as u64;
        }
        for index in 0..self.actions.given_back.len() {
            let arrival = self.actions.given_back[index].query;
            self.outcome.all.shed += 1;
            self.part(arrival).shed += 1;
        }
        let wake_at = self.actions.wake_at;
        let nanos = |at: Instant| (at - self.origin).as_nanos() as u64;
        self.wake_at = wake_at.map_or(u64::MAX, nanos).max(now + 1);
        self.actions.clear();
    }

    fn part(&mut self, arrival: u64) -> &mut Counts {
        let last = self.outcome.parts.len() - 1;
        let index = (arrival / self.part_nanos) as usize;
        &mut self.outcome.parts[index.min(last)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Load;
    use crate::rivals::Eager;
    use crate::truth::SHAPES;

    /// One replica that computes single queries is an M/G/1 queue, of which the mean time is
    /// known (Pollaczek and Khinchine).
    #[test]
    fn single_queries_take_as_long_as_theory_says() {
        let shape = Shape {
            rows_max: 1,
            ..SHAPES[0]
        };
        let setting = Setting {
            shape,
            objective: 10.0,
            replicas: 1,
            noise: Noise { seed: 4 },
        };
        let service = shape.seconds(1.0);
        let factors: Vec<f64> = (0..200_000).map(|i| setting.noise.factor(0, i)).collect();
        let moment = |power: i32| factors.iter().map(|f| f.powi(power)).sum::<f64>() / 2e5;
        let (mean, square) = (service * moment(1), service * service * moment(2));
        let rate = 0.5 / mean;
        let arrivals = Load::Poisson(1.0).arrivals(rate, 2e5 / rate, 9);
        let policy = Box::new(Eager::untuned(&shape));
        let outcome = run(&setting, policy, &arrivals, 2e5 / rate, 1);
        let expected = mean + rate * square / (2.0 * (1.0 - rate * mean));
        let relative = outcome.all.mean() / expected - 1.0;
        assert!(relative.abs() < 0.03, "{relative}");
    }
}
