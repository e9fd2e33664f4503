//! Our own endpoints.

use std::fs;

use skysail_control::orchestrator::{Orchestrator, ProcessState, ReplicaProcess};

use super::*;

fn app(name: &str) -> Value {
    json!({
        "name": name, "input_type": "floats", "features": 4, "latency_slo_micros": 20_000,
        "default_output": "-1",
    })
}

fn version(model: &str, version: &str) -> Value {
    json!({ "model": model, "version": version, "input_type": "floats" })
}

/// An application `a`, linked to a model `m` of two versions.
async fn linked() -> Bench {
    let bench = Bench::new();
    bench.done("POST", "applications", &app("a")).await;
    bench.done("POST", "models", &version("m", "1")).await;
    bench.done("POST", "models", &version("m", "2")).await;
    bench
        .done("PUT", "applications/a/links", &json!({ "models": ["m"] }))
        .await;
    bench
}

#[tokio::test]
async fn adds_shows_links_and_removes_applications() {
    let bench = Bench::new();
    let mut shown = app("a");
    shown["linked_models"] = json!([]);
    shown["serving"] = Value::Null;
    assert_eq!(bench.done("POST", "applications", &app("a")).await, shown);
    assert_eq!(
        bench
            .call("POST", "/api/v1/applications", app("b").to_string())
            .await
            .status,
        201
    );
    assert_eq!(
        bench.done("GET", "applications/a", &Value::Null).await,
        shown
    );
    let all = bench.done("GET", "applications", &Value::Null).await;
    assert_eq!((&all[0], &all[1]["name"]), (&shown, &json!("b")));
    bench.done("POST", "models", &version("m", "1")).await;
    let links = json!({ "models": ["m"] });
    let linked = bench.done("PUT", "applications/a/links", &links).await;
    assert_eq!(linked["linked_models"], json!(["m"]));
    assert_eq!(linked["serving"], json!({ "model": "m", "version": "1" }));
    assert_eq!(
        bench.done("DELETE", "applications/a/links", &links).await,
        shown
    );
    let removed = json!({ "removed": { "application": "a" } });
    assert_eq!(
        bench.done("DELETE", "applications/a", &Value::Null).await,
        removed
    );
    for method in ["GET", "DELETE"] {
        let gone = bench.refused(method, "applications/a", &Value::Null).await;
        assert_eq!(gone, (404, "not_found".into(), json!("name")));
    }
}

