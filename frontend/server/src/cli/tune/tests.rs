use super::*;

fn version() -> Value {
    let bears = |rate: f64, rows: u64| json!({ "queries_per_second": rate, "rows": rows });
    let what_if = |replicas: u64, objective: f64, rows_max: u64, rate: f64| {
        json!({
            "replicas": replicas, "objective_seconds": objective, "rows_max": rows_max,
            "capacity": bears(rate, 8),
        })
    };
    json!({
        "model": "m", "version": "1", "current": true,
        "advice": {
            "arriving_per_second": 125.0, "capacity": bears(500.0, 5), "safe_per_second": 450.0,
            "binding": "slo",
            "what_if": [
                what_if(2, 0.02, 64, 1_140.0), what_if(1, 0.03, 64, 666.0),
                what_if(1, 0.02, 128, 500.0),
            ],
            "needed": { "objective_seconds": 0.0145, "replicas": 1 },
            "alone": { "typical_seconds": 0.006, "cautious_seconds": 0.0066 },
            "batch": { "typical_seconds": 0.01, "cautious_seconds": 0.011 },
            "extrapolated": true,
            "known": {
                "alpha_seconds": 0.005, "beta_seconds": 0.001, "factors": [], "margin": 1.1,
                "residuals": [[1.02, 1.0]], "replicas": [1.0], "rows_max": 64, "cost_mean": 1.0,
            },
        },
    })
}

#[test]
fn says_what_is_borne_and_what_would_change_it() {
    let text = text(&version(), 0.02, None);
    for said in [
        "m:1\n",
        "bears      500 queries a second on 1 replica, in batches of 5",
        "arriving   125 a second: headroom 75 %",
        "binding    slo",
        "latency    5.0ms a batch and 1.0ms a row; alone 6.0ms, planned with 6.6ms",
        "needed     for 125 a second: 1 replica at this SLO, or an SLO of 14.5ms",
        "note       batches of that size have not been seen",
        "2 replicas            1140   +128 %  8",
        "SLO 30.0ms            666    +33 %   8",
        "batches of up to 128  500    +0 %    8",
    ] {
        assert!(text.contains(said), "{said} in\n{text}");
    }
}

#[test]
fn says_that_nothing_is_borne_or_known() {
    let mut version = version();
    version["advice"]["capacity"] = json!({ "queries_per_second": 0.0, "rows": 0 });
    version["advice"]["needed"] = json!({ "objective_seconds": null, "replicas": null });
    let nothing = text(&version, 0.02, None);
    for said in [
        "bears      nothing: not even a batch of one is in time",
        "no number of replicas at this SLO, or no SLO with these replicas",
    ] {
        assert!(nothing.contains(said), "{said} in\n{nothing}");
    }
    version["advice"] = Value::Null;
    version["current"] = json!(false);
    let unknown = text(&version, 0.02, None);
    assert!(unknown.starts_with("m:1, not the current version\nnothing is known yet"));
}

#[test]
fn sizes_other_than_rows_are_named() {
    let mut version = version();
    version["advice"]["known"]["cost_mean"] = json!(12.5);
    let text = text(&version, 0.02, None);
    assert!(
        text.contains("1.0ms a unit of size, 12.5 of them a query"),
        "{text}"
    );
}
