//! The management port over an engine, a store and an orchestrator in memory.

mod access;
mod clipper;
mod openapi;
mod v1;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use serde_json::{Value, json};
use skysail_control::orchestrator::MemoryOrchestrator;
use skysail_control::store::MemoryStore;
use skysail_control::{Control, Launch};
use skysail_engine::{Engine, Options};
use skysail_monitor::Metrics;
use skysail_rpc::message::{Encoder, Hello};
use skysail_rpc::session::{ContainerSession, Timing};
use skysail_rpc::transport::Link;
use skysail_rpc::transport::memory::{self, MemoryConnector, MemoryLink};
use skysail_rpc::{Schema, TensorSpec};
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;
use crate::access::Access;
use crate::frontend::About;
use crate::query_ids::QueryIds;
use crate::readiness::Readiness;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    router: Router,
    frontend: Arc<Frontend>,
    orchestrator: Arc<MemoryOrchestrator>,
    containers: MemoryConnector,
    logs: TempDir,
}

/// An answer, read whole.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Status, kind and field of an error.
    fn error(&self) -> (u16, String, Value) {
        assert_eq!(self.headers[CONTENT_TYPE], "application/json");
        let error = &self.json()["error"];
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{error}"
        );
        let kind = error["kind"].as_str().expect("a kind").to_owned();
        (self.status, kind, error["field"].clone())
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::at("127.0.0.1:1338")
    }

    fn at(management: &str) -> Bench {
        Bench::with(management, Access::open())
    }

    fn with(management: &str, access: Access) -> Bench {
        let (listener, containers) = memory::listen();
        let handle = tokio::runtime::Handle::current();
        let metrics = Arc::new(Metrics::default());
        let engine = Engine::start(&handle, listener, metrics, Options::default());
        let logs = tempfile::tempdir().expect("a temporary directory");
        let orchestrator = Arc::new(MemoryOrchestrator::new());
        let control = control(&engine, orchestrator.clone(), &logs);
        let frontend = Arc::new(Frontend {
            query_ids: QueryIds::open(control.clone()).expect("a block of ids"),
            engine,
            control,
            readiness: Readiness::default(),
            about: about(management),
            access,
            log_dir: logs.path().to_owned(),
            body_bytes_max: 1 << 20,
            binary_bytes_max: 1 << 20,
            client_shm: vec![],
        });
        let router = router(frontend.clone());
        Bench {
            router,
            frontend,
            orchestrator,
            containers,
            logs,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a whole body");
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    async fn call(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::HOST, "127.0.0.1:1338");
        self.send(request.body(body.into()).expect("a request"))
            .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    /// A Clipper command, with its status and text.
    async fn admin(&self, command: &str, body: &Value) -> (u16, String) {
        let answer = self
            .call("POST", &format!("/admin/{command}"), body.to_string())
            .await;
        assert_eq!(answer.headers[CONTENT_TYPE], "application/json");
        (answer.status, answer.text().to_owned())
    }

    /// A command of our own API that is carried out.
    async fn done(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = self.call(method, &format!("/api/v1/{path}"), body).await;
        assert!(
            matches!(answer.status, 200 | 201),
            "{method} {path}: {}",
            answer.text()
        );
        answer.json()
    }

    /// A command of our own API that is refused.
    async fn refused(&self, method: &str, path: &str, body: &Value) -> (u16, String, Value) {
        let answer = self
            .call(method, &format!("/api/v1/{path}"), body.to_string())
            .await;
        answer.error()
    }

    /// Connects a container, and waits until it is listed.
    async fn container(&self, model: &str, version: &str) -> MemoryLink {
        let before = self.frontend.engine.replicas().len();
        let link = connect(&self.containers, model, version);
        let wait = async {
            while self.frontend.engine.replicas().len() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("it is listed");
        link
    }
}

fn control(engine: &Engine, orchestrator: Arc<MemoryOrchestrator>, logs: &TempDir) -> Arc<Control> {
    let sink = engine.clone();
    let publish = move |registry: Arc<_>| sink.publish(&registry);
    let control = Control::open(Arc::new(MemoryStore::new()), orchestrator, publish);
    let control = control.expect("an empty store");
    let launch = Launch {
        rpc: "tcp://127.0.0.1:7000".to_owned(),
        token_file: None,
        log_dir: logs.path().to_owned(),
    };
    control.launch(launch).expect("nothing to launch");
    Arc::new(control)
}

fn about(management: &str) -> About {
    About {
        pid: 7,
        query: "127.0.0.1:1337".parse().expect("an address"),
        management: management.parse().expect("an address"),
        rpc: vec!["tcp://127.0.0.1:7000".to_owned()],
        version: "1.2.3".to_owned(),
        auth: "loopback",
        tls: false,
    }
}

fn connect(containers: &MemoryConnector, model: &str, version: &str) -> MemoryLink {
    let spec = |name| TensorSpec::parse(name, "f32[-1]").expect("valid");
    let hello = Hello {
        protocol_min: 1,
        protocol_max: 1,
        sdk: "test/1".into(),
        model: model.into(),
        version: version.into(),
        schema: Schema {
            inputs: vec![spec("x")],
            outputs: vec![spec("y")],
        },
        max_batch: 16,
        slots: 1,
        token: vec![],
        pid: 99,
        host: String::new(),
        spin: Duration::ZERO,
    };
    let mut link = containers.connect().expect("listening");
    let (_, message) = ContainerSession::open(Instant::now(), Timing::default(), hello);
    link.send(&Encoder::default().encode(&message))
        .expect("sent");
    link
}

#[tokio::test]
async fn a_path_that_is_not_there_is_404_as_json() {
    let bench = Bench::new();
    for path in [
        "/",
        "/admin",
        "/admin/other",
        "/api/v1",
        "/api/v1/other",
        "/api/v2/status",
    ] {
        assert_eq!(
            bench.get(path).await.error(),
            (404, "not_found".into(), Value::Null),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_and_says_which_is_right() {
    let bench = Bench::new();
    for (method, path, allowed) in [
        ("GET", "/admin/add_app", "POST"),
        ("POST", "/admin/ping", "GET,HEAD"),
        ("PUT", "/api/v1/applications", "GET,HEAD,POST"),
        ("POST", "/metrics", "GET,HEAD"),
    ] {
        let answer = bench.call(method, path, "").await;
        assert_eq!(
            answer.error(),
            (405, "method_not_allowed".into(), Value::Null),
            "{path}"
        );
        assert_eq!(answer.headers[header::ALLOW], allowed, "{path}");
    }
}

#[tokio::test]
async fn a_path_that_is_not_utf8_is_refused_as_json() {
    let answer = Bench::new().get("/api/v1/models/%ff").await;
    assert_eq!(answer.error(), (400, "invalid".into(), Value::Null));
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let bench = Bench::new();
    let long = vec![b' '; BODY_BYTES_MAX + 1];
    let answer = bench
        .call("POST", "/api/v1/applications", long.clone())
        .await;
    assert_eq!(answer.error(), (413, "too_large".into(), Value::Null));
    let answer = bench.call("POST", "/admin/add_app", long).await;
    assert_eq!(
        (answer.status, answer.text()),
        (413, "body has more than 1048576 bytes")
    );
    let longest = vec![b' '; BODY_BYTES_MAX];
    let answer = bench.call("POST", "/api/v1/applications", longest).await;
    assert_eq!(answer.status, 400, "it is read, and empty");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_408() {
    let bench = Bench::new();
    let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    let answer = bench
        .call("POST", "/admin/add_app", Body::from_stream(never))
        .await;
    assert_eq!(
        (answer.status, answer.text()),
        (
            408,
            "body came too slowly, at least 1024 bytes a second expected after the first 5 s"
        )
    );
}

#[tokio::test]
async fn web_pages_are_kept_away_on_loopback_only() {
    let from = |origin: &str| {
        let request = Request::builder()
            .uri("/health")
            .header(header::HOST, "localhost");
        request
            .header(header::ORIGIN, origin)
            .body(Body::empty())
            .expect("a request")
    };
    let bench = Bench::new();
    let answer = bench.send(from("https://evil.example")).await;
    assert_eq!(answer.error(), (403, "forbidden".into(), Value::Null));
    assert_eq!(bench.send(from("http://localhost:3000")).await.status, 200);
    let open = Bench::at("192.0.2.1:1338");
    assert_eq!(open.send(from("https://evil.example")).await.status, 200);
}

#[tokio::test]
async fn metrics_are_what_prometheus_reads_and_count_responses() {
    let bench = Bench::new();
    assert_eq!(bench.get("/health").await.json(), json!({ "status": "ok" }));
    assert_eq!(
        bench.get("/nowhere").await.status,
        StatusCode::NOT_FOUND.as_u16()
    );
    let answer = bench.get("/metrics").await;
    assert_eq!(answer.headers[CONTENT_TYPE], metrics::CONTENT_TYPE);
    for status in [200, 404] {
        let line =
            format!("skysail_http_responses_total{{port=\"management\",status=\"{status}\"}} 1");
        assert!(
            answer.text().contains(&line),
            "{line} is not in\n{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_front_end_that_drains_is_alive_but_not_ready() {
    let bench = Bench::new();
    let ready = bench.get("/ready").await;
    assert_eq!(
        (ready.status, ready.json()),
        (200, json!({ "ready": true }))
    );
    bench.frontend.readiness.drain();
    let ready = bench.get("/ready").await;
    let expected = json!({ "ready": false, "reason": "draining" });
    assert_eq!((ready.status, ready.json()), (503, expected));
    assert_eq!(bench.get("/health").await.status, 200);
}
