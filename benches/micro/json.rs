//! A JSON body of 784 floats to a payload, beside what `serde_json` takes for the same.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde::Deserialize;
use skysail_api::json::{JsonLimits, parse_predict};
use skysail_benches::inputs::float_body;
use skysail_core::InputType;
use skysail_rpc::PayloadBuf;

#[derive(Deserialize)]
struct Body {
    input: Vec<f32>,
}

fn bodies(criterion: &mut Criterion) {
    let shortest = float_body(784, 7).into_bytes();
    let tenths: Vec<String> = (0..784)
        .map(|n| format!("{}.{}", n % 256, n % 10))
        .collect();
    let short = format!("{{\"input\":[{}]}}", tenths.join(",")).into_bytes();
    for (name, body) in [("shortest f32", &shortest), ("one decimal", &short)] {
        let mut group = criterion.benchmark_group(format!("784 floats, {name}"));
        group.throughput(criterion::Throughput::Bytes(body.len() as u64));
        let limits = JsonLimits::default();
        group.bench_function("skysail", |bench| {
            bench.iter(|| {
                parse_predict(
                    black_box(body),
                    InputType::Floats,
                    Some(784),
                    &limits,
                    &PayloadBuf::default,
                )
            });
        });
        group.bench_function("serde_json", |bench| {
            bench.iter(|| {
                let body: Body = serde_json::from_slice(black_box(body)).expect("JSON");
                body.input
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bodies);
criterion_main!(benches);
