use serde_json::{Value, json};

use super::*;

/// An answer after `n` hundred queries, of which 2 % were shed.
fn answer(n: u64) -> Value {
    json!({
        "pid": 7,
        "applications": [{
            "name": "digits", "latency_slo_micros": 20_000, "linked_models": ["mlp"],
            "in_time": 98 * n, "late": 0,
            "default_by_cause": { "no_replica": 0, "shed": 2 * n },
            "query_seconds": { "edges": [0.001, 0.01, 0.1], "counts": [2 * n, 90 * n, 8 * n, 0] },
        }],
        "versions": [{
            "model": "mlp", "version": "1", "current": true, "policy": "adaptive",
            "objective_seconds": 0.02,
            "queue": { "queries": 3, "head_age_seconds": 0.004 },
            "learned": {
                "alpha_seconds": 0.002, "beta_seconds": 0.0001, "margin": 1.25, "quantile": 0.99,
                "patience": 0.5, "rows_seen": 16.0, "queries_per_second": 100.0,
            },
            "capacity": { "queries_per_second": 1250.0, "rows": 16, "headroom": 0.92 },
            "tally": {
                "arrived": 100 * n, "in_time": 98 * n,
                "late_by": { "margin": 0, "straggler": 0, "transport": 0 },
                "shed_by": { "door": 0, "window": 2 * n }, "expired": 0,
                "batches": 25 * n, "rows": 100 * n, "batches_ahead": 0, "batches_cancelled": 0,
                "hedged": 0, "hedges_won": 0, "rows_wasted": 0,
            },
            "replicas": [{
                "id": 3, "state": "ready", "transport": "shm", "rows_max": 64, "slowness": 1.0,
                "busy_seconds": 0.5 * n as f64, "in_flight": 1, "in_flight_age_seconds": 0.0012,
                "transport_seconds": 0.00004, "stragglers": 0,
            }],
        }],
    })
}

fn load(value: Value) -> Load {
    serde_json::from_value(value).expect("an answer")
}

fn between(before: &Value, after: &Value) -> View {
    let (before, after) = (load(before.clone()), load(after.clone()));
    View::between(&before, &after, Duration::from_secs(2))
}

/// Two seconds of 100 queries each, 2 % of them shed.
pub(in super::super) fn busy() -> View {
    between(&answer(10), &answer(12))
}

/// An answer of a front end on which nothing is registered.
pub(in super::super) fn empty() -> Load {
    load(json!({ "pid": 7, "applications": [], "versions": [] }))
}

/// The answers that [`busy`] is of.
pub(in super::super) fn answers() -> (Load, Load) {
    (load(answer(10)), load(answer(12)))
}

#[test]
fn rates_are_of_what_came_between() {
    let view = busy();
    let application = &view.applications[0];
    let rates = &application.per_second;
    assert_eq!((rates.offered, rates.in_time), (100.0, 98.0));
    assert_eq!((rates.late, rates.default), (0.0, 2.0));
    assert_eq!(rates.default_by_cause["shed"], 2.0);
    assert_eq!(rates.default_by_cause["no_replica"], 0.0);
    assert_eq!(application.in_time_share, Some(0.98));
    assert_eq!(application.health(), Health::Bad);

    let version = &view.versions[0];
    assert_eq!(version.per_second.arrived, 100.0);
    assert_eq!(version.per_second.shed_by["window"], 2.0);
    assert_eq!(version.batch_rows_mean, Some(4.0));
    assert_eq!(version.health(), Health::Good);
    assert_eq!(version.replicas[0].busy_share, 0.5);
    let totals = Totals {
        offered: 100.0,
        in_time: 98.0,
        late: 0.0,
        default: 2.0,
        queued: 3,
        replicas: 1,
        missing: 1,
    };
    assert_eq!(view.totals(), totals);
}

#[test]
fn an_interval_without_queries_has_no_shares() {
    let view = between(&answer(10), &answer(10));
    let application = &view.applications[0];
    assert_eq!(application.per_second.offered, 0.0);
    assert_eq!(application.in_time_share, None);
    assert_eq!(application.p99_seconds, None);
    assert_eq!(application.health(), Health::Good);
    assert_eq!(view.versions[0].batch_rows_mean, None);
}

