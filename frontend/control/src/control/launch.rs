//! What replicas that the orchestrator starts are told.

use std::path::PathBuf;

use skysail_core::registry::{Deployment, ModelVersion};

use crate::error::ControlError;
use crate::orchestrator;
use crate::state::State;

const RPC_VARIABLE: &str = "SKYSAIL_RPC";
const MODEL_VARIABLE: &str = "SKYSAIL_MODEL";
const VERSION_VARIABLE: &str = "SKYSAIL_VERSION";
const TOKEN_FILE_VARIABLE: &str = "SKYSAIL_TOKEN_FILE";

/// What deployed replicas are told, and where their logs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Endpoint to connect to: `SKYSAIL_RPC`.
    pub rpc: String,
    /// File that holds the join token: `SKYSAIL_TOKEN_FILE`, if there is one.
    pub token_file: Option<PathBuf>,
    /// Logs are kept below, in `MODEL/VERSION`.
    pub log_dir: PathBuf,
}

impl Launch {
    /// Refuses what cannot be passed in the environment.
    pub(super) fn check(&self) -> Result<(), ControlError> {
        check_text("endpoint", Some(&self.rpc), &self.rpc)?;
        let Some(file) = &self.token_file else {
            return Ok(());
        };
        check_text("token file", file.to_str(), &file.to_string_lossy())
    }

    /// Everything that is deployed, as the orchestrator takes it.
    pub(super) fn declare(&self, state: &State) -> Vec<orchestrator::Deployment> {
        let deployments = state.deployments.values();
        deployments
            .filter_map(|one| {
                let version = state.version(one.model.as_str(), one.version.as_str())?;
                self.declare_one(one, version)
            })
            .collect()
    }

    fn declare_one(
        &self,
        deployment: &Deployment,
        version: &ModelVersion,
    ) -> Option<orchestrator::Deployment> {
        let (program, args) = deployment.command.split_first()?;
        let (model, name) = (version.model.as_str(), version.version.as_str());
        Some(orchestrator::Deployment {
            model: model.to_owned(),
            version: name.to_owned(),
            generation: version.generation,
            replicas: deployment.replicas,
            program: program.into(),
            args: args.to_vec(),
            env: self.environment(version),
            log_dir: self.log_dir.join(model).join(name),
        })
    }

    fn environment(&self, version: &ModelVersion) -> Vec<(String, String)> {
        let set = |name: &str, value: String| (name.to_owned(), value);
        let mut env = vec![
            set(RPC_VARIABLE, self.rpc.clone()),
            set(MODEL_VARIABLE, version.model.to_string()),
            set(VERSION_VARIABLE, version.version.to_string()),
        ];
        let token_file = self.token_file.as_ref().and_then(|file| file.to_str());
        env.extend(token_file.map(|file| set(TOKEN_FILE_VARIABLE, file.to_owned())));
        env
    }
}

fn check_text(what: &'static str, text: Option<&str>, shown: &str) -> Result<(), ControlError> {
    let reason = match text {
        None => "it is not UTF-8",
        Some("") => "it is empty",
        Some(text) if text.contains('\0') => "it holds a zero byte",
        Some(_) => return Ok(()),
    };
    Err(ControlError::Launch {
        what,
        text: shown.to_owned(),
        reason,
    })
}
