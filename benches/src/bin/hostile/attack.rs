//! The hostile clients: what each sends, how fast, and what the server should do about it.
//!
//! They are paced, so that on a machine of two cores it is the server that is tested, not how much
//! of the machine a client can take.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;

use crate::frames;

/// A kind of hostile client.
#[derive(Clone, Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// At most so many are open at a time; whoever is closed is replaced.
    pub(crate) connections: usize,
    pub(crate) opened_per_second: u32,
    /// What a connection sends first.
    pub(crate) opening: Bytes,
    /// What it sends afterwards, again and again.
    pub(crate) drip: Option<Drip>,
    /// Whether it reads what is sent to it.
    pub(crate) reads: bool,
    pub(crate) then: Then,
    pub(crate) bite: Bite,
}

/// Bytes at regular times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drip {
    pub(crate) every: Duration,
    /// By how often it was asked.
    pub(crate) bytes: fn(u32) -> Vec<u8>,
}

/// What a connection does when its opening is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Stays.
    Hold,
    /// Closes.
    Close,
    /// Is reset.
    Reset,
    /// Says that nothing more comes, and stays.
    HalfClose,
    /// Waits for an answer, then closes.
    Answer,
}

/// What the server should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bite {
    /// Close each connection by so long after it was opened.
    Closed(Duration),
    /// Answer one of these.
    Refused(&'static [u16]),
    /// Only bear it.
    Borne,
}

const SLOW: Drip = Drip {
    every: Duration::from_secs(1),
    bytes: |_| b"y".to_vec(),
};
/// Limits of the server, as it has them by default.
const FIRST_BYTE: Duration = Duration::from_secs(5);
const HEAD: Duration = Duration::from_secs(10);
/// A byte a second earns next to nothing beyond the grace.
const BODY: Duration = Duration::from_secs(6);
const STALL: Duration = Duration::from_secs(30);
/// What is refused when it is met is refused at once, give or take a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Floods of HTTP/2 frames that are no request are cut after 4 MiB.
const FLOOD: Duration = Duration::from_secs(8);
/// 65,536 chunks at this pace, and the farewell.
const CHUNKS: Duration = Duration::from_secs(6);
/// The longest answer without a model; it must not be held in memory for each who asks.
const LONG_ANSWER: &str = "/openapi.json";
/// A depth that no parser should follow.
const DEPTH: usize = 1 << 18;
/// What a bomb becomes.
const BOMB_BYTES: usize = 128 << 20;

impl Attack {
    /// Idle, unless it is told otherwise.
    fn new(name: &'static str, connections: usize, opened_per_second: u32, bite: Bite) -> Attack {
        Attack {
            name,
            connections,
            opened_per_second,
            opening: Bytes::new(),
            drip: None,
            reads: true,
            then: Then::Hold,
            bite,
        }
    }

    fn opening(self, opening: impl Into<Bytes>) -> Attack {
        let opening = opening.into();
        Attack { opening, ..self }
    }

    fn drip(self, every_ms: u64, bytes: fn(u32) -> Vec<u8>) -> Attack {
        let every = Duration::from_millis(every_ms);
        let drip = Some(Drip { every, bytes });
        Attack { drip, ..self }
    }

    fn slowly(self) -> Attack {
        let drip = Some(SLOW);
        Attack { drip, ..self }
    }

    fn then(self, then: Then) -> Attack {
        Attack { then, ..self }
    }

    fn without_reading(self) -> Attack {
        let reads = false;
        Attack { reads, ..self }
    }

    /// All of them; `path` is that of an application's queries.
    pub(crate) fn all(path: &str, v2_path: &str) -> Vec<Attack> {
        let mut all = of_time(path);
        all.extend(of_http2());
        all.extend(of_bodies(path, v2_path));
        all
    }

    /// The pace, in words.
    pub(crate) fn pace(&self) -> String {
        let open = format!(
            "{} open, {} opened/s at most",
            self.connections, self.opened_per_second
        );
        match self.drip {
            None => open,
            Some(drip) => {
                let bytes = (drip.bytes)(0).len();
                let ms = drip.every.as_millis();
                format!("{open}, each {bytes} B every {ms} ms")
            }
        }
    }
}

