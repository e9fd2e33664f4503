//! TLS with real clients, with clients that speak something else, and certificates that change.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// A certificate of `localhost` and its files.
struct Certificate {
    der: CertificateDer<'static>,
    files: CertificateFiles,
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// Writes a new certificate to `folder`.
fn certificate(folder: &Path) -> Certificate {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let files = CertificateFiles {
        chain: folder.join("chain.pem"),
        key: folder.join("key.pem"),
    };
    std::fs::write(&files.chain, pem("CERTIFICATE", made.cert.der())).expect("written");
    let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
    std::fs::write(&files.key, key).expect("written");
    Certificate {
        der: made.cert.der().clone(),
        files,
    }
}

struct Secure {
    server: Server,
    trusted: CertificateDer<'static>,
    _folder: tempfile::TempDir,
}

fn start(limits: HttpLimits) -> Secure {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = certificate(folder.path());
    let (tls, _) = Tls::open(certificate.files).expect("a certificate");
    Secure {
        server: Server::behind(Door::with_tls(limits, Some(tls))),
        trusted: certificate.der,
        _folder: folder,
    }
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(task)
}

/// A handshake that trusts one certificate and offers `protocols`.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("accepted");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

fn request(body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::post("https://localhost/echo").header("host", "localhost");
    request
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .expect("a request")
}

/// The answer to a request over HTTP/1.1.
async fn ask(stream: TlsStream<tokio::net::TcpStream>, body: &'static str) -> Bytes {
    let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut client, connection) = made.expect("HTTP/1.1");
    tokio::spawn(connection);
    let answer = client.send_request(request(body)).await.expect("an answer");
    answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes()
}

#[test]
fn clients_choose_the_protocol_by_alpn() {
    let secure = start(patient());
    block_on(async {
        let both: [&[u8]; 2] = [b"h2", b"http/1.1"];
        let stream = connect(secure.server.address, &secure.trusted, &both)
            .await
            .expect("TLS");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
        let (mut client, connection) = made.expect("HTTP/2");
        tokio::spawn(connection);
        let answer = client
            .send_request(request("two"))
            .await
            .expect("an answer");
        let body = answer.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes(), "two");
        for protocols in [&both[1..], &[]] {
            let stream = connect(secure.server.address, &secure.trusted, protocols).await;
            assert_eq!(ask(stream.expect("TLS"), "one").await, "one");
        }
    });
    secure.server.wait_until_empty();
}

#[test]
fn answers_of_any_size_come_through() {
    let secure = start(patient());
    block_on(async {
        let stream = connect(secure.server.address, &secure.trusted, &[])
            .await
            .expect("TLS");
        let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut client, connection) = made.expect("HTTP/1.1");
        tokio::spawn(connection);
        let request = Request::get("/big").header("host", "localhost");
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        let answer = client.send_request(request).await.expect("an answer");
        let body = answer.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes().len(), BIG_BYTES);
    });
}

