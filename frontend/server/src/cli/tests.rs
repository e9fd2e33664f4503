//! Command lines, and verbs against a front end of one answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use clap::Parser;
use clap::error::ErrorKind;

use super::*;
use crate::console::Usage;

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: ClientCommand,
}

fn parsed(line: &str) -> Result<ClientCommand, clap::Error> {
    let words = std::iter::once("skysail").chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.command)
}

/// A front end that gives each request the next answer; joined, it tells the requests.
fn front_end(answers: &[(u16, &str)]) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let answers: Vec<_> = answers
        .iter()
        .map(|(code, body)| (*code, (*body).to_owned()))
        .collect();
    let serve = move || {
        let answer = |(code, body): (u16, String)| {
            let (mut stream, _) = listener.accept().expect("a client");
            let request = read_request(&mut stream);
            let length = body.len();
            let head = format!("HTTP/1.1 {code} X\r\ncontent-length: {length}\r\n\r\n");
            stream
                .write_all((head + &body).as_bytes())
                .expect("written");
            request
        };
        answers.into_iter().map(answer).collect()
    };
    (address, std::thread::spawn(serve))
}

/// `METHOD PATH BODY`.
fn read_request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).expect("a request");
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
        if body.len() < length {
            continue;
        }
        let line = head.lines().next().unwrap_or_default();
        let line = line.strip_suffix(" HTTP/1.1").unwrap_or(line);
        return format!("{line} {body}").trim_end().to_owned();
    }
}

/// What a verb prints or says, and what it sent.
fn run(line: &str, answers: &[(u16, &str)]) -> (Result<String, String>, Vec<String>) {
    let (address, server) = front_end(answers);
    let client = Client::to(address).expect("a runtime");
    let command = parsed(line).unwrap_or_else(|error| panic!("{error}"));
    let outcome = command.carry_out(&client);
    let said = outcome
        .map(|printed| printed.text)
        .map_err(|error| error.to_string());
    (said, server.join().expect("all answers were asked for"))
}

