//! Whole ends of the shared path, against peers that do what their descriptors allow.
//!
//! | module | holds |
//! |---|---|
//! | `container` | a front end, with an honest container and hostile ones |
//! | `rig` | that front end: its sessions, and what was promised to whom |
//! | `raw` | a container by its descriptors alone, which the honest one is, too |
//! | `frontend` | a container, with a hostile front end |
//! | `wire` | a transport that delivers what a script says |
//!
//! A peer writes shared memory by `pwrite`, so that nothing here is unsafe: for the other end
//! it is the same as a store.

mod container;
mod frontend;
mod raw;
mod rig;
mod wire;

pub use container::hostile_container;
pub use frontend::hostile_frontend;

use std::path::PathBuf;

/// A folder of this thread for sockets.
fn folder() -> PathBuf {
    thread_local!(static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder"));
    FOLDER.with(|folder| folder.path().to_owned())
}
