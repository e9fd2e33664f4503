//! Clipper's listings of containers, which are our replicas.

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use skysail_core::registry::Registry;
use skysail_engine::ReplicaStatus;

use super::{Answer, Shared, Verbose, json, one, parse, schemas};

#[derive(Deserialize)]
struct OfReplica {
    model_name: String,
    model_version: String,
    replica_id: u64,
}

#[derive(Serialize)]
struct View<'a> {
    model_id: String,
    model_name: &'a str,
    model_version: &'a str,
    model_replica_id: u64,
    /// Empty while the version is not registered.
    input_type: &'static str,
}

impl View<'_> {
    fn of<'a>(registry: &Registry, replica: &'a ReplicaStatus) -> View<'a> {
        let model = registry.models.get(replica.model.as_str());
        let version = model.and_then(|model| model.versions.get(replica.version.as_str()));
        View {
            model_id: format!("{}:{}", replica.model, replica.version),
            model_name: &replica.model,
            model_version: &replica.version,
            model_replica_id: replica.id,
            input_type: version.map_or("", |version| version.input_type.name()),
        }
    }
}

pub(super) async fn get(State(frontend): State<Shared>, request: Request) -> Answer {
    let asked: OfReplica = parse(request, schemas::CONTAINER).await?;
    let (registry, replicas) = (frontend.control.registry(), frontend.engine.replicas());
    let is_asked = |replica: &&ReplicaStatus| {
        replica.id == asked.replica_id
            && replica.model == asked.model_name
            && replica.version == asked.model_version
    };
    one(replicas
        .iter()
        .find(is_asked)
        .map(|replica| View::of(&registry, replica)))
}

pub(super) async fn get_all(State(frontend): State<Shared>, request: Request) -> Answer {
    let Verbose { verbose } = parse(request, schemas::VERBOSE).await?;
    let (registry, replicas) = (frontend.control.registry(), frontend.engine.replicas());
    if verbose {
        let view = |replica| View::of(&registry, replica);
        return Ok(json(&replicas.iter().map(view).collect::<Vec<_>>()));
    }
    let id =
        |replica: &ReplicaStatus| format!("{}:{}:{}", replica.model, replica.version, replica.id);
    Ok(json(&replicas.iter().map(id).collect::<Vec<_>>()))
}
