//! The committed header is what cbindgen makes of the source.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

/// In the order of the header.
const SOURCES: [&str; 7] = [
    "tensor", "batch", "outputs", "ctx", "stage", "model", "calls",
];

#[test]
fn the_header_is_current() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap();
    let sources = SOURCES.map(|name| here.join(format!("src/{name}.rs")));
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = sources.iter().fold(builder, cbindgen::Builder::with_src);
    let mut fresh = Vec::new();
    builder.generate().unwrap().write(&mut fresh);
    let committed = here.join("include/skysail.h");
    if std::env::var_os("SKYSAIL_BLESS").is_some() {
        std::fs::write(&committed, &fresh).unwrap();
    }
    assert!(
        std::fs::read(&committed).unwrap_or_default() == fresh,
        "the C ABI changed: run `SKYSAIL_BLESS=1 cargo test -p skysail-c --test fresh`"
    );
}
