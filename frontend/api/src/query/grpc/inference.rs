//! The inference service.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::generated::grpc_inference_service_server::GrpcInferenceService;
use super::generated::model_repository_parameter::ParameterChoice;
use super::generated::*;
use super::inbound::{self, Inbound};
use super::{outbound, status};
use crate::access::Granted;
use crate::frontend::Frontend;
use crate::query::v2::{
    Named, Registration, Target, V2, V2Error, metadata, repository, settings, statistics, target,
};
use crate::readiness::State;

/// Requests of one stream that are answered at a time; their answers keep the order.
const STREAM_REQUESTS_MAX: usize = 64;

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Inference {
    v2: V2,
}

/// How often a stream looks whether the front end goes on.
const LOOK_EVERY: Duration = Duration::from_millis(250);

type Answer<T> = Result<Response<T>, Status>;

impl Inference {
    pub(super) fn new(v2: V2) -> Inference {
        Inference { v2 }
    }

    /// The model that a request names, if its token is for that.
    fn target(&self, granted: &Granted, model: &str, version: &str) -> Result<Target, Status> {
        granted
            .may_use(Some(model))
            .map_err(|denied| status((&denied).into()))?;
        let named = Named {
            model: model.into(),
            version: Some(version.into()),
        };
        Target::find(self.v2.frontend(), &named).map_err(status)
    }

    /// Answers a request that may take `limit` at most, besides what it says itself.
    async fn infer(
        &self,
        granted: &Granted,
        message: ModelInferRequest,
        limit: Option<Duration>,
    ) -> Result<ModelInferResponse, V2Error> {
        let arrival = Instant::now();
        granted
            .may_use(Some(&message.model_name))
            .map_err(|denied| V2Error::from(&denied))?;
        let Inbound {
            model,
            version,
            mut request,
        } = message.try_into()?;
        let named = Named {
            model: model.into(),
            version: Some(version.into()),
        };
        let target = Target::find(self.v2.frontend(), &named)?;
        request.parameters.options.shorten(limit);
        let response = self.v2.answer(&target, request, arrival).await?;
        Ok(outbound::response(response))
    }

    /// One answer of a stream: errors are told in it, unless the client wants them as statuses.
    async fn streamed(
        self,
        granted: Granted,
        message: Result<ModelInferRequest, Status>,
        limit: Option<Duration>,
        wants_status: bool,
    ) -> Result<ModelStreamInferResponse, Status> {
        let message = message?;
        let id = message.id.clone();
        match self.infer(&granted, message, limit).await {
            Ok(mut response) => {
                response.parameters.extend([outbound::final_response()]);
                Ok(ModelStreamInferResponse {
                    error_message: String::new(),
                    infer_response: Some(response),
                })
            }
            Err(error) if wants_status => Err(status(error)),
            Err(error) => Ok(ModelStreamInferResponse {
                error_message: error.message,
                infer_response: Some(ModelInferResponse {
                    id,
                    ..ModelInferResponse::default()
                }),
            }),
        }
    }
}

