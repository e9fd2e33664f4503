//! The spread of batches' times and the share of stragglers, on eight replicas.
//!
//! Loads are in shares of the capacity that is left beside the stragglers.

use super::{Context, Place, comparison, settings};
use crate::kind::Kind;
use crate::load::Load;
use crate::run::Setting;
use crate::table::{Column, Sample, Table};
use crate::truth::{Noise, SHAPES};
use crate::variant::Variant;

const REPLICAS: usize = 8;
const LOADS: [Load; 2] = [Load::Poisson(0.7), Load::Step(1.5)];
const SIGMAS: [f64; 3] = [0.02, 0.1, 0.3];
const STRAGGLERS: [f64; 3] = [0.0, 0.01, 0.03];
const KINDS: [Kind; 7] = [
    Kind::Triton,
    Kind::Clockwork,
    Kind::Symphony,
    Kind::Variant(Variant::NoHedge),
    Kind::Variant(Variant::Margin90),
    Kind::Window,
    Kind::Oracle,
];

/// Samples and tables.
pub(super) fn run(context: &mut Context<'_>) -> (Vec<Sample>, Vec<Table>) {
    let (mut samples, mut tables, mut index) = (Vec::new(), Vec::new(), 0);
    for load in LOADS {
        let mut columns = Vec::new();
        for (sigma, share) in kinds_of_noise() {
            let title = format!("s{sigma} p{share}");
            let case = format!("{title} {}", load.name());
            for setting in settings(&SHAPES[1..], &[REPLICAS]) {
                index += 1;
                let place = Place {
                    setting: noisy(setting, sigma, share),
                    case: &case,
                    load,
                    index,
                };
                context.compare(&KINDS, &place, &mut samples);
            }
            columns.push(Column::of_case(&case, "good").titled(title));
        }
        let title = format!(
            "{}: goodput % by sigma and straggler share, 8 replicas",
            load.name()
        );
        tables.push(Table::of(&title, &samples, &columns));
    }
    let columns = [
        Column::of_all("goodput %", "good"),
        Column::of_all("worst", "good").least(),
        Column::of_all("late %", "late"),
        Column::of_all("mean ms", "mean_ms"),
    ];
    tables.push(Table::of("over all of it", &samples, &columns));
    tables.extend(comparison(&samples));
    (samples, tables)
}

/// All pairs of sigma and straggler share.
fn kinds_of_noise() -> impl Iterator<Item = (f64, f64)> {
    let sigmas = SIGMAS.into_iter();
    sigmas.flat_map(|sigma| STRAGGLERS.map(|share| (sigma, share)))
}

fn noisy(setting: Setting, sigma: f64, share: f64) -> Setting {
    let noise = Noise {
        sigma,
        // Infinite where there are none.
        straggler_every: 1.0 / share,
        ..setting.noise
    };
    Setting { noise, ..setting }
}
