//! How late this machine wakes a sleeper: what nobody can do better than.
//!
//! A thread sleeps a millisecond at a time while a cell is measured. The front end's own timers
//! and sockets wake it no more punctually than that.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use skysail_benches::clock::{exact, now, sleep_until};
use skysail_load::Histogram;

const NAP: Duration = Duration::from_millis(1);
const LATE_US_MAX: u64 = 60_000_000;

/// A thread that sleeps and notes how late it wakes.
pub(crate) struct Sleeper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Histogram<u64>>>,
}

impl Sleeper {
    pub(crate) fn start() -> Sleeper {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || sleep_on(&stopped));
        Sleeper { stop, thread }
    }

    /// Ends it; gives the 99th percentile of its lateness in milliseconds.
    pub(crate) fn p99_ms(self) -> Result<f64> {
        // Relaxed: nothing but the flag is passed on.
        self.stop.store(true, Ordering::Relaxed);
        let late_us = self.thread.join().ok().context("the sleeper panicked")??;
        Ok(late_us.value_at_quantile(0.99) as f64 / 1e3)
    }
}

fn sleep_on(stop: &AtomicBool) -> io::Result<Histogram<u64>> {
    exact()?;
    let mut late_us = Histogram::new_with_bounds(1, LATE_US_MAX, 3).expect("valid bounds");
    // Relaxed: nothing but the flag is passed on.
    while !stop.load(Ordering::Relaxed) {
        let at = now() + NAP;
        sleep_until(at)?;
        late_us.saturating_record((now() - at).as_micros() as u64);
    }
    Ok(late_us)
}
