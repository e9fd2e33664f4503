//! Replicas that start slowly, and a model that is slower for a while.
//!
//! The first 300 ms of work of each replica take five times as long, and in the middle third
//! of the run everything takes 1.6 times as long, at half of the capacity without either. Who
//! goes by a profile from before is too optimistic then; who learns must be quick.

use super::{Context, Place, comparison, usual_settings};
use crate::kind::Kind;
use crate::load::Load;
use crate::pace::{Cold, Pace, Slow};
use crate::run::Setting;
use crate::table::{Column, Sample, Table};

const LOAD: Load = Load::Poisson(0.5);
const COLD: Cold = Cold {
    seconds: 0.3,
    factor: 5.0,
};
const SLOW: f64 = 1.6;
const KINDS: [Kind; 5] = [
    Kind::Triton,
    Kind::Clipper,
    Kind::Clockwork,
    Kind::Symphony,
    Kind::Window,
];

/// Samples and tables.
pub(super) fn run(context: &mut Context<'_>) -> (Vec<Sample>, Vec<Table>) {
    let mut samples = Vec::new();
    for (index, setting) in (1..).zip(usual_settings()) {
        let length = context.extent.length(setting.capacity());
        let place = Place {
            setting: Setting {
                pace: pace(length),
                ..setting
            },
            case: "drift",
            load: LOAD,
            index,
        };
        context.compare(&KINDS, &place, &mut samples);
    }
    let columns = [
        Column::of_all("goodput %", "good"),
        Column::of_all("worst", "good").least(),
        Column::of_all("while slow", "good_middle"),
        Column::of_all("worst while slow", "good_middle").least(),
        Column::of_all("late %", "late"),
        Column::of_all("mean ms", "mean_ms"),
    ];
    let title = "cold start (300 ms of work, 5x) and a slow-down (1.6x, middle third) at 0.5 C";
    let mut tables = vec![Table::of(title, &samples, &columns)];
    tables.extend(comparison(&samples));
    (samples, tables)
}

fn pace(length: f64) -> Pace {
    Pace {
        cold: Some(COLD),
        slow: Some(Slow {
            from: length / 3.0,
            until: length * 2.0 / 3.0,
            factor: SLOW,
        }),
        ..Pace::EVEN
    }
}
