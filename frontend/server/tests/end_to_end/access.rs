//! Tokens: who is let in, and who is no longer.

use std::path::{Path, PathBuf};

use serde_json::Value;
use skysail_load::{Method, Request, Response};

use crate::harness::{Frontend, PATIENCE, run, skysail, stderr, until};

/// A data directory with tokens, of which some are in files.
struct Tokens(tempfile::TempDir);

impl Tokens {
    fn new() -> Tokens {
        Tokens(tempfile::tempdir().unwrap())
    }

    fn data_dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn try_command(&self, args: &[&str]) -> std::process::Output {
        let data_dir = self.data_dir();
        let place = ["--data-dir", data_dir.to_str().unwrap()];
        run(&[&["tokens"], args, &place].concat())
    }

    fn command(&self, args: &[&str]) -> String {
        let output = self.try_command(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes a token; gives it.
    fn make(&self, name: &str, scope: &str, more: &[&str]) -> String {
        let made = self.command(&[&["new", "--name", name, "--scope", scope], more].concat());
        let token = made.trim().to_owned();
        assert!(token.starts_with("sky_") && token.len() == 47, "{token}");
        std::fs::write(self.file(name), made).unwrap();
        token
    }

    /// The file that holds a token.
    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self) -> Frontend {
        Frontend::start_with(&self.data_dir(), &["--auth", "token"])
    }
}

fn send(address: std::net::SocketAddr, request: Request, token: Option<&str>) -> Response {
    let request = match token {
        Some(token) => request.with_header("authorization", &format!("Bearer {token}")),
        None => request,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let sent = skysail_load::send(address, &request, PATIENCE);
    runtime.block_on(sent).unwrap()
}

/// Queries application `app`.
fn predict(frontend: &Frontend, token: Option<&str>) -> Response {
    let request = Request::post_json("/app/predict", r#"{"input":[1,2]}"#).unwrap();
    send(frontend.query, request, token)
}

fn get(frontend: &Frontend, path: &str, token: Option<&str>) -> Response {
    let request = Request::new(Method::GET, path).unwrap();
    send(frontend.management, request, token)
}

fn status(response: &Response) -> u16 {
    response.status.as_u16()
}

fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

/// Registers application `app` by a token of scope admin.
fn register(frontend: &Frontend, token_file: &Path) {
    let file = token_file.to_str().unwrap();
    let add = |args: &[&str]| frontend.cli(&[args, &["--token-file", file]].concat());
    add(&["model", "add", "m", "1", "--input", "doubles"]);
    let app = ["app", "add", "app", "--input", "doubles", "--slo", "1s"];
    add(&[&app[..], &["--default", "-1", "--link", "m"]].concat());
}

#[test]
fn each_port_asks_for_the_scope_of_its_routes() {
    let tokens = Tokens::new();
    let ops = tokens.make("ops", "admin", &[]);
    let asker = tokens.make("asker", "query", &["--app", "app"]);
    let stranger = tokens.make("stranger", "query", &["--app", "other"]);
    let scraper = tokens.make("scraper", "metrics", &["--expires", "90d"]);
    let frontend = tokens.start();
    register(&frontend, &tokens.file("ops"));

    for wrong in [None, Some("sky_wrong")] {
        let answer = predict(&frontend, wrong);
        assert_eq!(
            (status(&answer), &json(&answer)["error"]),
            (401, &"Unauthorized".into())
        );
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        let answer = get(&frontend, "/api/v1/status", wrong);
        assert_eq!(status(&answer), 401);
        assert_eq!(json(&answer)["error"]["kind"], "unauthorized");
        assert_eq!(status(&get(&frontend, "/health", wrong)), 200);
    }
    assert_eq!(status(&predict(&frontend, Some(&asker))), 200);
    for other in [&ops, &stranger, &scraper] {
        let answer = predict(&frontend, Some(other));
        assert_eq!(
            (status(&answer), &json(&answer)["error"]),
            (403, &"Forbidden".into())
        );
    }
    for (path, right) in [("/api/v1/status", &ops), ("/metrics", &scraper)] {
        for token in [&ops, &asker, &stranger, &scraper] {
            let expected = if token == right { 200 } else { 403 };
            assert_eq!(
                status(&get(&frontend, path, Some(token))),
                expected,
                "{path}"
            );
        }
    }
    let about = json(&get(&frontend, "/api/v1/status", Some(&ops)));
    assert_eq!(about["auth"], "token");
    let plain = send(
        frontend.management,
        Request::post_json("/admin/get_all_models", r#"{"verbose":true}"#).unwrap(),
        Some(&asker),
    );
    let text = String::from_utf8_lossy(&plain.body).into_owned();
    assert!(
        status(&plain) == 403 && text.starts_with("the token 'asker'"),
        "{text}"
    );
}

#[test]
fn tokens_are_made_and_revoked_while_a_front_end_runs() {
    let tokens = Tokens::new();
    tokens.make("ops", "admin", &[]);
    let frontend = tokens.start();
    register(&frontend, &tokens.file("ops"));
    let asker = tokens.make("asker", "query", &[]);
    let becomes = |expected| {
        until("the token counts, or no more", || {
            (status(&predict(&frontend, Some(&asker))) == expected).then_some(())
        });
    };
    becomes(200);
    tokens.command(&["revoke", "asker"]);
    // Until the file is looked at it is let in; then it is wrong, and after a while has to wait.
    becomes(401);
    let text = std::fs::read_to_string(tokens.data_dir().join("tokens.toml")).unwrap();
    assert!(text.contains("ops") && !text.contains("asker"), "{text}");
}

#[test]
fn who_sends_wrong_tokens_again_and_again_has_to_wait() {
    let tokens = Tokens::new();
    let ops = tokens.make("ops", "admin", &[]);
    let frontend = tokens.start();
    let refused = until("429", || {
        let answer = get(&frontend, "/api/v1/status", Some("sky_wrong"));
        assert!(matches!(status(&answer), 401 | 429));
        (status(&answer) == 429).then_some(answer)
    });
    assert_eq!(json(&refused)["error"]["kind"], "too_many_requests");
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(wait >= 1);
    assert_eq!(status(&get(&frontend, "/api/v1/status", Some(&ops))), 200);
}

#[test]
fn the_commands_send_a_token_and_say_how_to_get_one() {
    let tokens = Tokens::new();
    let both = tokens.make("both", "admin,query", &[]);
    tokens.make("asker", "query", &["--app", "app"]);
    let frontend = tokens.start();
    register(&frontend, &tokens.file("both"));
    let output = frontend.try_cli(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("SKYSAIL_TOKEN") && told.contains("skysail tokens new"),
        "{told}"
    );

    let file = tokens.file("both");
    let file = file.to_str().unwrap();
    let predicted = frontend.cli(&["predict", "app", "[1,2]", "--token-file", file]);
    assert!(predicted.starts_with("-1"), "{predicted}");
    let asker = tokens.file("asker");
    let query = frontend.query.to_string();
    let ask = ["predict", "app", "[1,2]", "--query", &query];
    for protocol in [&[][..], &["--protocol", "v2"]] {
        let mut command = skysail();
        command
            .args(ask)
            .args(protocol)
            .arg("--token-file")
            .arg(&asker);
        let output = command.output().unwrap();
        // Nothing has told what tensors there are, which is for V2 to know.
        let told = stderr(&output);
        assert!(
            output.status.success() || told.contains("tensors are not known"),
            "{told}"
        );
    }
    let load = [
        "load",
        "--app",
        "app",
        "--rate",
        "50",
        "--duration",
        "1s",
        "--json",
    ];
    let measured = frontend.cli(&[&load[..], &["--features", "2", "--token-file", file]].concat());
    let measured: Value = serde_json::from_str(&measured).unwrap();
    assert_eq!(measured["answered"], measured["offered"], "{measured}");
    let management = frontend.management.to_string();
    let output = skysail()
        .args(["app", "list", "--management", &management])
        .env("SKYSAIL_TOKEN", &both)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_token_in_the_environment_is_kept_from_containers() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = skysail();
    command.args(["serve", "--json", "--query", "127.0.0.1:0"]);
    command.args(["--management", "127.0.0.1:0", "--rpc", "127.0.0.1:0"]);
    command.arg("--data-dir").arg(folder.path());
    command.env("SKYSAIL_TOKEN", "sky_secret");
    let frontend = Frontend::spawn(command);
    let script = "echo got ${SKYSAIL_TOKEN-nothing}; exec sleep 1000";
    frontend.deploy("m", "doubles", &["/bin/sh", "-c", script]);
    let log = until("the container prints", || {
        let log = frontend.cli(&["logs", "m"]);
        log.contains("got ").then_some(log)
    });
    assert!(log.contains("got nothing"), "{log}");
}

#[test]
fn tokens_are_shown_once_and_listed_without_themselves() {
    let tokens = Tokens::new();
    assert!(tokens.command(&["list"]).contains("there are no tokens"));
    let token = tokens.make("shop", "query,feedback", &["--app", "digits"]);
    let made = tokens.command(&["new", "--name", "ops", "--scope", "admin", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let other = made["token"].as_str().unwrap();
    assert_ne!(other, token);
    let listed = tokens.command(&["list"]);
    assert!(
        listed.contains("shop") && listed.contains("query, feedback"),
        "{listed}"
    );
    let listed_json = tokens.command(&["list", "--json"]);
    let parsed: Value = serde_json::from_str(&listed_json).unwrap();
    assert_eq!(parsed[0]["applications"], serde_json::json!(["digits"]));
    let kept = std::fs::read_to_string(tokens.data_dir().join("tokens.toml")).unwrap();
    for text in [listed, listed_json, kept] {
        assert!(!text.contains(&token) && !text.contains(other), "{text}");
    }
    for (args, code, says) in [
        (
            &["new", "--name", "shop", "--scope", "query"][..],
            1,
            "skysail tokens revoke shop",
        ),
        (&["new", "--name", "a", "--scope", "root"], 2, "root"),
        (
            &["new", "--name", "a", "--scope", "admin", "--app", "x"],
            2,
            "--app",
        ),
        (&["revoke", "nobody"], 1, "skysail tokens list"),
    ] {
        let output = tokens.try_command(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
}

#[test]
fn beyond_loopback_nobody_is_let_in_without_a_token() {
    let tokens = Tokens::new();
    let data_dir = tokens.data_dir();
    let serve = || {
        let mut command = skysail();
        command.args(["serve", "--json", "--query", "0.0.0.0:0"]);
        command.args(["--management", "127.0.0.1:0", "--rpc", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(&data_dir);
        command
    };
    let output = serve().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    let command = format!(
        "skysail tokens new --name NAME --scope admin,query --data-dir {}",
        data_dir.display()
    );
    assert!(
        told.contains(&command) && told.contains("--auth none"),
        "{told}"
    );

    let ops = tokens.make("ops", "admin", &[]);
    let frontend = Frontend::spawn(serve());
    assert_eq!(status(&get(&frontend, "/api/v1/status", None)), 401);
    let about = get(&frontend, "/api/v1/status", Some(&ops));
    assert_eq!(json(&about)["auth"], "token");

    let demo = run(&["demo", "--query", "0.0.0.0:0"]);
    assert_eq!(demo.status.code(), Some(2));
    assert!(
        stderr(&demo).contains("without a token"),
        "{}",
        stderr(&demo)
    );
}
