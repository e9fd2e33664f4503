//! Counts and latencies of an open-loop run. Pure: time is an argument.
//!
//! Every instant is an offset from the start of the run. A request belongs to the second of its
//! *intended* send time, and its latency runs from there to the last byte of the answer; what a
//! slow server keeps waiting therefore counts in full, also before it is sent (no coordinated
//! omission).
//!
//! # Invariants
//! - What was intended before the end of the warm-up counts nowhere but in `sent_in_all`.
//! - After [`Tally::finish`], `offered == answered + errors + not_sent + unfinished`, over the run
//!   and, but for `unfinished`, over each second.
//! - Latencies are those of `answered`: errors are not answers, however fast they are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::outcome::Outcome;

/// Longer times are recorded as this.
const TIME_US_MAX: u64 = 3_600_000_000;
/// Most names of causes, and of errors, that are told apart.
const NAMES_MAX: usize = 32;
/// The name of what is beyond them.
const NAME_OTHER: &str = "other";

/// The width of a [`Moment`].
pub const MOMENT: Duration = Duration::from_millis(10);

/// Counts by name.
pub type ByName = BTreeMap<Cow<'static, str>, u64>;

/// What is counted, and what is in time.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Load before anything is counted.
    pub warm_up: Duration,
    /// Load that is counted.
    pub duration: Duration,
    /// The latency within which a prediction is in time; `None`: no prediction is.
    pub slo: Option<Duration>,
}

/// What an open-loop run measured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Measured {
    /// Requests whose intended send time came.
    pub offered: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Complete 2xx answers: predictions and defaults.
    pub answered: u64,
    /// Predictions within the SLO.
    pub in_time: u64,
    /// Defaults, by cause.
    pub defaults: ByName,
    /// Requests without a 2xx answer, by kind: `http_503`, `connect`, `connection`, `timeout`,
    /// `too_long`.
    pub errors: ByName,
    /// Requests for which no connection became free in time.
    pub not_sent: u64,
    /// Requests that found every connection busy when their time came.
    pub waited: u64,
    /// Requests still without an answer when the run was ended early.
    pub unfinished: u64,
    /// Intended send time to last byte of the answer in microseconds, to three digits.
    pub latencies: Histogram<u64>,
    /// Intended to actual send time in microseconds, to three digits.
    pub lateness: Histogram<u64>,
    /// The same, by the second of the intended send time.
    pub seconds: Vec<Second>,
    /// Goodput by each [`MOMENT`] of the intended send time: how fast it breaks down and comes back.
    /// An hour of these takes 3 MiB.
    pub moments: Vec<Moment>,
    /// The time in which this was counted.
    pub elapsed: Duration,
    /// Requests that were sent, the warm-up's included.
    pub sent_in_all: u64,
    /// CPU time of this process over the whole run, warm-up included, without opening connections.
    pub cpu: Duration,
}

/// One second of a run; its fields are those of [`Measured`].
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "named as in `Measured`")]
pub struct Second {
    pub offered: u64,
    pub sent: u64,
    pub answered: u64,
    pub in_time: u64,
    pub defaults: u64,
    pub errors: u64,
    pub not_sent: u64,
    /// To two digits: an hour of these takes some tens of MiB.
    pub latencies: Histogram<u32>,
}

/// One [`MOMENT`] of a run; its fields are those of [`Measured`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in `Measured`")]
pub struct Moment {
    pub offered: u32,
    pub in_time: u32,
}

/// Takes the events of a run.
#[derive(Debug)]
pub struct Tally {
    window: Window,
    measured: Measured,
}

