//! Spinning before a runtime sleeps.
//!
//! Waking a sleeping thread costs more than everything else on the way of a small batch. So a
//! front end whose cores are its own looks at the rings for a while before its runtime sleeps:
//! [`before_park`] is called by the runtime's park hook, finds what tasks on this thread wait
//! for, and wakes the task whose entry came. Only when the time is up does it arm the sleep flags,
//! so that a container never rings for a front end that is about to look anyway.
//!
//! The time adapts: it doubles while entries come within it, halves while they do not, up to what
//! the model's container asked for. A long spin is cut into slices, between which the runtime
//! looks at its sockets.
//!
//! On a thread without the hook nothing spins, and the flags are armed when a task begins to wait.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use skysail_memory::region::SharedWords;
use skysail_memory::ring::{Awaited, SleepFlag};

use super::frontend::FrontendPath;
use crate::transport::PeerId;

/// A spin without a look at the sockets.
const SLICE: Duration = Duration::from_micros(10);
/// The least that a spin shrinks to.
const SPIN_MIN: Duration = Duration::from_micros(1);
/// Looks between two readings of the clock.
const LOOKS: u32 = 32;

thread_local! {
    static PARK: RefCell<Park> = const { RefCell::new(Park { hooked: false, spinners: Vec::new() }) };
}

struct Park {
    hooked: bool,
    spinners: Vec<Weak<Spinner>>,
}

/// To be called by the runtime of a front end whenever it is about to sleep; see
/// `tokio::runtime::Builder::on_thread_park`.
pub fn before_park() {
    PARK.with_borrow_mut(|park| {
        park.hooked = true;
        park.spinners.retain(|spinner| match spinner.upgrade() {
            Some(spinner) => {
                spinner.spin();
                true
            }
            None => false,
        });
    });
}

/// Whether this thread calls [`before_park`].
pub(super) fn is_hooked() -> bool {
    PARK.with_borrow(|park| park.hooked)
}

/// What one task waits for.
#[derive(Default)]
pub(super) struct Spinner(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Whose entries are awaited, and where; kept between waits, because they seldom change.
    places: Vec<Awaits>,
    is_watching: bool,
    waker: Option<Waker>,
    since: Option<Instant>,
    spin: Duration,
}

struct Awaits {
    peer: PeerId,
    place: Awaited<SharedWords>,
    flag: SleepFlag<SharedWords>,
}

impl Spinner {
    /// A spinner of the task that runs on this thread.
    pub(super) fn register() -> Arc<Spinner> {
        let spinner = Arc::new(Spinner::default());
        PARK.with_borrow_mut(|park| park.spinners.push(Arc::downgrade(&spinner)));
        spinner
    }

    /// From here on `waker` is woken when one of `peers` has sent; their flags are armed when
    /// spinning has not helped.
    pub(super) fn watch<'a>(
        &self,
        waker: &Waker,
        peers: impl Iterator<Item = (PeerId, &'a FrontendPath)> + Clone,
    ) {
        let mut waiting = self.lock();
        let known = waiting.places.iter().map(|awaits| awaits.peer);
        if known.eq(peers.clone().map(|(peer, _)| peer)) {
            for (awaits, (_, path)) in waiting.places.iter_mut().zip(peers) {
                path.follow(&mut awaits.place);
            }
        } else {
            waiting.places.clear();
            waiting.places.extend(peers.map(|(peer, path)| {
                let (place, flag) = path.awaited();
                Awaits { peer, place, flag }
            }));
        }
        waiting.is_watching = true;
        match &mut waiting.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// `peer` is gone.
    pub(super) fn forget(&self, peer: PeerId) {
        self.lock().places.retain(|awaits| awaits.peer != peer);
    }

    /// An entry was taken: within `limit` of the wait's beginning, spinning longer would have
    /// found it.
    pub(super) fn found(&self, limit: Duration) {
        let mut waiting = self.lock();
        waiting.is_watching = false;
        let Some(since) = waiting.since.take() else {
            return;
        };
        waiting.spin = if since.elapsed() <= limit {
            (2 * waiting.spin).max(2 * SPIN_MIN).min(limit)
        } else {
            (waiting.spin / 2).max(SPIN_MIN)
        };
    }

    fn spin(&self) {
        let mut waiting = self.lock();
        if !waiting.is_watching {
            return;
        }
        // What comes at once costs no reading of the clock.
        if !waiting.spin.is_zero() && waiting.look() {
            return waiting.wake();
        }
        let begin = Instant::now();
        let since = *waiting.since.get_or_insert(begin);
        let mut now = begin;
        while now.saturating_duration_since(since) < waiting.spin {
            if now.saturating_duration_since(begin) >= SLICE || waiting.look() {
                return waiting.wake();
            }
            now = Instant::now();
        }
        waiting.places.iter().for_each(|awaits| awaits.flag.arm());
        waiting.is_watching = false;
        if waiting.is_ready() {
            waiting.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_ready(&self) -> bool {
        self.places.iter().any(|awaits| awaits.place.is_ready())
    }

    /// Looks for a while; whether an entry came.
    fn look(&self) -> bool {
        (0..LOOKS).any(|_| {
            let is_ready = self.is_ready();
            if !is_ready {
                std::hint::spin_loop();
            }
            is_ready
        })
    }

    fn wake(&mut self) {
        self.is_watching = false;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit is what a container asked for: any.
    #[test]
    fn any_limit_is_kept() {
        let spinner = Spinner::default();
        for limit in [0, 1, 2, 50, 1].map(Duration::from_micros) {
            for _ in 0..10 {
                // As late as can be: an entry that comes within the limit.
                spinner.lock().since = Some(Instant::now() + Duration::from_secs(1));
                spinner.found(limit);
                assert!(spinner.lock().spin <= limit);
            }
        }
    }
}
