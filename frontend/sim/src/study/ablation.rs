//! The policy without one of its rules, on the loads that are hard.

use super::{Context, Place, comparison, settings};
use crate::grid::REPLICAS;
use crate::kind::Kind;
use crate::load::Load;
use crate::table::{Column, Sample, Table};
use crate::truth::SHAPES;
use crate::variant::Variant;

const LOADS: [Load; 5] = [
    Load::Poisson(0.9),
    Load::Mmpp(0.6),
    Load::Gamma(0.7),
    Load::Azure(0.4),
    Load::Step(1.5),
];

/// Samples and tables.
pub(super) fn run(context: &mut Context<'_>) -> (Vec<Sample>, Vec<Table>) {
    let mut kinds = vec![Kind::Clockwork, Kind::Symphony, Kind::Window];
    kinds.extend(Variant::ALL.map(Kind::Variant));
    let (mut samples, mut index) = (Vec::new(), 0);
    for setting in settings(&SHAPES[1..], &REPLICAS) {
        for load in LOADS {
            index += 1;
            let place = Place {
                setting,
                case: &load.name(),
                load,
                index,
            };
            context.compare(&kinds, &place, &mut samples);
        }
    }
    let mut columns: Vec<_> = LOADS
        .iter()
        .map(|load| Column::of_case(&load.name(), "good"))
        .collect();
    columns.extend([
        Column::of_all("mean", "good"),
        Column::of_all("worst", "good").least(),
        Column::of_all("late %", "late"),
        Column::of_all("mean ms", "mean_ms"),
    ]);
    let title = "goodput % of the policy and of its variants, mlp and gpu";
    let mut tables = vec![Table::of(title, &samples, &columns)];
    tables.extend(comparison(&samples));
    (samples, tables)
}
