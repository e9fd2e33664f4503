//! Where the management API is, and requests to it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use skysail_load::{Method, Request, Response};
use thiserror::Error;
use tokio::runtime::Runtime;

/// Where the API is unless told.
const DEFAULT_ADDRESS: &str = "127.0.0.1:1338";
/// The environment variable that says where the API is.
const VARIABLE: &str = "SKYSAIL_MANAGEMENT";
/// The environment variable that holds the token.
const TOKEN_VARIABLE: &str = "SKYSAIL_TOKEN";
/// What to do about an answer that asks for a token.
const TOKEN_ADVICE: &str = "give it by --token-file FILE or SKYSAIL_TOKEN; where the front end's \
                            data directory is, 'skysail tokens new --name NAME --scope admin,query' \
                            makes one";
/// The file in a data directory that says where the API is.
const ENDPOINTS_FILE: &str = "endpoints.json";
/// Time for an answer; a command waits for a disk, a prediction for its application's objective.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How to find the front end.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Where {
    /// Management API of the front end [env: SKYSAIL_MANAGEMENT] [default: 127.0.0.1:1338]
    #[arg(long, value_name = "URL|ADDR", conflicts_with = "data_dir")]
    management: Option<String>,
    /// Data directory of the front end, to find its management API
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// File of the token for a front end that wants one [env: SKYSAIL_TOKEN, the token itself]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

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
    address: SocketAddr,
    /// The `Authorization` header of each request.
    authorization: Option<String>,
    patience: Duration,
}

/// Shows no token.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Client");
        shown.field("address", &self.address);
        shown.finish_non_exhaustive()
    }
}

impl Client {
    /// Finds the API; nothing is sent yet.
    pub(super) fn connect(place: &Where) -> Result<Client, CliError> {
        let variable = std::env::var(VARIABLE).ok();
        let client = Client::to(place.address(variable.as_deref())?)?;
        let token = std::env::var(TOKEN_VARIABLE).ok();
        Ok(Client {
            authorization: place.authorization(token.as_deref())?,
            ..client
        })
    }

    /// A client of the API at `address`.
    pub(super) fn to(address: SocketAddr) -> Result<Client, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime
            .map_err(|error| CliError::Usage(format!("cannot start an I/O runtime: {error}")))?;
        Ok(Client {
            runtime,
            address,
            authorization: None,
            patience: TIMEOUT,
        })
    }

    /// The same with another time for an answer.
    pub(super) fn with_patience(self, patience: Duration) -> Client {
        Client { patience, ..self }
    }

    /// Where the API is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
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
            return parsed(self.address, &response);
        }
        Err(CliError::Refused(refusal(&response)))
    }

    /// What `GET /api/v1/PATH` answers, `None` where that is not there.
    pub(super) fn find(&self, path: &str) -> Result<Option<Answer>, CliError> {
        let response = self.exchange(Method::GET, path, None)?;
        match response.status.as_u16() {
            404 => Ok(None),
            _ if response.is_success() => parsed(self.address, &response).map(Some),
            _ => Err(CliError::Refused(refusal(&response))),
        }
    }

    /// Posts a query to the query port that the front end says it has.
    pub(super) fn query(
        &self,
        query: &str,
        application: &str,
        body: String,
    ) -> Result<Answer, CliError> {
        let address = self.query_address(query)?;
        let path = format!("/{}/predict", super::segment(application));
        let request = Request::post_json(&path, body);
        let request = request.map_err(|error| CliError::Usage(described(&error)))?;
        let response = self.send(address, request)?;
        if response.is_success() {
            return parsed(address, &response);
        }
        Err(CliError::Refused(query_refusal(&response)))
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
            address.set_ip(self.address.ip());
        }
        Ok(address)
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, CliError> {
        let request = Request::new(method, &format!("/api/v1/{path}"));
        let mut request = request.map_err(|error| CliError::Usage(described(&error)))?;
        if let Some(body) = body {
            request = request
                .with_body(body.to_string())
                .with_header("content-type", "application/json");
        }
        self.send(self.address, request)
    }

    fn send(&self, address: SocketAddr, request: Request) -> Result<Response, CliError> {
        let request = self.authorized(request);
        let sent = skysail_load::send(address, &request, self.patience);
        let sent = self.runtime.block_on(sent);
        sent.map_err(|error| CliError::Unreachable {
            address,
            why: reason(&error),
        })
    }
}

impl Where {
    /// Whether the command line says it.
    pub(super) fn is_given(&self) -> bool {
        self.management.is_some() || self.data_dir.is_some()
    }

    /// The `Authorization` header, if a token is given. No error shows one.
    pub(super) fn authorization(&self, variable: Option<&str>) -> Result<Option<String>, CliError> {
        let (from, text) = match (&self.token_file, variable) {
            (Some(file), _) => {
                let from = format!("--token-file {}", file.display());
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|error| CliError::Usage(format!("{from}: {error}")))?;
                (from, text)
            }
            (None, Some(text)) if !text.is_empty() => (TOKEN_VARIABLE.to_owned(), text.to_owned()),
            (None, _) => return Ok(None),
        };
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let text = format!("{from} holds no token, expected one line such as sky_…");
            return Err(CliError::Usage(text));
        }
        Ok(Some(format!("Bearer {token}")))
    }

    /// What is given on the command line counts more than the environment.
    fn address(&self, variable: Option<&str>) -> Result<SocketAddr, CliError> {
        if let Some(text) = &self.management {
            return address("--management", text);
        }
        if let Some(directory) = &self.data_dir {
            return endpoint(directory);
        }
        match variable.filter(|text| !text.is_empty()) {
            Some(text) => address(VARIABLE, text),
            None => address("the default", DEFAULT_ADDRESS),
        }
    }
}

