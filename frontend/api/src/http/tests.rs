//! The accept loop with real sockets and raw clients. Time-outs are short, so that clients see
//! them; no test depends on how long anything takes.

mod frames;
mod http2;
mod leaving;
mod tls;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::sync::oneshot;

use super::*;
use frames::Frames;

const BODY_LIMIT: usize = 100_000;
const BIG_BYTES: usize = 16 << 20;
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(150);
/// Longer than `SHORT`.
const PAUSE: Duration = Duration::from_millis(500);

struct Server {
    address: SocketAddr,
    door: Arc<Door>,
    /// Requests that reached the service.
    admitted: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `/echo` (the body), `/slow` (after 100 ms), `/late` (after 500 ms), `/host`, `/panic`,
    /// `/big` (16 MiB), `/trailers` (three pieces and a trailer) and `/halting` (two pieces, 500 ms
    /// between them).
    fn start(limits: HttpLimits) -> Server {
        Server::behind(Door::new(limits))
    }

    fn behind(door: Arc<Door>) -> Server {
        let listener = bind("127.0.0.1:0".parse().expect("an address"), 1)
            .expect("a port")
            .remove(0);
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let admitted = Arc::new(AtomicUsize::new(0));
        let (shared, count) = (Arc::clone(&door), Arc::clone(&admitted));
        let service = service_fn(move |request| {
            count.fetch_add(1, Relaxed);
            answer(request)
        });
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("non-blocking");
                let stopped = async { drop(stopped.await) };
                serve(listener, shared, service, stopped).await;
            });
        });
        Server {
            address,
            door,
            admitted,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("accepted")
    }

    /// All that the server sends on a connection that gets `text`.
    fn exchange(&self, text: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(text).expect("sent");
        rest(&mut stream)
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        self.thread
            .take()
            .expect("running")
            .join()
            .expect("no panic in the loop");
    }

    /// Waits until no connection is open.
    fn wait_until_empty(&self) {
        while self.door.open_connections() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Frames>, Infallible> {
    let ok = |body: Bytes| Ok(json_answer(StatusCode::OK, Frames::from(body)));
    match request.uri().path() {
        "/slow" => tokio::time::sleep(Duration::from_millis(100)).await,
        "/late" => tokio::time::sleep(PAUSE).await,
        "/panic" => panic!("a service that fails"),
        "/big" => return ok(vec![b'x'; BIG_BYTES].into()),
        "/halting" => return Ok(Response::new(Frames::halting(PAUSE))),
        "/trailers" => return Ok(Response::new(Frames::with_trailers())),
        "/host" => {
            let host = request.headers().get(hyper::header::HOST);
            return ok(Bytes::copy_from_slice(host.expect("a host").as_bytes()));
        }
        _ => {}
    }
    match read_body(request.into_body(), BODY_LIMIT, SHORT).await {
        Ok(body) => ok(body),
        Err(error) => Ok(json_answer(
            error.status(),
            Frames::from(Bytes::from(error.to_string())),
        )),
    }
}

fn patient() -> HttpLimits {
    HttpLimits {
        first_byte_timeout: LONG,
        head_timeout: LONG,
        idle_timeout: LONG,
        ..HttpLimits::default()
    }
}

/// Reads to the end; a reset after the answer counts as one.
fn rest(stream: &mut TcpStream) -> String {
    let mut out = Vec::new();
    drop(stream.read_to_end(&mut out));
    String::from_utf8(out).expect("text")
}

/// Reads until `end` arrives.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut out = Vec::new();
    while !out.ends_with(end.as_bytes()) {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).expect("bytes"), 1, "closed early");
        out.push(byte[0]);
    }
    String::from_utf8(out).expect("text")
}

fn post(path: &str, body: &str, close: bool) -> String {
    let close = if close { "connection: close\r\n" } else { "" };
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{close}content-length: {length}\r\n\r\n{body}")
}

#[test]
fn answers_requests_on_one_connection_in_order() {
    let server = Server::start(patient());
    let mut stream = server.connect();
    for body in ["one", "two"] {
        stream
            .write_all(post("/echo", body, false).as_bytes())
            .expect("sent");
        let answer = read_until(&mut stream, body);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"));
    }
    let both = post("/slow", "three", false) + &post("/echo", "four", true);
    let answers = server.exchange(both.as_bytes());
    assert!(
        answers.contains("three") && answers.ends_with("four"),
        "{answers}"
    );
    drop(stream);
    server.wait_until_empty();
}

