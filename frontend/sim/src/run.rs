//! One run: arrivals, replicas and a batcher on a virtual clock.
//!
//! ```text
//!  arrival ──► Router ──► Batcher ──► batch ──► its end: factor of noise and pace x profile
//!               (one batcher of all replicas, or one for each)
//! ```
//!
//! This is the only event loop of the crate: applications, slow hosts and routers are settings.
//!
//! # Cost
//! About a tenth of a microsecond a query, the policy included.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use skysail_core::batching::Policy;
use skysail_core::batching::{Actions, Arrival, BatchNumber, Batcher, Ended, Options, Priority};
use skysail_core::replica::{ReplicaId, Terms};

use crate::outcome::{Counts, Outcome};
use crate::pace::Pace;
use crate::routing::{Load, Router, Routing};
use crate::traffic::{Query, Traffic};
use crate::truth::{Noise, Shape};

/// Model and replicas of a run.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The model.
    pub shape: Shape,
    /// Seconds from arrival to deadline; of several applications the least.
    pub objective: f64,
    /// Replicas.
    pub replicas: usize,
    /// Of the batches.
    pub noise: Noise,
    /// Of the replicas.
    pub pace: Pace,
    /// Who decides on the replica of a query.
    pub routing: Routing,
    /// Whether late batches may be asked of others as well.
    pub hedged: bool,
}

impl Setting {
    /// Equal replicas with the usual noise, one queue, hedged.
    #[must_use]
    pub fn new(shape: Shape, objective: f64, replicas: usize, seed: u64) -> Self {
        Setting {
            shape,
            objective,
            replicas,
            noise: Noise::usual(seed),
            pace: Pace::EVEN,
            routing: Routing::Late,
            hedged: true,
        }
    }

    /// Queries a second that it bears within its objective, at the hosts' pace.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        self.capacity_within(self.objective)
    }

    /// The same for another objective.
    #[must_use]
    pub fn capacity_within(&self, objective: f64) -> f64 {
        let rate = self.shape.rate(self.replicas, objective);
        self.pace.speed_mean(self.replicas) * rate / self.noise.work()
    }
}

/// A batcher, and when it wants to be polled.
struct Station {
    batcher: Batcher<Query>,
    wake_at: u64,
}

/// A replica, as the world knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Worker {
    /// Batches begun.
    started: u64,
    /// Seconds spent on them.
    worked: f64,
    /// When the last one ends without noise, in nanoseconds: what a router may know.
    expected_end: u64,
}

/// The state of a run.
struct Run<'a> {
    setting: &'a Setting,
    traffic: &'a Traffic,
    origin: Instant,
    stations: Vec<Station>,
    router: Router,
    actions: Actions<Query>,
    /// Ends of batches: nanoseconds, replica and number.
    ends: BinaryHeap<Reverse<(u64, u64, u64)>>,
    workers: Vec<Worker>,
    outcome: Outcome,
    part_nanos: u64,
}

/// Runs `traffic` through batchers with policies of `policy`; the outcome is told in `parts`.
#[must_use]
pub fn run(
    setting: &Setting,
    policy: &dyn Fn() -> Box<dyn Policy>,
    traffic: &Traffic,
    parts: usize,
) -> Outcome {
    let origin = Instant::now();
    let parts = parts.max(1);
    let batchers = setting.routing.batchers(setting.replicas);
    let stations = (0..batchers).map(|one| {
        let of_station = |replica: &usize| station(setting, *replica) == one;
        let replicas = (0..setting.replicas).filter(of_station);
        Station {
            batcher: batcher(setting, traffic, origin, policy(), replicas),
            wake_at: u64::MAX,
        }
    });
    let mut run = Run {
        setting,
        traffic,
        origin,
        stations: stations.collect(),
        router: Router::new(setting.routing, setting.noise.seed),
        actions: Actions::default(),
        ends: BinaryHeap::new(),
        workers: vec![Worker::default(); setting.replicas],
        outcome: Outcome::new(traffic.applications.len(), parts, traffic.length),
        part_nanos: (traffic.length * 1e9 / parts as f64) as u64 + 1,
    };
    run.drive();
    run.outcome
}

/// The batcher that has a replica.
fn station(setting: &Setting, replica: usize) -> usize {
    match setting.routing {
        Routing::Late => 0,
        _ => replica,
    }
}

