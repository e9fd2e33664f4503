//! A batcher allocates nothing for a query or a batch, once it is warm. One test, because the
//! allocator is the process's.

#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use skysail_core::batching::{
    Actions, Arrival, BatchNumber, Batcher, Ended, Options, Policy, Priority, Window,
    WindowOptions, sized::Sized,
};
use skysail_core::replica::{ReplicaId, Terms};
use skysail_core::sizing::Sizing;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
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

const REPLICAS: u64 = 2;
const QUERIES: u64 = 50_000;

/// Two applications at 1.4 times what two replicas of `1 ms + 0.05 ms` a row bear, so that
/// queries are shed and batches hedged as well as answered.
struct Scene {
    batcher: Batcher<u64>,
    actions: Actions<u64>,
    now: Instant,
    ends: [Option<(Instant, BatchNumber)>; REPLICAS as usize],
    batches: u64,
}

impl Scene {
    fn new(policy: Box<dyn Policy>) -> Scene {
        let now = Instant::now();
        let mut batcher = Batcher::new(now, Options::default(), policy);
        let terms = Terms {
            slots: 1,
            max_batch: 256,
        };
        (0..REPLICAS).for_each(|id| batcher.replica_joined(ReplicaId(id), terms));
        Scene {
            batcher,
            actions: Actions::default(),
            now,
            ends: [None; REPLICAS as usize],
            batches: 0,
        }
    }

    fn serve(&mut self, queries: u64) {
        for query in 0..queries {
            self.now += Duration::from_micros(20);
            let application = (query % 2) as usize;
            let arrival = Arrival {
                application,
                deadline: self.now + Duration::from_millis(10 + 20 * application as u64),
                cost: 1,
                bytes: 64,
                priority: Priority::Normal,
            };
            let pushed = self
                .batcher
                .push(self.now, query, arrival, &mut self.actions);
            assert!(pushed.is_ok());
            for replica in 0..REPLICAS {
                let end = &mut self.ends[replica as usize];
                if let Some((_, number)) = end.take_if(|end| end.0 <= self.now) {
                    let (now, id, compute) = (self.now, ReplicaId(replica), Duration::MAX);
                    let ended = Ended::Answered { compute };
                    self.batcher
                        .batch_ended(now, id, number, ended, &mut self.actions);
                }
            }
            self.poll();
        }
    }

    fn poll(&mut self) {
        self.batcher.poll(self.now, &mut self.actions);
        for dispatch in &self.actions.dispatches {
            self.batches += 1;
            let slow = if self.batches.is_multiple_of(50) {
                8
            } else {
                1
            };
            let time = Duration::from_micros(1000 + 50 * dispatch.rows as u64);
            let end = self.now + slow * time;
            self.ends[dispatch.replica.0 as usize] = Some((end, dispatch.number));
        }
        self.actions.clear();
    }
}

#[test]
fn a_query_and_its_batch_allocate_nothing() {
    let policies: [Box<dyn Policy>; 2] = [
        Box::new(Window::new(WindowOptions::default())),
        Box::new(Sized::new(Sizing::Aimd { size_max: None })),
    ];
    for policy in policies {
        let mut scene = Scene::new(policy);
        scene.serve(QUERIES);
        let before = COUNT.get();
        scene.serve(QUERIES);
        let allocations = COUNT.get() - before;
        assert!(scene.batches > 100, "{} batches", scene.batches);
        // A longer queue than any before may still grow a list now and then.
        assert!(allocations <= 4, "{allocations} for {QUERIES} queries");
    }
}
