//! The handle through which everybody uses the data plane.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use skysail_core::grants::Grants;
use skysail_core::registry::{ModelVersion, Registry};
use skysail_core::replica::ReplicaId;
use skysail_core::{Cause, Input, Name};
use skysail_monitor::Metrics;
use skysail_rpc::Schema;
use skysail_rpc::channel::{FrontendChannel, Sharing};
use skysail_rpc::message::{Reject, RejectReason};
use skysail_rpc::session::Timing;
use skysail_rpc::transport::Listener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::answer::{Answer, AskError, Prediction};
use crate::ask::{Ask, AskOptions};
use crate::lane::{Lane, Work};
use crate::replicas::{Directory, ReplicaStatus};
use crate::routes::{Destination, Resolved, Route, Routes};
use crate::rpc::{Command, Rpc};
use crate::shards::{Flight, Found, Shards};
use crate::standing::Standing;
use crate::ticket::{Answerer, Pending, Said, ticket};
use crate::version_counts::VersionCounts;

/// Commands that wait for the task that owns the containers' socket: at most one batch a
/// slot of each replica, and few others.
const COMMANDS_MAX: usize = 1 << 16;

/// `Options::model_slo` if nothing else is said.
const MODEL_SLO: Duration = Duration::from_secs(10);

/// How the data plane behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the prediction cache. Zero turns it off, and single flight with it.
    pub cache_bytes: usize,
    /// What a container that comes over tcp without a key must show. `None`: nothing.
    pub join_token: Option<Vec<u8>>,
    /// Which models containers that come with a key may register. Whoever lets keys in
    /// replaces it, before the session that it is meant for says hello.
    pub grants: Arc<ArcSwap<Grants>>,
    /// Heartbeats and time-outs of container sessions.
    pub timing: Timing,
    /// Seed of the cache's hash: random, so that nobody outside can make collisions.
    pub hash_seed: u64,
    /// Memory shared with containers.
    pub sharing: Sharing,
    /// Threads on which queries come.
    pub cores: usize,
    /// Time for the answer to a query that names a model and no application.
    pub model_slo: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let hash_seed = getrandom::u64().unwrap_or(0x5eed);
        let cache_bytes = 32 << 20;
        Options {
            cache_bytes,
            join_token: None,
            grants: Arc::default(),
            timing: Timing::default(),
            hash_seed,
            sharing: Sharing::default(),
            cores: 1,
            model_slo: MODEL_SLO,
        }
    }
}

/// The data plane. Cheap to clone; the same one behind every clone.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Shared>);

/// What the asking tasks and the task that owns the socket share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) directory: Directory,
    routes: ArcSwap<Routes>,
    lanes: Mutex<HashMap<(Name, Name), Arc<Lane>>>,
    cache: Option<Shards>,
    commands: mpsc::Sender<Command>,
    next_replica: AtomicU64,
    draining: AtomicBool,
}

