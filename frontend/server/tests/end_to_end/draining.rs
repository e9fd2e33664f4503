//! Stopping politely: a front end that is told to stop says so, and no request fails meanwhile.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use skysail_load::Method;

use crate::harness::{Frontend, Process, request, skysail, until};

/// Long enough that no test sees its end.
const LONG_NOTICE: &[&str] = &["--drain-notice", "3600"];

/// The state and body of `GET /ready`.
fn ready(frontend: &Frontend) -> (u16, Value) {
    let answer = request(frontend.management, Method::GET, "/ready", "");
    let body = serde_json::from_slice(&answer.body).unwrap();
    (answer.status.as_u16(), body)
}

#[test]
fn sigterm_is_told_at_once_and_answered_through() {
    let folder = tempfile::tempdir().unwrap();
    let mut frontend = Frontend::start_with(folder.path(), LONG_NOTICE);
    frontend.register("30s");
    let _container = frontend.container("sum", "m", "1");
    frontend.predict_in_the_end(r#"{"input":[1]}"#);
    assert_eq!(ready(&frontend), (200, json!({ "ready": true })));
    frontend.process.signal(Signal::TERM);
    until("it is not ready", || {
        (ready(&frontend).0 == 503).then_some(())
    });
    let draining = json!({ "ready": false, "reason": "draining" });
    assert_eq!(ready(&frontend).1, draining);
    let health = request(frontend.management, Method::GET, "/health", "");
    assert_eq!(health.status, 200);
    let answer = frontend.post("/app/predict", r#"{"input":[2,3]}"#);
    assert_eq!(answer.headers["connection"], "close");
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (&body["output"], &body["default"]),
        (&json!(5.0), &json!(false))
    );
    assert!(folder.path().join("endpoints.json").exists());
    frontend.process.signal(Signal::TERM);
    assert_eq!(frontend.process.exit_status(), Some(130), "a second signal");
}

#[test]
fn ctrl_c_does_not_wait_for_the_notice() {
    let folder = tempfile::tempdir().unwrap();
    let mut frontend = Frontend::start_with(folder.path(), LONG_NOTICE);
    frontend.process.signal(Signal::INT);
    assert_eq!(frontend.process.exit_status(), Some(130));
}

#[test]
fn a_rolling_restart_behind_a_balancer_fails_no_request() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut stages: Vec<Stage> = folders.iter().map(|f| Stage::first(f.path())).collect();
    let balancer = Balancer::start(stages.iter().map(|stage| stage.backend.clone()).collect());
    let load = Load::start(balancer.address, 4);
    load.wait_for_more();
    for (stage, folder) in stages.iter_mut().zip(&folders) {
        stage.restart(folder.path());
        load.wait_for_more();
    }
    load.finish();
    balancer.finish();
}

/// A front end with a container, behind the balancer.
struct Stage {
    frontend: Frontend,
    _container: Process,
    backend: Arc<Backend>,
}

