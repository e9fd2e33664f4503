//! What a request must keep to, whatever is registered.
//!
//! # Invariants
//! - A record that passes stays below the store's limit for values, also where JSON writes each
//!   byte as six.
//! - Deployments that pass fit into one declaration to an orchestrator.

use std::ops::RangeInclusive;

use skysail_core::Name;
use skysail_core::registry::{Adaptive, Batching, SLO_MICROS};

use super::{NewApplication, NewVersion};
use crate::error::ControlError;
use crate::store::VALUE_BYTES_MAX;

/// Applications.
pub const APPLICATIONS_MAX: usize = 1_000;
/// Models that have a version.
pub const MODELS_MAX: usize = 1_000;
/// Versions of one model.
pub const VERSIONS_MAX: usize = 100;
/// Elements of a query.
pub const FEATURES_MAX: u32 = 4_000_000;
/// Rows of a batch.
pub const BATCH_ROWS_MAX: u32 = 65_536;
/// Bytes of an application's default output.
pub const DEFAULT_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Labels of a version.
pub const LABELS_MAX: usize = 64;
/// Sizes that a model may have compiled shapes for.
pub const ALLOWED_SIZES_MAX: usize = 64;
/// Queries a second that an application may be guaranteed.
pub const GUARANTEE: RangeInclusive<f64> = 0.001..=1e7;
/// Bytes of a label.
pub const LABEL_BYTES_MAX: usize = 256;
/// Bytes of a version's container name, and of its data path.
pub const PLACE_BYTES_MAX: usize = 1 << 10;
/// Deployments, those of no replicas included.
pub const DEPLOYMENTS_MAX: usize = 1_024;
/// Replicas of one deployment.
pub const REPLICAS_MAX: u32 = 128;
/// Program and arguments of a replica.
pub const COMMAND_ARGS_MAX: usize = 256;
/// Bytes of a command, with a byte to end each argument; more than Linux passes in one argument.
pub const COMMAND_BYTES_MAX: usize = 128 << 10;
/// Bytes of all deployments' commands, so that they fit into one declaration.
pub const COMMANDS_BYTES_MAX: usize = 8 << 20;
/// Query ids lie below; JSON readers keep integers exact up to here.
pub const QUERY_IDS_END: u64 = 1 << 53;
/// Query ids reserved at once.
pub const QUERY_ID_BLOCK_MAX: u64 = 1 << 32;
/// Names that other paths of the query port begin with, so that no application may have them.
pub const NAMES_RESERVED: [&str; 4] = ["admin", "metrics", "v1", "v2"];
/// Names that mean something else where V2 takes a model's or an application's: all statistics are
/// at `/v2/models/stats`, and the health service has the inference service by its name.
pub const NAMES_RESERVED_BY_V2: [&str; 2] = ["stats", "inference.GRPCInferenceService"];

const JSON_BYTES_PER_BYTE: usize = 6;
const _: () = assert!(COMMAND_BYTES_MAX * JSON_BYTES_PER_BYTE + (64 << 10) < VALUE_BYTES_MAX);
const _: () =
    assert!(DEFAULT_OUTPUT_BYTES_MAX * JSON_BYTES_PER_BYTE + (64 << 10) < VALUE_BYTES_MAX);

/// Batching as Clipper's `batch_size` says: -1 is adaptive, a positive number a maximum.
///
/// # Errors
/// Clipper's text for other numbers; a text with the limit for sizes beyond [`BATCH_ROWS_MAX`].
pub fn batching_of_clipper(batch_size: i64) -> Result<Batching, ControlError> {
    if batch_size == -1 {
        return Ok(Batching::default());
    }
    let size = u64::try_from(batch_size).ok().filter(|size| *size > 0);
    let size = size.ok_or(ControlError::BatchSize)?;
    let batching = Batching::adaptive(Some(u32::try_from(size).unwrap_or(u32::MAX)));
    check_batching(&batching)?;
    Ok(batching)
}

