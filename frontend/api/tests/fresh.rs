//! The committed generated code is what `inference.proto` generates.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use prost::Message as _;

/// The code, and the descriptors that reflection tells.
fn generate() -> (Vec<u8>, Vec<u8>) {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let descriptors = protox::compile(["inference.proto"], [&protos]).unwrap();
    let described = descriptors.encode_to_vec();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .build_client(false)
        .bytes(".")
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();
    let code = std::fs::read(out.path().join("inference.rs")).unwrap();
    (code, described)
}

#[test]
fn generated_code_is_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/query/grpc/generated");
    let (code, descriptors) = generate();
    for (name, fresh) in [("inference.rs", code), ("inference.bin", descriptors)] {
        let committed = folder.join(name);
        if std::env::var_os("SKYSAIL_BLESS").is_some() {
            std::fs::write(&committed, &fresh).unwrap();
        }
        assert!(
            std::fs::read(&committed).unwrap() == fresh,
            "inference.proto changed: run `SKYSAIL_BLESS=1 cargo test -p skysail-api --test fresh`"
        );
    }
}
