//! The listener: both versions of HTTP on one port, TLS when configured, and a drain that ends.
//!
//! docs/spec/details.md section 11 ("HTTP/1.1, HTTP/2 by TLS or prior knowledge").

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod http;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use asp_cell::api::http::{Settings, Tls, serve};
use http::Cell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A cell behind a real listener.
struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
    _cell: Cell,
}

async fn start(tls: Option<Tls>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let settings = Settings { shutdown: shutdown.clone(), ..Settings::default() };
    let cell = Cell::with(settings).await;
    let served = tokio::spawn(serve(listener, cell.router.clone(), tls, shutdown.clone()));
    Server { address, shutdown, served, _cell: cell }
}

#[tokio::test]
async fn both_versions_are_served_on_one_port() {
    let server = start(None).await;
    let address = server.address;
    let url = format!("http://{address}/healthz");
    let one = reqwest::Client::builder().http1_only().build().unwrap().get(&url).send().await.unwrap();
    assert_eq!((one.version(), one.status().as_u16()), (reqwest::Version::HTTP_11, 200));
    let two = reqwest::Client::builder().http2_prior_knowledge().build().unwrap().get(&url).send().await.unwrap();
    assert_eq!((two.version(), two.status().as_u16()), (reqwest::Version::HTTP_2, 200));
}

#[tokio::test]
async fn a_drain_ends_idle_connections_and_the_server() {
    let Server { address, shutdown, served, _cell } = start(None).await;
    let client = reqwest::Client::new();
    let answer = client.get(format!("http://{address}/healthz")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), r#"{"status":"ok"}"#);
    shutdown.cancel();
    let served = tokio::time::timeout(Duration::from_secs(5), served).await;
    served.expect("an idle connection held the drain up").unwrap().unwrap();
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn a_body_that_is_too_large_still_gets_its_answer() {
    let server = start(None).await;
    let address = server.address;
    let client = reqwest::Client::new();
    for size in [262_145, 2_000_000] {
        let request =
            client.post(format!("http://{address}/v1/asp/sessions")).header("content-type", "application/json");
        assert_eq!(request.body(vec![b' '; size]).send().await.unwrap().status().as_u16(), 413);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_ends_here_when_it_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("api.pem"), dir.path().join("api.key"));
    let made = rcgen::generate_simple_self_signed(["cell.example".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    assert!(Tls::load(&key, &cert).is_err());
    let server = start(Some(Tls::load(&cert, &key).unwrap())).await;
    let address = server.address;
    let root = made.cert.der().clone();
    let answer = tokio::task::spawn_blocking(move || fetch(address, root)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

fn fetch(address: SocketAddr, root: rustls_pki_types::CertificateDer<'static>) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = "cell.example".try_into().unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(session, TcpStream::connect(address).unwrap());
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: cell.example\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
