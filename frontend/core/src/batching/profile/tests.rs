use super::*;
use crate::batching::time::At;

fn done(replica: usize, rows: usize, latency: f64) -> Done {
    Done {
        now: At::default(),
        replica,
        rows,
        size: rows as f64,
        latency,
        late_rows: 0,
        bound: false,
        objective: 0.02,
    }
}

fn profile(replicas: usize) -> Profile {
    let mut profile = Profile::new(0.009);
    (0..replicas).for_each(|replica| profile.replica_joined(replica));
    profile
}

/// Sizes from 1 to 64, over and over.
fn feed(profile: &mut Profile, replica: usize, batches: usize, seconds: impl Fn(f64) -> f64) {
    for batch in 0..batches {
        let rows = 1 << (batch % 7);
        profile.learn(&done(replica, rows, seconds(rows as f64)));
    }
}

fn near(value: f64, expected: f64, relative: f64) -> bool {
    (value / expected - 1.0).abs() < relative
}

#[test]
fn learns_shape_and_size() {
    let mut profile = profile(1);
    feed(&mut profile, 0, 200, |rows| 5e-3 + 1e-3 * rows);
    for rows in [1.0, 10.0, 60.0] {
        assert!(near(profile.typical(0, rows), 5e-3 + 1e-3 * rows, 0.05));
    }
    let size = profile.size_within(0, 0.020);
    assert!(near(profile.cautious(0, size), 0.020, 1e-9));
    assert_eq!(profile.size_within(0, 0.001), 0.0);
}

#[test]
fn doubles_the_size_at_most_with_each_batch() {
    let mut profile = profile(1);
    assert_eq!(profile.size_cap(), 1.0);
    profile.learn(&done(0, 1, 1e-3));
    assert_eq!(profile.size_cap(), 2.0);
    profile.learn(&done(0, 2, 1e-3));
    assert_eq!(profile.size_cap(), 4.0);
}

#[test]
fn a_slow_replica_is_told_from_a_slow_model() {
    let mut profile = profile(2);
    for _ in 0..40 {
        feed(&mut profile, 0, 7, |rows| 1e-3 + 1e-4 * rows);
        feed(&mut profile, 1, 7, |rows| 2e-3 + 2e-4 * rows);
    }
    assert!(near(profile.slowness(1) / profile.slowness(0), 2.0, 0.1));
    assert!(near(profile.typical(1, 32.0), 2e-3 + 64e-4, 0.1));
}

#[test]
fn follows_a_change_of_speed_within_ten_batches() {
    let mut profile = profile(1);
    feed(&mut profile, 0, 200, |rows| 1e-3 + 1e-4 * rows);
    feed(&mut profile, 0, 10, |rows| 1.6e-3 + 1.6e-4 * rows);
    assert!(near(profile.typical(0, 32.0), 1.6 * 4.2e-3, 0.15));
}

#[test]
fn a_straggler_teaches_nothing_unless_it_is_the_rule() {
    let mut profile = profile(1);
    feed(&mut profile, 0, 200, |_| 1e-3);
    let before = profile.typical(0, 8.0);
    profile.learn(&done(0, 8, 1e-2));
    assert_eq!(profile.typical(0, 8.0), before);
    (0..30).for_each(|_| profile.learn(&done(0, 8, 1e-2)));
    assert!(near(profile.typical(0, 8.0), 1e-2, 0.2));
}

#[test]
fn late_batches_widen_the_margin() {
    let mut profile = profile(1);
    for batch in 0..400 {
        let noise = 1.0 + 0.3 * f64::from(batch % 10) / 10.0;
        profile.learn(&done(0, 8, 1e-3 * noise));
    }
    let before = profile.quantile();
    for _ in 0..100 {
        let late = Done {
            late_rows: 2,
            bound: true,
            ..done(0, 8, 1.1e-3)
        };
        profile.learn(&late);
    }
    assert!(profile.quantile() > before && profile.margin() > 1.0);
}

/// Sizes out of use keep what was learned of them; a few minutes of low load once cost the
/// slope).
#[test]
fn quiet_minutes_keep_the_slope() {
    let mut profile = profile(1);
    feed(&mut profile, 0, 200, |rows| 1e-3 + 1e-4 * rows);
    for batch in 0..20_000 {
        let noise = 1.0 + 0.1 * f64::from(batch % 11 - 5) / 5.0;
        profile.learn(&done(0, 1, 1.1e-3 * noise));
    }
    assert!(near(profile.typical(0, 64.0), 7.4e-3, 0.1));
}

/// The mean of such latencies is twice their median. Speed and shape once followed one each, and
/// drifted apart for ever.
#[test]
fn spikes_do_not_part_the_speed_from_the_shape() {
    let mut profile = profile(1);
    let mut rng = 1_u64;
    for _ in 0..50_000 {
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let share = (rng >> 33) as f64 / f64::from(1_u32 << 31);
        let latency = if share < 0.3 { 7e-4 } else { 2e-4 };
        profile.learn(&done(0, 1, latency));
    }
    assert!(
        near(profile.slowness(0), 1.0, 0.5),
        "{}",
        profile.slowness(0)
    );
    assert!((2e-4..4e-4).contains(&profile.typical(0, 1.0)));
    let learned = profile.learned().expect("it learns");
    assert!((2e-4..4e-4).contains(&(learned.alpha + learned.beta)));
}

#[test]
fn a_replica_that_left_counts_no_more_and_what_all_shared_is_kept() {
    let mut profile = profile(2);
    for _ in 0..40 {
        feed(&mut profile, 0, 7, |rows| 1e-3 + 1e-4 * rows);
        feed(&mut profile, 1, 7, |rows| 4e-3 + 4e-4 * rows);
    }
    profile.replica_left(1);
    assert!(
        near(profile.affine().0, 1e-3, 0.15),
        "{:?}",
        profile.affine()
    );
    profile.replica_joined(1);
    assert!(near(profile.typical(1, 16.0), 2.6e-3, 0.15));
    profile.replica_left(0);
    profile.replica_left(1);
    profile.replica_joined(0);
    assert!(near(profile.typical(0, 16.0), 2.6e-3, 0.15));
    let learned = Profile::new(0.009).learned().expect("it learns");
    assert!(learned.alpha.is_sign_positive() && learned.beta.is_sign_positive());
}
