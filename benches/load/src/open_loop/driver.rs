//! The thread of a run: sends what is due, reads what has arrived, sleeps.
//!
//! # Invariants
//! - Nothing is sent before its time; what is due is sent before a further answer is looked at.
//! - A slot is idle, or it has one request: being opened for it, or sent.
//! - Each request is told to the tally as offered, then as sent or not, then with its outcome.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::iter::Peekable;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::epoll::EventFlags;
use rustix::time::{ClockId, clock_gettime};

use super::poller::{Poller, Ready};
use super::socket::{OVER, Socket, Step};
use super::{ABANDON, Board, Ends, OpenLoop, RUN, Told};
use crate::error::Error;
use crate::message::Request;
use crate::outcome::Outcome;
use crate::tally::{Measured, Tally};

/// Requests started between two answers.
const BURST_MAX: usize = 64;
/// Requests that may wait for a connection; more are not sent.
const WAITING_MAX: usize = 65_536;
/// Time for answers in flight when a run is ended early.
const GRACE: Duration = Duration::from_secs(1);
/// Read at once. A longer answer takes more reads.
const READ_BYTES: usize = 64 << 10;
/// Time-outs are looked for so often while one lasts, and at least as often as that. An answer
/// that comes between the time-out and the look is late all the same.
const LOOKS: u32 = 64;
const LOOK_EVERY_MAX: Duration = Duration::from_millis(10);

/// A request to be sent.
struct Job {
    intended: Duration,
    body: Bytes,
}

/// A connection and what it is at.
struct Slot {
    socket: Socket,
    intended: Duration,
    /// When it is too late to be opened, or answered.
    deadline: Duration,
    /// Of the request that it is opened for.
    body: Bytes,
}

/// The state of one run.
pub(super) struct Driver<A: Iterator<Item = Duration>, B> {
    run: OpenLoop,
    arrivals: Peekable<A>,
    next_body: B,
    head: Heads,
    poller: Poller,
    ready: Vec<Ready>,
    scratch: Vec<u8>,
    slots: Vec<Slot>,
    /// Slots without a request; the last one used is the first to be used again.
    idle: Vec<usize>,
    /// Empty while a slot is idle.
    waiting: VecDeque<Job>,
    origin: Instant,
    /// The last reading of the clock.
    now: Duration,
    /// When to look for time-outs.
    look_at: Duration,
    /// The run was ended early: nothing is due any more.
    is_stopped: bool,
    ends: Ends,
}

impl<A: Iterator<Item = Duration>, B: FnMut() -> Bytes> Driver<A, B> {
    pub(super) fn new(
        run: OpenLoop,
        template: &Request,
        arrivals: A,
        next_body: B,
        poller: Poller,
        ends: Ends,
    ) -> Self {
        let slot = |_| Slot {
            socket: Socket::closed(template.is_head()),
            intended: Duration::ZERO,
            deadline: Duration::MAX,
            body: Bytes::new(),
        };
        Self {
            run,
            arrivals: arrivals.peekable(),
            next_body,
            head: Heads::new(template, run.address),
            poller,
            ready: Vec::new(),
            scratch: vec![0; READ_BYTES],
            slots: (0..run.connections).map(slot).collect(),
            idle: (0..run.connections).rev().collect(),
            waiting: VecDeque::new(),
            origin: Instant::now(),
            now: Duration::ZERO,
            look_at: run.timeout,
            is_stopped: false,
            ends,
        }
    }

