//! What a run came to, for people.

use std::time::Duration;

use serde_json::json;
use skysail_load::{Histogram, Measured};

use super::super::parse::micros;
use super::super::render::{Table, time};
use super::{Plan, Run, Step};

/// The p99 of lateness that is borne where there is no SLO.
const LATE_BEARABLE: Duration = Duration::from_millis(5);

/// What is sent where, in two lines.
pub(super) fn heading(plan: &Plan) -> String {
    format!(
        "{} {}\n{}; {} after a warm-up of {}, {} connections, seed {}\n",
        plan.target.method(),
        plan.target.url,
        plan.schedule.described(),
        shown(plan.window.duration),
        shown(plan.window.warm_up),
        plan.connections,
        plan.seed,
    )
}

/// The table of one run.
pub(super) fn report(plan: &Plan, run: &Run) -> String {
    let measured = &run.measured;
    let mut text = counts(plan.window.slo, measured).or("");
    text.push('\n');
    text.push_str(&times(measured).or(""));
    if let Some(cost) = measured.cpu_us_per_request() {
        text.push_str(&format!(
            "\n{cost:.1} us of CPU per request in this process"
        ));
        if let Some(cost) = run.server_cpu_us_per_request() {
            let server = plan.target.server;
            text.push_str(&format!(", {cost:.1} us at {server}"));
        }
        text.push('\n');
    }
    for note in notes(plan, run) {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

fn counts(slo: Option<Duration>, measured: &Measured) -> Table {
    let mut table = Table::new(["", "REQUESTS", "PER SECOND", "OF OFFERED"]);
    let mut row = |name: String, count: u64| {
        let rate = count as f64 / measured.elapsed.as_secs_f64().max(1e-6);
        let share = percent(count, measured.offered);
        table.row([name, count.to_string(), format!("{rate:.1}"), share]);
    };
    row("offered".to_owned(), measured.offered);
    row("sent".to_owned(), measured.sent);
    row("answered".to_owned(), measured.answered);
    if let Some(slo) = slo {
        row(format!("in time ({})", shown(slo)), measured.in_time);
        let defaults: u64 = measured.defaults.values().sum();
        let late = measured
            .answered
            .saturating_sub(measured.in_time + defaults);
        if late > 0 {
            row("predicted late".to_owned(), late);
        }
    }
    for (cause, count) in &measured.defaults {
        row(format!("default: {cause}"), *count);
    }
    for (kind, count) in &measured.errors {
        row(format!("error: {kind}"), *count);
    }
    if measured.not_sent > 0 {
        row("not sent".to_owned(), measured.not_sent);
    }
    if measured.unfinished > 0 {
        row("unfinished".to_owned(), measured.unfinished);
    }
    table
}

fn times(measured: &Measured) -> Table {
    let mut table = Table::new(["", "P50", "P90", "P99", "P99.9", "MAX"]);
    for (name, times) in [
        ("latency", &measured.latencies),
        ("sent late by", &measured.lateness),
    ] {
        let shown = |us| {
            if times.is_empty() {
                "-".to_owned()
            } else {
                ms(us)
            }
        };
        let [p50, p90, p99, p999, max] = quantiles(times).map(shown);
        table.row([name.to_owned(), p50, p90, p99, p999, max]);
    }
    table
}

/// p50, p90, p99, p99.9 and the greatest, in microseconds.
pub(super) fn quantiles(times: &Histogram<u64>) -> [u64; 5] {
    let at = |quantile| times.value_at_quantile(quantile).min(times.max());
    [at(0.5), at(0.9), at(0.99), at(0.999), times.max()]
}

/// What makes the figures say less than they seem to.
fn notes(plan: &Plan, run: &Run) -> Vec<String> {
    let (measured, mut notes) = (&run.measured, Vec::new());
    if run.is_interrupted {
        let after = measured.elapsed.as_secs_f64();
        notes.push(format!("interrupted after {after:.1} s of what is counted"));
    }
    if measured.waited > 0 {
        notes.push(format!(
            "{} requests found all {} connections busy and were sent late or not at all; \
             --connections allows more",
            measured.waited, plan.connections,
        ));
    }
    if measured.errors() * 100 > measured.offered {
        let kinds: Vec<&str> = measured.errors.keys().map(AsRef::as_ref).collect();
        notes.push(format!(
            "{} of what was offered got no answer: {}",
            percent(measured.errors(), measured.offered),
            kinds.join(", "),
        ));
    }
    if limit(plan.window.slo, measured) == Some(Limit::Load) {
        notes.push(
            "the load itself was sent late: it, not the server, is the limit on this machine"
                .to_owned(),
        );
    }
    notes
}

/// What may have bound a run besides the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// More than 1 % of the requests waited for a connection.
    Connections,
    /// Sends were late with connections to spare, by a part of the SLO that matters.
    Load,
}

pub(super) fn limit(slo: Option<Duration>, measured: &Measured) -> Option<Limit> {
    if measured.waited * 100 > measured.offered {
        return Some(Limit::Connections);
    }
    let bearable = slo.map_or(LATE_BEARABLE, |slo| slo / 4);
    let late = measured.lateness.value_at_quantile(0.99);
    (late > micros(bearable)).then_some(Limit::Load)
}

/// One step of a search, in a line.
pub(super) fn step(plan: &Plan, step: &Step) -> String {
    let measured = &step.run.measured;
    let verdict = match (step.run.is_interrupted, measured.p99_holds()) {
        (true, _) => "interrupted",
        (false, true) => "holds",
        (false, false) => match limit(plan.window.slo, measured) {
            Some(Limit::Connections) => "does not hold: all connections were busy",
            Some(Limit::Load) => "does not hold: the load itself was sent late",
            None => "does not hold",
        },
    };
    format!(
        "{:>9.1}/s  p99 {:>12}  in time {:>7}  {verdict}",
        step.rate,
        ms(measured.latencies.value_at_quantile(0.99)),
        percent(measured.in_time, measured.offered),
    )
}

/// What a search came to.
pub(super) fn found(plan: &Plan, best: Option<&Step>, is_interrupted: bool) -> String {
    let slo = shown(plan.window.slo.unwrap_or_default());
    let until = if is_interrupted {
        " until interrupted"
    } else {
        ""
    };
    match best {
        None => format!("\nno rate was found{until} at which the p99 is within {slo}\n"),
        Some(step) => format!(
            "\nhighest rate{until} at which the p99 is within {slo}: {:.1}/s\n\n{}",
            step.rate,
            report(plan, &step.run)
        ),
    }
}

/// Microseconds as milliseconds.
pub(super) fn ms(us: u64) -> String {
    format!("{:.3} ms", us as f64 / 1e3)
}

/// A share of a whole, `-` of nothing. Never rounded up to 100.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(whole);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// A time with the unit that makes it short.
pub(super) fn shown(duration: Duration) -> String {
    time(&json!(micros(duration)))
}
