//! HTTP/2 by prior knowledge, and what hostile clients do with it: frames by hand, so that they can
//! be wrong.

use std::net::Shutdown;

use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A setting, as a payload.
fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

const INITIAL_WINDOW: u16 = 4;

/// The header block of a GET.
fn block(path: &str, more: usize) -> Vec<u8> {
    let literal =
        |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    let mut block = [&[0x82, 0x86, 0x04][..], &literal(path)].concat();
    block.extend([&[0x01][..], &literal("localhost")].concat());
    for index in 0..more {
        let name = format!("x-{index}");
        block.extend([&[0x00][..], &literal(&name), &literal("1")].concat());
    }
    block
}

fn get(path: &str, stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(path, 0))
}

/// Clients that are closed are let go soon.
fn brief() -> HttpLimits {
    HttpLimits {
        linger: SHORT,
        ..patient()
    }
}

/// A frame that came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A client that writes frames as they are.
pub(super) struct Client(TcpStream);

impl Client {
    pub(super) fn connect(server: &Server) -> Client {
        Client::with_settings(server, &[])
    }

    fn with_settings(server: &Server, settings: &[u8]) -> Client {
        let mut client = Client(server.connect());
        client.send(PREFACE);
        client.send(&frame(SETTINGS, 0, 0, settings));
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("sent");
    }

    /// The next frame; `None` at the end. Settings and pings are answered.
    fn next(&mut self) -> Option<Received> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        let (kind, flags) = (head[3], head[4]);
        if matches!(kind, SETTINGS | PING) && flags & ACK == 0 {
            let echo = if kind == PING { &payload[..] } else { &[] };
            // It may be closed already.
            drop(self.0.write_all(&frame(kind, ACK, 0, echo)));
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Received {
            kind,
            flags,
            stream,
            payload,
        })
    }

    fn until(&mut self, what: impl Fn(&Received) -> bool) -> Received {
        loop {
            let frame = self.next().expect("closed early");
            if what(&frame) {
                return frame;
            }
        }
    }

    /// The data of an answer.
    fn answer(&mut self, stream: u32) -> Vec<u8> {
        let mut data = Vec::new();
        loop {
            let frame = self.until(|frame| frame.stream == stream);
            assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
            if frame.kind == DATA {
                data.extend(&frame.payload);
            }
            if frame.flags & END_STREAM != 0 {
                return data;
            }
        }
    }

    /// The status of an answer, if no earlier answer of the connection had the same.
    fn status(&mut self, stream: u32) -> u16 {
        let head = self.until(|frame| frame.stream == stream && frame.kind == HEADERS);
        match head.payload[..] {
            [0x88, ..] => 200, // in the static table
            [0x48, _, ref digits @ ..] => huffman_digits(digits),
            _ => panic!("no status in {head:?}"),
        }
    }

    /// Sends a ping and waits for its answer: what was sent before it has been read.
    fn sync(&mut self) {
        self.send(&frame(PING, 0, 0, b"in order"));
        self.until(|frame| frame.kind == PING && frame.payload == b"in order");
    }

    /// All kinds of frames until the server closes.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::iter::from_fn(|| self.next())
            .map(|frame| frame.kind)
            .collect()
    }

    pub(super) fn get(&mut self, path: &str, stream: u32) -> Vec<u8> {
        self.send(&get(path, stream));
        self.answer(stream)
    }

    pub(super) fn begin(&mut self, path: &str, stream: u32) {
        self.send(&get(path, stream));
        self.sync();
    }

    pub(super) fn finish(&mut self, stream: u32) -> Vec<u8> {
        self.answer(stream)
    }
}

/// Three digits in HPACK's Huffman code: 0, 1 and 2 have five bits, 3 to 9 six.
fn huffman_digits(coded: &[u8]) -> u16 {
    let bits: String = coded.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut status) = (bits.as_str(), 0);
    for _ in 0..3 {
        let short = u16::from_str_radix(&rest[..5], 2).expect("bits");
        let (digit, length) = match short {
            0..3 => (short, 5),
            _ => (
                u16::from_str_radix(&rest[..6], 2).expect("bits") - 0b01_1001 + 3,
                6,
            ),
        };
        status = status * 10 + digit;
        rest = &rest[length..];
    }
    status
}

fn assert_alive(server: &Server) {
    let answer = server.exchange(post("/echo", "alive", true).as_bytes());
    assert!(answer.ends_with("alive"), "{answer}");
    assert_eq!(Client::connect(server).get("/host", 1), b"localhost");
}

#[test]
fn serves_both_protocols_on_one_port() {
    let server = Server::start(patient());
    assert_alive(&server);
    // However the preface is cut.
    let mut client = Client(server.connect());
    for byte in PREFACE {
        client.send(&[*byte]);
    }
    client.send(&frame(SETTINGS, 0, 0, &[]));
    assert_eq!(client.get("/host", 1), b"localhost");
}

