//! The lane alone, on invented time.

use proptest::prelude::*;

use super::*;
use crate::sizing::Completed;

#[derive(Debug)]
struct Query {
    id: usize,
    arrival: Instant,
    deadline: Instant,
}

impl Queued for Query {
    fn deadline(&self) -> Instant {
        self.deadline
    }
    fn bytes(&self) -> usize {
        1
    }
}

impl LaneQuery for Query {
    fn arrival(&self) -> Instant {
        self.arrival
    }
}

const MS: Duration = Duration::from_millis(1);

fn query(id: usize, now: Instant, slo_ms: u32) -> Query {
    Query {
        id,
        arrival: now,
        deadline: now + slo_ms * MS,
    }
}

fn lane(replicas: u64, size: usize, wait: Duration) -> Lane<Query> {
    let mut lane = Lane::default();
    for id in 0..replicas {
        lane.replica_joined(ReplicaId(id), terms(size), &fixed(size, wait));
    }
    lane
}

fn fixed(size: usize, wait: Duration) -> Batching {
    Batching::Fixed {
        size: size as u32,
        wait_micros: wait.as_micros() as u64,
    }
}

fn terms(max_batch: usize) -> Terms {
    Terms {
        slots: 1,
        max_batch,
    }
}

fn ids(next: Next<Query>) -> Vec<usize> {
    match next {
        Next::Batch { queries, .. } => queries.iter().map(|query| query.id).collect(),
        other => panic!("a batch, not {other:?}"),
    }
}

#[test]
fn expires_queries_before_sizing_the_batch() {
    let (mut lane, now) = (lane(1, 2, Duration::ZERO), Instant::now());
    for (id, slo_ms) in [(0, 5), (1, 50), (2, 60), (3, 4)] {
        lane.push(now, query(id, now, slo_ms)).expect("room");
    }
    let mut expired = Vec::new();
    assert_eq!(
        ids(lane.next(now + 10 * MS, &mut expired)),
        [1, 2],
        "a whole batch"
    );
    assert_eq!(
        expired.iter().map(|query| query.id).collect::<Vec<_>>(),
        [3, 0]
    );
}

#[test]
fn refuses_at_once_with_the_cause() {
    let now = Instant::now();
    let cause = |lane: &mut Lane<Query>, query| lane.push(now, query).expect_err("refused").cause;
    assert_eq!(
        cause(&mut lane(0, 1, Duration::ZERO), query(0, now, 5)),
        Cause::NoReplica
    );
    let mut full = lane(1, 1, Duration::ZERO);
    assert_eq!(cause(&mut full, query(0, now, 0)), Cause::ExpiredQueue);
    for id in 0..crate::queue::QUEUE_LEN_MAX {
        full.push(now, query(id, now, 5)).expect("room");
    }
    assert_eq!(cause(&mut full, query(0, now, 5)), Cause::QueueFull);
}

#[test]
fn waits_for_a_fixed_batch_but_never_past_half_the_budget() {
    let start = Instant::now();
    let mut expired = Vec::new();
    let mut patient = lane(1, 3, 4 * MS);
    patient.push(start, query(0, start, 20)).expect("room");
    assert!(matches!(patient.next(start, &mut expired), Next::Wait(at) if at == start + 4 * MS));
    patient.push(start, query(1, start, 20)).expect("room");
    patient.push(start, query(2, start, 20)).expect("room");
    assert_eq!(
        ids(patient.next(start, &mut expired)),
        [0, 1, 2],
        "full: no wait"
    );
    let mut tight = lane(1, 3, 40 * MS);
    tight.push(start, query(0, start, 20)).expect("room");
    assert!(matches!(tight.next(start, &mut expired), Next::Wait(at) if at == start + 10 * MS));
    assert_eq!(ids(tight.next(start + 10 * MS, &mut expired)), [0]);
}

#[test]
fn losing_the_last_replica_gives_everything_back() {
    let (mut lane, now) = (lane(2, 1, Duration::ZERO), Instant::now());
    (0..3).for_each(|id| lane.push(now, query(id, now, 5)).expect("room"));
    assert!(lane.replica_left(ReplicaId(0)).is_empty(), "one is left");
    let back = lane.replica_left(ReplicaId(1));
    assert_eq!(back.len(), 3);
    assert!(back.iter().all(|given| given.cause == Cause::ReplicaLost));
    lane.check_invariants();
}

proptest! {
    /// Random events: every query leaves exactly once, no batch holds an expired query, and
    /// an idle replica never stands beside a waiting query.
    #[test]
    fn every_query_leaves_exactly_once(steps in prop::collection::vec((0..7_u8, 0..30_u32), 1..200)) {
        let mut lane = lane(2, 3, Duration::ZERO);
        let mut now = Instant::now();
        let (mut pushed, mut left, mut busy) = (0, Vec::new(), Vec::new());
        let mut replicas = 2_u64;
        for (step, value) in steps {
            match step {
                0..=2 => {
                    match lane.push(now, query(pushed, now, value)) {
                        Ok(()) => {}
                        Err(given) => left.push(given.query.id),
                    }
                    pushed += 1;
                }
                3 => now += value * MS,
                4 if !busy.is_empty() => {
                    let id = busy.remove(value as usize % busy.len());
                    let completed = Completed { rows: 1, latency: MS, objective: 20 * MS };
                    lane.batch_ended(now, id, BatchEnd::Answered(completed));
                }
                5 if value < 3 => {
                    let id = ReplicaId(u64::from(value) % replicas);
                    busy.retain(|replica| *replica != id);
                    left.extend(lane.replica_left(id).into_iter().map(|given| given.query.id));
                }
                6 if value < 5 => {
                    lane.replica_joined(ReplicaId(replicas), terms(3), &fixed(3, Duration::ZERO));
                    replicas += 1;
                }
                _ => {}
            }
            let mut expired = Vec::new();
            while let Next::Batch { replica, queries } = lane.next(now, &mut expired) {
                prop_assert!(!queries.is_empty() && queries.len() <= 3);
                prop_assert!(queries.iter().all(|query| query.deadline > now));
                left.extend(queries.iter().map(|query| query.id));
                busy.push(replica);
            }
            left.extend(expired.iter().map(|query| query.id));
            prop_assert!(lane.queue_len() == 0 || lane.replicas.idle(now).is_none());
            lane.check_invariants();
        }
        left.extend(lane.drain(Cause::Draining).iter().map(|given| given.query.id));
        left.sort_unstable();
        prop_assert_eq!(left, (0..pushed).collect::<Vec<_>>());
    }
}
