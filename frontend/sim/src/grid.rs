//! All configurations and all batchers.

use serde::Serialize;

use crate::fluid;
use crate::kind::Kind;
use crate::load::{LOADS, Load};
use crate::run::Setting;
use crate::traffic::Traffic;
use crate::truth::{SHAPES, Shape};

/// Objectives of the grid, in seconds.
pub const OBJECTIVES: [f64; 2] = [0.020, 0.100];
/// Replicas of the grid.
pub const REPLICAS: [usize; 2] = [1, 8];

/// A cell of the grid.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// The model.
    pub shape: Shape,
    /// Seconds from arrival to deadline.
    pub objective: f64,
    /// Replicas.
    pub replicas: usize,
    /// How queries arrive.
    pub load: Load,
}

/// All 84 cells.
pub fn configurations() -> impl Iterator<Item = Configuration> {
    let settings = SHAPES.into_iter().flat_map(|shape| {
        let pairs = OBJECTIVES
            .into_iter()
            .flat_map(|o| REPLICAS.map(|r| (o, r)));
        pairs.map(move |(objective, replicas)| (shape, objective, replicas))
    });
    settings.flat_map(|(shape, objective, replicas)| {
        LOADS.map(|load| Configuration {
            shape,
            objective,
            replicas,
            load,
        })
    })
}

/// How much is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Least seconds of a run.
    pub seconds: f64,
    /// Queries at capacity that make a run longer than that, up to five times.
    pub queries: f64,
    /// Seeds of a cell.
    pub seeds: u64,
    /// The first seed.
    pub seed: u64,
}

impl Extent {
    /// Seconds of a run at this capacity.
    #[must_use]
    pub fn length(&self, capacity: f64) -> f64 {
        let longer = (self.queries / capacity).min(5.0 * self.seconds);
        longer.max(self.seconds)
    }

    /// The seeds of a cell. Cells differ in their arrivals, so that one rare spike does not
    /// decide them all.
    pub fn seeds(&self, cell: u64) -> impl Iterator<Item = u64> + use<> {
        let seeds = self.seed..self.seed + self.seeds;
        seeds.map(move |seed| seed.wrapping_mul(1000).wrapping_add(cell))
    }
}

/// What a batcher did in a cell.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The batcher.
    pub policy: &'static str,
    /// The profile.
    pub profile: &'static str,
    /// Milliseconds from arrival to deadline.
    pub slo_ms: f64,
    /// Replicas.
    pub replicas: usize,
    /// How queries arrived.
    pub load: String,
    /// Of this run.
    pub seed: u64,
    /// Arrivals.
    pub queries: u64,
    /// Share answered in time.
    pub good: f64,
    /// Share answered too late.
    pub late: f64,
    /// Share not answered.
    pub shed: f64,
    /// Mean time of an answer.
    pub mean_ms: f64,
    /// 99th percentile of the time of an answer.
    pub p99_ms: f64,
    /// Mean rows of a batch.
    pub batch: f64,
    /// Answered in time in the middle third, in shares of the capacity.
    pub middle: f64,
}

/// The name of the fluid bound in tables.
pub const FLUID: &str = "fluid bound";

/// Runs `kinds` over the cells that `wanted` picks.
pub fn run_grid(
    kinds: &[Kind],
    extent: &Extent,
    wanted: impl Fn(&Configuration) -> bool,
    mut progress: impl FnMut(&Configuration),
) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (index, configuration) in (1..).zip(configurations()) {
        if !wanted(&configuration) {
            continue;
        }
        progress(&configuration);
        for seed in extent.seeds(index) {
            run_cell(kinds, extent, &configuration, seed, &mut cells);
        }
    }
    cells
}

fn run_cell(
    kinds: &[Kind],
    extent: &Extent,
    configuration: &Configuration,
    seed: u64,
    cells: &mut Vec<Cell>,
) {
    let Configuration {
        shape,
        objective,
        replicas,
        load,
    } = *configuration;
    let setting = Setting::new(shape, objective, replicas, seed);
    let capacity = setting.capacity();
    let length = extent.length(capacity);
    let arrivals = load.arrivals(capacity, length, seed);
    let traffic = Traffic::of_one(&arrivals, objective, length);
    let empty = |policy: &'static str| Cell {
        policy,
        profile: shape.name,
        slo_ms: objective * 1e3,
        replicas,
        load: load.name(),
        seed,
        queries: arrivals.len() as u64,
        good: 0.0,
        late: 0.0,
        shed: 0.0,
        mean_ms: 0.0,
        p99_ms: 0.0,
        batch: 0.0,
        middle: 0.0,
    };
    for kind in kinds {
        let outcome = kind.run(&setting, &traffic, 3);
        cells.push(Cell {
            good: outcome.all.goodput(),
            late: outcome.all.late_share(),
            shed: outcome.all.shed_share(),
            mean_ms: outcome.all.mean() * 1e3,
            p99_ms: outcome.all.p99() * 1e3,
            batch: outcome.batch_mean(),
            middle: outcome.good_in(1) as f64 / (capacity * length / 3.0),
            ..empty(kind.name())
        });
    }
    let good = fluid::good(&shape, replicas, objective, &arrivals);
    cells.push(Cell {
        good: good as f64 / arrivals.len().max(1) as f64,
        ..empty(FLUID)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent {
        seconds: 0.6,
        queries: 3e3,
        seeds: 1,
        seed: 5,
    };

    fn small(kinds: &[Kind]) -> Vec<Cell> {
        let wanted = |one: &Configuration| one.shape.name == "gpu" && one.objective > 0.05;
        run_grid(kinds, &EXTENT, wanted, |_| {})
    }

    #[test]
    fn there_are_84_configurations() {
        assert_eq!(configurations().count(), 84);
    }

    #[test]
    fn a_seed_gives_the_same_figures() {
        let [one, other] = [0, 1].map(|_| {
            let cells = small(&[Kind::Window]);
            serde_json::to_string(&cells).expect("figures are plain")
        });
        assert_eq!(one, other);
    }

    /// Of every load the bound is above the oracle, and the policy within a few points of it;
    /// who sizes batches by chance is far below.
    #[test]
    fn nobody_beats_the_bound_and_the_policy_comes_close() {
        let cells = small(&[Kind::Clipper, Kind::Window, Kind::Oracle]);
        let mut sums = [0.0; 3];
        for cell in cells.chunks(4) {
            let [clipper, window, oracle, fluid] = cell else {
                panic!("three batchers and the bound");
            };
            for one in &cell[..3] {
                let sum = one.good + one.late + one.shed;
                assert!((sum - 1.0).abs() < 1e-9, "each query counts once");
            }
            assert!(oracle.good <= fluid.good + 0.01, "{oracle:?} {fluid:?}");
            let all = [clipper, window, oracle].map(|cell| cell.good);
            sums.iter_mut()
                .zip(all)
                .for_each(|(sum, good)| *sum += good);
        }
        let [clipper, window, oracle] = sums;
        assert!(window > 0.95 * oracle, "{window} of {oracle}");
        assert!(window > 1.1 * clipper, "{window}, clipper {clipper}");
    }
}
