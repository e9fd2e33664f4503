//! One version's batcher, shared by all cores under one short lock.
//!
//! # Invariants
//! - No lock is held while a query is answered or a batch is handed over.
//! - A lane that waits has a wake-up on its way that is not later than it needs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skysail_core::batching::{
    Actions, Answered, Arrival, BatchNumber, Batcher, Cancel, Dispatch, Ended, Explained, Options,
    Returned, choice,
};
use skysail_core::registry::{Application, Batching, ModelVersion};
use skysail_core::replica::{ReplicaId, ReplicaState, Terms};
use skysail_core::{Cause, Cost, Input, Name};
use skysail_monitor::ModelMetrics;
use skysail_rpc::Schema;
use skysail_rpc::channel::SharedLog;
use skysail_rpc::rows::RowLog;
use smallvec::SmallVec;

use crate::answer::Failure;
use crate::ask::Ask;
use crate::requests::Counters;
use crate::standing::Standing;

/// Tokio's timers go by milliseconds: so late may a wake-up be.
const TIMER_LATENESS: Duration = Duration::from_millis(1);
/// Lists of rows that are kept for batches to come: about as many as are in flight.
const SPARE_MAX: usize = 64;
/// Applications of one model that are told apart; the others share [`NOBODYS`].
const APPLICATIONS_MAX: usize = 255;

/// The place of queries of no application, or of one too many: it has no guarantee. The first one,
/// as the queue looks at all places up to the last that was used.
pub(crate) const NOBODYS: usize = 0;

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

/// A batch for a replica. Its rows stay where they are until the replica has answered it, also
/// if its queries have had their outcome by then.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) replica: ReplicaId,
    pub(crate) number: BatchNumber,
    pub(crate) rows: Vec<Row>,
    /// After it no answer is of use.
    pub(crate) deadline: Instant,
}

/// A query's input in a batch, which may be sent in another order than the batcher's.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) input: Input,
    /// Its place in the batcher's order.
    pub(crate) index: u32,
}

/// What a lane wants done after its lock is released.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Work {
    pub(crate) batches: SmallVec<[Batch; 1]>,
    pub(crate) cancels: SmallVec<[Cancel; 1]>,
    /// A wake-up to schedule.
    pub(crate) wake_at: Option<Instant>,
    /// What the model said of the queries that it failed on.
    pub(crate) error: Option<Arc<str>>,
    given_back: Vec<Returned<Ask>>,
}

/// One version of a model, registered or not.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) model: Name,
    pub(crate) version: Name,
    pub(crate) metrics: ModelMetrics,
    pub(crate) requests: Counters,
    state: Mutex<State>,
    served: AtomicBool,
    failing: AtomicBool,
}

#[derive(Debug)]
struct State {
    batcher: Batcher<Ask>,
    /// Empty between two calls.
    actions: Actions<Ask>,
    agreed: Option<Agreed>,
    registered: Option<Arc<ModelVersion>>,
    /// In what its queries are measured.
    cost: Cost,
    replicas: usize,
    /// The earliest wake-up that is on its way.
    wake_at: Option<Instant>,
    /// Empty, for the batches to come.
    spare: Vec<Vec<Row>>,
    /// From the place on that the batcher knows the first one by.
    applications: Vec<Option<Name>>,
}

