//! The promise of one answer.
//!
//! [`ticket`] makes two ends: the [`Answerer`] travels with the query, the [`Pending`] waits.
//! Dropping an answerer answers with `replica_lost`: no path forgets a query.
//!
//! # Invariants
//! - The first answer counts; an answerer is consumed by it.
//! - `stage` only goes forward.
//!
//! # Cost
//! A lock that only the two ends share. No allocation while a thread has used tickets left.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use skysail_core::Cause;

use crate::answer::{Failure, Output};

/// What an answerer says.
pub(crate) type Said = Result<Output, Failure>;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    sent: AtomicBool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Waiting(Waker),
    Answered(Said),
    Taken,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, said: Said) {
        let mut state = self.lock();
        match std::mem::take(&mut *state) {
            before @ (State::Answered(_) | State::Taken) => *state = before,
            State::Idle => *state = State::Answered(said),
            State::Waiting(waker) => {
                *state = State::Answered(said);
                drop(state);
                waker.wake();
            }
        }
    }
}

/// Used tickets that a thread keeps: as many as it may have out at a time, in a burst.
const USED_MAX: usize = 4096;

thread_local! {
    static USED: RefCell<Vec<Arc<Shared>>> = const { RefCell::new(Vec::new()) };
}

/// One end's hold on a ticket; the last one keeps it for another query.
#[derive(Debug)]
struct Half(Option<Arc<Shared>>);

impl Half {
    fn shared(&self) -> &Shared {
        self.0.as_deref().expect("held until it is dropped")
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        let Some(mut shared) = self.0.take() else {
            return;
        };
        // Whoever finds itself alone is the last; if both ends go at once, nobody is.
        let Some(last) = Arc::get_mut(&mut shared) else {
            return;
        };
        *last = Shared::default();
        // A thread that is ending keeps nothing.
        let _ = USED.try_with(|used| {
            let mut used = used.borrow_mut();
            if used.len() < USED_MAX {
                used.push(shared);
            }
        });
    }
}

/// The end that answers.
#[derive(Debug)]
pub(crate) struct Answerer(Half);

/// The end that waits.
#[derive(Debug)]
pub(crate) struct Pending(Half);

/// A new promise.
pub(crate) fn ticket() -> (Answerer, Pending) {
    let used = USED.with_borrow_mut(Vec::pop);
    let shared = used.unwrap_or_default();
    (
        Answerer(Half(Some(shared.clone()))),
        Pending(Half(Some(shared))),
    )
}

impl Answerer {
    /// The query is on its way to a replica.
    pub(crate) fn sent(&self) {
        // Relaxed: only the cause that is shown depends on it.
        self.0.shared().sent.store(true, Ordering::Relaxed);
    }

    /// Answers.
    pub(crate) fn answer(self, said: Said) {
        self.0.shared().answer(said);
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.0.shared().answer(Err(Cause::ReplicaLost.into()));
    }
}

impl Pending {
    /// Why a query whose deadline passes now is late.
    pub(crate) fn expired(&self) -> Cause {
        // Relaxed: see `Answerer::sent`.
        if self.0.shared().sent.load(Ordering::Relaxed) {
            Cause::ExpiredModel
        } else {
            Cause::ExpiredQueue
        }
    }
}

impl Future for Pending {
    type Output = Said;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Said> {
        let mut state = self.0.shared().lock();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Answered(said) => Poll::Ready(said),
            State::Taken => unreachable!("polled again after its answer"),
            State::Idle | State::Waiting(_) => {
                *state = State::Waiting(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_answerer_still_answers() {
        let (answerer, pending) = ticket();
        assert_eq!(pending.expired(), Cause::ExpiredQueue);
        answerer.sent();
        assert_eq!(pending.expired(), Cause::ExpiredModel);
        drop(answerer);
        assert_eq!(pending.await.expect_err("lost").cause, Cause::ReplicaLost);
    }

    #[tokio::test]
    async fn the_waiting_task_is_woken_by_another_thread() {
        let (answerer, pending) = ticket();
        let waiting = tokio::spawn(pending);
        tokio::task::yield_now().await;
        std::thread::spawn(move || answerer.answer(Err(Cause::QueueFull.into())));
        let said = waiting.await.expect("no panic");
        assert_eq!(said.expect_err("full").cause, Cause::QueueFull);
    }
}
