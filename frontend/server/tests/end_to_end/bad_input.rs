//! What clients get wrong: each gets the right status and an error that names the field, and
//! nobody else notices.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;
use skysail_load::Method;

use crate::harness::{Frontend, PATIENCE, request};

/// A front end with `digits` (64 floats) served by the linear model, and one of doubles.
fn frontend(folder: &std::path::Path) -> (Frontend, crate::harness::Process) {
    let frontend = Frontend::start(folder);
    frontend.cli(&["model", "add", "linear", "1", "--input", "floats"]);
    frontend.cli(&[
        "app",
        "add",
        "app",
        "--input",
        "floats",
        "--features",
        "64",
        "--slo",
        "2s",
        "--default",
        "-1",
        "--link",
        "linear",
    ]);
    let container = frontend.container("digits-linear", "linear", "1");
    frontend.predict_in_the_end(&row(64));
    (frontend, container)
}

fn row(elements: usize) -> String {
    let ones = vec!["1"; elements].join(",");
    format!("{{\"input\":[{ones}]}}")
}

fn assert_refused(frontend: &Frontend, path: &str, body: &str, status: u16, field: Option<&str>) {
    let response = frontend.post(path, body);
    let text = String::from_utf8_lossy(&response.body).into_owned();
    assert_eq!(response.status.as_u16(), status, "{body:.80}: {text}");
    let error: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
    assert!(
        error["error"].is_string() && error["cause"].is_string(),
        "{text}"
    );
    assert_eq!(error["field"].as_str(), field, "{text}");
    assert_eq!(response.headers["content-type"], "application/json");
}

#[test]
fn wrong_queries_are_refused_with_their_field() {
    let folder = tempfile::tempdir().unwrap();
    let (frontend, _container) = frontend(folder.path());
    let predict = "/app/predict";
    let refused = |body: &str, field| assert_refused(&frontend, predict, body, 400, field);
    refused("{\"input\":[1,", Some("input"));
    refused("[1,2]", None);
    refused("{}", None);
    refused("{\"input\":\"cat\"}", Some("input"));
    refused("{\"input\":[\"a\"]}", Some("input"));
    refused(&row(63), Some("input"));
    refused("{\"input\":[]}", Some("input"));
    refused("{\"input\":[NaN]}", Some("input"));
    refused("{\"input\":[1e999]}", Some("input"));
    refused("{\"input_batch\":[[1,2]]}", Some("input_batch[0]"));
    refused("{\"input_batch\":[[]]}", Some("input_batch[0]"));
    let versioned = row(64).replace('}', ",\"version\":\"9\"}");
    refused(&versioned, Some("version"));
    assert_refused(&frontend, "/nobody/predict", "{}", 404, None);
    assert_refused(&frontend, "/app/nothing", "{}", 404, None);
    assert_refused(&frontend, "/", "{}", 404, None);
    let get = request(frontend.query, Method::GET, predict, "");
    assert_eq!(
        (get.status.as_u16(), get.headers["allow"].to_str().unwrap()),
        (405, "POST")
    );
    assert_eq!(frontend.predict(&row(64))["default"], false);
}

#[test]
fn what_is_right_in_an_odd_way_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (frontend, _container) = frontend(folder.path());
    let empty: Value =
        serde_json::from_slice(&frontend.post("/app/predict", "{\"input_batch\":[]}").body)
            .unwrap();
    assert_eq!(empty, serde_json::json!({ "batch_predictions": [] }));
    let inner = row(64)["{\"input\":".len()..]
        .trim_end_matches('}')
        .to_owned();
    let one = frontend.predict(&format!("{{\"input_batch\":[{inner}]}}"));
    assert_eq!(one["default"], false, "a batch of one has the single shape");
    let two = frontend.predict(&format!("{{\"input_batch\":[{inner},{inner}]}}"));
    assert_eq!(two["batch_predictions"].as_array().unwrap().len(), 2);
    let slash = frontend.post("/app/predict/", &row(64));
    assert_eq!(slash.status.as_u16(), 200);
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start_with(folder.path(), &["--body-bytes-max", "1000"]);
    frontend.register("1s");
    let response = frontend.post("/app/predict", &row(2000));
    assert_eq!(response.status.as_u16(), 413);
}

/// Raw bytes to the query port; what comes back until the server closes.
fn raw(frontend: &Frontend, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(frontend.query).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may close before it has read everything.
    drop(socket.write_all(bytes));
    drop(socket.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn broken_http_closes_its_own_connection_only() {
    let folder = tempfile::tempdir().unwrap();
    let (frontend, _container) = frontend(folder.path());
    assert!(raw(&frontend, b"\x16\x03\x01garbage\r\n\r\n").starts_with("HTTP/1.1 400"));
    let mut flood = b"POST /app/predict HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    (0..10_000).for_each(|n| flood.extend_from_slice(format!("X-{n}: y\r\n").as_bytes()));
    flood.extend_from_slice(b"\r\n");
    assert!(raw(&frontend, &flood).starts_with("HTTP/1.1 431"));
    let evil = "POST /app/predict HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\
                Connection: close\r\n\r\n";
    assert!(raw(&frontend, evil.as_bytes()).starts_with("HTTP/1.1 403"));
    assert_eq!(frontend.predict(&row(64))["default"], false);
}

/// The server closes a connection on which nothing is said, while others are served.
#[test]
fn a_client_that_sends_nothing_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (frontend, _container) = frontend(folder.path());
    let mut silent = TcpStream::connect(frontend.query).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(frontend.predict(&row(64))["default"], false);
    let mut answer = Vec::new();
    silent
        .read_to_end(&mut answer)
        .expect("closed, not timed out");
}
