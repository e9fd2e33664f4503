//! A worker in sessions with a front end.
//!
//! One thread does everything: it takes what has come, then computes one batch, and so on.
//! Taking first means that a cancel is honoured for every batch that has not begun.
//!
//! ```text
//!             ┌── connect ── hello ── serving ── lost, drained ──┐
//!   Runner ───┤                 └── refused for good ──► exit    ├── wait 50 ms … 1 s ──┐
//!             └──────────◄───────────────────────────────────────┘◄────────────────────┘
//! ```
//!
//! # Invariants
//! - Every batch that was taken is answered, or the session ends.
//! - A batch whose deadline has passed is answered without being computed.
//! - A lost connection is logged once for each cause, not at each attempt to come back.
//!
//! # Cost
//! One extra look at the link a millisecond while batches come by shared memory, else a batch. A connection is tried again within a second.

mod backoff;
mod session;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use skysail_rpc::PROTOCOL;
use skysail_rpc::channel::{ContainerChannel, RecvError};
use skysail_rpc::message::{Hello, Message, Reject, RejectReason};
use skysail_rpc::session::{SessionError, Timing};
use skysail_rpc::transport::{Closed, Link, SendError};
use thiserror::Error;

use self::backoff::Backoff;
use self::session::Conversation;
use crate::error::causes;
use crate::health::{Health, Pulse};
use crate::options::Identity;
use crate::{Model, Options, Predictor, Source, StartError, Typed, Worker};

/// A session that served this long was a good one: the next attempt comes soon.
const STEADY: Duration = Duration::from_secs(1);

/// A loaded, warm model and what it says of itself to a front end.
#[derive(Debug)]
pub struct Runner<M> {
    worker: Worker<M>,
    sdk: String,
    identity: Identity,
    token: Vec<u8>,
    timing: Timing,
    socket_dir: Option<PathBuf>,
    spin: Duration,
    told_path: Option<bool>,
    stop: Stop,
    state: Option<State>,
    health: Option<Health>,
}

/// Asks a runner to leave its front end, from a signal or another thread.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

/// Why a session is over.
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionEnd {
    /// The connection or the protocol failed; connect again.
    Lost(Lost),
    /// The front end wanted no further batches, and everything is answered.
    Drained {
        /// What the front end said.
        detail: String,
    },
    /// The front end refused the container, or ended the session.
    Rejected(Reject),
    /// The runner was asked to stop, and everything is answered.
    Left,
}

/// How a session was lost.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// The connection was closed.
    #[error("the connection to the front end is closed")]
    Closed(#[from] Closed),
    /// A message cannot be sent.
    #[error("cannot send to the front end")]
    Send(#[from] SendError),
    /// The front end is silent or broke the protocol.
    #[error("the front end is silent or broke the protocol")]
    Session(#[from] SessionError),
}

impl From<RecvError> for Lost {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Decode(error) => Lost::Session(error.into()),
            _ => Lost::Closed(Closed),
        }
    }
}

/// What was last told to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    /// Why the connection is refused, where that is known.
    Away(Option<&'static str>),
    Refused(RejectReason),
}

