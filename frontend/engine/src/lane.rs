//! One version's queue and replicas, shared by all cores under one short lock.
//!
//! # Invariants
//! - No lock is held while a query is answered or a batch is handed over.
//! - A lane that waits has a wake-up on its way that is not later than it needs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use skysail_core::lane::{GivenBack, Lane as CoreLane, Next};
use skysail_core::registry::{Batching, ModelVersion};
use skysail_core::replica::{BatchEnd, ReplicaId, ReplicaState, Terms};
use skysail_core::{Cause, Name};
use skysail_monitor::ModelMetrics;
use skysail_rpc::Schema;
use skysail_rpc::channel::SharedLog;
use skysail_rpc::rows::RowLog;
use smallvec::SmallVec;

use crate::ask::Ask;

/// What the replicas of a version agreed on.
#[derive(Clone, Debug)]
pub(crate) struct Agreed {
    /// Their tensors.
    pub(crate) schema: Arc<Schema>,
    /// Where the rows of its queries lie, if they have a fixed size.
    pub(crate) log: Option<Arc<SharedLog>>,
}

impl Agreed {
    /// The row log.
    pub(crate) fn log(&self) -> Option<&Arc<RowLog>> {
        self.log.as_ref().map(|shared| &shared.log)
    }
}

/// A batch for a replica.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) replica: ReplicaId,
    pub(crate) asks: Vec<Ask>,
}

/// What a lane wants done after its lock is released.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Work {
    pub(crate) batches: SmallVec<[Batch; 1]>,
    /// A wake-up to schedule.
    pub(crate) wake_at: Option<Instant>,
    given_back: Vec<GivenBack<Ask>>,
}

/// One version of a model, registered or not.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) model: Name,
    pub(crate) version: Name,
    pub(crate) metrics: ModelMetrics,
    state: Mutex<State>,
    served: AtomicBool,
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    core: CoreLane<Ask>,
    agreed: Option<Agreed>,
    registered: Option<Arc<ModelVersion>>,
    replicas: usize,
    /// The earliest wake-up that is on its way.
    wake_at: Option<Instant>,
}

impl Lane {
    pub(crate) fn new(model: Name, version: Name, metrics: ModelMetrics) -> Lane {
        Lane {
            model,
            version,
            metrics,
            state: Mutex::default(),
            served: AtomicBool::new(false),
            failing: AtomicBool::new(false),
        }
    }

    /// What its replicas agreed on, once one has connected.
    pub(crate) fn agreed(&self) -> Option<Agreed> {
        self.lock().agreed.clone()
    }

    /// Its registration, if it has one.
    pub(crate) fn registered(&self) -> Option<Arc<ModelVersion>> {
        self.lock().registered.clone()
    }

    /// Whether a replica may take batches.
    pub(crate) fn is_serving(&self) -> bool {
        self.lock().core.is_serving()
    }

    /// Whether a replica has ever been ready.
    pub(crate) fn has_served(&self) -> bool {
        // Relaxed: a query that just misses the news is answered by the previous version.
        self.served.load(Ordering::Relaxed)
    }

    /// What a replica is doing, and how many batches it has.
    pub(crate) fn replica(&self, now: Instant, id: ReplicaId) -> Option<(ReplicaState, usize)> {
        self.lock().core.replica(now, id)
    }

    /// Takes note of the registration; gives back what waits when it ends.
    pub(crate) fn register(&self, registered: Option<Arc<ModelVersion>>) -> Work {
        let mut state = self.lock();
        let mut work = Work::default();
        match &registered {
            Some(version) => state.core.set_batching(&version.batching),
            None => work.given_back = state.core.drain(Cause::Draining),
        }
        state.registered = registered;
        work
    }

    /// Queues a query, and forms what batches can be formed.
    pub(crate) fn push(&self, now: Instant, ask: Ask) -> Work {
        let mut state = self.lock();
        let mut work = Work::default();
        match push_one(&mut state, now, ask) {
            Ok(()) => self.collect(&mut state, now, &mut work),
            Err(given) => work.given_back.push(given),
        }
        work
    }

    /// What a new replica of `schema` agrees on with the others; `log` makes a row log for the
    /// first one.
    ///
    /// # Errors
    /// What the replicas that are connected agreed on, if it differs.
    pub(crate) fn agree(
        &self,
        schema: &Schema,
        log: impl FnOnce(&Schema) -> Option<SharedLog>,
    ) -> Result<Agreed, Arc<Schema>> {
        let mut state = self.lock();
        match &state.agreed {
            Some(agreed) if *agreed.schema == *schema => Ok(agreed.clone()),
            Some(agreed) if state.replicas > 0 => Err(agreed.schema.clone()),
            _ => {
                let agreed = Agreed {
                    schema: Arc::new(schema.clone()),
                    log: log(schema).map(Arc::new),
                };
                state.agreed = Some(agreed.clone());
                Ok(agreed)
            }
        }
    }

