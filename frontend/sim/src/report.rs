//! Tables of a grid.

use std::fmt::Write as _;

use crate::grid::{Cell, FLUID};
use crate::load::LOADS;

/// A figure with its limit, as the benches print them.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Bar {
    /// What is held to the limit.
    pub name: &'static str,
    /// What came out.
    pub value: f64,
    /// `>=` or `<=`.
    pub op: &'static str,
    /// The limit.
    pub limit: f64,
    /// Whether it holds.
    pub pass: bool,
}

impl Bar {
    fn new(name: &'static str, value: f64, op: &'static str, limit: f64) -> Bar {
        let pass = if op == ">=" {
            value >= limit
        } else {
            value <= limit
        };
        Bar {
            name,
            value,
            op,
            limit,
            pass,
        }
    }
}

/// Batchers in the order in which they first appear.
#[must_use]
pub fn policies(cells: &[Cell]) -> Vec<&'static str> {
    let mut names = Vec::new();
    for cell in cells {
        if !names.contains(&cell.policy) {
            names.push(cell.policy);
        }
    }
    names.sort_by_key(|name| *name == FLUID);
    names
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| {
        (sum + value, count + 1)
    });
    sum / count as f64
}

fn mean_of(cells: &[Cell], policy: &str, load: &str, value: impl Fn(&Cell) -> f64) -> f64 {
    let of = |cell: &&Cell| cell.policy == policy && (load.is_empty() || cell.load == load);
    mean(cells.iter().filter(of).map(value))
}

/// Goodput by load: the share of arrivals answered in time, in per cent.
#[must_use]
pub fn goodput_table(cells: &[Cell]) -> String {
    let mut text = format!("{:<16}", "goodput %");
    for load in LOADS {
        let _ = write!(text, "{:>12}", load.name());
    }
    let _ = writeln!(text, "{:>9}{:>8}", "mean", "worst");
    for policy in policies(cells) {
        let _ = write!(text, "{policy:<16}");
        for load in LOADS {
            let good = mean_of(cells, policy, &load.name(), |cell| cell.good);
            let _ = write!(text, "{:>12.1}", 100.0 * good);
        }
        let good = mean_of(cells, policy, "", |cell| cell.good);
        let own = cells.iter().filter(|cell| cell.policy == policy);
        let worst = own.map(|cell| cell.good).fold(1.0, f64::min);
        let _ = writeln!(text, "{:>9.2}{:>8.1}", 100.0 * good, 100.0 * worst);
    }
    text
}

/// Goodput by model, objective and replicas, in per cent.
#[must_use]
pub fn configuration_table(cells: &[Cell]) -> String {
    let name = |cell: &Cell| format!("{} {}x{}", cell.profile, cell.slo_ms, cell.replicas);
    let mut columns: Vec<String> = Vec::new();
    for cell in cells {
        if !columns.contains(&name(cell)) {
            columns.push(name(cell));
        }
    }
    let mut text = format!("{:<16}", "goodput %");
    for column in &columns {
        let _ = write!(text, "{column:>14}");
    }
    text.push('\n');
    for policy in policies(cells) {
        let _ = write!(text, "{policy:<16}");
        for column in &columns {
            let own = cells.iter().filter(|cell| cell.policy == policy);
            let good = mean(
                own.filter(|cell| name(cell) == *column)
                    .map(|cell| cell.good),
            );
            let _ = write!(text, "{:>14.1}", 100.0 * good);
        }
        text.push('\n');
    }
    text
}

