//! Window-EDF: the largest batch that the oldest query bears, unless the others would suffer.
//!
//! An idle replica gets the largest batch that the first deadline allows under the margin of
//! the [`LatencyModel`]. Only if the rest would then miss its deadlines (*pressure*) is the
//! head given up, so that the largest *feasible window* runs instead: the largest `w` such that
//! `w` queries are due after a batch of `w`. Sizing by the head alone collapses once heads are
//! old: a late head makes a small batch, which makes the next head later.
//!
//! Nothing waits for company until queries have been lost; then the *patience* grows, and an
//! underfull batch waits a bounded time for the size that the arrival rate needs.
//!
//! # Invariants
//! - With no patience an idle replica gets a batch, or the queue is shed empty.
//! - A hopeless query is shed by the median, not the margin, and once in a while one is sent
//!   all the same: a profile that is too pessimistic must be able to recover.
//!
//! # Cost
//! A decision: O(1) where the queue limits the batch; O(log^2 n) under pressure. No allocation.

use super::policy::{Decision, Done, Learned, Limit, Plan, Policy, ShedBy, View};
use super::profile::{LatencyModel, Profile};
use super::queue::{Class, Item};
use super::time::At;

/// Patience below this is none.
const PATIENCE_MIN: f64 = 0.02;
/// Times that a batch of one fits between two probes, in the end: a twentieth of a replica at most
/// is tried in vain.
const PROBE_PAUSE_MAX: f64 = 20.0;
/// A batch that takes less than that share of its prediction is news.
const NEWS: f64 = 0.7;
/// What a decision that shed adds to the patience.
const PATIENCE_STEP: f64 = 0.05;
/// Room above the arrival rate that a waited-for batch must bear.
const HEADROOM: f64 = 1.05;
/// Time constant of the slow estimate of the arrival rate, in seconds.
const SLOW_SECONDS: f64 = 1.0;

/// How window-EDF behaves.
#[derive(Clone, Debug)]
pub struct WindowOptions {
    /// Most rows of a batch besides what the container says.
    pub rows_max: Option<usize>,
    /// Share of answered queries that may be late.
    pub late_budget: f64,
    /// Most time that a query waits for company, as a share of its objective; 0: none.
    pub wait_share_max: f64,
    /// Batch sizes that the model has compiled shapes for, ascending; empty: any.
    pub allowed_sizes: Vec<usize>,
    /// Known latency `alpha + beta b` in seconds, to start from.
    pub profile: Option<(f64, f64)>,
    /// Seconds by which the caller's timers may be late: a wait ends so much earlier.
    pub timer_lateness: f64,
}

impl Default for WindowOptions {
    fn default() -> Self {
        WindowOptions {
            rows_max: None,
            late_budget: 0.009,
            wait_share_max: 0.5,
            allowed_sizes: Vec::new(),
            profile: None,
            timer_lateness: 0.0,
        }
    }
}

/// Arrivals a second, in size.
#[derive(Clone, Copy, Debug, Default)]
struct ArrivalRate {
    fast: f64,
    slow: f64,
    counted: u64,
    at: At,
}

impl ArrivalRate {
    fn observe(&mut self, now: At, arrived: u64, fast_seconds: f64) {
        let seconds = now.since(self.at);
        if seconds <= 0.0 {
            return;
        }
        let rate = (arrived - self.counted) as f64 / seconds;
        let gain = |constant: f64| 1.0 - (-seconds / constant).exp();
        self.fast += gain(fast_seconds) * (rate - self.fast);
        self.slow += gain(SLOW_SECONDS) * (rate - self.slow);
        self.counted = arrived;
        self.at = now;
    }

    fn most(&self) -> f64 {
        self.fast.max(self.slow)
    }

    /// What people see: it fades once nothing was decided for a while, as nothing came.
    fn faded(&self, now: At) -> f64 {
        let silent = (now.since(self.at) / SLOW_SECONDS - 1.0).max(0.0);
        self.slow * (-silent).exp()
    }
}

/// The policy, over a model of latency.
#[derive(Debug)]
pub struct Window<M = Profile> {
    model: M,
    options: WindowOptions,
    rate: ArrivalRate,
    patience: f64,
    /// When the patience was last decayed, and with what time constant it is.
    patient_since: At,
    last_probe: Option<At>,
    last_done: Option<At>,
    /// Seconds until the next one; doubled by each that brought no news.
    probe_pause: f64,
    shed_at: Option<At>,
}

