//! What batching costs a query: its push, and its share of polls, dispatch and answer, beside a
//! push and a pop of a binary heap of the same length.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use skysail_core::batching::{
    Actions, Arrival, Batcher, Dispatch, Ended, Options, Priority, Window, WindowOptions,
};
use skysail_core::replica::{ReplicaId, Terms};

/// Queries that wait while the measured ones come and go.
const WAITING: usize = 1000;
const BATCH: usize = 64;
/// Between two arrivals.
const GAP: Duration = Duration::from_micros(1);

/// Replicas that are always busy; one of them ends its batch when one more is waiting.
struct Lane {
    batcher: Batcher<u64>,
    actions: Actions<u64>,
    now: Instant,
    objective: Duration,
    arrived: usize,
    /// The oldest first.
    in_flight: VecDeque<Dispatch>,
}

impl Lane {
    fn new(objective: Duration, replicas: u64) -> Lane {
        let now = Instant::now();
        let policy = Box::new(Window::new(WindowOptions::default()));
        let mut batcher = Batcher::new(now, Options::default(), policy);
        let terms = Terms {
            slots: 2,
            max_batch: BATCH,
        };
        (0..replicas).for_each(|id| batcher.replica_joined(ReplicaId(id), terms));
        let mut lane = Lane {
            batcher,
            actions: Actions::default(),
            now,
            objective,
            arrived: 0,
            in_flight: VecDeque::new(),
        };
        (0..100 * WAITING).for_each(|_| lane.step());
        lane
    }

    fn step(&mut self) {
        self.arrive();
        if self.batcher.queue_len() >= WAITING + BATCH {
            self.end_batch();
        }
    }

    fn arrive(&mut self) {
        self.now += GAP;
        self.arrived += 1;
        let arrival = Arrival {
            application: 0,
            deadline: self.now + self.objective,
            cost: 1,
            bytes: 100,
            priority: Priority::Normal,
        };
        self.batcher
            .push(self.now, self.arrived as u64, arrival, &mut self.actions)
            .expect("there are replicas, and room");
        self.poll();
    }

    fn end_batch(&mut self) {
        let Dispatch {
            replica, number, ..
        } = self.in_flight.pop_front().expect("a batch in flight");
        let compute = Duration::MAX;
        let (ended, actions) = (Ended::Answered { compute }, &mut self.actions);
        self.batcher
            .batch_ended(self.now, replica, number, ended, actions);
        self.poll();
    }

    fn poll(&mut self) {
        self.batcher.poll(self.now, &mut self.actions);
        for dispatch in self.actions.dispatches.drain(..) {
            let queries = self.batcher.batch(dispatch.replica, dispatch.number);
            black_box(queries.flatten().count());
            self.in_flight.push_back(dispatch);
        }
        black_box(&self.actions);
        self.actions.clear();
    }
}

fn batching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batching, 1,000 waiting");
    group.bench_function("binary heap: push and pop", |bench| {
        let mut now = Instant::now();
        let mut heap = BinaryHeap::new();
        let mut push = |heap: &mut BinaryHeap<_>| {
            now += GAP;
            heap.push((Reverse(now), 0_u64));
        };
        (0..WAITING).for_each(|_| push(&mut heap));
        bench.iter(|| {
            push(&mut heap);
            black_box(heap.pop())
        });
    });
    let far = Duration::from_secs(1);
    // Less than a millisecond in the queue, and a quarter in a batch.
    let near = Duration::from_micros(1300);
    for (name, objective, replicas) in [
        ("no deadline near, 4 replicas", far, 4),
        ("deadlines near, 4 replicas", near, 4),
        ("no deadline near, 40 replicas", far, 40),
    ] {
        let mut lane = Lane::new(objective, replicas);
        group.bench_function(name, |bench| bench.iter(|| lane.step()));
        let waiting = lane.batcher.queue_len();
        assert!(waiting > WAITING / 2, "{waiting} wait");
    }
    group.finish();
}

criterion_group!(benches, batching);
criterion_main!(benches);
