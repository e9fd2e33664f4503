//! A port that asks its clients to leave.

use super::http2::Client;
use super::*;

const GOAWAY: u8 = 7;

#[test]
fn answers_ask_to_close_and_new_clients_are_still_answered() {
    let server = Server::start(patient());
    let mut old = server.connect();
    old.write_all(post("/echo", "one", false).as_bytes())
        .expect("sent");
    let first = read_until(&mut old, "one");
    assert!(!first.contains("connection: close"), "{first}");
    server.door.ask_to_leave();
    let new = server.exchange(post("/echo", "two", false).as_bytes());
    assert!(
        new.contains("connection: close") && new.ends_with("two"),
        "{new}"
    );
    // The loop that took the new client has told the old ones.
    old.write_all(post("/echo", "three", false).as_bytes())
        .expect("sent");
    let last = rest(&mut old);
    assert!(
        last.contains("connection: close") && last.ends_with("three"),
        "{last}"
    );
}

#[test]
fn an_idle_client_of_http1_may_ask_once_more() {
    let server = Server::start(patient());
    let mut idle = server.connect();
    server.door.ask_to_leave();
    let other = server.exchange(post("/echo", "other", false).as_bytes());
    assert!(other.ends_with("other"), "{other}");
    idle.write_all(post("/slow", "late", false).as_bytes())
        .expect("sent");
    let answer = rest(&mut idle);
    assert!(
        answer.contains("connection: close") && answer.ends_with("late"),
        "{answer}"
    );
}

#[test]
fn http2_is_told_to_go_away_once_it_was_asked_something() {
    let server = Server::start(patient());
    let (mut asked, mut unasked) = (Client::connect(&server), Client::connect(&server));
    assert_eq!(asked.get("/host", 1), b"localhost");
    server.door.ask_to_leave();
    assert!(asked.rest().contains(&GOAWAY));
    assert_eq!(unasked.get("/host", 1), b"localhost");
    assert!(unasked.rest().contains(&GOAWAY));
    let mut new = Client::connect(&server);
    new.begin("/slow", 1);
    assert_eq!(new.finish(1), b"");
    new.rest();
    server.wait_until_empty();
}

#[test]
fn a_stop_lets_go_of_clients_that_have_said_nothing() {
    let mut server = Server::start(patient());
    let mut silent = server.connect();
    // Accepted: the loop takes connections in order.
    server.exchange(post("/echo", "one", true).as_bytes());
    server.stop();
    assert_eq!(rest(&mut silent), "");
}

#[test]
fn a_stop_under_load_answers_exactly_what_it_admitted() {
    let mut server = Server::start(patient());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = server.connect();
            std::thread::spawn(move || {
                let request = post("/echo", "asked", false);
                let mut answers = 0;
                while stream.write_all(request.as_bytes()).is_ok() && is_answered(&mut stream) {
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    while server.admitted.load(Relaxed) < 200 {
        std::thread::yield_now();
    }
    server.stop();
    let answers = clients
        .into_iter()
        .map(|client| client.join().expect("no panic"));
    assert_eq!(answers.sum::<usize>(), server.admitted.load(Relaxed));
}

/// Whether a whole answer comes; half of one is a failure.
fn is_answered(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\nasked") {
        match stream.read(&mut byte) {
            Ok(1) => answer.push(byte[0]),
            end => {
                assert!(answer.is_empty(), "half an answer, then {end:?}");
                return false;
            }
        }
    }
    true
}