/// Sizes considered in one decision.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Of the batch that the head allows.
    batch: f64,
    /// Of the largest batch: what waits, under all caps.
    limit: f64,
}

impl Sizes {
    fn bound(&self) -> bool {
        self.batch < self.limit
    }
}

impl Window<Profile> {
    /// Learns the latency from batches.
    #[must_use]
    pub fn new(options: WindowOptions) -> Self {
        let profile = match options.profile {
            Some((alpha, beta)) => Profile::seeded(options.late_budget, alpha, beta),
            None => Profile::new(options.late_budget),
        };
        Window::with_model(options, profile)
    }
}

impl<M: LatencyModel> Window<M> {
    /// Uses `model` for the latency.
    #[must_use]
    pub fn with_model(options: WindowOptions, model: M) -> Self {
        Window {
            model,
            options,
            rate: ArrivalRate::default(),
            patience: 0.0,
            patient_since: At::default(),
            last_probe: None,
            last_done: None,
            probe_pause: 0.0,
            shed_at: None,
        }
    }

    /// What is known of the latency.
    #[must_use]
    pub fn model(&self) -> &M {
        &self.model
    }

    /// What is known of the latency, to change it.
    pub fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    /// How much waiting is allowed: 0 to 1.
    #[must_use]
    pub fn patience(&self) -> f64 {
        self.patience
    }

    fn observe(&mut self, view: &View<'_>, objective: f64) {
        let fast_seconds = (objective / 2.0).max(1e-4);
        self.rate.observe(view.now, view.arrived_size, fast_seconds);
        let constant = (20.0 * objective).max(1.0);
        let seconds = view.now.since(self.patient_since).max(0.0);
        self.patience *= (-seconds / constant).exp();
        self.patient_since = view.now;
    }

    /// Sheds or expiries of one moment count once.
    fn lost(&mut self, now: At) {
        if self.shed_at != Some(now) {
            self.shed_at = Some(now);
            self.patience = (self.patience + PATIENCE_STEP).min(1.0);
        }
    }

    /// Step 1: a head that not even a batch of its own would save.
    fn hopeless(&mut self, view: &View<'_>, head: &Item) -> Option<Decision> {
        let alone = self.model.typical(view.replica, f64::from(head.cost));
        let before = view.start.after(alone);
        let alone_in_queue = view.queue.rows() == 1;
        let is_probe = alone_in_queue && self.last_probe == Some(view.now);
        if head.deadline >= before || is_probe {
            return None;
        }
        let none_left = view.queue.size_from(Class::Any, before) == 0.0;
        let objective = head.deadline.since(head.arrival);
        let pause = self.probe_pause.max(objective);
        let due = |at: At| view.now.since(at) >= pause;
        // Batches that are answered say more than a probe would.
        let probe = none_left && self.last_probe.max(self.last_done).is_none_or(due);
        if probe {
            self.last_probe = Some(view.now);
            self.probe_pause = (2.0 * pause).min(PROBE_PAUSE_MAX * alone);
            if alone_in_queue {
                return None;
            }
        }
        // What no batch could have answered in time is no reason to wait for company.
        if objective >= alone {
            self.lost(view.now);
        }
        Some(Decision::Shed {
            before,
            keep_last: probe,
            by: ShedBy::Hopeless,
        })
    }

    /// Step 2: what the head allows.
    fn sizes(&self, view: &View<'_>, head: &Item, class: Class) -> Sizes {
        let waiting = match class {
            Class::Any => view.queue.size(),
            class => view.queue.size_of(class),
        };
        let rows_max = self.rows_max(view) as f64 * view.cost_mean();
        let least = f64::from(head.cost);
        let limit = waiting
            .min(rows_max)
            .min(self.model.size_cap().max(least))
            .max(least);
        let slack = head.deadline.since(view.start);
        let within = self.model.size_within(view.replica, slack);
        let within = self.model.whole(within);
        Sizes {
            batch: within.clamp(least, limit),
            limit,
        }
    }

    fn rows_max(&self, view: &View<'_>) -> usize {
        let own = self.options.rows_max.unwrap_or(usize::MAX);
        view.rows_max().min(own).max(1)
    }

