//! Names the shared library by its ABI, so that a program asks for the one that it was built for.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libskysail.so.1");
}
