//! The tasks of HTTP/2 streams, which end when their client does not take the answer.
//!
//! A client that gives a stream no window blocks no socket, so the clock of the connection does
//! not see it. hyper asks a body for more only when the last piece was taken: a body that gave a
//! piece and is not asked again waits for its client. The body notes at each poll who is waited
//! for; the task that polled it reads the note, and resets the stream after `write_stall`.
//!
//! The note lies in the thread because hyper hides the body inside the future that it gives to
//! its executor; it is read right after the poll that wrote it.
//!
//! # Cost
//! A timer is set only when a poll leaves a stream waiting for its client.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Sleep, sleep};

/// For whom an answer waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    ForService,
    ForClient,
}

thread_local! {
    static NOTE: Cell<Option<Waits>> = const { Cell::new(None) };
}

/// Tells the task that polls now for whom its answer waits.
pub(super) fn note(waits: Waits) {
    NOTE.set(Some(waits));
}

/// Runs streams as tasks of the runtime. A panic ends its stream alone.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// How long a client may take no byte of an answer.
    pub(super) write_stall: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // It ends when the connection does: h2 wakes it.
        drop(tokio::spawn(while_taken(stream, self.write_stall)));
    }
}

/// Polls `stream` until it ends or its client has taken nothing for `write_stall`.
async fn while_taken(stream: impl Future<Output = ()>, write_stall: Duration) {
    let mut stream = pin!(stream);
    let mut alarm = pin!(None::<Sleep>);
    poll_fn(|cx| {
        NOTE.set(None);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match NOTE.take() {
            Some(Waits::ForClient) => alarm.set(Some(sleep(write_stall))),
            Some(Waits::ForService) => alarm.set(None),
            None => {}
        }
        match alarm.as_mut().as_pin_mut() {
            Some(alarm) => alarm.poll(cx),
            None => Poll::Pending,
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_its_client_takes_nothing_for_long_enough() {
        let stall = Duration::from_secs(30);
        let begin = tokio::time::Instant::now();
        let stalled = poll_fn(|_| {
            if begin.elapsed().is_zero() {
                note(Waits::ForClient);
            }
            Poll::<()>::Pending
        });
        while_taken(stalled, stall).await;
        assert_eq!(begin.elapsed(), stall);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_waits_for_its_service_is_left_alone() {
        let service = sleep(Duration::from_secs(3600));
        let mut service = pin!(service);
        let waiting = poll_fn(|cx| {
            note(Waits::ForService);
            service.as_mut().poll(cx)
        });
        let begin = tokio::time::Instant::now();
        while_taken(waiting, Duration::from_secs(30)).await;
        assert!(begin.elapsed() >= Duration::from_secs(3600));
    }
}
