use super::*;

const RATE: f64 = 1000.0;

fn arrivals(gaps: Gaps, rate: &Rate, seed: u64) -> Arrivals {
    Arrivals::new(gaps, rate, seed).expect("valid")
}

/// The first `count` gaps in seconds.
fn gaps(process: Arrivals, count: usize) -> Vec<f64> {
    let mut before = 0.0;
    let gap = |at: Duration| {
        let gap = at.as_secs_f64() - before;
        before = at.as_secs_f64();
        gap
    };
    process.take(count).map(gap).collect()
}

fn mean_and_cv(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, square.sqrt() / mean)
}

/// Arrivals in each whole window of `window` before `end`.
fn counts(process: Arrivals, window: Duration, end: Duration) -> Vec<f64> {
    let mut counts = vec![0.0; (end.as_secs_f64() / window.as_secs_f64()) as usize];
    for at in process.take_while(|at| *at < end) {
        let index = (at.as_secs_f64() / window.as_secs_f64()) as usize;
        if let Some(count) = counts.get_mut(index) {
            *count += 1.0;
        }
    }
    counts
}

/// Variance over mean of the counts; 1 for Poisson.
fn dispersion(counts: &[f64]) -> f64 {
    let (mean, cv) = mean_and_cv(counts);
    cv * cv * mean
}

fn close(value: f64, expected: f64, share: f64) {
    let off = (value / expected - 1.0).abs();
    assert!(off <= share, "{value} is not {expected}");
}

fn bursts() -> Rate {
    Rate::Bursts(Bursts {
        rate_mean: RATE,
        ratio: 3.0,
        burst_mean: Duration::from_millis(200),
        calm_mean: Duration::from_millis(800),
    })
}

#[test]
fn gaps_have_the_mean_and_the_variation_asked_for() {
    for (kind, cv) in [
        (Gaps::Constant, 0.0),
        (Gaps::Exponential, 1.0),
        (Gaps::Gamma { cv: 0.5 }, 0.5),
        (Gaps::Gamma { cv: 1.0 }, 1.0),
        (Gaps::Gamma { cv: 4.0 }, 4.0),
    ] {
        let process = arrivals(kind, &Rate::Constant(RATE), 7);
        let (mean, found) = mean_and_cv(&gaps(process, 400_000));
        close(mean, 1.0 / RATE, 0.03);
        assert!(
            (found - cv).abs() <= 0.05 * cv.max(0.01),
            "{kind:?} {found}"
        );
    }
}

#[test]
fn poisson_counts_are_as_dispersed_as_poisson_and_gamma_of_cv_4_sixteen_times() {
    let (window, end) = (Duration::from_secs(1), Duration::from_secs(2_000));
    for (kind, expected) in [(Gaps::Exponential, 1.0), (Gaps::Gamma { cv: 4.0 }, 16.0)] {
        let process = arrivals(kind, &Rate::Constant(200.0), 3);
        close(dispersion(&counts(process, window, end)), expected, 0.2);
    }
}

#[test]
fn bursts_keep_the_mean_rate_and_come_in_bursts() {
    let (window, end) = (Duration::from_millis(50), Duration::from_secs(1_000));
    let counts = counts(arrivals(Gaps::Exponential, &bursts(), 5), window, end);
    close(counts.iter().sum::<f64>() / end.as_secs_f64(), RATE, 0.03);
    let found = dispersion(&counts);
    // Rates 2143 and 714, 20 % of the time in the first: the variance of the rate is 326,531; in
    // windows of 50 ms, with a relaxation time of 160 ms, 0.91 of it shows.
    close(found, 1.0 + 0.05 * 326_531.0 * 0.91 / RATE, 0.1);
    // A fifth of the windows lies in bursts: twice the mean is common there, and rare elsewhere.
    let high = counts.iter().filter(|&&count| count > 75.0).count() as f64;
    close(high / counts.len() as f64, 0.2, 0.15);
}

#[test]
fn steps_hold_their_rates_and_then_end() {
    let step = |rate, time| Step {
        rate,
        time: Duration::from_secs(time),
    };
    let rate = Rate::Steps(vec![step(1000.0, 20), step(3000.0, 10), step(500.0, 20)]);
    let process = arrivals(Gaps::Exponential, &rate, 11);
    let all: Vec<_> = process.collect();
    let within = |from: u64, to: u64| {
        let range = Duration::from_secs(from)..Duration::from_secs(to);
        all.iter().filter(|&at| range.contains(at)).count() as f64
    };
    close(within(0, 20), 20_000.0, 0.03);
    close(within(20, 30), 30_000.0, 0.03);
    close(within(30, 50), 10_000.0, 0.04);
    assert!(*all.last().expect("some") <= Duration::from_secs(50));
}

