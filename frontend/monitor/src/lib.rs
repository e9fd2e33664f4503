//! Metric names and handles, and log set-up.
//!
//! [`metrics`] holds every metric's name, unit and labels. Handles are resolved when an
//! application or a version is registered and only incremented on the path of a query.

#![forbid(unsafe_code)]

mod histogram;
pub mod lanes;
pub mod logs;
pub mod metrics;
pub mod rows;
pub mod times;

pub use metrics::{AppMetrics, Metrics, ModelMetrics};
