//! The report as text.

use skysail_load::ByName;

use crate::cell::Cell;
use crate::neighbour;
use crate::overload::Found;
use crate::report::{Report, p99_limit_ms};

/// Prints a report.
pub(crate) fn print(report: &Report, heading: &str) {
    println!("{heading}");
    if let Some(ceiling) = report.ceiling {
        println!("\nno-op ceiling of this machine: {ceiling:.0} queries/s");
    }
    print_cells(report);
    print_faults(report);
    print_neighbour(report);
    print_generator(report);
    println!("\nbars");
    for bar in report.bars() {
        println!("  {bar}");
    }
}

fn print_cells(report: &Report) {
    if report.cells.is_empty() {
        return;
    }
    println!(
        "\nC and best constant load in queries/s; in time in % of what was offered;\n\
         x: in time a second inside the step, over the best constant load"
    );
    println!("{HEAD_ABOVE}\n{HEAD}");
    for (cell, found) in &report.cells {
        println!("{}", line(cell, found.as_ref()));
    }
    println!("\ndefaults in the runs with a step");
    for (cell, found) in report.measured() {
        for step in &found.steps {
            println!(
                "  {cell:<15} {:>3} C: {}",
                step.load,
                causes(&step.defaults)
            );
        }
    }
}

/// Heads of the columns, as wide as [`line()`] writes them.
const HEAD_ABOVE: &str = concat!(
    "                           best      at    0.9 C | ",
    "    0.7 C, 1.5 C, 0.7 C     | ",
    "     0.7 C, 3 C, 0.7 C      | ",
    "client p99 ms",
);
const HEAD: &str = concat!(
    "cell                 C constant    load  in time | ",
    "before inside  after      x | ",
    "before inside  after      x | ",
    " found  limit  unanswered",
);

/// A cell's line of the table.
fn line(cell: &Cell, found: Option<&Found>) -> String {
    let capacity = cell.capacity();
    let Some(found) = found else {
        return format!("{cell:<15} {capacity:>6.0} beyond this machine");
    };
    let best = found.best();
    let steps = found.steps.iter().map(|step| {
        format!(
            "{:>6.1} {:>6.1} {:>6.1} {:>6.2} | ",
            step.before_percent,
            step.inside_percent,
            step.after_percent,
            found.ratio(step)
        )
    });
    let steps: String = steps.collect();
    format!(
        "{cell:<15} {capacity:>6.0} {:>8.0} {:>5} C {:>8.1} | {steps}{:>6.1} {:>6.1} {:>11}",
        best.goodput,
        best.load,
        found.high_percent(),
        found.p99_ms,
        p99_limit_ms(cell, found),
        found.sent.unanswered
    )
}

/// Causes and counts in a line.
fn causes(defaults: &ByName) -> String {
    let causes: Vec<_> = defaults
        .iter()
        .map(|(cause, count)| format!("{cause} {count}"))
        .collect();
    if causes.is_empty() {
        return "none".to_owned();
    }
    causes.join(", ")
}

fn each(values: &[f64]) -> String {
    let shown = |value: &f64| match value.is_nan() {
        true => "never".to_owned(),
        false => format!("{value:.1}"),
    };
    values.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn print_faults(report: &Report) {
    for found in &report.faults {
        let fault = &found.fault;
        println!(
            "\n{}: {} ({} at {} C)",
            fault.name, fault.about, fault.cell, fault.load
        );
        println!(
            "  in time: before {:.1} %, during {:.1} %, after {:.1} %; client p99 {:.1} ms; \
             {} of {} unanswered",
            found.before.percent(),
            found.during.percent(),
            found.after.percent(),
            found.p99_ms,
            found.sent.unanswered,
            found.sent.queries
        );
        println!(
            "  full again after, in SLOs: {}",
            each(&found.recovery_slos)
        );
        println!("  defaults: {}", causes(&found.defaults));
        if found.restarted > 0 {
            println!("  replicas that were started again: {}", found.restarted);
        }
    }
}

fn print_neighbour(report: &Report) {
    let Some(found) = &report.neighbour else {
        return;
    };
    println!(
        "\n{}: an application of 1 ms beside one of 20 ms, batches of 6 ms and more",
        neighbour::NAME
    );
    let sides = [
        ("alone", &found.alone),
        ("beside", &found.beside),
        ("neighbour", &found.neighbour),
    ];
    for (name, side) in sides {
        println!(
            "  {name:<10} in time {:>6.2} % of {}, client p99 {:.1} ms, defaults: {}",
            side.goodput.percent(),
            side.goodput.offered,
            side.p99_ms,
            causes(&side.defaults)
        );
    }
}

/// What the load generator cost, and whether it kept up.
fn print_generator(report: &Report) {
    println!("\nload generator: CPU, lateness of sending, queries that found all connections busy");
    for (name, sent) in report.sent() {
        println!(
            "  {name:<16} {:>5.1} % of a core, {:>5.1} us a query; p99 late by {:.2} ms; {:.2} %",
            sent.cpu_percent(),
            sent.cpu_us(),
            sent.late_p99_ms,
            100.0 * sent.waited as f64 / sent.queries as f64
        );
    }
}
