//! An application that cannot be served, beside one that can, on the same model.
//!
//! The neighbour's objective is shorter than the fastest batch. Whatever is computed for it is lost
//! to the other. Both are measured with the same arrivals, with and without the neighbour in turn.

use std::time::Duration;

use anyhow::Result;
use skysail_load::{ByName, Measured};

use crate::cell::{Cell, GPU};
use crate::goodput::Goodput;
use crate::overload::{REST, Sent, p99_ms};
use crate::plan::Plan;
use crate::stage::{APP, Keeper, Load, Setup, Stage, Tools};

/// Its name among the faults.
pub(crate) const NAME: &str = "neighbour";
/// The neighbour, and its objective: the fastest batch takes 6 ms.
const NEIGHBOUR: &str = "neighbour";
const NEIGHBOUR_SLO: Duration = Duration::from_millis(1);
/// The healthy application's.
const CELL: Cell = Cell {
    shape: GPU,
    slo: Duration::from_millis(20),
    replicas: 1,
};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The healthy application alone.
    pub(crate) alone: Side,
    /// The healthy application beside the neighbour.
    pub(crate) beside: Side,
    /// The neighbour.
    pub(crate) neighbour: Side,
    pub(crate) sent: Sent,
}

/// An application in all runs of a kind.
#[derive(Debug, Default)]
pub(crate) struct Side {
    pub(crate) goodput: Goodput,
    /// The worst of the runs.
    pub(crate) p99_ms: f64,
    pub(crate) defaults: ByName,
}

impl Side {
    fn add(&mut self, measured: &Measured) {
        let goodput = Goodput {
            offered: measured.offered,
            in_time: measured.in_time,
        };
        self.goodput = self.goodput + goodput;
        self.p99_ms = self.p99_ms.max(p99_ms(measured));
        for (cause, count) in &measured.defaults {
            *self.defaults.entry(cause.clone()).or_default() += count;
        }
    }
}

/// Measures pairs of runs.
pub(crate) async fn measure(tools: &Tools, plan: &Plan) -> Result<Found> {
    eprintln!("{NAME}: an application with an SLO of 1 ms beside one of {CELL}");
    let setup = Setup {
        cell: CELL,
        keeper: Keeper::Bench,
        stragglers: false,
    };
    let stage = Stage::start(tools, &setup).await?;
    stage.add_application(NEIGHBOUR, NEIGHBOUR_SLO).await?;
    let learning = Load::constant(REST, plan.learning, Duration::ZERO, 0);
    stage.drive(&learning, |_| {}).await?;
    let mut found = Found::default();
    for pair in 0..u64::from(plan.pairs) {
        let load = |seed| Load::constant(REST, plan.constant, plan.warm_up, seed);
        let (healthy, other) = (load(2 * pair + 1), load(2 * pair + 2));
        let alone = stage.drive(&healthy, |_| {}).await?;
        let beside = stage.drive_application(APP, CELL.slo, &healthy, |_| {});
        let neighbour = stage.drive_application(NEIGHBOUR, NEIGHBOUR_SLO, &other, |_| {});
        let (beside, neighbour) = tokio::try_join!(beside, neighbour)?;
        found.alone.add(&alone);
        found.beside.add(&beside);
        found.neighbour.add(&neighbour);
        found.sent.add(&healthy, &alone);
        found.sent.add(&healthy, &beside);
        found.sent.add(&other, &neighbour);
        eprintln!(
            "  in time so far: alone {:.2} %, beside {:.2} %",
            found.alone.goodput.percent(),
            found.beside.goodput.percent()
        );
    }
    Ok(found)
}
