//! How a container is started: flags, and environment variables of the same names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use skysail_rpc::keys::{PublicKey, SecretKey};
use skysail_rpc::limits::{NAME_BYTES_MAX, SLOTS_MAX, TOKEN_BYTES_MAX};
use skysail_rpc::transport::{ClientKeys, zmq};

use crate::{Ctx, StartError};

/// Batches in flight unless the options say otherwise: the one that is computed, and one that the
/// front end may send ahead when the first is about to end.
const SLOTS_DEFAULT: u16 = 2;

/// Longest spin that may be asked for.
const SPIN_US_MAX: u32 = 10_000;
/// Cores from which on one can be spared for spinning.
const SPIN_CORES_MIN: usize = 4;
/// Spin where there are enough cores: a few times what a wake-up costs.
const SPIN_US_DEFAULT: u32 = 50;

/// How a container is started.
///
/// Flatten it into a `clap` command of your own to add options; that command must
/// `disable_version_flag`, because `--version` names the model's version here.
#[derive(Clone, Debug, clap::Args)]
#[non_exhaustive]
pub struct Options {
    /// The front end to join: ipc://PATH or tcp://ADDRESS:PORT
    #[arg(long, env = "SKYSAIL_RPC", value_name = "ENDPOINT")]
    pub rpc: Option<String>,
    /// Name of the model
    #[arg(long, env = "SKYSAIL_MODEL", value_name = "NAME")]
    pub model: Option<String>,
    /// Version of the model
    #[arg(long, env = "SKYSAIL_VERSION", value_name = "NAME")]
    pub version: Option<String>,
    /// File with the join token, which a front end without keys asks for over tcp
    #[arg(long, env = "SKYSAIL_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// This container's secret key (NAME.key), for a front end with keys; used over tcp only
    #[arg(long, env = "SKYSAIL_KEY_FILE", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The front end's public key (frontend.pub); no other front end is believed
    #[arg(long, env = "SKYSAIL_SERVER_KEY_FILE", value_name = "FILE")]
    pub server_key: Option<PathBuf>,
    /// Batches that the front end may have in flight here
    #[arg(long, env = "SKYSAIL_SLOTS", value_name = "N", default_value_t = SLOTS_DEFAULT,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(SLOTS_MAX)))]
    pub slots: u16,
    /// Directory of the front end's control socket, for shared memory [default: the
    /// directory of an ipc endpoint]
    #[arg(long, env = "SKYSAIL_SOCKET_DIR", value_name = "DIR")]
    pub socket_dir: Option<PathBuf>,
    /// Exchange batches through shared memory where the front end offers it
    #[arg(long, env = "SKYSAIL_SHARED_MEMORY", value_name = "BOOL", default_value_t = true,
          action = clap::ArgAction::Set)]
    pub shared_memory: bool,
    /// Microseconds to look for the next batch before sleeping, here and in the front end
    /// [default: 50 on 4 cores or more, else 0]
    #[arg(long, env = "SKYSAIL_SPIN_US", value_name = "MICROS",
          value_parser = clap::value_parser!(u32).range(0..=i64::from(SPIN_US_MAX)))]
    pub spin_us: Option<u32>,
    /// Directory of the model's files
    #[arg(
        long,
        env = "SKYSAIL_MODEL_PATH",
        value_name = "DIR",
        default_value = "."
    )]
    pub path: PathBuf,
    /// File that the serving loop writes each second, for health checks: seconds since the
    /// machine's start (those of /proc/uptime), and `serving` or `away`
    #[arg(long, env = "SKYSAIL_HEALTH_FILE", value_name = "FILE")]
    pub health_file: Option<PathBuf>,
    /// Check the model without a front end, then exit
    #[arg(long)]
    pub selftest: bool,
    /// Print the result of --selftest as JSON
    #[arg(long, requires = "selftest")]
    pub json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            rpc: None,
            model: None,
            version: None,
            token_file: None,
            key: None,
            server_key: None,
            slots: SLOTS_DEFAULT,
            socket_dir: None,
            shared_memory: true,
            spin_us: None,
            path: PathBuf::from("."),
            health_file: None,
            selftest: false,
            json: false,
        }
    }
}

