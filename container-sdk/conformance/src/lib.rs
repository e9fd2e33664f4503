//! Plays the recorded golden exchanges against a container of any language.
//!
//! `schema/golden/*.json` holds one [`Exchange`] a file: what a front end says, byte for byte,
//! and what a container answers. [`play`] takes the front end's side over any transport, so
//! that every SDK passes the same files; [`record`] makes a file from a script and a container
//! that is known to be right.
//!
//! A container's messages are compared by meaning: parts by their bytes, in any order; replies
//! by their batch, in any order; texts by whether they contain the recorded one. What differs
//! from run to run (process, SDK, token, times) and heartbeats that no step asks for are
//! passed over.

#![forbid(unsafe_code)]

mod compare;
mod exchange;
mod hex;
mod player;
mod render;

pub use exchange::{Exchange, FormatError, Step};
pub use player::{Line, Mismatch, play, record};