fn batcher(
    setting: &Setting,
    traffic: &Traffic,
    origin: Instant,
    policy: Box<dyn Policy>,
    replicas: impl Iterator<Item = usize>,
) -> Batcher<Query> {
    let mut options = Options {
        bytes_max: usize::MAX,
        ..Options::default()
    };
    if !setting.hedged {
        options.hedge_share = 0.0;
    }
    let mut batcher = Batcher::new(origin, options, policy);
    for replica in replicas {
        let terms = Terms {
            slots: 1,
            max_batch: setting.shape.rows_max,
        };
        batcher.replica_joined(ReplicaId(replica as u64), terms);
    }
    let guaranteed = traffic.applications.iter().enumerate();
    for (application, one) in guaranteed.filter(|(_, one)| one.guarantee.is_some()) {
        batcher.set_guarantee(origin, application, one.guarantee);
    }
    batcher
}

impl Run<'_> {
    fn drive(&mut self) {
        let mut coming = self.traffic.queries.iter().copied().peekable();
        loop {
            let arrival = coming.peek().map_or(u64::MAX, |query| query.arrival);
            let end = self.ends.peek().map_or(u64::MAX, |end| end.0.0);
            let (sleeper, wake_at) = self.next_wake();
            let now = arrival.min(end).min(wake_at);
            if now == u64::MAX {
                break;
            }
            let mut station = sleeper;
            if end == now {
                station = self.end_batch(now);
            } else if arrival == now
                && let Some(query) = coming.next()
            {
                station = self.arrive(query);
            }
            self.poll(station, now);
        }
        let mut stations = self.stations.iter();
        let done = stations.all(|station| station.batcher.is_empty());
        assert!(done, "every query has its outcome");
    }

    /// The batcher that wants to be polled first, and when.
    fn next_wake(&self) -> (usize, u64) {
        let times = self.stations.iter().map(|station| station.wake_at);
        let first = times.enumerate().min_by_key(|(_, at)| *at);
        first.expect("there is a batcher")
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.origin + Duration::from_nanos(nanos)
    }

    fn arrive(&mut self, query: Query) -> usize {
        let now = query.arrival;
        self.outcome.all.arrived += 1;
        self.part(query).arrived += 1;
        let station = self.choose(now);
        let objective = self.traffic.applications[query.application].objective;
        let instant = self.instant(now);
        let arrival = Arrival {
            application: query.application,
            deadline: instant + Duration::from_secs_f64(objective),
            cost: 1,
            bytes: 0,
            priority: Priority::Normal,
        };
        let batcher = &mut self.stations[station].batcher;
        let pushed = batcher.push(instant, query, arrival, &mut self.actions);
        assert!(pushed.is_ok(), "a query with time and replicas is accepted");
        station
    }

    /// The batcher of a query that arrives now.
    fn choose(&mut self, now: u64) -> usize {
        let (stations, workers, setting) = (&self.stations, &self.workers, self.setting);
        // With a router each replica has a batcher of the same index.
        self.router.choose(stations.len(), |replica| {
            let batcher = &stations[replica].batcher;
            let running = workers[replica].expected_end.saturating_sub(now) as f64 / 1e9;
            let waiting = match batcher.queue_len() {
                0 => 0.0,
                rows => setting.pace.host(replica) * setting.shape.seconds(rows as f64),
            };
            Load {
                queries: batcher.len(),
                work: running + waiting,
            }
        })
    }

    fn end_batch(&mut self, now: u64) -> usize {
        let Reverse((_, replica, number)) = self.ends.pop().expect("a batch ends now");
        let station = station(self.setting, replica as usize);
        let (instant, id) = (self.instant(now), ReplicaId(replica));
        let compute = Duration::MAX;
        let (number, ended) = (BatchNumber(number), Ended::Answered { compute });
        let batcher = &mut self.stations[station].batcher;
        batcher.batch_ended(instant, id, number, ended, &mut self.actions);
        let answered = std::mem::take(&mut self.actions.answered);
        for answer in &answered {
            let query = answer.query;
            let objective = self.traffic.applications[query.application].objective + 1e-9;
            let seconds = (now - query.arrival) as f64 / 1e9;
            self.outcome.all.answered(seconds, objective);
            self.part(query).answered(seconds, objective);
        }
        self.actions.answered = answered;
        self.actions.answered.clear();
        station
    }

    fn poll(&mut self, station: usize, now: u64) {
        let instant = self.instant(now);
        let batcher = &mut self.stations[station].batcher;
        batcher.poll(instant, &mut self.actions);
        for index in 0..self.actions.dispatches.len() {
            let dispatch = self.actions.dispatches[index];
            let end = self.begin(dispatch.replica.0 as usize, dispatch.rows, now);
            let (id, number) = (dispatch.replica.0, dispatch.number.0);
            self.ends.push(Reverse((end, id, number)));
            self.outcome.batches += 1;
            self.outcome.rows += dispatch.rows as u64;
        }
        for index in 0..self.actions.given_back.len() {
            let query = self.actions.given_back[index].query;
            self.outcome.all.shed += 1;
            self.part(query).shed += 1;
        }
        let wake_at = self.actions.wake_at;
        let nanos = |at: Instant| (at - self.origin).as_nanos() as u64;
        self.stations[station].wake_at = wake_at.map_or(u64::MAX, nanos).max(now + 1);
        self.actions.clear();
    }

    /// A replica begins a batch; says when it will end.
    fn begin(&mut self, replica: usize, rows: usize, now: u64) -> u64 {
        let Setting {
            shape, noise, pace, ..
        } = self.setting;
        let worker = &mut self.workers[replica];
        let usual = shape.seconds(rows as f64);
        let pace_now = pace.factor(replica, worker.worked, now as f64 / 1e9);
        let seconds = noise.factor(replica, worker.started) * usual * pace_now;
        worker.started += 1;
        worker.worked += seconds;
        worker.expected_end = now + (pace.host(replica) * usual * 1e9) as u64;
        now + (seconds * 1e9) as u64
    }

    fn part(&mut self, query: Query) -> &mut Counts {
        let parts = &mut self.outcome.applications[query.application];
        let last = parts.len() - 1;
        &mut parts[((query.arrival / self.part_nanos) as usize).min(last)]
    }
}

