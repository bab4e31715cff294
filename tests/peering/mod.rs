//! Two cells with nothing behind their links but queues in memory, and certificates of every kind.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy knows tests by their attribute; these serve tests")]

pub mod stranger;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use asp_cell::peering::{Anchor, Exchange, Identity, Outgoing, Peer, PeerState, PeerStatus, Peering, Socket};
use asp_cell::protocol::ids::CellId;
use asp_cell::protocol::json::Json;
use asp_cell::protocol::refusal::{Code, Refusal};
use asp_cell::protocol::time::Timestamp;
use asp_cell::wire::link::{Expected, Hello};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::Notify;

/// The two cells; the one with the lower id is the first.
pub const EU: &str = "eu-west-1";
pub const US: &str = "us-east-1";

/// What a cell keeps on disk: its outbox to the one peer, and what it applied from it.
pub struct Disk {
    pub stream: [u8; 16],
    pub outbox: BTreeMap<u64, Vec<u8>>,
    pub queued: u64,
    pub heard: Option<Expected>,
    pub applied: Vec<Vec<u8>>,
}

/// An exchange in memory; the disk outlives it as it would a process.
pub struct Memory {
    pub cell: CellId,
    pub disk: Arc<Mutex<Disk>>,
    pub wake: Notify,
    /// Added to the clock, in milliseconds.
    pub skew: AtomicI64,
    /// Calls of `up` that agreed, of `down`, and of `inbound`.
    pub ups: AtomicUsize,
    pub downs: AtomicUsize,
    pub inbounds: AtomicUsize,
    /// Refuses every link or batch with this.
    pub refuses: Mutex<Option<Refusal>>,
    /// What goes before the outbox, and what came so.
    pub urgent: Mutex<BTreeMap<[u8; 16], Vec<u8>>>,
    pub heeded: Mutex<Vec<Vec<u8>>>,
    /// Never done with an urgent frame.
    pub deaf: AtomicBool,
}

impl Memory {
    pub fn new(cell: &str, disk: &Arc<Mutex<Disk>>) -> Arc<Self> {
        Arc::new(Self {
            cell: cell.parse().unwrap(),
            disk: Arc::clone(disk),
            wake: Notify::new(),
            skew: AtomicI64::new(0),
            ups: AtomicUsize::new(0),
            downs: AtomicUsize::new(0),
            inbounds: AtomicUsize::new(0),
            refuses: Mutex::new(None),
            urgent: Mutex::default(),
            heeded: Mutex::default(),
            deaf: AtomicBool::new(false),
        })
    }

    /// Queues a frame.
    pub fn queue(&self, bytes: Vec<u8>) {
        let mut disk = self.disk.lock().unwrap();
        disk.queued += 1;
        let number = disk.queued;
        disk.outbox.insert(number, bytes);
        drop(disk);
        self.wake.notify_one();
    }

    pub fn applied(&self) -> Vec<Vec<u8>> {
        self.disk.lock().unwrap().applied.clone()
    }

    pub fn unacknowledged(&self) -> usize {
        self.disk.lock().unwrap().outbox.len()
    }

    /// The links that are up.
    pub fn links(&self) -> usize {
        let downs = self.downs.load(Ordering::SeqCst);
        self.ups.load(Ordering::SeqCst) - downs
    }

    /// Whether a peer ever got as far as the engine.
    pub fn reached(&self) -> bool {
        self.ups.load(Ordering::SeqCst) + self.inbounds.load(Ordering::SeqCst) > 0
    }
}

pub fn disk(stream: u8) -> Arc<Mutex<Disk>> {
    let (outbox, applied) = (BTreeMap::new(), Vec::new());
    Arc::new(Mutex::new(Disk { stream: [stream; 16], outbox, queued: 0, heard: None, applied }))
}