/// What the hello says of the container, besides its schema.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) model: String,
    pub(crate) version: String,
    pub(crate) slots: u16,
    pub(crate) token_file: Option<PathBuf>,
}

impl Options {
    /// For a container of `model` and `version` that is driven by code, not by flags.
    #[must_use]
    pub fn named(model: &str, version: &str) -> Self {
        let (model, version) = (Some(model.to_owned()), Some(version.to_owned()));
        Options {
            model,
            version,
            ..Options::default()
        }
    }

    /// The endpoint to join.
    pub(crate) fn endpoint(&self) -> Result<&str, StartError> {
        let (option, variable, what) = ("--rpc", "SKYSAIL_RPC", "the front end to join");
        self.rpc.as_deref().ok_or(StartError::Missing {
            option,
            variable,
            what,
        })
    }

    pub(crate) fn identity(&self) -> Result<Identity, StartError> {
        let model = name(
            "--model",
            "SKYSAIL_MODEL",
            "the model",
            self.model.as_deref(),
        )?;
        let what = "the version of the model";
        let version = name(
            "--version",
            "SKYSAIL_VERSION",
            what,
            self.version.as_deref(),
        )?;
        let identity = Identity {
            model: model.to_owned(),
            version: version.to_owned(),
            slots: self.slots,
            token_file: self.token_file.clone(),
        };
        identity.token().map(|_| identity)
    }

    /// Where the front end's control socket is, if shared memory is wanted.
    pub(crate) fn socket_dir(&self) -> Option<PathBuf> {
        if !self.shared_memory {
            return None;
        }
        let ipc = self
            .rpc
            .as_deref()
            .and_then(|rpc| rpc.strip_prefix("ipc://"));
        let beside = || Path::new(ipc?).parent().map(Path::to_owned);
        self.socket_dir.clone().or_else(beside)
    }

    /// How long to look for the next batch before sleeping.
    pub(crate) fn spin(&self) -> Duration {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let default = if cores >= SPIN_CORES_MIN {
            SPIN_US_DEFAULT
        } else {
            0
        };
        Duration::from_micros(u64::from(self.spin_us.unwrap_or(default)))
    }

    /// How the container proves who it is, if it has keys.
    pub(crate) fn keys(&self) -> Result<Option<ClientKeys>, StartError> {
        let (key, server_key) = match (&self.key, &self.server_key) {
            (Some(key), Some(server_key)) => (key, server_key),
            (None, None) => return Ok(None),
            (Some(_), None) => {
                return Err(StartError::Missing {
                    option: "--server-key",
                    variable: "SKYSAIL_SERVER_KEY_FILE",
                    what: "the front end's public key, which --key needs beside it",
                });
            }
            (None, Some(_)) => {
                return Err(StartError::Missing {
                    option: "--key",
                    variable: "SKYSAIL_KEY_FILE",
                    what: "the container's secret key, which --server-key needs beside it",
                });
            }
        };
        let wrong = |option| move |source| StartError::Key { option, source };
        let keys = ClientKeys {
            secret: SecretKey::read(key).map_err(wrong("--key"))?,
            server: PublicKey::read(server_key).map_err(wrong("--server-key"))?,
        };
        if zmq::has_curve() {
            Ok(Some(keys))
        } else {
            Err(StartError::NoCurve)
        }
    }

    /// The context of the model's calls.
    pub(crate) fn ctx(&self) -> Ctx {
        let ctx = Ctx::new(&self.path);
        match (&self.model, &self.version) {
            (Some(model), Some(version)) => ctx.named(model, version),
            _ => ctx,
        }
    }
}

impl Identity {
    /// The join token, without the white space around it; empty if no file is named.
    pub(crate) fn token(&self) -> Result<Vec<u8>, StartError> {
        let Some(path) = &self.token_file else {
            return Ok(Vec::new());
        };
        let read = std::fs::read(path);
        let token = read.map_err(|source| StartError::Token {
            path: path.clone(),
            source,
        })?;
        let token = token.trim_ascii().to_vec();
        if token.len() > TOKEN_BYTES_MAX {
            let (path, bytes, limit) = (path.clone(), token.len(), TOKEN_BYTES_MAX);
            return Err(StartError::TokenLength { path, bytes, limit });
        }
        Ok(token)
    }
}

