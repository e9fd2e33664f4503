use super::*;
use crate::batching::fleet::Fleet;
use crate::batching::queries::Key;
use crate::batching::queue::Queue;
use crate::replica::{ReplicaId, Terms};

const MS: u64 = 1_000_000;

/// A model of 5 ms and 1 ms a row, without noise.
#[derive(Debug)]
struct Exact;

impl LatencyModel for Exact {
    fn typical(&self, _replica: usize, size: f64) -> f64 {
        5e-3 + 1e-3 * size
    }
    fn cautious(&self, replica: usize, size: f64) -> f64 {
        self.typical(replica, size)
    }
    fn size_within(&self, _replica: usize, seconds: f64) -> f64 {
        ((seconds - 5e-3) / 1e-3 + 1e-6).max(0.0)
    }
    fn size_cap(&self) -> f64 {
        f64::INFINITY
    }
    fn affine(&self) -> (f64, f64) {
        (5e-3, 1e-3)
    }
    fn unusual(&self, replica: usize, size: f64) -> f64 {
        1.5 * self.typical(replica, size)
    }
}

/// What is decided 100 ms after the start, with these deadlines in ms from then.
fn decide(options: WindowOptions, deadlines_ms: &[u64]) -> Decision {
    decide_in_contract(options, deadlines_ms, |_| true)
}

/// The same where only some are in contract, by their deadlines.
fn decide_in_contract(
    options: WindowOptions,
    deadlines_ms: &[u64],
    in_contract: impl Fn(u64) -> bool,
) -> Decision {
    let mut window = Window::with_model(options, Exact);
    let (mut queue, mut fleet) = (Queue::default(), Fleet::default());
    fleet.add(
        ReplicaId(0),
        Terms {
            slots: 1,
            max_batch: 64,
        },
    );
    for deadline in deadlines_ms {
        let item = Item {
            deadline: At::from_nanos((100 + deadline) * MS),
            arrival: At::from_nanos((80 + deadline) * MS),
            cost: 1,
            key: Key::default(),
        };
        queue.push(0, in_contract(*deadline), item);
    }
    window.decide(&View {
        now: At::from_nanos(100 * MS),
        start: At::from_nanos(100 * MS),
        queue: &queue,
        fleet: &fleet,
        replica: 0,
        arrived_size: deadlines_ms.len() as u64,
        contracts: deadlines_ms.iter().any(|one| !in_contract(*one)),
    })
}

fn sent(decision: Decision) -> Plan {
    match decision {
        Decision::Send(plan) => plan,
        other => panic!("not sent but {other:?}"),
    }
}

#[test]
fn sends_all_that_waits_if_the_head_allows() {
    let plan = sent(decide(WindowOptions::default(), &[15, 18, 20]));
    assert_eq!(plan.size_max, 3.0);
    assert_eq!(plan.limit, Limit::Queue);
}

#[test]
fn a_tight_head_alone_makes_a_small_batch_without_pressure() {
    // A batch of 2 ends at 7; the other two end at 14.
    let plan = sent(decide(WindowOptions::default(), &[7, 18, 19, 20]));
    assert_eq!(plan.size_max, 2.0);
    assert_eq!(plan.limit, Limit::Slack);
}

#[test]
fn gives_old_heads_up_for_the_largest_feasible_window() {
    let deadlines: Vec<u64> = (0..14).map(|i| 7 + i).collect();
    match decide(WindowOptions::default(), &deadlines) {
        Decision::Shed {
            before,
            keep_last: false,
            by: ShedBy::Window,
        } => {
            // Those due at 13 or later are 8, and 8 take 13 ms.
            assert!(before > At::from_nanos(112 * MS) && before <= At::from_nanos(113 * MS));
        }
        other => panic!("{other:?}"),
    }
}

/// A batch that rows limit, not time, leaves others behind all the same.
#[test]
fn a_full_batch_takes_those_in_contract_first_if_they_would_be_late_in_the_next() {
    let options = || WindowOptions {
        rows_max: Some(4),
        ..WindowOptions::default()
    };
    // Batches of 4 end at 9 and at 18.
    let sent_first = |covered_due: u64| {
        let deadlines = [
            12,
            12,
            12,
            12,
            covered_due,
            covered_due,
            covered_due,
            covered_due,
        ];
        let decision = decide_in_contract(options(), &deadlines, |due| due == covered_due);
        sent(decision).contract_first
    };
    assert!(sent_first(14));
    assert!(!sent_first(30));
}

#[test]
fn hopeless_heads_are_shed_but_for_a_probe() {
    match decide(WindowOptions::default(), &[3, 4, 9]) {
        Decision::Shed { keep_last, by, .. } => {
            assert_eq!((keep_last, by), (false, ShedBy::Hopeless));
        }
        other => panic!("{other:?}"),
    }
    match decide(WindowOptions::default(), &[3, 4]) {
        Decision::Shed { keep_last, .. } => assert!(keep_last, "one is tried"),
        other => panic!("{other:?}"),
    }
    assert_eq!(sent(decide(WindowOptions::default(), &[3])).size_max, 1.0);
}

#[test]
fn batches_have_compiled_shapes() {
    let options = |sizes: &[usize]| WindowOptions {
        allowed_sizes: sizes.to_vec(),
        ..WindowOptions::default()
    };
    let deadlines = [40; 7];
    let plan = sent(decide(options(&[1, 2, 4, 8]), &deadlines));
    assert_eq!(
        (plan.rows_max, plan.padded_rows),
        (7, Some(8)),
        "padding is cheaper"
    );
    let plan = sent(decide(options(&[1, 6, 64]), &deadlines));
    assert_eq!(
        (plan.rows_max, plan.padded_rows),
        (6, Some(6)),
        "padding is dearer"
    );
    let plan = sent(decide(options(&[16]), &deadlines));
    assert_eq!(
        (plan.rows_max, plan.padded_rows),
        (7, Some(16)),
        "there is no other"
    );
}