/// `HOST:PORT`, or `http://HOST:PORT` with or without a slash.
fn address(from: &str, text: &str) -> Result<SocketAddr, CliError> {
    Ok(addresses(from, text)?[0])
}

/// All addresses of the same; at least one.
pub(super) fn addresses(from: &str, text: &str) -> Result<Vec<SocketAddr>, CliError> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let wrong = |why: &str| CliError::Usage(format!("{from}: '{text}' {why}"));
    if bare.contains("://") {
        return Err(wrong(
            "is not supported, expected http://HOST:PORT or HOST:PORT",
        ));
    }
    let found = bare.to_socket_addrs();
    let found: Vec<_> = found
        .map_err(|_| wrong("is not an address, expected HOST:PORT, such as 127.0.0.1:1338"))?
        .collect();
    if found.is_empty() {
        return Err(wrong("has no address"));
    }
    Ok(found)
}

/// What the front end of a data directory wrote when it was ready.
fn endpoint(directory: &Path) -> Result<SocketAddr, CliError> {
    let file = directory.join(ENDPOINTS_FILE);
    let wrong = |why: String| {
        let file = file.display();
        CliError::Absent(format!(
            "--data-dir: {file} {why}; is `skysail serve` running with it?"
        ))
    };
    let text = std::fs::read_to_string(&file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong("is not there".to_owned()),
        _ => wrong(format!("cannot be read: {error}")),
    })?;
    let told = serde_json::from_str::<Value>(&text).unwrap_or_default();
    match told["management"].as_str() {
        Some(management) => address("--data-dir", management),
        None => Err(wrong("does not say where the management API is".to_owned())),
    }
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
        _ => unexplained(response),
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

    fn place(management: Option<&str>, data_dir: Option<&Path>) -> Where {
        Where {
            management: management.map(str::to_owned),
            data_dir: data_dir.map(Path::to_owned),
            token_file: None,
        }
    }

    #[test]
    fn a_token_comes_from_a_file_or_the_environment_and_is_not_shown() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("token");
        let place = Where {
            token_file: Some(file.clone()),
            ..Where::default()
        };
        std::fs::write(&file, "sky_file\n").expect("written");
        let of = |place: &Where, variable| place.authorization(variable).expect("right");
        assert_eq!(
            of(&place, Some("sky_x")).as_deref(),
            Some("Bearer sky_file")
        );
        let bare = Where::default();
        assert_eq!(of(&bare, Some("sky_x")).as_deref(), Some("Bearer sky_x"));
        assert_eq!((of(&bare, Some("")), of(&bare, None)), (None, None));
        for wrong in ["", "\n", "sky_secret sky_secret", "sky_secret\nsky_secret"] {
            std::fs::write(&file, wrong).expect("written");
            let told = place.authorization(None).expect_err("no token").to_string();
            assert!(told.starts_with("--token-file /"), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
        std::fs::remove_file(&file).expect("removed");
        assert!(place.authorization(None).is_err());
    }

    #[test]
    fn the_api_is_found_by_flag_file_variable_and_default() {
        let found = |place: &Where, variable| place.address(variable).expect("found").to_string();
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(
            directory.path().join(ENDPOINTS_FILE),
            r#"{"pid":1,"query":"127.0.0.1:5","management":"127.0.0.1:6","rpc":[],"version":"1"}"#,
        )
        .expect("written");
        let variable = Some("http://127.0.0.1:7");
        for text in ["127.0.0.1:8", "http://127.0.0.1:8", "http://127.0.0.1:8/"] {
            assert_eq!(found(&place(Some(text), None), variable), "127.0.0.1:8");
        }
        assert_eq!(
            found(&place(None, Some(directory.path())), variable),
            "127.0.0.1:6"
        );
        assert_eq!(found(&place(None, None), variable), "127.0.0.1:7");
        assert_eq!(found(&place(None, None), Some("")), DEFAULT_ADDRESS);
        assert_eq!(found(&place(None, None), None), DEFAULT_ADDRESS);
    }

    #[test]
    fn what_is_wrong_with_a_place_is_said_in_one_line() {
        let told = |place: &Where| place.address(None).expect_err("wrong").to_string();
        let absent = Path::new("/nowhere/at/all");
        for (wrong, says) in [
            (
                place(Some("127.0.0.1"), None),
                "--management: '127.0.0.1' is not an address",
            ),
            (
                place(Some("https://a:1"), None),
                "--management: 'https://a:1' is not supported",
            ),
            (
                place(None, Some(absent)),
                "--data-dir: /nowhere/at/all/endpoints.json is not there",
            ),
        ] {
            let text = told(&wrong);
            assert!(text.starts_with(says) && !text.contains('\n'), "{text}");
        }
    }

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
