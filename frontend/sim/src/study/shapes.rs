//! Models whose latency is not affine: tiles, a knee, and an affine one beside them.
//!
//! A profile of two parameters is wrong somewhere on such models; how much that costs shows
//! against the oracle, which knows the latency of every size. Clockwork-like and Symphony-like
//! know it as well.

use super::{Context, OWN, Place, comparison, name, seeded, settings};
use crate::fluid;
use crate::grid::{FLUID, REPLICAS};
use crate::kind::Kind;
use crate::load::Load;
use crate::run::Setting;
use crate::table::{Column, Row, Sample, Table, policies};
use crate::truth::{Form, Shape};

const LOADS: [Load; 5] = [
    Load::Poisson(0.1),
    Load::Poisson(0.9),
    Load::Mmpp(0.6),
    Load::Gamma(0.7),
    Load::Step(1.5),
];
const AFFINE: Shape = Shape {
    name: "affine",
    alpha: 2e-3,
    beta: 0.1e-3,
    form: Form::Affine,
    rows_max: 256,
};
/// The models of the study.
pub const MODELS: [Shape; 4] = [
    AFFINE,
    Shape {
        name: "tiles32",
        form: Form::Tiles(32),
        ..AFFINE
    },
    Shape {
        name: "knee48",
        form: Form::Knee(48),
        ..AFFINE
    },
    // All that counts is the tile: a batch costs little beside it.
    Shape {
        name: "steps32",
        alpha: 0.2e-3,
        form: Form::Tiles(32),
        ..AFFINE
    },
];
const KINDS: [Kind; 5] = [
    Kind::Triton,
    Kind::Clockwork,
    Kind::Symphony,
    Kind::Window,
    Kind::Oracle,
];

/// Samples and tables.
pub(super) fn run(context: &mut Context<'_>) -> (Vec<Sample>, Vec<Table>) {
    let (mut samples, mut index) = (Vec::new(), 0);
    for setting in settings(&MODELS, &REPLICAS) {
        for load in LOADS {
            index += 1;
            let place = Place {
                setting,
                case: &load.name(),
                load,
                index,
            };
            let before = samples.len();
            context.compare(&KINDS, &place, &mut samples);
            if samples.len() > before {
                bound(context, &place, &mut samples);
            }
        }
    }
    let mut tables = vec![by_model(
        &samples,
        "good",
        "goodput % by model, mean of all loads",
    )];
    tables.push(shares_of_oracle(&tables[0]));
    tables.push(by_model(&samples, "late", "late % by model"));
    tables.extend(MODELS.map(|model| by_load(&samples, &model)));
    tables.extend(comparison(&samples));
    (samples, tables)
}

/// The fluid bound in a place.
fn bound(context: &Context<'_>, place: &Place<'_>, samples: &mut Vec<Sample>) {
    for seed in context.extent.seeds(place.index) {
        let setting: Setting = seeded(&place.setting, seed);
        let Setting {
            shape,
            replicas,
            objective,
            ..
        } = setting;
        let capacity = setting.capacity();
        let length = context.extent.length(capacity);
        let arrivals = place.load.arrivals(capacity, length, seed);
        let good = fluid::good(&shape, replicas, objective, &arrivals);
        let share = 100.0 * good as f64 / arrivals.len().max(1) as f64;
        samples.push(Sample {
            policy: FLUID.to_owned(),
            setting: name(&setting),
            case: place.case.to_owned(),
            seed,
            figures: [("good", share)].into(),
        });
    }
}

/// A column for each model, over all loads.
fn by_model(samples: &[Sample], figure: &'static str, title: &str) -> Table {
    let mut table = Table {
        title: title.to_owned(),
        columns: Vec::new(),
        rows: Vec::new(),
    };
    for policy in policies(samples) {
        table.rows.push(Row {
            name: policy.to_owned(),
            values: Vec::new(),
        });
    }
    for model in MODELS {
        let own = of_model(samples, &model);
        let column = [Column::of_all(model.name, figure)];
        let part = Table::of(title, &own, &column);
        if part.columns.is_empty() {
            continue;
        }
        table.columns.push(model.name.to_owned());
        for row in &mut table.rows {
            let same = part.rows.iter().find(|one| one.name == row.name);
            row.values.push(same.and_then(|one| one.values[0]));
        }
    }
    table
}

/// What the policy reaches of the oracle's goodput, by model.
fn shares_of_oracle(goodput: &Table) -> Table {
    let row = |name: &str| goodput.rows.iter().find(|row| row.name == name);
    let (own, oracle) = (row(OWN), row(Kind::Oracle.name()));
    let rows = own.zip(oracle).map(|(own, oracle)| {
        let pairs = own.values.iter().zip(&oracle.values);
        let share = |(own, oracle): (&Option<f64>, &Option<f64>)| Some((*own)? / (*oracle)?);
        Row {
            name: OWN.to_owned(),
            values: pairs.map(share).collect(),
        }
    });
    Table {
        title: "goodput over the oracle's".to_owned(),
        columns: goodput.columns.clone(),
        rows: rows.into_iter().collect(),
    }
}

fn by_load(samples: &[Sample], model: &Shape) -> Table {
    let columns = LOADS.map(|load| Column::of_case(&load.name(), "good"));
    let title = format!("{}: goodput % by load", model.name);
    Table::of(&title, &of_model(samples, model), &columns)
}

fn of_model(samples: &[Sample], model: &Shape) -> Vec<Sample> {
    let prefix = format!("{} ", model.name);
    let own = samples
        .iter()
        .filter(|one| one.setting.starts_with(&prefix));
    own.cloned().collect()
}