impl Stage {
    fn first(folder: &Path) -> Stage {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let frontend = serve(folder, any, any);
        frontend.register("30s");
        let container = frontend.container("sum", "m", "1");
        frontend.predict_in_the_end(r#"{"input":[1]}"#);
        let backend = Arc::new(Backend {
            query: frontend.query,
            management: frontend.management,
            warm: AtomicBool::new(true),
        });
        Stage {
            frontend,
            _container: container,
            backend,
        }
    }

    /// Stops it by SIGTERM, starts it again on the same ports, and waits until it predicts.
    fn restart(&mut self, folder: &Path) {
        self.frontend.process.signal(Signal::TERM);
        assert_eq!(self.frontend.process.exit_status(), Some(0));
        self.backend.warm.store(false, SeqCst);
        self.frontend = serve(folder, self.backend.query, self.backend.management);
        self._container = self.frontend.container("sum", "m", "1");
        self.frontend.predict_in_the_end(r#"{"input":[1]}"#);
        self.backend.warm.store(true, SeqCst);
    }
}

fn serve(folder: &Path, query: SocketAddr, management: SocketAddr) -> Frontend {
    let mut command = skysail();
    command.args(["serve", "--json", "--drain-notice", "1"]);
    command.args(["--query", &query.to_string()]);
    command.args(["--management", &management.to_string()]);
    command.args(["--rpc", "127.0.0.1:0"]);
    Frontend::spawn({
        command.arg("--data-dir").arg(folder);
        command
    })
}

struct Backend {
    query: SocketAddr,
    management: SocketAddr,
    /// Whether its models are there, which readiness does not tell.
    warm: AtomicBool,
}

impl Backend {
    fn is_ready(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(self.management)?;
            stream.write_all(
                b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
        };
        self.warm.load(SeqCst) && ask().unwrap_or(false)
    }
}

/// Passes connections on to backends that are ready, one after the other.
struct Balancer {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Balancer {
    fn start(backends: Vec<Arc<Backend>>) -> Balancer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let end = ended.clone();
        let thread = std::thread::spawn(move || {
            for (turn, client) in listener.incoming().enumerate() {
                if end.load(SeqCst) {
                    return;
                }
                // A balancer that asks at each connection knows as much as one that asks often.
                let order = (0..backends.len()).map(|i| &backends[(turn + i) % backends.len()]);
                let ready = order.into_iter().find(|backend| backend.is_ready());
                if let Some(backend) = ready {
                    pass(client.unwrap(), backend.query);
                }
            }
        });
        Balancer {
            address,
            ended,
            thread,
        }
    }

    fn finish(self) {
        self.ended.store(true, SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.join().unwrap();
    }
}

/// Copies both ways until both have ended.
fn pass(client: TcpStream, backend: SocketAddr) {
    let Ok(server) = TcpStream::connect(backend) else {
        return;
    };
    let pairs = [
        (client.try_clone().unwrap(), server.try_clone().unwrap()),
        (server, client),
    ];
    for (mut from, mut to) in pairs {
        std::thread::spawn(move || {
            drop(io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Write));
        });
    }
}

/// Clients that ask one query after the other over connections that they keep.
struct Load {
    answers: Arc<[AtomicUsize]>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr, clients: usize) -> Load {
        let answers: Arc<[AtomicUsize]> = (0..clients).map(|_| AtomicUsize::new(0)).collect();
        let ended = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicU64::new(0));
        let client = |index: usize| {
            let (answers, ended, number) = (answers.clone(), ended.clone(), number.clone());
            move || {
                let mut client = Client {
                    address,
                    stream: None,
                };
                while !ended.load(SeqCst) {
                    client.ask(number.fetch_add(1, SeqCst));
                    answers[index].fetch_add(1, SeqCst);
                }
            }
        };
        let threads = (0..clients).map(|index| std::thread::spawn(client(index)));
        let threads = threads.collect();
        Load {
            answers,
            ended,
            threads,
        }
    }

    /// Waits until every client has had some more answers.
    fn wait_for_more(&self) {
        let before: Vec<_> = self.answers.iter().map(|n| n.load(SeqCst)).collect();
        until("answers", || {
            let mut both = self.answers.iter().zip(&before);
            let more = both.all(|(now, before)| now.load(SeqCst) >= before + 20);
            (more || self.threads.iter().any(JoinHandle::is_finished)).then_some(())
        });
    }

    fn finish(self) {
        self.ended.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("every request was answered");
        }
    }
}

/// One that asks again, on a new connection, where the old one closes before it answers.
struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
}

impl Client {
    /// Asks for a sum; fails if the answer is another, or only half of one.
    fn ask(&mut self, number: u64) {
        let body = format!(r#"{{"input":[{number},1]}}"#);
        let head = "POST /app/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length:";
        let text = format!("{head} {}\r\n\r\n{body}", body.len());
        let answer = until("an answer", || self.try_ask(text.as_bytes()));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["default"], false, "{answer}");
        assert_eq!(body["output"].as_f64(), Some(number as f64 + 1.0));
        if head.contains("connection: close") {
            self.stream = None;
        }
    }

    fn try_ask(&mut self, text: &[u8]) -> Option<String> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).unwrap(),
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.write_all(text).ok()?;
        let answer = read_answer(&mut stream)?;
        self.stream = Some(stream);
        Some(answer)
    }
}

/// An answer; `None` if the connection closes before its first byte.
fn read_answer(stream: &mut TcpStream) -> Option<String> {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() == length {
                return Some(text.into_owned());
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(bytes) if bytes > 0 => answer.extend(&piece[..bytes]),
            end if answer.is_empty() => {
                let timed_out =
                    matches!(&end, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
                assert!(!timed_out, "no answer");
                return None;
            }
            _ => panic!("half an answer: {text}"),
        }
    }
}
