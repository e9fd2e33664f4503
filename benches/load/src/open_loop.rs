//! Requests at the times of an arrival process, whatever the server does.
//!
//! ```text
//! arrivals ─▶ pacer ─▶ a free connection ─▶ sent ─▶ answered, or an error
//!                └───▶ none free: waits, first come first served ─▶ sent late, or not sent
//! ```
//!
//! All tasks run on the runtime that [`OpenLoop::run`] is called from; a current-thread one is
//! meant. Connections are opened before the first request, and anew when they are lost.
//!
//! # Invariants
//! - At most `connections` requests are in flight, one on each.
//! - A request waits for a connection at most `timeout`, and is answered within `timeout` of being
//!   sent; whatever cannot be is counted as that.
//! - Nothing is sent before its time.
//!
//! # Cost
//! A request: the body, hyper's own, three wake-ups of tasks. [`Measured::cpu_us_per_request`] says
//! what it came to.

use std::collections::VecDeque;
use std::io;
use std::iter::Peekable;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::HeaderMap;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::error::Error;
use crate::message::Request;
use crate::outcome::Outcome;
use crate::pacer::Pacer;
use crate::tally::{Measured, Tally, Window};

/// Requests started between two looks at the sockets.
const BURST_MAX: usize = 64;
/// Requests that may wait for a connection; more are not sent.
const WAITING_MAX: usize = 65_536;
/// Time for answers in flight when a run is ended early.
const GRACE: Duration = Duration::from_secs(1);

/// An open-loop driver.
#[derive(Clone, Copy, Debug)]
pub struct OpenLoop {
    /// The server.
    pub address: SocketAddr,
    /// The most requests in flight, each on a connection of its own; at least 1.
    pub connections: usize,
    /// Time allowed to open a connection, to wait for a free one, and for each answer.
    pub timeout: Duration,
    /// What is counted, and how long the load lasts.
    pub window: Window,
}

/// How far a run is; told once a second.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// Since the start of the run, warm-up included.
    pub elapsed: Duration,
    /// What was counted so far.
    pub measured: &'a Measured,
    /// Connections with a request.
    pub busy: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
}

/// A request to be sent.
struct Job {
    intended: Duration,
    body: Bytes,
}

/// What the tasks of one run share. They run on one thread: the lock is free.
struct Shared {
    tally: Tally,
    /// Connections without a request; the last one used is the first to be used again.
    idle: Vec<usize>,
    /// Empty while a connection is idle.
    waiting: VecDeque<Job>,
    timeout: Duration,
}

impl OpenLoop {
    /// Sends `template` with the bodies of `next_body` at the instants of `arrivals`, until the
    /// window is over or `stop` is ready, and awaits what is in flight.
    ///
    /// When `stop` is ready first, answers in flight are awaited for a second at most.
    ///
    /// # Errors
    /// [`Error`] when the connections cannot be opened at the start, or the system has no timer.
    /// Later failures are counted.
    ///
    /// # Panics
    /// If `connections` is 0.
    pub async fn run(
        self,
        template: &Request,
        arrivals: impl IntoIterator<Item = Duration>,
        mut next_body: impl FnMut() -> Bytes,
        stop: impl Future<Output = ()>,
        mut on_second: impl FnMut(Progress<'_>),
    ) -> Result<Measured, Error> {
        let connections =
            Connection::open_all(self.address, self.timeout, self.connections).await?;
        let cpu_before = cpu_time();
        let timer_error = |source| Error::Timer { source };
        let pacer = Pacer::start().map_err(timer_error)?;
        let shared = Arc::new(Mutex::new(Shared::new(&self)));
        let (senders, tasks) = start(connections, template, &pacer, &shared);
        let end = self.window.warm_up + self.window.duration;
        let mut dispatcher = Dispatcher {
            arrivals: arrivals.into_iter().take_while(|at| *at < end).peekable(),
            next_body: &mut next_body,
            pacer,
            shared: &shared,
            senders,
            end,
        };
        let ended = dispatcher.run(stop, &mut on_second).await;
        let ended = ended.map_err(timer_error)?;
        drop(dispatcher); // connections end when they have nothing to do
        let is_early = ended < end;
        wait_for_all(tasks, if is_early { GRACE } else { 4 * self.timeout }).await;
        let shared = Arc::into_inner(shared).expect("the tasks are done");
        let tally = shared.into_inner().expect("no holder panics").tally;
        Ok(tally.finish(ended, cpu_time().saturating_sub(cpu_before)))
    }
}

/// Starts a task for each connection.
fn start(
    connections: Vec<Connection>,
    template: &Request,
    pacer: &Pacer,
    shared: &Arc<Mutex<Shared>>,
) -> (Vec<mpsc::Sender<Job>>, JoinSet<()>) {
    let mut senders = Vec::with_capacity(connections.len());
    let mut tasks = JoinSet::new();
    for (index, connection) in connections.into_iter().enumerate() {
        let (sender, jobs) = mpsc::channel(1);
        senders.push(sender);
        let worker = Worker {
            connection,
            index,
            request: template.clone(),
            origin: pacer.origin(),
            shared: shared.clone(),
        };
        tasks.spawn(worker.work(jobs));
    }
    (senders, tasks)
}

/// Waits for the connections to end; what they have in flight after `patience` stays unfinished.
async fn wait_for_all(mut tasks: JoinSet<()>, patience: Duration) {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        }
    };
    drop(tokio::time::timeout(patience, all).await);
    tasks.shutdown().await;
}