/// The value of a naming option, if it is given and a name.
fn name<'a>(
    option: &'static str,
    variable: &'static str,
    what: &'static str,
    value: Option<&'a str>,
) -> Result<&'a str, StartError> {
    let name = value.ok_or(StartError::Missing {
        option,
        variable,
        what,
    })?;
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let valid = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.bytes().all(rest);
    if valid && name.len() <= NAME_BYTES_MAX {
        return Ok(name);
    }
    let name = name.chars().take(80).collect();
    Err(StartError::Name {
        option,
        name,
        limit: NAME_BYTES_MAX,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn error<T: std::fmt::Debug>(result: Result<T, StartError>) -> String {
        result.expect_err("wrong").to_string()
    }

    #[test]
    fn says_which_option_is_missing_and_what_it_is_for() {
        let told =
            "--model (or SKYSAIL_MODEL) is not given: it names the model; --help shows an example";
        assert_eq!(error(Options::default().identity()), told);
        let told = error(Options::named("m", "1").endpoint().map(drop));
        assert!(
            told.starts_with("--rpc (or SKYSAIL_RPC) is not given"),
            "{told}"
        );
    }

    #[test]
    fn refuses_what_is_no_name() {
        for wrong in ["", "-m", "a b", "é", &"x".repeat(64)] {
            assert!(error(Options::named(wrong, "1").identity()).contains("is not a name"));
            assert!(error(Options::named("m", wrong).identity()).contains("--version '"));
        }
        Options::named("digits-linear", "1.0_b")
            .identity()
            .expect("names");
    }

    #[test]
    fn keys_come_in_twos_and_are_read_at_the_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("written");
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, private).expect("set");
            Some(path)
        };
        let secret = SecretKey::new([5; 32]);
        let key = file("m.key", &secret.to_z85());
        let server_key = file("frontend.pub", &secret.public().to_string());
        let garbage = file("garbage", "no key");
        let keys = |key: &Option<PathBuf>, server_key: &Option<PathBuf>| {
            let (key, server_key) = (key.clone(), server_key.clone());
            let options = Options {
                key,
                server_key,
                ..Options::default()
            };
            options.keys()
        };
        assert!(keys(&None, &None).expect("none are needed").is_none());
        let told = error(keys(&key, &None));
        assert!(
            told.starts_with("--server-key (or SKYSAIL_SERVER_KEY_FILE) is not given"),
            "{told}"
        );
        let told = error(keys(&None, &server_key));
        assert!(
            told.starts_with("--key (or SKYSAIL_KEY_FILE) is not given"),
            "{told}"
        );
        let causes = |result: Result<_, StartError>| {
            crate::error::causes(&result.map(|_: Option<ClientKeys>| ()).expect_err("wrong"))
        };
        let told = causes(keys(&garbage, &server_key));
        assert!(
            told.starts_with("--key: ") && told.contains("40 characters"),
            "{told}"
        );
        let told = causes(keys(&key, &garbage));
        assert!(
            told.starts_with("--server-key: ") && told.contains("40 characters"),
            "{told}"
        );
        let told = causes(keys(&Some("/nonexistent".into()), &server_key));
        assert!(told.contains("cannot read key file /nonexistent"), "{told}");
        match keys(&key, &server_key) {
            Ok(keys) => assert_eq!(keys.expect("given").server, secret.public()),
            Err(error) => assert!(error.to_string().contains("no CURVE") && !zmq::has_curve()),
        }
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(key.as_ref().expect("a path"), open).expect("set");
        let told = causes(keys(&key, &server_key));
        assert!(told.contains("chmod 600"), "{told}");
    }

    #[test]
    fn reads_the_token_without_the_line_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("join.token");
        let options = Options {
            token_file: Some(path.clone()),
            ..Options::named("m", "1")
        };
        assert!(error(options.identity()).starts_with("cannot read the join token"));
        std::fs::write(&path, "secret\n").expect("written");
        let identity = options.identity().expect("a token");
        assert_eq!(identity.token().expect("read"), b"secret");
        std::fs::write(&path, "x".repeat(300)).expect("written");
        assert!(error(options.identity()).ends_with("has 300 bytes, at most 256 allowed"));
    }
}
