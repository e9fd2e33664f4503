//! `skysail predict` against a running model.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Frontend, skysail, stderr};

struct Running {
    frontend: Frontend,
    _container: crate::harness::Process,
    _folder: tempfile::TempDir,
}

/// A front end with application `app` and a container that sums.
fn running() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let frontend = Frontend::start(folder.path());
    frontend.register("1s");
    let container = frontend.container("sum", "m", "1");
    frontend.predict_in_the_end(r#"{"input":[1,2]}"#);
    Running {
        frontend,
        _container: container,
        _folder: folder,
    }
}

#[test]
fn options_reach_the_front_end_and_a_batch_is_one_request() {
    let running = running();
    let frontend = &running.frontend;
    let options = [
        "--timeout",
        "900ms",
        "--no-cache",
        "--priority",
        "2",
        "--explain",
    ];
    let said =
        frontend.json_cli(&[&["predict", "app", "[1,2]"], &options[..], &["--uid", "u7"]].concat());
    let explanation = &said["explanation"];
    assert_eq!(explanation["limit_micros"], 900_000, "{said}");
    assert_eq!(
        (&explanation["cached"], &explanation["uid"]),
        (&false.into(), &"u7".into())
    );

    let mut child = skysail()
        .args(["predict", "app", "-", "--batch", "--json"])
        .args(["--management", &frontend.management.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"[1,2]\n[3,4]\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let batch: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        batch["batch_predictions"].as_array().unwrap().len(),
        2,
        "{batch}"
    );
}

#[test]
fn v2_queries_take_the_shape_that_the_model_has() {
    let running = running();
    let frontend = &running.frontend;
    let query = frontend.query.to_string();
    for place in [
        ["--management", &frontend.management.to_string()],
        ["--query", &query],
    ] {
        for name in ["app", "m"] {
            let ask = ["predict", name, "[1,2]", "--protocol", "v2", "--explain"];
            let output = skysail().args(ask).args(place).output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(
                text.contains("[3") && text.contains("predicted by version 1"),
                "{text}"
            );
        }
    }
}

#[test]
fn an_input_that_is_broken_json_is_told_with_its_place() {
    let running = running();
    let management = running.frontend.management.to_string();
    for protocol in ["clipper", "v2"] {
        let output = skysail()
            .args(["predict", "app", "[1,\n2", "--protocol", protocol])
            .args(["--management", &management])
            .output()
            .unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.contains("INPUT is not JSON at line 2, column 1") && text.lines().count() == 1,
            "{text}"
        );
    }
}
