//! A cache hit.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use skysail_core::Input;
use skysail_core::cache::{Cache, Key, Lookup, Seed, Weigh};
use skysail_rpc::{Cell, PayloadBuf};

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

criterion_group!(benches, cache);
criterion_main!(benches);
