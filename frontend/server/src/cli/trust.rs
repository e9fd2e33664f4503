//! TLS to a front end: whom to believe that it is the front end.
//!
//! Where it was named by a URL, its certificate must be for that host and lead to a root: one of
//! `--ca FILE`, or else one that the system trusts. Where it was found by its data directory, its
//! certificate must be the very one that the front end was started with: who could put another
//! file there could as well have its tokens. See `docs/decisions/0025`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::CliError;

/// TLS to one server.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
    /// Whom its certificate has to come from, in words.
    trusted: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS to `host`, whose certificate leads to a root of the file `ca`, or of the system.
    pub(super) fn by_roots(host: &str, ca: Option<(&str, &Path)>) -> Result<Tls, CliError> {
        let provider = Arc::new(ring::default_provider());
        let (roots, trusted) = match ca {
            Some((flag, file)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(flag, file)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| unusable(flag, file, &error.to_string()))?;
                }
                (roots, file.display().to_string())
            }
            None => (system_roots()?, "this system".to_owned()),
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().map_err(|error| {
            CliError::Usage(format!("the trusted certificates cannot be used: {error}"))
        })?;
        Tls::new(host, verifier, trusted)
    }

    /// TLS to a front end of this machine, whose certificate is the first of its own file.
    pub(super) fn pinned(host: &str, file: &Path) -> Result<Tls, CliError> {
        let mut chain = certificates("--data-dir", file)?;
        let pin = Pin {
            certificate: chain.swap_remove(0),
            provider: Arc::new(ring::default_provider()),
        };
        Tls::new(host, Arc::new(pin), file.display().to_string())
    }

    fn new(
        host: &str,
        verifier: Arc<dyn ServerCertVerifier>,
        trusted: String,
    ) -> Result<Tls, CliError> {
        let name = ServerName::try_from(host.to_owned());
        let name = name
            .map_err(|_| CliError::Usage(format!("'{host}' is no name that a certificate has")))?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for both versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Tls {
            connector: TlsConnector::from(Arc::new(config)),
            name,
            trusted,
        })
    }

    /// The handshake; the error says what to do.
    pub(super) async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let shaken = self.connector.connect(self.name.clone(), stream).await;
        shaken.map_err(|error| self.described(&error))
    }

    fn described(&self, error: &io::Error) -> String {
        let inner = error.get_ref();
        let Some(error) = inner.and_then(|inner| inner.downcast_ref::<Error>()) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => "the handshake ended early; if it has no TLS, \
                                                 say http:// to it"
                    .to_owned(),
                kind => kind.to_string(),
            };
        };
        let trusted = &self.trusted;
        match error {
            Error::InvalidMessage(_) => "it has no TLS; say http:// to it".to_owned(),
            // A root of the same name with another key is the wrong one too.
            Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => format!(
                "its certificate comes from nobody whom {trusted} trusts; name the right roots by \
                 --ca FILE (PEM)"
            ),
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => format!(
                "its certificate is not the one in {trusted}; if the front end has not read it \
                 again yet, wait a moment; if its log says that it cannot, mend the file"
            ),
            other => other.to_string(),
        }
    }
}

/// The certificates of a file; at least one.
fn certificates(flag: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, CliError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<_, _>>);
    let read: Vec<_> = read.map_err(|error| unusable(flag, file, &error.to_string()))?;
    if read.is_empty() {
        return Err(unusable(flag, file, "holds no certificate in PEM"));
    }
    Ok(read)
}

fn unusable(flag: &str, file: &Path, why: &str) -> CliError {
    CliError::Usage(format!("{flag}: {}: {why}", file.display()))
}

/// The roots that the system trusts. Some that cannot be read are no reason to have none.
fn system_roots() -> Result<RootCertStore, CliError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let text = "this system trusts no certificates: name those to trust by --ca FILE (PEM)";
        return Err(CliError::Usage(text.to_owned()));
    }
    Ok(roots)
}

/// Where to find the roots: a flag or a variable, and the file that it names.
pub(super) type Roots = (&'static str, PathBuf);

/// Takes one certificate and no other, whatever names it has.
#[derive(Debug)]
struct Pin {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        let error = CertificateError::ApplicationVerificationFailure;
        Err(Error::InvalidCertificate(error))
    }

    // That the server has the key of the certificate is proven as ever.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
