//! TLS to a front end: whom to believe that it is the front end.
//!
//! Where it was named by a URL, its certificate must be for that host and lead to a root: one of
//! `--ca FILE`, or else one that the system trusts. A certificate that stands in the file itself
//! may be marked as an authority, as `openssl req -x509` makes them. Where it was found by its data directory, its
//! certificate must be the very one that the front end was started with: who could put another
//! file there could as well have its tokens. See `docs/decisions/0025`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
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
        let Some((flag, file)) = ca else {
            let roots = Roots::new(system_roots()?, Vec::new())?;
            return Tls::new(host, Arc::new(roots), "this system".to_owned());
        };
        let named = certificates(flag, file)?;
        let mut roots = RootCertStore::empty();
        for certificate in &named {
            let added = roots.add(certificate.clone());
            added.map_err(|error| unusable(flag, file, &error.to_string()))?;
        }
        let roots = Roots::new(roots, named)?;
        Tls::new(host, Arc::new(roots), file.display().to_string())
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
            Error::InvalidCertificate(CertificateError::Other(why))
                if why.to_string() == AUTHORITY =>
            {
                format!(
                    "its certificate is marked as an authority, and {trusted} does not hold that \
                     very certificate; name it by --ca FILE (PEM), or make one that is not \
                     (openssl req -addext basicConstraints=critical,CA:FALSE)"
                )
            }
            Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented,
                ..
            }) if presented.is_empty() => {
                "its certificate is for no host; make one that names it (openssl req -addext \
                 subjectAltName=DNS:NAME,IP:ADDRESS)"
                    .to_owned()
            }
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
pub(super) type RootsFile = (&'static str, PathBuf);

/// What webpki says of a server's certificate that is marked as an authority.
const AUTHORITY: &str = "CaUsedAsEndEntity";

/// Takes certificates that lead to a root, and those that were named themselves.
///
/// webpki refuses a server's certificate that is marked as an authority whatever the roots are. Such
/// a one is taken where it was named, to the byte: that says as much as that it was signed by
/// itself. Its time was looked at by then, its name is afterwards.
#[derive(Debug)]
struct Roots {
    chains: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl Roots {
    fn new(roots: RootCertStore, named: Vec<CertificateDer<'static>>) -> Result<Self, CliError> {
        let provider = Arc::new(ring::default_provider());
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let chains = chains.build().map_err(|error| {
            CliError::Usage(format!("the trusted certificates cannot be used: {error}"))
        })?;
        Ok(Roots { chains, named })
    }
}

impl ServerCertVerifier for Roots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chains = &self.chains;
        let found = chains.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        match found {
            Err(Error::InvalidCertificate(CertificateError::Other(why)))
                if why.to_string() == AUTHORITY
                    && self.named.iter().any(|one| one == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            found => found,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    /// As `openssl req -x509 -newkey … -nodes -addext subjectAltName=…` makes it.
    fn authority(names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().clone()
    }

    /// What is thought of a certificate in a year, where another one is named.
    fn verdict(
        named: &CertificateDer<'static>,
        shown: &CertificateDer<'static>,
        name: &str,
        year: u64,
    ) -> Result<(), CertificateError> {
        let mut roots = RootCertStore::empty();
        roots.add(named.clone()).expect("a root");
        let roots = Roots::new(roots, vec![named.clone()]).expect("usable");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let seconds = (year - 1970) * 31_557_600 + 86_400;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        match roots.verify_server_cert(shown, &[], &name, &[], now) {
            Ok(_) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn an_authority_that_was_named_itself_is_taken_in_its_time_and_by_its_names() {
        let (ours, other) = (authority(&["localhost"]), authority(&["localhost"]));
        assert_eq!(verdict(&ours, &ours, "localhost", 2025), Ok(()));
        let expired = verdict(&ours, &ours, "localhost", 2031);
        assert!(
            matches!(expired, Err(CertificateError::ExpiredContext { .. })),
            "{expired:?}"
        );
        let early = verdict(&ours, &ours, "localhost", 2019);
        assert!(
            matches!(early, Err(CertificateError::NotValidYetContext { .. })),
            "{early:?}"
        );
        let name = verdict(&ours, &ours, "example.com", 2025);
        assert!(
            matches!(name, Err(CertificateError::NotValidForNameContext { .. })),
            "{name:?}"
        );
        let other = verdict(&ours, &other, "localhost", 2025);
        assert!(
            matches!(&other, Err(CertificateError::Other(why)) if why.to_string() == AUTHORITY),
            "{other:?}"
        );
    }
}
