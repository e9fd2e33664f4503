//! One configuration from defaults, a file, the environment and flags, later ones winning.
//!
//! The file is TOML with the fields of [`Config`]; the environment has the same names in
//! capitals after `SKYSAIL_SERVE_`; errors name the file or variable and the field.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use skysail_api::http::CertificateFiles;
use skysail_rpc::channel::{SESSION_BYTES_MAX, Sharing};
use skysail_rpc::transport::TransportError;
use skysail_rpc::transport::zmq::has_curve;

/// Largest body that can be allowed.
const BODY_BYTES_MAX: usize = 256 << 20;
/// Longest notice before a front end stops, in seconds.
const DRAIN_NOTICE_SECONDS_MAX: u32 = 3600;
/// Longest spin, in microseconds.
const SPIN_US_MAX: u32 = 10_000;

/// What else is needed where libzmq has no CURVE.
const NO_CURVE_EITHER: &str = ", with a skysail built by 'cargo build --config \
                               docker/libzmq-system.toml', for the libzmq of this one has no CURVE";
/// Prefix of environment variables.
const ENVIRONMENT: &str = "SKYSAIL_SERVE_";

/// How a front end runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where state, logs and sockets are.
    pub(crate) data_dir: PathBuf,
    /// Where queries go.
    pub(crate) query: String,
    /// Where it is managed.
    pub(crate) management: String,
    /// Where containers connect: an ipc and a tcp endpoint.
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) rpc: Vec<String>,
    /// Directory of the keys by which containers beyond this machine are known.
    pub(crate) keys: Option<PathBuf>,
    /// Runtimes that serve queries, one a core.
    pub(crate) cores: usize,
    /// Bytes of the prediction cache; 0 turns it off, and single flight with it.
    pub(crate) cache_bytes: usize,
    /// Largest JSON body of a query.
    pub(crate) body_bytes_max: usize,
    /// Largest body of a query with binary tensors, and of a gRPC message.
    pub(crate) binary_bytes_max: usize,
    /// Milliseconds for the answer to a query that names a model and no application.
    pub(crate) model_slo_ms: u64,
    /// Shared memory objects that clients on this machine may have their tensors in, by name, or
    /// by the beginning of the name before a `*`.
    pub(crate) client_shm: Vec<String>,
    /// Whether containers on this host are offered shared memory.
    pub(crate) shared_memory: bool,
    /// Bytes of all shared memory, at most.
    pub(crate) shared_bytes_max: usize,
    /// Bytes of the results of one container in shared memory, at most; larger ones go by the socket.
    pub(crate) result_bytes_max: usize,
    /// Rows of queries that one version's shared memory holds, as far as its bytes allow.
    pub(crate) row_log_rows: usize,
    /// Bytes of one version's shared memory for queries, at most.
    pub(crate) row_log_bytes_max: usize,
    /// How long, in microseconds, a core looks for a container's reply before it sleeps; none:
    /// 50 on machines of 4 cores and more, else 0.
    pub(crate) spin_us_max: Option<u32>,
    /// Certificate of both ports, with those that lead to its root, in PEM; none: no TLS.
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    pub(crate) tls_key: Option<PathBuf>,
    /// How long, after SIGTERM, a front end answers new clients while it says that it is not ready.
    pub(crate) drain_notice_seconds: u32,
    /// Who may connect; none: only this machine on loopback, beyond it whoever has a token.
    pub(crate) auth: Option<Auth>,
    /// What is logged: a level, or a filter such as `info,skysail_engine=debug`.
    pub(crate) log: String,
    /// How it is logged.
    pub(crate) log_format: LogFormat,
}

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auth {
    /// Only this machine
    Loopback,
    /// Whoever has a token; see skysail tokens
    Token,
    /// Anybody who reaches the port
    None,
}

