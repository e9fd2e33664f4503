//! Advice: what a model bears within an objective, and what would make it bear more.
//!
//! Under full load a query waits until the next of `R` replicas is free, a batch's time over
//! `R`, and then for its own batch. So a batch may have `b` rows if
//! `margin m(b) (1 + 1/R) <= objective`, and replicas that are never idle answer
//! `sum of b / m(b)` queries a second, less what the mean is above the typical latency.
//! Everything else is that figure for a situation that is not there: a replica more, a looser
//! objective, larger batches.
//!
//! Where queries are measured in something else than rows, all are taken to be of mean size.
//!
//! # Cost
//! Some thousand floating-point operations for each replica; nobody asks often.

use super::policy::Learned;

/// Share of the capacity up to which a rate is borne safely: bursts need the rest.
pub const SAFE_SHARE: f64 = 0.9;
/// A gain below this share is none.
const GAIN_MIN: f64 = 0.1;
/// Objectives to ask for, as multiples of the present one.
const LOOSER: [f64; 2] = [1.5, 2.0];
/// Most replicas that are advised.
const REPLICAS_MAX: usize = 1_000;
/// Longest objective that is advised, in seconds.
const OBJECTIVE_MAX: f64 = 600.0;
/// Rows of a batch that is as good as endless.
const ENDLESS_ROWS: usize = 1 << 40;
/// Largest relative error of an objective that is advised.
const OBJECTIVE_ERROR: f64 = 1e-3;

/// What a model bears.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Capacity {
    /// Queries a second; 0 if not even batches of one are in time.
    pub rate: f64,
    /// Rows of a batch on a typical replica; 0 if not even batches of one are in time.
    pub rows: usize,
}

impl Capacity {
    /// The share of it that a rate leaves: 1 when idle, negative beyond the capacity; none where
    /// nothing is borne.
    #[must_use]
    pub fn headroom(&self, rate: f64) -> Option<f64> {
        (self.rate > 0.0).then(|| 1.0 - rate / self.rate)
    }
}

/// What advice is given on.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// How long batches take.
    pub learned: &'a Learned,
    /// Slowness of each replica.
    pub replicas: Vec<f64>,
    /// Most rows of a batch, as the containers say.
    pub rows_max: usize,
    /// Most rows of a batch, as the operator says.
    pub size_max: Option<usize>,
    /// Sizes that the model has compiled shapes for, ascending; empty: any.
    pub allowed_sizes: Vec<usize>,
    /// Mean size of a query.
    pub cost_mean: f64,
    /// Seconds from arrival to deadline.
    pub objective: f64,
}

/// What keeps the capacity from being larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Larger batches would be late.
    Objective,
    /// The containers take no larger batches.
    Container,
    /// The operator allows no larger batches.
    Operator,
    /// The next compiled shape is too large.
    AllowedSizes,
    /// Larger batches would hardly bear more.
    Replicas,
}

impl Binding {
    /// The name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Binding::Objective => "slo",
            Binding::Container => "container_rows_max",
            Binding::Operator => "size_max",
            Binding::AllowedSizes => "allowed_sizes",
            Binding::Replicas => "replicas",
        }
    }
}

/// Seconds of a batch on a typical replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// The median.
    pub typical: f64,
    /// With the margin.
    pub cautious: f64,
}

/// What an operator may want to know of a situation.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// What is borne.
    pub capacity: Capacity,
    /// What limits it.
    pub binding: Binding,
    /// With one replica more.
    pub replica_more: Capacity,
    /// With one replica less.
    pub replica_less: Capacity,
    /// Under looser objectives, in seconds.
    pub looser: [(f64, Capacity); 2],
    /// With batches of up to twice as many rows.
    pub larger: (usize, Capacity),
    /// The least objective under which the arrivals are borne safely, in seconds.
    pub objective_needed: Option<f64>,
    /// The fewest replicas that bear the arrivals safely.
    pub replicas_needed: Option<usize>,
    /// Of a query alone: what it takes under low load.
    pub alone: Latency,
    /// Of the batches of [`Advice::capacity`]; none if nothing is borne.
    pub batch: Option<Latency>,
    /// Whether batches of that size are far beyond what was seen.
    pub extrapolated: bool,
}

