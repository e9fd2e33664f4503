//! What is registered and connected, as JSON shows it.
//!
//! Scripts rely on these shapes: fields are added, never renamed or removed.

use std::sync::Arc;

use serde::Serialize;
use skysail_control::orchestrator::{ProcessState, ReplicaProcess};
use skysail_core::registry::{Application, Batching, Deployment, Model, ModelVersion, Registry};
use skysail_core::{InputType, Name};
use skysail_engine::{Engine, ReplicaStatus};

use crate::frontend::{About, Frontend};

/// Everything at one time: the answer of `/api/v1/status`.
#[derive(Debug, Serialize)]
pub(super) struct StatusView {
    #[serde(flatten)]
    about: About,
    applications: Vec<ApplicationView>,
    /// Versions, by model and version.
    models: Vec<ServedVersionView>,
    /// Replicas whose version is not registered.
    unregistered: Vec<ReplicaView>,
    /// Deployments that wait for their version.
    early_deployments: Vec<Deployment>,
}

/// An application and the version that answers it now.
#[derive(Debug, Serialize)]
pub(super) struct ApplicationView {
    #[serde(flatten)]
    application: Arc<Application>,
    serving: Option<ServingView>,
}

#[derive(Debug, Serialize)]
struct ServingView {
    model: Name,
    version: Name,
}

/// A version with what runs of it.
#[derive(Debug, Serialize)]
struct ServedVersionView {
    name: Name,
    version: Name,
    current: bool,
    input_type: InputType,
    generation: u64,
    replicas: Vec<ReplicaView>,
    deployment: Option<DeploymentView>,
}

/// A connected replica.
#[derive(Debug, Serialize)]
pub(super) struct ReplicaView {
    id: u64,
    model: String,
    version: String,
    state: &'static str,
    transport: &'static str,
    transport_reason: String,
    pid: u32,
    in_flight: usize,
    sdk: String,
    schema: String,
    max_batch: u32,
}

#[derive(Debug, Serialize)]
struct DeploymentView {
    replicas: u32,
    command: Vec<String>,
    processes: Vec<ProcessView>,
}

/// A process of a deployment.
#[derive(Debug, Serialize)]
struct ProcessView {
    index: u32,
    state: &'static str,
    /// The whole delay before the next start, while it backs off.
    delay_ms: Option<u64>,
    restarts: u32,
    pid: Option<u32>,
    last_exit: Option<String>,
}

/// A model with its versions.
#[derive(Debug, Serialize)]
pub(super) struct ModelView {
    name: Name,
    current: Option<Name>,
    /// Versions that were current before, the latest last.
    history: Vec<Name>,
    versions: Vec<VersionView>,
}

/// A registered version.
#[derive(Debug, Serialize)]
pub(super) struct VersionView {
    version: Name,
    current: bool,
    generation: u64,
    input_type: InputType,
    labels: Vec<String>,
    container_name: String,
    model_data_path: String,
    batching: Batching,
    idempotent: bool,
}

/// What there is beside the registry.
struct Observed {
    replicas: Vec<ReplicaStatus>,
    deployments: Vec<Deployment>,
    processes: Vec<ReplicaProcess>,
}

impl StatusView {
    /// Takes a lock of control's, so that it may wait for a command.
    pub(super) fn of(frontend: &Frontend) -> StatusView {
        let registry = frontend.control.registry();
        let observed = Observed {
            replicas: frontend.engine.replicas(),
            deployments: frontend.control.deployments(),
            processes: frontend.control.processes(),
        };
        let served = |pair| ServedVersionView::of(pair, &observed);
        let unregistered = |replica: &&ReplicaStatus| !is_registered(&registry, replica);
        let replicas = observed.replicas.iter();
        StatusView {
            about: frontend.about.clone(),
            applications: applications(frontend, &registry),
            models: versions(&registry).map(served).collect(),
            unregistered: replicas.filter(unregistered).map(ReplicaView::of).collect(),
            early_deployments: frontend.control.early_deployments(),
        }
    }
}

impl ServedVersionView {
    fn of((model, version): (&Model, &ModelVersion), observed: &Observed) -> ServedVersionView {
        let replicas = replicas_of(&observed.replicas, version);
        let deployment = observed.deployments.iter().find(|one| is_of(one, version));
        let deployment_view = |one| DeploymentView::of(one, version, &observed.processes);
        ServedVersionView {
            name: version.model.clone(),
            version: version.version.clone(),
            current: model.current.as_ref() == Some(&version.version),
            input_type: version.input_type,
            generation: version.generation,
            replicas: replicas.map(ReplicaView::of).collect(),
            deployment: deployment.map(deployment_view),
        }
    }
}