impl Auth {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Auth::Loopback => "loopback",
            Auth::Token => "token",
            Auth::None => "none",
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Flags of everything that runs a front end.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
pub(crate) struct Flags {
    /// Directory of state, logs and sockets
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address for queries [default: 127.0.0.1:1337]
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<String>,
    /// Address for management, metrics and status [default: 127.0.0.1:1338]
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) management: Option<String>,
    /// Endpoint for containers: ADDR:PORT, tcp://ADDR:PORT or ipc://PATH
    /// [default: ipc://DATA_DIR/rpc.sock and tcp://127.0.0.1:7000]
    #[arg(long, value_name = "ENDPOINT")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rpc: Vec<String>,
    /// Directory of the front end's key and of the keys that it lets in (allowed/*.pub); with it
    /// containers over tcp need a key, and may come from beyond loopback; see skysail keys
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keys: Option<PathBuf>,
    /// Runtimes that serve queries, one a core [default: half of the cores]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cores: Option<usize>,
    /// Bytes of the prediction cache; 0 turns it off, and single flight with it
    /// [default: 33554432]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache_bytes: Option<usize>,
    /// Largest JSON body of a query in bytes [default: 16777216]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_bytes_max: Option<usize>,
    /// Largest body of a query with binary tensors, and of a gRPC message, in bytes
    /// [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) binary_bytes_max: Option<usize>,
    /// Time in milliseconds for the answer to a query that names a model and no application
    /// [default: 10000]
    #[arg(long, value_name = "MILLIS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model_slo_ms: Option<u64>,
    /// Shared memory object that clients on this machine may have their tensors in (the system
    /// shared memory extension), by name, or by its beginning before a *; may be repeated
    /// [default: none]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) client_shm: Vec<String>,
    /// Offer shared memory to containers on this host [default: true]
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shared_memory: Option<bool>,
    /// Longest time in microseconds that a core looks for a reply before it sleeps
    /// [default: 50 on 4 cores or more, else 0]
    #[arg(long, value_name = "MICROS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spin_us_max: Option<u32>,
    /// Certificate chain (PEM) of both ports, which then speak TLS only; read again when it changes
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Seconds after SIGTERM in which it says that it is not ready, and still answers [default: 5]
    #[arg(long = "drain-notice", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drain_notice_seconds: Option<u32>,
    /// Who may connect [default: loopback; token if an address is beyond loopback]
    #[arg(long, value_name = "WHO")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth: Option<Auth>,
    /// What is logged: a level or a filter such as info,skysail_engine=debug [default: info]
    #[arg(long, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<String>,
    /// How it is logged [default: text]
    #[arg(long, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<LogFormat>,
}

