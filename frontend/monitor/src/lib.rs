//! Metric names and handles, and log set-up.
