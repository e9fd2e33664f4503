//! The documents against the code: routes that are served, and examples that work.

use std::collections::BTreeSet;
use std::fs;

use http_body_util::{BodyExt, Full};

use super::*;
use crate::openapi::tests::{Document, Operation};
use crate::query::QueryService;

/// A method that no path has.
const NO_METHOD: &str = "TRACE";

/// Method and path, as the documents write it.
type Routes = BTreeSet<(String, String)>;

/// The methods that an answer allows, less the one that comes with GET.
fn allowed(answer: &Answer) -> Vec<String> {
    let header = answer.headers.get(header::ALLOW);
    let methods = header.and_then(|value| value.to_str().ok()).unwrap_or("");
    let methods = methods.split(',').map(|method| method.trim().to_owned());
    methods.filter(|method| method != "HEAD").collect()
}

/// The paths of a router. axum lists them only where it is printed; were that to change,
/// nothing would be found, and the comparison fail.
fn paths_of(router: &Router) -> BTreeSet<String> {
    let printed = format!("{router:?}");
    let quoted = printed.split('"').skip(1).step_by(2);
    let is_path = |text: &&str| text.len() > 1 && text.starts_with('/') && !text.contains('*');
    quoted.filter(is_path).map(str::to_owned).collect()
}

/// A path with something for each of its parameters.
fn filled(path: &str) -> String {
    let mut pieces = path.split('{');
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        filled.push_str("some");
        filled.push_str(piece.split_once('}').map_or("", |(_, rest)| rest));
    }
    filled
}

/// What `document` tells of.
fn documented(document: &Document) -> Routes {
    let operations = document.operations();
    let routes = operations
        .iter()
        .map(|one| (one.method.clone(), one.path.to_owned()));
    routes.collect()
}

/// The query port's answer.
async fn ask(bench: &Bench, method: &str, path: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(header::HOST, "127.0.0.1:1337");
    let request = request.body(Full::new(Bytes::from(body.to_owned())));
    let service = QueryService::new(bench.frontend.clone());
    let (head, body) = service
        .handle(request.expect("a request"))
        .await
        .into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    }
}

/// A front end with what the examples name.
async fn exemplary() -> Bench {
    let bench = Bench::new();
    let app = |name: &str, input_type: &str| {
        json!({
            "name": name, "input_type": input_type, "latency_slo_micros": 20_000,
            "default_output": "-1",
        })
    };
    for (name, input_type) in [
        ("digits", "floats"),
        ("digits-3", "floats"),
        ("digits-sum", "doubles"),
    ] {
        bench
            .done("POST", "applications", &app(name, input_type))
            .await;
    }
    for (model, version, input_type) in [
        ("digits-linear", "0", "floats"),
        ("digits-linear", "1", "floats"),
        ("digits-sum", "1", "doubles"),
    ] {
        let version = json!({ "model": model, "version": version, "input_type": input_type });
        bench.done("POST", "models", &version).await;
    }
    for (app, model) in [("digits", "digits-linear"), ("digits-sum", "digits-sum")] {
        let links = json!({ "models": [model] });
        bench
            .done("PUT", &format!("applications/{app}/links"), &links)
            .await;
    }
    let deployment = json!({ "replicas": 1, "command": ["p"] });
    let deploy = "models/digits-linear/versions/1/deployment";
    bench.done("PUT", deploy, &deployment).await;
    let logs = bench.logs.path().join("digits-linear/1");
    fs::create_dir_all(&logs).expect("made");
    fs::write(logs.join("replica-0.log"), "ready\n").expect("written");
    bench
}

#[tokio::test]
async fn the_management_document_has_the_routes_that_are_served() {
    let bench = Bench::new();
    let mut served = Routes::new();
    for path in paths_of(&bench.router) {
        let answer = bench.call(NO_METHOD, &filled(&path), "").await;
        assert_eq!(answer.status, 405, "{path}");
        let methods = allowed(&answer).into_iter();
        served.extend(methods.map(|method| (method, path.clone())));
    }
    assert_eq!(documented(&Document::management()), served);
}

#[tokio::test]
async fn what_the_query_document_has_is_served_by_those_methods() {
    let bench = exemplary().await;
    let document = Document::query();
    let expected = documented(&document);
    for operation in document.operations() {
        let answer = ask(&bench, NO_METHOD, &operation.example_path(), "").await;
        let of_path = expected.iter().filter(|(_, path)| path == operation.path);
        let methods: Vec<_> = of_path.map(|(method, _)| method.clone()).collect();
        assert_eq!(
            (answer.status, allowed(&answer)),
            (405, methods),
            "{}",
            operation.name()
        );
    }
}

#[tokio::test]
async fn every_example_of_the_management_document_is_carried_out() {
    let document = Document::management();
    for operation in document.operations() {
        for (example, body) in operation.example_bodies() {
            let bench = exemplary().await;
            let path = operation.example_path();
            let answer = bench.call(&operation.method, &path, body).await;
            check(&operation, &example, &answer);
        }
    }
}

#[tokio::test]
async fn every_example_of_the_query_document_is_answered() {
    let bench = exemplary().await;
    let document = Document::query();
    for operation in document.operations() {
        for (example, body) in operation.example_bodies() {
            let answer = ask(&bench, &operation.method, &operation.example_path(), &body).await;
            check(&operation, &example, &answer);
        }
    }
}

/// An answer must be one of success that the document has. Of V2, any that it has will do: most of
/// it answers 503 without a container, and `tools/schemathesis` has one.
fn check(operation: &Operation<'_>, example: &str, answer: &Answer) {
    let text = String::from_utf8_lossy(&answer.body);
    let told = format!("{}, {example}: {} {text}", operation.name(), answer.status);
    assert!(operation.documents(answer.status), "{told}");
    assert!(
        answer.status < 300 || operation.path.starts_with("/v2"),
        "{told}"
    );
}

#[tokio::test]
async fn both_ports_serve_their_documents() {
    let bench = Bench::new();
    let served = |answer: &Answer| {
        assert_eq!(answer.headers[CONTENT_TYPE], "application/json");
        (answer.status, answer.json())
    };
    let answer = bench.get("/openapi.json").await;
    assert_eq!(served(&answer), (200, Document::management().root));
    let answer = ask(&bench, "GET", "/openapi.json", "").await;
    assert_eq!(served(&answer), (200, Document::query().root));
}
