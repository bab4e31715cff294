//! Only a peer gets in: whatever is wrong with a certificate, it is refused in the handshake, on whichever side, and
//! nothing reaches the engine. docs/spec/federation.md section 1.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy knows tests by their attribute; these serve tests")]

mod peering;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use asp_cell::crypto::digest::Digest;
use asp_cell::peering::{Anchor, PeerState};
use peering::{Authority, Cell, Files, Leaf, disk, peer, socket, until, uri};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, Endpoint};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, PublicKeyData as _, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};

const EU: &str = "eu-west-1";
const US: &str = "us-east-1";

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
struct Showing {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    alpn: &'static [u8],
}

impl Showing {
    fn new(authority: &Authority, leaf: &Leaf, key: &KeyPair) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(authority.issue(leaf, key).as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        Self { chain, key: Arc::new(key), alpn: b"asp-cell/1" }
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client that shows this, or nothing.
fn client(showing: Option<&Showing>) -> quinn::ClientConfig {
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
fn server(showing: &Showing) -> (Endpoint, SocketAddr) {
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
async fn greeted(endpoint: &Endpoint, config: quinn::ClientConfig, to: SocketAddr) -> Result<Connection, String> {
    let connecting = endpoint.connect_with(config, to, &format!("{EU}.asp.invalid")).unwrap();
    let hello = async {
        let connection = connecting.await.map_err(|error| error.to_string())?;
        let mut stream = connection.accept_uni().await.map_err(|error| error.to_string())?;
        stream.read_exact(&mut [0; 4]).await.map_err(|error| error.to_string())?;
        Ok(connection)
    };
    tokio::time::timeout(Duration::from_secs(10), hello).await.unwrap_or(Err("silence".into()))
}

/// Everything a certificate of the US cell can be but right, and what the refusal says of it.
fn wrong(authority: &Authority, key: &KeyPair) -> Vec<(&'static str, Showing, &'static str)> {
    let right = Leaf::of(US);
    let show = |leaf: Leaf| Showing::new(authority, &leaf, key);
    let sans = |sans: Vec<SanType>| show(Leaf { sans, ..right.clone() });
    let past = Leaf { not_after: right.not_before + Duration::from_mins(1), ..right.clone() };
    let future = Leaf { not_before: right.not_after - Duration::from_mins(1), ..right.clone() };
    vec![
        ("of a foreign CA", Showing::new(&Authority::new(), &right, key), "not issued by the CA configured"),
        ("ended", show(past), "was valid from"),
        ("not yet valid", show(future), "was valid from"),
        ("of an unknown cell", sans(vec![uri("asp://ap-south-1")]), "ap-south-1"),
        ("without a URI name", sans(vec![SanType::DnsName(US.try_into().unwrap())]), "0 URI names"),
        ("with two URI names", sans(vec![uri("asp://us-east-1"), uri("asp://eu-west-1")]), "2 URI names"),
        ("with the name twice", sans(vec![uri("asp://us-east-1"), uri("asp://us-east-1")]), "2 URI names"),
        ("of another scheme", sans(vec![uri("spiffe://us-east-1")]), "not asp:// and a cell id"),
        ("with a path", sans(vec![uri("asp://us-east-1/")]), "not asp:// and a cell id"),
        ("in upper case", sans(vec![uri("asp://US-EAST-1")]), "not asp:// and a cell id"),
        ("for signing alone", show(Leaf { usages: vec![], ..right.clone() }), "not for this end of TLS"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_dials_is_refused_in_the_handshake() {
    let authority = Authority::new();
    let (socket, address) = socket();
    let nobody = "127.0.0.1:9".parse().unwrap();
    let files = Files::new(&authority, &Leaf::of(EU));
    let cell = Cell::start(EU, &files, socket, vec![peer(US, nobody, authority.anchor())], &disk(1));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();

    let said = greeted(&endpoint, client(None), address).await.unwrap_err();
    assert!(said.contains("certificate"), "without a certificate: {said}");
    for (what, showing, reason) in wrong(&authority, &key) {
        let said = greeted(&endpoint, client(Some(&showing)), address).await.expect_err(what);
        assert!(said.contains(reason), "{what}: {said}");
    }
    let right = Showing::new(&authority, &Leaf::of(US), &key);
    for alpn in [&b"h3"[..], b"asp-cell/2", b"asp-fed/1"] {
        let said = greeted(&endpoint, client(Some(&Showing { alpn, ..right.clone() })), address).await.unwrap_err();
        assert!(said.contains("protocol"), "ALPN: {said}");
    }
    let server_only = Leaf { usages: vec![ExtendedKeyUsagePurpose::ServerAuth], ..Leaf::of(US) };
    let said = greeted(&endpoint, client(Some(&Showing::new(&authority, &server_only, &key))), address).await;
    assert!(said.unwrap_err().contains("not for this end of TLS"));
    // Its own certificate opens nothing: no cell is its own peer.
    let own = Showing::new(&authority, &Leaf::of(EU), &key);
    assert!(greeted(&endpoint, client(Some(&own)), address).await.unwrap_err().contains("no peer here"));
    assert!(!cell.memory.reached());

    // The control: the right certificate is greeted. DNS and IP names in it are ignored.
    let mut leaf = Leaf::of(US);
    leaf.sans.extend([SanType::DnsName("eu-west-1".try_into().unwrap()), SanType::IpAddress([10, 0, 0, 1].into())]);
    for showing in [right, Showing::new(&authority, &leaf, &key)] {
        greeted(&endpoint, client(Some(&showing)), address).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_is_dialled_is_refused_in_the_handshake() {
    let authority = Authority::new();
    let key = KeyPair::generate().unwrap();
    let files = Files::new(&authority, &Leaf::of(EU));
    let client_only = Leaf { usages: vec![ExtendedKeyUsagePurpose::ClientAuth], ..Leaf::of(US) };
    let mut cases = wrong(&authority, &key);
    cases.push(("for clients", Showing::new(&authority, &client_only, &key), "not for this end of TLS"));
    cases.push(("of another peer", Showing::new(&authority, &Leaf::of(EU), &key), "names cell eu-west-1"));
    let other = Showing { alpn: b"h3", ..Showing::new(&authority, &Leaf::of(US), &key) };
    cases.push(("with another ALPN", other, "protocol"));
    for (what, showing, reason) in cases {
        let (_endpoint, address) = server(&showing);
        let peers = vec![peer(US, address, authority.anchor())];
        let cell = Cell::start(EU, &files, socket().0, peers, &disk(1));
        until(what, || cell.status().state == PeerState::Refused).await;
        let said = cell.status().reason.unwrap();
        assert!(said.contains(reason), "{what}: {said}");
        assert!(!cell.memory.reached(), "{what}");
    }
}

/// A pin believes one key, whoever issued its certificate, and no other; the refusal names both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_key_is_believed_and_no_other() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (eu_files, us_files) = (Files::new(&ours, &Leaf::of(EU)), Files::new(&theirs, &Leaf::of(US)));
    let pin = |files: &Files| Digest::of(&[&files.key.subject_public_key_info()]);
    let ((eu_socket, eu_address), (us_socket, us_address)) = (socket(), socket());
    let believes_eu = peer(EU, eu_address, Anchor::Spki(pin(&eu_files)));
    let us = Cell::start(US, &us_files, us_socket, vec![believes_eu], &disk(2));
    let eu = Cell::start(EU, &eu_files, eu_socket, vec![peer(US, us_address, Anchor::Spki(pin(&us_files)))], &disk(1));
    until("pinned cells connect", || eu.connected() && us.connected()).await;

    let wrong_pin = Digest::of(&[b"another key"]);
    eu.peering.add(peer(US, us_address, Anchor::Spki(wrong_pin))).await;
    until("the unpinned key is refused", || eu.status().state == PeerState::Refused).await;
    let reason = eu.status().reason.unwrap();
    assert!(reason.contains(&wrong_pin.to_string()) && reason.contains(&pin(&us_files).to_string()), "{reason}");

    // A pin stands for the key alone: name, dates and usage are checked all the same.
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let ups = us.memory.ups.load(Ordering::SeqCst);
    let past = Leaf { not_after: Leaf::of(EU).not_before + Duration::from_mins(1), ..Leaf::of(EU) };
    let signing = Leaf { usages: vec![], ..Leaf::of(EU) };
    for (leaf, reason) in [(past, "was valid from"), (signing, "not for this end"), (Leaf::of("x"), "no peer here")] {
        let showing = Showing::new(&ours, &leaf, &eu_files.key);
        let said = greeted(&endpoint, client(Some(&showing)), us_address).await.unwrap_err();
        assert!(said.contains(reason), "{said}");
    }
    assert_eq!(us.memory.ups.load(Ordering::SeqCst), ups);
}

/// E7 of the reliability notes: a session ticket must not carry an old certificate past its end, nor 0-RTT a replay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_resumed_and_no_early_data_is_taken() {
    let authority = Authority::new();
    let (socket, address) = socket();
    let files = Files::new(&authority, &Leaf::of(EU));
    let nobody = "127.0.0.1:9".parse().unwrap();
    let cell = Cell::start(EU, &files, socket, vec![peer(US, nobody, authority.anchor())], &disk(1));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let short = Leaf::of(US).lasting(Duration::from_secs(3));
    // One configuration, and so one session cache, for both connections.
    let config = client(Some(&Showing::new(&authority, &short, &key)));
    let connection = greeted(&endpoint, config.clone(), address).await.unwrap();
    connection.close(0_u32.into(), b"");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let connecting = endpoint.connect_with(config.clone(), address, &format!("{EU}.asp.invalid")).unwrap();
    assert!(connecting.into_0rtt().is_err(), "no ticket, so nothing to send early data under");
    let said = greeted(&endpoint, config, address).await.unwrap_err();
    assert!(said.contains("was valid from"), "{said}");
    assert!(!cell.memory.reached());
}

/// What a peer with the right certificate may not send ends its link, and is never allocated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_hello_end_the_connection() {
    let authority = Authority::new();
    let (socket, address) = socket();
    let files = Files::new(&authority, &Leaf::of(EU));
    let nobody = "127.0.0.1:9".parse().unwrap();
    let cell = Cell::start(EU, &files, socket, vec![peer(US, nobody, authority.anchor())], &disk(1));
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let showing = Showing::new(&authority, &Leaf::of(US), &KeyPair::generate().unwrap());
    for (bytes, reason) in [
        (&[0xff, 0xff, 0xff, 0xff, 1][..], "a frame of 4294967295 bytes"),
        (&[0, 1, 0, 1, 1], "a frame of 65537 bytes"),
        (&[0, 0, 0, 0], "an empty frame"),
        (&[0, 0, 0, 2, 9, 0], "frame version 9"),
        (&[0, 0, 0, 3, 1, 2, 5], "the first frame of a link must be a hello"),
        (&[0, 0, 0, 2, 1, 77], "not a frame of version 1"),
    ] {
        let connection = greeted(&endpoint, client(Some(&showing)), address).await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await.unwrap().to_string();
        assert!(closed.contains(reason), "{bytes:?}: {closed}");
    }
    // One stream each way is all there is.
    let connection = greeted(&endpoint, client(Some(&showing)), address).await.unwrap();
    let _only = connection.open_uni().await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(300), connection.open_uni()).await;
    let other = tokio::time::timeout(Duration::from_millis(300), connection.open_bi()).await;
    assert!(second.is_err() && other.is_err());
    assert!(connection.send_datagram(vec![0].into()).is_err());
    assert!(!cell.memory.reached());
}
