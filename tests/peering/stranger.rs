//! A stranger on the wire: QUIC with whatever certificate, ALPN and bytes it likes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint};
use rcgen::KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};

use super::{Authority, EU, Leaf};

/// A stranger that believes anybody.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// What a stranger shows.
#[derive(Clone)]
pub struct Showing {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Arc<PrivateKeyDer<'static>>,
    pub alpn: &'static [u8],
}

impl Showing {
    pub fn new(authority: &Authority, leaf: &Leaf, key: &KeyPair) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(authority.issue(leaf, key).as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        Self { chain, key: Arc::new(key), alpn: b"asp-cell/1" }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client that shows this, or nothing.
pub fn client(showing: Option<&Showing>) -> quinn::ClientConfig {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let mut config = match showing {
        Some(showing) => config.with_client_auth_cert(showing.chain.clone(), showing.key.clone_key()).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![showing.map_or(&b"asp-cell/1"[..], |showing| showing.alpn).to_vec()];
    config.enable_early_data = true;
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
}

/// A server that shows this and asks for nothing.
pub fn server(showing: &Showing) -> (Endpoint, SocketAddr) {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(showing.chain.clone(), showing.key.clone_key())
        .unwrap();
    config.alpn_protocols = vec![showing.alpn.to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()));
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let listening = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = listening.accept().await {
            tokio::spawn(incoming.into_future());
        }
    });
    (endpoint, address)
}

/// A connection the cell took: it says hello. `Err` is what the stranger hears instead.
pub async fn greeted(endpoint: &Endpoint, config: quinn::ClientConfig, to: SocketAddr) -> Result<Connection, String> {
    let connecting = endpoint.connect_with(config, to, &format!("{EU}.asp.invalid")).unwrap();
    let hello = async {
        let connection = connecting.await.map_err(|error| error.to_string())?;
        let mut stream = connection.accept_uni().await.map_err(|error| error.to_string())?;
        stream.read_exact(&mut [0; 4]).await.map_err(|error| error.to_string())?;
        Ok(connection)
    };
    tokio::time::timeout(Duration::from_secs(10), hello).await.unwrap_or(Err("silence".into()))
}

/// An endpoint that only dials.
pub fn endpoint() -> Endpoint {
    Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap()
}
