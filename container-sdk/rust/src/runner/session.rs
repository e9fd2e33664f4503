//! One session: messages in, batches computed, messages out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use skysail_rpc::message::{BatchId, Frame, Hello, Message, Outcome};
use skysail_rpc::session::{ContainerEvent, ContainerSession, Job, SessionError};
use skysail_rpc::transport::Link;

use super::{Lost, Runner, SessionEnd};
use crate::Model;

/// A runner that was asked to stop leaves after this long, whatever is open.
const LEAVE: Duration = Duration::from_secs(10);
/// A drained session stays open for this long after its last reply, unless the front end
/// says that it has it: closing at once could drop what the transport has not sent yet.
const LINGER: Duration = Duration::from_millis(500);
/// Messages taken before a batch that waits is computed.
const TAKEN_MAX: u32 = 256;

type Result<T> = std::result::Result<T, Lost>;

/// A session in progress.
pub(super) struct Conversation<'a, M, L> {
    runner: &'a mut Runner<M>,
    link: &'a mut L,
    session: ContainerSession,
    hello: Option<Message>,
    jobs: VecDeque<Job>,
    welcomed: Option<Instant>,
    replied: Option<Instant>,
    leaving: Option<Instant>,
    drain: Option<String>,
}

impl<'a, M: Model, L: Link> Conversation<'a, M, L> {
    pub(super) fn open(runner: &'a mut Runner<M>, link: &'a mut L, hello: Hello) -> Self {
        let (session, hello) = ContainerSession::open(Instant::now(), runner.timing, hello);
        Conversation {
            runner,
            link,
            session,
            hello: Some(hello),
            jobs: VecDeque::new(),
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
            self.send(&hello)?;
        }
        let mut taken = 0;
        loop {
            self.leave_if_asked()?;
            if let Some(end) = self.end(Instant::now()) {
                return Ok(end);
            }
            if let Some(frame) = self.link.recv(self.wait_until())? {
                if let Some(end) = self.on_frame(&frame)? {
                    return Ok(end);
                }
                taken += 1;
                if taken < TAKEN_MAX {
                    continue;
                }
            }
            taken = 0;
            match self.jobs.pop_front() {
                Some(job) => self.answer(job)?,
                None => self.on_timer()?,
            }
        }
    }

    /// Takes a message; an end if it was the last of the session.
    fn on_frame(&mut self, frame: &Frame) -> Result<Option<SessionEnd>> {
        let message = Message::decode(frame).map_err(SessionError::from)?;
        let now = Instant::now();
        match self.session.on_message(now, message)? {
            ContainerEvent::Welcome(welcome) => {
                self.welcomed = Some(now);
                self.runner.serving(welcome.replica);
            }
            ContainerEvent::Rejected(reject) => return Ok(Some(SessionEnd::Rejected(reject))),
            ContainerEvent::Job(job) => self.jobs.push_back(job),
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
    fn answer(&mut self, mut job: Job) -> Result<()> {
        let begin = Instant::now();
        if begin >= job.deadline {
            let error = "the deadline passed before the batch began".to_owned();
            return self.reply_without(job.batch, Outcome::Failed { error }, Duration::ZERO);
        }
        let columns = std::mem::take(&mut job.columns);
        match self
            .runner
            .worker
            .predict(job.rows, columns, Some(job.deadline))
        {
            Ok(answer) => {
                let (now, errors) = (Instant::now(), answer.row_errors);
                let reply = self
                    .session
                    .reply(now, &job, &answer.columns, errors, answer.compute);
                self.replied = Some(now);
                self.send(&reply)
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
        let Some(at) = self.jobs.iter().position(|job| job.batch == batch) else {
            return Ok(());
        };
        self.jobs.remove(at);
        self.reply_without(batch, Outcome::Cancelled, Duration::ZERO)
    }

    fn reply_without(&mut self, batch: BatchId, outcome: Outcome, took: Duration) -> Result<()> {
        let now = Instant::now();
        let reply = self.session.reply_without(now, batch, outcome, took);
        self.replied = Some(now);
        self.send(&reply)
    }

    fn on_timer(&mut self) -> Result<()> {
        match self.session.on_timer(Instant::now())? {
            Some(message) => self.send(&message),
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
        self.send(&drain)
    }

    fn end(&self, now: Instant) -> Option<SessionEnd> {
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

    /// Not at all while a batch waits.
    fn wait_until(&self) -> Instant {
        if !self.jobs.is_empty() {
            return Instant::now();
        }
        let linger = self.linger_until().filter(|_| self.drain.is_some());
        let ends = self.leaving.into_iter().chain(linger);
        ends.fold(self.session.next_timer(), Instant::min)
    }

    fn linger_until(&self) -> Option<Instant> {
        self.replied.map(|replied| replied + LINGER)
    }

    fn send(&mut self, message: &Message) -> Result<()> {
        let frame = self.runner.encoder.encode(message);
        Ok(self.link.send(&frame)?)
    }
}