#[cfg(test)]
mod tests {
    use skysail_core::batching::{Window, WindowOptions};

    use super::*;
    use crate::load;
    use crate::rivals::Eager;
    use crate::truth::SHAPES;

    /// One replica that computes single queries is an M/G/1 queue, of which the mean time is
    /// known (Pollaczek and Khinchine).
    #[test]
    fn single_queries_take_as_long_as_theory_says() {
        let shape = Shape {
            rows_max: 1,
            ..SHAPES[0]
        };
        let setting = Setting::new(shape, 10.0, 1, 4);
        let service = shape.seconds(1.0);
        let factors: Vec<f64> = (0..200_000).map(|i| setting.noise.factor(0, i)).collect();
        let moment = |power: i32| factors.iter().map(|f| f.powi(power)).sum::<f64>() / 2e5;
        let (mean, square) = (service * moment(1), service * service * moment(2));
        let rate = 0.5 / mean;
        let length = 2e5 / rate;
        let arrivals = load::Load::Poisson(1.0).arrivals(rate, length, 9);
        let traffic = Traffic::of_one(&arrivals, setting.objective, length);
        let outcome = run(&setting, &|| Box::new(Eager::untuned(&shape)), &traffic, 1);
        let expected = mean + rate * square / (2.0 * (1.0 - rate * mean));
        let relative = outcome.all.mean() / expected - 1.0;
        assert!(relative.abs() < 0.03, "{relative}");
    }

    /// Heads are as old as the margin lets them be, though it is rows that limit the size: if
    /// nothing steered the margin then, batch after batch would be late as a whole.
    #[test]
    fn few_answers_are_late_also_where_rows_limit_batches() {
        let shape = Shape {
            rows_max: 8,
            ..SHAPES[2]
        };
        let setting = Setting::new(shape, 0.100, 4, 3);
        let length = 40.0;
        let rate = 3.0 * setting.capacity();
        let arrivals = load::Load::Poisson(1.0).arrivals(rate, length, 9);
        let traffic = Traffic::of_one(&arrivals, setting.objective, length);
        let policy = || Box::new(Window::new(WindowOptions::default())) as Box<dyn Policy>;
        let all = run(&setting, &policy, &traffic, 1).all;
        let late = all.late as f64 / (all.late + all.good) as f64;
        assert!(late < 0.025, "{late}");
    }
}
