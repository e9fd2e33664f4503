//! Both ends played against each other and against a liar.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::message::{Hello, Message, Outcome, Reject, RejectReason, Reply, RowError};
use crate::payload::Payload;
use crate::tensor::{Cell, ColumnBuilder, Schema, TensorSpec};

fn hello(slots: u16) -> Hello {
    let spec = |name, text| TensorSpec::parse(name, text).expect("valid");
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        sdk: "test/1".into(),
        model: "m".into(),
        version: "1".into(),
        schema: Schema {
            inputs: vec![spec("x", "f32[2]")],
            outputs: vec![spec("y", "f32")],
        },
        max_batch: 4,
        slots,
        token: vec![],
        pid: 0,
        host: String::new(),
        spin: Duration::ZERO,
    }
}

struct Pair {
    now: Instant,
    frontend: FrontendSession,
    container: ContainerSession,
}

impl Pair {
    fn serving(slots: u16) -> Pair {
        let now = Instant::now();
        let timing = Timing::default();
        let mut frontend = FrontendSession::new(now, timing);
        let (mut container, message) = ContainerSession::open(now, timing, hello(slots));
        let event = frontend.on_message(now, message).expect("a hello");
        let FrontendEvent::Hello(hello) = event else {
            panic!("a hello, not {event:?}")
        };
        let welcome = frontend.accept(now, &hello, Arc::new(hello.schema.clone()), 7, None);
        let event = container.on_message(now, welcome).expect("a welcome");
        assert!(matches!(event, ContainerEvent::Welcome(welcome) if welcome.replica == 7));
        Pair {
            now,
            frontend,
            container,
        }
    }

    fn predict(&mut self, rows: usize) -> (BatchId, Message) {
        let spec = &hello(1).schema.inputs[0];
        let mut builder = ColumnBuilder::new(spec, rows);
        (0..rows).for_each(|_| builder.push(&Cell::fixed(Payload::copy_from_slice(&[0; 8]))));
        let column = builder.finish();
        self.frontend.predict(
            self.now,
            rows as u32,
            Duration::from_millis(20),
            column.parts(0).collect::<Tensors>(),
        )
    }

    fn job(&mut self, message: Message) -> Job {
        let event = self
            .container
            .on_message(self.now, message)
            .expect("a predict");
        let ContainerEvent::Job(job) = event else {
            panic!("a job, not {event:?}")
        };
        job
    }

    fn answer(&mut self, job: &Job) -> Message {
        let mut builder = ColumnBuilder::new(&hello(1).schema.outputs[0], job.rows);
        (0..job.rows).for_each(|_| builder.push(&Cell::fixed(Payload::copy_from_slice(&[0; 4]))));
        self.container.reply(
            self.now,
            job,
            [builder.finish()].into(),
            vec![],
            Duration::ZERO,
        )
    }

    fn violation(&mut self, message: Message) -> String {
        self.frontend
            .on_message(self.now, message)
            .expect_err("a violation")
            .to_string()
    }
}

fn reply(batch: BatchId, rows: u32) -> Reply {
    let (outcome, compute) = (Outcome::Ok, Duration::ZERO);
    Reply {
        batch,
        outcome,
        rows,
        tensors: Default::default(),
        row_errors: vec![],
        compute,
    }
}

#[test]
fn a_batch_goes_out_and_comes_back() {
    let mut pair = Pair::serving(1);
    let (batch, message) = pair.predict(3);
    let job = pair.job(message);
    assert_eq!(
        (job.rows, job.deadline),
        (3, pair.now + Duration::from_millis(20))
    );
    let message = pair.answer(&job);
    pair.now += Duration::from_millis(5);
    let event = pair
        .frontend
        .on_message(pair.now, message)
        .expect("a reply");
    let FrontendEvent::Reply {
        batch: id,
        result,
        round_trip,
        ..
    } = event
    else {
        panic!()
    };
    assert_eq!((id, round_trip), (batch, Duration::from_millis(5)));
    let BatchResult::Ok { columns, .. } = result else {
        panic!("ok, not {result:?}")
    };
    assert_eq!(columns[0].rows(), 3);
}

