//! The engine and the RPC allocate nothing for a query, once they are warm. One test, because the
//! allocator is the process's.

#![allow(unsafe_code, reason = "an allocator that counts")]

mod rig;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use rig::{PATIENCE, Rig, input, sum};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| {
            count.set(count.get() + 1);
            if trace() {
                trace_one(layout);
            }
        });
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static TRACE: Cell<bool> = const { Cell::new(false) };
}

fn trace() -> bool {
    TRACE.with(Cell::get)
}

/// Says where an allocation came from, once tracing is on: for whoever must find one.
#[allow(clippy::print_stderr, reason = "it may not allocate a log event")]
fn trace_one(layout: Layout) {
    TRACE.with(|trace| trace.set(false));
    let from = std::backtrace::Backtrace::force_capture();
    eprintln!("{} bytes allocated\n{from}", layout.size());
    TRACE.with(|trace| trace.set(true));
}

#[tokio::test]
async fn a_query_allocates_nothing() {
    const QUERIES: u64 = 2_000;
    let mut rig = Rig::start(0);
    rig.container(true).await;
    let to = rig.resolve();
    let ask = async |value: f32| {
        let now = Instant::now();
        let answer = rig.engine.ask(&to, input(&to, value), now + PATIENCE);
        sum(&answer.await.expect("a right query"))
    };
    for query in 0..500 {
        assert_eq!(ask(query as f32).await, query as f32);
    }
    let before = COUNT.get();
    TRACE.set(std::env::var_os("TRACE_ALLOCATIONS").is_some());
    for query in 0..QUERIES {
        assert_eq!(ask(query as f32).await, query as f32);
    }
    TRACE.set(false);
    let allocated = COUNT.get() - before;
    // tokio's queue of commands takes a block for every 32 of them, and heartbeats go out.
    let allowed = QUERIES / 16;
    assert!(
        allocated <= allowed,
        "{allocated} allocations for {QUERIES} queries"
    );
    rig.stop();
}
