//! Requests to a front end, and what its errors mean to people.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use skysail_load::{Method, Request, Response};
use thiserror::Error;
use tokio::runtime::Runtime;

use super::place::{Environment, Place, Where};

/// What to do about an answer that asks for a token.
const TOKEN_ADVICE: &str = "give it by --token-file FILE or SKYSAIL_TOKEN; where the front end's \
                            data directory is, 'skysail tokens new --name NAME --scope admin,query' \
                            makes one";
/// Time for an answer; a command waits for a disk, a prediction for its application's objective.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a verb was not carried out, in one line.
#[derive(Debug, Error)]
pub(super) enum CliError {
    /// What was asked for cannot be right.
    #[error("{0}")]
    Usage(String),
    /// There is no front end.
    #[error("{0}")]
    Absent(String),
    /// There is no answer.
    #[error(
        "cannot reach the front end at {address}: {why}; is `skysail serve` running? \
         (--management, --data-dir)"
    )]
    Unreachable { address: SocketAddr, why: String },
    /// There is somebody, but TLS keeps us apart.
    #[error("cannot talk to the front end at {address}: {why}")]
    Tls { address: SocketAddr, why: String },
    /// The front end refused or failed.
    #[error("{0}")]
    Refused(String),
}

/// An answer of the API.
#[derive(Debug)]
pub(super) struct Answer {
    /// As it came.
    pub(super) text: String,
    /// The same, parsed.
    pub(super) value: Value,
}

/// Talks to one front end.
pub(super) struct Client {
    runtime: Runtime,
    place: Place,
    /// The `Authorization` header of each request.
    authorization: Option<String>,
    patience: Duration,
}

/// Shows no token.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Client");
        shown.field("place", &self.place);
        shown.finish_non_exhaustive()
    }
}

impl Client {
    /// Finds the management API; nothing is sent yet.
    pub(super) fn connect(place: &Where) -> Result<Client, CliError> {
        let environment = Environment::read();
        Client::new(
            place.management(&environment)?,
            place.authorization(&environment)?,
        )
    }

    /// A client of the query port that `text` names.
    pub(super) fn of_query_port(text: &str, place: &Where) -> Result<Client, CliError> {
        let environment = Environment::read();
        Client::new(
            place.port("--query", text, &environment)?,
            place.authorization(&environment)?,
        )
    }

    /// A client of the API at `address`.
    #[cfg(test)]
    pub(super) fn to(address: SocketAddr) -> Result<Client, CliError> {
        Client::new(Place::plain(address), None)
    }

    fn new(place: Place, authorization: Option<String>) -> Result<Client, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime
            .map_err(|error| CliError::Usage(format!("cannot start an I/O runtime: {error}")))?;
        Ok(Client {
            runtime,
            place,
            authorization,
            patience: TIMEOUT,
        })
    }

    /// The same with another time for an answer.
    pub(super) fn with_patience(self, patience: Duration) -> Client {
        Client { patience, ..self }
    }

    /// Where the API is.
    pub(super) fn address(&self) -> SocketAddr {
        self.place.address
    }

    /// Where it is, and how it is spoken to.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// `request` with the token, if there is one.
    pub(super) fn authorized(&self, request: Request) -> Request {
        match &self.authorization {
            Some(value) => request.with_header("authorization", value),
            None => request,
        }
    }

    /// `GET /api/v1/PATH`.
    pub(super) fn get(&self, path: &str) -> Result<Answer, CliError> {
        self.call(Method::GET, path, None)
    }

    /// `METHOD /api/v1/PATH` with a JSON body.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, CliError> {
        let response = self.exchange(method, path, body)?;
        if response.is_success() {
            return parsed(self.address(), &response);
        }
        Err(CliError::Refused(refusal(&response)))
    }

    /// What `GET /api/v1/PATH` answers, `None` where that is not there.
    pub(super) fn find(&self, path: &str) -> Result<Option<Answer>, CliError> {
        let response = self.exchange(Method::GET, path, None)?;
        match response.status.as_u16() {
            404 => Ok(None),
            _ if response.is_success() => parsed(self.address(), &response).map(Some),
            _ => Err(CliError::Refused(refusal(&response))),
        }
    }

    /// Whether the front end wants clients; if not, why.
    pub(super) fn readiness(&self) -> Result<Answer, CliError> {
        let request = built(Request::get("/ready"))?;
        let response = self.send(&self.place, request)?;
        match parsed(self.address(), &response)? {
            answer if response.is_success() => Ok(answer),
            answer => match answer.value["reason"].as_str() {
                Some(reason) => Err(CliError::Refused(format!("not ready: {reason}"))),
                None => Err(CliError::Refused(refusal(&response))),
            },
        }
    }

    /// Sends a request to the query port.
    pub(super) fn ask(&self, query: &Place, request: Request) -> Result<Answer, CliError> {
        let response = self.send(query, request)?;
        if response.is_success() {
            return parsed(query.address, &response);
        }
        Err(CliError::Refused(query_refusal(&response)))
    }

    /// What a path of the query port answers, `None` where it cannot say.
    pub(super) fn learn(&self, query: &Place, path: &str) -> Result<Option<Answer>, CliError> {
        let response = self.send(query, built(Request::get(path))?)?;
        match response.status.as_u16() {
            401 | 403 | 429 => Err(CliError::Refused(query_refusal(&response))),
            _ if response.is_success() => parsed(query.address, &response).map(Some),
            _ => Ok(None),
        }
    }

    /// The query port that the front end says it has.
    pub(super) fn query_place(&self, told: &str) -> Result<Place, CliError> {
        Ok(self.place.beside(self.query_address(told)?))
    }

    /// A front end that listens everywhere is reached where its management is.
    pub(super) fn query_address(&self, told: &str) -> Result<SocketAddr, CliError> {
        let address = told.parse::<SocketAddr>();
        let mut address = address.map_err(|_| {
            CliError::Refused(format!(
                "the front end says that queries go to '{told}', no address"
            ))
        })?;
        if address.ip().is_unspecified() {
            address.set_ip(self.address().ip());
        }
        Ok(address)
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, CliError> {
        let mut request = built(Request::new(method, &format!("/api/v1/{path}")))?;
        if let Some(body) = body {
            request = request
                .with_body(body.to_string())
                .with_header("content-type", "application/json");
        }
        self.send(&self.place, request)
    }

    fn send(&self, place: &Place, request: Request) -> Result<Response, CliError> {
        let request = self.authorized(request);
        self.runtime.block_on(place.send(&request, self.patience))
    }
}

