//! The committed generated code is what `rpc.capnp` generates.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

fn generate() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let request = capnpc_embedded::CompileCommand::new()
        .src_prefix(root)
        .file(root.join("rpc.capnp"))
        .compile()
        .unwrap();
    let out = tempfile::tempdir().unwrap();
    capnpc::codegen::CodeGenerationCommand::new()
        .output_directory(out.path())
        .default_parent_module(vec![])
        .run(&request[..])
        .unwrap();
    std::fs::read_to_string(out.path().join("rpc_capnp.rs")).unwrap()
}

#[test]
fn generated_code_is_current() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated/rpc_capnp.rs");
    let fresh = generate();
    if std::env::var_os("SKYSAIL_BLESS").is_some() {
        std::fs::write(&committed, &fresh).unwrap();
    }
    assert!(
        std::fs::read_to_string(&committed).unwrap() == fresh,
        "rpc.capnp changed: run `SKYSAIL_BLESS=1 cargo test -p skysail-schema`"
    );
}
