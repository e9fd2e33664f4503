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
//! One allocation; a lock that only the two ends share.

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

/// The end that answers.
#[derive(Debug)]
pub(crate) struct Answerer(Arc<Shared>);

/// The end that waits.
#[derive(Debug)]
pub(crate) struct Pending(Arc<Shared>);

/// A new promise.
pub(crate) fn ticket() -> (Answerer, Pending) {
    let shared = Arc::<Shared>::default();
    (Answerer(shared.clone()), Pending(shared))
}

impl Answerer {
    /// The query is on its way to a replica.
    pub(crate) fn sent(&self) {
        // Relaxed: only the cause that is shown depends on it.
        self.0.sent.store(true, Ordering::Relaxed);
    }

    /// Answers.
    pub(crate) fn answer(self, said: Said) {
        self.0.answer(said);
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.0.answer(Err(Cause::ReplicaLost.into()));
    }
}

impl Pending {
    /// Why a query whose deadline passes now is late.
    pub(crate) fn expired(&self) -> Cause {
        // Relaxed: see `Answerer::sent`.
        if self.0.sent.load(Ordering::Relaxed) {
            Cause::ExpiredModel
        } else {
            Cause::ExpiredQueue
        }
    }
}

impl Future for Pending {
    type Output = Said;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Said> {
        let mut state = self.0.lock();
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
