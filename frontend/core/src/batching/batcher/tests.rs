//! One suite for every policy, and what only the books decide.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::batching::Priority;
use crate::batching::sized::Sized;
use crate::batching::{Window, WindowOptions};
use crate::sizing::Sizing;

/// As told by a container on a transport that takes no time.
const ANSWERED: Ended = Ended::Answered {
    compute: Duration::MAX,
};
/// As told by one whose batches are under way all the time.
const TRANSPORTED: Ended = Ended::Answered {
    compute: Duration::ZERO,
};
const TERMS: Terms = Terms {
    slots: 2,
    max_batch: 16,
};

/// Policies that never wait, by name.
fn eager_policies() -> Vec<(&'static str, Box<dyn Policy>)> {
    let window = WindowOptions {
        wait_share_max: 0.0,
        ..WindowOptions::default()
    };
    let fixed = Sizing::Fixed {
        size: 4,
        wait: Duration::from_micros(0),
    };
    vec![
        ("window", Box::new(Window::new(window))),
        (
            "aimd",
            Box::new(Sized::new(Sizing::Aimd { size_max: None })),
        ),
        ("fixed", Box::new(Sized::new(fixed))),
    ]
}

/// Policies that wait, by name.
fn patient_policies() -> Vec<(&'static str, Box<dyn Policy>)> {
    let shapes = WindowOptions {
        allowed_sizes: vec![4, 8],
        ..WindowOptions::default()
    };
    let fixed = Sizing::Fixed {
        size: 8,
        wait: Duration::from_micros(5000),
    };
    vec![
        ("window", Box::new(Window::new(WindowOptions::default()))),
        ("compiled shapes", Box::new(Window::new(shapes))),
        ("fixed", Box::new(Sized::new(fixed))),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Push {
        application: usize,
        slo_us: u64,
        cost: u32,
    },
    End {
        replica: usize,
        last: bool,
        ended: Ended,
    },
    Join(u64),
    Drain(u64),
    Leave(u64),
    Withdraw(usize),
    Guarantee(usize, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let push = (0..3_usize, 500..30_000_u64, 1..4_u32).prop_map(|(application, slo_us, cost)| {
        Step::Push {
            application,
            slo_us,
            cost,
        }
    });
    let end = prop_oneof![
        4 => Just(ANSWERED),
        4 => Just(TRANSPORTED),
        1 => Just(Ended::Expired),
        1 => Just(Ended::Failed),
        1 => Just(Ended::Cancelled)
    ];
    let step = prop_oneof![
        6 => (0..8_000_u64).prop_map(Step::Advance),
        12 => push,
        6 => (0..4_usize, any::<bool>(), end)
            .prop_map(|(replica, last, ended)| Step::End { replica, last, ended }),
        1 => (0..4_u64).prop_map(Step::Join),
        1 => (0..4_u64).prop_map(Step::Drain),
        1 => (0..4_u64).prop_map(Step::Leave),
        1 => (0..64_usize).prop_map(Step::Withdraw),
        1 => (0..3_usize, any::<bool>()).prop_map(|(app, on)| Step::Guarantee(app, on)),
    ];
    prop::collection::vec(step, 1..200)
}

/// A batcher with a clock, and a record of all outcomes.
struct World {
    batcher: Batcher<u64>,
    actions: Actions<u64>,
    now: Instant,
    deadlines: BTreeMap<u64, Instant>,
    keys: Vec<Key>,
    ended: BTreeSet<u64>,
    joined: BTreeSet<u64>,
    /// The batches of each replica, in the order they were sent.
    busy: BTreeMap<u64, Vec<BatchNumber>>,
    cancelled: usize,
    answered: u64,
}

impl World {
    fn new(policy: Box<dyn Policy>, replicas: u64) -> World {
        let now = Instant::now();
        let mut world = World {
            batcher: Batcher::new(now, Options::default(), policy),
            actions: Actions::default(),
            now,
            deadlines: BTreeMap::new(),
            keys: Vec::new(),
            ended: BTreeSet::new(),
            joined: BTreeSet::new(),
            busy: BTreeMap::new(),
            cancelled: 0,
            answered: 0,
        };
        (0..replicas).for_each(|id| world.join(id));
        world
    }

    fn join(&mut self, id: u64) {
        if self.joined.insert(id) {
            self.batcher.replica_joined(ReplicaId(id), TERMS);
        }
    }

    fn push(&mut self, application: usize, slo: Duration, cost: u32) {
        let id = self.deadlines.len() as u64;
        let deadline = self.now + slo;
        self.deadlines.insert(id, deadline);
        let arrival = Arrival {
            application,
            deadline,
            cost,
            bytes: 10,
            priority: Priority::Normal,
        };
        match self.batcher.push(self.now, id, arrival, &mut self.actions) {
            Ok(key) => self.keys.push(key),
            Err(returned) => self.outcome(returned.query),
        }
    }

    fn outcome(&mut self, id: u64) {
        assert!(self.ended.insert(id), "two outcomes for {id}");
    }

    /// The batch that a replica computes ends.
    fn end(&mut self, id: u64, ended: Ended) {
        self.end_at(id, 0, ended);
    }

    fn end_at(&mut self, id: u64, index: usize, ended: Ended) {
        let Some(numbers) = self.busy.get_mut(&id) else {
            return;
        };
        let number = numbers.remove(index);
        if numbers.is_empty() {
            self.busy.remove(&id);
        }
        let (now, id) = (self.now, ReplicaId(id));
        self.batcher
            .batch_ended(now, id, number, ended, &mut self.actions);
    }

    /// Rows of the batch that a replica computes.
    fn rows(&self, id: u64) -> Vec<Option<u64>> {
        let number = self.busy[&id][0];
        let rows = self.batcher.batch(ReplicaId(id), number);
        rows.map(Option::<&u64>::copied).collect()
    }

    fn poll(&mut self) {
        self.batcher.poll(self.now, &mut self.actions);
        for dispatch in std::mem::take(&mut self.actions.dispatches) {
            let (replica, number) = (dispatch.replica, dispatch.number);
            let numbers = self.busy.entry(replica.0).or_default();
            numbers.push(number);
            assert!(numbers.len() <= TERMS.slots, "a slot for each batch");
            let rows: Vec<_> = self.batcher.batch(replica, number).collect();
            assert_eq!(rows.len(), dispatch.rows);
            assert!((1..=16).contains(&dispatch.rows), "rows of a batch");
            for id in rows.into_iter().flatten() {
                assert!(
                    self.deadlines[id] > self.now,
                    "dispatched past its deadline"
                );
            }
        }
        self.cancelled += std::mem::take(&mut self.actions.cancels).len();
        for answered in std::mem::take(&mut self.actions.answered) {
            self.answered += 1;
            self.outcome(answered.query);
        }
        for returned in std::mem::take(&mut self.actions.given_back) {
            assert_eq!(returned.shed_by.is_some(), returned.cause == Cause::Shed);
            self.outcome(returned.query);
        }
        if let Some(at) = self.actions.wake_at {
            assert!(at > self.now, "a wake-up lies ahead");
        }
        self.batcher.check_invariants();
        assert_eq!(self.batcher.len() + self.ended.len(), self.deadlines.len());
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Advance(us) => self.now += Duration::from_micros(us),
            Step::Push {
                application,
                slo_us,
                cost,
            } => self.push(application, Duration::from_micros(slo_us), cost),
            Step::End {
                replica,
                last,
                ended,
            } => {
                let busy = self.busy.iter().nth(replica);
                if let Some((id, count)) = busy.map(|(id, numbers)| (*id, numbers.len())) {
                    self.end_at(id, if last { count - 1 } else { 0 }, ended);
                }
            }
            Step::Join(id) => self.join(id),
            Step::Drain(id) => {
                self.batcher
                    .replica_draining(self.now, ReplicaId(id), &mut self.actions);
            }
            Step::Leave(id) => {
                self.joined.remove(&id);
                self.busy.remove(&id);
                self.batcher
                    .replica_left(self.now, ReplicaId(id), &mut self.actions);
            }
            Step::Withdraw(index) => {
                let key = self.keys.get(index).copied();
                if let Some(id) = key.and_then(|key| self.batcher.withdraw(key)) {
                    self.outcome(id);
                }
            }
            Step::Guarantee(application, on) => {
                let rate = on.then_some(200.0);
                self.batcher.set_guarantee(self.now, application, rate);
            }
        }
        self.poll();
    }

    /// Answers all that is in flight and lets the rest expire.
    fn finish(&mut self) {
        for _ in 0..400 {
            for id in self.busy.clone().into_keys() {
                self.end(id, ANSWERED);
            }
            self.now += Duration::from_millis(1);
            self.poll();
        }
        assert!(self.batcher.is_empty(), "every query has its outcome");
    }
}

proptest! {
    /// Whatever happens: one outcome a query, nothing dispatched late, and nobody idle beside
    /// a query that waits.
    #[test]
    fn every_query_has_one_outcome_and_no_replica_idles(steps in steps()) {
        for (name, policy) in eager_policies() {
            let mut world = World::new(policy, 2);
            for step in &steps {
                world.step(step);
                let holds = std::panic::AssertUnwindSafe(|| {
                    world.batcher.check_work_conserving(world.now);
                });
                prop_assert!(std::panic::catch_unwind(holds).is_ok(), "{name} idles");
            }
            world.finish();
        }
    }

    /// The same for those that wait, who wake up to end it.
    #[test]
    fn one_that_waits_loses_nothing(steps in steps()) {
        for (_, policy) in patient_policies() {
            let mut world = World::new(policy, 2);
            steps.iter().for_each(|step| world.step(step));
            world.finish();
        }
    }
}

/// Runs a model of `1 ms + 0.1 ms` a row at half load for `count` objectives of 20 ms; says
/// how much was answered in time in the last quarter.
fn goodput_after(policy: Box<dyn Policy>, count: u64) -> f64 {
    let mut world = World::new(policy, 1);
    let mut end: Option<Instant> = None;
    let (mut arrived, mut good) = (0, 0);
    let ticks = count * 20 * 10;
    for tick in 0..ticks {
        world.now += Duration::from_micros(100);
        let measured = tick > ticks * 3 / 4;
        if end.is_some_and(|end| end <= world.now) {
            end = None;
            let before = world.answered;
            world.end(0, ANSWERED);
            world.poll();
            good += if measured { world.answered - before } else { 0 };
        }
        if tick % 3 == 0 {
            world.push(0, Duration::from_millis(20), 1);
            arrived += u64::from(measured);
        }
        world.poll();
        if end.is_none() && world.busy.contains_key(&0) {
            let rows = world.rows(0).len() as u64;
            end = Some(world.now + Duration::from_micros(1000 + 100 * rows));
        }
    }
    good as f64 / arrived as f64
}

#[test]
fn recovers_from_a_profile_that_is_wrong_either_way() {
    for profile in [(10.0, 1.0), (0.2, 0.0), (1e-6, 1e-9), (0.0, 1e3)] {
        let options = WindowOptions {
            profile: Some(profile),
            ..WindowOptions::default()
        };
        let good = goodput_after(Box::new(Window::new(options)), 80);
        assert!(good > 0.95, "{good} after {profile:?}");
    }
}

/// Queries that nothing could answer in time beside others: they are tried now and then.
#[test]
fn hopeless_queries_take_a_small_part_of_a_replica() {
    let mut world = World::new(Box::new(Window::new(WindowOptions::default())), 1);
    let mut busy = Duration::ZERO;
    for _ in 0..2_000 {
        world.push(0, Duration::from_millis(1), 1);
        world.poll();
        if world.busy.contains_key(&0) {
            world.now += Duration::from_millis(6);
            busy += Duration::from_millis(6);
            world.end(0, ANSWERED);
        }
        world.now += Duration::from_millis(1);
        world.poll();
    }
    assert!(
        busy < Duration::from_millis(300),
        "{busy:?} of 2 s and more"
    );
    world.finish();
}

/// No batch of this model takes less than 10 ms.
fn slow_model() -> Box<dyn Policy> {
    Box::new(Window::new(WindowOptions {
        profile: Some((0.01, 0.0)),
        ..WindowOptions::default()
    }))
}

#[test]
fn a_query_with_less_time_than_the_model_needs_expires_and_is_not_shed() {
    let mut world = World::new(slow_model(), 1);
    world.push(0, Duration::from_millis(500), 1);
    world.poll();
    world.now += Duration::from_millis(10);
    world.end(0, ANSWERED);
    world.poll();
    // Idle, and nothing is tried so soon after an answer.
    for _ in 0..3 {
        world.push(0, Duration::from_millis(2), 1);
    }
    world.batcher.poll(world.now, &mut world.actions);
    let causes: Vec<_> = world
        .actions
        .given_back
        .iter()
        .map(|one| one.cause)
        .collect();
    assert_eq!(causes, [Cause::ExpiredQueue; 3]);
    let tally = world.batcher.tally();
    assert_eq!((tally.expired, tally.shed), (3, [0; 4]));
}

#[test]
fn a_query_that_lost_its_time_behind_others_is_shed() {
    let mut world = World::new(slow_model(), 1);
    // Two batches fill the slots; what follows waits until it is hopeless.
    for _ in 0..2 {
        world.push(0, Duration::from_millis(500), 1);
        world.poll();
    }
    world.push(0, Duration::from_millis(15), 1);
    world.push(0, Duration::from_millis(9), 1);
    world.poll();
    world.now += Duration::from_millis(8);
    world.end(0, ANSWERED);
    world.batcher.poll(world.now, &mut world.actions);
    let given = world.actions.given_back.iter();
    let mut causes: Vec<_> = given.map(|one| (one.query, one.cause)).collect();
    causes.sort_by_key(|one| one.0);
    assert_eq!(causes, [(2, Cause::Shed), (3, Cause::ExpiredQueue)]);
}

/// What they would tell is known from the batches of others.
#[test]
fn hopeless_queries_are_not_tried_beside_others() {
    let mut world = World::new(Box::new(Window::new(WindowOptions::default())), 1);
    let batch = |world: &mut World| {
        world.now += Duration::from_millis(6);
        world.end(0, ANSWERED);
        world.poll();
    };
    for _ in 0..200 {
        world.push(0, Duration::from_millis(100), 1);
        world.poll();
        batch(&mut world);
        world.push(1, Duration::from_millis(1), 1);
        world.poll();
        world.now += Duration::from_millis(4);
        world.poll();
        assert!(world.busy.is_empty(), "it was given up");
    }
    assert_eq!(world.answered, 200);
    world.finish();
}

#[test]
fn serves_half_the_capacity_without_loss_from_a_cold_start() {
    let good = goodput_after(Box::new(Window::new(WindowOptions::default())), 20);
    assert!(good > 0.99, "{good}");
}

/// One answer reaches the caller, the other is dropped.
#[test]
fn a_late_batch_is_asked_elsewhere_and_answered_once() {
    let options = WindowOptions {
        profile: Some((1e-3, 1e-4)),
        ..WindowOptions::default()
    };
    let mut world = World::new(Box::new(Window::new(options)), 2);
    for _ in 0..100 {
        world.push(0, Duration::from_millis(500), 1);
        world.poll();
        world.now += Duration::from_micros(1100);
        for id in world.busy.clone().into_keys() {
            world.end(id, ANSWERED);
        }
        world.poll();
    }
    world.push(0, Duration::from_millis(500), 1);
    world.poll();
    let late = *world.busy.keys().next().expect("a batch is in flight");
    world.now += Duration::from_millis(50);
    world.poll();
    assert_eq!(world.busy.len(), 2, "the other replica got a copy");
    let before = world.answered;
    world.end(1 - late, ANSWERED);
    world.poll();
    assert_eq!(world.answered, before + 1);
    world.end(late, ANSWERED);
    world.poll();
    assert_eq!(world.answered, before + 1, "the second answer is dropped");
    assert!(world.batcher.is_empty());
}

#[test]
fn a_lost_replica_passes_its_queries_on_once() {
    let mut world = World::new(Box::new(Sized::new(Sizing::Aimd { size_max: None })), 2);
    world.push(0, Duration::from_millis(100), 1);
    world.poll();
    for _ in 0..2 {
        let id = *world.busy.keys().next().expect("a batch is in flight");
        world.step(&Step::Leave(id));
        world.step(&Step::Join(id));
    }
    assert!(world.batcher.is_empty() && world.answered == 0);
}

#[test]
fn the_oldest_leaves_a_full_queue() {
    let options = Options {
        rows_max: 3,
        ..Options::default()
    };
    let mut world = World::new(Box::new(Sized::new(Sizing::Aimd { size_max: None })), 1);
    world.batcher = Batcher::new(
        world.now,
        options,
        Box::new(Sized::new(Sizing::Aimd { size_max: None })),
    );
    world.batcher.replica_joined(ReplicaId(0), TERMS);
    for _ in 0..5 {
        world.push(0, Duration::from_millis(100), 1);
        world.poll();
    }
    assert_eq!(
        world.ended,
        BTreeSet::from([1]),
        "0 is in flight, 1 was the oldest"
    );
}

/// Under three times the load, an application keeps what it was guaranteed.
#[test]
fn queries_in_contract_are_served_first() {
    let options = WindowOptions {
        profile: Some((1e-3, 1e-3)),
        ..WindowOptions::default()
    };
    let mut world = World::new(Box::new(Window::new(options)), 1);
    world.batcher.set_guarantee(world.now, 1, Some(200.0));
    let (mut end, mut covered) = (None, BTreeSet::new());
    for tick in 0..20_000_u64 {
        world.now += Duration::from_micros(100);
        if end.is_some_and(|end| end <= world.now) {
            end = None;
            world.end(0, ANSWERED);
        }
        if tick % 3 == 0 {
            world.push(0, Duration::from_millis(50), 1);
        }
        if tick % 100 == 0 {
            covered.insert(world.deadlines.len() as u64);
            world.push(1, Duration::from_millis(20), 1);
        }
        world.poll();
        if end.is_none() && world.busy.contains_key(&0) {
            let rows = world.rows(0).len() as u64;
            for id in world.rows(0).into_iter().flatten() {
                covered.remove(&id);
            }
            end = Some(world.now + Duration::from_millis(1 + rows));
        }
    }
    assert!(
        covered.len() <= 4,
        "{} of 200 were not served",
        covered.len()
    );
}

/// A batch in flight on each of two replicas, one more sent ahead to one of them, which then
/// stops.
fn held_up(idempotent: bool) -> (World, u64, u64) {
    let options = WindowOptions {
        profile: Some((1e-3, 1e-6)),
        ..WindowOptions::default()
    };
    let mut world = World::new(Box::new(Window::new(options)), 2);
    world.batcher.options.idempotent = idempotent;
    // Batches of 10 ms, half of it under way: what follows may be sent ahead.
    for _ in 0..200 {
        world.push(0, Duration::from_secs(5), 1);
        world.poll();
        world.now += Duration::from_millis(10);
        for id in world.busy.clone().into_keys() {
            let compute = Duration::from_millis(5);
            world.end(id, Ended::Answered { compute });
        }
        world.poll();
    }
    for _ in 0..2 {
        world.push(0, Duration::from_secs(5), 1);
        world.poll();
    }
    world.now += Duration::from_millis(7);
    world.push(0, Duration::from_secs(5), 1);
    world.poll();
    let ahead = world.busy.iter().find(|(_, numbers)| numbers.len() == 2);
    let stuck = *ahead.expect("one was sent ahead").0;
    (world, stuck, 1 - stuck)
}

#[test]
fn a_batch_sent_ahead_leaves_a_replica_that_stops() {
    let (mut world, stuck, other) = held_up(true);
    world.now += Duration::from_millis(3);
    world.end(other, ANSWERED);
    world.poll();
    assert_eq!(world.cancelled, 0, "it is not late yet");
    world.now += Duration::from_millis(10);
    world.poll();
    assert_eq!(world.cancelled, 1);
    let before = world.answered;
    world.end(other, ANSWERED);
    world.poll();
    assert!(world.answered > before, "the other one had it at once");
    world.end_at(stuck, 1, Ended::Cancelled);
    world.poll();
    world.finish();
}

#[test]
fn what_may_not_be_asked_twice_moves_once_the_replica_let_go_of_it() {
    let (mut world, stuck, other) = held_up(false);
    world.now += Duration::from_millis(13);
    world.end(other, ANSWERED);
    world.poll();
    assert_eq!(world.cancelled, 1);
    assert!(!world.busy.contains_key(&other), "it may be computed yet");
    world.end_at(stuck, 1, Ended::Cancelled);
    world.poll();
    assert!(world.busy.contains_key(&other));
    world.finish();
}

#[test]
fn a_draining_replica_gives_up_what_it_has_not_begun() {
    let (mut world, stuck, other) = held_up(true);
    world.step(&Step::Drain(stuck));
    assert_eq!(world.cancelled, 1);
    assert_eq!(world.busy[&other].len(), 2, "the other one has it now");
    world.finish();
}

#[test]
fn dispatches_are_explained_and_counted() {
    let mut world = World::new(Box::new(Window::new(WindowOptions::default())), 1);
    for _ in 0..3 {
        world.push(0, Duration::from_millis(20), 1);
        world.poll();
        world.now += Duration::from_millis(4);
        world.end(0, ANSWERED);
        world.poll();
    }
    let explained: Vec<_> = world.batcher.explained().collect();
    assert_eq!(explained.len(), 3);
    let last = explained[2];
    assert_eq!((last.queued, last.rows), (1, 1));
    assert!((last.head_slack - 0.02).abs() < 1e-6 && last.limit.name() == "queue");
    assert!((last.actual.expect("it was answered") - 0.004).abs() < 1e-6);
    let report = world.batcher.report(world.now);
    let tally = report.tally;
    assert_eq!((tally.arrived, tally.in_time, tally.batches), (3, 3, 3));
    let learned = report.learned.expect("it learns");
    assert!((learned.alpha + learned.beta - 0.004).abs() < 1e-4);
    assert!((report.replicas[0].busy_seconds - 0.012).abs() < 1e-6);
}
