//! Requests at the times of an arrival process, whatever the server does.
//!
//! ```text
//! arrivals ─▶ pacer ─▶ a free connection ─▶ sent ─▶ answered, or an error
//!                └───▶ none free: waits, first come first served ─▶ sent late, or not sent
//! ```
//!
//! A thread of its own does all of it, so that no other task of the caller's runtime delays a send.
//! Connections are opened before the first request, and anew when they are lost.
//!
//! # Invariants
//! - At most `connections` requests are in flight, one on each.
//! - A request waits for a connection at most `timeout`, and is answered within `timeout` of being
//!   sent; whatever cannot be is counted as that.
//! - Nothing is sent before its time.
//!
//! # Cost
//! A request: its body, and four system calls where it is alone: a sleep until its time, a write, a
//! sleep until its answer, a read. Under load many share the sleeps. No task, channel or timer.
//! [`Measured::cpu_us_per_request`] says what it came to.

mod driver;
mod poller;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::error::Error;
use crate::message::Request;
use crate::tally::{Measured, Tally, Window};
use driver::Driver;
use poller::{Caller, Poller};

/// What the thread may tell before it is listened to; a second beyond that is not told.
const TOLD_MAX: usize = 4;

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

/// What the thread of a run and its caller share.
#[derive(Debug)]
struct Shared {
    board: Mutex<Board>,
    /// One of [`RUN`], [`STOP`] and [`ABANDON`].
    command: AtomicU8,
}

/// What was counted so far. The thread holds the lock while it works, not while it sleeps.
#[derive(Debug)]
struct Board {
    tally: Tally,
    elapsed: Duration,
    busy: usize,
    waiting: usize,
}

/// What the thread tells its caller; its end is told by the end of the channel.
#[derive(Debug)]
enum Told {
    /// The connections are open.
    Started,
    /// Another second is over.
    Second,
}

/// What the thread has of its caller.
struct Ends {
    shared: Arc<Shared>,
    told: mpsc::Sender<Told>,
    /// Says that the first request may be sent.
    may_go: Receiver<()>,
}

/// Commands, each more than the one before.
const RUN: u8 = 0;
const STOP: u8 = 1;
const ABANDON: u8 = 2;

impl OpenLoop {
    /// Sends `template` with the bodies of `next_body` at the instants of `arrivals`, until the
    /// window is over or `stop` is ready, and awaits what is in flight.
    ///
    /// When `stop` is ready first, answers in flight are awaited for a second at most. It is not
    /// looked at before the connections are open.
    ///
    /// # Errors
    /// [`Error`] when the connections cannot be opened at the start, or the system has nothing to
    /// wait for them with. Later failures are counted.
    ///
    /// # Panics
    /// If `connections` is 0, or when `arrivals` or `next_body` does.
    ///
    /// # Cancel safety
    /// Safe: the load ends.
    pub async fn run<A>(
        self,
        template: &Request,
        arrivals: A,
        next_body: impl FnMut() -> Bytes + Send + 'static,
        stop: impl Future<Output = ()>,
        mut on_second: impl FnMut(Progress<'_>),
    ) -> Result<Measured, Error>
    where
        A: IntoIterator<Item = Duration, IntoIter: Send + 'static>,
    {
        assert!(self.connections > 0, "a loop needs at least one connection");
        let end = self.window.warm_up + self.window.duration;
        let arrivals = arrivals.into_iter().take_while(move |at| *at < end);
        let thread = Thread::start(self, template, arrivals, next_body);
        let mut thread = thread.map_err(|source| Error::Poller { source })?;
        thread.attend(stop, &mut on_second).await;
        thread.join()
    }
}

/// The thread of a run, as its caller sees it; dropping it abandons the run.
struct Thread {
    shared: Arc<Shared>,
    caller: Caller,
    told: mpsc::Receiver<Told>,
    go: SyncSender<()>,
    /// `None` once it is joined.
    handle: Option<JoinHandle<Result<Measured, Error>>>,
}

impl Thread {
    fn start(
        run: OpenLoop,
        template: &Request,
        arrivals: impl Iterator<Item = Duration> + Send + 'static,
        next_body: impl FnMut() -> Bytes + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, told) = mpsc::channel(TOLD_MAX);
        let (go, may_go) = sync_channel(1);
        let (poller, caller) = Poller::new()?;
        let shared = Arc::new(Shared::new(run.window));
        let ends = Ends {
            shared: shared.clone(),
            told: sender,
            may_go,
        };
        let driver = Driver::new(run, template, arrivals, next_body, poller, ends);
        let builder = std::thread::Builder::new().name("skysail-load".to_owned());
        let handle = Some(builder.spawn(|| driver.run())?);
        Ok(Self {
            shared,
            caller,
            told,
            go,
            handle,
        })
    }

    /// Hands on what is told, and `stop`, until the thread ends.
    async fn attend(
        &mut self,
        stop: impl Future<Output = ()>,
        on_second: &mut impl FnMut(Progress<'_>),
    ) {
        let mut stop = pin!(stop);
        let (mut has_started, mut is_going, mut is_stopped) = (false, false, false);
        loop {
            tokio::select! {
                biased;
                () = &mut stop, if has_started && !is_stopped => {
                    is_stopped = true;
                    self.command(STOP);
                }
                // `stop` is being waited for before the first request is sent.
                () = std::future::ready(()), if has_started && !is_going => {
                    is_going = true;
                    let _ = self.go.send(());
                }
                told = self.told.recv() => match told {
                    Some(Told::Started) => has_started = true,
                    Some(Told::Second) => self.shared.board().show(on_second),
                    None => return,
                }
            }
        }
    }

    fn command(&self, command: u8) {
        // Relaxed: nothing else goes with a command; `Shared::command` reads it.
        self.shared.command.store(command, Ordering::Relaxed);
        self.caller.call();
    }

    /// What it came to; its panic goes on here.
    fn join(mut self) -> Result<Measured, Error> {
        let handle = self.handle.take().expect("it is joined once");
        let joined = handle.join();
        joined.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.command(ABANDON);
    }
}

impl Shared {
    fn new(window: Window) -> Self {
        Self {
            board: Mutex::new(Board {
                tally: Tally::new(window),
                elapsed: Duration::ZERO,
                busy: 0,
                waiting: 0,
            }),
            command: AtomicU8::new(RUN),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board
            .lock()
            .expect("the holder's panic went on already")
    }

    fn command(&self) -> u8 {
        // Relaxed: see `Thread::command`.
        self.command.load(Ordering::Relaxed)
    }
}

impl Board {
    fn show(&self, on_second: &mut impl FnMut(Progress<'_>)) {
        on_second(Progress {
            elapsed: self.elapsed,
            measured: self.tally.so_far(),
            busy: self.busy,
            waiting: self.waiting,
        });
    }
}

#[cfg(test)]
mod tests;
