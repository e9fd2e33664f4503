//! The query port over an engine, a store and an orchestrator in memory, without containers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use serde_json::{Value, json};
use skysail_control::commands::limits::batching_of_clipper;
use skysail_control::orchestrator::MemoryOrchestrator;
use skysail_control::store::MemoryStore;
use skysail_control::{Control, NewApplication, NewVersion};
use skysail_core::registry::Deployment;
use skysail_core::{InputType, Name};
use skysail_engine::{Engine, Options};
use skysail_monitor::{Metrics, metrics};
use skysail_rpc::transport::memory;

use super::*;
use crate::frontend::About;
use crate::query_ids::QueryIds;

struct Bench {
    service: QueryService,
    frontend: Arc<Frontend>,
}

impl Bench {
    /// Applications `digits` of floats and `words` of strings; `digits` has a model without a
    /// replica.
    fn new() -> Bench {
        let (listener, _) = memory::listen();
        let handle = tokio::runtime::Handle::current();
        let options = Options::default();
        let engine = Engine::start(&handle, listener, Arc::new(Metrics::default()), options);
        let sink = engine.clone();
        let publish = move |registry: Arc<_>| sink.publish(&registry);
        let orchestrator = Arc::new(MemoryOrchestrator::new());
        let control = Control::open(Arc::new(MemoryStore::new()), orchestrator, publish);
        let control = Arc::new(control.expect("an empty store"));
        register(&control);
        let frontend = Arc::new(Frontend {
            query_ids: QueryIds::open(control.clone()).expect("a block of ids"),
            engine,
            control,
            about: about(),
            log_dir: std::path::PathBuf::new(),
            body_bytes_max: 1 << 10,
            binary_bytes_max: 1 << 12,
            client_shm: vec![],
            readiness: crate::Readiness::default(),
            access: Access::open(),
        });
        Bench {
            service: QueryService::new(frontend.clone()),
            frontend,
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (u16, hyper::HeaderMap, String) {
        let (head, body) = self.service.handle(request).await.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        (head.status.as_u16(), head.headers, text)
    }

    async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let request = Request::post(path).body(Full::from(body.to_owned()));
        let (status, headers, text) = self.send(request.expect("a request")).await;
        assert_eq!(headers[CONTENT_TYPE], "application/json");
        (status, text)
    }

    async fn metrics(&self) -> Value {
        let request = Request::get("/metrics").body(Full::default());
        let (status, headers, text) = self.send(request.expect("a request")).await;
        assert_eq!(
            (status, &headers[CONTENT_TYPE]),
            (200, &"application/json".parse().unwrap())
        );
        serde_json::from_str(&text).expect("JSON")
    }
}

fn register(control: &Control) {
    for (name, input_type) in [("digits", InputType::Floats), ("words", InputType::Strings)] {
        let new = NewApplication {
            name: name.to_owned(),
            input_type,
            features: (name == "digits").then_some(2),
            latency_slo_micros: 20_000,
            default_output: "-1".to_owned(),
            guarantee: None,
        };
        control.add_application(&new).expect("new");
    }
    let new = NewVersion {
        model: "m".to_owned(),
        version: "1".to_owned(),
        input_type: InputType::Floats,
        labels: Vec::new(),
        container_name: String::new(),
        model_data_path: String::new(),
        batching: batching_of_clipper(-1).expect("adaptive"),
        idempotent: true,
    };
    control.add_model_version(&new).expect("new");
    let linked = control.link_models("digits", &["m".to_owned()]);
    linked.expect("both exist");
}

fn about() -> About {
    About {
        pid: 7,
        query: "127.0.0.1:1337".parse().expect("an address"),
        management: "127.0.0.1:1338".parse().expect("an address"),
        rpc: Vec::new(),
        version: "1.2.3".to_owned(),
        auth: "loopback",
        tls: false,
    }
}

/// What a list of metrics says of one.
fn of<'a>(report: &'a Value, list: &str, name: &str) -> &'a Value {
    let all = report[list].as_array().expect("a list");
    let found = all.iter().find_map(|one| one.get(name));
    found.unwrap_or_else(|| panic!("{name} is not in {report}"))
}

#[tokio::test]
async fn feedback_is_acknowledged_though_nobody_keeps_it() {
    let bench = Bench::new();
    let received = (200, "Feedback received? 0".to_owned());
    for path in ["/digits/update", "/digits/update/"] {
        let body = r#"{"uid": 0, "input": [1, 2.5], "label": 1}"#;
        assert_eq!(bench.post(path, body).await, received);
    }
    let body = r#"{"uid": -7, "input": "text", "label": 0.5, "more": null}"#;
    assert_eq!(bench.post("/words/update", body).await, received);
}

