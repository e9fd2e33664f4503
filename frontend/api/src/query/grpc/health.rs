//! The standard health service: the front end, the inference service, and each model by its name.
//!
//! The first two need no token. Whoever may not query a model is not told that there is one.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::access::{Caller, Need, Now, Peer, Scope};
use crate::frontend::Frontend;
use crate::query::v2::{Named, Target};
use crate::readiness::State;

/// How often a watched service is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The name of the whole of inference.
const INFERENCE: &str = "inference.GRPCInferenceService";

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct HealthService(Arc<Frontend>);

impl HealthService {
    pub(super) fn new(frontend: Arc<Frontend>) -> HealthService {
        HealthService(frontend)
    }

    fn is_ready(&self) -> bool {
        self.0.readiness.state() == State::Ready
    }

    /// Whether the caller may ask for a model. The head of a call cannot tell, for the name of the
    /// model stands in its message.
    fn may_see(&self, caller: &Asking, model: &str) -> bool {
        let caller = Caller {
            authorization: caller.authorization.as_deref(),
            peer: caller.peer,
        };
        let access = &self.0.access;
        let checked = access.check(&caller, Need::Scope(Scope::Query), Now::read);
        checked.is_ok_and(|granted| granted.may_use(Some(model)).is_ok())
    }

    /// How a service is, if there is one of that name for this caller.
    fn status(&self, caller: &Asking, service: &str) -> Option<ServingStatus> {
        let serves = |serves| match serves {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        if service.is_empty() || service == INFERENCE {
            return Some(serves(self.is_ready()));
        }
        if !self.may_see(caller, service) {
            return None;
        }
        let named = Named {
            model: service.into(),
            version: None,
        };
        let target = Target::find(&self.0, &named).ok()?;
        Some(serves(self.is_ready() && target.resolved.is_serving()))
    }

    /// As [`Self::status`], where a name that is not known is no error.
    fn watched(&self, caller: &Asking, service: &str) -> ServingStatus {
        self.status(caller, service)
            .unwrap_or(ServingStatus::ServiceUnknown)
    }
}

/// Who asks.
struct Asking {
    /// Empty where there are several, of which none counts.
    authorization: Option<Vec<u8>>,
    peer: Option<IpAddr>,
}

impl Asking {
    fn of<T>(request: &Request<T>) -> Asking {
        let mut headers = request.metadata().get_all("authorization").iter();
        let authorization = match (headers.next(), headers.next()) {
            (Some(_), Some(_)) => Some(Vec::new()),
            (first, _) => first.map(|value| value.as_bytes().to_vec()),
        };
        Asking {
            authorization,
            peer: request.extensions().get::<Peer>().map(|peer| peer.0),
        }
    }
}

/// A caller that is told of changes.
struct Watching {
    health: HealthService,
    caller: Asking,
    service: String,
    told: Option<ServingStatus>,
}

impl Watching {
    /// The status, as soon as it is another one than was told; nothing more once it was told that
    /// the front end is about to stop.
    async fn change(&mut self) -> Option<ServingStatus> {
        loop {
            let is_ready = self.health.is_ready();
            let now = self.health.watched(&self.caller, &self.service);
            if self.told.replace(now) != Some(now) {
                return Some(now);
            }
            if !is_ready {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let caller = Asking::of(&request);
        let status = self.status(&caller, &request.get_ref().service);
        let status = status.ok_or_else(|| Status::not_found("no service has this name"))?;
        Ok(Response::new(response(status)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Tells the status at once, and then each change.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watching = Watching {
            health: self.clone(),
            caller: Asking::of(&request),
            service: request.into_inner().service,
            told: None,
        };
        let next = |mut watching: Watching| async move {
            let now = watching.change().await?;
            Some((Ok(response(now)), watching))
        };
        Ok(Response::new(Box::pin(stream::unfold(watching, next))))
    }
}
