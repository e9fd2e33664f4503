//! Whether the front end wants new clients.
//!
//! Balancers ask for it (`GET /ready`) and send nobody to a front end that says no. One that is
//! about to stop says no first, and goes on answering while they find out.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether a front end is ready, as its handlers tell it.
#[derive(Debug, Default)]
pub struct Readiness {
    // Alone: nothing else is read because of it.
    draining: AtomicBool,
}

/// How ready a front end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It wants clients.
    Ready,
    /// It is about to stop: it answers, but wants nobody new.
    Draining,
}

impl State {
    /// Why it is not ready, in one word; none if it is.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            State::Ready => None,
            State::Draining => Some("draining"),
        }
    }
}

impl Readiness {
    /// How ready it is now.
    #[must_use]
    pub fn state(&self) -> State {
        match self.draining.load(Relaxed) {
            false => State::Ready,
            true => State::Draining,
        }
    }

    /// From now on it wants nobody new.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }
}
