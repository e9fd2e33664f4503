//! When queries come, and how long a batch takes: made up, from a seed.
//!
//! Load is in units of a model's capacity ([`Profile::capacity`]). A process is a sequence of
//! phases with a constant rate each, within which queries come at random; only `gamma` draws the
//! time between two queries itself.

use fastrand::Rng;

/// How long a replica takes for a batch, and how large batches may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// For tables.
    pub(crate) name: &'static str,
    /// Of a batch.
    pub(crate) fixed_ms: f64,
    /// Of a row.
    pub(crate) row_ms: f64,
    /// Rows of a batch.
    pub(crate) batch_max: usize,
}

/// The profiles: a linear model, a small network, and a large one on an accelerator.
pub(crate) const PROFILES: [Profile; 3] = [
    Profile {
        name: "linear",
        fixed_ms: 0.2,
        row_ms: 0.005,
        batch_max: 512,
    },
    Profile {
        name: "mlp",
        fixed_ms: 1.0,
        row_ms: 0.05,
        batch_max: 256,
    },
    Profile {
        name: "gpu",
        fixed_ms: 5.0,
        row_ms: 1.0,
        batch_max: 64,
    },
];

/// Deviation of the logarithm of a batch's time.
const SIGMA: f64 = 0.1;
/// One batch of so many is a straggler, and takes [`STRAGGLER_FACTOR`] times as long.
const STRAGGLER_EVERY: f64 = 333.0;
const STRAGGLER_FACTOR: f64 = 10.0;

impl Profile {
    /// Mean seconds of a batch that is no straggler.
    fn seconds(&self, rows: usize) -> f64 {
        (self.fixed_ms + self.row_ms * rows as f64) / 1e3
    }

    /// Seconds of one batch.
    pub(crate) fn draw_seconds(&self, rng: &mut Rng, rows: usize) -> f64 {
        let noise = (SIGMA * normal(rng) - SIGMA * SIGMA / 2.0).exp();
        let straggles = rng.f64() < 1.0 / STRAGGLER_EVERY;
        let factor = if straggles { STRAGGLER_FACTOR } else { 1.0 };
        self.seconds(rows) * noise * factor
    }

    /// Rows of the largest batch that leaves time to wait for the one before.
    #[must_use]
    pub(crate) fn batch_rows(&self, replicas: usize, objective_seconds: f64) -> usize {
        let share = 1.0 + 1.0 / replicas as f64;
        let fits = |rows: &usize| self.seconds(*rows) * share <= objective_seconds;
        (1..=self.batch_max).take_while(fits).last().unwrap_or(1)
    }

    /// Queries that `replicas` answer in a second in such batches, less what stragglers cost.
    #[must_use]
    pub(crate) fn capacity(&self, replicas: usize, objective_seconds: f64) -> f64 {
        let rows = self.batch_rows(replicas, objective_seconds);
        let stragglers = 1.0 + (STRAGGLER_FACTOR - 1.0) / STRAGGLER_EVERY;
        (replicas * rows) as f64 / self.seconds(rows) / stragglers
    }
}

/// How queries come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    /// For tables: the process and its mean load, or that of its middle third.
    pub(crate) name: &'static str,
    process: Process,
    load: f64,
}

#[derive(Clone, Copy, Debug)]
enum Process {
    /// At random.
    Poisson,
    /// At random, at two rates as 3 to 1, for 200 and 800 ms on average.
    Mmpp,
    /// Renewals with a coefficient of variation of 4.
    Gamma,
    /// A log-normal rate that changes every 100 ms, with spikes.
    Azure,
    /// 0.7, then the load, then 0.7, a third of the run each.
    Step,
}

/// The workloads, from idle to far too much.
pub(crate) const WORKLOADS: [Workload; 7] = [
    workload("poisson0.1", Process::Poisson, 0.1),
    workload("poisson0.9", Process::Poisson, 0.9),
    workload("mmpp0.6", Process::Mmpp, 0.6),
    workload("gamma0.7", Process::Gamma, 0.7),
    workload("azure0.4", Process::Azure, 0.4),
    workload("step1.5", Process::Step, 1.5),
    workload("step3.0", Process::Step, 3.0),
];

