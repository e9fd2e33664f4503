//! Why a command was refused or failed.
//!
//! Where Clipper's API fixes a text, `Display` gives exactly that text, capitals and full stops
//! included; all other texts are ours. [`ControlError::field`] names request fields as
//! `skysail_core::registry` and `commands` spell them (`model`, `version`, `labels`, …).
//!
//! # Invariants
//! - Every variant but `Store` and `Orchestrator` means that nothing was written or changed.

use skysail_core::InputType;
use skysail_core::name::NameError;
use thiserror::Error;

use crate::orchestrator::OrchestratorError;
use crate::store::{StoreError, StoreErrorKind};

/// Characters of a refused text that are shown.
const SHOWN_CHARS_MAX: usize = 80;

/// Why a command was refused or failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The name is taken.
    #[error("application '{name}' already exists")]
    ApplicationExists {
        /// The application.
        name: String,
    },
    /// No such application, where it is the subject.
    #[error("Application '{name}' does not exist")]
    ApplicationMissing {
        /// The application.
        name: String,
    },
    /// No such application, where models are to be linked.
    #[error("No app with name '{name}' exists.")]
    LinkApplicationMissing {
        /// The application.
        name: String,
    },
    /// No such application, where links are to be removed.
    #[error("No app with name {name} exists.")]
    UnlinkApplicationMissing {
        /// The application.
        name: String,
    },
    /// No such application, where its links are asked for.
    #[error("No application with name '{name}' exists.")]
    LinksApplicationMissing {
        /// The application.
        name: String,
    },
    /// The model to link has no version.
    #[error("No model with name '{model}' exists.")]
    LinkModelMissing {
        /// The model.
        model: String,
    },
    /// The model to link has versions, but none is current.
    #[error("model '{model}' has no current version; set one first")]
    LinkModelWithoutCurrent {
        /// The model.
        model: String,
    },
    /// The model to link takes something else.
    #[error(
        "Model with name '{model}' has incompatible input_type '{has}'. Requested app to link to \
         has input_type '{wants}'."
    )]
    LinkIncompatible {
        /// The model.
        model: String,
        /// What its current version takes.
        has: InputType,
        /// What the application takes.
        wants: InputType,
    },
    /// No model to link was named.
    #[error(
        "Please provide the name of the model that you want to link to the application \
         '{application}'"
    )]
    LinkWithoutModel {
        /// The application.
        application: String,
    },
    /// Several models to link were named.
    #[error(
        "Applications must be linked with at most one model. Attempted to add links to {count} \
         models."
    )]
    LinksTooMany {
        /// How many were named.
        count: usize,
    },
    /// The same link again.
    #[error("The model with name '{model}' is already linked to '{application}'")]
    LinkExists {
        /// The model.
        model: String,
        /// The application.
        application: String,
    },
    /// The application has another link.
    #[error("A model with name {model} is already linked to '{application}'.")]
    LinkOccupied {
        /// The model that is linked.
        model: String,
        /// The application.
        application: String,
    },
    /// No such link.
    #[error("Cannot remove nonexistent link between app {application} and model {model}")]
    LinkMissing {
        /// The model.
        model: String,
        /// The application.
        application: String,
    },
    /// The version is registered.
    #[error("model with name '{model}' and version '{version}' already exists")]
    VersionExists {
        /// The model.
        model: String,
        /// The version.
        version: String,
    },
    /// No such version.
    #[error("model with name '{model}' and version '{version}' does not exist")]
    VersionMissing {
        /// The model.
        model: String,
        /// The version.
        version: String,
    },
    /// A new version takes something else than an application that its model is linked to.
    #[error(
        "Model with name '{model}' is already linked to app '{application}' using input type \
         '{wants}'. The input type you provided for a new version of the model, '{has}', is not \
         compatible."
    )]
    VersionIncompatible {
        /// The model.
        model: String,
        /// The linked application.
        application: String,
        /// What the application takes.
        wants: InputType,
        /// What the version takes.
        has: InputType,
    },
    /// No such model, where the current version is to be set.
    #[error("Cannot set version for nonexistent model '{model}'")]
    SetVersionModelMissing {
        /// The model.
        model: String,
    },
    /// No such version, where it is to be made current.
    #[error("Cannot set non-existent version '{version}' for model with name '{model}'")]
    SetVersionMissing {
        /// The model.
        model: String,
        /// The version.
        version: String,
    },
    /// The version to make current takes something else than a linked application.
    #[error(
        "version '{version}' of model '{model}' takes {has}, but application '{application}', \
         which is linked to it, takes {wants}"
    )]
    SetVersionIncompatible {
        /// The model.
        model: String,
        /// The version.
        version: String,
        /// The linked application.
        application: String,
        /// What the application takes.
        wants: InputType,
        /// What the version takes.
        has: InputType,
    },
    /// No such model.
    #[error("model '{model}' does not exist")]
    ModelMissing {
        /// The model.
        model: String,
    },
    /// The model has versions, but none is current.
    #[error("model '{model}' has no current version; name one")]
    CurrentMissing {
        /// The model.
        model: String,
    },
    /// There is no earlier version to roll back to.
    #[error("model '{model}' has no earlier version to roll back to")]
    HistoryEmpty {
        /// The model.
        model: String,
    },
    /// What is to be deployed is not registered.
    #[error(
        "model '{model}' has no version '{version}' to deploy; add it first with 'skysail model add'"
    )]
    DeployMissing {
        /// The model.
        model: String,
        /// The version.
        version: String,
    },
    /// There is no such deployment.
    #[error("version '{version}' of model '{model}' is not deployed; use 'skysail deploy' first")]
    DeploymentMissing {
        /// The model.
        model: String,
        /// The version.
        version: String,
    },
    /// A name with one of Clipper's separators.
    #[error("Invalid {what} supplied: {}. Contains one of: ',', ':'", shown(text))]
    Separator {
        /// `model name`, `model version` or `label`.
        what: &'static str,
        /// The request's field.
        field: &'static str,
        /// What was given.
        text: String,
    },
    /// A text that is no name.
    #[error("{error}")]
    Name {
        /// The request's field.
        field: &'static str,
        /// What is wrong with it.
        error: NameError,
    },
    /// A name that the query port needs itself.
    #[error("{what} name '{name}' is reserved: {why}, choose another one")]
    NameReserved {
        /// Whose name.
        what: &'static str,
        /// The request's field.
        field: &'static str,
        /// The name.
        name: String,
        /// What it is needed for.
        why: &'static str,
    },
    /// A batch size that is neither positive nor -1.
    #[error("The batch size must be positive or DEFAULT_BATCH_SIZE, which is -1")]
    BatchSize,
    /// A number that is not whole, outside of its range.
    #[error("{what} is {value}, expected {min} to {max}")]
    NumberOutOfRange {
        /// What it is, with its unit.
        what: &'static str,
        /// The request's field.
        field: &'static str,
        /// What was given.
        value: f64,
        /// Least that is allowed.
        min: f64,
        /// Most that is allowed.
        max: f64,
    },
    /// Allowed sizes that do not ascend.
    #[error("allowed sizes must ascend")]
    SizesOrder,
    /// A number outside of its range.
    #[error("{what} is {value}, expected {min} to {max}")]
    OutOfRange {
        /// What it is, with its unit.
        what: &'static str,
        /// The request's field.
        field: &'static str,
        /// What was given.
        value: u64,
        /// Least allowed.
        min: u64,
        /// Greatest allowed.
        max: u64,
    },
    /// A text or list beyond its limit.
    #[error("{what} has {count} {unit}, at most {max} allowed")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// The request's field.
        field: &'static str,
        /// What was given.
        count: usize,
        /// What is counted.
        unit: &'static str,
        /// Most allowed.
        max: usize,
    },
    /// A command without a program.
    #[error("command is empty, expected a program and its arguments")]
    CommandEmpty,
    /// A command that no process can get.
    #[error("command holds a zero byte in argument {index}")]
    CommandZeroByte {
        /// Which; 0 is the program.
        index: usize,
    },
    /// What replicas are told cannot be an environment variable.
    #[error("{what} {} cannot be passed to replicas: {reason}", shown(text))]
    Launch {
        /// What it is.
        what: &'static str,
        /// What was given.
        text: String,
        /// Why not.
        reason: &'static str,
    },
    /// There is no room for one more.
    #[error("there would be {count} {what}, at most {max} allowed; remove some first")]
    Full {
        /// What is counted.
        what: &'static str,
        /// The request's field that asks for more.
        field: &'static str,
        /// How many there would be.
        count: u64,
        /// Most allowed.
        max: u64,
    },
    /// A counter came to its end.
    #[error("{what} are used up: {asked} asked for, {left} left")]
    Exhausted {
        /// What is counted.
        what: &'static str,
        /// How many were asked for.
        asked: u64,
        /// How many there are.
        left: u64,
    },
    /// Other writers were faster each time.
    #[error("state was changed by others during {tries} tries; try again")]
    Contended {
        /// How often it was tried.
        tries: u32,
    },
    /// A stored record does not make sense.
    #[error("stored record '{key}' is not valid: {reason}")]
    Record {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store refused or failed.
    #[error("state cannot be read or written")]
    Store(#[from] StoreError),
    /// What is stored could not be declared to the orchestrator.
    #[error("deployments are recorded, but the orchestrator did not take them")]
    Orchestrator(#[from] OrchestratorError),
}

/// What a [`ControlError`] means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// What the request names does not exist.
    NotFound,
    /// What the request would make exists.
    AlreadyExists,
    /// The request breaks a rule by itself.
    Invalid,
    /// The request does not fit what is registered.
    Conflict,
    /// A limit on what is registered is reached.
    Full,
    /// The store or orchestrator does not work now.
    Unavailable,
    /// The stored state is damaged or was written by a later release.
    Corrupt,
}

impl ControlError {
    /// What to decide on.
    pub fn kind(&self) -> Kind {
        use ControlError as E;
        match self {
            E::ApplicationMissing { .. }
            | E::LinkApplicationMissing { .. }
            | E::UnlinkApplicationMissing { .. }
            | E::LinksApplicationMissing { .. }
            | E::LinkModelMissing { .. }
            | E::LinkMissing { .. }
            | E::VersionMissing { .. }
            | E::SetVersionModelMissing { .. }
            | E::SetVersionMissing { .. }
            | E::ModelMissing { .. }
            | E::DeployMissing { .. }
            | E::DeploymentMissing { .. } => Kind::NotFound,
            E::ApplicationExists { .. } | E::LinkExists { .. } | E::VersionExists { .. } => {
                Kind::AlreadyExists
            }
            E::LinkWithoutModel { .. }
            | E::LinksTooMany { .. }
            | E::Separator { .. }
            | E::Name { .. }
            | E::NameReserved { .. }
            | E::BatchSize
            | E::SizesOrder
            | E::NumberOutOfRange { .. }
            | E::OutOfRange { .. }
            | E::TooLong { .. }
            | E::CommandEmpty
            | E::CommandZeroByte { .. }
            | E::Launch { .. } => Kind::Invalid,
            E::LinkModelWithoutCurrent { .. }
            | E::LinkIncompatible { .. }
            | E::LinkOccupied { .. }
            | E::VersionIncompatible { .. }
            | E::SetVersionIncompatible { .. }
            | E::CurrentMissing { .. }
            | E::HistoryEmpty { .. } => Kind::Conflict,
            E::Full { .. } | E::Exhausted { .. } => Kind::Full,
            E::Contended { .. } | E::Orchestrator(_) => Kind::Unavailable,
            E::Record { .. } => Kind::Corrupt,
            E::Store(error) => store_kind(error),
        }
    }

    /// The request's field that is to blame, if it is one.
    pub fn field(&self) -> Option<&'static str> {
        use ControlError as E;
        match self {
            E::ApplicationExists { .. } | E::ApplicationMissing { .. } => Some("name"),
            E::LinkApplicationMissing { .. }
            | E::UnlinkApplicationMissing { .. }
            | E::LinksApplicationMissing { .. }
            | E::LinkOccupied { .. } => Some("application"),
            E::LinkModelMissing { .. }
            | E::LinkModelWithoutCurrent { .. }
            | E::LinkIncompatible { .. }
            | E::LinkWithoutModel { .. }
            | E::LinksTooMany { .. }
            | E::LinkExists { .. }
            | E::LinkMissing { .. } => Some("models"),
            E::VersionIncompatible { .. } => Some("input_type"),
            E::SetVersionModelMissing { .. } | E::ModelMissing { .. } | E::HistoryEmpty { .. } => {
                Some("model")
            }
            E::VersionExists { .. }
            | E::VersionMissing { .. }
            | E::SetVersionMissing { .. }
            | E::SetVersionIncompatible { .. }
            | E::CurrentMissing { .. }
            | E::DeployMissing { .. }
            | E::DeploymentMissing { .. } => Some("version"),
            E::BatchSize | E::SizesOrder => Some("batching"),
            E::CommandEmpty | E::CommandZeroByte { .. } => Some("command"),
            E::Separator { field, .. }
            | E::Name { field, .. }
            | E::NameReserved { field, .. }
            | E::OutOfRange { field, .. }
            | E::NumberOutOfRange { field, .. }
            | E::TooLong { field, .. }
            | E::Full { field, .. } => Some(field),
            E::Exhausted { .. }
            | E::Launch { .. }
            | E::Contended { .. }
            | E::Record { .. }
            | E::Store(_)
            | E::Orchestrator(_) => None,
        }
    }
}

fn store_kind(error: &StoreError) -> Kind {
    match error.kind() {
        StoreErrorKind::Corrupt | StoreErrorKind::Format => Kind::Corrupt,
        StoreErrorKind::Full => Kind::Full,
        _ => Kind::Unavailable,
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