impl Engine {
    /// Starts the task that owns `listener` on `runtime`.
    pub fn start<L: Listener + 'static>(
        runtime: &Handle,
        listener: L,
        metrics: Arc<Metrics>,
        options: Options,
    ) -> Engine {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let cache = options.cache_bytes.checked_sub(1);
        let shared = Arc::new(Shared {
            cache: cache.map(|_| Shards::new(options.cache_bytes, options.hash_seed)),
            options,
            metrics,
            directory: Directory::default(),
            routes: ArcSwap::default(),
            lanes: Mutex::default(),
            commands,
            next_replica: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        });
        let _inside = runtime.enter();
        let channel = FrontendChannel::new(listener, shared.options.sharing.clone());
        runtime.spawn(Rpc::new(channel, shared.clone(), received).run());
        Engine(shared)
    }

    /// Replaces the registry. When it returns, queries see the new one; what waited for a
    /// version that was removed is answered, its replicas are sent away, and none of its
    /// cached answers is served again.
    pub fn publish(&self, registry: &Registry) {
        let shared = &self.0;
        let lane = |version: &ModelVersion| shared.lane(&version.model, &version.version);
        let slo = shared.options.model_slo;
        let routes = Arc::new(Routes::new(registry, &shared.metrics, slo, lane));
        let before = shared.routes.swap(routes.clone());
        before.forget_metrics_unless_in(&routes, &shared.metrics);
        for version in registry
            .models
            .values()
            .flat_map(|model| model.versions.values())
        {
            // Also one that nothing links yet: its containers are held to what is registered.
            shared.lane(&version.model, &version.version);
        }
        let now = Instant::now();
        for lane in shared.lanes() {
            lane.forget_applications(now, |app| registry.applications.contains_key(app));
            let model = registry.models.get(&lane.model);
            let now = model
                .and_then(|model| model.versions.get(&lane.version))
                .cloned();
            shared.update_lane(&lane, now.as_ref());
        }
    }

    /// The route of an application, if it is registered.
    #[must_use]
    pub fn route(&self, app: &str) -> Option<Arc<Route>> {
        self.0.routes.load().application(app).cloned()
    }

    /// The route of a model that is asked by its own name, if it is registered.
    #[must_use]
    pub fn model_route(&self, model: &str) -> Option<Arc<Route>> {
        self.0.routes.load().model(model).cloned()
    }

    /// The routes of all applications and all models, in no order.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<Route>> {
        self.0.routes.load().all().cloned().collect()
    }

    /// Connected replicas.
    #[must_use]
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        self.0.directory.list(Instant::now())
    }

    /// How every version stands that is registered or has a replica, by model and version.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let (now, routes) = (Instant::now(), self.0.routes.load());
        let lanes = self.0.lanes();
        let standing = |lane: &Arc<Lane>| lane.standing(now, routes.objective(&lane.model));
        let mut standings: Vec<_> = lanes.iter().map(standing).collect();
        standings.sort_by(|a, b| (&a.model, &a.version).cmp(&(&b.model, &b.version)));
        standings
    }

    /// Whether predictions are cached.
    #[must_use]
    pub fn has_cache(&self) -> bool {
        self.0.cache.is_some()
    }

    /// What was counted of every version that is registered or has a replica, by model and
    /// version.
    #[must_use]
    pub fn version_counts(&self) -> Vec<VersionCounts> {
        let lanes = self.0.lanes();
        let counts =
            |lane: &Arc<Lane>| VersionCounts::of(&lane.model, &lane.version, &lane.metrics);
        let mut counts: Vec<_> = lanes.iter().map(counts).collect();
        counts.sort_by(|a, b| (&a.model, &a.version).cmp(&(&b.model, &b.version)));
        counts
    }

    /// The metrics of this data plane.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// All metrics as text, with those figures brought up to date that nobody needs between
    /// two readings.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        for lane in self.0.lanes() {
            let agreed = lane.agreed();
            let held = agreed.and_then(|agreed| Some(agreed.log()?.rows_held()));
            lane.metrics.row_log_rows_held.set(held.unwrap_or(0) as i64);
        }
        let standings = self.standings();
        self.0
            .metrics
            .show_lanes(standings.iter().map(Standing::reading).collect());
        self.0.metrics.text()
    }

    /// Answers a query by `deadline`, with a prediction or with the cause for the default.
    ///
    /// # Errors
    /// If the input is not a row of the tensors of the version that it was resolved to.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the answer; the query itself may still be computed, and
    /// its answer cached.
    pub async fn ask(
        &self,
        to: &Resolved,
        input: Input,
        options: impl Into<AskOptions>,
    ) -> Result<Answer, AskError> {
        let (Some(destination), Some(schema)) = (&to.destination, to.schema()) else {
            return Ok(Answer::Default(Cause::NoReplica.into()));
        };
        check(schema, &input)?;
        let question = Question {
            input,
            schema: schema.clone(),
            options: options.into(),
        };
        let asked = self.0.submit(destination, question.clone());
        Ok(self.answer(destination, question, asked).await)
    }

    /// Answers the queries of one request, in their order. They are queued together, so that a
    /// replica that is free takes more than the first.
    ///
    /// # Errors
    /// As [`Engine::ask`]; then none is asked.
    ///
    /// # Cancel safety
    /// As [`Engine::ask`].
    pub async fn ask_all(
        &self,
        to: &Resolved,
        mut inputs: Vec<Input>,
        options: impl Into<AskOptions>,
    ) -> Result<Vec<Answer>, AskError> {
        if inputs.len() == 1 {
            let only = inputs.pop().expect("there is one");
            return Ok(vec![self.ask(to, only, options).await?]);
        }
        let (Some(destination), Some(schema)) = (&to.destination, to.schema()) else {
            let default = Answer::Default(Cause::NoReplica.into());
            return Ok(vec![default; inputs.len()]);
        };
        inputs.iter().try_for_each(|input| check(schema, input))?;
        let options = options.into();
        let question = |input| Question {
            input,
            schema: schema.clone(),
            options,
        };
        let questions: Vec<_> = inputs.into_iter().map(question).collect();
        let asked = self.0.submit_all(destination, &questions);
        let mut answers = Vec::with_capacity(questions.len());
        for (question, asked) in questions.into_iter().zip(asked) {
            answers.push(self.answer(destination, question, asked).await);
        }
        Ok(answers)
    }

    /// Answers everything that waits with `draining`, sends the containers away, and takes
    /// no further query.
    pub fn drain(&self) {
        // Release pairs with the load in `submit`.
        self.0.draining.store(true, Ordering::Release);
        for lane in self.0.lanes() {
            self.0.carry_out(&lane, lane.register(None));
        }
        drop(self.0.command(Command::DrainAll));
    }

    async fn answer(
        &self,
        to: &Destination,
        question: Question,
        (mut pending, mut source): (Pending, Source),
    ) -> Answer {
        let deadline = question.options.deadline;
        loop {
            let (until, joined) = match source {
                Source::Joined(until) => (deadline.min(until), true),
                Source::Cache | Source::Replica => (deadline, false),
            };
            match within(pending, until).await {
                Ok(output) => {
                    let (version, cached) = (to.version.clone(), source == Source::Cache);
                    return Answer::Prediction(Prediction {
                        output,
                        version,
                        cached,
                    });
                }
                // The query that this one joined was lost, or is late, by no fault of this one.
                Err(failure) if joined && may_ask_again(failure.cause, deadline) => {
                    (pending, source) = self.0.submit(to, question.clone());
                }
                Err(failure) => return Answer::Default(failure),
            }
        }
    }
}

