//! The OpenAPI 3.1 documents of both ports, which each port serves at `/openapi.json`.
//!
//! They are written by hand, in `frontend/api/openapi/`, and held to the code by tests: their
//! structure here, their routes and examples in `management::tests::openapi`, and all that a
//! schema can say by `tools/schemathesis`.

/// Where a port serves its document.
pub(crate) const PATH: &str = "/openapi.json";
/// The document of the management port.
pub const MANAGEMENT: &str = include_str!("../openapi/management.json");
/// The document of the query port.
pub const QUERY: &str = include_str!("../openapi/query.json");

#[cfg(test)]
pub(crate) mod tests;