impl Stop {
    /// Asks for it. The runner notices within a second, or when its batch is done.
    pub fn request(&self) {
        // Relaxed: nothing but the flag is passed on.
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_requested(&self) -> bool {
        // Relaxed: pairs with `request` and the signal's store; nothing else is passed on.
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl<M: Model> Runner<M> {
    /// Loads the model and warms it up.
    ///
    /// # Errors
    /// If a name is missing, the token cannot be read, or the model fails.
    pub fn new(options: &Options) -> Result<Self, StartError> {
        Self::load_from(&Typed::default(), options)
    }
}

impl<M: Predictor> Runner<M> {
    /// Loads the model that `source` has, and warms it up.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn load_from<S: Source<Loaded = M>>(
        source: &S,
        options: &Options,
    ) -> Result<Self, StartError> {
        let identity = options.identity()?;
        let token = identity.token()?;
        let mut worker = Worker::load_from(source, options.ctx())?;
        worker.warm_up()?;
        let health = options
            .health_file
            .as_deref()
            .map(Health::open)
            .transpose()?;
        Ok(Runner {
            worker,
            sdk: source.sdk().to_owned(),
            identity,
            token,
            timing: Timing::default(),
            socket_dir: options.socket_dir(),
            spin: options.spin(),
            told_path: None,
            stop: Stop::default(),
            state: None,
            health,
        })
    }

    /// Waits for a front end by `timing` until its welcome says otherwise.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// What ends this runner.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves one front end over `link` until the session is over.
    pub fn session(&mut self, link: &mut impl Link) -> SessionEnd {
        self.session_with(link).0
    }

    /// Serves whoever `connect` reaches, again and again, until it is asked to stop.
    ///
    /// # Errors
    /// If a front end refuses the container and would refuse it again.
    pub fn serve_over<L: Link, E: std::error::Error + 'static>(
        &mut self,
        mut connect: impl FnMut() -> Result<L, E>,
    ) -> Result<(), Reject> {
        let mut backoff = Backoff::default();
        while !self.stop.is_requested() {
            self.beat(Instant::now(), Pulse::Away);
            let ((end, welcomed), refusal) = match connect() {
                Ok(mut link) => (self.session_with(&mut link), link.refusal()),
                Err(error) => {
                    self.away(&causes(&error), None);
                    std::thread::sleep(backoff.next_wait());
                    continue;
                }
            };
            if welcomed.is_some_and(|since| since.elapsed() >= STEADY) {
                backoff = Backoff::default();
            }
            match end {
                SessionEnd::Left => return Ok(()),
                SessionEnd::Lost(lost) => self.away(&causes(&lost), refusal),
                SessionEnd::Drained { detail } => self.away(&format!("drained: {detail}"), None),
                // PROTOCOL 4.8
                SessionEnd::Rejected(reject) if !reject.reason.may_retry() => return Err(reject),
                SessionEnd::Rejected(reject) => self.refused(&reject),
            }
            std::thread::sleep(backoff.next_wait());
        }
        Ok(())
    }

    /// The session's end, and when it was welcomed.
    fn session_with(&mut self, link: &mut impl Link) -> (SessionEnd, Option<Instant>) {
        let socket_dir = self.socket_dir.clone();
        let channel = ContainerChannel::new(link, socket_dir.as_deref(), self.spin);
        let hello = self.hello(channel.host());
        let mut conversation = Conversation::open(self, channel, hello);
        let end = conversation.run();
        (end, conversation.welcomed())
    }

    fn hello(&mut self, host: &str) -> Hello {
        // A front end with a new data directory has a new token; an unreadable one changes nothing.
        if let Ok(token) = self.identity.token() {
            self.token = token;
        }
        Hello {
            protocol_min: PROTOCOL.0,
            protocol_max: PROTOCOL.1,
            sdk: self.sdk.clone(),
            model: self.identity.model.clone(),
            version: self.identity.version.clone(),
            schema: (**self.worker.schema()).clone(),
            max_batch: u32::try_from(self.worker.max_batch()).unwrap_or(u32::MAX),
            slots: self.identity.slots,
            token: self.token.clone(),
            pid: std::process::id(),
            host: host.to_owned(),
            spin: self.spin,
        }
    }

    /// The loop goes round.
    fn beat(&mut self, now: Instant, pulse: Pulse) {
        if let Some(health) = &mut self.health {
            health.beat(now, pulse);
        }
    }

    fn serving(&mut self, replica: u64) {
        if self.state.replace(State::Serving) != Some(State::Serving) {
            let Identity { model, version, .. } = &self.identity;
            tracing::info!(model, version, replica, "serving");
        }
    }

    /// How batches travel, told once in a process for each way.
    fn path(&mut self, path: &Message) {
        let Message::Path { shared, detail } = path else {
            return;
        };
        if self.told_path.replace(*shared) == Some(*shared) {
            return;
        }
        if *shared {
            tracing::info!("batches travel through shared memory");
        } else {
            tracing::warn!(detail, "no shared memory; batches travel by the socket");
        }
    }

    fn away(&mut self, cause: &str, refusal: Option<&'static str>) {
        let (state, cause) = (State::Away(refusal), refusal.unwrap_or(cause));
        if self.state.replace(state) == Some(state) {
            tracing::debug!(cause, "still away from the front end");
            return;
        }
        tracing::warn!(
            cause,
            "away from the front end; trying again until it is back"
        );
    }

    fn refused(&mut self, reject: &Reject) {
        let state = State::Refused(reject.reason);
        if self.state.replace(state) != Some(state) {
            let (reason, detail) = (told(reject.reason), &reject.detail);
            tracing::warn!(reason, detail, "refused by the front end; trying again");
        }
    }
}

/// A reason in words.
pub(crate) fn told(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::ProtocolVersion => "no protocol version in common",
        RejectReason::BadToken => "not allowed to join",
        RejectReason::BadHello => "not a valid container",
        RejectReason::WrongSchema => "another schema than the version's",
        RejectReason::TooManyReplicas => "too many replicas",
        RejectReason::Removed => "the version was removed",
        RejectReason::Violation => "protocol violation",
        RejectReason::Overloaded => "overloaded",
        _ => "refused",
    }
}