/// A query, checked.
#[derive(Clone, Debug)]
struct Question {
    input: Input,
    schema: Arc<Schema>,
    options: AskOptions,
}

impl Question {
    /// The query that it becomes if nobody has asked it before.
    fn ask(self, application: usize, answerer: Answerer, flight: Option<Flight>) -> Ask {
        Ask {
            input: self.input,
            schema: self.schema,
            application,
            deadline: self.options.deadline,
            priority: self.options.priority,
            answerer,
            flight,
        }
    }
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Cache,
    /// A query that somebody else asks until then.
    Joined(Instant),
    Replica,
}

impl Shared {
    pub(crate) fn lane(&self, model: &Name, version: &Name) -> Arc<Lane> {
        let mut lanes = self.lock_lanes();
        let key = (model.clone(), version.clone());
        let make = || {
            let metrics = self.metrics.model(model.as_str(), version.as_str());
            Arc::new(Lane::new(model.clone(), version.clone(), metrics))
        };
        lanes.entry(key).or_insert_with(make).clone()
    }

    pub(crate) fn next_replica(&self) -> ReplicaId {
        // Relaxed: only uniqueness matters.
        ReplicaId(self.next_replica.fetch_add(1, Ordering::Relaxed))
    }

    /// Does what a lane wants done: answers, hands batches over, schedules a wake-up.
    pub(crate) fn carry_out(self: &Arc<Self>, lane: &Arc<Lane>, mut work: Work) {
        while !work.batches.is_empty() {
            let batch = work.batches.remove(0);
            if let Err(Command::Batch(_, batch)) = self.command(Command::Batch(lane.clone(), batch))
            {
                work.absorb(lane.batch_lost(Instant::now(), batch));
            }
        }
        for cancel in work.cancels.drain(..) {
            // Lost, the batch stays where it is, and ends there.
            drop(self.command(Command::Cancel(cancel)));
        }
        work.answer_given_back();
        if let Some(at) = work.wake_at {
            self.wake_later(lane, at);
        }
    }

