//! Rates of events: since the beginning, and as moving averages over 1, 5 and 15 minutes.
//!
//! The averages are those of codahale's metrics library, which Clipper has: every 5 s the rate of
//! those 5 s is mixed in with a weight of `1 - exp(-5 s / period)`; the first one is taken whole.
//! Where several ticks have passed at once, the events count as spread evenly over them.

use std::time::{Duration, Instant};

/// From one tick to the next.
pub(super) const TICK: Duration = Duration::from_secs(5);
/// What the averages are over.
const PERIODS: [Duration; 3] = [
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
];
/// What a rate is before the first tick.
const UNKNOWN: f64 = -1.0;

/// A meter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    started: Instant,
    ticked: Instant,
    /// Events of all time.
    count: u64,
    /// Of them, those since the last tick.
    since_tick: u64,
    rates: Option<[f64; 3]>,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Meter {
        Meter {
            started: now,
            ticked: now,
            count: 0,
            since_tick: 0,
            rates: None,
        }
    }

    /// Counts events.
    pub(super) fn mark(&mut self, events: u64) {
        self.count += events;
        self.since_tick += events;
    }

    /// Makes up for the ticks until `now`.
    pub(super) fn tick(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.ticked);
        let ticks = (passed.as_nanos() / TICK.as_nanos()) as f64;
        if ticks < 1.0 {
            return;
        }
        let whole = TICK.mul_f64(ticks);
        let rate = self.since_tick as f64 / whole.as_secs_f64();
        let mixed = |index: usize| match self.rates {
            None => rate,
            Some(rates) => {
                // The weight of what was before, after as many ticks at one rate.
                let kept = (-whole.as_secs_f64() / PERIODS[index].as_secs_f64()).exp();
                rate + kept * (rates[index] - rate)
            }
        };
        self.rates = Some([mixed(0), mixed(1), mixed(2)]);
        self.ticked += whole;
        self.since_tick = 0;
    }

    /// Events a second since the beginning.
    pub(super) fn mean(&self, now: Instant) -> f64 {
        let seconds = now.saturating_duration_since(self.started).as_secs_f64();
        if seconds > 0.0 {
            self.count as f64 / seconds
        } else {
            0.0
        }
    }

    /// Events a second over 1, 5 and 15 minutes; -1 before the first tick.
    pub(super) fn rates(&self) -> [f64; 3] {
        self.rates.unwrap_or([UNKNOWN; 3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_unknown_before_the_first_tick() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        assert_eq!(meter.mean(start), 0.0);
        meter.mark(8);
        let before = start + Duration::from_millis(4_999);
        meter.tick(before);
        assert_eq!(meter.rates(), [-1.0; 3]);
        assert_eq!(meter.mean(start + Duration::from_secs(4)), 2.0);
        meter.tick(start + TICK);
        assert_eq!(meter.rates(), [1.6; 3]);
    }

    /// Codahale's own check: 3 events in the first 5 s, none after, for a minute.
    #[test]
    fn averages_decay_as_codahales_do() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.mark(3);
        (1..=13).for_each(|tick| meter.tick(start + TICK * tick));
        let expected = [0.220_727_66, 0.491_238_45, 0.561_304_19];
        for (rate, expected) in meter.rates().into_iter().zip(expected) {
            assert!((rate - expected).abs() < 1e-7, "{rate} is not {expected}");
        }
    }

    #[test]
    fn late_ticks_count_as_if_they_had_been_in_time() {
        let start = Instant::now();
        let mut meters = [Meter::new(start), Meter::new(start)];
        meters.iter_mut().for_each(|meter| meter.mark(50));
        meters.iter_mut().for_each(|meter| meter.tick(start + TICK));
        for tick in 2..=4 {
            meters[0].mark(10);
            meters[0].tick(start + TICK * tick);
        }
        meters[1].mark(30);
        let late = Duration::from_secs(3);
        meters[1].tick(start + TICK * 4 + late);
        for (one, other) in meters[0].rates().into_iter().zip(meters[1].rates()) {
            assert!((one - other).abs() < 1e-12, "{one} is not {other}");
        }
        meters[1].mark(5);
        meters[1].tick(start + TICK * 5);
        assert_eq!(meters[1].since_tick, 0, "what is left of a tick is kept");
    }
}