/// PROTOCOL 5.5
#[test]
fn a_reply_is_taken_once_and_only_for_a_batch_in_flight() {
    let mut pair = Pair::serving(2);
    assert_eq!(
        pair.violation(Message::Reply(reply(BatchId(9), 1))),
        "batch 9 is not in flight"
    );
    let (_, message) = pair.predict(1);
    let job = pair.job(message);
    let message = pair.answer(&job);
    pair.frontend
        .on_message(pair.now, message.clone())
        .expect("the first");
    assert_eq!(pair.violation(message), "batch 1 is not in flight");
}

/// PROTOCOL 5.6
#[test]
fn a_reply_with_other_rows_or_tensors_ends_the_session() {
    let mut pair = Pair::serving(2);
    let (batch, _) = pair.predict(2);
    assert_eq!(
        pair.violation(Message::Reply(reply(batch, 3))),
        "batch 1 has 3 rows, 2 expected"
    );
    let (batch, _) = pair.predict(2);
    let error = pair.violation(Message::Reply(reply(batch, 2)));
    assert_eq!(error, "batch 2 has other tensors than the schema");
    let (batch, _) = pair.predict(2);
    let error = |row| RowError {
        row,
        error: String::new(),
    };
    let row_errors = vec![error(1), error(1)];
    let message = Message::Reply(Reply {
        row_errors,
        ..reply(batch, 2)
    });
    assert_eq!(
        pair.violation(message),
        "row errors of batch 3 are out of order or out of range"
    );
}

/// PROTOCOL 5.4
#[test]
fn only_a_batch_that_was_cancelled_may_be_answered_so() {
    let mut pair = Pair::serving(2);
    let (first, _) = pair.predict(1);
    let cancelled = |batch| {
        Message::Reply(Reply {
            outcome: Outcome::Cancelled,
            ..reply(batch, 0)
        })
    };
    pair.frontend.cancel(pair.now, first);
    let event = pair
        .frontend
        .on_message(pair.now, cancelled(first))
        .expect("it was cancelled");
    assert!(matches!(
        event,
        FrontendEvent::Reply {
            result: BatchResult::Cancelled,
            ..
        }
    ));
    let (second, _) = pair.predict(1);
    let error = pair.violation(cancelled(second));
    assert_eq!(error, "batch 2 was answered as cancelled, but was not");
}

/// PROTOCOL 5.8
#[test]
fn no_batch_is_answered_as_expired_before_its_deadline() {
    let expired = |batch| {
        Message::Reply(Reply {
            outcome: Outcome::Expired,
            ..reply(batch, 0)
        })
    };
    let mut pair = Pair::serving(2);
    let (first, _) = pair.predict(1);
    pair.now += Duration::from_secs(1);
    let event = pair
        .frontend
        .on_message(pair.now, expired(first))
        .expect("it has expired");
    let expired_event = matches!(
        event,
        FrontendEvent::Reply {
            result: BatchResult::Expired,
            ..
        }
    );
    assert!(expired_event, "{event:?}");
    let (second, _) = pair.predict(1);
    let error = pair.violation(expired(second));
    assert_eq!(error, "batch 2 was answered as expired before its deadline");
}

/// PROTOCOL 4.1
#[test]
fn nothing_but_a_hello_opens_a_session() {
    let now = Instant::now();
    let mut session = FrontendSession::new(now, Timing::default());
    let error = session.on_message(now, Message::Heartbeat { batches_done: 0 });
    let error = error.expect_err("no hello yet").to_string();
    assert_eq!(error, "heartbeat is not allowed while a hello is awaited");
    let mut pair = Pair::serving(1);
    assert_eq!(
        pair.violation(hello(1).into()),
        "hello is not allowed while serving"
    );
}

/// PROTOCOL 4.3
#[test]
fn a_hello_out_of_bounds_is_refused_with_its_reason() {
    let check = |change: fn(&mut Hello)| {
        let mut hello = hello(1);
        change(&mut hello);
        FrontendSession::check_hello(&hello).expect_err("out of bounds")
    };
    let version = check(|hello| hello.protocol_min = 9);
    assert_eq!(version.reason, RejectReason::ProtocolVersion);
    let none = check(|hello| hello.slots = 0);
    let detail = "slots is 0, 1 to 64 allowed".into();
    assert_eq!(
        none,
        Reject {
            reason: RejectReason::BadHello,
            detail
        }
    );
    assert_eq!(
        check(|hello| hello.schema.inputs.clear()).reason,
        RejectReason::BadHello
    );
    assert_eq!(
        check(|hello| hello.max_batch = 1 << 20).reason,
        RejectReason::BadHello
    );
}