#[test]
fn a_real_client_has_many_requests_at_once_with_bodies_and_trailers() {
    let server = Server::start(patient());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address)
            .await
            .expect("accepted");
        let io = TokioIo::new(stream);
        let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let (client, connection) = made.expect("HTTP/2");
        tokio::spawn(connection);
        let send = |path: &str, body: Vec<u8>| {
            let request = Request::post(format!("http://localhost{path}"));
            let request = request
                .body(Full::new(Bytes::from(body)))
                .expect("a request");
            let mut client = client.clone();
            async move { client.send_request(request).await.expect("an answer") }
        };
        let whole =
            async |answer: Response<Incoming>| answer.into_body().collect().await.expect("a body");
        // More than the window of a stream.
        let long = vec![b'y'; BODY_LIMIT];
        let (slow, echo) =
            tokio::join!(send("/slow", b"slow".to_vec()), send("/echo", long.clone()));
        assert_eq!(whole(slow).await.to_bytes(), "slow");
        assert_eq!(whole(echo).await.to_bytes(), long);
        assert_eq!(
            whole(send("/big", vec![]).await).await.to_bytes().len(),
            BIG_BYTES
        );
        let streamed = whole(send("/trailers", vec![]).await).await;
        let trailer = streamed
            .trailers()
            .map(|trailers| trailers["x-end"].clone());
        assert_eq!(trailer.expect("trailers"), "done");
        assert_eq!(streamed.to_bytes(), "onetwothree");
    });
}

#[test]
fn limits_hold_for_heads_of_http2() {
    let server = Server::start(HttpLimits {
        uri_bytes_max: 100,
        ..patient()
    });
    let mut client = Client::connect(&server);
    let flags = END_HEADERS | END_STREAM;
    client.send(&frame(HEADERS, flags, 1, &block("/echo", 63)));
    assert_eq!(client.status(1), 200, "64 headers, with the host");
    client.send(&frame(HEADERS, flags, 3, &block("/echo", 64)));
    assert_eq!(client.status(3), 431);
    client.send(&get(&format!("/{}", "y".repeat(100)), 5));
    assert_eq!(client.status(5), 414);
    let mut client = Client::connect(&server);
    let large = block("/echo", 2_000);
    let (first, rest) = large.split_at(16 << 10);
    client.send(&frame(HEADERS, END_STREAM, 1, first));
    client.send(&frame(CONTINUATION, END_HEADERS, 1, rest));
    assert_eq!(client.status(1), 431);
    client.send(&frame(HEADERS, flags, 3, &block("/echo", 0)));
    assert_eq!(client.status(3), 200);
}

#[test]
fn a_panic_ends_its_stream_only() {
    let server = Server::start(patient());
    let mut client = Client::connect(&server);
    client.begin("/panic", 1);
    assert_eq!(client.get("/host", 3), b"localhost");
}

#[test]
fn closes_clients_that_send_half_a_preface() {
    let server = Server::start(HttpLimits {
        first_byte_timeout: SHORT,
        head_timeout: SHORT,
        ..HttpLimits::default()
    });
    for length in [1, 3, 23] {
        assert_eq!(server.exchange(&PREFACE[..length]), "");
    }
    server.wait_until_empty();
}

#[test]
fn closes_clients_that_are_silent_after_the_preface() {
    let server = Server::start(HttpLimits {
        ping_interval: SHORT,
        ping_timeout: SHORT,
        ..patient()
    });
    let silent = server.connect();
    (&silent).write_all(PREFACE).expect("sent");
    server.wait_until_empty();
    // Or in the middle of headers, where no ping can be answered.
    let mut client = Client::connect(&server);
    client.send(&frame(HEADERS, 0, 1, &block("/echo", 0)));
    server.wait_until_empty();
}

