//! The V2 routes over HTTP: head, body, answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::Body;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde::Serialize;
use serde_json::json;
use skysail_rpc::{PayloadBuf, Schema};

use super::error::{Kind, V2Error};
use super::header;
use super::infer::{Form, InferResponse, infer};
use super::memory::{Held, Regions, Registration};
use super::path::{MemoryKind, MemoryVerb, Named, Path};
use super::request::{Data, InferRequest, WantedOutput};
use super::target::{self, Target};
use super::{body, metadata, repository, rows, settings, statistics, write};
use crate::frontend::Frontend;
use crate::http::body::BODY_TIMEOUT;
use crate::http::read_body;
use crate::json::JsonLimits;
use crate::query::BodyFailure;
use crate::query::encoding::{Encoding, EncodingError};
use crate::query::reply::Reply;
use crate::readiness::State;

/// Bytes of the JSON before binary data.
static HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// Bodies of routes other than `infer`.
const COMMAND_BYTES_MAX: usize = 1 << 20;
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Whether a path is one of V2's, or would be.
pub(in crate::query) fn is_path(path: &str) -> bool {
    path.strip_prefix("/v2")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The handler of the V2 routes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct V2 {
    frontend: Arc<Frontend>,
    json: JsonLimits,
    regions: Regions,
}

impl V2 {
    /// The handler of a front end.
    #[must_use]
    pub fn new(frontend: Arc<Frontend>) -> V2 {
        V2 {
            regions: Regions::new(&frontend.client_shm),
            json: JsonLimits::default(),
            frontend,
        }
    }

    /// The front end that it answers for.
    pub(in crate::query) fn frontend(&self) -> &Arc<Frontend> {
        &self.frontend
    }

    /// The shared memory of clients.
    pub(in crate::query) fn regions(&self) -> &Regions {
        &self.regions
    }

    /// Answers a request whose last byte came at `arrival`, with tensors from and to shared memory.
    ///
    /// # Errors
    /// If it cannot be right, or there is no prediction and no default.
    pub(in crate::query) async fn answer(
        &self,
        target: &Target,
        mut request: InferRequest,
        arrival: Instant,
    ) -> Result<InferResponse, V2Error> {
        let held = self.take_regions(&mut request)?;
        let response = infer(&self.frontend, target, request, arrival).await?;
        write_regions(&response, &held)?;
        Ok(response)
    }

    /// Answers one request for `path`, which its method was found to go with.
    pub(in crate::query) async fn handle<B>(
        &self,
        head: &Parts,
        path: Option<Path<'_>>,
        body: B,
    ) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyFailure>,
    {
        let answered = match path {
            Some(Path::Infer(named)) => return self.infer(&head.headers, &named, body).await,
            // Boxed, so that inference does not pay for their size.
            Some(path) if head.method != Method::POST => Box::pin(self.get(path)).await,
            Some(path) => Box::pin(self.post(&head.headers, path, body)).await,
            None => Err(V2Error::not_found("Not Found")),
        };
        answered.unwrap_or_else(|error| refuse(&error, None))
    }

    async fn get(&self, path: Path<'_>) -> Result<Reply, V2Error> {
        let frontend = &self.frontend;
        Ok(match path {
            Path::Live => shown(&json!({ "live": true })),
            Path::Ready => self.ready()?,
            Path::Server => shown(&metadata::server(frontend, self.regions.is_on())),
            Path::ModelReady(named) => ready(&Target::find(frontend, &named)?)?,
            Path::ModelMetadata(named) => {
                shown(&metadata::model(&Target::find(frontend, &named)?)?)
            }
            Path::ModelConfig(named) => {
                let target = Target::find(frontend, &named)?;
                shown(&metadata::config(frontend, &target)?)
            }
            Path::ModelStatistics(named) => shown(&statistics::of_model(frontend, &named)?),
            Path::Statistics => shown(&statistics::all(frontend)),
            Path::TraceSetting(model) => {
                model.map_or(Ok(()), |model| target::route(frontend, &model).map(|_| ()))?;
                shown(&settings::trace())
            }
            Path::Logging => shown(&settings::logging()),
            Path::Memory(MemoryKind::System, MemoryVerb::Status(name)) => {
                shown(&self.regions.status(name.as_deref()).await?)
            }
            Path::Memory(MemoryKind::Cuda, MemoryVerb::Status(_)) => shown(&json!([])),
            _ => return Err(V2Error::not_found("Not Found")),
        })
    }

    fn ready(&self) -> Result<Reply, V2Error> {
        if self.frontend.readiness.state() == State::Ready {
            return Ok(shown(&json!({ "ready": true })));
        }
        let message = "the front end is about to stop";
        Err(V2Error::new(Kind::Unavailable, message))
    }

    async fn post<B>(&self, headers: &HeaderMap, path: Path<'_>, body: B) -> Result<Reply, V2Error>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyFailure>,
    {
        let body = read(headers, body, COMMAND_BYTES_MAX).await?;
        let frontend = &self.frontend;
        match path {
            Path::Index => {
                let wanted = repository::index_request(&body)?;
                Ok(shown(&repository::index(frontend, wanted.ready)))
            }
            Path::Load(model) => {
                repository::check_load(&body)?;
                repository::load(frontend, &model).await.map(|()| empty())
            }
            Path::Unload(model) => repository::unload(frontend, &model).await.map(|()| empty()),
            Path::TraceSetting(model) => {
                model.map_or(Ok(()), |model| target::route(frontend, &model).map(|_| ()))?;
                Ok(shown(&settings::update(&body, settings::trace())?))
            }
            Path::Logging => Ok(shown(&settings::update(&body, settings::logging())?)),
            Path::Memory(kind, verb) => self.memory(kind, verb, &body).await,
            _ => Err(V2Error::not_found("Not Found")),
        }
    }

    async fn memory(
        &self,
        kind: MemoryKind,
        verb: MemoryVerb<'_>,
        body: &[u8],
    ) -> Result<Reply, V2Error> {
        match (kind, verb) {
            (MemoryKind::System, MemoryVerb::Register(name)) => {
                let wanted: Registration = body::object(body, "region")?;
                self.regions.register(&name, wanted)?;
            }
            (MemoryKind::System, MemoryVerb::Unregister(name)) => {
                self.regions.unregister(name.as_deref()).await;
            }
            // Clients unregister all before they begin, wherever they are.
            (MemoryKind::Cuda, MemoryVerb::Unregister(_)) => {}
            (MemoryKind::Cuda, _) => {
                return Err(V2Error::unsupported("CUDA shared memory is not supported"));
            }
            (MemoryKind::System, MemoryVerb::Status(_)) => {
                return Err(V2Error::not_found("Not Found"));
            }
        }
        Ok(empty())
    }

    async fn infer<B>(&self, headers: &HeaderMap, named: &Named<'_>, body: B) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyFailure>,
    {
        let mut id = None;
        let answered = self.try_infer(headers, named, body, &mut id).await;
        answered.unwrap_or_else(|error| refuse(&error, id.as_deref()))
    }

    /// `id` is set as soon as it is known, for errors that come later.
    async fn try_infer<B>(
        &self,
        headers: &HeaderMap,
        named: &Named<'_>,
        body: B,
        id: &mut Option<String>,
    ) -> Result<Reply, V2Error>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BodyFailure>,
    {
        let target = Target::find(&self.frontend, named)?;
        let is_binary = headers.contains_key(&HEADER_LENGTH);
        let limit = match is_binary {
            true => self.frontend.binary_bytes_max,
            false => self.frontend.body_bytes_max,
        };
        let body = read(headers, body, limit).await?;
        let arrival = Instant::now();
        let request = self.parse(headers, &target, body)?;
        id.clone_from(&request.id);
        let response = self.answer(&target, request, arrival).await?;
        written(headers, &response)
    }

    /// The request in a body: JSON, JSON with binary data behind it, or one bare tensor.
    fn parse(
        &self,
        headers: &HeaderMap,
        target: &Target,
        body: Bytes,
    ) -> Result<InferRequest, V2Error> {
        let header_bytes = header_length(headers, body.len())?;
        if header_bytes == Some(0) {
            let schema = target.resolved.schema();
            return raw(body, schema.ok_or_else(|| target.unknown_tensors())?);
        }
        // A single row of a single tensor is parsed where it stays.
        let buffer = |datatype, elements| match target.resolved.is_only_row(elements) {
            true => target.resolved.row(datatype),
            false => PayloadBuf::default(),
        };
        split(body, header_bytes, &self.json, &buffer)
    }

    /// Reads the inputs that lie in regions, and holds those that outputs go to.
    fn take_regions(&self, request: &mut InferRequest) -> Result<Vec<Option<Held>>, V2Error> {
        self.check_region_bytes(request)?;
        for input in &mut request.inputs {
            if let Data::Region(slice) = &input.data {
                let held = self.regions.hold(slice)?;
                input.data = Data::Written(held.read(slice)?);
            }
        }
        let mut held = Vec::with_capacity(request.outputs.len());
        for WantedOutput { region, .. } in &request.outputs {
            held.push(match region {
                Some(slice) => Some(self.regions.hold(slice)?),
                None => None,
            });
        }
        Ok(held)
    }
}

impl V2 {
    /// Tensors in regions are bound as those in bodies are, before room is made for them.
    fn check_region_bytes(&self, request: &InferRequest) -> Result<(), V2Error> {
        let of_inputs = request.inputs.iter().filter_map(|input| match &input.data {
            Data::Region(slice) => Some(slice.bytes),
            _ => None,
        });
        let bytes = of_inputs.fold(0, usize::saturating_add);
        let limit = self.frontend.binary_bytes_max;
        if bytes <= limit {
            return Ok(());
        }
        let message =
            format!("inputs in shared memory have {bytes} bytes, at most {limit} allowed");
        Err(V2Error::new(Kind::TooLarge, message))
    }
}

/// Writes the outputs that go to regions; `held` are theirs, in the order of the wanted outputs.
fn write_regions(response: &InferResponse, held: &[Option<Held>]) -> Result<(), V2Error> {
    for (output, held) in response.outputs.iter().zip(held) {
        if let (Form::Region(slice), Some(held)) = (&output.form, held) {
            let mut bytes = Vec::with_capacity(output.binary_bytes());
            output.write_binary(&mut bytes);
            held.write(slice, &bytes)?;
        }
    }
    Ok(())
}

/// A request of JSON and the binary data behind its `header_bytes`; without them all is JSON.
///
/// # Errors
/// If it is not one.
///
/// # Panics
/// If the body has fewer bytes than that.
pub(in crate::query) fn split(
    mut body: Bytes,
    header_bytes: Option<usize>,
    limits: &JsonLimits,
    buffer: &header::Buffer<'_>,
) -> Result<InferRequest, V2Error> {
    let json = body.split_to(header_bytes.unwrap_or(body.len()));
    let mut request = header::parse(&json, limits, buffer)?;
    request.attach(body)?;
    Ok(request)
}

/// A request that is one bare tensor.
///
/// # Errors
/// If a model of this schema takes none.
pub(in crate::query) fn raw(body: Bytes, schema: &Schema) -> Result<InferRequest, V2Error> {
    let mut request = InferRequest {
        inputs: vec![rows::raw(body, schema)?],
        ..InferRequest::default()
    };
    request.parameters.binary_outputs = true;
    Ok(request)
}

/// Bytes of the JSON before binary data; none where all of the body is JSON.
fn header_length(headers: &HeaderMap, body_bytes: usize) -> Result<Option<usize>, V2Error> {
    let mut values = headers.get_all(&HEADER_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        let message = format!("{HEADER_LENGTH} stands twice");
        return Err(V2Error::invalid(message));
    }
    let text = value.to_str().unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let length = text
        .parse()
        .ok()
        .filter(|length| digits && *length <= body_bytes);
    length.map(Some).ok_or_else(|| {
        V2Error::invalid(format!(
            "{HEADER_LENGTH} is '{}', expected 0 to {body_bytes}, the length of the body",
            text.escape_default()
        ))
    })
}

/// Reads a body, decompressed.
async fn read<B>(headers: &HeaderMap, body: B, limit: usize) -> Result<Bytes, V2Error>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BodyFailure>,
{
    let encoding = Encoding::of_request(headers)?;
    let body = read_body(body, limit, BODY_TIMEOUT).await?;
    match encoding {
        None => Ok(body),
        Some(encoding) => Ok(encoding.decode(&body, limit).await?),
    }
}

fn written(headers: &HeaderMap, response: &InferResponse) -> Result<Reply, V2Error> {
    let written = write::response(response)?;
    let packed = Encoding::of_answer(headers).and_then(|encoding| encoding.encode(&written.body));
    let (encoding, body) = packed.map_or((None, written.body), |(name, body)| (Some(name), body));
    let mut reply = Response::new(Bytes::from(body).into());
    let headers = reply.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        if written.header_bytes.is_some() {
            BINARY
        } else {
            JSON
        },
    );
    if let Some(bytes) = written.header_bytes {
        headers.insert(&HEADER_LENGTH, bytes.into());
    }
    if let Some(name) = encoding {
        headers.insert(CONTENT_ENCODING, name);
    }
    Ok(reply)
}

fn ready(target: &Target) -> Result<Reply, V2Error> {
    if target.resolved.is_serving() {
        return Ok(shown(&json!({ "name": target.name(), "ready": true })));
    }
    let message = format!("no replica of '{}' is ready", target.name());
    Err(V2Error::new(Kind::Unavailable, message))
}

fn shown(value: &impl Serialize) -> Reply {
    let body = serde_json::to_vec(value).expect("its keys are strings");
    let mut reply = Response::new(Bytes::from(body).into());
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

fn empty() -> Reply {
    let mut reply = Response::new(Bytes::new().into());
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// An error as every V2 client reads it.
pub(in crate::query) fn refuse(error: &V2Error, id: Option<&str>) -> Reply {
    let (code, status, _) = error.kind.row();
    let mut body = json!({ "error": error.message, "code": code });
    if let Some(id) = id {
        body["request_id"] = id.into();
    }
    let mut reply = shown(&body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if error.kind == Kind::UnsupportedEncoding {
        headers.insert(
            ACCEPT_ENCODING,
            HeaderValue::from_static(EncodingError::KNOWN),
        );
    }
    reply
}