    /// Wakes the lane at `at`.
    pub(crate) fn wake_later(self: &Arc<Self>, lane: &Arc<Lane>, at: Instant) {
        let (shared, lane) = (self.clone(), lane.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            let work = lane.woken(Instant::now(), at);
            shared.carry_out(&lane, work);
        });
    }

    /// Hands a command to the task that owns the socket, or gives it back if that has no room.
    fn command(&self, command: Command) -> Result<(), Command> {
        self.commands.try_send(command).map_err(|refused| {
            tracing::error!(limit = COMMANDS_MAX, "the RPC task does not keep up");
            refused.into_inner()
        })
    }

    /// Looks the question up, and sends it on its way if nobody has asked it before.
    fn submit(self: &Arc<Self>, to: &Destination, question: Question) -> (Pending, Source) {
        let (pending, source, ask) = self.prepare(to, question);
        if let Some(ask) = ask {
            let work = to.lane.push(Instant::now(), ask);
            self.carry_out(&to.lane, work);
        }
        (pending, source)
    }

    /// As [`Self::submit`], of several at once.
    fn submit_all(
        self: &Arc<Self>,
        to: &Destination,
        questions: &[Question],
    ) -> Vec<(Pending, Source)> {
        let mut asks = Vec::with_capacity(questions.len());
        let mut prepare = |question: &Question| {
            let (pending, source, ask) = self.prepare(to, question.clone());
            asks.extend(ask);
            (pending, source)
        };
        let asked = questions.iter().map(&mut prepare).collect();
        if !asks.is_empty() {
            let work = to.lane.push_all(Instant::now(), asks);
            self.carry_out(&to.lane, work);
        }
        asked
    }

    /// The promise of an answer, where it comes from, and the query to be queued for it, if one
    /// is needed.
    fn prepare(&self, to: &Destination, question: Question) -> (Pending, Source, Option<Ask>) {
        let (answerer, pending) = ticket();
        // Acquire pairs with the store in `drain`.
        if self.draining.load(Ordering::Acquire) {
            answerer.answer(Err(Cause::Draining.into()));
            return (pending, Source::Replica, None);
        }
        match self.look_up(to, &question, answerer) {
            Found::Output(output) => (ready(Ok(output)), Source::Cache, None),
            Found::Joined(until) => (pending, Source::Joined(until), None),
            Found::Nothing(answerer, flight) => {
                let ask = question.ask(to.application, answerer, flight);
                (pending, Source::Replica, Some(ask))
            }
        }
    }

    fn look_up(&self, to: &Destination, question: &Question, answerer: Answerer) -> Found {
        let Some(cache) = self.cache.as_ref().filter(|_| question.options.cache) else {
            return Found::Nothing(answerer, None);
        };
        let (generation, metrics) = (to.version.generation, &to.lane.metrics);
        let deadline = question.options.deadline;
        let found = cache.lookup(generation, &question.input, deadline, answerer);
        match found {
            Found::Output(_) => metrics.cache_hits.inc(),
            Found::Joined(_) => metrics.cache_joins.inc(),
            Found::Nothing(..) => metrics.cache_misses.inc(),
        };
        found
    }

    fn update_lane(self: &Arc<Self>, lane: &Arc<Lane>, now: Option<&Arc<ModelVersion>>) {
        let before = lane.registered();
        if before.as_ref().map(|v| v.generation) == now.map(|v| v.generation) {
            return;
        }
        if let (Some(before), Some(cache)) = (&before, &self.cache) {
            cache.purge(before.generation);
        }
        self.carry_out(lane, lane.register(now.cloned()));
        let reject = match (before, now) {
            (Some(_), now) => {
                // The reason says that it was removed.
                let detail = match now {
                    Some(_) => "another one of its name is registered",
                    None => "it is no longer registered",
                };
                Some((RejectReason::Removed, detail.to_owned()))
            }
            (None, Some(version)) => {
                let agreed = lane.agreed();
                let misfit = agreed.and_then(|agreed| misfit(version, &agreed.schema));
                misfit.map(|detail| (RejectReason::WrongSchema, detail))
            }
            (None, None) => None,
        };
        if now.is_none() {
            // Before the sessions are ended: whoever joins afterwards finds a lane that stays.
            self.forget(&mut self.lock_lanes(), lane);
        }
        if let Some((reason, detail)) = reject {
            drop(self.command(Command::End {
                lane: lane.clone(),
                generation: now.map(|version| version.generation),
                reject: Reject { reason, detail },
            }));
        }
    }

    /// Forgets a lane that is neither registered nor served.
    pub(crate) fn forget_if_unused(&self, lane: &Lane) {
        let mut lanes = self.lock_lanes();
        if lane.is_unused() {
            self.forget(&mut lanes, lane);
        }
    }

    /// Forgets this very lane; another one that has its name by now stays.
    fn forget(&self, lanes: &mut HashMap<(Name, Name), Arc<Lane>>, lane: &Lane) {
        let key = (lane.model.clone(), lane.version.clone());
        if lanes
            .get(&key)
            .is_some_and(|known| std::ptr::eq(&**known, lane))
        {
            lanes.remove(&key);
            self.metrics
                .forget_model(lane.model.as_str(), lane.version.as_str());
        }
    }

    fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lock_lanes().values().cloned().collect()
    }

    fn lock_lanes(&self) -> MutexGuard<'_, HashMap<(Name, Name), Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why containers of `schema` cannot serve a version, if they cannot: a single input must be
