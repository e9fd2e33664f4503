//! Clipper's endpoints: texts, statuses and shapes.

use super::*;

fn app(name: &str, input_type: &str) -> Value {
    json!({
        "name": name, "input_type": input_type, "default_output": "-1.0",
        "latency_slo_micros": 20_000,
    })
}

fn model(name: &str, version: &str, input_type: &str) -> Value {
    json!({
        "model_name": name, "model_version": version, "labels": [], "input_type": input_type,
        "container_name": "NO_CONTAINER", "model_data_path": "DEPRECATED", "batch_size": -1,
    })
}

fn links(app: &str, models: &[&str]) -> Value {
    json!({ "app_name": app, "model_names": models })
}

fn version(model: &str, version: &str) -> Value {
    json!({ "model_name": model, "model_version": version })
}

/// What `command` answers with 200.
async fn ok(bench: &Bench, command: &str, body: &Value) -> String {
    let (status, text) = bench.admin(command, body).await;
    assert_eq!(status, 200, "{command} {body}: {text}");
    text
}

/// What `command` answers with 400.
async fn bad(bench: &Bench, command: &str, body: &Value) -> String {
    let (status, text) = bench.admin(command, body).await;
    assert_eq!(status, 400, "{command} {body}: {text}");
    text
}

async fn getter(bench: &Bench, command: &str, body: &Value) -> Value {
    serde_json::from_str(&ok(bench, command, body).await).expect("JSON")
}

#[tokio::test]
async fn answers_ping() {
    let answer = Bench::new().get("/admin/ping").await;
    assert_eq!((answer.status, answer.text()), (200, "PONG"));
}

#[tokio::test]
async fn adds_shows_and_deletes_applications() {
    let bench = Bench::new();
    let added = ok(&bench, "add_app", &app("A", "f")).await;
    assert_eq!(added, "Successfully added application with name 'A'");
    let twice = bad(&bench, "add_app", &app("A", "floats")).await;
    assert_eq!(twice, "application 'A' already exists");
    let shown = json!({
        "name": "A", "input_type": "floats", "default_output": "-1.0",
        "latency_slo_micros": 20_000, "linked_models": [],
    });
    let all = |verbose| json!({ "verbose": verbose });
    assert_eq!(
        getter(&bench, "get_application", &json!({ "name": "A" })).await,
        shown
    );
    assert_eq!(
        getter(&bench, "get_application", &json!({ "name": "B" })).await,
        json!({})
    );
    assert_eq!(
        getter(&bench, "get_all_applications", &all(false)).await,
        json!(["A"])
    );
    assert_eq!(
        getter(&bench, "get_all_applications", &all(true)).await,
        json!([shown])
    );
    let state = json!({ "app_name": "A", "uid": 0 });
    assert_eq!(ok(&bench, "get_state", &state).await, "-1.0");
    let deleted = ok(&bench, "delete_app", &json!({ "name": "A" })).await;
    assert_eq!(deleted, "Successfully deleted application with name 'A'");
    let gone = bad(&bench, "delete_app", &json!({ "name": "A" })).await;
    assert_eq!(gone, "Application 'A' does not exist");
    assert_eq!(
        bad(&bench, "get_state", &state).await,
        "No application with name 'A' exists."
    );
    assert!(bench.frontend.engine.route("A").is_none());
}

#[tokio::test]
async fn an_unknown_input_type_is_refused_and_nothing_written() {
    let bench = Bench::new();
    for (command, body) in [
        ("add_app", app("A", "vectors")),
        ("add_model", model("M", "1", "vectors")),
    ] {
        let text = bad(&bench, command, &body).await;
        assert!(
            text.contains("'vectors' is not an input type, expected one of bytes"),
            "{text}"
        );
    }
    let registry = bench.frontend.control.registry();
    assert!(registry.applications.is_empty() && registry.models.is_empty());
}

