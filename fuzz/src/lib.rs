//! What a peer may say, and what must hold whatever it says.
//!
//! One function a decoder, and one an end of the shared path: each takes bytes, and panics if
//! something is wrong with us, never because something is wrong with the bytes. [`TARGETS`]
//! lists them. `fuzz/targets` hands them to libFuzzer (`make soak`); `tests/replay.rs` runs the
//! corpus, and some thousands of made-up inputs, through each of them in every test run.
//!
//! | module | holds |
//! |---|---|
//! | `messages` | frames of a transport, and the tensors in them |
//! | `memory` | what stands in rings, and what passes over the control socket |
//! | `requests` | requests of the Open Inference Protocol, over HTTP and gRPC |
//! | `texts` | bodies of Clipper's API, schemas, endpoints, key files, records of the store |
//! | `hostile` | a whole front end against a container that does what its descriptors allow; a container against such a front end |
//! | [`script`] | bytes as a list of decisions |

#![forbid(unsafe_code)]

mod hostile;
mod memory;
mod messages;
mod requests;
pub mod script;
mod texts;

pub use hostile::{hostile_container, hostile_frontend};
pub use memory::{descriptor, visit};
pub use messages::{columns, framed, message};
pub use requests::{grpc, v2};
pub use texts::{endpoint, json, keys, schema_text, store};

/// What a target is called, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its folder in the corpus.
pub const TARGETS: [Target; 13] = [
    ("message", message),
    ("columns", columns),
    ("descriptor", descriptor),
    ("visit", visit),
    ("json", json),
    ("v2", v2),
    ("grpc", grpc),
    ("schema_text", schema_text),
    ("endpoint", endpoint),
    ("keys", keys),
    ("store", store),
    ("hostile_container", hostile_container),
    ("hostile_frontend", hostile_frontend),
];
