//! The files of a data directory besides the store's and the tokens': the join token, the
//! endpoints of the running front end, the socket for containers.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use skysail_api::About;
use skysail_rpc::transport::zmq::IPC_PATH_BYTES_MAX;

/// Bytes of randomness in a join token.
const TOKEN_BYTES: usize = 32;

/// Where deployed replicas' logs are.
pub(crate) fn log_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("logs")
}

/// Where the join token is.
pub(crate) fn token_file(data_dir: &Path) -> PathBuf {
    data_dir.join("join.token")
}

/// The join token: the one that is there, or a new one.
///
/// # Errors
/// If it can neither be read nor written.
pub(crate) fn join_token(data_dir: &Path) -> Result<Vec<u8>> {
    let file = token_file(data_dir);
    let what = || format!("cannot use the join token {}", file.display());
    match std::fs::read_to_string(&file) {
        Ok(token) if !token.trim().is_empty() => return Ok(token.trim().as_bytes().to_vec()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(what),
    }
    let mut random = [0; TOKEN_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .with_context(what)?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(&file, token.as_bytes()).with_context(what)?;
    Ok(token.into_bytes())
}

/// Says where the front end listens, and with which certificate. Whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write_endpoints(
    data_dir: &Path,
    about: &About,
    certificate: Option<&Path>,
) -> Result<()> {
    let file = data_dir.join("endpoints.json");
    let what = || format!("cannot write {}", file.display());
    // Whoever reads this may work elsewhere.
    let certificate = certificate.map(std::path::absolute).transpose();
    let certificate = certificate.with_context(what)?;
    let endpoints = serde_json::json!({
        "pid": about.pid,
        "query": about.query.to_string(),
        "management": about.management.to_string(),
        "rpc": about.rpc,
        "version": about.version,
        "tls": about.tls,
        "certificate": certificate,
    });
    let new = data_dir.join("endpoints.json.new");
    write_private(&new, format!("{endpoints}\n").as_bytes()).with_context(what)?;
    std::fs::rename(&new, &file).with_context(what)
}

/// The front end listens no more.
pub(crate) fn remove_endpoints(data_dir: &Path) {
    // Nobody is left to tell if this fails.
    drop(std::fs::remove_file(data_dir.join("endpoints.json")));
}

/// The endpoint to bind for `endpoint`: a path that is too long for a socket is replaced by
/// one in a private directory, which is returned to be kept until the front end ends.
///
/// # Errors
/// If the directory of the socket cannot be made.
pub(crate) fn bindable(endpoint: &str) -> Result<(String, Option<tempfile::TempDir>)> {
    let Some(path) = endpoint.strip_prefix("ipc://") else {
        return Ok((endpoint.into(), None));
    };
    if path.len() > IPC_PATH_BYTES_MAX {
        let folder = tempfile::Builder::new().prefix("skysail-").tempdir()?;
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700))?;
        let short = format!("ipc://{}", folder.path().join("rpc.sock").display());
        return Ok((short, Some(folder)));
    }
    if let Some(folder) = Path::new(path).parent().filter(|folder| !folder.exists()) {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok((endpoint.into(), None))
}

/// Writes a file, durably, that only its owner may read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file: File = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_join_token_is_private_and_stays_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = join_token(folder.path()).expect("made");
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert_eq!(join_token(folder.path()).expect("read"), token);
        let mode = std::fs::metadata(token_file(folder.path()))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_replaced_by_a_private_one() {
        let long = format!("ipc:///tmp/{}/rpc.sock", "x".repeat(200));
        let (short, folder) = bindable(&long).expect("replaced");
        let folder = folder.expect("a private directory");
        assert!(short.contains(&folder.path().display().to_string()));
        let mode = std::fs::metadata(folder.path())
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