/// A request whose path the command line gave.
pub(super) fn built(request: Result<Request, skysail_load::Error>) -> Result<Request, CliError> {
    request.map_err(|error| CliError::Usage(described(&error)))
}

fn parsed(address: SocketAddr, response: &Response) -> Result<Answer, CliError> {
    let text = String::from_utf8_lossy(&response.body).into_owned();
    match serde_json::from_str(&text) {
        Ok(value) => Ok(Answer { text, value }),
        Err(error) => Err(CliError::Refused(format!(
            "{address} answered {}, but not with JSON ({error}); is it a Skysail front end?",
            response.status
        ))),
    }
}

/// The API's error in one line, with the field that is to blame.
fn refusal(response: &Response) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let error = &body["error"];
    // Elsewhere the message says by itself what it is about.
    let field = error["field"]
        .as_str()
        .filter(|_| error["kind"] == "invalid");
    let text = match (error["message"].as_str(), field) {
        (Some(message), Some(field)) if !message.contains(field) => format!("{field}: {message}"),
        (Some(message), _) => message.to_owned(),
        (None, _) => unexplained(response),
    };
    advised(response, text)
}

/// An error of the query port in one line.
fn query_refusal(response: &Response) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let text = match (body["error"].as_str(), body["cause"].as_str()) {
        (Some(error), Some(cause)) => format!("{error}: {}", cause.trim_end()),
        // V2 says it in one.
        (Some(error), None) => error.to_owned(),
        (None, _) => unexplained(response),
    };
    advised(response, text)
}

/// The same with what to do about it.
fn advised(response: &Response, text: String) -> String {
    match response.status.as_u16() {
        401 => format!("{text}; {TOKEN_ADVICE}"),
        _ => text,
    }
}

fn unexplained(response: &Response) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let text: String = text.chars().take(200).collect();
    format!(
        "the front end answered {}: {}",
        response.status,
        text.trim_end()
    )
}

/// The innermost cause, which says what happened in the system's words.
pub(super) fn reason(error: &skysail_load::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match cause.downcast_ref::<std::io::Error>() {
        Some(error) => error.kind().to_string(),
        None => cause.to_string(),
    }
}

pub(super) fn described(error: &skysail_load::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_front_end_that_does_not_run_is_told_with_its_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let client = Client::to(address).expect("a runtime");
        let error = client.get("status").expect_err("nobody listens");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot reach the front end at {address}: connection refused; is `skysail serve` \
                 running? (--management, --data-dir)"
            )
        );
    }

    #[test]
    fn queries_go_to_the_management_host_where_the_front_end_listens_everywhere() {
        let client = Client::to("192.0.2.7:1338".parse().expect("an address")).expect("a runtime");
        let query = |told: &str| {
            client
                .query_address(told)
                .map(|address| address.to_string())
        };
        assert_eq!(query("0.0.0.0:1337").expect("an address"), "192.0.2.7:1337");
        assert_eq!(
            query("192.0.2.8:1337").expect("an address"),
            "192.0.2.8:1337"
        );
        assert!(query("x").is_err());
    }
}