const fn workload(name: &'static str, process: Process, load: f64) -> Workload {
    Workload {
        name,
        process,
        load,
    }
}

/// Load before and after a step.
const STEP_BASE: f64 = 0.7;
/// Factor and mean seconds of the busy and the quiet state; their mean factor is 1.
const MMPP: [(f64, f64); 2] = [(15.0 / 7.0, 0.2), (5.0 / 7.0, 0.8)];
/// 1 / CV².
const GAMMA_SHAPE: f64 = 1.0 / 16.0;
/// Of the rate: how long it holds, how much of its deviation it keeps, the deviation of its
/// logarithm.
const AZURE_SECONDS: f64 = 0.1;
const AZURE_KEEPS: f64 = 0.9;
const AZURE_SIGMA: f64 = 0.3;
/// Mean seconds between two spikes, the seconds of one, its factor.
const SPIKE_EVERY: f64 = 4.0;
const SPIKE_SECONDS: (f64, f64) = (0.1, 1.5);
const SPIKE_FACTOR: (f64, f64) = (2.0, 8.0);

/// Times of queries, in seconds, in order; up to the end of the run.
#[derive(Debug)]
pub(crate) struct Arrivals {
    rng: Rng,
    process: Process,
    load: f64,
    /// Queries a second at load 1.
    capacity: f64,
    run_seconds: f64,
    now: f64,
    /// Load of this phase, and when it ends.
    phase: (f64, f64),
    phases: usize,
    /// Of `azure`: the logarithm of the rate, and the factor and end of a spike.
    level: f64,
    spike: (f64, f64),
}

impl Workload {
    /// The queries of one run.
    #[must_use]
    pub(crate) fn arrivals(&self, rng: Rng, capacity: f64, run_seconds: f64) -> Arrivals {
        Arrivals {
            rng,
            process: self.process,
            load: self.load,
            capacity,
            run_seconds,
            now: 0.0,
            phase: (0.0, 0.0),
            phases: 0,
            level: 0.0,
            spike: (1.0, 0.0),
        }
    }
}

impl Iterator for Arrivals {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.now = match self.process {
            Process::Gamma => {
                let mean = 1.0 / (self.load * self.capacity);
                self.now + mean * gamma(&mut self.rng, GAMMA_SHAPE) / GAMMA_SHAPE
            }
            _ => self.next_in_phases()?,
        };
        (self.now < self.run_seconds).then_some(self.now)
    }
}

impl Arrivals {
    /// When as many queries as an exponential draw are due; `None` after the end.
    fn next_in_phases(&mut self) -> Option<f64> {
        let (mut due, mut now) = (exponential(&mut self.rng), self.now);
        while now < self.run_seconds {
            let (load, end) = self.phase;
            let rate = load * self.capacity;
            if due < (end - now) * rate {
                return Some(now + due / rate);
            }
            due -= (end - now) * rate;
            now = end;
            let (load, seconds) = self.next_phase(now);
            self.phase = (load, now + seconds);
        }
        None
    }

    /// Load and seconds of the phase that starts now.
    fn next_phase(&mut self, now: f64) -> (f64, f64) {
        self.phases += 1;
        match self.process {
            Process::Poisson | Process::Gamma => (self.load, self.run_seconds),
            Process::Mmpp => {
                let (factor, mean) = MMPP[self.phases % 2];
                (self.load * factor, mean * exponential(&mut self.rng))
            }
            Process::Azure => (self.azure(now), AZURE_SECONDS),
            Process::Step => {
                let load = if self.phases == 2 {
                    self.load
                } else {
                    STEP_BASE
                };
                (load, self.run_seconds / 3.0)
            }
        }
    }

