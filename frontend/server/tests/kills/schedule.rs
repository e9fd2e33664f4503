//! What is done to whom, drawn from a seed.

use std::time::Duration;

use fastrand::Rng;

use crate::oracle::MODELS;

/// Containers of each model.
pub(crate) const REPLICAS: usize = 2;
/// All containers, those of one model side by side.
pub(crate) const CONTAINERS: usize = MODELS.len() * REPLICAS;
/// The front end is killed once in so many rounds.
const FRONTEND_EVERY: u64 = 5;

/// One round.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// Load before anything happens.
    pub(crate) delay: Duration,
    /// What happens.
    pub(crate) action: Action,
    /// Until those that were killed are replaced.
    pub(crate) mourning: Duration,
}

/// What happens; containers are named by their index.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// `kill -9`, of one or of all of a model.
    Kill { whom: Vec<usize> },
    /// `kill -9`, and again of the one that takes its place, as it starts or joins.
    KillTwice { whom: usize, age: Duration },
    /// SIGSTOP, then SIGCONT.
    Stop { whom: usize, time: Duration },
    /// SIGSTOP, then `kill -9`.
    StopAndKill { whom: usize, time: Duration },
    /// `kill -9` of the front end and maybe of a container; a new front end after a while.
    KillFrontend {
        with: Option<usize>,
        down: Duration,
        options: Options,
    },
}

/// How a front end and its containers run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) cores: usize,
    pub(crate) spin: bool,
}

impl Round {
    /// The same for the same seed and number, whatever came of those before.
    pub(crate) fn draw(seed: u64, number: u64) -> Round {
        let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let millis = |rng: &mut Rng, max: u64| Duration::from_micros(rng.u64(0..=1000 * max));
        let whom = rng.usize(0..CONTAINERS);
        let delay = millis(&mut rng, 200);
        let mourning = millis(&mut rng, 300);
        let action = match number % FRONTEND_EVERY {
            last if last == FRONTEND_EVERY - 1 => Action::KillFrontend {
                with: rng.bool().then_some(whom),
                down: millis(&mut rng, 300),
                options: Options::draw(&mut rng),
            },
            _ => match rng.u32(0..10) {
                0..=3 => Action::Kill { whom: vec![whom] },
                4 => {
                    let first = whom / REPLICAS * REPLICAS;
                    let whom = (first..first + REPLICAS).collect();
                    Action::Kill { whom }
                }
                5 | 6 => Action::KillTwice {
                    whom,
                    // A container joins within tens of milliseconds.
                    age: millis(&mut rng, [15, 50, 200][number as usize % 3]),
                },
                7 => Action::Stop {
                    whom,
                    time: stop(&mut rng),
                },
                _ => Action::StopAndKill {
                    whom,
                    time: stop(&mut rng),
                },
            },
        };
        Round {
            delay,
            action,
            mourning,
        }
    }
}

impl Options {
    fn draw(rng: &mut Rng) -> Options {
        Options {
            cores: rng.usize(1..=2),
            spin: rng.bool(),
        }
    }
}

/// Mostly shorter than a front end's patience with a silent container, at times longer.
fn stop(rng: &mut Rng) -> Duration {
    let max_ms = if rng.u32(0..5) == 0 { 5000 } else { 700 };
    Duration::from_micros(rng.u64(0..=1000 * max_ms))
}