#[test]
fn every_verb_parses_as_documented() {
    for line in [
        "app add digits --input floats --slo 20ms --default -1 --features 64 --link mlp",
        "app list --json",
        "app show digits --management http://127.0.0.1:1338",
        "app remove digits --data-dir /tmp/x",
        "app link digits mlp",
        "app unlink digits mlp",
        "model add m 1 --input floats --label a --label b",
        "model add m 1 --input floats --batching fixed --batch-size 8 --batch-wait 2ms",
        "model list",
        "model show m",
        "model set-version m 2",
        "model rollback m",
        "model remove m 1",
        "model remove m",
        "deploy --model m --version 1 --replicas 2 --input floats -- prog --flag arg",
        "scale m 3 --version 1",
        "logs m --version 1 --replica 0 --lines 5",
        "status --json",
        "predict digits [1,2]",
        "predict digits -5",
        "predict digits @rows --batch --protocol v2 --query https://a:1 --ca f --timeout 5ms",
        "ready --data-dir /tmp/x",
    ] {
        parsed(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn wrong_lines_are_refused_before_anything_is_sent() {
    for (line, kind) in [
        (
            "app add a --input floats --default -1",
            ErrorKind::MissingRequiredArgument,
        ),
        (
            "app add a --input floats --default -1 --slo 20",
            ErrorKind::ValueValidation,
        ),
        (
            "model add m 1 --input floats --batching fixed",
            ErrorKind::MissingRequiredArgument,
        ),
        (
            "model add m 1 --input floats --batching odd",
            ErrorKind::InvalidValue,
        ),
        (
            "deploy --model m --version 1",
            ErrorKind::MissingRequiredArgument,
        ),
        ("scale m many", ErrorKind::ValueValidation),
        (
            "status --management a:1 --data-dir d",
            ErrorKind::ArgumentConflict,
        ),
    ] {
        assert_eq!(parsed(line).expect_err(line).kind(), kind, "{line}");
    }
}

#[test]
fn help_has_examples() {
    for line in [
        "app add --help",
        "model add --help",
        "deploy --help",
        "scale --help",
        "logs --help",
    ] {
        let help = parsed(line).expect_err(line);
        assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        assert!(help.to_string().contains("Example"), "{help}");
    }
}

#[test]
fn an_application_is_added_with_its_link_or_not_at_all() {
    let line = "app add a --input floats --slo 1.5s --default -1 --link m";
    let (said, sent) = run(line, &[(201, "{}"), (200, "{}")]);
    assert_eq!(
        said.as_deref(),
        Ok("added application 'a', linked to model 'm'")
    );
    assert!(
        sent[0].starts_with("POST /api/v1/applications {"),
        "{sent:?}"
    );
    assert!(
        sent[0].contains("\"latency_slo_micros\":1500000"),
        "{sent:?}"
    );
    assert_eq!(
        sent[1],
        "PUT /api/v1/applications/a/links {\"models\":[\"m\"]}"
    );

    let missing = r#"{"error":{"kind":"not_found","message":"No model","field":"models"}}"#;
    let (said, sent) = run(line, &[(201, "{}"), (404, missing), (200, "{}")]);
    assert_eq!(said, Err("No model".to_owned()));
    assert_eq!(sent[2], "DELETE /api/v1/applications/a");
}

#[test]
fn deploy_registers_the_version_only_where_it_may() {
    let with = "deploy --model m --version 2 --input floats -- prog x";
    let without = "deploy --model m --version 2 -- prog x";
    let other = r#"{"versions":[{"version":"1","input_type":"floats"}]}"#;
    let same = r#"{"versions":[{"version":"2","input_type":"floats"}]}"#;
    let integers = r#"{"versions":[{"version":"2","input_type":"integers"}]}"#;
    let deploy = "PUT /api/v1/models/m/versions/2/deployment \
                  {\"command\":[\"prog\",\"x\"],\"replicas\":1}";

    let (said, sent) = run(with, &[(200, other), (201, "{}"), (200, "{}")]);
    assert!(said.is_ok_and(|text| text.starts_with("deployed 1 replica of model 'm'")));
    assert!(sent[1].starts_with("POST /api/v1/models {"), "{sent:?}");
    assert_eq!(sent[2], deploy);
    let (said, sent) = run(without, &[(200, same), (200, "{}")]);
    assert!(said.is_ok());
    assert_eq!(sent[1], deploy);
    let (said, _) = run(without, &[(404, "{}")]);
    assert!(said.is_err_and(|why| why.contains("give --input TYPE to register it")));
    let (said, _) = run(with, &[(200, integers)]);
    assert!(said.is_err_and(|why| why.contains("is registered with input type integers")));
}

#[test]
fn predict_finds_the_query_port_by_the_status() {
    let answer =
        r#"{"query_id":0,"output":7,"default":false,"models":[{"name":"m","version":"1"}]}"#;
    let (query, queries) = front_end(&[(200, answer)]);
    let status =
        format!(r#"{{"query":"{query}","applications":[{{"name":"a","input_type":"strings"}}]}}"#);
    let (said, _) = run("predict a 5", &[(200, &status)]);
    assert_eq!(said.as_deref(), Ok("7\npredicted by m:1\n"));
    assert_eq!(
        queries.join().expect("asked"),
        ["POST /a/predict {\"input\":\"5\"}"]
    );
}

#[test]
fn a_refused_value_is_told_with_its_field() {
    let wrong = r#"{"error":{"kind":"invalid","message":"too short","field":"slo"}}"#;
    let (said, _) = run("status", &[(400, wrong)]);
    assert_eq!(said, Err("slo: too short".to_owned()));
}

#[test]
fn names_are_one_segment_of_a_path() {
    assert_eq!(segment("digits-mlp_1.2"), "digits-mlp_1.2");
    assert_eq!(segment("a/../b c?"), "a%2F..%2Fb%20c%3F");
}

#[test]
fn what_is_no_front_end_is_told() {
    let (said, _) = run("status", &[(200, "<html>")]);
    assert!(said.is_err_and(|why| why.contains("is it a Skysail front end?")));
    let (said, _) = run("status", &[(502, "bad gateway")]);
    assert!(said.is_err_and(|why| why.contains("answered 502") && why.contains("bad gateway")));
}

#[test]
fn only_mistakes_of_the_command_line_are_marked_as_such() {
    let error = |line: &str| parsed(line).expect("it parses").run().expect_err(line);
    let wrong = error("status --management nonsense");
    assert!(wrong.is::<Usage>());
    assert!(
        wrong
            .to_string()
            .starts_with("--management: 'nonsense' is not an address")
    );
    assert!(!error("status --data-dir /nowhere/at/all").is::<Usage>());
}