/// Done when the front end is about to stop.
async fn drained(frontend: Arc<Frontend>) {
    while frontend.readiness.state() == State::Ready {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What a call was granted by its head.
fn granted<T>(request: &Request<T>) -> Result<Granted, Status> {
    let granted = request.extensions().get::<Granted>();
    granted
        .cloned()
        .ok_or_else(|| Status::internal("the call was not admitted"))
}

/// Refuses a token that is for some applications only what concerns all.
fn concerns_all<T>(request: &Request<T>) -> Result<(), Status> {
    let may = granted(request)?.may_use(None);
    may.map_err(|denied| status((&denied).into()))
}

/// Whether a stream ends at its first error, with that as its status.
fn wants_status(metadata: &MetadataMap) -> bool {
    metadata
        .get("triton_grpc_error")
        .is_some_and(|value| value == "true")
}

/// Nothing, which means all, or a name.
fn name(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The settings that a request brings, as the JSON that HTTP's has.
fn update(
    settings: serde_json::Map<String, serde_json::Value>,
    known: serde_json::Value,
) -> Result<serde_json::Value, Status> {
    let body = serde_json::Value::Object(settings).to_string();
    settings::update(body.as_bytes(), known).map_err(status)
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        let ready = self.v2.frontend().readiness.state() == State::Ready;
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let granted = granted(&request)?;
        let ModelReadyRequest { name, version } = request.into_inner();
        let ready = self
            .target(&granted, &name, &version)?
            .resolved
            .is_serving();
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Answer<ServerMetadataResponse> {
        let server = metadata::server(self.v2.frontend(), self.v2.regions().is_on());
        Ok(Response::new(ServerMetadataResponse {
            name: server.name.to_owned(),
            version: server.version,
            extensions: server.extensions.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Answer<ModelMetadataResponse> {
        let granted = granted(&request)?;
        let ModelMetadataRequest { name, version } = request.into_inner();
        let target = self.target(&granted, &name, &version)?;
        let model = metadata::model(&target).map_err(status)?;
        Ok(Response::new(outbound::model_metadata(model)))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let (limit, granted) = (inbound::timeout(request.metadata()), granted(&request)?);
        let answered = self.infer(&granted, request.into_inner(), limit).await;
        answered.map(Response::new).map_err(status)
    }

    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        let (limit, granted) = (inbound::timeout(request.metadata()), granted(&request)?);
        let wants_status = wants_status(request.metadata());
        let service = self.clone();
        let answer = move |message| {
            let (service, granted) = (service.clone(), granted.clone());
            service.streamed(granted, message, limit, wants_status)
        };
        // What was read is answered; whoever has more to ask finds another front end.
        let requests = request
            .into_inner()
            .take_until(drained(self.v2.frontend().clone()));
        let answers = requests.map(answer).buffered(STREAM_REQUESTS_MAX);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Answer<ModelConfigResponse> {
        let granted = granted(&request)?;
        let ModelConfigRequest { name, version } = request.into_inner();
        let target = self.target(&granted, &name, &version)?;
        let config = metadata::config(self.v2.frontend(), &target).map_err(status)?;
        let config = Some(outbound::model_config(config));
        Ok(Response::new(ModelConfigResponse { config }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Answer<ModelStatisticsResponse> {
        let granted = granted(&request)?;
        let ModelStatisticsRequest { name, version } = request.into_inner();
        let may = granted.may_use(Some(name.as_str()).filter(|name| !name.is_empty()));
        may.map_err(|denied| status((&denied).into()))?;
        let all = match name.as_str() {
            "" => statistics::all(self.v2.frontend()),
            _ => {
                let named = Named {
                    model: name.into(),
                    version: Some(version.into()),
                };
                statistics::of_model(self.v2.frontend(), &named).map_err(status)?
            }
        };
        let model_stats = all
            .model_stats
            .into_iter()
            .map(outbound::model_statistics)
            .collect();
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Answer<RepositoryIndexResponse> {
        concerns_all(&request)?;
        let index = repository::index(self.v2.frontend(), request.into_inner().ready);
        let models = index.into_iter().map(outbound::model_index).collect();
        Ok(Response::new(RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let request = request.into_inner();
        let brings = |(name, value): &(&String, &ModelRepositoryParameter)| {
            let is_file = matches!(value.parameter_choice, Some(ParameterChoice::BytesParam(_)));
            is_file || name.as_str() == "config" || name.starts_with("file:")
        };
        let brought = request.parameters.iter().find(brings).map(|(name, _)| name);
        repository::check_parameters(brought).map_err(status)?;
        let loaded = repository::load(self.v2.frontend(), &request.model_name).await;
        loaded
            .map(|()| Response::new(RepositoryModelLoadResponse {}))
            .map_err(status)
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        let model = request.into_inner().model_name;
        let unloaded = repository::unload(self.v2.frontend(), &model).await;
        unloaded
            .map(|()| Response::new(RepositoryModelUnloadResponse {}))
            .map_err(status)
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<SystemSharedMemoryStatusRequest>,
    ) -> Answer<SystemSharedMemoryStatusResponse> {
        concerns_all(&request)?;
        let region = request.into_inner().name;
        let regions = self
            .v2
            .regions()
            .status(name(&region))
            .await
            .map_err(status)?;
        let regions = regions.into_iter().map(outbound::region).collect();
        Ok(Response::new(SystemSharedMemoryStatusResponse { regions }))
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<SystemSharedMemoryRegisterRequest>,
    ) -> Answer<SystemSharedMemoryRegisterResponse> {
        concerns_all(&request)?;
        let request = request.into_inner();
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let wanted = Registration {
            key: request.key,
            offset: size(request.offset),
            byte_size: size(request.byte_size),
        };
        self.v2
            .regions()
            .register(&request.name, wanted)
            .map_err(status)?;
        Ok(Response::new(SystemSharedMemoryRegisterResponse {}))
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<SystemSharedMemoryUnregisterRequest>,
    ) -> Answer<SystemSharedMemoryUnregisterResponse> {
        concerns_all(&request)?;
        let region = request.into_inner().name;
        self.v2.regions().unregister(name(&region)).await;
        Ok(Response::new(SystemSharedMemoryUnregisterResponse {}))
    }

    async fn cuda_shared_memory_status(
        &self,
        request: Request<CudaSharedMemoryStatusRequest>,
    ) -> Answer<CudaSharedMemoryStatusResponse> {
        concerns_all(&request)?;
        Ok(Response::new(CudaSharedMemoryStatusResponse::default()))
    }

    async fn cuda_shared_memory_register(
        &self,
        request: Request<CudaSharedMemoryRegisterRequest>,
    ) -> Answer<CudaSharedMemoryRegisterResponse> {
        concerns_all(&request)?;
        Err(Status::unimplemented("CUDA shared memory is not supported"))
    }

    async fn cuda_shared_memory_unregister(
        &self,
        request: Request<CudaSharedMemoryUnregisterRequest>,
    ) -> Answer<CudaSharedMemoryUnregisterResponse> {
        concerns_all(&request)?;
        Ok(Response::new(CudaSharedMemoryUnregisterResponse {}))
    }

    async fn trace_setting(
        &self,
        request: Request<TraceSettingRequest>,
    ) -> Answer<TraceSettingResponse> {
        let granted = granted(&request)?;
        let request = request.into_inner();
        let may = granted.may_use(name(&request.model_name));
        may.map_err(|denied| status((&denied).into()))?;
        if let Some(model) = name(&request.model_name) {
            target::route(self.v2.frontend(), model).map_err(status)?;
        }
        let setting = |(name, value): (String, trace_setting_request::SettingValue)| {
            // No value asks for the one that holds by default, as null does in JSON.
            let value = Some(value.value).filter(|values| !values.is_empty());
            (name, serde_json::Value::from(value))
        };
        let wanted = request.settings.into_iter().map(setting).collect();
        let settings = update(wanted, settings::trace())?;
        Ok(Response::new(outbound::trace_settings(settings)))
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> Answer<LogSettingsResponse> {
        use log_settings_request::setting_value::ParameterChoice as Choice;
        concerns_all(&request)?;
        let setting = |(name, value): (String, log_settings_request::SettingValue)| {
            let value = match value.parameter_choice {
                Some(Choice::BoolParam(value)) => value.into(),
                Some(Choice::Uint32Param(value)) => value.into(),
                Some(Choice::StringParam(value)) => value.into(),
                None => serde_json::Value::Null,
            };
            (name, value)
        };
        let wanted = request
            .into_inner()
            .settings
            .into_iter()
            .map(setting)
            .collect();
        let settings = update(wanted, settings::logging())?;
        Ok(Response::new(outbound::log_settings(settings)))
    }
}