#[test]
fn a_quantile_is_within_the_objective_if_nothing_was_late() {
    // The objective, 20 ms, is within the bucket from 10 to 100 ms.
    let none_late = busy();
    assert_eq!(none_late.applications[0].p99_seconds, Some(0.02));
    assert!(!none_late.applications[0].is_slow());
    let mut after = answer(12);
    after["applications"][0]["late"] = json!(8);
    let some_late = between(&answer(10), &after);
    let p99 = some_late.applications[0].p99_seconds.expect("times");
    assert!(p99 > 0.02, "{p99}");
    assert!(some_late.applications[0].is_slow());
}

#[test]
fn counts_that_went_down_and_those_of_another_process_are_new() {
    let anew = between(&answer(10), &answer(4));
    assert_eq!(anew.applications[0].per_second.offered, 200.0);
    assert_eq!(anew.versions[0].per_second.arrived, 200.0);
    let mut other = answer(12);
    other["pid"] = json!(8);
    let restarted = between(&answer(10), &other);
    assert_eq!(restarted.applications[0].per_second.offered, 600.0);
    let replica = &restarted.versions[0].replicas[0];
    assert_eq!(replica.busy_share, 1.0, "never more than all of it");
}

#[test]
fn what_was_not_there_before_is_new() {
    let came = View::between(&empty(), &load(answer(2)), Duration::from_secs(2));
    assert_eq!(came.applications[0].per_second.offered, 100.0);
    let went = View::between(&load(answer(2)), &empty(), Duration::from_secs(2));
    assert!(went.applications.is_empty() && went.versions.is_empty());
}

#[test]
fn health_is_that_of_headroom_and_replicas() {
    let health = |change: fn(&mut Value)| {
        let mut after = answer(12);
        change(&mut after["versions"][0]);
        let view = between(&answer(10), &after);
        let replica = view.versions[0].replicas.first().map(ReplicaView::health);
        (view.versions[0].health(), replica)
    };
    let good = Some(Health::Good);
    assert_eq!(
        health(|one| one["capacity"]["headroom"] = json!(0.05)),
        (Health::Close, good)
    );
    assert_eq!(
        health(|one| one["capacity"]["headroom"] = json!(-0.05)),
        (Health::Bad, good)
    );
    assert_eq!(
        health(|one| one["replicas"] = json!([])),
        (Health::Bad, None)
    );
    assert_eq!(
        health(|one| one["capacity"] =
            json!({ "queries_per_second": 0.0, "rows": 0, "headroom": null })),
        (Health::Bad, good),
        "no batch is within the objective"
    );
    for (field, value, expected) in [
        ("state", json!("suspect"), Health::Bad),
        ("state", json!("draining"), Health::Close),
        ("slowness", json!(2.0), Health::Good),
    ] {
        let mut after = answer(12);
        after["versions"][0]["replicas"][0][field] = value.clone();
        let view = between(&answer(10), &after);
        let found = view.versions[0].replicas[0].health();
        assert_eq!(found, expected, "{field} {value}");
    }
}

#[test]
fn a_replica_is_slow_beside_another_of_its_version() {
    let mut after = answer(12);
    let replicas = after["versions"][0]["replicas"].as_array_mut();
    let replicas = replicas.expect("a list");
    let mut other = replicas[0].clone();
    (other["id"], other["slowness"]) = (json!(4), json!(2.5));
    replicas.push(other);
    let view = between(&answer(10), &after);
    let replicas = view.versions[0].replicas.iter();
    let health: Vec<_> = replicas.map(ReplicaView::health).collect();
    assert_eq!(health, [Health::Good, Health::Close]);
}

#[test]
fn an_answer_without_later_fields_is_understood() {
    let mut old = answer(12);
    let version = old["versions"][0].as_object_mut().expect("an object");
    version.remove("current");
    version["replicas"][0]
        .as_object_mut()
        .expect("an object")
        .remove("transport");
    let view = between(&answer(10), &old);
    assert_eq!(view.versions[0].replicas[0].transport, None);
}
