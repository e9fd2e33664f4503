//! Where a front end is, by the command line, the environment or its data directory.

use std::net::{self, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use skysail_load::{Request, Response};
use tokio::net::TcpStream;

use super::client::{CliError, reason};
use super::trust::{RootsFile, Tls};

/// Where the management API is unless told.
const DEFAULT_ADDRESS: &str = "127.0.0.1:1338";
/// The environment variable that says where the management API is.
const VARIABLE: &str = "SKYSAIL_MANAGEMENT";
/// The environment variable that names the roots to trust.
const CA_VARIABLE: &str = "SKYSAIL_CA";
/// The environment variable that holds the token.
const TOKEN_VARIABLE: &str = "SKYSAIL_TOKEN";
/// The file in a data directory that says where the API is.
const ENDPOINTS_FILE: &str = "endpoints.json";

/// Time for a connection to each address of a host that has several.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How to find the front end.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Where {
    /// Management API of the front end; https://HOST:PORT where it has TLS
    /// [env: SKYSAIL_MANAGEMENT] [default: 127.0.0.1:1338]
    #[arg(long, value_name = "URL|ADDR", conflicts_with = "data_dir")]
    management: Option<String>,
    /// Data directory of the front end, to find its management API and its certificate
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Certificates (PEM) that vouch for an https:// front end [env: SKYSAIL_CA]
    /// [default: the system's]
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    ca: Option<PathBuf>,
    /// File of the token for a front end that wants one [env: SKYSAIL_TOKEN, the token itself]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// What the environment says where the command line does not.
#[derive(Debug, Default)]
pub(super) struct Environment {
    management: Option<String>,
    ca: Option<String>,
    token: Option<String>,
}

impl Environment {
    /// That of this process; what is empty is not said.
    pub(super) fn read() -> Environment {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        Environment {
            management: variable(VARIABLE),
            ca: variable(CA_VARIABLE),
            token: variable(TOKEN_VARIABLE),
        }
    }
}

/// A port of a front end.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    /// Its host as it was named.
    host: String,
    /// How it is spoken to; plain HTTP if none.
    tls: Option<Tls>,
}

impl Place {
    /// Plain HTTP.
    pub(super) fn plain(address: SocketAddr) -> Place {
        Place {
            address,
            host: address.ip().to_string(),
            tls: None,
        }
    }

    /// Another port of the same front end, which has the same certificate.
    pub(super) fn beside(&self, address: SocketAddr) -> Place {
        Place {
            address,
            ..self.clone()
        }
    }

    /// Whether it is spoken to by TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Sends a request on a connection of its own.
    pub(super) async fn send(
        &self,
        request: &Request,
        patience: Duration,
    ) -> Result<Response, CliError> {
        let address = self.address;
        let Some(tls) = &self.tls else {
            let sent = skysail_load::send(address, request, patience).await;
            return sent.map_err(|error| without_tls(address, &error));
        };
        let failed = |why: String| CliError::Unreachable { address, why };
        let connecting = async {
            let stream = TcpStream::connect(address).await;
            let stream = stream.map_err(|error| failed(error.kind().to_string()))?;
            let shaken = tls.connect(stream).await;
            shaken.map_err(|why| CliError::Tls { address, why })
        };
        let stream = tokio::time::timeout(patience, connecting).await;
        let stream = stream.unwrap_or_else(|_| Err(failed("timed out".to_owned())))?;
        let request = request.clone().with_header("host", &self.authority());
        let sent = skysail_load::send_over(stream, address, &request, patience).await;
        sent.map_err(|error| failed(reason(&error)))
    }

    /// `HOST:PORT` as requests name it.
    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.address.port()),
            false => format!("{}:{}", self.host, self.address.port()),
        }
    }
}

/// Why a port that was spoken to in plain HTTP has not answered.
fn without_tls(address: SocketAddr, error: &skysail_load::Error) -> CliError {
    match error {
        // An alert of TLS is no HTTP.
        skysail_load::Error::Connection { source, .. } if source.is_parse() => CliError::Tls {
            address,
            why: format!(
                "it does not answer in plain HTTP; if it has TLS, say https://HOST:{} or \
                 --data-dir DIR",
                address.port()
            ),
        },
        error => CliError::Unreachable {
            address,
            why: reason(error),
        },
    }
}