    fn azure(&mut self, now: f64) -> f64 {
        let fresh = (1.0 - AZURE_KEEPS * AZURE_KEEPS).sqrt() * AZURE_SIGMA;
        self.level = AZURE_KEEPS * self.level + fresh * normal(&mut self.rng);
        let between = |rng: &mut Rng, (least, most): (f64, f64)| least + (most - least) * rng.f64();
        if now >= self.spike.1 {
            self.spike = (1.0, now);
            if self.rng.f64() < AZURE_SECONDS / SPIKE_EVERY {
                let factor = between(&mut self.rng, SPIKE_FACTOR);
                self.spike = (factor, now + between(&mut self.rng, SPIKE_SECONDS));
            }
        }
        // Both have a mean: the load is that of the whole.
        let spiking = {
            let seconds = f64::midpoint(SPIKE_SECONDS.0, SPIKE_SECONDS.1);
            seconds / (seconds + SPIKE_EVERY)
        };
        let spikes = 1.0 + spiking * (f64::midpoint(SPIKE_FACTOR.0, SPIKE_FACTOR.1) - 1.0);
        let level = (self.level - AZURE_SIGMA * AZURE_SIGMA / 2.0).exp();
        self.load * level * self.spike.0 / spikes
    }
}

/// Exponential with mean 1.
fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// Standard normal (Box and Muller).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (2.0 * exponential(rng)).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// Gamma with scale 1 (Marsaglia and Tsang, 2000), for a shape below 1 by their section 6.
fn gamma(rng: &mut Rng, shape: f64) -> f64 {
    let d = shape + 1.0 - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && -exponential(rng) < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v * (1.0 - rng.f64()).powf(1.0 / shape);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn the_capacity_leaves_time_for_the_batch_before() {
        let [linear, mlp, gpu] = PROFILES;
        // The largest batch; 180 rows in 10 ms; 5 rows in 10 ms; all less 2.7 %.
        let near = |capacity: f64, expected: f64| (capacity / expected - 1.0).abs() < 1e-3;
        assert!(near(linear.capacity(1, 0.02), 512.0 / 0.00276 / 1.027));
        assert!(near(mlp.capacity(1, 0.02), 180.0 / 0.010 / 1.027));
        assert!(near(gpu.capacity(1, 0.02), 5.0 / 0.010 / 1.027));
    }

    #[test]
    fn every_workload_has_its_mean_load_and_is_in_order() {
        for workload in WORKLOADS {
            let wanted = match workload.process {
                Process::Step => (workload.load + 2.0 * STEP_BASE) / 3.0,
                _ => workload.load,
            };
            let arrivals = workload.arrivals(Rng::with_seed(7), 100.0, 4000.0);
            let times: Vec<f64> = arrivals.collect();
            assert!(times.is_sorted(), "{}", workload.name);
            let load = times.len() as f64 / 100.0 / 4000.0;
            assert!(
                (load / wanted - 1.0).abs() < 0.1,
                "{} {load}",
                workload.name
            );
        }
    }

    #[test]
    fn gamma_has_its_mean_and_deviation() {
        let mut rng = Rng::with_seed(1);
        let values: Vec<f64> = (0..200_000).map(|_| gamma(&mut rng, GAMMA_SHAPE)).collect();
        let mean_of = mean(&values);
        let squares: Vec<f64> = values.iter().map(|v| (v - mean_of).powi(2)).collect();
        let cv = mean(&squares).sqrt() / mean_of;
        assert!((mean_of / GAMMA_SHAPE - 1.0).abs() < 0.05 && (cv / 4.0 - 1.0).abs() < 0.05);
    }

    #[test]
    fn batches_take_their_mean_time_and_one_in_many_ten_times_as_long() {
        let (mut rng, profile) = (Rng::with_seed(1), PROFILES[1]);
        let times: Vec<f64> = (0..100_000)
            .map(|_| profile.draw_seconds(&mut rng, 100))
            .collect();
        assert!((mean(&times) / (0.006 * 1.027) - 1.0).abs() < 0.02);
        let stragglers = times.iter().filter(|time| **time > 0.03).count();
        assert!((200..400).contains(&stragglers));
    }
}
