use std::cell::Cell;

use tokio::sync::Notify;

use super::*;
use crate::arrivals::{Arrivals, Gaps, Rate};
use crate::test_server::{LATE, TestServer};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const BODY: Bytes = Bytes::from_static(b"{\"input\":[1]}");

/// Every answer is in time; nothing times out.
fn driver(server: &TestServer, connections: usize) -> OpenLoop {
    OpenLoop {
        address: server.address,
        connections,
        timeout: Duration::from_secs(60),
        window: Window {
            warm_up: Duration::ZERO,
            duration: 100 * MS,
            slo: Some(HOUR),
        },
    }
}

async fn run(
    driver: OpenLoop,
    path: &str,
    arrivals: impl IntoIterator<Item = Duration>,
) -> Measured {
    let template = Request::post_json(path, "").unwrap();
    let never = std::future::pending();
    let measured = driver
        .run(&template, arrivals, || BODY, never, |_| {})
        .await
        .unwrap();
    check_sums(&measured);
    measured
}

fn check_sums(measured: &Measured) {
    let ended = measured.answered + measured.errors() + measured.not_sent;
    assert_eq!(
        measured.offered,
        ended + measured.unfinished,
        "{measured:?}"
    );
    assert_eq!(measured.latencies.len(), measured.answered);
    assert_eq!(measured.lateness.len(), measured.sent);
    let over_seconds = |count: fn(&crate::tally::Second) -> u64| -> u64 {
        measured.seconds.iter().map(count).sum()
    };
    assert_eq!(over_seconds(|second| second.offered), measured.offered);
    assert_eq!(over_seconds(|second| second.answered), measured.answered);
    assert_eq!(over_seconds(|second| second.in_time), measured.in_time);
    assert_eq!(over_seconds(|second| second.errors), measured.errors());
    assert_eq!(over_seconds(|second| second.not_sent), measured.not_sent);
}

fn constant(rate: f64) -> Arrivals {
    Arrivals::new(Gaps::Constant, &Rate::Constant(rate), 0).unwrap()
}

/// `count` requests at once, at the start.
fn at_once(count: usize) -> Vec<Duration> {
    vec![Duration::ZERO; count]
}

#[tokio::test]
async fn sends_every_arrival_of_the_window_once_over_its_connections() {
    let server = TestServer::start().await;
    let measured = run(driver(&server, 4), "/echo", constant(2000.0)).await;
    assert_eq!(measured.offered, 199, "the 200th is at the end");
    assert_eq!(
        (measured.sent, measured.answered, measured.in_time),
        (199, 199, 199)
    );
    assert_eq!(
        (measured.errors(), measured.not_sent, measured.unfinished),
        (0, 0, 0)
    );
    assert_eq!((server.connections(), server.requests()), (4, 199));
    assert_eq!(measured.elapsed, 100 * MS);
    assert!(measured.cpu_us_per_request().unwrap() > 0.0);
}

#[tokio::test]
async fn requests_due_at_once_go_out_at_once_each_on_a_connection() {
    let server = TestServer::start().await;
    let measured = run(driver(&server, 4), "/late", at_once(4)).await;
    assert_eq!((measured.answered, measured.waited), (4, 0));
    assert_eq!(server.first_bodies(), [BODY; 4]);
}

#[tokio::test]
async fn the_warm_up_is_sent_but_not_counted() {
    let server = TestServer::start().await;
    let mut driver = driver(&server, 2);
    driver.window.warm_up = 100 * MS;
    let measured = run(driver, "/echo", constant(1000.0)).await;
    assert_eq!((measured.offered, measured.sent_in_all), (100, 199));
    assert_eq!(server.requests(), 199);
}

#[tokio::test]
async fn latency_counts_from_the_time_a_request_should_have_been_sent() {
    let server = TestServer::start().await;
    let measured = run(driver(&server, 1), "/late", at_once(5)).await;
    assert_eq!((measured.waited, measured.answered), (4, 5));
    let max = Duration::from_micros(measured.latencies.max());
    assert!(max >= 5 * LATE, "{max:?}");
    let last_sent = Duration::from_micros(measured.lateness.max());
    assert!(last_sent >= 4 * LATE, "{last_sent:?}");
}

#[tokio::test]
async fn a_late_answer_is_not_in_time() {
    let server = TestServer::start().await;
    let mut driver = driver(&server, 5);
    driver.window.slo = Some(LATE / 2);
    let measured = run(driver, "/late", at_once(5)).await;
    assert_eq!(
        (measured.waited, measured.answered, measured.in_time),
        (0, 5, 0)
    );
    assert!(!measured.p99_holds());
}

