//! Two applications on one model: 20 ms and 100 ms, each with half of the arrivals.
//!
//! Loads are in shares of a capacity between those of the two objectives: a query of either
//! takes its share of the replicas' time. Under overload deadlines favour the looser objective;
//! a guarantee for the tight one says otherwise.

use super::{Context, comparison, seeded, usual_settings};
use crate::grid::OBJECTIVES;
use crate::kind::Kind;
use crate::load::Load;
use crate::outcome::Outcome;
use crate::run::Setting;
use crate::table::{Column, Sample, Table, figures};
use crate::traffic::{Application, Traffic};

const LOADS: [Load; 4] = [
    Load::Poisson(0.9),
    Load::Mmpp(0.6),
    Load::Step(1.5),
    Load::Step(3.0),
];
/// In these something is scarce in the middle third.
const STEPS: [Load; 2] = [Load::Step(1.5), Load::Step(3.0)];

/// Batchers, and of the tight application what is guaranteed, in shares of the capacity.
const ENTRANTS: [(Kind, Option<f64>); 7] = [
    (Kind::Triton, None),
    (Kind::Clipper, None),
    (Kind::Clockwork, None),
    (Kind::Symphony, None),
    (Kind::Window, None),
    (Kind::Window, Some(0.4)),
    (Kind::Window, Some(0.8)),
];

/// Samples and tables.
pub(super) fn run(context: &mut Context<'_>) -> (Vec<Sample>, Vec<Table>) {
    let (mut samples, mut index) = (Vec::new(), 0);
    let mut settings = usual_settings();
    settings.retain(|setting| setting.objective == OBJECTIVES[0]);
    for setting in settings {
        let name = format!("{} x{}", setting.shape.name, setting.replicas);
        for load in LOADS {
            index += 1;
            if !context.begins(&name, &load.name()) {
                continue;
            }
            for seed in context.extent.seeds(index) {
                let runs = compare(context, &seeded(&setting, seed), load);
                samples.extend(runs.into_iter().map(|(policy, figures)| Sample {
                    policy,
                    setting: name.clone(),
                    case: load.name(),
                    seed,
                    figures,
                }));
            }
        }
    }
    let mut tables = vec![goodput(&samples), within(&samples)];
    tables.extend(STEPS.map(|load| by_setting(&samples, load)));
    tables.extend(comparison(&samples));
    (samples, tables)
}

type Figures = std::collections::BTreeMap<&'static str, f64>;

/// Every entrant on the same arrivals.
fn compare(context: &Context<'_>, setting: &Setting, load: Load) -> Vec<(String, Figures)> {
    let capacity = capacity(setting);
    let length = context.extent.length(capacity);
    let seed = setting.noise.seed;
    let arrivals = load.arrivals(capacity, length, seed);
    let mut traffic = Traffic::shared(&arrivals, applications().to_vec(), length, seed);
    let entrants = ENTRANTS.iter().map(|(kind, guaranteed)| {
        traffic.applications[0].guarantee = guaranteed.map(|share| share * capacity);
        let outcome = kind.run(setting, &traffic, 3);
        let policy = match guaranteed {
            Some(share) => format!("{}, {share} C for 20 ms", kind.name()),
            None => kind.name().to_owned(),
        };
        let mut figures = both(&outcome, capacity * length / 3.0);
        if let Some(share) = guaranteed {
            figures.insert("kept", kept(&outcome, share * capacity * length / 3.0));
        }
        (policy, figures)
    });
    entrants.collect()
}

fn applications() -> [Application; 2] {
    OBJECTIVES.map(|objective| Application {
        objective,
        guarantee: None,
    })
}

/// Queries a second that are borne if half of them have either objective.
fn capacity(setting: &Setting) -> f64 {
    let each = OBJECTIVES.map(|objective| 1.0 / setting.capacity_within(objective));
    2.0 / each.iter().sum::<f64>()
}

/// The figures of both; `third` is what the capacity bears in a third of the run.
fn both(outcome: &Outcome, third: f64) -> Figures {
    let mut figures = figures(outcome);
    let middle = |application: usize| &outcome.applications[application][1];
    figures.extend([
        ("good_20", 100.0 * outcome.goodput_of(0)),
        ("good_100", 100.0 * outcome.goodput_of(1)),
        ("middle_20", 100.0 * middle(0).goodput()),
        ("middle_100", 100.0 * middle(1).goodput()),
        ("rate_20", middle(0).good as f64 / third),
        ("rate_100", middle(1).good as f64 / third),
    ]);
    figures
}

/// Of the queries that a guarantee covers in the middle third, so many of a hundred as were
/// answered in time of the application's own, whether covered or not.
fn kept(outcome: &Outcome, guaranteed: f64) -> f64 {
    let middle = &outcome.applications[0][1];
    let covered = guaranteed.min(middle.arrived as f64);
    100.0 * (middle.good as f64 / covered.max(1.0)).min(1.0)
}

fn goodput(samples: &[Sample]) -> Table {
    let mut columns = Vec::new();
    for load in LOADS {
        for (figure, title) in [("good_20", "20"), ("good_100", "100")] {
            let title = format!("{} {title}", load.name());
            columns.push(Column::of_case(&load.name(), figure).titled(title));
        }
    }
    columns.push(Column::of_all("mean", "good"));
    columns.push(Column::of_all("worst", "good").least());
    columns.push(Column::of_all("late %", "late"));
    let title = "goodput % of the 20 ms and of the 100 ms application";
    Table::of(title, samples, &columns)
}

fn within(samples: &[Sample]) -> Table {
    let mut columns = Vec::new();
    for load in STEPS {
        for (figure, title) in [
            ("middle_20", "20 %"),
            ("middle_100", "100 %"),
            ("rate_20", "20 in C"),
            ("rate_100", "100 in C"),
            ("kept", "kept %"),
        ] {
            let title = format!("{} {title}", load.name());
            columns.push(Column::of_case(&load.name(), figure).titled(title));
        }
    }
    let title =
        "inside the step: goodput % of each, and answered in time in shares of the capacity";
    Table::of(title, samples, &columns)
}

/// The tight application by setting: means hide where a guarantee does nothing.
fn by_setting(samples: &[Sample], load: Load) -> Table {
    let mut settings: Vec<&str> = samples.iter().map(|one| one.setting.as_str()).collect();
    settings.dedup();
    let column = |setting: &&str| {
        let column = Column::of_case(&load.name(), "middle_20").in_setting(setting);
        column.titled((*setting).to_owned())
    };
    let columns: Vec<_> = settings.iter().map(column).collect();
    let title = format!("inside {}: goodput % of the 20 ms application", load.name());
    Table::of(&title, samples, &columns)
}