#[tokio::test]
async fn adds_shows_switches_and_removes_versions() {
    let bench = Bench::new();
    let mut first = version("m", "1");
    first["labels"] = json!(["l"]);
    first["batching"] = json!({ "policy": "fixed", "size": 8, "wait_micros": 2_000 });
    let shown = bench.done("POST", "models", &first).await;
    let expected = json!({
        "name": "m", "current": "1", "history": [], "versions": [{
            "version": "1", "current": true, "generation": 1, "input_type": "floats",
            "labels": ["l"], "container_name": "", "model_data_path": "",
            "batching": { "policy": "fixed", "size": 8, "wait_micros": 2_000 },
            "idempotent": true,
        }],
    });
    assert_eq!(shown, expected);
    bench.done("POST", "models", &version("m", "2")).await;
    let current = async || bench.done("GET", "models/m", &Value::Null).await["current"].clone();
    assert_eq!(current().await, "2");
    let rolled_back = bench.done("POST", "models/m/rollback", &Value::Null).await;
    assert_eq!(rolled_back, json!({ "model": "m", "version": "1" }));
    let set = bench
        .done("PUT", "models/m/current", &json!({ "version": "2" }))
        .await;
    assert_eq!(
        (&set["current"], &set["history"]),
        (&json!("2"), &json!(["1"]))
    );
    bench
        .done("DELETE", "models/m/versions/2", &Value::Null)
        .await;
    assert_eq!(current().await, "1");
    let all = bench.done("GET", "models", &Value::Null).await;
    assert_eq!(all.as_array().map(Vec::len), Some(1));
    bench.done("DELETE", "models/m", &Value::Null).await;
    for (method, path, field) in [
        ("GET", "models/m", "model"),
        ("DELETE", "models/m", "model"),
        ("POST", "models/m/rollback", "model"),
        ("DELETE", "models/m/versions/1", "version"),
    ] {
        let gone = bench.refused(method, path, &Value::Null).await;
        assert_eq!(
            gone,
            (404, "not_found".into(), json!(field)),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn deploys_scales_and_undeploys() {
    let bench = linked().await;
    let applied = || {
        bench
            .orchestrator
            .applied()
            .last()
            .cloned()
            .unwrap_or_default()
    };
    let command = json!(["prog", "--arg"]);
    let deployment = json!({ "replicas": 2, "command": command });
    let deployed = bench
        .done("PUT", "models/m/versions/2/deployment", &deployment)
        .await;
    let expected = json!({ "model": "m", "version": "2", "replicas": 2, "command": command });
    assert_eq!(deployed, expected);
    assert_eq!(
        (applied()[0].replicas, applied()[0].args.clone()),
        (2, vec!["--arg".to_owned()])
    );
    for version in [Value::Null, json!("2")] {
        let body = json!({ "replicas": 3, "version": version });
        let scaled = bench.done("PATCH", "models/m/deployment", &body).await;
        assert_eq!(
            scaled,
            json!({ "model": "m", "version": "2", "replicas": 3 })
        );
    }
    assert_eq!(applied()[0].replicas, 3);
    bench
        .done("DELETE", "models/m/versions/2/deployment", &Value::Null)
        .await;
    assert!(applied().is_empty());
    let body = json!({ "replicas": 3 });
    let gone = bench.refused("PATCH", "models/m/deployment", &body).await;
    assert_eq!(gone, (404, "not_found".into(), json!("version")));
}

#[tokio::test]
async fn a_deployment_may_come_before_its_version() {
    let bench = Bench::new();
    let body = |early: bool| json!({ "replicas": 2, "command": ["p"], "early": early });
    let deploy = "models/m/versions/1/deployment";
    let missing = bench.refused("PUT", deploy, &body(false)).await;
    assert_eq!(missing, (404, "not_found".into(), json!("version")));
    bench.done("PUT", deploy, &body(true)).await;
    let waiting = json!([{ "model": "m", "version": "1", "replicas": 2, "command": ["p"] }]);
    let early = async || bench.get("/api/v1/status").await.json()["early_deployments"].clone();
    assert_eq!(early().await, waiting);
    assert!(bench.frontend.control.processes().is_empty());
    let version = json!({ "model": "m", "version": "1", "input_type": "floats" });
    bench.done("POST", "models", &version).await;
    assert_eq!(early().await, json!([]));
    assert_eq!(bench.frontend.control.processes().len(), 2);
}

#[tokio::test]
async fn bad_commands_name_the_field_and_write_nothing() {
    let bench = linked().await;
    let with = |base: Value, field: &str, value: Value| {
        let mut body = base;
        body[field] = value;
        body
    };
    let deployment = || json!({ "replicas": 1, "command": ["p"] });
    let revision = bench.frontend.control.registry();
    let deploy = "models/m/versions/2/deployment";
    for (method, path, body, field) in [
        (
            "POST",
            "applications",
            with(app("b"), "name", json!("-b")),
            "name",
        ),
        (
            "POST",
            "applications",
            with(app("b"), "name", json!("metrics")),
            "name",
        ),
        (
            "POST",
            "applications",
            with(app("b"), "name", json!(7)),
            "name",
        ),
        (
            "POST",
            "applications",
            with(app("b"), "input_type", json!("vectors")),
            "input_type",
        ),
        (
            "POST",
            "applications",
            with(app("b"), "features", json!(0)),
            "features",
        ),
        (
            "POST",
            "applications",
            with(app("b"), "latency_slo_micros", json!(1)),
            "latency_slo_micros",
        ),
        (
            "POST",
            "applications",
            with(app("b"), "default_output", json!(-1)),
            "default_output",
        ),
        (
            "POST",
            "applications",
            with(app("b"), "defualt", json!("")),
            "defualt",
        ),
        ("POST", "applications", json!({}), "name"),
        (
            "PUT",
            "applications/a/links",
            json!({ "models": [] }),
            "models",
        ),
        (
            "PUT",
            "applications/a/links",
            json!({ "models": [1] }),
            "models[0]",
        ),
        (
            "POST",
            "models",
            with(version("m", "3"), "version", json!("a:b")),
            "version",
        ),
        (
            "POST",
            "models",
            with(version("m", "3"), "model", json!("")),
            "model",
        ),
        (
            "POST",
            "models",
            with(version("m", "3"), "labels", json!(["a,b"])),
            "labels",
        ),
        (
            "POST",
            "models",
            with(version("m", "3"), "batching", json!({ "policy": "x" })),
            "batching.policy",
        ),
        (
            "POST",
            "models",
            with(
                version("m", "3"),
                "batching",
                json!({ "policy": "adaptive", "size_max": 0 }),
            ),
            "batching",
        ),
        ("PUT", "models/m/current", json!({}), "version"),
        (
            "PUT",
            deploy,
            with(deployment(), "replicas", json!(-1)),
            "replicas",
        ),
        (
            "PUT",
            deploy,
            with(deployment(), "replicas", json!(1000)),
            "replicas",
        ),
        (
            "PUT",
            deploy,
            with(deployment(), "command", json!([])),
            "command",
        ),
        (
            "PUT",
            deploy,
            with(deployment(), "command", json!(["a\0"])),
            "command",
        ),
        (
            "PUT",
            "models/m/versions/a%3Ab/deployment",
            deployment(),
            "version",
        ),
        (
            "PATCH",
            "models/m/deployment",
            json!({ "replicas": "2" }),
            "replicas",
        ),
    ] {
        let refused = bench.refused(method, path, &body).await;
        assert_eq!(
            refused,
            (400, "invalid".into(), json!(field)),
            "{method} {path} {body}"
        );
    }
    assert!(Arc::ptr_eq(&revision, &bench.frontend.control.registry()));
    let broken = bench
        .call("POST", "/api/v1/applications", "{\"name\":")
        .await;
    assert_eq!(broken.error(), (400, "invalid".into(), Value::Null));
    let text = broken.json()["error"]["message"].to_string();
    assert!(
        text.contains("body is not JSON: EOF while parsing a value at byte"),
        "{text}"
    );
}

#[tokio::test]
async fn what_does_not_fit_what_is_registered_is_409_or_404() {
    let bench = linked().await;
    let exists = |field| (409, "already_exists".to_owned(), json!(field));
    let conflict = |field| (409, "conflict".to_owned(), json!(field));
    let missing = |field| (404, "not_found".to_owned(), json!(field));
    let integers = json!({ "model": "m", "version": "3", "input_type": "integers" });
    let deployment = json!({ "replicas": 1, "command": ["p"] });
    bench.done("POST", "models", &version("n", "1")).await;
    let link = |model: &str| json!({ "models": [model] });
    for (method, path, body, expected) in [
        ("POST", "applications", app("a"), exists("name")),
        ("POST", "models", version("m", "1"), exists("version")),
        ("PUT", "applications/a/links", link("m"), exists("models")),
        (
            "PUT",
            "applications/a/links",
            link("n"),
            conflict("application"),
        ),
        ("POST", "models", integers, conflict("input_type")),
        ("POST", "models/n/rollback", Value::Null, conflict("model")),
        (
            "PUT",
            "applications/b/links",
            link("m"),
            missing("application"),
        ),
        (
            "DELETE",
            "applications/a/links",
            link("n"),
            missing("models"),
        ),
        (
            "PUT",
            "models/m/current",
            json!({ "version": "9" }),
            missing("version"),
        ),
        (
            "PUT",
            "models/m/versions/9/deployment",
            deployment,
            missing("version"),
        ),
        (
            "DELETE",
            "models/m/versions/1/deployment",
            Value::Null,
            missing("version"),
        ),
        (
            "PATCH",
            "models/x/deployment",
            json!({ "replicas": 1 }),
            missing("model"),
        ),
    ] {
        let refused = bench.refused(method, path, &body).await;
        assert_eq!(refused, expected, "{method} {path} {body}");
    }
}

#[tokio::test]
async fn shows_the_ends_of_logs() {
    let bench = linked().await;
    let directory = bench.logs.path().join("m/2");
    fs::create_dir_all(&directory).expect("made");
    fs::write(directory.join("replica-0.log"), "one\ntwo\nthree\n").expect("written");
    fs::write(directory.join("replica-1.log"), "four\n").expect("written");
    let both = bench
        .done("GET", "models/m/logs?lines=2", &Value::Null)
        .await;
    let expected = json!({ "model": "m", "version": "2", "replicas": [
        { "replica": 0, "lines": ["two", "three"] }, { "replica": 1, "lines": ["four"] },
    ]});
    assert_eq!(both, expected);
    let one = bench
        .done("GET", "models/m/logs?version=2&replica=1", &Value::Null)
        .await;
    assert_eq!(
        one["replicas"],
        json!([{ "replica": 1, "lines": ["four"] }])
    );
    let invalid = |field: Value| (400, "invalid".to_owned(), field);
    let missing = |field| (404, "not_found".to_owned(), json!(field));
    for (query, expected) in [
        ("m/logs?replica=7", missing("replica")),
        ("m/logs?version=1", missing("version")),
        ("x/logs", missing("model")),
        ("m/logs?lines=10001", invalid(json!("lines"))),
        ("m/logs?lines=x", invalid(json!("lines"))),
        ("m/logs?replica=../1", invalid(json!("replica"))),
        ("m/logs?version=..%2F..", invalid(json!("version"))),
        ("..%2F../logs?version=1", invalid(json!("model"))),
        ("m/logs?line=1", invalid(json!("line"))),
    ] {
        let refused = bench
            .refused("GET", &format!("models/{query}"), &Value::Null)
            .await;
        assert_eq!(refused, expected, "{query}");
    }
}

#[tokio::test]
async fn status_shows_everything_at_once() {
    let bench = linked().await;
    let deployment = json!({ "replicas": 1, "command": ["p"] });
    bench
        .done("PUT", "models/m/versions/2/deployment", &deployment)
        .await;
    let mut process: Vec<ReplicaProcess> = bench.orchestrator.observe();
    process[0].state = ProcessState::BackingOff { delay_ms: 100 };
    process[0].pid = None;
    process[0].last_exit = Some("exited: code 3".to_owned());
    bench.orchestrator.set_observed(process);
    let _early = bench.container("other", "1").await;
    let serving = async || {
        let status = bench.done("GET", "status", &Value::Null).await;
        status["applications"][0]["serving"]["version"].clone()
    };
    assert_eq!(
        serving().await,
        "2",
        "without any replica the current one is to answer"
    );
    let _old = bench.container("m", "1").await;
    assert_eq!(
        serving().await,
        "1",
        "the one before, while the current one has no replica"
    );
    let _new = bench.container("m", "2").await;
    assert_eq!(serving().await, "2");

    let status = bench.done("GET", "status", &Value::Null).await;
    assert_eq!(
        (&status["version"], &status["pid"]),
        (&json!("1.2.3"), &json!(7))
    );
    assert_eq!(
        (
            &status["query"],
            &status["management"],
            &status["rpc"],
            &status["auth"]
        ),
        (
            &json!("127.0.0.1:1337"),
            &json!("127.0.0.1:1338"),
            &json!(["tcp://127.0.0.1:7000"]),
            &json!("loopback"),
        )
    );
    let models = status["models"].as_array().expect("a list");
    assert_eq!(models.len(), 2);
    assert_eq!(
        (&models[0]["version"], &models[0]["current"]),
        (&json!("1"), &json!(false))
    );
    assert_eq!(models[0]["deployment"], Value::Null);
    let replica = &models[1]["replicas"][0];
    assert_eq!(
        (
            &replica["state"],
            &replica["transport"],
            &replica["pid"],
            &replica["in_flight"]
        ),
        (&json!("ready"), &json!("memory"), &json!(99), &json!(0))
    );
    assert_eq!(
        (&replica["sdk"], &replica["max_batch"]),
        (&json!("test/1"), &json!(16))
    );
    let expected = json!({ "replicas": 1, "command": ["p"], "processes": [{
        "index": 0, "state": "backing_off", "delay_ms": 100, "restarts": 0, "pid": null,
        "last_exit": "exited: code 3",
    }]});
    assert_eq!(models[1]["deployment"], expected);
    let unregistered = status["unregistered"].as_array().expect("a list");
    assert_eq!(
        (unregistered.len(), &unregistered[0]["model"]),
        (1, &json!("other"))
    );
    let replicas = bench.done("GET", "replicas", &Value::Null).await;
    assert_eq!(replicas.as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn explains_versions_and_counts_answers() {
    let bench = Bench::new();
    bench.done("POST", "models", &version("m", "1")).await;
    bench.done("POST", "models", &version("m", "2")).await;
    let all = bench.done("GET", "explain/m", &Value::Null).await;
    let names: Vec<_> = all["versions"].as_array().expect("a list").iter().collect();
    assert_eq!(names.len(), 2);
    let one = bench.done("GET", "explain/m?version=2", &Value::Null).await;
    let shown = &one["versions"][0];
    assert_eq!(
        (&shown["version"], &shown["policy"]),
        (&json!("2"), &json!("adaptive"))
    );
    assert_eq!(
        (&shown["dispatches"], &shown["queue"]["queries"]),
        (&json!([]), &json!(0))
    );
    for path in ["explain/n", "explain/m?version=3"] {
        let (status, kind, _) = bench.refused("GET", path, &Value::Null).await;
        assert_eq!((status, kind), (404, "not_found".into()), "{path}");
    }
    let load = bench.done("GET", "load", &Value::Null).await;
    assert_eq!(load["versions"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn the_load_names_the_current_version_and_how_replicas_are_reached() {
    let bench = Bench::new();
    bench.done("POST", "models", &version("m", "1")).await;
    bench.done("POST", "models", &version("m", "2")).await;
    let _replica = bench.container("m", "1").await;
    let load = bench.done("GET", "load", &Value::Null).await;
    let versions = load["versions"].as_array().expect("a list");
    let current: Vec<_> = versions
        .iter()
        .map(|one| (&one["version"], &one["current"]))
        .collect();
    let status = bench.done("GET", "models/m", &Value::Null).await;
    let expected = |name: &str| json!(status["current"] == name);
    assert_eq!(
        current,
        [(&json!("1"), &expected("1")), (&json!("2"), &expected("2"))]
    );
    let replica = &versions[0]["replicas"][0];
    assert_eq!(
        (&replica["state"], &replica["transport"]),
        (&json!("ready"), &json!("memory"))
    );
    assert_eq!(versions[1]["replicas"], json!([]));
}

#[tokio::test]
async fn advice_is_about_linked_models_and_says_what_is_not_known() {
    let bench = linked().await;
    let advice = bench
        .done("GET", "applications/a/advice", &Value::Null)
        .await;
    assert_eq!(advice["objective_seconds"], 0.02);
    let versions = advice["versions"].as_array().expect("a list");
    let version = versions.last().expect("the current one");
    assert_eq!(
        (&version["version"], &version["current"], &version["advice"]),
        (&json!("2"), &json!(true), &Value::Null)
    );
    let (status, kind, _) = bench
        .refused("GET", "applications/nobody/advice", &Value::Null)
        .await;
    assert_eq!((status, kind), (404, "not_found".into()));
}
