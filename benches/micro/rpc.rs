//! Header build and parse; a frame's round trip in memory and over ipc.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use skysail_rpc::message::{BatchId, Encoder, Frame, Message, Part, PartKind, Predict};
use skysail_rpc::transport::{Incoming, Link, Listener, memory, zmq};
use skysail_rpc::{DataType, Payload, PayloadBuf};

/// One row of 784 floats.
fn predict() -> Message {
    let payload: Payload = PayloadBuf::zeroed(4 * 784).freeze();
    let part = Part {
        tensor: 0,
        kind: PartKind::Data,
        datatype: DataType::Fp32,
        shape: [1, 784].into_iter().collect(),
        payload,
    };
    Message::Predict(Predict {
        batch: BatchId(7),
        rows: 1,
        remaining: Duration::from_millis(20),
        tensors: [part].into_iter().collect(),
    })
}

fn headers(criterion: &mut Criterion) {
    let message = predict();
    let mut encoder = Encoder::default();
    criterion.bench_function("header/build", |bench| {
        bench.iter(|| encoder.encode(&message));
    });
    let frame = encoder.encode(&message);
    criterion.bench_function("header/parse", |bench| {
        bench.iter(|| Message::decode(&frame));
    });
}

/// Sends a frame from the link to the listener and back.
async fn round_trip(listener: &mut impl Listener, frame: &Frame) {
    loop {
        if let Some(Incoming::Frame { peer, .. }) = listener.try_recv() {
            listener.send(peer, frame).expect("the link is open");
            return;
        }
        listener.readable().await.expect("a listener");
    }
}

/// An echo on another thread: every frame sent to it comes back.
fn echo(mut link: impl Link + Send + 'static, frame: Frame) {
    std::thread::spawn(move || {
        link.send(&frame).expect("open");
        while let Ok(received) = link.recv(Instant::now() + Duration::from_secs(60)) {
            if received.is_some_and(|frame| link.send(&frame).is_err()) {
                return;
            }
        }
    });
}

fn round_trips(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let frame = Encoder::default().encode(&predict());

    let (mut listener, connector) = memory::listen();
    echo(connector.connect().expect("listening"), frame.clone());
    criterion.bench_function("round trip/memory", |bench| {
        bench.iter(|| runtime.block_on(round_trip(&mut listener, &frame)));
    });

    let folder = tempfile::tempdir().expect("a folder");
    let endpoint = format!("ipc://{}/s", folder.path().display());
    let entered = runtime.enter();
    let mut listener = zmq::ZmqListener::bind(std::slice::from_ref(&endpoint)).expect("bound");
    drop(entered);
    echo(zmq::connect(&endpoint).expect("an endpoint"), frame.clone());
    criterion.bench_function("round trip/ipc", |bench| {
        bench.iter(|| runtime.block_on(round_trip(&mut listener, &frame)));
    });
}

criterion_group!(benches, headers, round_trips);
criterion_main!(benches);
