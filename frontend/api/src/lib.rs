//! The HTTP front doors: queries and management.
//!
//! | module | holds |
//! |---|---|
//! | [`http`] | binding, the accept loop, bodies, limits |
//! | [`json`] | Clipper's predict body, parsed without a DOM; JSON output |
//! | [`query`] | the query port |
//! | [`management`] | the management port |
//! | [`openapi`] | the documents of both ports |
//! | [`guard`] | what keeps web pages away from a loopback socket |
//!
//! Errors of the crates below become statuses here and nowhere else.

#![forbid(unsafe_code)]

mod answered;
mod frontend;
pub mod guard;
pub mod http;
pub mod json;
pub mod management;
pub mod openapi;
pub mod query;
mod query_ids;

pub use frontend::{About, Frontend};
pub use query_ids::QueryIds;