impl Config {
    /// The built-in configuration for a data directory.
    fn defaults() -> Config {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let sharing = Sharing::default();
        Config {
            data_dir: default_data_dir(),
            query: "127.0.0.1:1337".into(),
            management: "127.0.0.1:1338".into(),
            rpc: Vec::new(),
            keys: None,
            // Containers, and the clients on this machine, want cores too.
            cores: (cores / 2).max(1),
            cache_bytes: 32 << 20,
            body_bytes_max: 16 << 20,
            binary_bytes_max: 64 << 20,
            model_slo_ms: 10_000,
            client_shm: Vec::new(),
            shared_memory: true,
            shared_bytes_max: sharing.bytes_max,
            result_bytes_max: sharing.session_bytes_max,
            row_log_rows: sharing.log_rows,
            row_log_bytes_max: sharing.log_bytes_max,
            spin_us_max: None,
            tls_cert: None,
            tls_key: None,
            drain_notice_seconds: 5,
            auth: None,
            log: "info".into(),
            log_format: LogFormat::Text,
        }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// What is wrong, and in which file or variable.
    pub(crate) fn read(file: Option<&PathBuf>, flags: &Flags) -> Result<Config> {
        let mut sources = Figment::from(Serialized::defaults(Config::defaults()));
        if let Some(file) = file {
            std::fs::metadata(file).with_context(|| {
                format!("cannot read the configuration file {}", file.display())
            })?;
            sources = sources.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed(ENVIRONMENT);
        let merged = sources
            .merge(environment)
            .merge(Serialized::defaults(flags));
        let mut config: Config = merged.extract().context("the configuration is wrong")?;
        // Containers, which are told of it, may run elsewhere.
        config.data_dir = std::path::absolute(&config.data_dir)?;
        config.rpc = rpc_endpoints(&config)?;
        config.check()?;
        Ok(config)
    }

    /// The address for queries.
    pub(crate) fn query_address(&self) -> Result<SocketAddr> {
        address("query", &self.query)
    }

    /// The address for management.
    pub(crate) fn management_address(&self) -> Result<SocketAddr> {
        address("management", &self.management)
    }

    /// A port that others than this machine reach, by its flag.
    pub(crate) fn beyond_loopback(&self) -> Result<Option<(&'static str, SocketAddr)>> {
        let ports = [
            ("--query", self.query_address()?),
            ("--management", self.management_address()?),
        ];
        let mut ports = ports.into_iter();
        Ok(ports.find(|(_, address)| !address.ip().is_loopback()))
    }

    /// Who may connect.
    pub(crate) fn auth(&self) -> Result<Auth> {
        Ok(match (self.auth, self.beyond_loopback()?) {
            (Some(auth), _) => auth,
            (None, None) => Auth::Loopback,
            (None, Some(_)) => Auth::Token,
        })
    }

    /// Memory shared with containers.
    pub(crate) fn sharing(&self) -> Sharing {
        let default = Sharing::default();
        let spin_max = self.spin_us_max.map(|us| Duration::from_micros(us.into()));
        Sharing {
            offered: self.shared_memory,
            bytes_max: self.shared_bytes_max,
            session_bytes_max: self.result_bytes_max,
            log_rows: self.row_log_rows,
            log_bytes_max: self.row_log_bytes_max,
            spin_max: spin_max.unwrap_or(default.spin_max),
        }
    }

    /// The files of the certificate of both ports, where they have one.
    pub(crate) fn certificate(&self) -> Result<Option<CertificateFiles>> {
        let (set, missing) = match (&self.tls_cert, &self.tls_key) {
            (None, None) => return Ok(None),
            (Some(chain), Some(key)) => {
                let (chain, key) = (chain.clone(), key.clone());
                return Ok(Some(CertificateFiles { chain, key }));
            }
            (Some(_), None) => ("tls-cert", "tls-key"),
            (None, Some(_)) => ("tls-key", "tls-cert"),
        };
        bail!("--{set} is given without --{missing}; TLS needs both")
    }

    /// How long a front end that was told to stop goes on answering new clients.
    pub(crate) fn drain_notice(&self) -> Duration {
        Duration::from_secs(self.drain_notice_seconds.into())
    }

    fn check(&self) -> Result<()> {
        self.certificate()?;
        if self.drain_notice_seconds > DRAIN_NOTICE_SECONDS_MAX {
            let (seconds, most) = (self.drain_notice_seconds, DRAIN_NOTICE_SECONDS_MAX);
            bail!("drain_notice_seconds is {seconds}, at most {most} allowed");
        }
        let most = self.shared_bytes_max.min(SESSION_BYTES_MAX);
        let parts = [
            (
                "row_log_bytes_max",
                self.row_log_bytes_max,
                self.shared_bytes_max,
            ),
            ("result_bytes_max", self.result_bytes_max, most),
        ];
        for (name, bytes, limit) in parts {
            if bytes > limit {
                bail!("{name} is {bytes}, at most {limit} allowed");
            }
        }
        if self.spin_us_max.is_some_and(|us| us > SPIN_US_MAX) {
            bail!("spin_us_max is more than {SPIN_US_MAX}");
        }
        if self.cores == 0 || self.cores > 1024 {
            bail!("cores is {}, 1 to 1024 allowed", self.cores);
        }
        if let Some((flag, address)) = self.beyond_loopback()?
            && self.auth == Some(Auth::Loopback)
        {
            bail!(
                "{flag} {address} is beyond loopback, which --auth loopback keeps to; leave that \
                 out to ask for tokens, or say --auth none to let in anybody who reaches it"
            );
        }
        self.check_queries()?;
        self.check_rpc(has_curve())
    }

    /// What queries may be like.
    fn check_queries(&self) -> Result<()> {
        let most = BODY_BYTES_MAX;
        let sizes = [
            ("body_bytes_max", self.body_bytes_max),
            ("binary_bytes_max", self.binary_bytes_max),
        ];
        for (name, bytes) in sizes {
            if bytes > most {
                bail!("{name} is {bytes}, at most {most} allowed");
            }
        }
        let allowed = 1..=600_000;
        if !allowed.contains(&self.model_slo_ms) {
            bail!("model_slo_ms is {}, 1 to 600000 allowed", self.model_slo_ms);
        }
        if !self.client_shm.is_empty() && !self.query_address()?.ip().is_loopback() {
            bail!(
                "--client-shm is for clients on this machine, --query {} is beyond it",
                self.query
            );
        }
        Ok(())
    }

    /// Beyond loopback only peers with keys are let near libzmq, which cannot bound what an
    /// unknown one sends.
    fn check_rpc(&self, has_curve: bool) -> Result<()> {
        if self.keys.is_some() && !has_curve {
            bail!("--keys cannot be used: {}", TransportError::NoCurve);
        }
        let tcp = self.rpc.iter().find_map(|e| e.strip_prefix("tcp://"));
        let Some(address) = tcp.map(|tcp| address("rpc", tcp)).transpose()? else {
            return Ok(());
        };
        if address.ip().is_unspecified() {
            bail!("--rpc {address} is every address of this machine; name the one that is wanted");
        }
        if !address.ip().is_loopback() && self.keys.is_none() {
            let no_curve = if has_curve { "" } else { NO_CURVE_EITHER };
            bail!(
                "--rpc {address} is beyond loopback, where containers need keys (CURVE): make the \
                 front end's with 'skysail keys new frontend --dir DIR' and pass --keys DIR{no_curve}; \
                 or use ipc:// or 127.0.0.1 on this machine"
            );
        }
        Ok(())
    }
}

/// The ipc endpoint and the tcp endpoint, each the default unless the configuration has one.
fn rpc_endpoints(config: &Config) -> Result<Vec<String>> {
    let with_scheme = |endpoint: &String| match endpoint.contains("://") {
        true => endpoint.clone(),
        false => format!("tcp://{endpoint}"),
    };
    let given: Vec<String> = config.rpc.iter().map(with_scheme).collect();
    if let Some(other) = given
        .iter()
        .find(|e| !e.starts_with("tcp://") && !e.starts_with("ipc://"))
    {
        bail!(
            "--rpc '{other}' is not an endpoint, expected ADDR:PORT, tcp://ADDR:PORT or ipc://PATH"
        );
    }
    for scheme in ["tcp://", "ipc://"] {
        let count = given
            .iter()
            .filter(|endpoint| endpoint.starts_with(scheme))
            .count();
        if count > 1 {
            bail!("--rpc names {count} {scheme} endpoints, at most one allowed");
        }
    }
    let find = |scheme| {
        given
            .iter()
            .find(|endpoint| endpoint.starts_with(scheme))
            .cloned()
    };
    let ipc = find("ipc://")
        .unwrap_or_else(|| format!("ipc://{}", config.data_dir.join("rpc.sock").display()));
    let tcp = find("tcp://").unwrap_or_else(|| "tcp://127.0.0.1:7000".into());
    // What is checked is what is bound: names are resolved once.
    let tcp = address("rpc", tcp.trim_start_matches("tcp://"))?;
    Ok(vec![ipc, format!("tcp://{tcp}")])
}

/// A list, or a text with commas, as the environment has it.
fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(text) => text
            .split(',')
            .map(|endpoint| endpoint.trim().to_owned())
            .collect(),
        OneOrMany::Many(endpoints) => endpoints,
    })
}