    /// Step 3: until when to wait for company, if waiting is earned and would help.
    fn wait_until(&self, view: &View<'_>, head: &Item, sizes: &Sizes) -> Option<At> {
        if sizes.bound() || self.patience < PATIENCE_MIN || self.options.wait_share_max <= 0.0 {
            return None;
        }
        let idle = view.fleet.idle_count(view.now).max(1) as f64;
        let waiting = view.queue.size();
        let full = self.rows_max(view) as f64 * view.cost_mean();
        let full = full.min(self.model.size_cap());
        if waiting >= self.needed(view, full) / idle || waiting >= full {
            return None;
        }
        let one_more = self
            .model
            .cautious(view.replica, waiting + view.cost_mean());
        let share = self.options.wait_share_max * self.patience;
        let objective = head.deadline.since(head.arrival);
        let latest = head.deadline.after(-one_more);
        let until = latest.min(head.arrival.after(share * objective));
        let until = until.after(-self.options.timer_lateness);
        (until > view.now).then_some(until)
    }

    /// The size at which the replicas together bear the arrival rate.
    fn needed(&self, view: &View<'_>, full: f64) -> f64 {
        let rate = (HEADROOM + self.patience) * self.rate.most();
        let (alpha, beta) = self.model.affine();
        let spare = view.fleet.serving() as f64 - beta * rate;
        if spare <= 0.0 {
            return full;
        }
        (alpha * rate / spare).ceil().min(full)
    }

    /// Step 4: whether what stays behind would miss its deadlines.
    fn is_pressed(&self, view: &View<'_>, class: Class, batch: f64) -> bool {
        let replicas = view.fleet.serving().max(1) as f64;
        let waiting = match class {
            Class::Any => view.queue.size(),
            class => view.queue.size_of(class),
        };
        let rest = waiting - batch;
        if rest <= 0.0 {
            return false;
        }
        let next = rest.min(batch.max((rest / replicas).ceil()));
        let start = self.next_start(view, batch);
        let end = start.after(self.model.cautious(view.replica, next));
        waiting - view.queue.size_from(class, end) > batch
    }

    /// When the next batch can start: at once if another replica is idle.
    fn next_start(&self, view: &View<'_>, batch: f64) -> At {
        if view.fleet.idle_count(view.now) > 1 {
            return view.now;
        }
        let own = view.start.after(self.model.typical(view.replica, batch));
        view.fleet
            .earliest_end(view.now, view.replica)
            .map_or(own, |other| other.min(own))
    }

    /// The largest size beyond `least` that can still be served in time as one batch, and
    /// when it would end.
    fn window(&self, view: &View<'_>, class: Class, least: f64, limit: f64) -> Option<At> {
        let end = |size: f64| view.start.after(self.model.cautious(view.replica, size));
        let (mut low, mut high) = (least, limit.floor());
        while low < high {
            let middle = ((low + high + 1.0) / 2.0).floor();
            if view.queue.size_from(class, end(middle)) >= middle {
                low = middle;
            } else {
                high = middle - 1.0;
            }
        }
        (low > least).then(|| end(low))
    }

    /// Under pressure: what to give up, if that makes a larger batch.
    fn relieve(&mut self, view: &View<'_>, class: Class, sizes: &Sizes) -> Option<Decision> {
        let before = self.window(view, class, sizes.batch, sizes.limit)?;
        self.lost(view.now);
        Some(Decision::Shed {
            before,
            keep_last: false,
            by: ShedBy::Window,
        })
    }

    /// Under pressure with guarantees: queries in contract are served as if they were alone,
    /// the others fill their batches up.
    fn relieve_contract(&mut self, view: &View<'_>, head: &Item) -> Decision {
        let own = self.sizes(view, head, Class::InContract);
        if own.bound()
            && self.is_pressed(view, Class::InContract, own.batch)
            && let Some(shed) = self.relieve(view, Class::InContract, &own)
        {
            return shed;
        }
        let sizes = self.sizes(view, head, Class::Any);
        let end = self.model.cautious(view.replica, sizes.batch);
        let before = view.start.after(end);
        let out = view.queue.head_of(Class::OutOfContract);
        if out.is_some_and(|item| item.deadline < before) {
            self.lost(view.now);
            return Decision::Shed {
                before,
                keep_last: false,
                by: ShedBy::Contract,
            };
        }
        self.send(view, head, &sizes, true)
    }