    /// A replica is ready.
    pub(crate) fn replica_joined(&self, now: Instant, id: ReplicaId, terms: Terms) -> Work {
        let mut state = self.lock();
        let batching = state
            .registered
            .as_ref()
            .map_or(Batching::default(), |r| r.batching);
        state.core.replica_joined(id, terms, &batching);
        state.replicas += 1;
        self.metrics.replicas.set(state.replicas as i64);
        // Relaxed: see `has_served`.
        self.served.store(true, Ordering::Relaxed);
        let mut work = Work::default();
        self.collect(&mut state, now, &mut work);
        work
    }

    /// A replica takes no further batches.
    pub(crate) fn replica_draining(&self, id: ReplicaId) -> Work {
        let given_back = self.lock().core.replica_draining(id);
        Work {
            given_back,
            ..Work::default()
        }
    }

    /// A replica is gone, and with it these queries, which get another if they may.
    pub(crate) fn replica_left(&self, now: Instant, id: ReplicaId, lost: Vec<Ask>) -> Work {
        let mut state = self.lock();
        state.replicas -= 1;
        self.metrics.replicas.set(state.replicas as i64);
        let given_back = state.core.replica_left(id);
        let mut work = Work {
            given_back,
            ..Work::default()
        };
        fail_over(&mut state, now, lost, &mut work);
        self.collect(&mut state, now, &mut work);
        work
    }

    /// A batch was not sent: its queries get another replica if they may.
    pub(crate) fn take_back(&self, now: Instant, asks: Vec<Ask>) -> Work {
        let mut state = self.lock();
        let mut work = Work::default();
        fail_over(&mut state, now, asks, &mut work);
        self.collect(&mut state, now, &mut work);
        work
    }

    /// Whether nothing is registered and nobody is connected.
    pub(crate) fn is_unused(&self) -> bool {
        let state = self.lock();
        state.registered.is_none() && state.replicas == 0
    }

    /// A batch ended; forms the next ones. `spare` is an empty list that an earlier one came in.
    pub(crate) fn batch_ended(
        &self,
        now: Instant,
        id: ReplicaId,
        end: BatchEnd,
        spare: Option<Vec<Ask>>,
    ) -> Work {
        let mut state = self.lock();
        spare
            .into_iter()
            .for_each(|spare| state.core.recycle(spare));
        state.core.batch_ended(now, id, end);
        let mut work = Work::default();
        self.collect(&mut state, now, &mut work);
        work
    }

    /// The wake-up for `at` came: forms what batches can be formed.
    pub(crate) fn woken(&self, now: Instant, at: Instant) -> Work {
        let mut state = self.lock();
        state.wake_at = state.wake_at.filter(|pending| *pending != at);
        let mut work = Work::default();
        self.collect(&mut state, now, &mut work);
        work
    }

    /// Takes note whether the last batch failed; says whether that is news.
    pub(crate) fn set_failing(&self, failing: bool) -> bool {
        // Relaxed: only a log line depends on it.
        self.failing.swap(failing, Ordering::Relaxed) != failing
    }

    fn collect(&self, state: &mut State, now: Instant, work: &mut Work) {
        let mut expired = Vec::new();
        loop {
            match state.core.next(now, &mut expired) {
                Next::Batch { replica, queries } => {
                    work.batches.push(Batch {
                        replica,
                        asks: queries,
                    });
                }
                Next::Wait(at) => {
                    if state.wake_at.is_none_or(|pending| at < pending) {
                        state.wake_at = Some(at);
                        work.wake_at = Some(at);
                    }
                    break;
                }
                Next::Idle => break,
            }
        }
        let cause = Cause::ExpiredQueue;
        work.given_back
            .extend(expired.into_iter().map(|query| GivenBack { query, cause }));
        self.metrics
            .queue_queries
            .set(state.core.queue_len() as i64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Queues a query whose input was checked against the schema that the replicas have now. All
/// of them may have left and others come since: then it is lost.
#[allow(
    clippy::result_large_err,
    reason = "a refused query is given back, not dropped"
)]
fn push_one(state: &mut State, now: Instant, ask: Ask) -> Result<(), GivenBack<Ask>> {
    match &state.agreed {
        Some(agreed) if Arc::ptr_eq(&agreed.schema, &ask.schema) => state.core.push(now, ask),
        _ => Err(GivenBack {
            query: ask,
            cause: Cause::ReplicaLost,
        }),
    }
}

/// Queues lost queries again, each at most once; the others are given back.
fn fail_over(state: &mut State, now: Instant, lost: Vec<Ask>, work: &mut Work) {
    let cause = Cause::ReplicaLost;
    for mut ask in lost {
        if !ask.may_fail_over(now) {
            work.given_back.push(GivenBack { query: ask, cause });
            continue;
        }
        ask.fail_overs += 1;
        if let Err(given) = push_one(state, now, ask) {
            work.given_back.push(GivenBack { cause, ..given });
        }
    }
}

impl Work {
    /// Answers what was given back. Called after the lane's lock is released.
    pub(crate) fn answer_given_back(&mut self) {
        for given in self.given_back.drain(..) {
            given.query.answer(Err(given.cause.into()));
        }
    }
}