#[tokio::test]
async fn bad_feedback_is_refused_in_plain_text() {
    let bench = Bench::new();
    let schema = "Expected JSON schema: \n  {\n   \"uid\" := int,\n   \"input\" := [double] | [int] | \
                  [string] | [byte] | [float],\n   \"label\" := double\n  }\n";
    for (body, what) in [
        ("{}", "JSON object does not have required key: uid"),
        ("7", "Can only get key-value pair from an object"),
        (
            "{\"uid\":}",
            "JSON parse error: expected a value (offset 7)",
        ),
        (
            "{\"uid\":\"0\"}",
            "Type mismatch! JSON key uid expected type Numberbut found type String",
        ),
        (
            "{\"uid\":0,\"input\":\"a\"}",
            "Type mismatch! JSON key input expected type Arraybut found type String",
        ),
    ] {
        let text = format!("Error parsing JSON: {what}. {schema}");
        assert_eq!(
            bench.post("/digits/update", body).await,
            (400, text),
            "{body}"
        );
    }
    let short = r#"{"uid":0,"input":[1],"label":1}"#;
    let text = "input has 1 elements, application 'digits' takes 2".to_owned();
    assert_eq!(bench.post("/digits/update", short).await, (400, text));
}

#[tokio::test]
async fn paths_that_are_not_there_and_wrong_methods_are_told_as_json() {
    let bench = Bench::new();
    for (method, path, status, allowed) in [
        ("POST", "/other/update", 404, None),
        ("POST", "/digits/other", 404, None),
        ("POST", "/digits/update/more", 404, None),
        ("GET", "/digits/update", 405, Some("POST")),
        ("GET", "/digits/predict", 405, Some("POST")),
        ("POST", "/metrics", 405, Some("GET,HEAD")),
        ("GET", "/metrics/more", 404, None),
        ("GET", "/", 404, None),
    ] {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Full::default()).expect("a request");
        let (found, headers, text) = bench.send(request).await;
        assert_eq!(found, status, "{method} {path}: {text}");
        let allow = headers
            .get(ALLOW)
            .map(|value| value.to_str().expect("text"));
        assert_eq!(allow, allowed, "{method} {path}");
        let error: Value = serde_json::from_str(&text).expect("JSON");
        assert!(
            error["error"].is_string() && error["cause"].is_string(),
            "{error}"
        );
    }
    let long = format!("{{\"uid\":{}}}", " ".repeat(1 << 10));
    assert_eq!(bench.post("/digits/update", &long).await.0, 413);
}

/// A V2 request of 32-bit floats for `digits`, whose model has no replica.
async fn infer(bench: &Bench, inputs: Value) -> (u16, Value) {
    let request = json!({ "inputs": inputs }).to_string();
    let (status, answer) = bench.post("/v2/models/digits/infer", &request).await;
    (status, serde_json::from_str(&answer).expect("JSON"))
}

fn floats(name: &str, shape: &[u64], elements: usize) -> Value {
    json!({ "name": name, "shape": shape, "datatype": "FP32", "data": vec![0; elements] })
}

#[tokio::test]
async fn rows_are_counted_by_the_shape_where_no_container_told_the_tensors() {
    let bench = Bench::new();
    let (status, answer) = infer(&bench, json!([floats("x", &[3, 2], 6)])).await;
    assert_eq!(
        (status, &answer["parameters"]["skysail_default_rows"]),
        (200, &json!(3)),
        "{answer}"
    );
    let report = bench.metrics().await;
    let counted = of(&report, "counters", "app:digits:num_predictions");
    assert_eq!(counted, &json!({ "count": "3" }));
    for (inputs, error) in [
        (
            json!([floats("x", &[0, 2], 0)]),
            "the request has 0 rows, 1 to 1024 allowed",
        ),
        (
            json!([floats("x", &[1025, 0], 0)]),
            "the request has 1025 rows, 1 to 1024 allowed",
        ),
        (
            json!([floats("x", &[], 1)]),
            "input 'x' has shape [], rows come first",
        ),
        (
            json!([floats("x", &[2], 2), floats("y", &[1], 1)]),
            "inputs have different numbers of rows",
        ),
    ] {
        let (status, answer) = infer(&bench, inputs).await;
        assert_eq!((status, &answer["error"]), (400, &json!(error)));
    }
}

/// No replica ever comes, so that a load ends with its time; the clock is paused.
#[tokio::test(start_paused = true)]
async fn a_model_that_is_loaded_again_has_as_many_replicas_as_before() {
    let bench = Bench::new();
    let control = &bench.frontend.control;
    let deployed = control.deploy(&Deployment {
        model: Name::new("m").expect("a name"),
        version: Name::new("1").expect("a name"),
        replicas: 3,
        replicas_before: None,
        command: vec!["program".to_owned()],
    });
    deployed.expect("it is registered");
    let replicas = || control.deployments()[0].replicas;
    for (verb, status, count) in [
        ("load", 503, 3),
        ("unload", 200, 0),
        ("unload", 200, 0),
        ("load", 503, 3),
    ] {
        let path = format!("/v2/repository/models/m/{verb}");
        let (found, answer) = bench.post(&path, "").await;
        assert_eq!((found, replicas()), (status, count), "{verb}: {answer}");
    }
}

