//! TLS of a port, and its certificate, which may change while the port serves.
//!
//! [`Tls::open`] reads a chain and a key; [`Reload`] looks every [`LOOK_EVERY`] whether one of the
//! files has changed, and gives connections that begin then the new certificate. Files that are
//! wrong, or that do not belong together because only one of them is new yet, leave the old
//! certificate in use; that is logged once.
//!
//! # Invariants
//! - A port always has a certificate whose key is the right one.
//! - TLS 1.2 and 1.3 only, and HTTP/2 or HTTP/1.1 by ALPN.
//!
//! # Cost
//! A handshake signs once, on the runtime that accepted the connection.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::socket::Socket;

/// How often the files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The name of HTTP/2 in ALPN.
pub(super) const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// A certificate that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that cannot be read, or is no PEM.
    #[error("cannot read {}", .0.display())]
    Unreadable(PathBuf, #[source] pem::Error),
    /// A file without what it is for.
    #[error("{} holds no {what} in PEM", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A key that is not understood, or not that of the certificate.
    #[error("the key in {} does not fit the certificate in {}", .files.key.display(), .files.chain.display())]
    Unfit {
        /// Both files.
        files: CertificateFiles,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

/// Where a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that lead to its root, in PEM.
    pub chain: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// TLS of a port. Clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the certificate. Run [`Reload::keep_current`] so that changes are seen.
    ///
    /// # Errors
    /// If a file cannot be used; the error names it.
    pub fn open(files: CertificateFiles) -> Result<(Tls, Reload), TlsError> {
        let seen = Seen::of(&files);
        let current = Arc::new(Current(ArcSwap::from_pointee(read(&files)?)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for both versions")
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let reload = Reload {
            files,
            seen,
            current,
        };
        Ok((Tls { acceptor }, reload))
    }

    /// The handshake; `None` if it fails, by the client's fault.
    pub(super) async fn accept(&self, socket: Socket) -> Option<TlsStream<Socket>> {
        let shaken = self.acceptor.accept(socket).await;
        shaken
            .inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed"))
            .ok()
    }
}

/// The certificate in use.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Keeps a certificate as its files are.
#[derive(Debug)]
pub struct Reload {
    files: CertificateFiles,
    seen: Seen,
    current: Arc<Current>,
}

impl Reload {
    /// Looks at the files again and again, on tokio's blocking threads. Never ends.
    ///
    /// # Cancel safety
    /// It may be dropped at any time; the certificate stays as it is.
    pub async fn keep_current(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let looking = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            self = match looking.await {
                Ok(reload) => reload,
                Err(error) => return tracing::error!(%error, "certificates are no longer read"),
            };
        }
    }

    /// Reads the files if one of them has changed.
    pub(super) fn look(&mut self) {
        let seen = Seen::of(&self.files);
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        let chain = self.files.chain.display();
        match read(&self.files) {
            Ok(certificate) => {
                self.current.0.store(Arc::new(certificate));
                tracing::info!(%chain, "the certificate was read again");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "the certificate that changed cannot be used: the old one stays"
                );
            }
        }
    }
}

/// Both files as they were when they were looked at; none for one that is not there.
#[derive(Debug, PartialEq, Eq)]
struct Seen([Option<Stamp>; 2]);

/// Inode, bytes, and when content and inode changed.
type Stamp = (u64, u64, [(i64, i64); 2]);

impl Seen {
    fn of(files: &CertificateFiles) -> Self {
        let stamp = |data: Metadata| {
            let content = (data.mtime(), data.mtime_nsec());
            (
                data.ino(),
                data.len(),
                [content, (data.ctime(), data.ctime_nsec())],
            )
        };
        // Followed, so that a link to a mounted secret will do.
        Seen([&files.chain, &files.key].map(|path| fs::metadata(path).ok().map(stamp)))
    }
}

fn read(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(&files.chain, error, "certificate"))?;
    if chain.is_empty() {
        return Err(unreadable(
            &files.chain,
            pem::Error::NoItemsFound,
            "certificate",
        ));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| unreadable(&files.key, error, "private key"))?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|source| TlsError::Unfit {
        files: files.clone(),
        source,
    })
}

fn unreadable(path: &Path, error: pem::Error, what: &'static str) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::NoItemsFound => TlsError::Empty { path, what },
        error => TlsError::Unreadable(path, error),
    }
}