/// of the registered type. Models of several inputs, or of `tensors`, are not bound by it.
pub(crate) fn misfit(version: &ModelVersion, schema: &Schema) -> Option<String> {
    let expected = version.input_type.datatype()?;
    let [input] = schema.inputs.as_slice() else {
        return None;
    };
    (input.datatype != expected).then(|| {
        let registered = version.input_type;
        format!("the model is registered with input type {registered} ({expected}), the container is {schema}")
    })
}

/// A query whose input is not a row of the model's tensors cannot be right.
fn check(schema: &Schema, input: &Input) -> Result<(), AskError> {
    let (found, expected) = (input.0.len(), schema.inputs.len());
    if found != expected {
        return Err(AskError::Tensors {
            found,
            expected,
            schema: schema.to_string(),
        });
    }
    for (cell, spec) in input.0.iter().zip(&schema.inputs) {
        cell.check(spec)?;
    }
    Ok(())
}

async fn within(pending: Pending, deadline: Instant) -> Said {
    let mut pending = std::pin::pin!(pending);
    match tokio::time::timeout_at(deadline.into(), pending.as_mut()).await {
        Ok(said) => said,
        Err(_) => Err(pending.expired().into()),
    }
}

/// Whether a query that joined another one, which ended so, has reason to ask by itself: its
/// deadline and its application's contract are its own.
fn may_ask_again(cause: Cause, deadline: Instant) -> bool {
    let is_the_others = match cause {
        Cause::Shed | Cause::QueueFull | Cause::ReplicaLost => true,
        Cause::ExpiredQueue | Cause::ExpiredModel => true,
        Cause::NoReplica | Cause::ModelError | Cause::Draining => false,
    };
    is_the_others && deadline > Instant::now()
}

fn ready(said: Said) -> Pending {
    let (answerer, pending) = ticket();
    answerer.answer(said);
    pending
}
