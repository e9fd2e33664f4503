use super::*;
use crate::StatusCode;
use crate::test_server::TestServer;

const HOUR: Duration = Duration::from_secs(3600);
const BRIEF: Timing = Timing {
    warm_up: Duration::from_millis(5),
    measured: Duration::from_millis(20),
};

fn driver(server: &TestServer, connections: usize) -> ClosedLoop {
    ClosedLoop {
        address: server.address,
        connections,
        timeout: Duration::from_secs(60),
    }
}

fn numbered(count: usize) -> Vec<Request> {
    (0..count)
        .map(|i| Request::post_json("/echo", i.to_string()).unwrap())
        .collect()
}

#[tokio::test]
async fn sends_each_request_exactly_once_over_all_connections() {
    let server = TestServer::start().await;
    let mut seen = vec![0; 300];
    let report = driver(&server, 4).send_each(numbered(300), |answer| {
        seen[answer.index] += 1;
        let response = answer.result.unwrap();
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.body, answer.index.to_string());
    });
    let report = report.await.unwrap();
    assert!(seen.iter().all(|&count| count == 1), "{seen:?}");
    assert_eq!(
        (report.answered, report.failed, report.latencies.len()),
        (300, 0, 300)
    );
    assert!(report.answers_per_second() > 0.0);
    assert_eq!((server.connections(), server.requests()), (4, 300));
}

#[tokio::test]
async fn an_empty_list_is_done_at_once() {
    let server = TestServer::start().await;
    let report = driver(&server, 2)
        .send_each(Vec::new(), |_| panic!("no answer"))
        .await
        .unwrap();
    assert_eq!(report.answered, 0);
}

#[tokio::test]
async fn hands_over_a_failed_request_and_goes_on() {
    let server = TestServer::start().await;
    let mut requests = numbered(20);
    requests[5] = Request::get("/abort").unwrap();
    requests[6] = Request::get("/missing").unwrap();
    let mut failed = Vec::new();
    let report = driver(&server, 2).send_each(requests, |answer| match answer.result {
        Ok(response) => assert_eq!(response.is_success(), answer.index != 6),
        Err(error) => failed.push((answer.index, error.to_string())),
    });
    let report = report.await.unwrap();
    assert_eq!((report.answered, report.failed), (19, 1));
    assert_eq!(failed[0].0, 5);
    assert!(
        failed[0].1.contains(&server.address.to_string()),
        "{failed:?}"
    );
}

#[tokio::test]
async fn fails_when_a_lost_connection_cannot_be_opened_again() {
    let server = TestServer::start_for(2).await;
    let requests = vec![Request::get("/abort").unwrap(); 5];
    let error = driver(&server, 2)
        .send_each(requests, drop)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}

#[tokio::test]
async fn measure_counts_what_is_answered_between_the_marks() {
    let server = TestServer::start().await;
    let mut marks = Vec::new();
    let is_echo = |index: usize, response: &Response| response.body == index.to_string();
    let report = driver(&server, 3).measure(numbered(7), BRIEF, is_echo, |mark| {
        marks.push((mark, server.requests() as u64));
    });
    let report = report.await.unwrap();
    assert!(report.elapsed >= BRIEF.measured);
    assert_eq!(report.latencies.len(), report.answered);
    assert_eq!((report.refused, report.failed), (0, 0));
    assert_eq!(server.connections(), 3);

    let [(Mark::Start, before), (Mark::End, after)] = marks[..] else {
        panic!("{marks:?}")
    };
    // At each mark up to one request a connection is on its way back.
    assert!(
        report.answered.abs_diff(after - before) <= 3,
        "{} {marks:?}",
        report.answered
    );
}

#[tokio::test]
async fn connections_start_at_different_requests() {
    let server = TestServer::start().await;
    driver(&server, 4)
        .measure(numbered(8), BRIEF, |_, _| true, |_| {})
        .await
        .unwrap();
    assert_eq!(server.first_bodies(), ["0", "2", "4", "6"]);
}

#[tokio::test]
async fn each_outcome_counts_by_the_phase_in_which_it_arrives() {
    let server = TestServer::start().await;
    let paths = [
        "/echo", "/abort", "/echo", "/echo", "/missing", "/abort", "/echo",
    ];
    let requests = paths.map(|path| Request::get(path).unwrap());
    let tally = Tally::new(Phase::WarmUp);
    let phases = tally.clone();
    let check = move |index: usize, response: &Response| {
        match index {
            2 => lock(&phases).phase = Phase::Measured,
            6 => lock(&phases).phase = Phase::Over,
            _ => {}
        }
        response.is_success()
    };
    let connection = Connection::open(server.address, HOUR).await.unwrap();
    repeat(connection, requests.into(), 0, check, tally.clone())
        .await
        .unwrap();

    let report = &lock(&tally).report;
    assert_eq!((report.answered, report.refused, report.failed), (2, 1, 1));
    assert_eq!(report.latencies.len(), 2);
    assert!(matches!(report.first_error, Some(Error::Connection { .. })));
}

#[tokio::test]
async fn a_request_that_fails_after_the_measured_time_counts() {
    let server = TestServer::start().await;
    let tally = Tally::new(Phase::Over);
    let connection = Connection::open(server.address, HOUR).await.unwrap();
    let requests = [Request::get("/abort").unwrap()];
    repeat(connection, requests.into(), 0, |_, _| true, tally.clone())
        .await
        .unwrap();
    assert_eq!(lock(&tally).report.failed, 1);
}

#[tokio::test]
async fn measure_fails_at_once_when_the_server_is_gone() {
    let server = TestServer::start_for(2).await;
    let requests = [Request::get("/abort").unwrap()];
    let timing = Timing {
        warm_up: HOUR,
        measured: HOUR,
    };
    let run = driver(&server, 2).measure(requests, timing, |_, _| true, |_| {});
    assert!(matches!(run.await.unwrap_err(), Error::Connect { .. }));
}

#[tokio::test]
#[should_panic(expected = "the check failed")]
async fn a_panic_of_the_check_reaches_the_caller() {
    let server = TestServer::start().await;
    let timing = Timing {
        warm_up: HOUR,
        measured: HOUR,
    };
    let check = |_: usize, _: &Response| panic!("the check failed");
    let _ = driver(&server, 2)
        .measure(numbered(1), timing, check, |_| {})
        .await;
}