    /// Opens the connections, one after the other, and runs when it may.
    pub(super) fn run(mut self) -> Result<Measured, Error> {
        let (address, timeout) = (self.run.address, self.run.timeout);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let opened = slot.socket.open_now(address, timeout, &self.poller, index);
            opened.map_err(|source| Error::Connect { address, source })?;
        }
        drop(self.ends.told.try_send(Told::Started)); // there is room; or nobody listens
        let _ = self.ends.may_go.recv(); // if nobody is there any more, the run is abandoned
        let cpu_before = cpu_time();
        self.origin = Instant::now();
        let ended = self.send_and_drain();
        let ended = ended.map_err(|source| Error::Poller { source })?;
        let none = Tally::new(self.run.window);
        let tally = std::mem::replace(&mut self.ends.shared.board().tally, none);
        Ok(tally.finish(ended, cpu_time().saturating_sub(cpu_before)))
    }

    /// Gives the time at which the load ended: that of the window, or when it was stopped.
    fn send_and_drain(&mut self) -> io::Result<Duration> {
        let shared = self.ends.shared.clone();
        let end = self.run.window.warm_up + self.run.window.duration;
        let mut next_second = Duration::from_secs(1);
        loop {
            let mut board = shared.board();
            self.read_clock();
            self.offer_due(&mut board.tally);
            self.end_late(&mut board.tally);
            if self.now >= next_second {
                next_second = Duration::from_secs(self.now.as_secs() + 1);
                self.tell_second(&mut board);
            }
            if shared.command() != RUN {
                self.stop(&mut board.tally);
                drop(board);
                let ended = self.now.min(end);
                return self.drain(GRACE).map(|()| ended);
            }
            drop(board);
            let next = self.arrivals.peek().copied();
            if self.now >= end && next.is_none() {
                let patience = self.run.timeout.saturating_mul(4);
                return self.drain(patience).map(|()| end);
            }
            self.wait(next.unwrap_or(end).min(next_second))?;
        }
    }

    fn tell_second(&self, board: &mut Board) {
        board.elapsed = self.now;
        board.busy = self.slots.len() - self.idle.len();
        board.waiting = self.waiting.len();
        // One that is not listened to is not missed: the next one tells more.
        drop(self.ends.told.try_send(Told::Second));
    }

    fn stop(&mut self, tally: &mut Tally) {
        self.is_stopped = true;
        for job in std::mem::take(&mut self.waiting) {
            tally.not_sent(job.intended);
        }
    }

    /// Waits for the answers in flight; what has none after `patience` stays unfinished.
    fn drain(&mut self, patience: Duration) -> io::Result<()> {
        let shared = self.ends.shared.clone();
        let until = self.now.saturating_add(patience);
        let has_more = |driver: &Self| driver.idle.len() < driver.slots.len();
        while has_more(self) && self.now < until && shared.command() != ABANDON {
            self.wait(until)?;
            self.read_clock();
            self.end_late(&mut shared.board().tally);
        }
        Ok(())
    }

    fn read_clock(&mut self) -> Duration {
        self.now = self.origin.elapsed();
        self.now
    }

    /// Sleeps until `wake`, a time-out or an event, and takes the events.
    fn wait(&mut self, wake: Duration) -> io::Result<()> {
        let wake = wake.min(self.look_at);
        let now = self.read_clock();
        self.poller.wait(now, wake, &mut self.ready)?;
        if self.ready.is_empty() {
            return Ok(());
        }
        let shared = self.ends.shared.clone();
        let tally = &mut shared.board().tally;
        // First what has ended, so that nothing more is sent there.
        for has_ended in [true, false] {
            for at in 0..self.ready.len() {
                let Ready { index, flags } = self.ready[at];
                if flags.intersects(OVER) == has_ended {
                    self.take_event(index, flags, tally);
                    if !has_ended {
                        self.offer_due(tally);
                    }
                }
            }
        }
        Ok(())
    }

    fn take_event(&mut self, index: usize, flags: EventFlags, tally: &mut Tally) {
        let step = self.slots[index].socket.on_event(flags, &mut self.scratch);
        let was_opened = matches!(step, Step::Opened);
        self.go_on(index, step, tally);
        if was_opened {
            // The server may have said something already, and closed.
            let flags = flags.difference(EventFlags::OUT);
            let step = self.slots[index].socket.on_event(flags, &mut self.scratch);
            self.go_on(index, step, tally);
        }
    }

    /// Starts what is due, up to [`BURST_MAX`] requests.
    fn offer_due(&mut self, tally: &mut Tally) {
        for _ in 0..BURST_MAX {
            let now = self.now;
            let is_due = |at: &Duration| *at <= now && !self.is_stopped;
            let Some(intended) = self.arrivals.next_if(is_due) else {
                return;
            };
            let job = Job {
                intended,
                body: (self.next_body)(),
            };
            let idle = self.idle.pop();
            tally.offered(intended, idle.is_none());
            match idle {
                Some(index) => {
                    let step = self.begin(index, job);
                    self.go_on(index, step, tally);
                }
                None if self.waiting.len() < WAITING_MAX => self.waiting.push_back(job),
                None => tally.not_sent(intended),
            }
        }
    }

    /// Gives a slot a request.
    fn begin(&mut self, index: usize, job: Job) -> Step {
        let slot = &mut self.slots[index];
        slot.intended = job.intended;
        slot.body = job.body;
        if slot.socket.is_idle() {
            return Step::Opened;
        }
        slot.deadline = self.now.saturating_add(self.run.timeout);
        match slot.socket.open(self.run.address, &self.poller, index) {
            Ok(()) => Step::Nothing,
            Err(_) => Step::NotOpened,
        }
    }

    /// Does what follows from a step of a slot, which may be its next requests.
    fn go_on(&mut self, index: usize, mut step: Step, tally: &mut Tally) {
        loop {
            let outcome = match step {
                Step::Nothing => return,
                Step::Opened => {
                    step = self.send(index, tally);
                    continue;
                }
                Step::NotOpened => Outcome::failed("connect"),
                Step::Done(outcome) => outcome,
            };
            let slot = &self.slots[index];
            let (intended, deadline) = (slot.intended, slot.deadline);
            let is_late = self.read_clock() > deadline;
            let outcome = match outcome {
                Outcome::Prediction | Outcome::Default(_) if is_late => Outcome::failed("timeout"),
                outcome => outcome,
            };
            tally.done(intended, self.now, outcome);
            match self.next_job(tally) {
                Some(job) => step = self.begin(index, job),
                None => return self.rest(index),
            }
        }
    }

    fn send(&mut self, index: usize, tally: &mut Tally) -> Step {
        let now = self.read_clock();
        let slot = &mut self.slots[index];
        slot.deadline = now.saturating_add(self.run.timeout);
        tally.sent(slot.intended, now);
        let body = std::mem::take(&mut slot.body);
        let head = self.head.of(&body);
        slot.socket.send(head, body, &mut self.scratch)
    }

    /// The next request that waits; those that did for too long are not sent.
    fn next_job(&mut self, tally: &mut Tally) -> Option<Job> {
        while let Some(job) = self.waiting.pop_front() {
            if self.now.saturating_sub(job.intended) <= self.run.timeout {
                return Some(job);
            }
            tally.not_sent(job.intended);
        }
        None
    }

    fn rest(&mut self, index: usize) {
        self.slots[index].deadline = Duration::MAX;
        self.idle.push(index);
    }

    /// Gives up what has taken too long, if it is time to look.
    fn end_late(&mut self, tally: &mut Tally) {
        if self.now < self.look_at {
            return;
        }
        let (now, timeout) = (self.now, self.run.timeout);
        let mut earliest = now.saturating_add(timeout);
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if slot.deadline > now {
                earliest = earliest.min(slot.deadline);
                continue;
            }
            let step = slot.socket.give_up();
            self.go_on(index, step, tally);
        }
        let every = (timeout / LOOKS).min(LOOK_EVERY_MAX);
        self.look_at = earliest.max(now.saturating_add(every));
    }
}

/// Heads of requests that differ in the length of the body only.
struct Heads {
    head: Vec<u8>,
    opening_bytes: usize,
    tells_empty: bool,
    /// The body that `head` is for.
    body_bytes: Option<usize>,
}

impl Heads {
    fn new(template: &Request, address: std::net::SocketAddr) -> Self {
        let head = template.opening(address);
        Self {
            opening_bytes: head.len(),
            head,
            tells_empty: template.tells_empty(),
            body_bytes: None,
        }
    }

    fn of(&mut self, body: &Bytes) -> &[u8] {
        if self.body_bytes != Some(body.len()) {
            self.body_bytes = Some(body.len());
            self.head.truncate(self.opening_bytes);
            if !body.is_empty() || self.tells_empty {
                let written = write!(self.head, "content-length: {}\r\n", body.len());
                written.expect("memory takes all");
            }
            self.head.extend_from_slice(b"\r\n");
        }
        &self.head
    }
}

/// CPU time of this process, user and system.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
