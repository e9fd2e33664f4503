//! One session: messages in, batches computed, messages out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use skysail_rpc::channel::{ContainerChannel, Received, Room};
use skysail_rpc::message::{BatchId, Hello, Message, Outcome};
use skysail_rpc::session::{ContainerEvent, ContainerSession, Job};
use skysail_rpc::transport::Link;

use super::{Lost, Runner, SessionEnd};
use crate::Predictor;
use crate::health::Pulse;

/// A runner that was asked to stop leaves after this long, whatever is open.
const LEAVE: Duration = Duration::from_secs(10);
/// A request to stop is noticed within this long: where a program has several threads, its signal comes to
/// another one than waits here, and wakes nobody.
const NOTICE: Duration = Duration::from_secs(1);
/// A drained session stays open for this long after its last reply, unless the front end
/// says that it has it: closing at once could drop what the transport has not sent yet.
const LINGER: Duration = Duration::from_millis(500);
/// Messages taken before a batch that waits is computed.
const TAKEN_MAX: u32 = 256;

type Result<T> = std::result::Result<T, Lost>;

/// A session in progress.
pub(super) struct Conversation<'a, M, L> {
    runner: &'a mut Runner<M>,
    channel: ContainerChannel<'a, L>,
    session: ContainerSession,
    hello: Option<Message>,
    jobs: VecDeque<(Job, Option<Room>)>,
    /// The last reading of the clock.
    clock: Instant,
    welcomed: Option<Instant>,
    replied: Option<Instant>,
    leaving: Option<Instant>,
    drain: Option<String>,
}

impl<'a, M: Predictor, L: Link> Conversation<'a, M, L> {
    pub(super) fn open(
        runner: &'a mut Runner<M>,
        channel: ContainerChannel<'a, L>,
        hello: Hello,
    ) -> Self {
        let (session, hello) = ContainerSession::open(Instant::now(), runner.timing, hello);
        Conversation {
            runner,
            channel,
            session,
            hello: Some(hello),
            jobs: VecDeque::new(),
            clock: Instant::now(),
            welcomed: None,
            replied: None,
            leaving: None,
            drain: None,
        }
    }

    /// When the front end welcomed the container, if it did.
    pub(super) fn welcomed(&self) -> Option<Instant> {
        self.welcomed
    }

    pub(super) fn run(&mut self) -> SessionEnd {
        match self.converse() {
            Ok(end) => end,
            // Whoever leaves, or has answered everything, is not told of a closed door.
            Err(_) if self.leaving.is_some() => SessionEnd::Left,
            Err(Lost::Closed(_)) if self.drain.is_some() && self.jobs.is_empty() => self.drained(),
            Err(lost) => SessionEnd::Lost(lost),
        }
    }

    fn converse(&mut self) -> Result<SessionEnd> {
        if let Some(hello) = self.hello.take() {
            self.send(hello)?;
        }
        let mut taken = 0;
        loop {
            self.leave_if_asked()?;
            if let Some(end) = self.end() {
                return Ok(end);
            }
            if let Some(received) = self.receive()? {
                if let Some(end) = self.on_message(received)? {
                    return Ok(end);
                }
                taken += 1;
                if taken < TAKEN_MAX {
                    continue;
                }
            }
            taken = 0;
            match self.jobs.pop_front() {
                Some((job, room)) => self.answer(job, room)?,
                None => self.on_timer()?,
            }
            self.beat();
        }
    }

    /// What has come; waits only if nothing is in hand.
    fn receive(&mut self) -> Result<Option<Received>> {
        if self.jobs.is_empty() {
            return Ok(self.channel.recv(self.clock, self.wait_until())?);
        }
        Ok(self.channel.try_recv(self.clock)?)
    }

