//! Queue push and take; a cache hit.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use skysail_core::Input;
use skysail_core::cache::{Cache, Key, Lookup, Seed, Weigh};
use skysail_core::queue::{DeadlineQueue, Queued};
use skysail_rpc::{Cell, PayloadBuf};

#[derive(Debug)]
struct Query(Instant);

impl Queued for Query {
    fn deadline(&self) -> Instant {
        self.0
    }
    fn bytes(&self) -> usize {
        3136
    }
}

/// Queries that wait while the measured ones come and go.
const WAITING: u64 = 1000;

fn queue(criterion: &mut Criterion) {
    let start = Instant::now();
    let mut queue = DeadlineQueue::default();
    for index in 0..WAITING {
        queue
            .push(Query(start + Duration::from_micros(index)))
            .expect("room");
    }
    let mut next = WAITING;
    criterion.bench_function("queue/push and take, 1,000 waiting", |bench| {
        bench.iter(|| {
            next += 1;
            queue
                .push(Query(start + Duration::from_micros(next)))
                .expect("room");
            black_box(queue.take())
        });
    });
}

#[derive(Clone, Debug)]
struct Value;

impl Weigh for Value {
    fn weight(&self) -> usize {
        64
    }
}

fn cache(criterion: &mut Criterion) {
    let (seed, now) = (Seed::new(42), Instant::now());
    let input = |index: u32| {
        let mut row = PayloadBuf::zeroed(4 * 784);
        row.as_bytes_mut()[..4].copy_from_slice(&index.to_le_bytes());
        Input::single(Cell::fixed(row.freeze()))
    };
    let mut cache: Cache<Value, ()> = Cache::new(64 << 20);
    let inputs: Vec<Input> = (0..4096).map(input).collect();
    for input in &inputs {
        let key = Key::new(&seed, 1, input.clone());
        if let Lookup::Miss((), flight) = cache.lookup(&key, now, now, ()) {
            cache.complete(key, flight, Some(Value));
        }
    }
    // Equal bytes elsewhere, as a query brings them: the comparison reads both.
    let queries: Vec<Input> = (0..4096).map(input).collect();
    let mut index = 0;
    criterion.bench_function("cache/hit, 784 floats", |bench| {
        bench.iter_batched(
            || {
                index = (index + 1) % queries.len();
                queries[index].clone()
            },
            |input| black_box(cache.lookup(&Key::new(&seed, 1, input), now, now, ())),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, queue, cache);
criterion_main!(benches);
