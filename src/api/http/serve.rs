//! The listener: HTTP/1.1 and HTTP/2 (prior knowledge, or ALPN under TLS) on one port, and a drain with an end.
//!
//! axum-server and not `axum::serve`, because it bounds the drain, the TLS handshake and the first request, and lets
//! HTTP/2 be limited. Source: docs/spec/details.md section 11.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use super::door::Door;

/// How long a drain waits for answers that are on their way.
const DRAIN: Duration = Duration::from_secs(8);
/// How long a connection may take to send the head of a request, and stay idle between two.
const HEAD: Duration = Duration::from_secs(75);
/// How long a connection has for its first request.
const FIRST: Duration = Duration::from_secs(30);
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 256;

/// Certificate and key of `[api.tls]`.
#[derive(Clone)]
pub struct Tls(RustlsConfig);

impl Tls {
    /// Reads a PEM chain and its PEM key.
    pub fn load(cert: &Path, key: &Path) -> io::Result<Self> {
        let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
        let chain: Vec<CertificateDer<'static>> = chain.map_err(|error| unreadable(cert, &error))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|error| unreadable(cert, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(RustlsConfig::from_config(Arc::new(config))))
    }
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
}

/// Serves `router` on `listener` until `shutdown`, then takes no more connections and waits for what is on its way.
///
/// Streams and long polls end by the token of [`Settings`](super::Settings), which must be the same one or a parent.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let handle = Handle::new();
    let drain = handle.clone();
    let watch = tokio::spawn(async move {
        shutdown.cancelled().await;
        drain.graceful_shutdown(Some(DRAIN));
    });
    let service = router.into_make_service();
    let mut server = axum_server::from_tcp(listener)?;
    limit(&mut server);
    let server = server.handle(handle).first_request_timeout(FIRST);
    let door = Door::of_process();
    let outcome = match tls {
        Some(Tls(config)) => server.acceptor(RustlsAcceptor::new(config).acceptor(door)).serve(service).await,
        None => server.acceptor(door).serve(service).await,
    };
    watch.abort();
    outcome
}

fn limit(server: &mut Server<std::net::SocketAddr>) {
    let builder = server.http_builder();
    builder.http1().header_read_timeout(HEAD);
    builder.http2().max_concurrent_streams(STREAMS).keep_alive_interval(FIRST).keep_alive_timeout(FIRST);
}