/// Everything else.
#[must_use]
pub fn detail_table(cells: &[Cell]) -> String {
    let mut text = format!(
        "{:<16}{:>8}{:>8}{:>14}{:>14}{:>12}{:>12}{:>22}{:>20}\n",
        "",
        "late %",
        "shed %",
        "p99/SLO",
        "p99 > SLO %",
        "ms at 0.1C",
        "ms at 0.9C",
        "batch 0.1/0.9/step3",
        "C in step 1.5/3.0"
    );
    for policy in policies(cells).into_iter().filter(|name| *name != FLUID) {
        let at = |load: &str, value: fn(&Cell) -> f64| mean_of(cells, policy, load, value);
        let own = cells.iter().filter(|cell| cell.policy == policy);
        let mut ratios: Vec<f64> = own.map(|cell| cell.p99_ms / cell.slo_ms).collect();
        ratios.sort_by(f64::total_cmp);
        let beyond = ratios.iter().filter(|ratio| **ratio > 1.02).count();
        let _ = writeln!(
            text,
            "{policy:<16}{:>8.2}{:>8.1}{:>14}{:>14.0}{:>12.2}{:>12.1}{:>22}{:>20}",
            100.0 * at("", |cell| cell.late),
            100.0 * at("", |cell| cell.shed),
            format!(
                "{:.2} / {:.1}",
                ratios[ratios.len() / 2],
                ratios[ratios.len() - 1]
            ),
            100.0 * beyond as f64 / ratios.len() as f64,
            at("poisson0.1", |cell| cell.mean_ms),
            at("poisson0.9", |cell| cell.mean_ms),
            format!(
                "{:.1} / {:.0} / {:.0}",
                at("poisson0.1", |cell| cell.batch),
                at("poisson0.9", |cell| cell.batch),
                at("step3.0", |cell| cell.batch)
            ),
            format!(
                "{:.2} / {:.2}",
                at("step1.5", |cell| cell.middle),
                at("step3.0", |cell| cell.middle)
            ),
        );
    }
    text
}

/// The aims of the policy, as ratios of means over the grid.
#[must_use]
pub fn bars(cells: &[Cell]) -> Vec<Bar> {
    let good = |policy: &str| mean_of(cells, policy, "", |cell| cell.good);
    let early = |policy: &str| mean_of(cells, policy, "poisson0.1", |cell| cell.mean_ms);
    let (own, oracle, fluid) = (good("skysail"), good("oracle"), good(FLUID));
    let late = mean_of(cells, "skysail", "", |cell| cell.late);
    vec![
        Bar::new("goodput over the oracle's", own / oracle, ">=", 0.985),
        Bar::new("goodput over the fluid bound", own / fluid, ">=", 0.965),
        Bar::new("oracle over the fluid bound", oracle / fluid, ">=", 0.978),
        Bar::new(
            "goodput over tuned triton's",
            own / good("triton (tuned)"),
            ">=",
            1.0,
        ),
        Bar::new(
            "goodput over clockwork-like",
            own / good("clockwork-like"),
            ">=",
            1.0,
        ),
        Bar::new(
            "goodput over symphony-like",
            own / good("symphony-like"),
            ">=",
            1.0,
        ),
        Bar::new(
            "latency at 0.1 C over eager's",
            early("skysail") / early("eager"),
            "<=",
            1.02,
        ),
        Bar::new("late share", late, "<=", 0.01),
    ]
}

/// Bars as lines.
#[must_use]
pub fn bar_lines(bars: &[Bar]) -> String {
    let mut text = String::new();
    for bar in bars {
        let verdict = if bar.pass { "met" } else { "MISSED" };
        let Bar {
            name,
            value,
            op,
            limit,
            ..
        } = bar;
        let _ = writeln!(text, "{name:<32}{value:>9.4} {op} {limit:<6} {verdict}");
    }
    text
}

/// All of it as text.
#[must_use]
pub fn text(cells: &[Cell]) -> String {
    let tables = [
        goodput_table(cells),
        detail_table(cells),
        configuration_table(cells),
        bar_lines(&bars(cells)),
    ];
    tables.join("\n")
}

/// What the JSON is.
pub const SCHEMA: &str = "skysail-batchsim/1";

/// Cells and bars as JSON.
#[must_use]
pub fn json(cells: &[Cell]) -> serde_json::Value {
    serde_json::json!({
        "schema": SCHEMA,
        "cells": cells,
        "bars": bars(cells),
    })
}