/// Those who take connections and time.
fn of_time(path: &str) -> Vec<Attack> {
    let head = |more: &str| format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{more}");
    vec![
        Attack::new("silent", 3000, 1000, Bite::Closed(FIRST_BYTE)),
        Attack::new("half a head", 2000, 1000, Bite::Closed(HEAD)).opening(head("x-")),
        Attack::new("half-closed", 500, 250, Bite::Closed(AT_ONCE))
            .opening(head("x-"))
            .then(Then::HalfClose),
        Attack::new("slow headers", 500, 250, Bite::Closed(HEAD))
            .opening(head("x-"))
            .slowly(),
        Attack::new("slow body", 500, 250, Bite::Closed(BODY))
            .opening(head("content-length: 100000\r\n\r\n"))
            .slowly(),
        Attack::new("connection flood", 500, 500, Bite::Borne).then(Then::Close),
        Attack::new("resets in mid-body", 500, 200, Bite::Borne)
            .opening(head("content-length: 100000\r\n\r\n{\"input\":[1,2,3"))
            .then(Then::Reset),
        Attack::new("pipelining, answers unread", 10, 10, Bite::Closed(STALL))
            // Long ones: what a kernel takes for a client that does not read are megabytes.
            .drip(20, |_| {
                format!("GET {LONG_ANSWER} HTTP/1.1\r\nhost: localhost\r\n\r\n")
                    .repeat(10)
                    .into_bytes()
            })
            .without_reading(),
    ]
}

/// Those who abuse HTTP/2.
fn of_http2() -> Vec<Attack> {
    let http2 = |name, bite| Attack::new(name, 4, 10, bite).opening(frames::preface());
    let no_window = (0..100).map(|index| frames::get(frames::stream(index), LONG_ANSWER));
    let no_window = [frames::preface_without_window()]
        .into_iter()
        .chain(no_window);
    let head = frames::head_without_end(1, LONG_ANSWER);
    vec![
        http2("rapid reset", Bite::Closed(AT_ONCE)).drip(10, |round| {
            let streams = (40 * round..40 * (round + 1)).map(frames::stream);
            let both = |stream| {
                [
                    frames::get(stream, "/v2/health/live"),
                    frames::reset(stream),
                ]
            };
            streams.flat_map(both).flatten().collect()
        }),
        http2("ping flood", Bite::Closed(FLOOD)).drip(10, |_| frames::ping().repeat(500)),
        http2("settings flood", Bite::Closed(FLOOD)).drip(10, |_| frames::settings().repeat(900)),
        http2("continuation flood", Bite::Closed(AT_ONCE))
            .opening([frames::preface(), head].concat())
            .drip(10, |_| frames::continuation(1).repeat(4)),
        Attack::new("window of 0", 20, 10, Bite::Closed(STALL))
            .opening(no_window.collect::<Vec<_>>().concat()),
    ]
}

/// Those whose bodies are larger than they look.
fn of_bodies(path: &str, v2_path: &str) -> Vec<Attack> {
    let post = |path: &str, headers: &str, body: &[u8]| {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    let gzip = "content-encoding: gzip\r\n";
    let deep = "[".repeat(DEPTH);
    let bomb = bomb();
    let answered = |name, per_second, statuses, opening: Vec<u8>| {
        Attack::new(name, 20, per_second, Bite::Refused(statuses))
            .opening(opening)
            .then(Then::Answer)
    };
    let chunked = "transfer-encoding: chunked\r\n";
    let chunked = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{chunked}\r\n");
    vec![
        answered("gzip bomb, clipper", 5, &[413], post(path, gzip, &bomb)),
        answered("gzip bomb, v2", 5, &[413], post(v2_path, gzip, &bomb)),
        answered(
            "depth bomb, clipper",
            20,
            &[400],
            post(path, "", format!("{{\"input\":{deep}").as_bytes()),
        ),
        answered(
            "depth bomb, v2",
            20,
            &[400],
            post(v2_path, "", format!("{{\"inputs\":{deep}").as_bytes()),
        ),
        Attack::new("chunk flood", 4, 4, Bite::Closed(CHUNKS))
            .opening(chunked)
            .drip(10, |_| b"1\r\ny\r\n".repeat(300)),
    ]
}

/// Spaces, compressed.
fn bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let megabyte = vec![b' '; 1 << 20];
    for _ in 0..BOMB_BYTES >> 20 {
        encoder.write_all(&megabyte).expect("memory takes all");
    }
    encoder.finish().expect("memory takes all")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_attack_has_a_name_of_its_own() {
        let all = Attack::all("/a/predict", "/v2/models/m/infer");
        let names: BTreeSet<_> = all.iter().map(|attack| attack.name).collect();
        assert_eq!(names.len(), all.len());
    }

    #[test]
    fn a_bomb_is_short_and_its_rounds_of_streams_do_not_repeat() {
        assert!(bomb().len() < BOMB_BYTES / 100);
        let all = of_http2();
        let drip = all[0].drip.expect("rapid reset drips");
        assert_ne!((drip.bytes)(0), (drip.bytes)(1));
    }
}