impl Where {
    /// Whether the command line says it.
    pub(super) fn is_given(&self) -> bool {
        self.management.is_some() || self.data_dir.is_some()
    }

    /// The management port. What is given on the command line counts more than the environment.
    pub(super) fn management(&self, environment: &Environment) -> Result<Place, CliError> {
        if let Some(text) = &self.management {
            return self.port("--management", text, environment);
        }
        if let Some(directory) = &self.data_dir {
            return endpoint(directory);
        }
        match &environment.management {
            Some(text) => self.port(VARIABLE, text, environment),
            None => self.port("the default", DEFAULT_ADDRESS, environment),
        }
    }

    /// The port that `text` names: `HOST:PORT`, or that as a URL of http or https.
    pub(super) fn port(
        &self,
        from: &str,
        text: &str,
        environment: &Environment,
    ) -> Result<Place, CliError> {
        let (has_tls, bare) = match text.strip_prefix("https://") {
            Some(bare) => (true, bare),
            None => (false, text.strip_prefix("http://").unwrap_or(text)),
        };
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let address = listening(&addresses(from, bare)?);
        if !has_tls {
            return Ok(Place::plain(address));
        }
        let (host, _) = bare.rsplit_once(':').unwrap_or((bare, ""));
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let roots = self.roots(environment);
        let roots = roots.as_ref().map(|(from, file)| (*from, file.as_path()));
        let tls = Some(Tls::by_roots(&host, roots)?);
        Ok(Place { address, host, tls })
    }

    fn roots(&self, environment: &Environment) -> Option<RootsFile> {
        let variable = environment.ca.as_ref();
        let given = self.ca.clone().map(|file| ("--ca", file));
        given.or_else(|| variable.map(|file| (CA_VARIABLE, PathBuf::from(file))))
    }

    /// The `Authorization` header, if a token is given. No error shows one.
    pub(super) fn authorization(
        &self,
        environment: &Environment,
    ) -> Result<Option<String>, CliError> {
        let (from, text) = match (&self.token_file, &environment.token) {
            (Some(file), _) => {
                let from = format!("--token-file {}", file.display());
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|error| CliError::Usage(format!("{from}: {error}")))?;
                (from, text)
            }
            (None, Some(text)) => (TOKEN_VARIABLE.to_owned(), text.clone()),
            (None, None) => return Ok(None),
        };
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let text = format!("{from} holds no token, expected one line such as sky_…");
            return Err(CliError::Usage(text));
        }
        Ok(Some(format!("Bearer {token}")))
    }
}

/// All addresses of `HOST:PORT`; at least one.
pub(super) fn addresses(from: &str, text: &str) -> Result<Vec<SocketAddr>, CliError> {
    let wrong = |why: &str| CliError::Usage(format!("{from}: '{text}' {why}"));
    if text.contains("://") {
        return Err(wrong(
            "is not supported, expected HOST:PORT, http://HOST:PORT or https://HOST:PORT",
        ));
    }
    let found = text.to_socket_addrs();
    let found: Vec<_> = found
        .map_err(|_| wrong("is not an address, expected HOST:PORT, such as 127.0.0.1:1338"))?
        .collect();
    if found.is_empty() {
        return Err(wrong("has no address"));
    }
    Ok(found)
}

/// The first address that takes a connection: a name such as `localhost` has several, of which a
/// server may listen on one. The first of all if none does, for the error.
pub(super) fn listening(addresses: &[SocketAddr]) -> SocketAddr {
    let [only] = addresses else {
        let takes = |one: &&SocketAddr| net::TcpStream::connect_timeout(one, PROBE_TIMEOUT).is_ok();
        return *addresses.iter().find(takes).unwrap_or(&addresses[0]);
    };
    *only
}

