use super::*;
use crate::batching::Curve;

/// 5 + b ms on replicas of these slownesses, without a margin.
fn learned(slowness: &[f64], rate: f64) -> Learned {
    let average = slowness.iter().sum::<f64>() / slowness.len() as f64;
    Learned {
        alpha: 0.005 * average,
        beta: 0.001 * average,
        curve: Curve::affine(0.005, 0.001),
        margin: 1.0,
        mean_ratio: 1.0,
        quantile: 0.9,
        patience: 0.0,
        seen: 64.0,
        rate,
        slowness: slowness.to_vec(),
        residuals: Vec::new(),
    }
}

fn situation(learned: &Learned) -> Situation<'_> {
    Situation {
        learned,
        replicas: learned.slowness.clone(),
        rows_max: 64,
        size_max: None,
        allowed_sizes: Vec::new(),
        cost_mean: 1.0,
        objective: 0.020_000_1,
    }
}

fn close(found: Capacity, rate: f64, rows: usize) {
    assert!((found.rate - rate).abs() < 1e-6 * rate, "{found:?}");
    assert_eq!(found.rows, rows);
}

#[test]
fn the_largest_batch_for_which_two_fit_is_what_one_replica_bears() {
    // 2 (5 + 5) ms = 20 ms.
    let known = learned(&[1.0], 0.0);
    let now = situation(&known);
    close(now.capacity(), 5.0 / 0.010, 5);
    close(now.with_objective(10.0).capacity(), 64.0 / 0.069, 64);
    assert_eq!(now.with_objective(0.011).capacity(), Capacity::default());
    assert_eq!(now.with_replicas(0).capacity(), Capacity::default());
}

#[test]
fn replicas_add_up_and_shorten_the_wait() {
    // 1.25 (5 + 11) ms = 20 ms.
    let known = learned(&[1.0; 4], 0.0);
    close(situation(&known).capacity(), 4.0 * 11.0 / 0.016, 11);
    // One of them takes twice as long: 2 (5 + 3) ms = 16 ms.
    let known = learned(&[1.0, 1.0, 1.0, 2.0], 0.0);
    close(
        situation(&known).capacity(),
        3.0 * 11.0 / 0.016 + 3.0 / 0.016,
        11,
    );
}

#[test]
fn a_margin_makes_batches_smaller_and_noise_makes_them_rarer() {
    let mut known = learned(&[1.0], 0.0);
    (known.margin, known.mean_ratio) = (1.25, 1.05);
    close(situation(&known).capacity(), 3.0 / 0.0084, 3);
}

#[test]
fn queries_of_more_than_a_row_are_fewer() {
    let known = learned(&[1.0], 0.0);
    let mut now = situation(&known);
    // 10 ms hold 5 units, which are two queries of 2.5.
    now.cost_mean = 2.5;
    close(now.capacity(), 2.0 / 0.010, 2);
}

#[test]
fn sizes_are_those_that_are_allowed() {
    let known = learned(&[1.0; 4], 0.0);
    let mut now = situation(&known);
    now.allowed_sizes = vec![1, 8, 32];
    close(now.capacity(), 4.0 * 8.0 / 0.013, 8);
    now.allowed_sizes = vec![32];
    assert_eq!(now.capacity(), Capacity::default());
}

#[test]
fn names_what_binds() {
    let known = learned(&[1.0; 4], 0.0);
    let binding = |change: &dyn Fn(&mut Situation<'_>)| {
        let mut now = situation(&known);
        change(&mut now);
        now.advice(0.0).binding
    };
    assert_eq!(binding(&|_| {}), Binding::Objective);
    assert_eq!(binding(&|now| now.objective = 0.001), Binding::Objective);
    assert_eq!(binding(&|now| now.rows_max = 4), Binding::Container);
    assert_eq!(binding(&|now| now.size_max = Some(4)), Binding::Operator);
    assert_eq!(
        binding(&|now| now.allowed_sizes = vec![2]),
        Binding::AllowedSizes
    );
    assert_eq!(binding(&|now| now.objective = 10.0), Binding::Replicas);
}

#[test]
fn what_it_needs_bears_the_arrivals() {
    let known = learned(&[1.0; 2], 2_000.0);
    let now = situation(&known);
    let advice = now.advice(2_000.0);
    let borne = |one: Situation<'_>| SAFE_SHARE * one.capacity().rate;
    let count = advice.replicas_needed.expect("some number bears it");
    assert!(borne(now.with_replicas(count)) >= 2_000.0);
    assert!(borne(now.with_replicas(count - 1)) < 2_000.0);
    // Two replicas bear at most 2,000 a second: no objective is long enough.
    assert_eq!(advice.objective_needed, None);
    let objective = now
        .advice(1_500.0)
        .objective_needed
        .expect("one is long enough");
    assert!(borne(now.with_objective(objective)) >= 1_500.0);
    assert!(borne(now.with_objective(0.98 * objective)) < 1_500.0);
}

#[test]
fn headroom_is_what_a_rate_leaves() {
    let bears = Capacity {
        rate: 200.0,
        rows: 4,
    };
    assert_eq!(Capacity::default().headroom(50.0), None);
    assert_eq!(
        (bears.headroom(50.0), bears.headroom(300.0)),
        (Some(0.75), Some(-0.5))
    );
}
