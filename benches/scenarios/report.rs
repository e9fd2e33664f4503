//! Everything that was found, as rows and bars.

use skysail_benches::result::{Bar, Results, Row};
use skysail_load::ByName;

use crate::cell::{Cell, LOAD_MAX};
use crate::overload::{Found, Sent};
use crate::stage::QUERY_BYTES;
use crate::{fault, neighbour, table};

/// Goodput inside the largest step over that of the best constant load.
const RATIO_MIN: f64 = 0.95;
/// Goodput beside the neighbour over goodput alone: nothing is lost, as far as can be told.
const BESIDE_MIN: f64 = 0.99;
/// What a client's p99 may be above the objective: this, or twice the lateness of a sleeper.
const GRACE_MS: f64 = 2.0;

/// Everything that was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Queries a second of a model that does nothing, if cells were wanted.
    pub(crate) ceiling: Option<f64>,
    /// Cells; those beyond this machine have nothing found.
    pub(crate) cells: Vec<(Cell, Option<Found>)>,
    pub(crate) faults: Vec<fault::Found>,
    pub(crate) neighbour: Option<neighbour::Found>,
}

impl Report {
    /// Prints it.
    pub(crate) fn print(&self, json: bool) {
        let results = Results::new("scenarios", self.rows(), self.bars());
        match json {
            true => results.print(true),
            false => table::print(self, &results.heading()),
        }
    }

    /// What was sent, by what for.
    pub(crate) fn sent(&self) -> Vec<(String, &Sent)> {
        let cells = self
            .measured()
            .map(|(cell, found)| (cell.to_string(), &found.sent));
        let faults = self.faults.iter();
        let faults = faults.map(|found| (found.fault.name.to_owned(), &found.sent));
        let neighbour = self.neighbour.iter();
        let neighbour = neighbour.map(|found| (neighbour::NAME.to_owned(), &found.sent));
        cells.chain(faults).chain(neighbour).collect()
    }

    /// The cells that were measured.
    pub(crate) fn measured(&self) -> impl Iterator<Item = (&Cell, &Found)> {
        self.cells
            .iter()
            .filter_map(|(cell, found)| Some((cell, found.as_ref()?)))
    }

    /// What is held to a limit.
    pub(crate) fn bars(&self) -> Vec<Bar> {
        let mut bars: Vec<_> = self
            .measured()
            .flat_map(|(cell, found)| cell_bars(cell, found))
            .collect();
        for found in &self.faults {
            let fault = &found.fault;
            if let Some(limit) = fault.recovery_slos_max {
                let name = format!("{}: full again after, SLOs", fault.name);
                bars.push(Bar::at_most(&name, median(&found.recovery_slos), limit));
            }
            bars.push(unanswered(fault.name, &found.sent));
        }
        if let Some(found) = &self.neighbour {
            let ratio = found.beside.goodput.percent() / found.alone.goodput.percent();
            let name = format!("{}: in time beside / alone", neighbour::NAME);
            bars.push(Bar::at_least(&name, ratio, BESIDE_MIN));
            bars.push(unanswered(neighbour::NAME, &found.sent));
        }
        bars
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Rows::default();
        if let Some(ceiling) = self.ceiling {
            rows.add("no-op", "answers", "/s", ceiling);
        }
        for (cell, found) in &self.cells {
            let name = cell.to_string();
            rows.add(&name, "capacity", "/s", cell.capacity());
            match found {
                Some(found) => cell_rows(&mut rows, &name, found),
                None => rows.add(&name, "beyond this machine", "", 1.0),
            }
        }
        for found in &self.faults {
            let name = found.fault.name;
            rows.add(name, "in time before", "%", found.before.percent());
            rows.add(name, "in time during", "%", found.during.percent());
            rows.add(name, "in time after", "%", found.after.percent());
            rows.add(name, "client p99", "ms", found.p99_ms);
            rows.add(name, "started again", "", found.restarted as f64);
            rows.add_all(name, "full again after", "SLOs", &found.recovery_slos);
            rows.add_defaults(name, &found.defaults);
        }
        if let Some(found) = &self.neighbour {
            neighbour_rows(&mut rows, found);
        }
        for (name, sent) in self.sent() {
            rows.add(&name, "queries", "", sent.queries as f64);
            rows.add(&name, "unanswered", "", sent.unanswered as f64);
            rows.add(&name, "generator cpu", "% core", sent.cpu_percent());
            rows.add(&name, "generator cpu", "us/query", sent.cpu_us());
            rows.add(&name, "generator late, p99", "ms", sent.late_p99_ms);
        }
        rows.0
    }
}

