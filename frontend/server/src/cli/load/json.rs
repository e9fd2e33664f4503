//! What a run came to, as JSON (`skysail-load/1`).

use serde_json::{Value, json};
use skysail_load::{Histogram, Measured, Second};

use super::super::parse::micros;
use super::text::{Limit, limit, quantiles};
use super::{Plan, Run, Step};

/// The schema of all that this prints.
const SCHEMA: &str = "skysail-load/1";

/// One run, with its seconds.
pub(super) fn report(plan: &Plan, run: &Run) -> Value {
    let mut report = plan_of(plan);
    report["interrupted"] = json!(run.is_interrupted);
    merge(&mut report, measured(plan, run));
    report
}

/// A search: its steps and the best run.
pub(super) fn search(
    plan: &Plan,
    steps: &[Value],
    best: Option<&Step>,
    is_interrupted: bool,
) -> Value {
    let mut search = plan_of(plan);
    search["interrupted"] = json!(is_interrupted);
    search["rate_max"] = json!(best.map(|step| step.rate));
    search["steps"] = json!(steps);
    search["best"] = json!(best.map(|step| measured(plan, &step.run)));
    search
}

/// One step of a search.
pub(super) fn step(plan: &Plan, step: &Step) -> Value {
    let measured = &step.run.measured;
    json!({
        "rate": step.rate, "offered": measured.offered, "in_time": measured.in_time,
        "p99_us": measured.latencies.value_at_quantile(0.99), "holds": measured.p99_holds(),
        "limit": limit_of(plan, measured),
    })
}

fn plan_of(plan: &Plan) -> Value {
    json!({
        "schema": SCHEMA, "method": plan.target.method(), "url": plan.target.url,
        "arrivals": plan.schedule.described(), "seed": plan.seed,
        "connections": plan.connections, "slo_us": plan.window.slo.map(micros),
        "warm_up_s": plan.window.warm_up.as_secs_f64(),
        "duration_s": plan.window.duration.as_secs_f64(),
    })
}

fn measured(plan: &Plan, run: &Run) -> Value {
    let measured = &run.measured;
    let in_time = |count: u64| plan.window.slo.map(|_| count);
    let seconds = measured.seconds.iter().enumerate();
    let seconds: Vec<_> = seconds
        .map(|(index, second)| second_of(index, second, in_time(second.in_time)))
        .collect();
    json!({
        "elapsed_s": measured.elapsed.as_secs_f64(),
        "offered": measured.offered, "sent": measured.sent, "answered": measured.answered,
        "in_time": in_time(measured.in_time),
        "default_by_cause": measured.defaults, "error_by_kind": measured.errors,
        "not_sent": measured.not_sent, "waited": measured.waited,
        "unfinished": measured.unfinished,
        "latency_us": times(&measured.latencies), "lateness_us": times(&measured.lateness),
        "limit": limit_of(plan, measured),
        "cpu_us_per_request": measured.cpu_us_per_request(),
        "server_cpu_us_per_request": run.server_cpu_us_per_request(),
        "seconds": seconds,
    })
}

fn second_of(index: usize, second: &Second, in_time: Option<u64>) -> Value {
    let at = |quantile| second.latencies.value_at_quantile(quantile);
    json!({
        "second": index, "offered": second.offered, "sent": second.sent,
        "answered": second.answered, "in_time": in_time, "defaults": second.defaults,
        "errors": second.errors, "not_sent": second.not_sent,
        "p50_us": at(0.5), "p99_us": at(0.99), "max_us": second.latencies.max(),
    })
}

/// What may have bound the run besides the server, if something did.
fn limit_of(plan: &Plan, measured: &Measured) -> Option<&'static str> {
    limit(plan.window.slo, measured).map(|limit| match limit {
        Limit::Connections => "connections",
        Limit::Load => "load",
    })
}

fn times(times: &Histogram<u64>) -> Value {
    let [p50, p90, p99, p999, max] = quantiles(times);
    json!({ "p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max })
}

/// Adds the fields of one object to another.
fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}
