//! TLS on both ports, with a certificate that changes, and commands that speak it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::harness::{Frontend, run, skysail, stderr, until};

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// Writes a new certificate of this machine and its key; gives the certificate.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    self_signed(folder, &["localhost", "127.0.0.1"], IsCa::NoCa)
}

fn self_signed(folder: &Path, names: &[&str], is_ca: IsCa) -> CertificateDer<'static> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.is_ca = is_ca;
    let key = KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    let key = pem("PRIVATE KEY", &key.serialize_der());
    std::fs::write(folder.join("key.pem"), key).unwrap();
    std::fs::write(folder.join("chain.pem"), pem("CERTIFICATE", made.der())).unwrap();
    made.der().clone()
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

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_commands_manage_and_query_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let frontend = start(folder.path());
    let chain = folder.path().join("chain.pem");
    let url = format!("https://{}", frontend.management);
    let place = ["--management", &url, "--ca", chain.to_str().unwrap()];
    let data_dir = ["--data-dir", folder.path().to_str().unwrap()];
    let cli = |args: &[&str], place: &[&str]| {
        let split = args.iter().position(|arg| *arg == "--");
        let (before, after) = args.split_at(split.unwrap_or(args.len()));
        let output = run(&[before, place, after].concat());
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    };
    assert!(cli(&["status"], &place).contains("queries https://"));
    assert_eq!(cli(&["ready"], &data_dir), "ready\n");
    let deploy = [
        "deploy",
        "--model",
        "m",
        "--version",
        "1",
        "--input",
        "doubles",
    ];
    let program = env!("CARGO_BIN_EXE_skysail");
    let sum = ["--", program, "example-container", "sum"];
    cli(&[&deploy[..], &sum].concat(), &place);
    let app = ["app", "add", "app", "--input", "doubles", "--slo", "1s"];
    cli(
        &[&app[..], &["--default", "-1", "--link", "m"]].concat(),
        &data_dir,
    );
    for place in [&place[..], &data_dir] {
        until("a prediction", || {
            let said = cli(&["predict", "app", "[1,2]"], place);
            said.contains("predicted by m:1").then_some(())
        });
    }
    let query = format!("https://{}", frontend.query);
    let place = ["--query", &query, "--ca", chain.to_str().unwrap()];
    assert!(cli(&["predict", "app", "[1,2]"], &place).contains("predicted by m:1"));

    let output = run(&[&["load", "--app", "app", "--rate", "1"][..], &data_dir].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("plain HTTP only"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_front_end_that_cannot_be_trusted_is_told_with_what_to_do() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificate(folder.path());
    certificate(other.path());
    let frontend = start(folder.path());
    let plain = Frontend::start(other.path());
    let url = |scheme: &str, frontend: &Frontend| format!("{scheme}://{}", frontend.management);
    let wrong = other.path().join("chain.pem");
    let wrong = wrong.to_str().unwrap();
    let cases = [
        (url("https", &frontend), vec!["--ca", wrong], "by --ca FILE"),
        (url("https", &frontend), vec![], "by --ca FILE"),
        (url("http", &frontend), vec![], "say https://"),
        (url("https", &plain), vec!["--ca", wrong], "say http://"),
    ];
    for (url, more, says) in cases {
        let output = run(&[&["status", "--management", &url], &more[..]].concat());
        let text = stderr(&output);
        assert!(!output.status.success(), "{url} {more:?}");
        assert!(text.contains(says) && text.lines().count() == 1, "{text}");
    }
    let output = skysail()
        .args(["status", "--management", &url("https", &frontend)])
        .env("SKYSAIL_CA", folder.path().join("chain.pem"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// As `openssl req -x509 -newkey … -nodes` makes them: marked as authorities.
#[test]
fn a_certificate_that_is_named_itself_may_be_an_authoritys() {
    let authority = || IsCa::Ca(BasicConstraints::Unconstrained);
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    self_signed(folder.path(), &["localhost", "127.0.0.1"], authority());
    self_signed(other.path(), &[], authority());
    let (frontend, nameless) = (start(folder.path()), start(other.path()));
    let status = |frontend: &Frontend, ca: &Path| {
        let url = format!("https://{}", frontend.management);
        let ca = ca.join("chain.pem");
        run(&["status", "--management", &url, "--ca", ca.to_str().unwrap()])
    };
    let taken = status(&frontend, folder.path());
    assert!(taken.status.success(), "{}", stderr(&taken));
    for (frontend, ca, says) in [
        (&frontend, other.path(), "name it by --ca FILE"),
        (&nameless, other.path(), "subjectAltName"),
    ] {
        let output = status(frontend, ca);
        let text = stderr(&output);
        assert!(!output.status.success());
        assert!(text.contains(says) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn a_data_directory_names_the_one_certificate_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let _frontend = start(folder.path());
    let status = || run(&["status", "--data-dir", folder.path().to_str().unwrap()]);
    assert!(status().status.success());
    // The file is another's until the front end has read it again.
    certificate(folder.path());
    until("the new certificate", || {
        let output = status();
        let text = stderr(&output);
        assert!(
            output.status.success() || text.contains("chain.pem"),
            "{text}"
        );
        output.status.success().then_some(())
    });
}
