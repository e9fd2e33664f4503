//! Applications, models and links; stores; orchestrators.

#![forbid(unsafe_code)]

pub mod commands;
pub mod control;
pub mod error;
pub mod orchestrator;
mod records;
mod state;
pub mod store;

pub use commands::{NewApplication, NewVersion};
pub use control::{Control, Launch};
pub use error::{ControlError, Kind};
