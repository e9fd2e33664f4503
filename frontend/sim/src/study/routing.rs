//! Routers before replicas with a batcher each, instead of late binding.
//!
//! The batching is the same; only who decides on the replica of a query, and when, differs.
//! Either all eight hosts are equal, or one of them takes twice as long; loads are in shares of
//! what the hosts bear together.

use super::{Context, OWN, comparison, name, seeded, settings};
use crate::kind::Kind;
use crate::load::Load;
use crate::pace::Pace;
use crate::routing::Routing;
use crate::run::Setting;
use crate::table::{Column, Sample, Table, figures};
use crate::traffic::Traffic;
use crate::truth::SHAPES;

const REPLICAS: usize = 8;
const LOADS: [Load; 3] = [Load::Poisson(0.7), Load::Mmpp(0.6), Load::Step(1.5)];
/// Names of the hosts, and the factor of the first one.
const HOSTS: [(&str, f64); 2] = [("equal", 1.0), ("one 2x", 2.0)];

/// Samples and tables.
pub(super) fn run(context: &mut Context<'_>) -> (Vec<Sample>, Vec<Table>) {
    let (mut samples, mut cases, mut index) = (Vec::new(), Vec::new(), 0);
    for (hosts, first) in HOSTS {
        for load in LOADS {
            let case = format!("{hosts} {}", load.name());
            for setting in settings(&SHAPES[1..], &[REPLICAS]) {
                index += 1;
                let pace = Pace {
                    first,
                    ..Pace::EVEN
                };
                if context.begins(&name(&setting), &case) {
                    let setting = Setting { pace, ..setting };
                    route(context, &setting, (&case, load), index, &mut samples);
                }
            }
            cases.push(case);
        }
    }
    let columns = |figure| {
        let cases = cases.iter();
        let columns: Vec<_> = cases.map(|case| Column::of_case(case, figure)).collect();
        columns
    };
    let mut tables = vec![
        Table::of(
            "goodput % by routing, 8 replicas",
            &samples,
            &columns("good"),
        ),
        Table::of("mean ms by routing", &samples, &columns("mean_ms")),
    ];
    tables.extend(comparison(&samples));
    (samples, tables)
}

/// Every routing in one place.
fn route(
    context: &Context<'_>,
    setting: &Setting,
    (case, load): (&str, Load),
    index: u64,
    samples: &mut Vec<Sample>,
) {
    for seed in context.extent.seeds(index) {
        let setting = seeded(setting, seed);
        let capacity = setting.capacity();
        let length = context.extent.length(capacity);
        let arrivals = load.arrivals(capacity, length, seed);
        let traffic = Traffic::of_one(&arrivals, setting.objective, length);
        for routing in Routing::ALL {
            let routed = Setting { routing, ..setting };
            let policy = match routing {
                Routing::Late => OWN,
                _ => routing.name(),
            };
            samples.push(Sample {
                policy: policy.to_owned(),
                setting: name(&setting),
                case: case.to_owned(),
                seed,
                figures: figures(&Kind::Window.run(&routed, &traffic, 3)),
            });
        }
    }
}