impl<'a> Situation<'a> {
    /// What is borne.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        let rate: f64 = self.replicas.iter().map(|one| self.rate_of(*one)).sum();
        let rows = self.rows_on(self.typical_slowness());
        Capacity {
            rate,
            // Where only a faster replica bears anything, it is one row.
            rows: rows.max(usize::from(rate > 0.0)),
        }
    }

    /// Queries that arrive a second.
    #[must_use]
    pub fn arriving(&self) -> f64 {
        self.learned.rate / self.cost_mean
    }

    /// The same with so many replicas; what is not there is taken to be typical.
    #[must_use]
    pub fn with_replicas(&self, count: usize) -> Situation<'a> {
        let mut replicas = self.replicas.clone();
        if count < replicas.len() {
            replicas.clear();
        }
        replicas.resize(count, self.typical_slowness());
        Situation {
            replicas,
            ..self.clone()
        }
    }

    /// The same under another objective.
    #[must_use]
    pub fn with_objective(&self, objective: f64) -> Situation<'a> {
        Situation {
            objective,
            ..self.clone()
        }
    }

    /// The same with batches of any size up to so many rows.
    fn with_rows_max(&self, rows_max: usize) -> Situation<'a> {
        Situation {
            rows_max,
            size_max: None,
            allowed_sizes: Vec::new(),
            ..self.clone()
        }
    }

    /// Advice, where `arriving` queries a second arrive.
    #[must_use]
    pub fn advice(&self, arriving: f64) -> Advice {
        let capacity = self.capacity();
        let count = self.replicas.len();
        let looser = LOOSER.map(|times| times * self.objective);
        let larger = self.rows_limit().saturating_mul(2);
        Advice {
            capacity,
            binding: self.binding(capacity),
            replica_more: self.with_replicas(count + 1).capacity(),
            replica_less: self.with_replicas(count.saturating_sub(1)).capacity(),
            looser: looser.map(|objective| (objective, self.with_objective(objective).capacity())),
            larger: (larger, self.with_rows_max(larger).capacity()),
            objective_needed: self.objective_needed(arriving),
            replicas_needed: self.replicas_needed(arriving),
            alone: self.latency(1),
            batch: (capacity.rows > 0).then(|| self.latency(capacity.rows)),
            extrapolated: capacity.rows as f64 * self.cost_mean
                > (2.0 * self.learned.seen).max(1.0),
        }
    }

    /// Queries a second of one replica that is never idle.
    fn rate_of(&self, slowness: f64) -> f64 {
        match self.rows_on(slowness) {
            0 => 0.0,
            rows => rows as f64 / self.mean_seconds(slowness, rows),
        }
    }

    /// Rows of the largest batch on a replica; 0 if none is in time.
    fn rows_on(&self, slowness: f64) -> usize {
        let share = self.learned.margin * (1.0 + 1.0 / self.replicas.len() as f64);
        let typical = self.objective / share / slowness;
        let within = self.learned.curve.size_within(typical) / self.cost_mean;
        // The cast saturates; rows that cost nothing have no bound of their own.
        let rows = ((within + 1e-9) as usize).min(self.rows_limit());
        if self.allowed_sizes.is_empty() {
            return rows;
        }
        let mut allowed = self.allowed_sizes.iter().rev();
        allowed.find(|size| **size <= rows).copied().unwrap_or(0)
    }

    /// Most rows of a batch, as containers and operator say.
    #[must_use]
    pub fn rows_limit(&self) -> usize {
        self.size_max.unwrap_or(usize::MAX).min(self.rows_max)
    }

    fn seconds(&self, slowness: f64, rows: usize) -> f64 {
        slowness * self.learned.curve.seconds(rows as f64 * self.cost_mean)
    }

    /// What a replica is busy for, on average.
    fn mean_seconds(&self, slowness: f64, rows: usize) -> f64 {
        self.learned.mean_ratio * self.seconds(slowness, rows)
    }

    fn latency(&self, rows: usize) -> Latency {
        let typical = self.seconds(self.typical_slowness(), rows);
        Latency {
            typical,
            cautious: self.learned.margin * typical,
        }
    }

    /// The median: one slow host is not what a new replica will be like.
    fn typical_slowness(&self) -> f64 {
        let mut sorted = self.replicas.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(1.0)
    }

    fn binding(&self, now: Capacity) -> Binding {
        if now.rate == 0.0 {
            return Binding::Objective;
        }
        if !is_gain(now.rate, self.rate_of_endless_batches()) {
            return Binding::Replicas;
        }
        let any_size = self.with_rows_max(self.rows_limit()).capacity();
        let by_shapes = is_gain(now.rate, any_size.rate);
        let by_limit = now.rows == self.rows_limit();
        let by_operator = self.size_max.is_some_and(|size| size <= self.rows_max);
        match (by_shapes, by_limit, by_operator) {
            (true, ..) => Binding::AllowedSizes,
            (_, true, true) => Binding::Operator,
            (_, true, false) => Binding::Container,
            _ => Binding::Objective,
        }
    }

    /// What the replicas would bear if batches had no bound.
    fn rate_of_endless_batches(&self) -> f64 {
        let rows = ENDLESS_ROWS;
        let rates = self.replicas.iter();
        rates
            .map(|one| rows as f64 / self.seconds(*one, rows))
            .sum()
    }

    fn bears_safely(&self, arriving: f64) -> bool {
        let safe = SAFE_SHARE * self.capacity().rate;
        safe > 0.0 && arriving <= safe
    }

    fn replicas_needed(&self, arriving: f64) -> Option<usize> {
        (1..=REPLICAS_MAX).find(|count| self.with_replicas(*count).bears_safely(arriving))
    }

    fn objective_needed(&self, arriving: f64) -> Option<f64> {
        let bears = |objective: f64| self.with_objective(objective).bears_safely(arriving);
        let (mut low, mut high) = (0.0, OBJECTIVE_MAX);
        if !bears(high) {
            return None;
        }
        while high - low > OBJECTIVE_ERROR * high {
            let middle = (low + high) / 2.0;
            if bears(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Some(high)
    }
}

fn is_gain(before: f64, after: f64) -> bool {
    after >= (1.0 + GAIN_MIN) * before
}

#[cfg(test)]
mod tests;