#[test]
fn closes_clients_that_take_no_byte_of_what_is_encrypted() {
    let secure = start(HttpLimits {
        write_stall: SHORT,
        ..patient()
    });
    block_on(async {
        let stream = connect(secure.server.address, &secure.trusted, &[]).await;
        let io = TokioIo::new(stream.expect("TLS"));
        let made = hyper::client::conn::http1::handshake(io).await;
        let (mut client, connection) = made.expect("HTTP/1.1");
        tokio::spawn(connection);
        let request = Request::get("/big").header("host", "localhost");
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        let _unread = client.send_request(request).await.expect("an answer");
        while secure.server.door.open_connections() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_client_that_speaks_no_tls_is_closed() {
    let secure = start(patient());
    let mut stream = secure.server.connect();
    stream
        .write_all(post("/echo", "plain", false).as_bytes())
        .expect("sent");
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    secure.server.wait_until_empty();
}

#[test]
fn closes_clients_that_stop_in_the_handshake_or_after_it() {
    let secure = start(HttpLimits {
        first_byte_timeout: SHORT,
        head_timeout: SHORT,
        ..patient()
    });
    // The head of a handshake record of 512 bytes, and nothing more.
    for half in [
        &b""[..],
        &[22, 3, 1, 2, 0],
        &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3],
    ] {
        let mut stream = secure.server.connect();
        stream.write_all(half).expect("sent");
        let mut end = Vec::new();
        drop(stream.read_to_end(&mut end));
    }
    secure.server.wait_until_empty();
    block_on(async {
        let stream = connect(secure.server.address, &secure.trusted, &[b"h2"]).await;
        let _silent = stream.expect("TLS");
        while secure.server.door.open_connections() > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn handshakes_that_never_end_take_no_more_than_the_cap_and_give_it_back() {
    let secure = start(HttpLimits {
        connections_max: 8,
        head_timeout: SHORT,
        ..HttpLimits::default()
    });
    let flood: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = secure.server.connect();
            // One beyond the cap may be closed already.
            drop(stream.write_all(&[22, 3, 1, 2, 0]));
            stream
        })
        .collect();
    assert!(
        secure.server.door.open_connections() <= 8 + 1,
        "one more while it is refused"
    );
    for mut stream in flood {
        let mut said = Vec::new();
        drop(stream.read_to_end(&mut said));
        assert!(!said.starts_with(b"HTTP"), "{said:?}");
    }
    secure.server.wait_until_empty();
    block_on(async {
        let stream = connect(secure.server.address, &secure.trusted, &[]).await;
        assert_eq!(ask(stream.expect("TLS"), "one").await, "one");
    });
}

#[test]
fn a_certificate_that_changes_is_served_to_new_connections_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = certificate(folder.path());
    let (tls, mut reload) = Tls::open(old.files.clone()).expect("a certificate");
    let server = Server::behind(Door::with_tls(patient(), Some(tls)));
    block_on(async {
        let trusts = async |certificate: &Certificate| {
            connect(server.address, &certificate.der, &[]).await.is_ok()
        };
        assert!(trusts(&old).await);
        let kept = connect(server.address, &old.der, &[]).await.expect("TLS");
        let new = certificate(folder.path());
        assert!(trusts(&old).await, "nobody has looked");
        reload.look();
        assert!(trusts(&new).await && !trusts(&old).await);
        assert_eq!(ask(kept, "kept").await, "kept");
        for broken in [
            "",
            "no PEM",
            &pem("CERTIFICATE", b"garbage"),
            &pem("CERTIFICATE", &old.der),
        ] {
            std::fs::write(&new.files.chain, broken).expect("written");
            reload.look();
            assert!(trusts(&new).await, "{broken}");
        }
        std::fs::remove_file(&new.files.key).expect("removed");
        reload.look();
        assert!(trusts(&new).await);
        let newest = certificate(folder.path());
        reload.look();
        assert!(trusts(&newest).await && !trusts(&new).await);
    });
}

#[test]
fn says_which_file_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = certificate(folder.path());
    let told = |files: &CertificateFiles| {
        let error = Tls::open(files.clone()).expect_err("wrong");
        error.to_string()
    };
    let missing = folder.path().join("missing.pem");
    let files = CertificateFiles {
        chain: missing.clone(),
        ..good.files.clone()
    };
    assert_eq!(told(&files), format!("cannot read {}", missing.display()));
    let files = CertificateFiles {
        chain: good.files.key.clone(),
        key: good.files.key.clone(),
    };
    let expected = format!("{} holds no certificate in PEM", good.files.key.display());
    assert_eq!(told(&files), expected);
    let files = CertificateFiles {
        chain: good.files.chain.clone(),
        key: good.files.chain.clone(),
    };
    let expected = format!("{} holds no private key in PEM", good.files.chain.display());
    assert_eq!(told(&files), expected);
    let other = tempfile::tempdir().expect("a folder");
    let files = CertificateFiles {
        key: certificate(other.path()).files.key,
        ..good.files
    };
    let error = told(&files);
    assert!(
        error.contains("key.pem does not fit the certificate in"),
        "{error}"
    );
}
