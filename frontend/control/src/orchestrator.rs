//! Replicas as processes, containers or pods: what is wanted is declared, what runs is observed.
//!
//! [`Orchestrator`] is the contract. The process mechanism runs replicas under a supervisor, a
//! small child of the front end: `process.rs` is the front end's side, `supervisor.rs` the
//! child's, `supervision.rs` its decisions, `launch.rs` how one replica is started.
//!
//! # Invariants
//! - `apply` declares everything: a deployment that is not listed is stopped.
//! - A (model, version, generation) is listed at most once, with at most [`REPLICAS_MAX`] replicas
//!   over all deployments.

mod backoff;
mod descendants;
mod launch;
mod memory;
mod process;
mod protocol;
mod replica_log;
mod supervision;
mod supervisor;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use launch::exec_container;
pub use memory::MemoryOrchestrator;
pub use process::ProcessOrchestrator;
pub use supervisor::supervise;

/// Most replicas of all deployments together.
pub const REPLICAS_MAX: u32 = 1024;
/// Environment variable that tells a replica its index within its deployment.
pub const REPLICA_INDEX_VARIABLE: &str = "SKYSAIL_REPLICA_INDEX";

/// Replicas that run one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The model's name.
    pub model: String,
    /// The version's name.
    pub version: String,
    /// Tells a version from an earlier one of the same name.
    pub generation: u64,
    /// How many processes run; 0 is allowed.
    pub replicas: u32,
    /// What to run: a path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
    /// Added to the front end's environment, beside [`REPLICA_INDEX_VARIABLE`].
    pub env: Vec<(String, String)>,
    /// Where `replica-N.log` is kept; made if absent. No two deployments should share one.
    pub log_dir: PathBuf,
}

/// What one replica's process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProcessState {
    /// About to be started for the first time, or after a change of its command.
    Pending,
    /// Its process runs.
    Running,
    /// Its process ended or could not be started; the next try comes after `delay_ms`.
    BackingOff {
        /// The whole delay, counted from the end of the process.
        delay_ms: u64,
    },
    /// It was asked to end, and has until the end of its grace.
    Stopping,
}

/// One replica as last observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaProcess {
    /// The model's name.
    pub model: String,
    /// The version's name.
    pub version: String,
    /// The version's generation.
    pub generation: u64,
    /// From 0; the highest are stopped first.
    pub index: u32,
    /// What its process is doing.
    pub state: ProcessState,
    /// How often it was started again since it was declared.
    pub restarts: u32,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// How its last process ended, such as `exited: code 3`.
    pub last_exit: Option<String>,
}

/// Runs deployments.
///
/// Both calls are short; what `apply` asked for shows in `observe` when it has happened.
pub trait Orchestrator: Send + Sync {
    /// Declares the whole desired state; idempotent; what is not listed is stopped.
    ///
    /// A deployment whose program, arguments, environment or log directory changed has its
    /// replicas restarted.
    ///
    /// # Errors
    /// Where the declaration itself is wrong; nothing changes then. A program that cannot be
    /// started is no error here: its replicas back off and say why in `last_exit`.
    fn apply(&self, desired: &[Deployment]) -> Result<(), OrchestratorError>;

    /// The replicas as last observed, by model, version, generation and index.
    fn observe(&self) -> Vec<ReplicaProcess>;

    /// Follows the number of the observation; it changes whenever `observe` may.
    fn watch(&self) -> watch::Receiver<u64>;
}

/// Why an orchestrator refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrchestratorError {
    /// The supervisor's executable could not be run.
    #[error("cannot start the supervisor {}", executable.display())]
    SupervisorStart {
        /// What was run.
        executable: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The supervisor ended before it was ready; it said why on stderr.
    #[error("supervisor {} ended before it was ready: {exit}", executable.display())]
    SupervisorEnded {
        /// What was run.
        executable: PathBuf,
        /// How it ended.
        exit: String,
    },
    /// Two deployments of one name and generation.
    #[error("deployment {0} is listed twice")]
    Duplicate(String),
    /// Too many replicas.
    #[error("{count} replicas are asked for, at most {REPLICAS_MAX} allowed")]
    TooManyReplicas {
        /// How many, over all deployments.
        count: u64,
    },
    /// A program, argument or variable that no process can get.
    #[error("deployment {deployment}: {reason}")]
    Command {
        /// Whose.
        deployment: String,
        /// What is wrong.
        reason: String,
    },
    /// The declaration does not fit the supervisor's protocol.
    #[error("deployments cannot be told to the supervisor: {reason}")]
    Encode {
        /// What is wrong.
        reason: String,
    },
}