#[test]
fn constant_gaps_cross_a_step_without_a_jump() {
    let step = |rate| Step {
        rate,
        time: Duration::from_secs(1),
    };
    let process = arrivals(Gaps::Constant, &Rate::Steps(vec![step(2.0), step(4.0)]), 0);
    let ms: Vec<_> = process.map(|at| at.as_millis()).collect();
    assert_eq!(ms, [500, 1000, 1250, 1500, 1750, 2000]);
}

#[test]
fn a_seed_gives_the_same_instants_again_and_another_seed_others() {
    for rate in [Rate::Constant(RATE), bursts()] {
        for kind in [Gaps::Exponential, Gaps::Gamma { cv: 2.0 }] {
            let take = |seed| -> Vec<_> { arrivals(kind, &rate, seed).take(1000).collect() };
            assert_eq!(take(1), take(1));
            assert_ne!(take(1), take(2));
        }
    }
}

#[test]
fn instants_never_go_back() {
    for kind in [Gaps::Constant, Gaps::Exponential, Gaps::Gamma { cv: 20.0 }] {
        let all: Vec<_> = arrivals(kind, &bursts(), 9).take(20_000).collect();
        assert!(all.is_sorted());
    }
}

#[test]
fn numbers_out_of_bounds_are_refused() {
    let made = |gaps, rate| Arrivals::new(gaps, &rate, 0).map(drop);
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 2e6] {
        let error = made(Gaps::Exponential, Rate::Constant(rate)).expect_err("no rate");
        assert!(matches!(error, ArrivalsError::Rate(_)), "{rate}");
    }
    for cv in [0.0, -1.0, f64::NAN, 21.0] {
        let error = made(Gaps::Gamma { cv }, Rate::Constant(1.0)).expect_err("no CV");
        assert!(matches!(error, ArrivalsError::Cv(_)), "{cv}");
    }
    let Rate::Bursts(good) = bursts() else {
        unreachable!("made as bursts")
    };
    for bad in [
        Bursts { ratio: 1.0, ..good },
        Bursts {
            burst_mean: Duration::ZERO,
            ..good
        },
    ] {
        let error = made(Gaps::Exponential, Rate::Bursts(bad)).expect_err("no bursts");
        assert!(matches!(error, ArrivalsError::Bursts(_)));
    }
    assert_eq!(
        made(Gaps::Exponential, Rate::Steps(vec![])),
        Err(ArrivalsError::Steps)
    );
}

#[test]
fn a_trace_counts_from_its_first_timestamp() {
    let trace = Trace::parse(
        "# when\n\n10.5\n11\n11\n 11500ms \n12s\n",
        TraceUnit::Seconds,
    );
    let trace = trace.expect("valid");
    assert_eq!(trace.length(), Duration::from_millis(1500));
    let ms: Vec<_> = trace.arrivals().map(|at| at.as_millis()).collect();
    assert_eq!(ms, [0, 500, 500, 1000, 1500]);
    let trace = Trace::parse("0\n250\r\n1e3", TraceUnit::Milliseconds).expect("valid");
    let ms: Vec<_> = trace.arrivals().map(|at| at.as_millis()).collect();
    assert_eq!(ms, [0, 250, 1000]);
    close(trace.rate_mean(), 3.0, 1e-9);
}

#[test]
fn a_wrong_line_of_a_trace_is_named_by_its_number() {
    for (text, says) in [
        ("0\n# more\nx1\n", "line 3: 'x1' is not a timestamp"),
        ("0\nNaN", "line 2: 'NaN' is not a timestamp"),
        ("1,2", "line 1: '1,2' is not a timestamp"),
        (
            "1\n3\n2.5\n",
            "line 3: '2.5' is before the timestamp above it",
        ),
        ("0\n700000", "line 2: '700000' is more than a week"),
        ("\n# nothing\n", "no timestamp"),
    ] {
        let error = Trace::parse(text, TraceUnit::Seconds).expect_err("wrong");
        let error = error.to_string();
        assert!(error.starts_with(says) && !error.contains('\n'), "{error}");
    }
}