#[test]
fn closes_clients_that_send_nothing_or_half_a_head() {
    let limits = HttpLimits {
        first_byte_timeout: SHORT,
        head_timeout: SHORT,
        ..HttpLimits::default()
    };
    let server = Server::start(limits);
    assert_eq!(server.exchange(b""), "");
    assert_eq!(server.exchange(b"POST /echo HT"), "");
    // Also after an answer, and however busy it keeps sending.
    let mut stream = server.connect();
    stream
        .write_all(post("/echo", "one", false).as_bytes())
        .expect("sent");
    read_until(&mut stream, "one");
    while stream.write_all(b"x").is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    server.wait_until_empty();
}

#[test]
fn keeps_idle_connections_only_for_their_time() {
    let server = Server::start(HttpLimits {
        idle_timeout: SHORT,
        ..patient()
    });
    let answer = server.exchange(post("/echo", "one", false).as_bytes());
    assert!(answer.ends_with("one"));
    let server = Server::start(HttpLimits {
        age_max: SHORT,
        ..patient()
    });
    let answer = server.exchange(post("/echo", "two", false).as_bytes());
    assert!(answer.ends_with("two"));
}

#[test]
fn an_answer_that_is_not_whole_keeps_a_connection_from_being_idle() {
    let server = Server::start(HttpLimits {
        idle_timeout: SHORT,
        write_stall: SHORT,
        ..patient()
    });
    let answer = server.exchange(post("/halting", "", true).as_bytes());
    assert!(answer.ends_with("onetwo"), "{answer}");
    let mut client = http2::Client::connect(&server);
    assert_eq!(client.get("/halting", 1), b"onetwo");
}

#[test]
fn closes_clients_that_take_no_byte() {
    let server = Server::start(HttpLimits {
        write_stall: SHORT,
        ..patient()
    });
    let mut stream = server.connect();
    stream
        .write_all(post("/big", "", false).as_bytes())
        .expect("sent");
    read_until(&mut stream, "\r\n\r\n");
    server.wait_until_empty();
}