/// What the front end of a data directory wrote when it was ready.
fn endpoint(directory: &Path) -> Result<Place, CliError> {
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
    let Some(management) = told["management"].as_str() else {
        return Err(wrong("does not say where the management API is".to_owned()));
    };
    let place = Place::plain(addresses("--data-dir", management)?[0]);
    if told["tls"] != true {
        return Ok(place);
    }
    let certificate = told["certificate"].as_str();
    let certificate = certificate.ok_or_else(|| wrong("names no certificate".to_owned()))?;
    let tls = Some(Tls::pinned(&place.host, Path::new(certificate))?);
    Ok(Place { tls, ..place })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(management: Option<&str>, data_dir: Option<&Path>) -> Where {
        Where {
            management: management.map(str::to_owned),
            data_dir: data_dir.map(Path::to_owned),
            ..Where::default()
        }
    }

    fn environment(management: Option<&str>, token: Option<&str>) -> Environment {
        Environment {
            management: management.map(str::to_owned),
            token: token.map(str::to_owned),
            ca: None,
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
        let of = |place: &Where, token| {
            let environment = environment(None, token);
            place.authorization(&environment).expect("right")
        };
        let from_file = of(&place, Some("sky_x"));
        assert_eq!(from_file.as_deref(), Some("Bearer sky_file"));
        let bare = Where::default();
        assert_eq!(of(&bare, Some("sky_x")).as_deref(), Some("Bearer sky_x"));
        assert_eq!(of(&bare, None), None);
        for wrong in ["", "\n", "sky_secret sky_secret", "sky_secret\nsky_secret"] {
            std::fs::write(&file, wrong).expect("written");
            let told = place.authorization(&Environment::default());
            let told = told.expect_err("no token").to_string();
            assert!(told.starts_with("--token-file /"), "{told}");
            assert!(!told.contains("secret"), "{told}");
        }
        std::fs::remove_file(&file).expect("removed");
        assert!(place.authorization(&Environment::default()).is_err());
    }

    #[test]
    fn the_api_is_found_by_flag_file_variable_and_default() {
        let found = |place: &Where, variable| {
            let environment = environment(variable, None);
            let found = place.management(&environment).expect("found");
            assert!(!found.has_tls());
            found.address.to_string()
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let endpoints = r#"{"pid":1,"query":"127.0.0.1:5","management":"127.0.0.1:6","rpc":[]}"#;
        std::fs::write(directory.path().join(ENDPOINTS_FILE), endpoints).expect("written");
        let variable = Some("http://127.0.0.1:7");
        for text in ["127.0.0.1:8", "http://127.0.0.1:8", "http://127.0.0.1:8/"] {
            assert_eq!(found(&place(Some(text), None), variable), "127.0.0.1:8");
        }
        let by_directory = place(None, Some(directory.path()));
        assert_eq!(found(&by_directory, variable), "127.0.0.1:6");
        assert_eq!(found(&place(None, None), variable), "127.0.0.1:7");
        assert_eq!(found(&place(None, None), None), DEFAULT_ADDRESS);
    }

    #[test]
    fn what_is_wrong_with_a_place_is_said_in_one_line() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, "no certificate").expect("written");
        let trusting = |file: &Path| Where {
            ca: Some(file.to_owned()),
            ..place(Some("https://127.0.0.1:1"), None)
        };
        let absent = Path::new("/nowhere/at/all");
        for (wrong, says) in [
            (
                place(Some("127.0.0.1"), None),
                "--management: '127.0.0.1' is not an address",
            ),
            (
                place(Some("ftp://a:1"), None),
                "--management: 'ftp://a:1' is not supported",
            ),
            (
                place(None, Some(absent)),
                "--data-dir: /nowhere/at/all/endpoints.json is not there",
            ),
            (trusting(absent), "--ca: /nowhere/at/all: "),
            (trusting(&empty), "--ca: /"),
        ] {
            let told = wrong.management(&Environment::default());
            let text = told.expect_err("wrong").to_string();
            assert!(text.starts_with(says) && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn another_port_has_the_name_of_the_first() {
        let first = Place {
            host: "skysail.test".to_owned(),
            ..Place::plain("192.0.2.7:1338".parse().expect("an address"))
        };
        let second = first.beside("192.0.2.7:1337".parse().expect("an address"));
        assert_eq!(second.authority(), "skysail.test:1337");
        let six = Place::plain("[::1]:1337".parse().expect("an address"));
        assert_eq!(six.authority(), "[::1]:1337");
    }
}
