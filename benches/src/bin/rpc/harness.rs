//! One burst of requests over one path: the same loop, clock and checks for all of them.
//!
//! A path is an [`Exchange`], driven either by the calling thread ([`OnThread`]) or by a task
//! of a current-thread tokio runtime ([`OnTokio`]). The clock is read once a round trip; what
//! is measured runs from before the payload is written until the answer has been looked at.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Runtime;

use crate::payload::Source;

/// Round trips in flight when throughput is measured.
pub(crate) const WINDOW: usize = 8;
/// A peer that has not answered for this long never will.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Latencies kept of one burst: more than the fastest path has in 150 ms.
const SAMPLES_MAX: usize = 2 << 20;
/// Looks at memory between two looks at the clock.
const LOOKS: u32 = 1 << 16;

/// Set by the first SIGINT or SIGTERM.
pub(crate) static INTERRUPTED: std::sync::LazyLock<Arc<AtomicBool>> =
    std::sync::LazyLock::new(Arc::default);

/// Whether somebody wants the bench to end.
pub(crate) fn interrupted() -> bool {
    // Relaxed: nothing but the flag is passed on.
    INTERRUPTED.load(Ordering::Relaxed)
}

/// An answer to one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// The request's.
    pub(crate) ticket: u64,
    /// What the peer made of the payload; nothing if it is not known to add it up.
    pub(crate) sum: Option<f32>,
}

/// The front side of one path, with its peer in another process.
pub(crate) trait Exchange {
    /// Called before a burst; wakes a peer that rests between bursts.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// Writes every element of the payload and sends it; does not wait.
    /// There are never more than [`WINDOW`] requests without an answer.
    fn send(&mut self, source: &Source, ticket: u64) -> Result<()>;

    /// Waits for an answer to any request.
    fn recv(&mut self) -> impl Future<Output = Result<Answer>> + Send;

    /// Called after a burst, when every request is answered.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether the peer takes payloads like this one.
    fn takes(&self, _source: &Source) -> bool {
        true
    }
}

/// What a burst is to be.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) source: Arc<Source>,
    pub(crate) in_flight: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What a burst gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timed {
    /// Of each round trip, if one at a time was in flight.
    nanoseconds: Vec<u32>,
    pub(crate) per_second: f64,
}

impl Timed {
    /// The latency that `share` of all round trips do not exceed; with few round trips, that
    /// is the longest one.
    pub(crate) fn percentile_us(&mut self, share: f64) -> f64 {
        let rank = (share * self.nanoseconds.len() as f64).ceil() as usize;
        let index = rank.clamp(1, self.nanoseconds.len().max(1)) - 1;
        if index >= self.nanoseconds.len() {
            return f64::NAN;
        }
        f64::from(*self.nanoseconds.select_nth_unstable(index).1) / 1e3
    }
}

/// A path as the rounds see it.
pub(crate) trait Path {
    /// Runs one burst.
    fn burst(&mut self, job: &Job) -> Result<Timed>;

    /// Whether it can carry this payload at all.
    fn takes(&self, source: &Source) -> bool;
}

/// Driven by the calling thread: [`Exchange::recv`] spins or blocks, and is ready at once.
pub(crate) struct OnThread<E>(pub(crate) E);

impl<E: Exchange> Path for OnThread<E> {
    fn burst(&mut self, job: &Job) -> Result<Timed> {
        let mut drive = pin!(drive(&mut self.0, job));
        match drive
            .as_mut()
            .poll(&mut TaskContext::from_waker(Waker::noop()))
        {
            Poll::Ready(timed) => timed,
            Poll::Pending => bail!("a path without a runtime must not suspend"),
        }
    }

    fn takes(&self, source: &Source) -> bool {
        self.0.takes(source)
    }
}

/// Driven by a spawned task: waking one from inside its runtime needs no system call, which
/// waking the future of `block_on` does.
pub(crate) struct OnTokio<E> {
    // Dropped before the runtime that watches its descriptors.
    exchange: Option<E>,
    runtime: Runtime,
}

impl<E: Exchange + Send + 'static> OnTokio<E> {
    /// Of an exchange that was made inside `runtime`.
    pub(crate) fn new(runtime: Runtime, exchange: E) -> Self {
        OnTokio {
            exchange: Some(exchange),
            runtime,
        }
    }
}