/// The name of a new application.
pub(super) fn application_name(text: &str) -> Result<Name, ControlError> {
    let error = |error| ControlError::Name {
        field: "name",
        error,
    };
    if NAMES_RESERVED.contains(&text) {
        let why = "paths of the query port begin with it";
        return Err(reserved("application", "name", text, why));
    }
    check_v2("application", "name", text)?;
    Name::new(text).map_err(error)
}

/// Refuses a name by which V2 could not tell whom it is for.
fn check_v2(what: &'static str, field: &'static str, text: &str) -> Result<(), ControlError> {
    if !NAMES_RESERVED_BY_V2.contains(&text) {
        return Ok(());
    }
    let why = "it means something else in the Open Inference Protocol";
    Err(reserved(what, field, text, why))
}

fn reserved(
    what: &'static str,
    field: &'static str,
    name: &str,
    why: &'static str,
) -> ControlError {
    ControlError::NameReserved {
        what,
        field,
        name: name.to_owned(),
        why,
    }
}

/// The names of a new version's model and of itself.
pub(super) fn version_names(new: &NewVersion) -> Result<(Name, Name), ControlError> {
    check_v2("model", "model", &new.model)?;
    Ok((
        version_name("model name", "model", &new.model)?,
        version_name("model version", "version", &new.version)?,
    ))
}

fn version_name(what: &'static str, field: &'static str, text: &str) -> Result<Name, ControlError> {
    check_separators(what, field, text)?;
    Name::new(text).map_err(|error| ControlError::Name { field, error })
}

fn check_separators(
    what: &'static str,
    field: &'static str,
    text: &str,
) -> Result<(), ControlError> {
    if !text.contains([',', ':']) {
        return Ok(());
    }
    Err(ControlError::Separator {
        what,
        field,
        text: text.to_owned(),
    })
}

/// Everything of an application but its name.
pub(super) fn check_application(new: &NewApplication) -> Result<(), ControlError> {
    let slo = ("latency objective in microseconds", "latency_slo_micros");
    check_range(slo, new.latency_slo_micros, SLO_MICROS)?;
    if let Some(features) = new.features {
        let range = 1..=u64::from(FEATURES_MAX);
        check_range(("number of features", "features"), features.into(), range)?;
    }
    if let Some(guarantee) = new.guarantee {
        let what = ("guarantee in queries a second", "guarantee");
        check_number(what, guarantee, GUARANTEE)?;
    }
    let what = ("default output", "default_output");
    check_bytes(what, &new.default_output, DEFAULT_OUTPUT_BYTES_MAX)
}

/// Everything of a version but its names.
pub(super) fn check_version(new: &NewVersion) -> Result<(), ControlError> {
    check_count(
        ("labels", "labels"),
        new.labels.len(),
        "entries",
        LABELS_MAX,
    )?;
    for label in &new.labels {
        check_bytes(("label", "labels"), label, LABEL_BYTES_MAX)?;
        check_separators("label", "labels", label)?;
    }
    let container = ("container name", "container_name");
    check_bytes(container, &new.container_name, PLACE_BYTES_MAX)?;
    let path = ("model data path", "model_data_path");
    check_bytes(path, &new.model_data_path, PLACE_BYTES_MAX)?;
    check_batching(&new.batching)
}

fn check_batching(batching: &Batching) -> Result<(), ControlError> {
    match batching {
        Batching::Adaptive(adaptive) => check_adaptive(adaptive),
        Batching::Aimd { size_max } => size_max.map_or(Ok(()), check_batch_size),
        Batching::Fixed { size, wait_micros } => {
            check_batch_size(*size)?;
            let what = ("wait for a batch in microseconds", "batching");
            check_range(what, *wait_micros, 0..=*SLO_MICROS.end())
        }
        _ => Ok(()),
    }
}

fn check_batch_size(size: u32) -> Result<(), ControlError> {
    let sizes = 1..=u64::from(BATCH_ROWS_MAX);
    check_range(("batch size", "batching"), size.into(), sizes)
}