    /// Takes a message; an end if it was the last of the session.
    fn on_message(&mut self, (message, room): Received) -> Result<Option<SessionEnd>> {
        let now = Instant::now();
        self.clock = now;
        match self.session.on_message(now, message)? {
            ContainerEvent::Welcome(welcome) => {
                self.welcomed = Some(now);
                self.runner.serving(welcome.replica);
                if let Some(offer) = &welcome.offer {
                    let path = self.channel.accept(offer, self.runner.worker.schema());
                    self.runner.path(&path);
                    self.send(path)?;
                }
            }
            ContainerEvent::Rejected(reject) => return Ok(Some(SessionEnd::Rejected(reject))),
            ContainerEvent::Job(job) => {
                self.jobs.push_back((job, room));
            }
            ContainerEvent::Cancel(batch) => self.cancel(batch)?,
            ContainerEvent::Drain { detail } => {
                // The second one: the front end has everything. PROTOCOL 7
                let known = self.drain.replace(detail).is_some();
                return Ok((known && self.jobs.is_empty()).then(|| self.drained()));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Computes a batch, unless nobody waits for it any longer.
    fn answer(&mut self, mut job: Job, room: Option<Room>) -> Result<()> {
        // It came just now, or its predecessor ended just now.
        let begin = self.clock;
        if begin >= job.deadline {
            // Its slot is for the reply.
            drop(room);
            return self.reply_without(job.batch, Outcome::Expired, Duration::ZERO);
        }
        let columns = std::mem::take(&mut job.columns);
        match self
            .runner
            .worker
            .predict(job.rows, columns, (begin, Some(job.deadline)), room)
        {
            Ok((answer, room)) => {
                let (now, errors) = (begin + answer.compute, answer.row_errors);
                self.clock = now;
                let reply = self
                    .session
                    .reply(now, &job, answer.columns, errors, answer.compute);
                self.replied = Some(now);
                self.channel.send(reply, room)?;
                if !self.jobs.is_empty() {
                    // Sending a large reply takes time that is not the next batch's.
                    self.clock = Instant::now();
                }
                Ok(())
            }
            Err(error) => {
                tracing::debug!(
                    batch = job.batch.0,
                    rows = job.rows,
                    error,
                    "a batch failed"
                );
                self.reply_without(job.batch, Outcome::Failed { error }, begin.elapsed())
            }
        }
    }

    /// A batch that has not begun is taken back; of any other the reply is on its way.
    fn cancel(&mut self, batch: BatchId) -> Result<()> {
        let Some(at) = self.jobs.iter().position(|(job, _)| job.batch == batch) else {
            return Ok(());
        };
        self.jobs.remove(at);
        self.reply_without(batch, Outcome::Cancelled, Duration::ZERO)
    }

    fn reply_without(&mut self, batch: BatchId, outcome: Outcome, took: Duration) -> Result<()> {
        let now = Instant::now();
        self.clock = now;
        let reply = self.session.reply_without(now, batch, outcome, took);
        self.replied = Some(now);
        self.send(reply)
    }

    /// Its clock is that of the last answer, or of the timer.
    fn beat(&mut self) {
        let is_welcome = self.welcomed.is_some();
        let pulse = if is_welcome {
            Pulse::Serving
        } else {
            Pulse::Away
        };
        self.runner.beat(self.clock, pulse);
    }

    fn on_timer(&mut self) -> Result<()> {
        self.clock = Instant::now();
        match self.session.on_timer(self.clock)? {
            Some(message) => self.send(message),
            None => Ok(()),
        }
    }

    /// PROTOCOL 7.2
    fn leave_if_asked(&mut self) -> Result<()> {
        if self.leaving.is_some() || !self.runner.stop.is_requested() {
            return Ok(());
        }
        let now = Instant::now();
        self.leaving = Some(now + LEAVE);
        if self.welcomed.is_none() {
            return Ok(());
        }
        tracing::info!("leaving the front end");
        let drain = self.session.leave(now, "the container was asked to stop");
        self.send(drain)
    }

    fn end(&self) -> Option<SessionEnd> {
        if self.leaving.is_none() && self.drain.is_none() {
            return None;
        }
        let now = Instant::now();
        if let Some(until) = self.leaving
            && (self.welcomed.is_none() || now >= until)
        {
            return Some(SessionEnd::Left);
        }
        let drained = self.drain.is_some() && self.jobs.is_empty();
        (drained && now >= self.linger_until().unwrap_or(now)).then(|| self.drained())
    }

    fn drained(&self) -> SessionEnd {
        match &self.drain {
            Some(detail) if self.leaving.is_none() => SessionEnd::Drained {
                detail: detail.clone(),
            },
            _ => SessionEnd::Left,
        }
    }

    /// Until when to wait for a message.
    fn wait_until(&self) -> Instant {
        let linger = self.linger_until().filter(|_| self.drain.is_some());
        let ends = self.leaving.into_iter().chain(linger);
        let first = self.session.next_timer().min(self.clock + NOTICE);
        ends.fold(first, Instant::min)
    }

    fn linger_until(&self) -> Option<Instant> {
        self.replied.map(|replied| replied + LINGER)
    }

    fn send(&mut self, message: Message) -> Result<()> {
        Ok(self.channel.send(message, None)?)
    }
}
