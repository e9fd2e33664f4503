//! Arrivals of one run, in nanoseconds from its start.

use fastrand::Rng;

use crate::draw::{exponential, gamma, normal, uniform};

/// How queries arrive, in shares of the capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Independent, at a constant rate.
    Poisson(f64),
    /// Two rates, 3 to 1, for 200 and 800 ms on average.
    Mmpp(f64),
    /// Independent gaps with a coefficient of variation of 4.
    Gamma(f64),
    /// A wandering rate with spikes of 2 to 8 times for 0.1 to 1.5 s.
    Azure(f64),
    /// 0.7, this in the middle third, 0.7.
    Step(f64),
}

/// The loads of the grid.
pub const LOADS: [Load; 7] = [
    Load::Poisson(0.1),
    Load::Poisson(0.9),
    Load::Mmpp(0.6),
    Load::Gamma(0.7),
    Load::Azure(0.4),
    Load::Step(1.5),
    Load::Step(3.0),
];

/// Load before and after a step.
const STEP_REST: f64 = 0.7;
/// Mean seconds between spikes.
const SPIKE_GAP: f64 = 8.0;
/// Seconds between changes of the wandering rate.
const WANDER: f64 = 0.1;

impl Load {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Load::Poisson(load) => format!("poisson{load:.1}"),
            Load::Mmpp(load) => format!("mmpp{load:.1}"),
            Load::Gamma(load) => format!("gamma{load:.1}"),
            Load::Azure(load) => format!("azure{load:.1}"),
            Load::Step(load) => format!("step{load:.1}"),
        }
    }

    /// Arrivals during `seconds`, sorted.
    #[must_use]
    pub fn arrivals(self, capacity: f64, seconds: f64, seed: u64) -> Vec<u64> {
        let rng = &mut Rng::with_seed(seed);
        match self {
            Load::Gamma(load) => renewal(rng, load * capacity, seconds),
            Load::Poisson(load) => poisson(rng, &[(seconds, load * capacity)]),
            Load::Step(load) => {
                let third = seconds / 3.0;
                let (rest, step) = (STEP_REST * capacity, load * capacity);
                poisson(rng, &[(third, rest), (third, step), (third, rest)])
            }
            Load::Mmpp(load) => {
                let pieces = mmpp(rng, load * capacity, seconds);
                poisson(rng, &pieces)
            }
            Load::Azure(load) => {
                let pieces = azure(rng, load * capacity, seconds);
                poisson(rng, &pieces)
            }
        }
    }
}

/// Poisson arrivals at piecewise constant rates: pairs of seconds and rate.
fn poisson(rng: &mut Rng, pieces: &[(f64, f64)]) -> Vec<u64> {
    let (mut arrivals, mut start) = (Vec::new(), 0.0);
    for (seconds, rate) in pieces {
        let mut at = start + exponential(rng, 1.0 / rate);
        while at < start + seconds {
            arrivals.push((at * 1e9) as u64);
            at += exponential(rng, 1.0 / rate);
        }
        start += seconds;
    }
    arrivals
}

fn renewal(rng: &mut Rng, rate: f64, seconds: f64) -> Vec<u64> {
    const SHAPE: f64 = 1.0 / 16.0;
    let mut arrivals = Vec::new();
    let mut gap = || gamma(rng, SHAPE) / (SHAPE * rate);
    let mut at = gap();
    while at < seconds {
        arrivals.push((at * 1e9) as u64);
        at += gap();
    }
    arrivals
}

fn mmpp(rng: &mut Rng, rate: f64, seconds: f64) -> Vec<(f64, f64)> {
    // A fifth of the time at three times the base: 1.4 times the base on average.
    let base = rate / 1.4;
    let (mut pieces, mut at, mut high) = (Vec::new(), 0.0, false);
    while at < seconds {
        let mean = if high { 0.2 } else { 0.8 };
        let piece = exponential(rng, mean).min(seconds - at);
        pieces.push((piece, if high { 3.0 * base } else { base }));
        at += piece;
        high = !high;
    }
    pieces
}

fn azure(rng: &mut Rng, rate: f64, seconds: f64) -> Vec<(f64, f64)> {
    const PERSISTENCE: f64 = 0.95;
    const SIGMA: f64 = 0.3;
    let (mut pieces, mut at, mut state) = (Vec::new(), 0.0, SIGMA * normal(rng));
    let mut spike = Spike::after(rng, 0.0);
    while at < seconds {
        let fresh = SIGMA * (1.0 - PERSISTENCE * PERSISTENCE).sqrt() * normal(rng);
        state = PERSISTENCE * state + fresh;
        if at >= spike.end {
            spike = Spike::after(rng, at);
        }
        let factor = if at >= spike.start { spike.factor } else { 1.0 };
        pieces.push((WANDER.min(seconds - at), rate * state.exp() * factor));
        at += WANDER;
    }
    pieces
}

struct Spike {
    start: f64,
    end: f64,
    factor: f64,
}

impl Spike {
    fn after(rng: &mut Rng, at: f64) -> Spike {
        let start = at + exponential(rng, SPIKE_GAP);
        Spike {
            start,
            end: start + 0.1 + 1.4 * uniform(rng),
            factor: 2.0 + 6.0 * uniform(rng),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_as_asked_and_arrivals_sorted() {
        for load in [
            Load::Poisson(0.9),
            Load::Mmpp(0.6),
            Load::Gamma(0.7),
            Load::Step(1.5),
        ] {
            let arrivals = load.arrivals(1000.0, 300.0, 11);
            assert!(arrivals.is_sorted(), "{load:?}");
            let expected = match load {
                Load::Poisson(x) | Load::Mmpp(x) | Load::Gamma(x) | Load::Azure(x) => x,
                Load::Step(x) => (2.0 * STEP_REST + x) / 3.0,
            };
            let rate = arrivals.len() as f64 / 300.0 / 1000.0;
            assert!(
                (rate - expected).abs() < 0.06 * expected,
                "{load:?}: {rate}"
            );
        }
    }

    #[test]
    fn a_seed_gives_the_same_arrivals() {
        for load in LOADS {
            let [one, other] = [7, 7].map(|seed| load.arrivals(500.0, 5.0, seed));
            assert_eq!(one, other);
            assert_ne!(one, load.arrivals(500.0, 5.0, 8));
        }
    }
}