impl Tally {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self {
            window,
            measured: Measured::new(),
        }
    }

    /// The time of a request came; `waits` where no connection is free.
    pub fn offered(&mut self, intended: Duration, waits: bool) {
        if let Some(second) = self.second(intended) {
            second.offered += 1;
            self.moment(intended).offered += 1;
            self.measured.offered += 1;
            self.measured.waited += u64::from(waits);
        }
    }

    /// A request was sent at `at`.
    pub fn sent(&mut self, intended: Duration, at: Duration) {
        self.measured.sent_in_all += 1;
        if let Some(second) = self.second(intended) {
            second.sent += 1;
            self.measured.sent += 1;
            let lateness = at.saturating_sub(intended);
            self.measured.lateness.saturating_record(micros(lateness));
        }
    }

    /// No connection became free for a request.
    pub fn not_sent(&mut self, intended: Duration) {
        if let Some(second) = self.second(intended) {
            second.not_sent += 1;
            self.measured.not_sent += 1;
        }
    }

    /// A request came to `outcome` at `at`.
    pub fn done(&mut self, intended: Duration, at: Duration, outcome: Outcome) {
        let latency = at.saturating_sub(intended);
        let in_time =
            outcome == Outcome::Prediction && self.window.slo.is_some_and(|slo| latency <= slo);
        let Some(second) = self.second(intended) else {
            return;
        };
        if let Outcome::Error(kind) = outcome {
            second.errors += 1;
            return count(&mut self.measured.errors, kind);
        }
        let latency_us = micros(latency);
        second.answered += 1;
        second.in_time += u64::from(in_time);
        let recorded = second.latencies.record(latency_us);
        recorded.expect("it grows up to `TIME_US_MAX`");
        second.defaults += u64::from(outcome != Outcome::Prediction);
        self.moment(intended).in_time += u32::from(in_time);
        self.measured.answered += 1;
        self.measured.in_time += u64::from(in_time);
        self.measured.latencies.saturating_record(latency_us);
        if let Outcome::Default(cause) = outcome {
            count(&mut self.measured.defaults, cause);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn so_far(&self) -> &Measured {
        &self.measured
    }

    /// The run is over; its load ended at `at`.
    #[must_use]
    pub fn finish(mut self, at: Duration, cpu: Duration) -> Measured {
        let elapsed = at.saturating_sub(self.window.warm_up);
        let measured = &mut self.measured;
        measured.elapsed = elapsed.min(self.window.duration);
        measured.cpu = cpu;
        let ended = measured.answered + measured.errors() + measured.not_sent;
        measured.unfinished = measured.offered - ended;
        self.measured
    }

    /// The second that a request counts in; `None` in the warm-up.
    fn second(&mut self, intended: Duration) -> Option<&mut Second> {
        let index = intended.checked_sub(self.window.warm_up)?.as_secs() as usize;
        let seconds = &mut self.measured.seconds;
        while seconds.len() <= index {
            seconds.push(Second::new());
        }
        Some(&mut seconds[index])
    }

    /// The moment that a request counts in; it was intended after the warm-up.
    fn moment(&mut self, intended: Duration) -> &mut Moment {
        let since = intended.saturating_sub(self.window.warm_up);
        let index = (since.as_nanos() / MOMENT.as_nanos()) as usize;
        let moments = &mut self.measured.moments;
        if moments.len() <= index {
            moments.resize(index + 1, Moment::default());
        }
        &mut moments[index]
    }
}

impl Measured {
    fn new() -> Self {
        let times = || Histogram::new_with_bounds(1, TIME_US_MAX, 3).expect("valid bounds");
        Self {
            offered: 0,
            sent: 0,
            answered: 0,
            in_time: 0,
            defaults: ByName::new(),
            errors: ByName::new(),
            not_sent: 0,
            waited: 0,
            unfinished: 0,
            latencies: times(),
            lateness: times(),
            seconds: Vec::new(),
            moments: Vec::new(),
            elapsed: Duration::ZERO,
            sent_in_all: 0,
            cpu: Duration::ZERO,
        }
    }

    /// Requests without a 2xx answer, of whatever kind.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Whether the p99 over everything offered is within the SLO, where what is no prediction
    /// counts as never answered; `false` if nothing was offered.
    #[must_use]
    pub fn p99_holds(&self) -> bool {
        self.offered > 0 && (self.offered - self.in_time) * 100 <= self.offered
    }

    /// What a request cost this process; `None` if none was sent.
    #[must_use]
    pub fn cpu_us_per_request(&self) -> Option<f64> {
        (self.sent_in_all > 0).then(|| self.cpu.as_secs_f64() * 1e6 / self.sent_in_all as f64)
    }
}

impl Second {
    fn new() -> Self {
        Self {
            offered: 0,
            sent: 0,
            answered: 0,
            in_time: 0,
            defaults: 0,
            errors: 0,
            not_sent: 0,
            latencies: Histogram::new(2).expect("two digits"),
        }
    }
}

fn micros(time: Duration) -> u64 {
    (time.as_micros() as u64).min(TIME_US_MAX)
}

fn count(counts: &mut ByName, name: Cow<'static, str>) {
    let is_known = counts.len() < NAMES_MAX || counts.contains_key(&name);
    let name = if is_known { name } else { NAME_OTHER.into() };
    *counts.entry(name).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn tally() -> Tally {
        Tally::new(Window {
            warm_up: 1000 * MS,
            duration: 2000 * MS,
            slo: Some(20 * MS),
        })
    }

    fn exchange(tally: &mut Tally, intended: Duration, took: Duration, outcome: Outcome) {
        tally.offered(intended, false);
        tally.sent(intended, intended + took / 2);
        tally.done(intended, intended + took, outcome);
    }

    #[test]
    fn latency_runs_from_the_intended_send_time() {
        let mut tally = tally();
        tally.offered(1500 * MS, true);
        tally.sent(1500 * MS, 1600 * MS);
        tally.done(1500 * MS, 1601 * MS, Outcome::Prediction);
        let measured = tally.finish(3000 * MS, Duration::ZERO);
        assert!(
            measured
                .latencies
                .equivalent(measured.latencies.max(), 101_000)
        );
        assert!(
            measured
                .lateness
                .equivalent(measured.lateness.max(), 100_000)
        );
        assert_eq!(
            (measured.answered, measured.in_time, measured.waited),
            (1, 0, 1)
        );
    }

    #[test]
    fn only_predictions_within_the_slo_are_in_time() {
        let mut tally = tally();
        for (took, outcome) in [
            (20 * MS, Outcome::Prediction),
            (20 * MS + MS / 1000, Outcome::Prediction),
            (MS, Outcome::Default("shed".into())),
            (MS, Outcome::Error("http_503".into())),
        ] {
            exchange(&mut tally, 1000 * MS, took, outcome);
        }
        let measured = tally.finish(3000 * MS, Duration::ZERO);
        assert_eq!(
            (measured.offered, measured.answered, measured.in_time),
            (4, 3, 1)
        );
        assert_eq!(
            (measured.defaults["shed"], measured.errors["http_503"]),
            (1, 1)
        );
        assert_eq!(measured.latencies.len(), 3, "an error is no answer");
        assert!(!measured.p99_holds());
    }

    #[test]
    fn the_warm_up_counts_nowhere_but_in_the_cost() {
        let mut tally = tally();
        exchange(&mut tally, 999 * MS, MS, Outcome::Prediction);
        exchange(&mut tally, 1000 * MS, MS, Outcome::Prediction);
        tally.offered(500 * MS, true);
        tally.not_sent(500 * MS);
        let measured = tally.finish(3000 * MS, 30 * MS);
        assert_eq!(
            (measured.offered, measured.sent, measured.sent_in_all),
            (1, 1, 2)
        );
        assert_eq!((measured.waited, measured.not_sent), (0, 0));
        assert_eq!(measured.cpu_us_per_request(), Some(15_000.0));
    }

    #[test]
    fn a_request_belongs_to_the_second_of_its_intended_send_time() {
        let mut tally = tally();
        exchange(&mut tally, 1999 * MS, 5 * MS, Outcome::Prediction);
        exchange(
            &mut tally,
            2500 * MS,
            1000 * MS,
            Outcome::Default("shed".into()),
        );
        tally.offered(2600 * MS, true);
        tally.not_sent(2600 * MS);
        exchange(&mut tally, 2700 * MS, MS, Outcome::Error("timeout".into()));
        let measured = tally.finish(3000 * MS, Duration::ZERO);
        let row = |s: &Second| {
            (
                s.offered, s.sent, s.answered, s.in_time, s.defaults, s.errors,
            )
        };
        let rows: Vec<_> = measured.seconds.iter().map(row).collect();
        assert_eq!(rows, [(1, 1, 1, 1, 0, 0), (3, 2, 1, 0, 1, 1)]);
        assert_eq!(measured.seconds[1].not_sent, 1);
        let longest = measured.seconds.iter().map(|second| second.latencies.max());
        let longest: Vec<_> = longest.collect();
        let close = |us: u64, expected: u64| us >= expected && us < expected + expected / 64;
        assert!(
            close(longest[0], 5_000) && close(longest[1], 1_000_000),
            "{longest:?}"
        );
    }

    #[test]
    fn a_request_belongs_to_the_moment_of_its_intended_send_time() {
        let mut tally = tally();
        exchange(&mut tally, 999 * MS, MS, Outcome::Prediction);
        exchange(&mut tally, 1009 * MS, MS, Outcome::Prediction);
        exchange(&mut tally, 1009 * MS, 21 * MS, Outcome::Prediction);
        exchange(&mut tally, 1020 * MS, MS, Outcome::Default("shed".into()));
        let moment = |offered, in_time| Moment { offered, in_time };
        let expected = [moment(2, 1), moment(0, 0), moment(1, 0)];
        assert_eq!(tally.so_far().moments, expected);
    }

    #[test]
    fn what_has_no_end_is_unfinished() {
        let mut tally = tally();
        for n in 0..3 {
            tally.offered(1500 * MS + n * MS, false);
            tally.sent(1500 * MS + n * MS, 1510 * MS);
        }
        tally.done(1500 * MS, 1511 * MS, Outcome::Prediction);
        let measured = tally.finish(1600 * MS, Duration::ZERO);
        assert_eq!(measured.unfinished, 2);
        assert_eq!(measured.elapsed, 600 * MS);
    }

    #[test]
    fn the_p99_holds_where_99_of_100_are_in_time() {
        let mut tally = tally();
        assert!(!tally.so_far().p99_holds());
        for n in 0..100 {
            let took = if n == 0 { 50 * MS } else { MS };
            exchange(&mut tally, 1500 * MS, took, Outcome::Prediction);
        }
        assert!(tally.so_far().p99_holds());
        tally.offered(1600 * MS, true);
        tally.not_sent(1600 * MS);
        assert!(!tally.so_far().p99_holds());
    }

    #[test]
    fn an_endless_latency_is_recorded_as_the_longest() {
        let mut tally = tally();
        exchange(&mut tally, 1500 * MS, 10_000_000 * MS, Outcome::Prediction);
        let measured = tally.so_far();
        assert!(measured.latencies.max() >= TIME_US_MAX);
        assert!(measured.seconds[0].latencies.max() >= TIME_US_MAX);
    }

    #[test]
    fn names_are_bounded() {
        let mut tally = tally();
        for n in 0..100 {
            let cause = format!("cause {n}").into();
            exchange(&mut tally, 1500 * MS, MS, Outcome::Default(cause));
        }
        let defaults = &tally.so_far().defaults;
        assert_eq!(defaults.len(), NAMES_MAX + 1);
        assert_eq!(defaults[NAME_OTHER], 100 - NAMES_MAX as u64);
    }
}