#[tokio::test]
async fn json_errors_name_the_key_and_show_the_schema() {
    let bench = Bench::new();
    let told = |answer: Answer| (answer.status, answer.text().to_owned());
    let schema = "Expected JSON schema: \n  {\n   \"name\" := string\n  }\n";
    for (body, what) in [
        ("{}", "JSON object does not have required key: name"),
        (
            "{",
            "JSON parse error: EOF while parsing an object (offset 0)",
        ),
        (
            "{\"name\":1}",
            "Type mismatch! JSON key name expected type Stringbut found type Number",
        ),
        ("[]", "Type mismatch! body is an array, expected an object"),
    ] {
        let expected = format!("Error parsing JSON: {what}. {schema}");
        let answer = bench.call("POST", "/admin/delete_app", body).await;
        assert_eq!(told(answer), (400, expected), "{body}");
    }
    for command in [
        "add_app",
        "delete_app",
        "get_application",
        "get_all_applications",
        "add_model_links",
        "delete_model_links",
        "get_linked_models",
        "get_state",
        "add_model",
        "delete_versioned_model",
        "set_model_version",
        "get_model",
        "get_all_models",
        "get_container",
        "get_all_containers",
    ] {
        let text = bad(&bench, command, &json!({})).await;
        let what = "Error parsing JSON: JSON object does not have required key: ";
        assert!(
            text.starts_with(what) && text.contains("Expected JSON schema: \n"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_value_of_another_type_is_refused_in_clippers_words() {
    let bench = Bench::new();
    let with = |base: Value, key: &str, value: Value| {
        let mut body = base;
        body[key] = value;
        body
    };
    let state = || json!({ "app_name": "A", "uid": 0 });
    let mismatch = |key: &str, expected: &str, found: &str| {
        format!("Type mismatch! JSON key {key} expected type {expected}but found type {found}")
    };
    for (command, body, what) in [
        (
            "get_state",
            with(state(), "uid", json!("7")),
            mismatch("uid", "Number", "String"),
        ),
        (
            "get_state",
            with(state(), "uid", json!(1.5)),
            "Input of type Number is not of type int".to_owned(),
        ),
        (
            "get_all_models",
            json!({ "verbose": "yes" }),
            mismatch("verbose", "bool ", "String"),
        ),
        (
            "add_model_links",
            json!({ "app_name": "A", "model_names": "M" }),
            mismatch("model_names", "Array", "String"),
        ),
        (
            "add_model",
            with(model("M", "1", "d"), "labels", json!(["a", true])),
            "Array input of type True is not of type string".to_owned(),
        ),
        (
            "add_model",
            with(model("M", "1", "d"), "batch_size", json!(null)),
            mismatch("batch_size", "Number", "Null"),
        ),
        (
            "add_app",
            with(app("A", "d"), "name", json!({})),
            mismatch("name", "String", "Object"),
        ),
        (
            "add_app",
            with(app("A", "d"), "latency_slo_micros", json!([])),
            mismatch("latency_slo_micros", "Number", "Array"),
        ),
    ] {
        let text = bad(&bench, command, &body).await;
        let start = format!("Error parsing JSON: {what}. Expected JSON schema: \n");
        assert!(text.starts_with(&start), "{body}: {text}");
    }
}

#[tokio::test]
async fn other_content_types_and_unknown_keys_are_taken() {
    let bench = Bench::new();
    let request = Request::post("/admin/get_all_models").header(CONTENT_TYPE, "text/plain");
    let request = request
        .body(Body::from("{\"verbose\":false,\"more\":1}"))
        .expect("a request");
    assert_eq!(bench.send(request).await.text(), "[]");
}

#[tokio::test]
async fn adds_shows_and_deletes_models() {
    let bench = Bench::new();
    let added = ok(&bench, "add_model", &model("M", "1", "d")).await;
    assert_eq!(
        added,
        "Successfully added model with name 'M' and input type 'doubles'"
    );
    let twice = bad(&bench, "add_model", &model("M", "1", "d")).await;
    assert_eq!(twice, "model with name 'M' and version '1' already exists");
    ok(&bench, "add_model", &model("M", "2", "doubles")).await;
    let shown = |version: &str, current: bool| {
        let mut view = model("M", version, "doubles");
        view["is_current_version"] = current.into();
        view
    };
    assert_eq!(
        getter(&bench, "get_model", &version("M", "1")).await,
        shown("1", false)
    );
    assert_eq!(
        getter(&bench, "get_model", &version("M", "3")).await,
        json!({})
    );
    assert_eq!(
        getter(&bench, "get_model", &version("N", "1")).await,
        json!({})
    );
    let all = |verbose| json!({ "verbose": verbose });
    assert_eq!(
        getter(&bench, "get_all_models", &all(false)).await,
        json!(["M:1", "M:2"])
    );
    let both = json!([shown("1", false), shown("2", true)]);
    assert_eq!(getter(&bench, "get_all_models", &all(true)).await, both);
    let set = ok(&bench, "set_model_version", &version("M", "1")).await;
    assert_eq!(set, "Successfully set model with name 'M' to version '1'");
    let deleted = ok(&bench, "delete_versioned_model", &version("M", "1")).await;
    assert_eq!(
        deleted,
        "Successfully deleted model with name 'M' and version '1'"
    );
    assert_eq!(
        getter(&bench, "get_all_models", &all(true)).await,
        json!([shown("2", true)])
    );
    let again = bad(&bench, "delete_versioned_model", &version("M", "1")).await;
    assert_eq!(again, "model with name 'M' and version '1' does not exist");
    ok(&bench, "add_model", &model("M", "1", "d")).await;
    let anew = json!([shown("1", true), shown("2", false)]);
    assert_eq!(getter(&bench, "get_all_models", &all(true)).await, anew);
}

#[tokio::test]
async fn refuses_models_in_clippers_words() {
    let bench = Bench::new();
    let mut wrong = model("M", "1", "d");
    wrong["batch_size"] = 0.into();
    let text = bad(&bench, "add_model", &wrong).await;
    assert_eq!(
        text,
        "The batch size must be positive or DEFAULT_BATCH_SIZE, which is -1"
    );
    let text = bad(&bench, "add_model", &model("no:op", "1", "d")).await;
    assert_eq!(
        text,
        "Invalid model name supplied: no:op. Contains one of: ',', ':'"
    );
    let text = bad(&bench, "add_model", &model("M", "1,2", "d")).await;
    assert_eq!(
        text,
        "Invalid model version supplied: 1,2. Contains one of: ',', ':'"
    );
    let mut wrong = model("M", "1", "d");
    wrong["labels"] = json!(["a:b"]);
    let text = bad(&bench, "add_model", &wrong).await;
    assert_eq!(
        text,
        "Invalid label supplied: a:b. Contains one of: ',', ':'"
    );
    let text = bad(&bench, "set_model_version", &version("M", "1")).await;
    assert_eq!(text, "Cannot set version for nonexistent model 'M'");
    let mut sized = model("M", "1", "d");
    sized["batch_size"] = 8.into();
    ok(&bench, "add_model", &sized).await;
    assert_eq!(
        getter(&bench, "get_model", &version("M", "1")).await["batch_size"],
        8
    );
    let text = bad(&bench, "set_model_version", &version("M", "2")).await;
    assert_eq!(
        text,
        "Cannot set non-existent version '2' for model with name 'M'"
    );
}

#[tokio::test]
async fn links_and_unlinks_in_clippers_words() {
    let bench = Bench::new();
    let link = async |models: &[&str]| bad(&bench, "add_model_links", &links("A", models)).await;
    assert_eq!(link(&["M"]).await, "No app with name 'A' exists.");
    ok(&bench, "add_app", &app("A", "doubles")).await;
    assert_eq!(link(&["M"]).await, "No model with name 'M' exists.");
    for (name, input_type) in [("M", "doubles"), ("N", "doubles"), ("I", "integers")] {
        ok(&bench, "add_model", &model(name, "1", input_type)).await;
    }
    assert_eq!(
        link(&["I"]).await,
        "Model with name 'I' has incompatible input_type 'integers'. Requested app to link to has \
         input_type 'doubles'."
    );
    assert_eq!(
        link(&[]).await,
        "Please provide the name of the model that you want to link to the application 'A'"
    );
    assert_eq!(
        link(&["M", "N"]).await,
        "Applications must be linked with at most one model. Attempted to add links to 2 models."
    );
    let linked = ok(&bench, "add_model_links", &links("A", &["M"])).await;
    assert_eq!(
        linked,
        "Successfully linked model with name 'M' to application 'A'"
    );
    assert_eq!(
        link(&["M"]).await,
        "The model with name 'M' is already linked to 'A'"
    );
    assert_eq!(
        link(&["N"]).await,
        "A model with name M is already linked to 'A'."
    );
    assert_eq!(
        bad(&bench, "add_model", &model("M", "2", "integers")).await,
        "Model with name 'M' is already linked to app 'A' using input type 'doubles'. The input \
         type you provided for a new version of the model, 'integers', is not compatible."
    );
    let asked = json!({ "app_name": "A" });
    assert_eq!(
        getter(&bench, "get_linked_models", &asked).await,
        json!(["M"])
    );
    assert_eq!(
        ok(&bench, "delete_model_links", &links("A", &["M"])).await,
        "Success!"
    );
    assert_eq!(getter(&bench, "get_linked_models", &asked).await, json!([]));
    assert_eq!(
        bad(&bench, "delete_model_links", &links("A", &["M"])).await,
        "Cannot remove nonexistent link between app A and model M"
    );
    assert_eq!(
        bad(&bench, "delete_model_links", &links("B", &["M"])).await,
        "No app with name B exists."
    );
    assert_eq!(
        bad(&bench, "get_linked_models", &json!({ "app_name": "B" })).await,
        "No application with name 'B' exists."
    );
}

#[tokio::test]
async fn lists_connected_containers_also_unregistered_ones() {
    let bench = Bench::new();
    ok(&bench, "add_model", &model("M", "1", "floats")).await;
    let _registered = bench.container("M", "1").await;
    let _early = bench.container("N", "1").await;
    let ids: Vec<_> = bench
        .frontend
        .engine
        .replicas()
        .iter()
        .map(|one| one.id)
        .collect();
    let all = |verbose| json!({ "verbose": verbose });
    let names = getter(&bench, "get_all_containers", &all(false)).await;
    assert_eq!(
        names,
        json!([format!("M:1:{}", ids[0]), format!("N:1:{}", ids[1])])
    );
    let shown = json!({
        "model_id": "M:1", "model_name": "M", "model_version": "1",
        "model_replica_id": ids[0], "input_type": "floats",
    });
    let listed = getter(&bench, "get_all_containers", &all(true)).await;
    assert_eq!((&listed[0], &listed[1]["input_type"]), (&shown, &json!("")));
    let asked = |id: u64| json!({ "model_name": "M", "model_version": "1", "replica_id": id });
    assert_eq!(getter(&bench, "get_container", &asked(ids[0])).await, shown);
    assert_eq!(
        getter(&bench, "get_container", &asked(ids[1])).await,
        json!({})
    );
}
