//! Tokens at both ports, and that no route of them is forgotten.

use std::collections::BTreeSet;

use arc_swap::ArcSwap;
use hyper::header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE};
use skysail_core::Name;

use super::*;
use crate::access::routes::QUERY_PORT;
use crate::access::{Digest, Need, Scope, Token, Tokens};
use crate::query::QueryService;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// A front end that wants tokens. Each scope has one of its name.
fn bench() -> Bench {
    let token = |scope: &Scope| Token {
        name: Name::new(scope.name()).expect("a name"),
        sha256: Digest::of(secret(*scope).as_bytes()),
        scopes: vec![*scope],
        applications: Vec::new(),
        created_unix_seconds: 0,
        expires_unix_seconds: None,
    };
    let tokens = Tokens::new(Scope::ALL.iter().map(token).collect()).expect("right");
    let tokens = Arc::new(ArcSwap::from_pointee(tokens));
    Bench::with("127.0.0.1:1338", Access::by_tokens(tokens))
}

fn secret(scope: Scope) -> String {
    format!("sky_{scope}")
}

fn request(method: &str, path: &str, scope: Option<Scope>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(header::HOST, "127.0.0.1:1338");
    let request = match scope {
        Some(scope) => request.header(AUTHORIZATION, format!("Bearer {}", secret(scope))),
        None => request,
    };
    request.body(Body::empty()).expect("a request")
}

/// A path of this pattern.
fn path_of(pattern: &str) -> String {
    let segments = pattern.split('/');
    let named = segments.map(|segment| match segment.starts_with('{') {
        true => "x",
        false => segment,
    });
    named.collect::<Vec<_>>().join("/")
}

/// The patterns that the router knows, in what it prints of itself.
fn patterns_of_the_router() -> BTreeSet<String> {
    let printed = format!("{:?}", routes());
    let (printed, _) = printed.split_once("fallback_router").expect("last");
    let quoted = printed.split('"').skip(1).step_by(2);
    let patterns = quoted.filter(|text| text.starts_with('/'));
    patterns.map(str::to_owned).collect()
}

/// Whoever adds a route adds it to the table in `access/routes.rs`, or nobody reaches it.
#[tokio::test]
async fn every_route_of_the_management_port_is_in_its_table_and_no_other() {
    let bench = bench();
    let bare = routes().with_state(bench.frontend.clone());
    let mut handled = BTreeSet::new();
    for pattern in patterns_of_the_router() {
        for method in METHODS {
            let request = request(method, &path_of(&pattern), None);
            let response = bare.clone().oneshot(request).await.expect("an answer");
            if response.status() != StatusCode::METHOD_NOT_ALLOWED {
                handled.insert((method.to_owned(), pattern.clone()));
            }
        }
    }
    let table = MANAGEMENT_PORT.all().iter();
    let table = table.map(|(method, pattern, _)| (method.to_string(), pattern.to_string()));
    assert_eq!(handled, table.collect());
    assert!(handled.len() > 30, "the router prints itself otherwise now");
}

#[tokio::test]
async fn each_route_of_the_management_port_is_for_its_scope_alone() {
    let bench = bench();
    for (method, pattern, need) in MANAGEMENT_PORT.all() {
        let path = path_of(pattern);
        let status = async |scope| bench.send(request(method, &path, scope)).await.status;
        let is_open = *need == Need::Nothing;
        assert_eq!(status(None).await == 401, !is_open, "{method} {path}");
        for scope in Scope::ALL {
            let may = is_open || *need == Need::Scope(scope);
            assert_eq!(status(Some(scope)).await != 403, may, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn each_route_of_the_query_port_is_for_its_scope_alone() {
    let bench = bench();
    let service = QueryService::new(bench.frontend.clone());
    for (method, pattern, need) in QUERY_PORT.all() {
        let path = path_of(pattern);
        let answer = async |scope| {
            let reply = service.handle(request(method, &path, scope)).await;
            let (head, body) = reply.into_parts();
            let body = to_bytes(Body::new(body), usize::MAX).await.expect("whole");
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            (head.status.as_u16(), head.headers, body)
        };
        let (status, headers, body) = answer(None).await;
        if *need == Need::Nothing {
            assert_eq!(status, 200, "{method} {path}");
            continue;
        }
        assert_eq!(
            (status, &headers[WWW_AUTHENTICATE]),
            (401, &"Bearer".parse().unwrap())
        );
        assert_eq!(body["error"], "Unauthorized");
        assert!(body["cause"].is_string(), "{body}");
        for scope in Scope::ALL {
            let (status, _, body) = answer(Some(scope)).await;
            assert_eq!(
                status != 403,
                *need == Need::Scope(scope),
                "{method} {path}"
            );
            let cause = body["cause"].as_str().unwrap_or_default();
            assert!(
                !cause.starts_with("no such path"),
                "{method} {path}: nobody answers"
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_to_who_has_a_token_only() {
    let bench = bench();
    for path in ["/", "/api/v1", "/admin/other"] {
        let answer = bench.send(request("GET", path, None)).await;
        assert_eq!(answer.status, 401, "{path}");
        let answer = bench.send(request("GET", path, Some(Scope::Query))).await;
        assert_eq!(answer.error(), (404, "not_found".into(), Value::Null));
    }
    let answer = bench.send(request("PUT", "/metrics", None)).await;
    assert_eq!(answer.status, 401);
    let answer = bench
        .send(request("PUT", "/metrics", Some(Scope::Query)))
        .await;
    assert_eq!(
        (answer.status, &answer.headers[ALLOW]),
        (405, &"GET,HEAD".parse().unwrap())
    );
    let service = QueryService::new(bench.frontend.clone());
    let status = async |method, path, scope| service.handle(request(method, path, scope)).await;
    for (method, path, expected) in [("GET", "/x", 404), ("GET", "/x/predict", 405)] {
        let told = status(method, path, None).await;
        assert_eq!(told.status().as_u16(), 401, "{path}");
        let told = status(method, path, Some(Scope::Admin)).await;
        assert_eq!(told.status().as_u16(), expected, "{path}");
    }
}

#[tokio::test]
async fn each_interface_says_no_in_its_own_shape() {
    let bench = bench();
    let answer = bench.send(request("GET", "/api/v1/status", None)).await;
    assert_eq!(answer.headers[WWW_AUTHENTICATE], "Bearer");
    assert_eq!(answer.error(), (401, "unauthorized".into(), Value::Null));
    let status = request("GET", "/api/v1/status", Some(Scope::Query));
    let answer = bench.send(status).await;
    assert_eq!(answer.error(), (403, "forbidden".into(), Value::Null));
    let answer = bench.send(request("POST", "/admin/get_state", None)).await;
    assert_eq!(answer.headers[WWW_AUTHENTICATE], "Bearer");
    assert_eq!(
        (answer.status, answer.text()),
        (401, "a token is needed: send 'Authorization: Bearer TOKEN'")
    );
    let state = request("POST", "/admin/get_state", Some(Scope::Metrics));
    let answer = bench.send(state).await;
    assert!(answer.status == 403 && answer.text().starts_with("the token 'metrics' has scope"));
}
