//! N connections with one request in flight on each.
//!
//! Each connection is a task of the runtime that the driver is called from. A request that fails
//! is counted and not sent again; its connection is opened anew for the next one. Only where that
//! is impossible does the whole run fail, with the address and the cause.
//!
//! # Invariants
//! - At most `connections` requests are in flight.
//! - `send_each` sends no request twice.
//! - `measure` counts an answer if it arrived between [`Mark::Start`] and [`Mark::End`], and a
//!   failure also if it came later.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::connection::Connection;
use crate::error::Error;
use crate::message::{Request, Response};
use crate::report::Report;

/// A closed-loop driver.
///
/// Its methods must be called within a tokio runtime with I/O and time; a current-thread one is
/// meant, any will do.
#[derive(Clone, Copy, Debug)]
pub struct ClosedLoop {
    /// The server.
    pub address: SocketAddr,
    /// How many connections, each with one request in flight; at least 1.
    pub connections: usize,
    /// Time allowed to open a connection, and for each request.
    pub timeout: Duration,
}

/// What became of one request of [`ClosedLoop::send_each`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The place of the request in the list.
    pub index: usize,
    /// From sending the request to the last byte of the answer, or to the failure.
    pub latency: Duration,
    /// The answer, of any status, or why there is none.
    pub result: Result<Response, Error>,
}

/// How long [`ClosedLoop::measure`] runs.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Load before anything is counted.
    pub warm_up: Duration,
    /// Load that is counted.
    pub measured: Duration,
}

/// The ends of the measured time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The warm-up is over; counting begins.
    Start,
    /// Counting is over; requests in flight are still awaited.
    End,
}

impl ClosedLoop {
    /// Sends every request once, each on the first connection to be free, and hands over what
    /// became of it, in the order of arrival.
    ///
    /// # Errors
    /// [`Error`] when a connection cannot be opened, at the start or after it was lost; then some
    /// requests were not sent. A failure of a single request is in its [`Answer`].
    ///
    /// # Panics
    /// If `connections` is 0.
    pub async fn send_each(
        self,
        requests: impl Into<Arc<[Request]>>,
        mut on_answer: impl FnMut(Answer),
    ) -> Result<Report, Error> {
        let requests = requests.into();
        let next = Arc::new(AtomicUsize::new(0));
        let (sender, mut answers) = mpsc::channel(self.connections.max(1));
        let mut tasks = JoinSet::new();
        for connection in Connection::open_all(self.address, self.timeout, self.connections).await?
        {
            tasks.spawn(send_next(
                connection,
                requests.clone(),
                next.clone(),
                sender.clone(),
            ));
        }
        drop(sender);

        let mut report = Report::new();
        let started = Instant::now();
        while let Some(answer) = answers.recv().await {
            match answer.result {
                Ok(_) => report.count_answer(answer.latency),
                Err(_) => report.failed += 1,
            }
            on_answer(answer);
        }
        report.elapsed = started.elapsed();
        wait_for_all(&mut tasks).await?;
        Ok(report)
    }

    /// Sends the requests over and over for the time of `timing`, and counts.
    ///
    /// Each connection goes through the list cyclically; their starting points are spread evenly
    /// over it. `check` gets the place of the request in the list and the answer, and says whether
    /// the answer is right; `|_, response| response.is_success()` goes by status. `mark` is called
    /// at both ends of the measured time, for instance to read CPU counters.
    ///
    /// # Errors
    /// [`Error`] at once when a connection cannot be opened, at the start or after it was lost.
    ///
    /// # Panics
    /// If there are no requests or `connections` is 0, or when `check` does.
    pub async fn measure<C>(
        self,
        requests: impl Into<Arc<[Request]>>,
        timing: Timing,
        check: C,
        mut mark: impl FnMut(Mark),
    ) -> Result<Report, Error>
    where
        C: Fn(usize, &Response) -> bool + Clone + Send + 'static,
    {
        let requests = requests.into();
        assert!(!requests.is_empty(), "there is nothing to send");
        let tally = Tally::new(Phase::WarmUp);
        let mut tasks = JoinSet::new();
        for (number, connection) in
            Connection::open_all(self.address, self.timeout, self.connections)
                .await?
                .into_iter()
                .enumerate()
        {
            let first = number * requests.len() / self.connections;
            let (requests, tally) = (requests.clone(), tally.clone());
            tasks.spawn(repeat(connection, requests, first, check.clone(), tally));
        }

        let started = run_for(timing.warm_up, &mut tasks, &tally, Phase::Measured).await?;
        mark(Mark::Start);
        let ended = run_for(timing.measured, &mut tasks, &tally, Phase::Over).await?;
        mark(Mark::End);
        wait_for_all(&mut tasks).await?;

        let tally = Arc::into_inner(tally).expect("the tasks are done");
        let mut report = tally.into_inner().expect("no holder panics").report;
        report.elapsed = ended - started;
        Ok(report)
    }
}

