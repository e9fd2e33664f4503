//! Holds a container of any language to the protocol.
//!
//! [`Suite`] starts a container program as often as its cases need and plays the front end's
//! side over shared memory, ipc and tcp: the recorded exchanges, then what is written in
//! `cases`. The models that the program must serve stand in this crate's README.
//!
//! | module | holds |
//! |---|---|
//! | `exchange`, `compare`, `render`, `hex` | the files of `schema/golden`, and what of a message matters |
//! | `player` | an [`Exchange`] played, or recorded from a script |
//! | `desk` | the front end's side of one session at a time, over any transport |
//! | `process` | a container as a process: started, watched, ended |
//! | `scene` | one case in progress: a desk and a container |
//! | `cases` | the cases, in groups |
//! | `suite`, `report` | which cases are played, and what came of them |
//!
//! A container's messages are compared by meaning: parts by their bytes, in any order; replies
//! by their batch, in any order; texts by whether they contain the recorded one. What differs
//! from run to run (process, SDK, token, times) and heartbeats that no step asks for are
//! passed over.
//!
//! Nothing here knows the front end.

#![forbid(unsafe_code)]

mod cases;
mod compare;
mod desk;
mod exchange;
mod golden;
mod hex;
mod models;
mod player;
mod process;
mod render;
pub mod report;
mod scene;
mod suite;
mod transport;
mod wrong;

pub use cases::{Case, cases};
pub use desk::Desk;
pub use exchange::{Exchange, FormatError, Step};
pub use golden::golden;
pub use player::{Line, Mismatch, play, record};
pub use process::{Program, ProgramError, exec_under};
pub use suite::{Played, Suite, UnknownCase, Verdict, select};
pub use transport::Transport;
