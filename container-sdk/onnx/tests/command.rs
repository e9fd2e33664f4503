//! The program as its user meets it; what it answers is tested beside the Python package, where the
//! libraries are that write such files.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_skysail-onnx"))
        .args(arguments)
        .output()
        .expect("it starts")
}

#[test]
fn a_file_that_is_not_there_is_told_in_a_line() {
    let ran = run(&["/nowhere/digits.onnx", "--selftest"]);
    assert_eq!(ran.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&ran.stderr),
        "error: cannot read /nowhere/digits.onnx: No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_file_that_is_something_else_is_told_in_a_line() {
    let ran = run(&[
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        "--selftest",
    ]);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(
        said.contains("it is no ONNX model") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn its_help_shows_examples_and_the_options_of_containers() {
    let ran = run(&["--help"]);
    let said = String::from_utf8_lossy(&ran.stdout);
    for needle in [
        "Examples:",
        "zipmap=False",
        "--output",
        "--max-batch",
        "--rpc",
    ] {
        assert!(said.contains(needle), "{needle} is not in {said}");
    }
}