#[tokio::test]
async fn metrics_are_clippers_with_every_value_a_string() {
    let bench = Bench::new();
    let report = bench.metrics().await;
    assert_eq!(
        of(
            &report,
            "ratio_counters",
            "app:digits:default_prediction_ratio"
        )["ratio"],
        "nan"
    );
    let query = r#"{"input_batch":[[1,2],[3,4],[1,2]]}"#;
    assert_eq!(bench.post("/digits/predict", query).await.0, 200);
    let report = bench.metrics().await;
    for (name, count) in [
        ("internal:prediction_cache_lookups", "0"),
        ("internal:aggregate_num_predictions", "0"),
        ("app:digits:num_predictions", "3"),
        ("app:words:num_predictions", "0"),
        ("model:m:1:num_predictions", "0"),
    ] {
        assert_eq!(
            of(&report, "counters", name),
            &json!({ "count": count }),
            "{name}"
        );
    }
    for (name, ratio) in [
        ("internal:prediction_cache_hit_ratio", "nan"),
        ("app:digits:default_prediction_ratio", "1"),
        ("model:m:1:cache_hit_ratio", "nan"),
    ] {
        assert_eq!(
            of(&report, "ratio_counters", name),
            &json!({ "ratio": ratio }),
            "{name}"
        );
    }
    for name in [
        "internal:aggregate_model_throughput",
        "app:digits:prediction_throughput",
        "model:m:1:prediction_throughput",
    ] {
        let meter = of(&report, "meters", name);
        assert_eq!(meter["unit"], "events per second");
        let rate = |key: &str| meter[key].as_str().map(str::parse::<f64>);
        for key in ["rate", "rate_1min", "rate_5min", "rate_15min"] {
            assert!(matches!(rate(key), Some(Ok(_))), "{key} of {meter}");
        }
    }
    for (name, unit, size) in [
        ("internal:rpc_request_queueing_delay", "microseconds", "0"),
        ("app:digits:prediction_latency", "microseconds", "3"),
        ("model:m:1:prediction_latency", "microseconds", "0"),
        ("model:m:1:batch_size", "queries", "0"),
    ] {
        let histogram = of(&report, "histograms", name);
        assert_eq!(
            (&histogram["unit"], &histogram["size"]),
            (&json!(unit), &json!(size))
        );
        for key in ["min", "max", "mean", "std_dev", "p50", "p95", "p99"] {
            let value = histogram[key].as_str().map(str::parse::<f64>);
            assert!(matches!(value, Some(Ok(_))), "{key} of {histogram}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn meters_move_without_anybody_asking_once_somebody_asked() {
    let bench = Bench::new();
    let rate = |report: &Value, key: &str| -> f64 {
        let meter = of(report, "meters", "app:words:prediction_throughput");
        meter[key]
            .as_str()
            .expect("a text")
            .parse()
            .expect("a number")
    };
    assert_eq!(rate(&bench.metrics().await, "rate_1min"), -1.0);
    for _ in 0..10 {
        bench.post("/words/predict", r#"{"input":"a"}"#).await;
    }
    // The task takes note of them, and of the silence after them.
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    let burst = rate(&bench.metrics().await, "rate_1min");
    assert!((burst - 2.0).abs() < 1e-9, "{burst}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let report = bench.metrics().await;
    let left = rate(&report, "rate_1min");
    assert!((left - 2.0 * (-1.0_f64).exp()).abs() < 1e-9, "{left}");
    assert!(
        (rate(&report, "rate") - 10.0 / 65.5).abs() < 1e-3,
        "{report}"
    );
}

#[tokio::test]
async fn what_is_removed_is_no_longer_shown() {
    let bench = Bench::new();
    bench.metrics().await;
    bench
        .frontend
        .control
        .remove_application("words")
        .expect("it exists");
    let report = bench.metrics().await.to_string();
    assert!(
        !report.contains("app:words:") && report.contains("app:digits:"),
        "{report}"
    );
}

#[tokio::test]
async fn prometheus_reads_the_same_text_as_on_the_management_port() {
    let bench = Bench::new();
    let request = Request::get("/metrics/").header(ACCEPT, "text/plain;version=0.0.4");
    let request = request.body(Full::default()).expect("a request");
    let (status, headers, text) = bench.send(request).await;
    assert_eq!(
        (status, headers[CONTENT_TYPE].as_bytes()),
        (200, metrics::CONTENT_TYPE.as_bytes())
    );
    assert!(
        text.contains("skysail_replicas{model=\"m\",version=\"1\"} 0"),
        "{text}"
    );
}
