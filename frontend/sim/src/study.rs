//! Studies beside the grid: what it leaves out.
//!
//! | study | varies |
//! |---|---|
//! | [`applications`] | two objectives on one model, with and without a guarantee |
//! | [`drift`] | replicas that start slowly, and a model that is slower for a while |
//! | [`noise`] | the spread of batches' times, and the share of stragglers |
//! | [`ablation`] | rules of the policy |
//! | [`routing`] | who decides on the replica of a query |
//! | [`shapes`] | latencies that are not affine |
//!
//! Each runs several batchers over settings (model, objective, replicas) and cases, and gives
//! its samples and tables. In a setting and a case all batchers meet the same arrivals and the
//! same noise, so that differences are paired.

pub mod ablation;
pub mod applications;
pub mod drift;
pub mod noise;
pub mod paired;
pub mod routing;
pub mod shapes;

use std::io::Write;

use serde::Serialize;

use crate::grid::{Extent, OBJECTIVES, REPLICAS};
use crate::kind::Kind;
use crate::load::Load;
use crate::run::Setting;
use crate::table::{Sample, Table, figures};
use crate::traffic::Traffic;
use crate::truth::{SHAPES, Shape};

/// The batcher that studies are about.
pub const OWN: &str = "skysail";

/// A study, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Study {
    /// Two applications.
    Applications,
    /// Cold starts and a slow-down.
    Drift,
    /// Noise and stragglers.
    Noise,
    /// Missing rules.
    Ablation,
    /// Routers.
    Routing,
    /// Latencies that are not affine.
    Shapes,
}

impl Study {
    /// All of them.
    pub const ALL: [Study; 6] = [
        Study::Applications,
        Study::Drift,
        Study::Noise,
        Study::Ablation,
        Study::Routing,
        Study::Shapes,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Study::Applications => "applications",
            Study::Drift => "drift",
            Study::Noise => "noise",
            Study::Ablation => "ablation",
            Study::Routing => "routing",
            Study::Shapes => "shapes",
        }
    }

    /// What it shows, in a line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Study::Applications => "20 ms and 100 ms on one model, with and without a guarantee",
            Study::Drift => "a cold start of 5x and a slow-down of 1.6x, at half of the capacity",
            Study::Noise => "the spread of batches' times and stragglers, with and without hedges",
            Study::Ablation => "the policy without one of its rules, on hard loads",
            Study::Routing => "routers before replicas instead of late binding",
            Study::Shapes => "models whose latency is not affine: tiles and a knee",
        }
    }

    /// Runs it.
    pub fn run(self, context: &mut Context<'_>) -> Report {
        let (samples, mut tables) = match self {
            Study::Applications => applications::run(context),
            Study::Drift => drift::run(context),
            Study::Noise => noise::run(context),
            Study::Ablation => ablation::run(context),
            Study::Routing => routing::run(context),
            Study::Shapes => shapes::run(context),
        };
        // Where only a part was wanted, some have nothing to show.
        tables.retain(|table| !table.columns.is_empty());
        Report {
            study: self.name(),
            about: self.about(),
            tables,
            samples,
        }
    }
}

/// What a study found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub study: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// In the order to be read.
    pub tables: Vec<Table>,
    /// Every run.
    pub samples: Vec<Sample>,
}

impl Report {
    /// The tables as text.
    #[must_use]
    pub fn text(&self) -> String {
        let tables: Vec<_> = self.tables.iter().map(Table::text).collect();
        format!("# {}: {}\n\n{}", self.study, self.about, tables.join("\n"))
    }
}

/// How much a study runs, and whom it tells.
pub struct Context<'a> {
    /// How long, and how often.
    pub extent: Extent,
    /// Only settings and cases whose names contain one of these; all if empty.
    pub only: &'a [String],
    /// Where progress goes.
    pub progress: &'a mut dyn Write,
}

/// One place of a study: a setting in a case, under a load.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    setting: Setting,
    case: &'a str,
    load: Load,
    /// Of its seeds.
    index: u64,
}

impl Context<'_> {
    /// Whether a place is wanted; if so it is told.
    fn begins(&mut self, setting: &str, case: &str) -> bool {
        let name = format!("{setting} {case}");
        let wanted = self.only.is_empty() || self.only.iter().any(|only| name.contains(only));
        if wanted {
            // Who does not listen misses nothing but this.
            drop(writeln!(self.progress, "{name}"));
        }
        wanted
    }

    /// Runs all of `kinds` in a place with one application.
    fn compare(&mut self, kinds: &[Kind], place: &Place<'_>, samples: &mut Vec<Sample>) {
        let name = name(&place.setting);
        if !self.begins(&name, place.case) {
            return;
        }
        for seed in self.extent.seeds(place.index) {
            let setting = seeded(&place.setting, seed);
            let capacity = setting.capacity();
            let length = self.extent.length(capacity);
            let arrivals = place.load.arrivals(capacity, length, seed);
            let traffic = Traffic::of_one(&arrivals, setting.objective, length);
            for kind in kinds {
                samples.push(Sample {
                    policy: kind.name().to_owned(),
                    setting: name.clone(),
                    case: place.case.to_owned(),
                    seed,
                    figures: figures(&kind.run(&setting, &traffic, 3)),
                });
            }
        }
    }
}

/// The name of a setting in tables.
fn name(setting: &Setting) -> String {
    let (shape, replicas) = (setting.shape.name, setting.replicas);
    format!("{shape} {:.0} ms x{replicas}", setting.objective * 1e3)
}

/// The same setting with the noise of another seed.
fn seeded(setting: &Setting, seed: u64) -> Setting {
    let mut setting = *setting;
    setting.noise.seed = seed;
    setting
}

/// All of `shapes` at both objectives, on these replicas.
fn settings(shapes: &[Shape], replicas: &[usize]) -> Vec<Setting> {
    let mut settings = Vec::new();
    for shape in shapes {
        for objective in OBJECTIVES {
            let setting = |count: &usize| Setting::new(*shape, objective, *count, 0);
            settings.extend(replicas.iter().map(setting));
        }
    }
    settings
}

/// The settings of the grid but linear on eight replicas, whose runs take as long as those of
/// all others together and say little else.
fn usual_settings() -> Vec<Setting> {
    let mut settings = settings(&SHAPES, &REPLICAS);
    settings.retain(|one| !(one.shape.name == "linear" && one.replicas > 1));
    settings
}

/// How `OWN` stands against the others.
fn comparison(samples: &[Sample]) -> [Table; 2] {
    let differences = paired::differences(samples, OWN);
    [
        differences,
        paired::losses(samples, OWN, &[Kind::Oracle.name()]),
    ]
}

#[cfg(test)]
mod tests;