#[test]
fn a_client_that_only_pings_is_idle() {
    let server = Server::start(HttpLimits {
        idle_timeout: SHORT,
        linger: LONG,
        ..patient()
    });
    let mut client = Client::connect(&server);
    assert_eq!(client.get("/host", 1), b"localhost");
    let mut reader = Client(client.0.try_clone().expect("a descriptor"));
    let pinging = std::thread::spawn(move || {
        while client.0.write_all(&frame(PING, 0, 0, b"anybody?")).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let seen = reader.rest();
    assert!(seen.contains(&GOAWAY), "{seen:?}");
    drop(reader);
    pinging.join().expect("no panic");
    server.wait_until_empty();
}

#[test]
fn a_request_in_progress_keeps_a_connection_from_being_idle() {
    let server = Server::start(HttpLimits {
        idle_timeout: SHORT,
        ..patient()
    });
    let mut client = Client::connect(&server);
    assert_eq!(client.get("/late", 1), b"");
    let seen = client.rest();
    assert!(seen.contains(&GOAWAY), "{seen:?}");
}

#[test]
fn an_old_connection_is_told_to_go_and_its_request_is_answered() {
    let server = Server::start(HttpLimits {
        age_max: SHORT,
        ..patient()
    });
    let mut client = Client::connect(&server);
    client.begin("/late", 1);
    client.until(|frame| frame.kind == GOAWAY);
    assert_eq!(client.finish(1), b"");
    client.rest();
    server.wait_until_empty();
}

#[test]
fn an_answer_that_gets_no_window_is_given_up_and_the_connection_lives() {
    let server = Server::start(HttpLimits {
        write_stall: SHORT,
        ..patient()
    });
    let mut client = Client::with_settings(&server, &setting(INITIAL_WINDOW, 0));
    client.send(&get("/big", 1));
    client.until(|frame| frame.kind == RST_STREAM && frame.stream == 1);
    client.send(&get("/host", 3));
    client.send(&frame(WINDOW_UPDATE, 0, 3, &100_u32.to_be_bytes()));
    assert_eq!(client.answer(3), b"localhost");
    // Also one that was begun.
    client.send(&get("/big", 5));
    client.send(&frame(WINDOW_UPDATE, 0, 5, &100_u32.to_be_bytes()));
    client.until(|frame| frame.kind == RST_STREAM && frame.stream == 5);
    assert_alive(&server);
}

#[test]
fn what_a_client_leaves_of_an_answer_does_not_keep_the_connection_for_ever() {
    let server = Server::start(HttpLimits {
        idle_timeout: SHORT,
        linger: SHORT,
        ..patient()
    });
    // All but the last byte.
    let mut client = Client::with_settings(&server, &setting(INITIAL_WINDOW, 8));
    client.send(&get("/host", 1));
    client.until(|frame| frame.kind == DATA);
    client.rest();
    server.wait_until_empty();
}

#[test]
fn survives_headers_without_end() {
    let server = Server::start(brief());
    let mut client = Client::connect(&server);
    client.send(&frame(HEADERS, 0, 1, &block("/echo", 0)));
    let more = frame(CONTINUATION, 0, 1, &block("/echo", 1_000));
    while client.0.write_all(&more).is_ok() {}
    assert_alive(&server);
    let mut client = Client::connect(&server);
    client.send(&frame(HEADERS, 0, 1, &block("/echo", 0)));
    let empty = frame(CONTINUATION, 0, 1, &[]);
    while client.0.write_all(&empty).is_ok() {}
    assert_alive(&server);
}

#[test]
fn survives_requests_that_are_taken_back_at_once() {
    let server = Server::start(brief());
    let client = Client::connect(&server);
    drop_answers(&client);
    let cancel = 8_u32.to_be_bytes();
    for stream in (1..40_000).step_by(2) {
        let both = [get("/late", stream), frame(RST_STREAM, 0, stream, &cancel)].concat();
        if (&client.0).write_all(&both).is_err() {
            break;
        }
    }
    assert_alive(&server);
    drop(client.0.shutdown(Shutdown::Both));
    server.wait_until_empty();
}

#[test]
fn closes_clients_that_flood_it_with_pings_or_settings() {
    let server = Server::start(brief());
    for flood in [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, &[])] {
        let client = Client::connect(&server);
        drop_answers(&client);
        let many = flood.repeat(1_000);
        while (&client.0).write_all(&many).is_ok() {}
        assert_alive(&server);
    }
    server.wait_until_empty();
}

#[test]
fn closes_clients_that_flood_it_and_read_nothing() {
    let server = Server::start(HttpLimits {
        write_stall: SHORT,
        ..patient()
    });
    let client = Client::connect(&server);
    let many = frame(PING, 0, 0, b"12345678").repeat(1_000);
    while (&client.0).write_all(&many).is_ok() {}
    assert_alive(&server);
    server.wait_until_empty();
}

/// Reads whatever the server sends, so that it can go on.
fn drop_answers(client: &Client) {
    let mut stream = client.0.try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        let mut dropped = [0; 16 << 10];
        while stream.read(&mut dropped).is_ok_and(|bytes| bytes > 0) {}
    });
}

#[test]
fn a_stop_answers_what_is_in_flight_and_says_so() {
    let mut server = Server::start(patient());
    let mut idle = Client::connect(&server);
    assert_eq!(idle.get("/host", 1), b"localhost");
    let mut busy = Client::connect(&server);
    busy.begin("/late", 1);
    let clients = std::thread::spawn(move || {
        assert!(idle.rest().contains(&GOAWAY));
        busy.until(|frame| frame.kind == GOAWAY);
        assert_eq!(busy.finish(1), b"");
        busy.rest();
    });
    server.stop();
    clients.join().expect("no panic");
    assert_eq!(server.door.open_connections(), 0);
}
