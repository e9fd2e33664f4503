//! How often a query's bytes are copied between the parsed row and the model, held to what
//! ARCHITECTURE.md owns up to. One test, because the counters are the process's.

mod rig;

use rig::{ROW_BYTES, Rig};
use skysail_rpc::copies::{self, Copied};

/// Bytes copied since `before`, by cause.
fn since(before: &[u64]) -> Vec<(Copied, u64)> {
    let difference = |(why, before): (&Copied, &u64)| (*why, copies::bytes(*why) - before);
    let all = Copied::ALL.iter().zip(before).map(difference);
    all.filter(|(_, bytes)| *bytes > 0).collect()
}

fn now() -> Vec<u64> {
    Copied::ALL.iter().map(|why| copies::bytes(*why)).collect()
}

/// A result of one float travels in the descriptor, whose room is copied whole.
const RESULT_BYTES: u64 = 40;

#[tokio::test]
async fn a_query_is_copied_as_often_as_the_architecture_says() {
    const QUERIES: u64 = 100;
    let mut rig = Rig::start(0);
    rig.container(true).await;
    let before = now();
    for query in 0..QUERIES {
        assert_eq!(rig.ask(query as f32).await, query as f32);
    }
    // Nothing of the request; of each result what a container could still change.
    assert_eq!(since(&before), [(Copied::Result, QUERIES * RESULT_BYTES)]);
    rig.stop();

    // One row and one result for each entry that the cache keeps.
    let mut rig = Rig::start(1 << 20);
    rig.container(true).await;
    let before = now();
    for query in [1, 2, 1, 1, 2] {
        assert_eq!(rig.ask(query as f32).await, query as f32);
    }
    let entries = 2 * (ROW_BYTES + size_of::<f32>() as u64);
    let expected = [
        (Copied::CacheEntry, entries),
        (Copied::Result, 2 * RESULT_BYTES),
    ];
    assert_eq!(since(&before), expected);
    rig.stop();

    // Over ZeroMQ: the result is small enough to be copied into the message, and small frames
    // arrive misaligned, so the row is copied once in the container.
    let mut rig = Rig::start(0);
    rig.container(false).await;
    let before = now();
    for query in 0..QUERIES {
        assert_eq!(rig.ask(query as f32).await, query as f32);
    }
    for (why, bytes) in since(&before) {
        let limit = match why {
            Copied::SmallFrame => QUERIES * size_of::<f32>() as u64,
            Copied::Misaligned => QUERIES * (ROW_BYTES + size_of::<f32>() as u64),
            other => panic!("{bytes} bytes were copied: {other:?}"),
        };
        assert!(bytes <= limit, "{why:?}: {bytes} bytes, at most {limit}");
    }
    rig.stop();
}