fn is_registered(registry: &Registry, replica: &ReplicaStatus) -> bool {
    let model = registry.models.get(replica.model.as_str());
    model.is_some_and(|model| model.versions.contains_key(replica.version.as_str()))
}

/// All applications, by name.
pub(super) fn applications(frontend: &Frontend, registry: &Registry) -> Vec<ApplicationView> {
    let view = |one| ApplicationView::of(one, &frontend.engine);
    registry.applications.values().map(view).collect()
}

/// All versions with their models, by name.
pub(super) fn versions(registry: &Registry) -> impl Iterator<Item = (&Model, &ModelVersion)> {
    registry.models.values().flat_map(|model| {
        model
            .versions
            .values()
            .map(move |version| (model.as_ref(), version.as_ref()))
    })
}

impl ApplicationView {
    /// An application, with the version that answers it now.
    pub(super) fn of(application: &Arc<Application>, engine: &Engine) -> ApplicationView {
        let route = engine.route(application.name.as_str());
        let serving = route.as_ref().and_then(|route| route.serving_version());
        ApplicationView {
            application: application.clone(),
            serving: serving.map(|version| ServingView {
                model: version.model.clone(),
                version: version.version.clone(),
            }),
        }
    }
}

fn replicas_of<'a>(
    replicas: &'a [ReplicaStatus],
    version: &'a ModelVersion,
) -> impl Iterator<Item = &'a ReplicaStatus> {
    let is_of = |one: &&ReplicaStatus| {
        one.model == version.model.as_str() && one.version == version.version.as_str()
    };
    replicas.iter().filter(is_of)
}

fn is_of(deployment: &Deployment, version: &ModelVersion) -> bool {
    deployment.model == version.model && deployment.version == version.version
}

impl ReplicaView {
    /// A replica as the engine tells it.
    pub(super) fn of(replica: &ReplicaStatus) -> ReplicaView {
        ReplicaView {
            id: replica.id,
            model: replica.model.clone(),
            version: replica.version.clone(),
            state: replica.state,
            transport: replica.transport,
            transport_reason: replica.transport_reason.clone(),
            pid: replica.pid,
            in_flight: replica.in_flight,
            sdk: replica.sdk.clone(),
            schema: replica.schema.clone(),
            max_batch: replica.max_batch,
        }
    }
}

impl DeploymentView {
    fn of(
        deployment: &Deployment,
        version: &ModelVersion,
        processes: &[ReplicaProcess],
    ) -> DeploymentView {
        let is_of = |process: &&ReplicaProcess| {
            process.model == version.model.as_str()
                && process.version == version.version.as_str()
                && process.generation == version.generation
        };
        DeploymentView {
            replicas: deployment.replicas,
            command: deployment.command.clone(),
            processes: processes
                .iter()
                .filter(is_of)
                .map(ProcessView::of)
                .collect(),
        }
    }
}

impl ProcessView {
    fn of(process: &ReplicaProcess) -> ProcessView {
        let (state, delay_ms) = match process.state {
            ProcessState::Pending => ("pending", None),
            ProcessState::Running => ("running", None),
            ProcessState::BackingOff { delay_ms } => ("backing_off", Some(delay_ms)),
            ProcessState::Stopping => ("stopping", None),
            _ => ("unknown", None),
        };
        ProcessView {
            index: process.index,
            state,
            delay_ms,
            restarts: process.restarts,
            pid: process.pid,
            last_exit: process.last_exit.clone(),
        }
    }
}

impl ModelView {
    /// A model as registered.
    pub(super) fn of(model: &Model) -> ModelView {
        ModelView {
            name: model.name.clone(),
            current: model.current.clone(),
            history: model.history.clone(),
            versions: model
                .versions
                .values()
                .map(|one| VersionView::of(model, one))
                .collect(),
        }
    }
}

impl VersionView {
    fn of(model: &Model, version: &ModelVersion) -> VersionView {
        VersionView {
            version: version.version.clone(),
            current: model.current.as_ref() == Some(&version.version),
            generation: version.generation,
            input_type: version.input_type,
            labels: version.labels.clone(),
            container_name: version.container_name.clone(),
            model_data_path: version.model_data_path.clone(),
            batching: version.batching.clone(),
            idempotent: version.idempotent,
        }
    }
}