    /// Step 5.
    fn send(&self, view: &View<'_>, head: &Item, sizes: &Sizes, contract_first: bool) -> Decision {
        let (mut size, mut rows_max, mut padded_rows) = (sizes.batch, self.rows_max(view), None);
        if !self.options.allowed_sizes.is_empty() {
            let rows = (size / view.cost_mean()) as usize;
            let shape = self.compiled_shape(view, head, rows.clamp(1, rows_max));
            rows_max = rows_max.min(shape).min(rows.max(1));
            padded_rows = Some(shape);
            size = shape as f64 * view.cost_mean();
        }
        let hedged = view.fleet.serving() > 1;
        Decision::Send(Plan {
            size_max: size,
            rows_max,
            padded_rows,
            contract_first,
            predicted: self.model.typical(view.replica, size),
            cautious: self.model.cautious(view.replica, size),
            hedge_after: hedged.then(|| self.model.unusual(view.replica, size)),
            limit: self.limit(view, sizes),
        })
    }

    fn limit(&self, view: &View<'_>, sizes: &Sizes) -> Limit {
        if sizes.bound() {
            Limit::Slack
        } else if sizes.limit >= view.queue.size() {
            Limit::Queue
        } else if sizes.limit >= self.model.size_cap() {
            Limit::SlowStart
        } else {
            Limit::RowsMax
        }
    }

    /// The compiled shape for so many rows: the next smaller one, or the next larger one if
    /// padding is cheaper a row and still in time.
    fn compiled_shape(&self, view: &View<'_>, head: &Item, rows: usize) -> usize {
        let shapes = &self.options.allowed_sizes;
        let at = shapes.partition_point(|shape| *shape <= rows);
        let (below, above) = (at.checked_sub(1).map(|at| shapes[at]), shapes.get(at));
        let (below, above) = match (below, above) {
            (Some(below), Some(above)) if below < rows => (below, *above),
            (Some(below), _) => return below,
            (None, above) => return above.copied().unwrap_or(rows),
        };
        let seconds = |shape: usize| {
            self.model
                .cautious(view.replica, shape as f64 * view.cost_mean())
        };
        let cheaper = seconds(above) / (rows as f64) < seconds(below) / below as f64;
        let in_time = view.start.after(seconds(above)) <= head.deadline;
        if cheaper && in_time && above <= self.rows_max(view) {
            above
        } else {
            below
        }
    }
}

impl<M: LatencyModel> Policy for Window<M> {
    fn decide(&mut self, view: &View<'_>) -> Decision {
        let head = *view.queue.head().expect("a query waits");
        self.observe(view, head.deadline.since(head.arrival));
        if let Some(shed) = self.hopeless(view, &head) {
            return shed;
        }
        let sizes = self.sizes(view, &head, Class::Any);
        if let Some(until) = self.wait_until(view, &head, &sizes) {
            return Decision::Wait(until);
        }
        let mixed = view.is_mixed();
        if (sizes.bound() || mixed) && self.is_pressed(view, Class::Any, sizes.batch) {
            let covered = view.queue.head_of(Class::InContract).copied();
            if let Some(covered) = covered.filter(|_| mixed) {
                return self.relieve_contract(view, &covered);
            }
            if let Some(shed) = self.relieve(view, Class::Any, &sizes) {
                return shed;
            }
        }
        self.send(view, &head, &sizes, false)
    }

    fn completed(&mut self, done: &Done) {
        self.last_done = Some(done.now);
        if done.latency < NEWS * self.model.typical(done.replica, done.size) {
            self.probe_pause = 0.0;
        }
        self.model.learn(done);
    }

    fn expired(&mut self, now: At, objective: f64) {
        let (alpha, beta) = self.model.affine();
        if objective >= alpha + beta {
            self.lost(now);
        }
    }

    fn replica_joined(&mut self, place: usize, _rows_max: usize) {
        self.model.replica_joined(place);
    }

    fn replica_left(&mut self, place: usize) {
        self.model.replica_left(place);
    }

    fn hedge_slack(&self) -> f64 {
        let (alpha, beta) = self.model.affine();
        alpha + beta
    }

    fn rank(&self, place: usize) -> f64 {
        self.model.slowness(place)
    }

    fn learned(&self, now: At) -> Option<Learned> {
        let mut learned = self.model.learned()?;
        learned.patience = self.patience;
        learned.rate = self.rate.faded(now);
        Some(learned)
    }
}

#[cfg(test)]
mod tests;
