use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

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
    arrivals: impl IntoIterator<Item = Duration, IntoIter: Send + 'static>,
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
    let all_made = Arc::new(Notify::new());
    let (mut made, notify) = (0, all_made.clone());
    let next_body = move || {
        made += 1;
        if made == 50 {
            notify.notify_one();
        }
        BODY
    };
    let stop = all_made.notified();
    let measured = driver.run(&template, at_once(50), next_body, stop, |_| {});
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
async fn nothing_is_sent_after_an_early_end() {
    let server = TestServer::start().await;
    let mut driver = driver(&server, 2);
    driver.window.duration = HOUR;
    let template = Request::post_json("/hang", "").unwrap();
    let stop = tokio::time::sleep(10 * MS);
    let arrivals = (0..).map(|n| MS * n);
    let measured = driver.run(&template, arrivals, || BODY, stop, |_| {});
    let measured = measured.await.unwrap();
    check_sums(&measured);
    let elapsed = measured.elapsed.as_millis() as u64;
    assert!(measured.offered <= elapsed + 1, "{measured:?}");
    assert_eq!(measured.unfinished, measured.sent);
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
    let run = driver.run(&template, constant(50.0), || BODY, never, on_second);
    run.await.unwrap();
    let (elapsed, offered) = told[0];
    assert!(
        elapsed >= Duration::from_secs(1) && offered >= 50,
        "{told:?}"
    );
}

#[tokio::test]
async fn fails_when_the_server_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
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

/// A server that does with each connection as the test says, by its number; never ends.
fn scripted(script: impl Fn(TcpStream, usize) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            script(stream.unwrap(), number);
        }
    });
    address
}

/// Reads a request with [`BODY`]; its head.
fn request(stream: &mut TcpStream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let mut body = vec![0; BODY.len()];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(body, BODY);
    String::from_utf8(text).unwrap()
}

/// Sends `requests` to a script over one connection, the next when the last is answered.
async fn sent_to(requests: usize, script: impl Fn(TcpStream, usize) + Send + 'static) -> Measured {
    let server = TestServer::start().await;
    let driver = OpenLoop {
        address: scripted(script),
        ..driver(&server, 1)
    };
    run(driver, "/a?b=c", at_once(requests)).await
}

#[tokio::test]
async fn a_request_is_written_as_http() {
    let measured = sent_to(1, |mut stream, _| {
        let local = stream.local_addr().unwrap();
        let head = format!(
            "POST /a?b=c HTTP/1.1\r\nhost: {local}\r\ncontent-type: application/json\r\n\
             content-length: 13\r\n\r\n"
        );
        assert_eq!(request(&mut stream), head);
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
    });
    assert_eq!(measured.await.answered, 1);
}

#[tokio::test]
async fn answers_in_pieces_after_interim_ones_share_a_connection() {
    const ANSWERS: [&str; 2] = [
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ];
    let measured = sent_to(2, |mut stream, number| {
        assert_eq!(number, 0, "the first connection is enough");
        stream.set_nodelay(true).unwrap();
        for answer in ANSWERS {
            request(&mut stream);
            for piece in answer.as_bytes().chunks(9) {
                stream.write_all(piece).unwrap();
                std::thread::yield_now();
            }
        }
    });
    let measured = measured.await;
    assert_eq!((measured.answered, measured.errors()), (2, 0));
}

#[tokio::test]
async fn a_connection_that_the_server_does_not_keep_is_opened_anew() {
    let closings = [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi and more",
        // Closed without a word.
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ];
    let measured = sent_to(closings.len(), move |mut stream, number| {
        request(&mut stream);
        stream.write_all(closings[number].as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let measured = measured.await;
    // The last but one may be written to before its end has arrived.
    assert_eq!(
        (measured.offered, measured.errors()),
        (5, 0),
        "{measured:?}"
    );
}

#[tokio::test]
async fn an_answer_before_the_whole_body_was_read_is_one() {
    let server = TestServer::start().await;
    let driver = OpenLoop {
        address: scripted(|mut stream, _| {
            stream.read_exact(&mut [0; 100]).unwrap();
            let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).unwrap();
            // The rest stays unread for as long as the client keeps the connection.
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest));
        }),
        ..driver(&server, 1)
    };
    let template = Request::post_json("/", "").unwrap();
    let body = Bytes::from(vec![b'x'; 32 << 20]);
    let never = std::future::pending();
    let run = driver.run(&template, at_once(2), move || body.clone(), never, |_| {});
    let measured = run.await.unwrap();
    assert_eq!(
        measured.errors.into_iter().collect::<Vec<_>>(),
        [("http_413".into(), 2)]
    );
}

#[tokio::test]
async fn a_body_larger_than_the_socket_takes_arrives_whole() {
    let server = TestServer::start().await;
    let body = Bytes::from(vec![b'x'; 8 << 20]);
    let template = Request::post_json("/echo", "").unwrap();
    let never = std::future::pending();
    let sent = body.clone();
    let run = driver(&server, 1).run(&template, at_once(2), move || sent.clone(), never, |_| {});
    assert_eq!(run.await.unwrap().answered, 2);
    assert!(server.first_bodies() == [body], "it is another body");
}

#[tokio::test]
async fn kinds_of_errors_are_told_apart() {
    for (answer, kind) in [
        (
            // Said, or the second request may come before the end of the connection does.
            "HTTP/1.1 500 Oh\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            "http_500",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nh",
            "connection",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n",
            "connection",
        ),
        ("HTTP/1.1 200 OK\r\n", "connection"),
        ("", "connection"),
        ("no HTTP\r\n\r\n", "connection"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n",
            "too_long",
        ),
    ] {
        let measured = sent_to(2, move |mut stream, _| {
            request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let errors: Vec<_> = measured.await.errors.into_iter().collect();
        assert_eq!(errors, [(kind.into(), 2)], "{answer:?}");
    }
}

#[tokio::test]
async fn a_run_that_is_dropped_ends() {
    let server = TestServer::start().await;
    let mut driver = driver(&server, 2);
    driver.window.duration = HOUR;
    let template = Request::post_json("/echo", "").unwrap();
    let (sender, mut bodies) = mpsc::unbounded_channel();
    let next_body = move || {
        sender.send(()).ok();
        BODY
    };
    let never = std::future::pending();
    let arrivals = (0..).map(|n| MS * n);
    let run = driver.run(&template, arrivals, next_body, never, |_| {});
    tokio::select! {
        biased;
        _ = bodies.recv() => {}
        _ = run => panic!("it takes an hour"),
    }
    // The thread drops its end when it is over.
    while bodies.recv().await.is_some() {}
}

#[tokio::test]
#[should_panic = "no more bodies"]
async fn a_panic_of_the_bodies_goes_on_in_the_caller() {
    let server = TestServer::start().await;
    let template = Request::post_json("/echo", "").unwrap();
    let never = std::future::pending();
    let next_body = || panic!("no more bodies");
    let run = driver(&server, 1).run(&template, at_once(1), next_body, never, |_| {});
    drop(run.await);
}