/// What an [`OrchestratorError`] means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OrchestratorErrorKind {
    /// The declaration is wrong.
    Invalid,
    /// The mechanism itself does not work.
    Unavailable,
}

impl OrchestratorError {
    /// What to decide on.
    pub fn kind(&self) -> OrchestratorErrorKind {
        match self {
            Self::SupervisorStart { .. } | Self::SupervisorEnded { .. } => {
                OrchestratorErrorKind::Unavailable
            }
            Self::Duplicate(_)
            | Self::TooManyReplicas { .. }
            | Self::Command { .. }
            | Self::Encode { .. } => OrchestratorErrorKind::Invalid,
        }
    }
}

/// What tells deployments apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct DeploymentKey {
    model: String,
    version: String,
    generation: u64,
}

impl DeploymentKey {
    fn of(deployment: &Deployment) -> Self {
        Self {
            model: deployment.model.clone(),
            version: deployment.version.clone(),
            generation: deployment.generation,
        }
    }
}

impl fmt::Display for DeploymentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{} (generation {})",
            self.model, self.version, self.generation
        )
    }
}

/// Refuses a declaration that cannot be carried out as it stands.
fn check(desired: &[Deployment]) -> Result<(), OrchestratorError> {
    let mut seen = BTreeSet::new();
    for deployment in desired {
        let key = DeploymentKey::of(deployment);
        check_command(deployment).map_err(|reason| OrchestratorError::Command {
            deployment: key.to_string(),
            reason,
        })?;
        if let Some(twice) = seen.replace(key) {
            return Err(OrchestratorError::Duplicate(twice.to_string()));
        }
    }
    let count = desired
        .iter()
        .map(|deployment| u64::from(deployment.replicas))
        .sum();
    if count > u64::from(REPLICAS_MAX) {
        return Err(OrchestratorError::TooManyReplicas { count });
    }
    Ok(())
}

fn check_command(deployment: &Deployment) -> Result<(), String> {
    if deployment.program.as_os_str().is_empty() {
        return Err("program is empty".to_owned());
    }
    if deployment.args.iter().any(|arg| arg.contains('\0')) {
        return Err("an argument holds a zero byte".to_owned());
    }
    let bad = |(name, value): &&(String, String)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    };
    match deployment.env.iter().find(bad) {
        Some((name, _)) => Err(format!("environment variable {name:?} cannot be set")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Deployment, OrchestratorErrorKind, REPLICAS_MAX, check};

    fn deployment(model: &str, replicas: u32) -> Deployment {
        Deployment {
            model: model.to_owned(),
            version: "1".to_owned(),
            generation: 1,
            replicas,
            program: "/bin/true".into(),
            args: Vec::new(),
            env: Vec::new(),
            log_dir: "/tmp".into(),
        }
    }

    #[test]
    fn takes_deployments_up_to_the_limit() {
        assert!(check(&[]).is_ok());
        assert!(check(&[deployment("a", REPLICAS_MAX - 1), deployment("b", 1)]).is_ok());
    }

    #[test]
    fn refuses_declarations_that_cannot_be_carried_out() {
        let no_program = Deployment {
            program: "".into(),
            ..deployment("a", 1)
        };
        let zero_byte = Deployment {
            args: vec!["a\0b".to_owned()],
            ..deployment("a", 1)
        };
        let bad_name = Deployment {
            env: vec![("A=B".to_owned(), String::new())],
            ..deployment("a", 1)
        };
        for (desired, says) in [
            (
                vec![deployment("a", 1), deployment("a", 2)],
                "a:1 (generation 1) is listed twice",
            ),
            (
                vec![deployment("a", REPLICAS_MAX), deployment("b", 1)],
                "1025 replicas",
            ),
            (vec![no_program], "program is empty"),
            (vec![zero_byte], "zero byte"),
            (vec![bad_name], "\"A=B\""),
        ] {
            let error = check(&desired).expect_err(says);
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.kind(), OrchestratorErrorKind::Invalid);
        }
    }
}
