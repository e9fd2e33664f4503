//! The HTTP front doors: queries and management.
//!
//! | module | holds |
//! |---|---|
//! | [`http`] | binding, the accept loop, bodies, limits |
//! | [`json`] | Clipper's predict body, parsed without a DOM; JSON output |
//! | [`query`] | the query port: Clipper's route, the Open Inference Protocol |
//! | [`options`] | what a request may ask for beside its answer |
//! | [`management`] | the management port |
//! | [`readiness`] | whether new clients are wanted |
//! | [`access`] | tokens: who may do what at which port |
//! | [`openapi`] | the documents of both ports |
//! | [`guard`] | what keeps web pages away from a loopback socket |
//!
//! Errors of the crates below become statuses here and nowhere else.

#![forbid(unsafe_code)]

pub mod access;
mod answered;
mod frontend;
pub mod guard;
pub mod http;
pub mod json;
pub mod management;
pub mod openapi;
pub mod options;
pub mod query;
mod query_ids;
pub mod readiness;

pub use frontend::{About, Frontend};
pub use query_ids::QueryIds;
pub use readiness::Readiness;