/// PROTOCOL 6.1, 6.2
#[test]
fn an_idle_peer_is_dead_after_three_seconds_of_silence() {
    let mut pair = Pair::serving(1);
    let start = pair.now;
    assert!(matches!(pair.frontend.on_timer(start), Ok(None)));
    let beat = pair.frontend.on_timer(start + limits::HEARTBEAT);
    assert!(matches!(beat, Ok(Some(Message::Heartbeat { .. }))));
    assert!(
        pair.frontend
            .on_timer(start + limits::SILENCE - Duration::from_millis(1))
            .is_ok()
    );
    let dead = pair
        .frontend
        .on_timer(start + limits::SILENCE)
        .expect_err("silent");
    assert_eq!(
        dead.to_string(),
        "nothing heard for 3000 ms, at most 3000 ms allowed"
    );
    assert!(
        pair.container.on_timer(start + limits::SILENCE).is_err(),
        "both ways"
    );
}

/// PROTOCOL 6.3
#[test]
fn a_computing_container_may_be_silent_until_it_is_stuck() {
    let mut pair = Pair::serving(1);
    let (_, message) = pair.predict(1);
    let start = pair.now;
    assert!(
        pair.frontend
            .on_timer(start + Duration::from_secs(29))
            .is_ok()
    );
    let stuck = pair
        .frontend
        .on_timer(start + Duration::from_secs(30))
        .expect_err("stuck");
    assert_eq!(stuck.to_string(), "batch 1 unanswered for 30000 ms");
    let job = pair.job(message);
    pair.now += Duration::from_secs(20);
    pair.answer(&job);
    assert!(
        pair.container.on_timer(pair.now).is_ok(),
        "it was computing, not deaf"
    );
}

/// PROTOCOL 7
#[test]
fn draining_finishes_what_is_in_flight() {
    let mut pair = Pair::serving(2);
    let (_, message) = pair.predict(1);
    let job = pair.job(message);
    let drain = pair.container.leave(pair.now, "SIGTERM");
    pair.frontend.on_message(pair.now, drain).expect("a drain");
    assert!(!pair.frontend.has_free_slot() && !pair.frontend.is_drained());
    let message = pair.answer(&job);
    pair.frontend
        .on_message(pair.now, message)
        .expect("the last reply");
    assert!(pair.frontend.is_drained());
}

proptest! {
    /// Random traffic, with the container's messages sometimes replaced by lies: the front
    /// end keeps its invariants and never takes a batch twice.
    #[test]
    fn keeps_its_invariants_against_a_liar(steps in prop::collection::vec(0..6_u8, 0..60)) {
        let mut pair = Pair::serving(3);
        let mut jobs = Vec::new();
        let mut open = 0;
        for step in steps {
            pair.now += Duration::from_millis(10);
            match step {
                0 | 1 if pair.frontend.has_free_slot() => {
                    let (_, message) = pair.predict(2);
                    jobs.push(pair.job(message));
                    open += 1;
                }
                2 if !jobs.is_empty() => {
                    let job = jobs.remove(0);
                    let message = pair.answer(&job);
                    pair.frontend.on_message(pair.now, message).expect("honest");
                    open -= 1;
                }
                3 if !jobs.is_empty() => {
                    let job = jobs.pop().expect("not empty");
                    let outcome = Outcome::Failed { error: "no".into() };
                    let message = pair.container.reply_without(pair.now, job.batch, outcome, Duration::ZERO);
                    pair.frontend.on_message(pair.now, message).expect("honest");
                    open -= 1;
                }
                4 => prop_assert!(pair.frontend.on_message(pair.now, Message::Cancel(BatchId(1))).is_err()),
                5 => prop_assert!(pair.frontend.on_message(pair.now, Message::Reply(reply(BatchId(1000), 1))).is_err()),
                _ => {}
            }
            pair.frontend.check_invariants();
            prop_assert_eq!(pair.frontend.in_flight(), open);
        }
    }
}