#[tokio::test]
async fn without_an_slo_nothing_is_in_time() {
    let server = TestServer::start().await;
    let mut driver = driver(&server, 5);
    driver.window.slo = None;
    let measured = run(driver, "/echo", at_once(5)).await;
    assert_eq!((measured.answered, measured.in_time), (5, 0));
}

#[tokio::test]
async fn defaults_are_answers_counted_by_cause() {
    let server = TestServer::start().await;
    let measured = run(driver(&server, 2), "/default", at_once(7)).await;
    assert_eq!((measured.answered, measured.in_time), (7, 0));
    assert_eq!(
        measured.defaults.into_iter().collect::<Vec<_>>(),
        [("shed".into(), 7)]
    );
}

#[tokio::test]
async fn a_status_of_failure_is_an_error_by_its_number() {
    let server = TestServer::start().await;
    let measured = run(driver(&server, 2), "/busy", at_once(3)).await;
    assert_eq!((measured.answered, measured.sent), (0, 3));
    assert_eq!(measured.errors["http_503"], 3);
}

#[tokio::test]
async fn a_connection_that_is_closed_is_an_error_and_is_opened_again() {
    let server = TestServer::start().await;
    let measured = run(driver(&server, 1), "/abort", at_once(3)).await;
    assert_eq!(measured.errors["connection"], 3);
    assert_eq!((server.connections(), measured.sent), (3, 3));
    let measured = run(driver(&server, 1), "/last", at_once(3)).await;
    assert_eq!(measured.answered, 3, "a server may close after an answer");
}

#[tokio::test]
async fn a_server_that_went_away_is_counted_to_the_end() {
    let server = TestServer::start_for(1).await;
    let measured = run(driver(&server, 1), "/abort", at_once(4)).await;
    assert_eq!(measured.errors["connection"], 1);
    assert_eq!(measured.errors["connect"], 3);
    assert_eq!((measured.offered, measured.sent), (4, 1));
}

#[tokio::test]
async fn what_found_no_connection_in_time_is_not_sent() {
    let server = TestServer::start().await;
    let mut driver = driver(&server, 1);
    driver.timeout = 2000 * MS;
    let measured = run(driver, "/hang", at_once(3)).await;
    assert_eq!((measured.sent, measured.not_sent), (1, 2));
    assert_eq!(measured.errors["timeout"], 1);
}

#[tokio::test]
async fn an_early_end_gives_what_was_measured() {
    let server = TestServer::start().await;
    let mut driver = driver(&server, 2);
    driver.window.duration = HOUR;
    let template = Request::post_json("/hang", "").unwrap();
    let (made, all_made) = (Cell::new(0), Notify::new());
    let next_body = || {
        made.set(made.get() + 1);
        if made.get() == 50 {
            all_made.notify_one();
        }
        BODY
    };
    let measured = driver.run(
        &template,
        at_once(50),
        next_body,
        all_made.notified(),
        |_| {},
    );
    let measured = measured.await.unwrap();
    check_sums(&measured);
    assert_eq!(
        (measured.offered, measured.waited, measured.not_sent),
        (50, 48, 48)
    );
    assert_eq!(measured.unfinished, 2);
    assert!(measured.elapsed < HOUR);
}

#[tokio::test]
async fn tells_its_progress_while_it_runs() {
    let server = TestServer::start().await;
    let mut driver = driver(&server, 2);
    driver.window.duration = 1100 * MS;
    let template = Request::post_json("/echo", "").unwrap();
    let mut told = Vec::new();
    let on_second = |progress: Progress<'_>| {
        assert!(progress.busy <= 2);
        told.push((progress.elapsed, progress.measured.offered));
    };
    let never = std::future::pending();
    let run = driver.run(&template, constant(100.0), || BODY, never, on_second);
    run.await.unwrap();
    let (elapsed, offered) = told[0];
    assert!(
        elapsed >= Duration::from_secs(1) && offered >= 100,
        "{told:?}"
    );
}

#[tokio::test]
async fn fails_when_the_server_is_not_there() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = TestServer::start().await;
    let driver = OpenLoop {
        address,
        ..driver(&server, 1)
    };
    let template = Request::post_json("/echo", "").unwrap();
    let never = std::future::pending();
    let run = driver.run(&template, at_once(1), || BODY, never, |_| {});
    let error = run.await.unwrap_err();
    assert_eq!(error.kind(), "connect");
}