/// Starts the requests of one run at their times.
struct Dispatcher<'a, A: Iterator<Item = Duration>, B> {
    arrivals: Peekable<A>,
    next_body: &'a mut B,
    pacer: Pacer,
    shared: &'a Mutex<Shared>,
    senders: Vec<mpsc::Sender<Job>>,
    end: Duration,
}

impl<A: Iterator<Item = Duration>, B: FnMut() -> Bytes> Dispatcher<'_, A, B> {
    /// Gives the time at which the load ended: `end`, or when `stop` was ready.
    async fn run(
        &mut self,
        stop: impl Future<Output = ()>,
        on_second: &mut impl FnMut(Progress<'_>),
    ) -> io::Result<Duration> {
        let mut stop = pin!(stop);
        let mut next_second = Duration::from_secs(1);
        loop {
            let now = self.pacer.origin().elapsed();
            self.offer_due(now);
            if now >= next_second {
                lock(self.shared).tell(now, self.senders.len(), on_second);
                next_second = Duration::from_secs(now.as_secs() + 1);
            }
            let next = self.arrivals.peek().copied();
            if now >= self.end && next.is_none() {
                return Ok(self.end);
            }
            let wake = next.unwrap_or(self.end).min(next_second);
            tokio::select! {
                biased;
                () = &mut stop => {
                    lock(self.shared).give_up_waiting();
                    return Ok(self.pacer.origin().elapsed().min(self.end));
                }
                waited = self.wait(wake) => waited?,
            }
        }
    }

    /// Starts what is due, up to [`BURST_MAX`] requests.
    fn offer_due(&mut self, now: Duration) {
        for _ in 0..BURST_MAX {
            let Some(intended) = self.arrivals.next_if(|at| *at <= now) else {
                return;
            };
            let body = (self.next_body)();
            self.offer(Job { intended, body });
        }
    }

    /// Hands a request to an idle connection, or has it wait for one.
    fn offer(&self, job: Job) {
        let mut shared = lock(self.shared);
        let idle = shared.idle.pop();
        shared.tally.offered(job.intended, idle.is_none());
        match idle {
            Some(index) => {
                let sent = self.senders[index].try_send(job);
                assert!(sent.is_ok(), "an idle connection has room for a request");
            }
            None if shared.waiting.len() < WAITING_MAX => shared.waiting.push_back(job),
            None => shared.tally.not_sent(job.intended),
        }
    }

    /// Waits for an instant; lets the connections work also when it has passed.
    async fn wait(&self, at: Duration) -> io::Result<()> {
        if self.pacer.origin().elapsed() >= at {
            tokio::task::yield_now().await;
            return Ok(());
        }
        self.pacer.until(at).await
    }
}

impl Shared {
    fn new(run: &OpenLoop) -> Self {
        Self {
            tally: Tally::new(run.window),
            idle: (0..run.connections).rev().collect(),
            waiting: VecDeque::new(),
            timeout: run.timeout,
        }
    }

    /// The next request of a connection that is done with one; it is idle if there is none.
    fn next_job(&mut self, index: usize, now: Duration) -> Option<Job> {
        while let Some(job) = self.waiting.pop_front() {
            if now.saturating_sub(job.intended) <= self.timeout {
                return Some(job);
            }
            self.tally.not_sent(job.intended);
        }
        self.idle.push(index);
        None
    }

    fn give_up_waiting(&mut self) {
        for job in std::mem::take(&mut self.waiting) {
            self.tally.not_sent(job.intended);
        }
    }

    fn tell(&self, elapsed: Duration, connections: usize, to: &mut impl FnMut(Progress<'_>)) {
        to(Progress {
            elapsed,
            measured: self.tally.so_far(),
            busy: connections - self.idle.len(),
            waiting: self.waiting.len(),
        });
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().expect("no holder panics")
}

/// One connection.
struct Worker {
    connection: Connection,
    index: usize,
    request: Request,
    /// The start of the run's time.
    origin: Instant,
    shared: Arc<Mutex<Shared>>,
}

impl Worker {
    async fn work(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut headers = HeaderMap::new();
        while let Some(job) = jobs.recv().await {
            let mut next = Some(job);
            while let Some(job) = next {
                let intended = job.intended;
                let outcome = self.exchange(job, &mut headers).await;
                let now = self.origin.elapsed();
                let mut shared = lock(&self.shared);
                shared.tally.done(intended, now, outcome);
                next = shared.next_job(self.index, now);
            }
        }
    }

    async fn exchange(&mut self, job: Job, headers: &mut HeaderMap) -> Outcome {
        if let Err(error) = self.connection.ready().await {
            return Outcome::of(&Err(error));
        }
        let at = self.origin.elapsed();
        lock(&self.shared).tally.sent(job.intended, at);
        self.request.set_body(job.body);
        let memory = std::mem::take(headers);
        let mut result = self.connection.send(&self.request, memory).await;
        if let Ok(response) = &mut result {
            *headers = std::mem::take(&mut response.headers);
        }
        Outcome::of(&result)
    }
}

/// CPU time of this process, user and system.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests;