fn address(name: &str, text: &str) -> Result<SocketAddr> {
    let wrong = || format!("--{name} '{text}' is not an address, expected ADDR:PORT");
    let mut resolved = text.to_socket_addrs().with_context(wrong)?;
    resolved.next().with_context(wrong)
}

/// Where state is unless told.
pub(crate) fn default_data_dir() -> PathBuf {
    let home = |variable, below: &str| {
        let folder = std::env::var_os(variable).filter(|folder| !folder.is_empty())?;
        Some(PathBuf::from(folder).join(below))
    };
    home("XDG_DATA_HOME", "skysail")
        .or_else(|| home("HOME", ".local/share/skysail"))
        .unwrap_or_else(|| PathBuf::from("skysail-data"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &Flags) -> Result<Config> {
        Config::read(None, flags)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("skysail.toml");
        std::fs::write(&file, "cores = 3\nquery = \"127.0.0.1:9\"\n").expect("written");
        let flags = Flags {
            query: Some("127.0.0.1:8".into()),
            ..Flags::default()
        };
        let config = Config::read(Some(&file), &flags).expect("right");
        assert_eq!((config.cores, config.query.as_str()), (3, "127.0.0.1:8"));
        assert_eq!(config.management, "127.0.0.1:1338");
    }

    #[test]
    fn shared_memory_has_limits_that_are_named() {
        let of_results = Config {
            result_bytes_max: 2 << 30,
            ..Config::defaults()
        };
        let error = of_results.check().expect_err("too much").to_string();
        let expected = "result_bytes_max is 2147483648, at most 1073741824 allowed";
        assert_eq!(error, expected);
        let in_all = Config {
            shared_bytes_max: 1 << 20,
            ..Config::defaults()
        };
        let error = in_all.check().expect_err("less than a part").to_string();
        assert_eq!(
            error,
            "row_log_bytes_max is 67108864, at most 1048576 allowed"
        );
    }

    #[test]
    fn tls_needs_a_certificate_and_its_key() {
        let config = |cert: Option<&str>, key: Option<&str>| Config {
            tls_cert: cert.map(PathBuf::from),
            tls_key: key.map(PathBuf::from),
            ..Config::defaults()
        };
        assert_eq!(config(None, None).certificate().expect("no TLS"), None);
        let both = config(Some("c"), Some("k")).certificate();
        assert!(both.expect("both").is_some());
        let halves = [
            (Some("c"), None, "--tls-key"),
            (None, Some("k"), "--tls-cert"),
        ];
        for (cert, key, missing) in halves {
            let error = config(cert, key).check().expect_err("half").to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn a_notice_has_a_limit_that_is_named() {
        let flags = Flags {
            drain_notice_seconds: Some(3601),
            ..Flags::default()
        };
        let error = read(&flags).expect_err("too long").to_string();
        assert_eq!(error, "drain_notice_seconds is 3601, at most 3600 allowed");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_key_and_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("skysail.toml");
        std::fs::write(&file, "qeury = \"127.0.0.1:9\"\n").expect("written");
        let error = Config::read(Some(&file), &Flags::default()).expect_err("unknown");
        let error = format!("{error:#}");
        assert!(
            error.contains("qeury") && error.contains("skysail.toml"),
            "{error}"
        );
        let missing = PathBuf::from("/nonexistent/skysail.toml");
        let error = Config::read(Some(&missing), &Flags::default()).expect_err("missing");
        assert!(
            error.to_string().contains("/nonexistent/skysail.toml"),
            "{error}"
        );
    }

    #[test]
    fn beyond_loopback_tokens_are_asked_for_unless_it_is_told_otherwise() {
        let auth = |query: &str, management: &str, auth| {
            let flags = Flags {
                query: Some(query.into()),
                management: Some(management.into()),
                auth,
                ..Flags::default()
            };
            read(&flags)?.auth()
        };
        let (here, open) = ("127.0.0.1:1", "0.0.0.0:1");
        assert_eq!(auth(here, "[::1]:1", None).expect("right"), Auth::Loopback);
        for (query, management) in [(open, here), (here, open), (here, "192.0.2.1:1")] {
            assert_eq!(auth(query, management, None).expect("right"), Auth::Token);
            for told in [Auth::Token, Auth::None] {
                assert_eq!(auth(query, management, Some(told)).expect("told"), told);
                assert_eq!(auth(here, here, Some(told)).expect("told"), told);
            }
            let refused = auth(query, management, Some(Auth::Loopback));
            let error = refused.expect_err("refused").to_string();
            assert!(error.contains("--auth none"), "{error}");
        }
    }

    #[test]
    fn containers_beyond_loopback_need_keys_and_a_libzmq_that_has_curve() {
        let config = |rpc: &str, keys: Option<&str>| Config {
            rpc: vec!["ipc:///d/rpc.sock".into(), format!("tcp://{rpc}")],
            keys: keys.map(PathBuf::from),
            auth: Some(Auth::None),
            ..Config::defaults()
        };
        let refused = |config: Config, has_curve| {
            let error = config.check_rpc(has_curve).expect_err("refused");
            error.to_string()
        };
        let told = refused(config("10.0.0.1:1", None), true);
        assert!(
            told.contains("CURVE") && told.contains("skysail keys new frontend"),
            "{told}"
        );
        assert!(!told.contains("libzmq-system.toml"), "{told}");
        let told = refused(config("10.0.0.1:1", None), false);
        assert!(told.contains("docker/libzmq-system.toml"), "{told}");
        for rpc in ["10.0.0.1:1", "127.0.0.1:1"] {
            let told = refused(config(rpc, Some("/k")), false);
            assert!(told.contains("docker/libzmq-system.toml"), "{told}");
            config(rpc, Some("/k"))
                .check_rpc(true)
                .expect("keys are given");
        }
        for every in ["0.0.0.0:1", "[::]:1"] {
            let told = refused(config(every, Some("/k")), true);
            assert!(told.contains("name the one that is wanted"), "{told}");
        }
        config("127.0.0.1:1", None)
            .check_rpc(false)
            .expect("loopback");
    }

    #[test]
    fn both_kinds_of_endpoint_are_there_unless_replaced() {
        let flags = |rpc: &[&str]| Flags {
            data_dir: Some("/d".into()),
            rpc: rpc.iter().map(ToString::to_string).collect(),
            ..Flags::default()
        };
        let endpoints = |rpc: &[&str]| read(&flags(rpc)).expect("right").rpc;
        assert_eq!(
            endpoints(&[]),
            ["ipc:///d/rpc.sock", "tcp://127.0.0.1:7000"]
        );
        assert_eq!(
            endpoints(&["127.0.0.1:0"]),
            ["ipc:///d/rpc.sock", "tcp://127.0.0.1:0"]
        );
        assert_eq!(
            endpoints(&["ipc:///x"]),
            ["ipc:///x", "tcp://127.0.0.1:7000"]
        );
        assert!(read(&flags(&["http://x"])).is_err());
        assert!(
            read(&flags(&["127.0.0.1:1", "127.0.0.1:2"])).is_err(),
            "two of one kind"
        );
    }
}