impl Exchange for Memory {
    fn now(&self) -> Timestamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        Timestamp(i64::try_from(now).unwrap() + self.skew.load(Ordering::SeqCst))
    }

    async fn hello(&self, _peer: &CellId) -> Hello {
        let disk = self.disk.lock().unwrap();
        Hello {
            versions: vec![asp_cell::wire::link::VERSION],
            cell: self.cell.clone(),
            region: format!("{}-region", self.cell),
            zone: "EEA".into(),
            public_url: format!("https://{}.example", self.cell),
            jwks: Json::of(&serde_json::json!({"keys": []})),
            clock: self.now(),
            stream: disk.stream,
            expects: disk.heard,
        }
    }

    async fn up(&self, _peer: &CellId, hello: &Hello) -> Result<(), Refusal> {
        if let Some(refusal) = self.refuses.lock().unwrap().clone() {
            return Err(refusal);
        }
        let mut disk = self.disk.lock().unwrap();
        if hello.wants_from(disk.stream) > disk.queued + 1 {
            return Err(Refusal::new(Code::PolicyViolation, "frames are expected that were never queued"));
        }
        if disk.heard.is_none_or(|heard| heard.stream != hello.stream) {
            disk.heard = Some(Expected { stream: hello.stream, next: 1 });
        }
        self.ups.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn down(&self, _peer: &CellId) {
        self.downs.fetch_add(1, Ordering::SeqCst);
    }

    async fn outbound(&self, _peer: &CellId, after: u64, max_bytes: usize) -> Vec<Outgoing> {
        if !self.urgent.lock().unwrap().is_empty() {
            return Vec::new();
        }
        let disk = self.disk.lock().unwrap();
        let mut left = max_bytes;
        let fits = |(_, bytes): &(&u64, &Vec<u8>)| {
            let fits = bytes.len() <= left;
            left = left.saturating_sub(bytes.len());
            fits
        };
        let frames = disk.outbox.range(after + 1..).take_while(fits);
        frames.map(|(number, bytes)| Outgoing { number: *number, bytes: bytes.clone() }).collect()
    }

    async fn inbound(&self, _peer: &CellId, frames: Vec<(u64, Vec<u8>)>) -> Result<u64, Refusal> {
        self.inbounds.fetch_add(1, Ordering::SeqCst);
        // A durable commit takes about as long.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut disk = self.disk.lock().unwrap();
        let mut heard = disk.heard.expect("a link is up");
        for (number, bytes) in frames {
            assert!(number <= heard.next, "frame {number} came before frame {}", heard.next);
            if number == heard.next {
                heard.next += 1;
                disk.applied.push(bytes);
            }
        }
        disk.heard = Some(heard);
        Ok(heard.next - 1)
    }

    fn urgent(&self, _peer: &CellId) -> Vec<([u8; 16], Vec<u8>)> {
        let urgent = self.urgent.lock().unwrap();
        urgent.iter().map(|(key, bytes)| (*key, bytes.clone())).collect()
    }

    async fn urgent_taken(&self, _peer: &CellId, key: [u8; 16]) {
        self.urgent.lock().unwrap().remove(&key);
        self.wake.notify_one();
    }

    async fn take_urgent(&self, _peer: &CellId, bytes: Vec<u8>) -> Result<(), Refusal> {
        self.heeded.lock().unwrap().push(bytes);
        if self.deaf.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn acked(&self, _peer: &CellId, upto: u64) {
        self.disk.lock().unwrap().outbox.retain(|number, _| *number > upto);
    }

    async fn woken(&self, _peer: &CellId) {
        self.wake.notified().await;
    }
}

/// What a leaf certificate says; the right one for a cell, to be made wrong in one place.
#[derive(Clone)]
pub struct Leaf {
    pub sans: Vec<SanType>,
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

impl Leaf {
    pub fn of(cell: &str) -> Self {
        Self {
            sans: vec![uri(&format!("asp://{cell}"))],
            usages: vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
            not_before: SystemTime::now() - Duration::from_hours(1),
            not_after: SystemTime::now() + Duration::from_hours(1),
        }
    }

    /// Ends after `lifetime`.
    pub fn lasting(self, lifetime: Duration) -> Self {
        Self { not_after: SystemTime::now() + lifetime, ..self }
    }
}

/// A CA that issues whatever it is asked for.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub fn anchor(&self) -> Anchor {
        Anchor::ca(&self.pem).unwrap()
    }

    /// The PEM of a certificate for `key`.
    pub fn issue(&self, leaf: &Leaf, key: &KeyPair) -> String {
        let mut params = CertificateParams::default();
        params.subject_alt_names.clone_from(&leaf.sans);
        params.extended_key_usages.clone_from(&leaf.usages);
        params.not_before = OffsetDateTime::from(leaf.not_before);
        params.not_after = OffsetDateTime::from(leaf.not_after);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }
}

