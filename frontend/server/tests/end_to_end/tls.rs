//! TLS on both ports, with a certificate that changes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::harness::{Frontend, run, stderr, until};

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// Writes a new certificate of `localhost` and its key; gives the certificate.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
    std::fs::write(folder.join("key.pem"), key).unwrap();
    std::fs::write(
        folder.join("chain.pem"),
        pem("CERTIFICATE", made.cert.der()),
    )
    .unwrap();
    made.cert.der().clone()
}

/// Whether the server at `address` proves to be the one of the certificate.
fn proves(address: SocketAddr, trusted: &CertificateDer<'static>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.is_ok()
    })
}

fn start(folder: &Path) -> Frontend {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (chain, key) = (file("chain.pem"), file("key.pem"));
    Frontend::start_with(folder, &["--tls-cert", &chain, "--tls-key", &key])
}

#[test]
fn both_ports_speak_tls_with_the_certificate_that_the_files_hold_now() {
    let folder = tempfile::tempdir().unwrap();
    let old = certificate(folder.path());
    let frontend = start(folder.path());
    for address in [frontend.query, frontend.management] {
        assert!(proves(address, &old));
    }
    // Broken for a moment, then whole again.
    std::fs::write(folder.path().join("chain.pem"), "no certificate").unwrap();
    let new = certificate(folder.path());
    until("the new certificate", || {
        proves(frontend.query, &new).then_some(())
    });
    assert!(proves(frontend.management, &new) && !proves(frontend.query, &old));
}

#[test]
fn a_wrong_certificate_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (chain, key, missing) = (file("chain.pem"), file("key.pem"), file("missing.pem"));
    let data_dir = folder.path().to_str().unwrap();
    let cases = [
        (vec!["--tls-cert", &missing, "--tls-key", &key], &missing),
        (vec!["--tls-cert", &key, "--tls-key", &key], &key),
        (vec!["--tls-cert", &chain, "--tls-key", &chain], &chain),
    ];
    for (flags, named) in cases {
        let output = run(&[&["serve", "--data-dir", data_dir], &flags[..]].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.lines().count() == 1 && text.contains(named.as_str()),
            "{text}"
        );
    }
    let output = run(&["serve", "--data-dir", data_dir, "--tls-cert", &chain]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--tls-key"), "{}", stderr(&output));
}
