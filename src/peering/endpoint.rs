//! The QUIC endpoint and the TLS both ways, with every default that would be wrong between cells turned off.
//!
//! Convenience constructors would give no client authentication, 0-RTT, a session cache and 100 streams; here each is
//! set, and [`Tls::build`] fails if what it built does not say so. Source: docs/spec/federation.md section 1.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;

use super::StartError;
use super::identity::Credentials;
use super::limits::{
    ALPN, CONNECTION_WINDOW, IDLE, INCOMING_BUFFER, INCOMING_BUFFER_ALL, INITIAL_RTT, KEEP_ALIVE, MAX_INCOMING,
    STREAM_WINDOW, STREAMS, WINDOW,
};
use super::verifier::Verifier;
use crate::protocol::time::Timestamp;

/// Where a cell hears its peers.
#[derive(Debug)]
pub enum Socket {
    /// A UDP socket to be bound; port 0 takes a free one.
    Bind(SocketAddr),
    /// A UDP socket that is bound already.
    Bound(UdpSocket),
    /// Anything that carries datagrams: a simulated network.
    Abstract(Arc<dyn AsyncUdpSocket>),
}

/// The one provider of cryptography.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What handshakes use from now on: made anew whenever the cell's certificate changes.
pub(super) struct Tls {
    pub server: Arc<quinn::ServerConfig>,
    pub client: quinn::ClientConfig,
    /// When the certificate in them ends.
    pub not_after: Timestamp,
}

impl Tls {
    /// The configuration of both ends, and its self-test.
    pub(super) fn build(own: &Credentials, verifier: &Arc<Verifier>) -> Result<Self, StartError> {
        let (server, client) = (server_tls(own, verifier)?, client_tls(own, verifier)?);
        self_test(&server, &client).map_err(StartError::Unsafe)?;
        let transport = Arc::new(transport()?);
        let server = QuicServerConfig::try_from(server).map_err(|error| StartError::Tls(error.to_string()))?;
        let client = QuicClientConfig::try_from(client).map_err(|error| StartError::Tls(error.to_string()))?;
        let mut client = quinn::ClientConfig::new(Arc::new(client));
        client.transport_config(Arc::clone(&transport));
        client.token_store(Arc::new(quinn::NoneTokenStore));
        Ok(Self { server: Arc::new(quic_server(server, transport)), client, not_after: own.not_after })
    }
}

fn server_tls(own: &Credentials, verifier: &Arc<Verifier>) -> Result<rustls::ServerConfig, StartError> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| StartError::Tls(error.to_string()))?
        .with_client_cert_verifier(Arc::<Verifier>::clone(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&own.key))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

fn client_tls(own: &Credentials, verifier: &Arc<Verifier>) -> Result<rustls::ClientConfig, StartError> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| StartError::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Verifier>::clone(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&own.key))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// Names the first setting that is not as a link needs it.
fn self_test(server: &rustls::ServerConfig, client: &rustls::ClientConfig) -> Result<(), &'static str> {
    let alpn = [ALPN.to_vec()];
    [
        (server.alpn_protocols == alpn && client.alpn_protocols == alpn, "ALPN is not asp-cell/1 alone"),
        (server.max_early_data_size == 0 && !client.enable_early_data, "0-RTT is on"),
        (server.send_tls13_tickets == 0 && !server.session_storage.can_cache(), "sessions can be resumed"),
        (!server.ticketer.enabled(), "session tickets are made"),
    ]
    .into_iter()
    .find_map(|(holds, what)| (!holds).then_some(what))
    .map_or(Ok(()), Err)
}

fn quic_server(tls: QuicServerConfig, transport: Arc<TransportConfig>) -> quinn::ServerConfig {
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(transport)
        .migration(false)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER_ALL);
    config.validation_token.sent(0);
    config
}

fn transport() -> Result<TransportConfig, StartError> {
    let idle = IdleTimeout::try_from(IDLE).map_err(|error| StartError::Tls(error.to_string()))?;
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(u32::from(STREAMS)))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(WINDOW as u64)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(idle))
        .initial_rtt(INITIAL_RTT)
        .allow_spin(false);
    Ok(config)
}

/// Opens the endpoint.
pub(super) fn open(socket: Socket, tls: &Tls) -> Result<Endpoint, StartError> {
    let server = Some(quinn::ServerConfig::clone(&tls.server));
    let (config, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    let opened = match socket {
        Socket::Bind(address) => UdpSocket::bind(address)
            .map_err(|error| std::io::Error::new(error.kind(), format!("{address} (UDP): {error}")))
            .and_then(|socket| Endpoint::new(config, server, socket, runtime)),
        Socket::Bound(socket) => Endpoint::new(config, server, socket, runtime),
        Socket::Abstract(socket) => Endpoint::new_with_abstract_socket(config, server, socket, runtime),
    };
    opened.map_err(StartError::Socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// quinn shows these settings in no other way than its `Debug` text.
    #[test]
    fn the_transport_is_as_narrow_as_the_contract_says() {
        let text = format!("{:?}", transport().unwrap());
        for setting in [
            "max_concurrent_bidi_streams: 0,",
            "max_concurrent_uni_streams: 1,",
            "stream_receive_window: 1048576,",
            "receive_window: 2097152,",
            "send_window: 2097152,",
            "datagram_receive_buffer_size: None,",
            "max_idle_timeout: Some(20000),",
            "keep_alive_interval: Some(5s),",
        ] {
            assert!(text.contains(setting), "{setting} is not in {text}");
        }
    }
}
