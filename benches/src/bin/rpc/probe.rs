//! Which cores, and how far apart they are at this moment.
//!
//! A host moves virtual processors about: the same two cores exchange a cache line in 110 ns
//! now and in 530 ns a minute later. So each burst is recorded with a probe taken just before
//! it, and bursts are compared only if their probes agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::harness::interrupted;

/// Round trips between two looks at the clock.
const GROUP: u64 = 8;
/// Groups of a probe, which takes about half a millisecond.
const GROUPS: u64 = 256;
/// Probes that agree differ by no more than this factor.
const AGREEMENT: f64 = 1.2;

/// Where the two sides run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) front: usize,
    /// `None` on a machine with one core, which both sides share.
    pub(crate) peer: Option<usize>,
    allowed: CpuSet,
}

impl Cores {
    /// The first two that this process may use.
    ///
    /// # Errors
    /// If the system does not tell.
    pub(crate) fn choose() -> Result<Cores> {
        let allowed = sched_getaffinity(None).context("cannot read the affinity")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let front = cores.next().context("no core")?;
        Ok(Cores {
            front,
            peer: cores.next(),
            allowed,
        })
    }

    /// Lets this thread run wherever it might before it was pinned.
    ///
    /// # Errors
    /// If it may no longer.
    pub(crate) fn unpin(&self) -> Result<()> {
        sched_setaffinity(None, &self.allowed).context("cannot leave the core")
    }
}

/// Keeps this thread, and those that it will start, on `core`.
///
/// # Errors
/// If it may not run there.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on core {core}"))
}

/// Whether two bursts ran at the same distance; so they do where there is but one core.
pub(crate) fn agree(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.max(other) <= AGREEMENT * one.min(other),
        _ => true,
    }
}

/// A line that two cores pass back and forth: odd from the front side, even from the other.
#[repr(align(128))]
struct Line(AtomicU64);

struct Shared {
    line: Line,
    end: AtomicBool,
}

/// A thread on the peer's core that sleeps between probes.
pub(crate) struct Probe {
    shared: Arc<Shared>,
    echo: Option<JoinHandle<()>>,
    turn: u64,
}

impl Probe {
    /// Starts the thread on `core`.
    pub(crate) fn start(core: usize) -> Probe {
        let shared = Arc::new(Shared {
            line: Line(AtomicU64::new(0)),
            end: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let echo = std::thread::spawn(move || {
            // Without its core it still answers; the probe then shows no sensible figure.
            drop(pin(core));
            echo(&theirs);
        });
        Probe {
            shared,
            echo: Some(echo),
            turn: 0,
        }
    }

    /// Nanoseconds of a round trip of one cache line, the median of many.
    pub(crate) fn measure_ns(&mut self) -> f64 {
        // The first one before waking the echo, which parks again if it finds nothing.
        let line = &self.shared.line.0;
        line.store(self.turn + 1, Ordering::Relaxed);
        if let Some(echo) = &self.echo {
            echo.thread().unpark();
        }
        self.wait();
        let mut groups: Vec<f64> = (0..GROUPS)
            .map(|_| {
                let begin = Instant::now();
                self.round_trips(GROUP);
                begin.elapsed().as_nanos() as f64 / GROUP as f64
            })
            .collect();
        groups.sort_by(f64::total_cmp);
        groups[groups.len() / 2]
    }

    fn round_trips(&mut self, count: u64) {
        for _ in 0..count {
            // Relaxed, here and elsewhere: nothing but the number is passed on.
            let line = &self.shared.line.0;
            line.store(self.turn + 1, Ordering::Relaxed);
            self.wait();
        }
    }

    fn wait(&mut self) {
        self.turn += 2;
        while self.shared.line.0.load(Ordering::Relaxed) != self.turn && !interrupted() {
            std::hint::spin_loop();
        }
    }
}

fn echo(shared: &Shared) {
    let line = &shared.line.0;
    let probe = 2 * (1 + GROUP * GROUPS);
    let mut turn = 0;
    loop {
        // `unpark` comes after the first number of a probe, so a return with none is spurious.
        while line.load(Ordering::Relaxed) == turn {
            if shared.end.load(Ordering::Relaxed) {
                return;
            }
            std::thread::park();
        }
        let end = turn + probe;
        while turn < end {
            while line.load(Ordering::Relaxed) != turn + 1 {
                if shared.end.load(Ordering::Relaxed) {
                    return;
                }
                std::hint::spin_loop();
            }
            turn += 2;
            line.store(turn, Ordering::Relaxed);
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(echo) = self.echo.take() {
            echo.thread().unpark();
            // A panic of that thread has been told of already.
            drop(echo.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_probe_follows_another() {
        let Ok(Cores {
            peer: Some(core), ..
        }) = Cores::choose()
        else {
            return;
        };
        let mut probe = Probe::start(core);
        for _ in 0..20 {
            assert!(probe.measure_ns() > 0.0);
        }
    }

    #[test]
    fn probes_agree_within_a_fifth() {
        assert!(agree(Some(100.0), Some(119.0)) && agree(Some(119.0), Some(100.0)));
        assert!(!agree(Some(100.0), Some(121.0)) && !agree(Some(530.0), Some(110.0)));
        assert!(agree(None, None), "one core has no distance");
    }
}