impl<E: Exchange + Send + 'static> Path for OnTokio<E> {
    fn burst(&mut self, job: &Job) -> Result<Timed> {
        let mut exchange = self.exchange.take().context("an earlier burst failed")?;
        let job = job.clone();
        let limit = job.warm_up + job.measured + PATIENCE;
        let task = self.runtime.spawn(async move {
            let timed = drive(&mut exchange, &job).await;
            (exchange, timed)
        });
        let limited = async { tokio::time::timeout(limit, task).await };
        let ended = self.runtime.block_on(limited);
        let (exchange, timed) = ended.context("the peer does not answer")??;
        self.exchange = Some(exchange);
        timed
    }

    fn takes(&self, source: &Source) -> bool {
        self.exchange.as_ref().is_some_and(|e| e.takes(source))
    }
}

/// A runtime like a front end's core: one thread, I/O and timers.
pub(crate) fn runtime() -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    built.context("cannot start a runtime")
}

/// Looks until there is something, on this core alone.
///
/// # Errors
/// If nothing came in [`PATIENCE`], or the bench is to end.
pub(crate) fn spin<T>(mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let mut begin = None;
    loop {
        for _ in 0..LOOKS {
            if let Some(found) = look() {
                return Ok(found);
            }
            std::hint::spin_loop();
        }
        ensure!(!interrupted(), "interrupted");
        let begin = *begin.get_or_insert_with(Instant::now);
        ensure!(begin.elapsed() < PATIENCE, "the peer does not answer");
    }
}

async fn drive<E: Exchange>(exchange: &mut E, job: &Job) -> Result<Timed> {
    exchange.begin()?;
    let timed = round_trips(exchange, job).await?;
    exchange.end()?;
    Ok(timed)
}

async fn round_trips<E: Exchange>(exchange: &mut E, job: &Job) -> Result<Timed> {
    let mut nanoseconds = vec![0_u32; if job.in_flight == 1 { SAMPLES_MAX } else { 0 }];
    let mut kept = 0;
    let (mut sent, mut answered) = (0, 0);
    let mut last = Instant::now();
    let warm = last + job.warm_up;
    let end = warm + job.measured;
    // When measuring began, and how many answers there were before.
    let mut since = None;
    while last < end {
        while sent - answered < job.in_flight as u64 {
            exchange.send(&job.source, sent)?;
            sent += 1;
        }
        check(exchange.recv().await?, &job.source)?;
        answered += 1;
        let now = Instant::now();
        if since.is_some() {
            if let Some(sample) = nanoseconds.get_mut(kept) {
                *sample = u32::try_from((now - last).as_nanos()).unwrap_or(u32::MAX);
                kept += 1;
            }
        } else if now >= warm {
            since = Some((now, answered));
        }
        last = now;
    }
    nanoseconds.truncate(kept);
    let (begin, before) = since.context("a burst of no length")?;
    let per_second = (answered - before) as f64 / (last - begin).as_secs_f64();
    while answered < sent {
        check(exchange.recv().await?, &job.source)?;
        answered += 1;
    }
    Ok(Timed {
        nanoseconds,
        per_second,
    })
}

fn check(answer: Answer, source: &Source) -> Result<()> {
    let expected = source.sum(answer.ticket);
    match answer.sum {
        Some(sum) if sum != expected => bail!(
            "the peer read {sum} where {expected} was sent (request {}, {} bytes)",
            answer.ticket,
            source.len()
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut timed = Timed {
            nanoseconds: (1..=1000).rev().map(|i| 1000 * i).collect(),
            per_second: 0.0,
        };
        let found = [0.5, 0.99, 0.999, 1.0].map(|share| timed.percentile_us(share));
        assert_eq!(found, [500.0, 990.0, 999.0, 1000.0]);
        assert!(Timed::default().percentile_us(0.5).is_nan());
    }

    #[test]
    fn a_wrong_sum_ends_the_burst() {
        let source = Source::new(64);
        let answer = |sum| Answer {
            ticket: 3,
            sum: Some(sum),
        };
        check(answer(source.sum(3)), &source).expect("the sum of request 3");
        check(answer(source.sum(4)), &source).expect_err("the sum of another request");
    }
}