/// Rows of single figures.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, name: &str, metric: &'static str, unit: &'static str, value: f64) {
        self.add_all(name, metric, unit, &[value]);
    }

    fn add_all(&mut self, name: &str, metric: &'static str, unit: &'static str, values: &[f64]) {
        self.0
            .push(Row::new(name, QUERY_BYTES, metric, unit, values));
    }

    fn add_defaults(&mut self, name: &str, defaults: &ByName) {
        for (cause, count) in defaults {
            self.add(&format!("{name}, {cause}"), "defaults", "", *count as f64);
        }
    }
}

fn cell_rows(rows: &mut Rows, name: &str, found: &Found) {
    for one in &found.constant {
        let name = format!("{name}, {} C", one.load);
        rows.add(&name, "in time", "%", one.percent);
        rows.add(&name, "goodput", "/s", one.goodput);
        rows.add_defaults(&name, &one.defaults);
    }
    for step in &found.steps {
        let name = format!("{name}, step {} C", step.load);
        rows.add(&name, "in time before", "%", step.before_percent);
        rows.add(&name, "in time inside", "%", step.inside_percent);
        rows.add(&name, "in time after", "%", step.after_percent);
        rows.add(&name, "goodput inside", "/s", step.inside);
        rows.add(&name, "goodput inside / best", "x", found.ratio(step));
        rows.add_defaults(&name, &step.defaults);
    }
    rows.add(name, "client p99", "ms", found.p99_ms);
    rows.add(name, "sleeper late, p99", "ms", found.sleeper_p99_ms);
}

fn neighbour_rows(rows: &mut Rows, found: &neighbour::Found) {
    let sides = [
        ("neighbour, healthy alone", &found.alone),
        ("neighbour, healthy beside", &found.beside),
        ("neighbour, itself", &found.neighbour),
    ];
    for (name, side) in sides {
        rows.add(name, "in time", "%", side.goodput.percent());
        rows.add(name, "client p99", "ms", side.p99_ms);
        rows.add_defaults(name, &side.defaults);
    }
}

fn cell_bars(cell: &Cell, found: &Found) -> Vec<Bar> {
    let largest = found.steps.iter().filter(|step| step.load == LOAD_MAX);
    let ratio = largest.map(|step| {
        let name = format!("{cell}: goodput inside {LOAD_MAX} C / best constant");
        Bar::at_least(&name, found.ratio(step), RATIO_MIN)
    });
    let mut bars: Vec<_> = ratio.collect();
    let p99 = format!("{cell}: client p99, ms");
    bars.push(Bar::at_most(&p99, found.p99_ms, p99_limit_ms(cell, found)));
    bars.push(unanswered(&cell.to_string(), &found.sent));
    bars
}

fn unanswered(name: &str, sent: &Sent) -> Bar {
    let name = format!("{name}: queries without an answer");
    Bar::at_most(&name, sent.unanswered as f64, 0.0)
}

/// What a client's p99 may be, to a hundredth of a millisecond.
pub(crate) fn p99_limit_ms(cell: &Cell, found: &Found) -> f64 {
    let limit = cell.slo_ms() + GRACE_MS.max(2.0 * found.sleeper_p99_ms);
    (limit * 100.0).round() / 100.0
}

fn median(values: &[f64]) -> f64 {
    Row::new("", 0, "", "", values).median
}
