//! `skysail top` against a front end: snapshots, a stream, and a terminal that is given back.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

use crate::harness::{Frontend, Process, run, skysail, stderr, until};

/// Serves the sum of doubles as `app`.
fn serve(frontend: &Frontend) -> Process {
    frontend.register("10s");
    let container = frontend.container("sum", "m", "1");
    frontend.predict_in_the_end(r#"{"input":[1.0,2.0]}"#);
    container
}

/// A stream of `top --json`.
struct Stream {
    process: Process,
    lines: BufReader<ChildStdout>,
}

impl Stream {
    fn start(mut command: Command) -> Stream {
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Stream {
            process: Process(child),
            lines,
        }
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

#[test]
fn a_snapshot_shows_applications_versions_and_replicas() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    let none = frontend.cli(&["top", "--once", "--interval", "100ms"]);
    assert!(none.contains("none yet: skysail app add"), "{none}");
    assert!(none.contains("none connected"), "{none}");

    let _container = serve(&frontend);
    // No terminal: as with --once.
    let text = frontend.cli(&["top", "--interval", "100ms"]);
    let line = |name: &str| {
        let mut lines = text.lines().map(str::split_whitespace);
        let found = lines.find_map(|words| {
            let words: Vec<_> = words.collect();
            (words.first() == Some(&name)).then_some(words)
        });
        found.unwrap_or_else(|| panic!("{name} in\n{text}"))
    };
    assert_eq!(line("app").last(), Some(&"10s"), "its SLO");
    assert_eq!(line("m:1").last(), Some(&"yes"), "it is current");
    assert!(text.contains("ready"), "{text}");

    let view = frontend.json_cli(&["top", "--once", "--interval", "100ms"]);
    let (application, version) = (&view["applications"][0], &view["versions"][0]);
    assert_eq!(application["name"], "app");
    assert_eq!(application["slo_seconds"], 10.0);
    assert!(application["per_second"]["offered"].is_number(), "{view}");
    assert_eq!(
        (&version["model"], &version["current"]),
        (&"m".into(), &true.into())
    );
    let replica = &version["replicas"][0];
    assert_eq!(replica["state"], "ready");
    let transport = replica["transport"].as_str().unwrap();
    assert!(["shm", "ipc", "tcp"].contains(&transport), "{transport}");
    let busy = replica["busy_share"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&busy), "{busy}");
}

#[test]
fn a_stream_counts_queries_and_ends_with_its_reader() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    let _container = serve(&frontend);
    let mut command = skysail();
    command.args(["top", "--json", "--interval", "100ms"]);
    command.args(["--management", &frontend.management.to_string()]);
    let mut stream = Stream::start(command);
    let mut number = 0.0;
    until("a view with queries", || {
        number += 1.0; // the cache knows the others
        frontend.predict(&format!(r#"{{"input":[{number:?}]}}"#));
        let view = stream.next();
        let application = &view["applications"][0];
        let rates = &application["per_second"];
        let (offered, arrived) = (
            &rates["offered"],
            &view["versions"][0]["per_second"]["arrived"],
        );
        let is_seen = |rate: &Value| rate.as_f64().unwrap() > 0.0;
        (is_seen(offered) && is_seen(arrived)).then(|| {
            assert_eq!(rates["in_time"], *offered, "{view}");
            assert_eq!(application["in_time_share"], 1.0, "{view}");
            assert!(application["p99_seconds"].as_f64().unwrap() > 0.0, "{view}");
        })
    });
    let Stream { mut process, lines } = stream;
    drop(lines);
    assert_eq!(process.exit_status(), Some(0));
    let two = frontend.cli(&["top", "--json", "--count", "2", "--interval", "100ms"]);
    assert_eq!(two.lines().count(), 2, "{two}");
}

#[test]
fn a_stream_goes_on_with_the_front_end_that_follows() {
    let folder = tempfile::tempdir().unwrap();
    let mut frontend = Frontend::start(folder.path());
    let mut command = skysail();
    command.args(["top", "--json", "--interval", "100ms", "--data-dir"]);
    let mut stream = Stream::start({
        command.arg(folder.path());
        command
    });
    let first = frontend.process.0.id();
    assert_eq!(stream.next()["pid"], first);
    frontend.process.kill_9();
    let next = Frontend::start(folder.path());
    let second = next.process.0.id();
    until("a view of the one that follows", || {
        (stream.next()["pid"] == second).then_some(())
    });
    assert!(stream.process.0.try_wait().unwrap().is_none());
}

#[test]
fn a_terminal_is_given_back_by_a_key_and_by_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    for end in [End::Key, End::Signal] {
        let terminal = Terminal::open();
        let mut command = skysail();
        command.args(["top", "--interval", "100ms", "--management"]);
        command.arg(frontend.management.to_string());
        let mut process = terminal.start(command);
        terminal.wait_for("OFFERED/S");
        assert!(!terminal.is_cooked());
        match end {
            End::Key => terminal.press(b"q"),
            End::Signal => process.signal(Signal::TERM),
        }
        assert_eq!(process.exit_status(), Some(0));
        assert!(terminal.is_cooked());
        terminal.wait_for("\u{1b}[?1049l"); // back from the alternate screen
    }
}

#[derive(Clone, Copy)]
enum End {
    Key,
    Signal,
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_its_status() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap().to_string();
    drop(listener);
    for args in [&["--once"][..], &["--json"], &[]] {
        let output = run(&[&["top", "--management", &nobody], args].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("cannot reach the front end"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    for (args, says) in [
        (&["--interval", "1ms"][..], "is not between 100ms and 1h"),
        (&["--interval", "1"], "is not a time"),
        (&["--count", "2"], "--json"),
        (&["--json", "--count", "0"], "0"),
        (&["--management", "nowhere"], "is not an address"),
        (&["--sort", "size"], "trouble"),
    ] {
        let output = run(&[&["top"], args].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(says), "{args:?}: {text}");
    }
}

/// A terminal of 80 columns and 24 lines, and what was written to it.
struct Terminal {
    master: OwnedFd,
    user: OwnedFd,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn open() -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let user = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&user, size).unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, into) = (
            std::fs::File::from(master.try_clone().unwrap()),
            written.clone(),
        );
        // Ends with the terminal.
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut part) {
                into.lock().unwrap().extend_from_slice(&part[..count]);
            }
        });
        Terminal {
            master,
            user,
            written,
        }
    }

    fn start(&self, mut command: Command) -> Process {
        let end = || Stdio::from(self.user.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        Process(command.spawn().unwrap())
    }

    fn press(&self, keys: &[u8]) {
        rustix::io::write(&self.master, keys).unwrap();
    }

    fn wait_for(&self, text: &str) {
        until(text, || {
            let written = self.written.lock().unwrap();
            String::from_utf8_lossy(&written)
                .contains(text)
                .then_some(())
        });
    }

    /// Whether lines are read whole and echoed, as a shell wants them.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(self.user.as_fd()).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}