/// What the connections of one `measure` share. They run on one thread: the lock is free.
struct Tally {
    phase: Phase,
    report: Report,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    Over,
}

impl Tally {
    fn new(phase: Phase) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            phase,
            report: Report::new(),
        }))
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().expect("no holder panics")
}

/// One connection of `send_each`: takes the next request until none is left.
async fn send_next(
    mut connection: Connection,
    requests: Arc<[Request]>,
    next: Arc<AtomicUsize>,
    answers: mpsc::Sender<Answer>,
) -> Result<(), Error> {
    loop {
        // Relaxed: the list was complete before the tasks were spawned.
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(request) = requests.get(index) else {
            return Ok(());
        };
        connection.ready().await?;
        let started = Instant::now();
        let result = connection.send(request, HeaderMap::new()).await;
        let answer = Answer {
            index,
            latency: started.elapsed(),
            result,
        };
        if answers.send(answer).await.is_err() {
            return Ok(()); // the caller is gone
        }
    }
}

/// One connection of `measure`: ends when the phase is `Over`, or when it cannot connect.
async fn repeat(
    mut connection: Connection,
    requests: Arc<[Request]>,
    first: usize,
    check: impl Fn(usize, &Response) -> bool,
    tally: Arc<Mutex<Tally>>,
) -> Result<(), Error> {
    let mut headers = HeaderMap::new();
    for (index, request) in requests.iter().enumerate().cycle().skip(first) {
        connection.ready().await?;
        let started = Instant::now();
        let result = connection.send(request, std::mem::take(&mut headers)).await;
        let latency = started.elapsed();
        let checked = result.map(|response| {
            let right = check(index, &response);
            headers = response.headers;
            right
        });

        let mut tally = lock(&tally);
        match (tally.phase, checked) {
            (Phase::WarmUp, _) | (Phase::Over, Ok(_)) => {}
            (Phase::Measured, Ok(true)) => tally.report.count_answer(latency),
            (Phase::Measured, Ok(false)) => tally.report.refused += 1,
            (Phase::Measured | Phase::Over, Err(error)) => tally.report.count_failure(error),
        }
        if tally.phase == Phase::Over {
            break;
        }
    }
    Ok(())
}

/// Waits, starts the next phase, and says when; fails as soon as a task does.
async fn run_for(
    duration: Duration,
    tasks: &mut JoinSet<Result<(), Error>>,
    tally: &Mutex<Tally>,
    next: Phase,
) -> Result<Instant, Error> {
    tokio::select! {
        () = tokio::time::sleep(duration) => {}
        Some(ended) = tasks.join_next() => unwrap_task(ended)?,
    }
    lock(tally).phase = next;
    Ok(Instant::now())
}

async fn wait_for_all(tasks: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
    while let Some(ended) = tasks.join_next().await {
        unwrap_task(ended)?;
    }
    Ok(())
}

/// What a task returned; its panic goes on here.
fn unwrap_task(ended: Result<Result<(), Error>, JoinError>) -> Result<(), Error> {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[cfg(test)]
mod tests;