/// Certificate files of a cell.
pub struct Files {
    dir: TempDir,
    pub key: KeyPair,
}

impl Files {
    pub fn new(authority: &Authority, leaf: &Leaf) -> Self {
        let files = Self { dir: TempDir::new().unwrap(), key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap() };
        std::fs::write(files.key_path(), files.key.serialize_pem()).unwrap();
        files.renew(authority, leaf);
        files
    }

    /// Replaces the certificate, for the same key.
    pub fn renew(&self, authority: &Authority, leaf: &Leaf) {
        replace(&self.cert_path(), &authority.issue(leaf, &self.key));
    }

    pub fn cert_path(&self) -> PathBuf {
        self.dir.path().join("cell.pem")
    }

    pub fn key_path(&self) -> PathBuf {
        self.dir.path().join("cell.key")
    }

    pub fn identity(&self, cell: &str) -> Identity {
        Identity::load(cell.parse().unwrap(), &self.cert_path(), &self.key_path()).unwrap()
    }
}

pub fn replace(path: &Path, text: &str) {
    let staged = path.with_extension("new");
    std::fs::write(&staged, text).unwrap();
    std::fs::rename(&staged, path).unwrap();
}

pub fn peer(cell: &str, address: SocketAddr, anchor: Anchor) -> Peer {
    Peer {
        cell: cell.parse().unwrap(),
        address: address.to_string(),
        region: format!("{cell}-region"),
        zone: "EEA".into(),
        anchor,
    }
}

/// A free address that nobody listens at yet.
pub fn socket() -> (std::net::UdpSocket, SocketAddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A running cell.
pub struct Cell {
    pub memory: Arc<Memory>,
    pub peering: Peering<Memory>,
}

impl Cell {
    pub fn start(
        name: &str,
        files: &Files,
        socket: std::net::UdpSocket,
        peers: Vec<Peer>,
        disk: &Arc<Mutex<Disk>>,
    ) -> Self {
        let memory = Memory::new(name, disk);
        Self::start_with(&memory, files, socket, peers)
    }

    pub fn start_with(memory: &Arc<Memory>, files: &Files, socket: std::net::UdpSocket, peers: Vec<Peer>) -> Self {
        let identity = files.identity(memory.cell.as_str());
        let peering = Peering::start(Socket::Bound(socket), identity, peers, Arc::clone(memory)).unwrap();
        Self { memory: Arc::clone(memory), peering }
    }

    pub fn status(&self) -> PeerStatus {
        self.peering.list().pop().expect("one peer")
    }

    pub fn connected(&self) -> bool {
        self.status().state == PeerState::Connected
    }
}

/// Waits until something holds, at most 20 s.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    within(Duration::from_secs(20), what, &mut holds).await;
}

pub async fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + limit;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The frames `from..to`, each recognisable.
pub fn frames(from: usize, to: usize) -> Vec<Vec<u8>> {
    (from..to).map(|n| format!("frame {n} {}", "x".repeat(n * 37 % 900)).into_bytes()).collect()
}