fn check_adaptive(adaptive: &Adaptive) -> Result<(), ControlError> {
    adaptive.size_max.map_or(Ok(()), check_batch_size)?;
    let shares = [
        ("late budget", adaptive.late_budget),
        ("wait share", adaptive.wait_share),
        ("hedge share", adaptive.hedge_share),
    ];
    for (what, share) in shares {
        check_number((what, "batching"), share.unwrap_or(0.0), 0.0..=1.0)?;
    }
    let sizes = &adaptive.allowed_sizes;
    let what = ("allowed sizes", "batching");
    check_count(what, sizes.len(), "entries", ALLOWED_SIZES_MAX)?;
    sizes.iter().try_for_each(|size| check_batch_size(*size))?;
    if !sizes.is_sorted_by(|one, next| one < next) {
        return Err(ControlError::SizesOrder);
    }
    let profile = adaptive
        .profile
        .map(|seed| (seed.alpha_micros, seed.beta_micros));
    let (alpha, beta) = profile.unwrap_or_default();
    let micros = 0.0..=*SLO_MICROS.end() as f64;
    check_number(
        ("profile's alpha in microseconds", "batching"),
        alpha,
        micros.clone(),
    )?;
    check_number(("profile's beta in microseconds", "batching"), beta, micros)
}

/// How many replicas one deployment has.
pub(super) fn check_replicas(replicas: u32) -> Result<(), ControlError> {
    let range = 0..=u64::from(REPLICAS_MAX);
    check_range(("number of replicas", "replicas"), replicas.into(), range)
}

/// A program and its arguments.
pub(super) fn check_command(command: &[String]) -> Result<(), ControlError> {
    if command.first().is_none_or(String::is_empty) {
        return Err(ControlError::CommandEmpty);
    }
    let what = ("command", "command");
    check_count(what, command.len(), "arguments", COMMAND_ARGS_MAX)?;
    check_count(what, command_bytes(command), "bytes", COMMAND_BYTES_MAX)?;
    match command.iter().position(|arg| arg.contains('\0')) {
        Some(index) => Err(ControlError::CommandZeroByte { index }),
        None => Ok(()),
    }
}

/// Bytes of a command, with a byte to end each argument.
pub(super) fn command_bytes(command: &[String]) -> usize {
    command.iter().map(|arg| arg.len() + 1).sum()
}

pub(super) fn check_query_id_block(count: u64) -> Result<(), ControlError> {
    check_range(
        ("number of query ids", "count"),
        count,
        1..=QUERY_ID_BLOCK_MAX,
    )
}

/// Room for `count` of what is registered.
pub(super) fn check_room(
    (what, field): (&'static str, &'static str),
    count: usize,
    max: usize,
) -> Result<(), ControlError> {
    if count <= max {
        return Ok(());
    }
    Err(ControlError::Full {
        what,
        field,
        count: count as u64,
        max: max as u64,
    })
}

fn check_range(
    (what, field): (&'static str, &'static str),
    value: u64,
    range: RangeInclusive<u64>,
) -> Result<(), ControlError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ControlError::OutOfRange {
        what,
        field,
        value,
        min: *range.start(),
        max: *range.end(),
    })
}

fn check_number(
    (what, field): (&'static str, &'static str),
    value: f64,
    range: RangeInclusive<f64>,
) -> Result<(), ControlError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ControlError::NumberOutOfRange {
        what,
        field,
        value,
        min: *range.start(),
        max: *range.end(),
    })
}

fn check_bytes(
    what: (&'static str, &'static str),
    text: &str,
    max: usize,
) -> Result<(), ControlError> {
    check_count(what, text.len(), "bytes", max)
}

fn check_count(
    (what, field): (&'static str, &'static str),
    count: usize,
    unit: &'static str,
    max: usize,
) -> Result<(), ControlError> {
    if count <= max {
        return Ok(());
    }
    Err(ControlError::TooLong {
        what,
        field,
        count,
        unit,
        max,
    })
}