impl Lane {
    pub(crate) fn new(model: Name, version: Name, metrics: ModelMetrics) -> Lane {
        let policy = choice::policy(&Batching::default(), TIMER_LATENESS);
        let state = State {
            batcher: Batcher::new(Instant::now(), Options::default(), policy),
            actions: Actions::default(),
            agreed: None,
            registered: None,
            cost: Cost::default(),
            replicas: 0,
            wake_at: None,
            spare: Vec::new(),
            applications: Vec::new(),
        };
        Lane {
            model,
            version,
            metrics,
            requests: Counters::new(),
            state: Mutex::new(state),
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
        self.lock().batcher.is_serving()
    }

    /// Whether a replica has ever been ready.
    pub(crate) fn has_served(&self) -> bool {
        // Relaxed: a query that just misses the news is answered by the previous version.
        self.served.load(Ordering::Relaxed)
    }

    /// What a replica is doing, and how many batches it has.
    pub(crate) fn replica(&self, now: Instant, id: ReplicaId) -> Option<(ReplicaState, usize)> {
        self.lock().batcher.replica(now, id)
    }

    /// How it stands, where applications want their answers within `objective`.
    pub(crate) fn standing(&self, now: Instant, objective: Option<Duration>) -> Standing {
        let state = self.lock();
        let batcher = &state.batcher;
        let age = |one: &Explained| now.saturating_duration_since(batcher.instant(one.at));
        let explained = batcher.explained().map(|one| (age(one), *one));
        Standing {
            model: self.model.clone(),
            version: self.version.clone(),
            report: batcher.report(now),
            explained: explained.collect(),
            batching: state
                .registered
                .as_ref()
                .map(|version| version.batching.clone()),
            objective,
            requests: self.requests.read(),
        }
    }

    /// The place of an application among those that this lane answers.
    pub(crate) fn application(&self, now: Instant, app: &Application) -> usize {
        let mut state = self.lock();
        let known = state.applications.iter();
        let taken = known
            .clone()
            .position(|one| one.as_ref() == Some(&app.name));
        let index = taken.or_else(|| known.clone().position(Option::is_none));
        let index = index.unwrap_or(state.applications.len());
        if index >= APPLICATIONS_MAX {
            return NOBODYS;
        }
        if index == state.applications.len() {
            state.applications.push(None);
        }
        state.applications[index] = Some(app.name.clone());
        let place = place_of(index);
        state.batcher.set_guarantee(now, place, app.guarantee);
        place
    }

    /// Frees the places of applications that are no more.
    pub(crate) fn forget_applications(&self, now: Instant, exists: impl Fn(&Name) -> bool) {
        let mut state = self.lock();
        for index in 0..state.applications.len() {
            if state.applications[index]
                .as_ref()
                .is_some_and(|name| !exists(name))
            {
                state.applications[index] = None;
                state.batcher.set_guarantee(now, place_of(index), None);
            }
        }
    }

    /// Takes note of the registration; gives back what waits when it ends.
    pub(crate) fn register(&self, registered: Option<Arc<ModelVersion>>) -> Work {
        let mut state = self.lock();
        let state = &mut *state;
        match &registered {
            Some(version) => {
                let policy = choice::policy(&version.batching, TIMER_LATENESS);
                state.batcher.set_policy(choice::options(version), policy);
                state.cost = version.batching.cost();
            }
            None => state.batcher.drain(Cause::Draining, &mut state.actions),
        }
        state.registered = registered;
        state.work()
    }

    /// Queues a query, and forms what batches can be formed.
    pub(crate) fn push(&self, now: Instant, ask: Ask) -> Work {
        let mut state = self.lock();
        match state.push(now, ask) {
            Ok(()) => state.poll(now),
            Err(returned) => Work {
                given_back: vec![returned],
                ..Work::default()
            },
        }
    }

    /// Queues the queries of one request together, so that they are not sent one by one.
    pub(crate) fn push_all(&self, now: Instant, asks: Vec<Ask>) -> Work {
        let mut state = self.lock();
        let refused: Vec<_> = asks
            .into_iter()
            .filter_map(|ask| state.push(now, ask).err())
            .collect();
        let mut work = state.poll(now);
        work.given_back.extend(refused);
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
        state.batcher.replica_joined(id, terms);
        state.replicas += 1;
        self.metrics.replicas.set(state.replicas as i64);
        // Relaxed: see `has_served`.
        self.served.store(true, Ordering::Relaxed);
        state.poll(now)
    }

    /// A replica takes no further batches; what it has not begun goes to others.
    pub(crate) fn replica_draining(&self, now: Instant, id: ReplicaId) -> Work {
        let mut state = self.lock();
        let state = &mut *state;
        let actions = &mut state.actions;
        state.batcher.replica_draining(now, id, actions);
        state.poll(now)
    }

    /// A replica is gone; its queries go to others if they may.
    pub(crate) fn replica_left(&self, now: Instant, id: ReplicaId) -> Work {
        let mut state = self.lock();
        let state = &mut *state;
        state.replicas -= 1;
        self.metrics.replicas.set(state.replicas as i64);
        state.batcher.replica_left(now, id, &mut state.actions);
        state.poll(now)
    }

    /// Whether nothing is registered and nobody is connected.
    pub(crate) fn is_unused(&self) -> bool {
        let state = self.lock();
        state.registered.is_none() && state.replicas == 0
    }

    /// A batch ended; forms the next ones. `rows` is the list that it came in; the queries that
    /// it answers are put into `answered`, which is empty.
    pub(crate) fn batch_ended(
        &self,
        now: Instant,
        (replica, number): (ReplicaId, BatchNumber),
        ended: Ended,
        rows: Vec<Row>,
        answered: &mut Vec<Answered<Ask>>,
    ) -> Work {
        let mut state = self.lock();
        let state = &mut *state;
        state.recycle(rows);
        let actions = &mut state.actions;
        std::mem::swap(&mut actions.answered, answered);
        state
            .batcher
            .batch_ended(now, replica, number, ended, actions);
        std::mem::swap(&mut actions.answered, answered);
        state.poll(now)
    }

    /// A batch found no way to its replica: its queries are given back.
    #[cold]
    pub(crate) fn batch_lost(&self, now: Instant, batch: Batch) -> Work {
        let which = (batch.replica, batch.number);
        self.batch_ended(now, which, Ended::Failed, batch.rows, &mut Vec::new())
    }

    /// The wake-up for `at` came: forms what batches can be formed.
    pub(crate) fn woken(&self, now: Instant, at: Instant) -> Work {
        let mut state = self.lock();
        state.wake_at = state.wake_at.filter(|pending| *pending != at);
        state.poll(now)
    }

    /// Takes note whether the last batch failed; says whether that is news.
    pub(crate) fn set_failing(&self, failing: bool) -> bool {
        // Relaxed: only a log line depends on it.
        self.failing.swap(failing, Ordering::Relaxed) != failing
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of the application that stands at `index` among those that a lane knows.
fn place_of(index: usize) -> usize {
    NOBODYS + 1 + index
}

impl State {
    /// Queues a query whose input was checked against the schema that the replicas have now.
    /// All of them may have left and others come since: then it is lost.
    #[allow(
        clippy::result_large_err,
        reason = "a refused query is given back, not dropped"
    )]
    fn push(&mut self, now: Instant, ask: Ask) -> Result<(), Returned<Ask>> {
        let agreed = self.agreed.as_ref().map(|agreed| &agreed.schema);
        if !agreed.is_some_and(|schema| Arc::ptr_eq(schema, &ask.schema)) {
            return Err(Returned::new(ask, Cause::ReplicaLost));
        }
        let arrival = Arrival {
            application: ask.application,
            deadline: ask.deadline,
            cost: self.cost.of(&ask.input, &ask.schema),
            bytes: ask.input.weight(),
            priority: ask.priority,
        };
        let pushed = self.batcher.push(now, ask, arrival, &mut self.actions);
        pushed.map(|_| ())
    }

    /// Forms what batches can be formed.
    fn poll(&mut self, now: Instant) -> Work {
        self.batcher.poll(now, &mut self.actions);
        self.work()
    }

    /// What the batcher wants done.
    fn work(&mut self) -> Work {
        let mut work = Work {
            given_back: std::mem::take(&mut self.actions.given_back),
            ..Work::default()
        };
        work.cancels.extend(self.actions.cancels.drain(..));
        for index in 0..self.actions.dispatches.len() {
            let batch = self.batch(self.actions.dispatches[index]);
            work.batches.push(batch);
        }
        self.actions.dispatches.clear();
        if let Some(at) = self.actions.wake_at.take()
            && self.wake_at.is_none_or(|pending| at < pending)
        {
            self.wake_at = Some(at);
            work.wake_at = Some(at);
        }
        work
    }

    fn batch(&mut self, dispatch: Dispatch) -> Batch {
        let Dispatch {
            replica, number, ..
        } = dispatch;
        let mut rows = self.spare.pop().unwrap_or_default();
        let mut last = None;
        let asks = self.batcher.batch(replica, number).flatten();
        for (index, ask) in (0..).zip(asks) {
            let input = ask.input.clone();
            rows.push(Row { input, index });
            last = last.max(Some(ask.deadline));
            ask.answerer.sent();
        }
        let deadline = last.expect("a batch has a query");
        Batch {
            replica,
            number,
            rows,
            deadline,
        }
    }

    fn recycle(&mut self, mut rows: Vec<Row>) {
        rows.clear();
        if self.spare.len() < SPARE_MAX {
            self.spare.push(rows);
        }
    }
}

impl Work {
    /// Adds what another call wants done.
    pub(crate) fn absorb(&mut self, other: Work) {
        self.batches.extend(other.batches);
        self.cancels.extend(other.cancels);
        self.given_back.extend(other.given_back);
        self.wake_at = self.wake_at.into_iter().chain(other.wake_at).min();
        self.error = self.error.take().or(other.error);
    }

    /// Answers what was given back. Called after the lane's lock is released.
    pub(crate) fn answer_given_back(&mut self) {
        let error = self.error.take();
        for Returned { query, cause, .. } in self.given_back.drain(..) {
            let detail = error.clone().filter(|_| cause == Cause::ModelError);
            query.answer(Err(Failure { cause, detail }));
        }
    }
}
