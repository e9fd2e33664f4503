//! Keys, and who is let in with them.

use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;
use skysail_rpc::transport::zmq::has_curve;

use crate::harness::{Frontend, Process, run, skysail, stderr, until};

/// Whether CURVE can be tested; it is a failure that it cannot where it must.
fn curve_is_there() -> bool {
    let required = std::env::var_os("SKYSAIL_REQUIRE_CURVE").is_some();
    assert!(has_curve() || !required, "the linked libzmq has no CURVE");
    has_curve()
}

fn new_key(folder: &Path, name: &str, more: &[&str]) -> Value {
    let folder = folder.to_str().unwrap();
    let output = run(&[&["keys", "new", name, "--dir", folder, "--json"], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn keys_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let made = new_key(folder.path(), "digits", &["--model", "b", "--model", "a"]);
    assert_eq!(made["models"], serde_json::json!(["a", "b"]));
    let public = fs::read_to_string(made["public_file"].as_str().unwrap()).unwrap();
    let key = made["public_key"].as_str().unwrap();
    assert_eq!(public, format!("{key}\nmodels: a b\n"));
    let secret = fs::read(made["key_file"].as_str().unwrap()).unwrap();
    let folder = folder.path().to_str().unwrap();
    for (args, status, told) in [
        (&["digits"][..], 1, "never overwritten"),
        (&["../x"], 2, "is not a name"),
        (&["x", "--model", "a/b"], 2, "is not a name"),
    ] {
        let output = run(&[&["keys", "new"], args, &["--dir", folder]].concat());
        assert_eq!(output.status.code(), Some(status), "{args:?}");
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    }
    assert_eq!(
        fs::read(made["key_file"].as_str().unwrap()).unwrap(),
        secret
    );
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2);
}

#[test]
fn a_front_end_that_cannot_tell_containers_apart_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let keys = folder.path().join("keys");
    let refused = |rpc: &str, keys: Option<&Path>| {
        let mut command = skysail();
        command.args(["serve", "--rpc", rpc, "--query", "127.0.0.1:0"]);
        command.args(["--management", "127.0.0.1:0", "--data-dir"]);
        command.arg(&data_dir);
        keys.map(|keys| command.arg("--keys").arg(keys));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let told = refused("192.0.2.1:7000", None);
    assert!(told.contains("skysail keys new frontend"), "{told}");
    let told = refused("127.0.0.1:0", Some(&keys));
    if has_curve() {
        assert!(told.contains("skysail keys new frontend"), "{told}");
        new_key(&keys, "frontend", &[]);
        let told = refused("0.0.0.0:7000", Some(&keys));
        assert!(told.contains("name the one that is wanted"), "{told}");
    } else {
        assert!(told.contains("docker/libzmq-system.toml"), "{told}");
    }
}

/// PROTOCOL 1.1, 4.4
#[test]
fn who_has_a_key_joins_and_nobody_else() {
    if !curve_is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let keys = folder.join("keys");
    new_key(&keys, "frontend", &[]);
    let own = folder.join("containers");
    new_key(&own, "m", &[]);
    new_key(&own, "other", &["--model", "n"]);
    let data_dir = folder.join("data");
    let frontend = Frontend::start_with(&data_dir, &["--keys", keys.to_str().unwrap()]);
    frontend.register("1s");
    let start = |log: &str, with: &dyn Fn(&mut std::process::Command)| {
        let mut command = skysail();
        command.args(["example-container", "sum", "--model", "m", "--version", "1"]);
        command.args(["--rpc", frontend.tcp()]);
        with(&mut command);
        let log = File::create(folder.join(log)).unwrap();
        Process(command.stderr(log).spawn().unwrap())
    };
    let with_key = |key: &str| {
        let key = own.join(key);
        let server_key = keys.join("frontend.pub");
        move |command: &mut std::process::Command| {
            command.arg("--key").arg(&key);
            command.arg("--server-key").arg(&server_key);
        }
    };
    let log_says = |log: &str, told: &str| {
        until(told, || {
            let text = fs::read_to_string(folder.join(log)).unwrap();
            text.contains(told).then_some(())
        });
    };
    let token = data_dir.join("join.token");
    let keyless = start("keyless", &|command| {
        command.arg("--token-file").arg(&token);
    });
    log_says("keyless", "--server-key");
    let container = start("m", &with_key("m.key"));
    log_says("m", "does not let this key in");
    assert!(frontend.replicas().is_empty());

    let allow = |key: &str| fs::copy(own.join(key), keys.join("allowed").join(key)).unwrap();
    allow("m.pub");
    allow("other.pub");
    let mut other = start("other", &with_key("other.key"));
    assert_eq!(other.exit_status(), Some(2));
    log_says("other", "key 'other' may not register model 'm'");

    let answer = frontend.predict_in_the_end(r#"{"input":[1,2]}"#);
    assert_eq!(answer["output"], 3.0);
    assert_eq!(frontend.wait_for_replicas("m", 1)[0]["transport"], "tcp");
    drop((container, keyless));
    frontend.wait_for_replicas("m", 0);
    let _ipc = frontend.container("sum", "m", "1");
    assert_eq!(
        frontend.predict_in_the_end(r#"{"input":[4,5]}"#)["output"],
        9.0
    );
    assert_eq!(frontend.replicas()[0]["transport"], "ipc");
}
