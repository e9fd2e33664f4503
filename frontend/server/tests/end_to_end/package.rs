//! `skysail package` of a program, and what it refuses.

use std::path::Path;

use crate::harness::{Frontend, run, skysail, stderr};

/// Runs `skysail package` on `folder`.
fn package(folder: &Path, more: &[&str]) -> std::process::Output {
    let mut command = skysail();
    command.arg("package").arg(folder).args(more);
    command.output().unwrap()
}

#[test]
fn a_program_runs_from_its_package_and_is_deployed() {
    let folder = tempfile::tempdir().unwrap();
    let (model, target) = (folder.path().join("m"), folder.path().join("out"));
    std::fs::create_dir(&model).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_skysail"));
    // The same file where that can be: it is large.
    std::fs::hard_link(program, model.join("digits"))
        .or_else(|_| std::fs::copy(program, model.join("digits")).map(drop))
        .unwrap();
    let output = target.to_str().unwrap();
    let packed = package(
        &model,
        &[
            "--output",
            output,
            "--",
            "example-container",
            "digits-linear",
        ],
    );
    assert!(packed.status.success(), "{}", stderr(&packed));
    std::fs::remove_dir_all(&model).unwrap();

    let frontend = Frontend::start(&folder.path().join("data"));
    let program = target.join("run");
    let program = program.to_str().unwrap();
    frontend.deploy("m", "floats", &[program]);
    frontend.wait_for_replicas("m", 1);
}

#[test]
fn what_cannot_be_packed_is_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |more: &[&str], told: &str| {
        let output = package(folder.path(), more);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(told) && text.lines().count() == 1, "{text}");
    };
    refused(&[], "has no model that is known: expected a Python file");
    std::fs::write(folder.path().join("d.onnx"), "").unwrap();
    refused(&["--wheels"], "--wheels and --requirement are for Python");
    refused(&["--sdk-jar", "x.jar"], "--sdk-jar is for Java");
    refused(&["--entry", "e.onnx"], "has no file e.onnx");
    let inside = folder.path().join("out");
    refused(
        &["--output", inside.to_str().unwrap()],
        "lie in one another",
    );
    std::fs::write(folder.path().join("m.py"), "import skysail\nskysail.model(").unwrap();
    refused(
        &[
            "--python",
            "/nowhere/python",
            "--output",
            "/tmp/skysail-never-made",
        ],
        "cannot start /nowhere/python",
    );
    let missing = run(&["package", "/no/such/folder"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("no folder /no/such/folder"));
}