#[test]
fn refuses_bodies_that_are_long_slow_or_broken() {
    let server = Server::start(patient());
    let long = server.exchange(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100001\r\n\r\n");
    assert!(long.starts_with("HTTP/1.1 413") && long.ends_with("at most 100000 bytes allowed"));
    let chunk = format!("ffff\r\n{}\r\n", "x".repeat(0xffff));
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = server.exchange(format!("{head}{chunk}{chunk}").as_bytes());
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    let slow = server.exchange(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf");
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    let broken = server.exchange(format!("{head}zz\r\n").as_bytes());
    assert!(broken.starts_with("HTTP/1.1 400"), "{broken}");
    let chunk = "7\r\n1234567\r\n".repeat(3) + "0\r\n\r\n";
    let taken = server.exchange(
        format!(
            "{}{chunk}",
            head.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")
        )
        .as_bytes(),
    );
    assert!(
        taken.starts_with("HTTP/1.1 200") && taken.ends_with(&"1234567".repeat(3)),
        "{taken}"
    );
}

#[test]
fn a_client_that_is_still_sending_reads_why_it_is_refused() {
    let server = Server::start(patient());
    let body = "x".repeat(20 << 20);
    let answer = server.exchange(post("/echo", &body, false).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn refuses_header_floods_and_long_paths() {
    let server = Server::start(patient());
    let head = |headers: &str| format!("GET /echo HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    let answer = |text: String| server.exchange(text.as_bytes());
    let numbered = |count| {
        (0..count)
            .map(|i| format!("x-{i}: 1\r\n"))
            .collect::<String>()
    };
    assert!(answer(head(&(numbered(62) + "connection: close\r\n"))).starts_with("HTTP/1.1 200"));
    let close = || "connection: close\r\n".to_owned();
    assert!(answer(head(&(close() + &numbered(63)))).starts_with("HTTP/1.1 431"));
    assert!(answer(head(&numbered(10_000))).starts_with("HTTP/1.1 431"));
    assert!(answer(head(&format!("x: {}\r\n", "y".repeat(40_000)))).starts_with("HTTP/1.1 431"));
    assert!(answer(head(&format!("x: {}\r\n", "y".repeat(400_000)))).starts_with("HTTP/1.1 431"));
    let path = "y".repeat(9_000);
    let long = format!("GET /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(answer(long).starts_with("HTTP/1.1 414"));
    assert!(answer("rubbish\r\n\r\n".into()).starts_with("HTTP/1.1 400"));
}

/// What could be read in two ways is refused, and whatever follows on the connection with it.
#[test]
fn refuses_heads_that_name_no_host_or_two_lengths() {
    let server = Server::start(patient());
    let next = post("/echo", "smuggled", true);
    for (head, cause) in [
        ("GET /echo HTTP/1.1\r\n", "needs one Host header"),
        (
            "GET /echo HTTP/1.1\r\nhost: x\r\nhost: x\r\n",
            "needs one Host header",
        ),
        (
            "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nContent-Length: 4\r\n",
            "exclude each other",
        ),
        (
            "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nTransfer-Encoding: chunked\r\n",
            "exclude each other",
        ),
    ] {
        // On a connection that was used, and on a new one.
        for first in [post("/echo", "one", false), String::new()] {
            let mut stream = server.connect();
            stream.write_all(first.as_bytes()).expect("sent");
            if !first.is_empty() {
                read_until(&mut stream, "one");
            }
            let text = format!("{head}\r\n0\r\n\r\n{next}");
            stream.write_all(text.as_bytes()).expect("sent");
            let answer = rest(&mut stream);
            let (status, close) = ("HTTP/1.1 400", "connection: close\r\n");
            assert!(
                answer.starts_with(status) && answer.contains(close),
                "{answer}"
            );
            assert!(
                answer.contains(cause) && !answer.contains("smuggled"),
                "{answer}"
            );
        }
    }
    let old = server.exchange(b"GET /echo HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200"), "{old}");
}

#[test]
fn a_panic_ends_its_connection_only() {
    let server = Server::start(patient());
    assert_eq!(server.exchange(post("/panic", "", false).as_bytes()), "");
    assert!(
        server
            .exchange(post("/echo", "one", true).as_bytes())
            .ends_with("one")
    );
}

#[test]
fn turns_clients_away_beyond_the_cap_until_a_slot_is_free() {
    let server = Server::start(HttpLimits {
        connections_max: 2,
        ..patient()
    });
    let mut kept: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for (index, stream) in kept.iter_mut().enumerate() {
        let body = format!("kept {index}");
        stream
            .write_all(post("/echo", &body, false).as_bytes())
            .expect("sent");
        read_until(stream, &body);
    }
    assert!(rest(&mut server.connect()).starts_with("HTTP/1.1 503"));
    kept.pop();
    while server.door.open_connections() > 1 {
        std::thread::yield_now();
    }
    assert!(
        server
            .exchange(post("/echo", "in", true).as_bytes())
            .ends_with("in")
    );
}

#[test]
fn a_stop_answers_what_is_in_flight_and_closes_the_rest() {
    let mut server = Server::start(patient());
    let (mut idle, mut busy) = (server.connect(), server.connect());
    idle.write_all(post("/echo", "idle", false).as_bytes())
        .expect("sent");
    read_until(&mut idle, "idle");
    // 100 Continue shows that the service has the request.
    let head =
        "POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
    busy.write_all(head.as_bytes()).expect("sent");
    read_until(&mut busy, "HTTP/1.1 100 Continue\r\n\r\n");
    busy.write_all(b"busy").expect("sent");
    server.stop();
    assert_eq!(rest(&mut idle), "");
    assert!(rest(&mut busy).ends_with("busy"));
    assert!(TcpStream::connect(server.address).is_err());
    assert_eq!(server.door.open_connections(), 0);
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let limits = HttpLimits {
        drain_timeout: SHORT,
        write_stall: LONG,
        ..patient()
    };
    let mut server = Server::start(limits);
    let mut stream = server.connect();
    stream
        .write_all(post("/big", "", false).as_bytes())
        .expect("sent");
    read_until(&mut stream, "\r\n\r\n");
    server.stop();
    assert_eq!(server.door.open_connections(), 0);
}
