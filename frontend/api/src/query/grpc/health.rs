//! The standard health service: the front end, the inference service, and each model by its name.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

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

    /// How a service is, if there is one of that name.
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let serves = |serves| match serves {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        if service.is_empty() || service == INFERENCE {
            return Some(serves(self.is_ready()));
        }
        let named = Named {
            model: service.into(),
            version: None,
        };
        let target = Target::find(&self.0, &named).ok()?;
        Some(serves(self.is_ready() && target.resolved.is_serving()))
    }

    /// As [`Self::status`], where a name that is not known is no error.
    fn watched(&self, service: &str) -> ServingStatus {
        self.status(service)
            .unwrap_or(ServingStatus::ServiceUnknown)
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
        let service = request.into_inner().service;
        let status = self.status(&service);
        let status = status.ok_or_else(|| Status::not_found("no service has this name"))?;
        Ok(Response::new(response(status)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Tells the status at once, and then each change.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watching = (self.clone(), request.into_inner().service, None);
        let next = |(health, service, told): (HealthService, String, Option<ServingStatus>)| async move {
            loop {
                let now = health.watched(&service);
                if told != Some(now) {
                    return Some((Ok(response(now)), (health, service, Some(now))));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        Ok(Response::new(Box::pin(stream::unfold(watching, next))))
    }
}
