//! Dependencies between the crates point one way. A new edge is an architectural change:
//! it wants a page in `docs/decisions/` and a line here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Who may know whom, besides itself. Tests and benches of a crate may cross.
const EDGES: &[(&str, &[&str])] = &[
    ("skysail-schema", &[]),
    ("skysail-memory", &[]),
    ("skysail-rpc", &["skysail-memory", "skysail-schema"]),
    ("skysail-container", &["skysail-rpc"]),
    ("skysail-examples", &["skysail-container"]),
    ("skysail-c", &["skysail-container"]),
    ("skysail-onnx", &["skysail-container"]),
    ("skysail-conformance", &["skysail-rpc"]),
    ("skysail-core", &["skysail-rpc"]),
    ("skysail-monitor", &[]),
    ("skysail-sim", &["skysail-core"]),
    (
        "skysail-engine",
        &["skysail-core", "skysail-monitor", "skysail-rpc"],
    ),
    ("skysail-control", &["skysail-core", "skysail-monitor"]),
    (
        "skysail-api",
        &[
            "skysail-control",
            "skysail-core",
            "skysail-engine",
            "skysail-monitor",
            "skysail-rpc",
        ],
    ),
    ("skysail-python", &["skysail-container"]),
    ("skysail-load", &[]),
    (
        "skysail-server",
        &[
            "skysail-api",
            "skysail-conformance",
            "skysail-container",
            "skysail-control",
            "skysail-core",
            "skysail-engine",
            "skysail-examples",
            "skysail-load",
            "skysail-monitor",
            "skysail-rpc",
            "skysail-sim",
        ],
    ),
    (
        "skysail-benches",
        &[
            "skysail-api",
            "skysail-container",
            "skysail-core",
            "skysail-engine",
            "skysail-load",
            "skysail-rpc",
            "skysail-sim",
        ],
    ),
    (
        "skysail-fuzz",
        &[
            "skysail-api",
            "skysail-control",
            "skysail-core",
            "skysail-memory",
            "skysail-rpc",
        ],
    ),
];

/// Each crate's dependencies on others of the workspace, without those of its tests.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let name = |value: &serde_json::Value| value["name"].as_str().expect("a name").to_owned();
    let packages = metadata["packages"].as_array().expect("packages");
    let ours = |package: &serde_json::Value| {
        let dependencies = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter();
        let inside = dependencies.filter(|d| d["kind"].is_null() && !d["path"].is_null());
        (name(package), inside.map(name).collect())
    };
    packages.iter().map(ours).collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for (package, dependencies) in edges() {
        let allowed = allowed.get(package.as_str()).unwrap_or_else(|| {
            panic!("{package} is not in the table of layers");
        });
        for dependency in dependencies {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{package} must not know {dependency}"
            );
        }
    }
}

#[test]
fn one_module_names_the_zmq_crate() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let found = Command::new("grep")
        .args([
            "-rlE",
            r"zmq::Socket|zmq::Context|zmq_sys::",
            "--include=*.rs",
        ])
        .args(["rpc-protocol", "frontend", "container-sdk", "benches"])
        .current_dir(root)
        .output()
        .expect("grep runs");
    let files = String::from_utf8(found.stdout).expect("paths");
    // The bench's yardstick is ZeroMQ without Skysail.
    let besides = ["layering.rs", "benches/src/bin/rpc/zmq.rs"];
    let others = files
        .lines()
        .filter(|f| !besides.iter().any(|known| f.ends_with(known)));
    let transport = "rpc-protocol/src/transport/zmq";
    let outside: Vec<_> = others.filter(|f| !f.starts_with(transport)).collect();
    assert!(outside.is_empty(), "{outside:?}");
}
