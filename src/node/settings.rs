//! What a cell was told to be: the checked form of `cell.toml`.
//!
//! Only `config` makes one from a file; a test may make one by hand. Source: docs/spec/details.md S22, where each key
//! is explained. Paths are absolute or relative to the working directory, no longer to the file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::protocol::ids::{CellId, OrgName};
use crate::protocol::time::Span;
use crate::protocol::witness::VerifierKey;
use crate::store::Layout;
use crate::vault::MediaPolicy;
use crate::vault::wrapping::Token;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `[cell]`
    pub cell: Cell,
    /// `[api]`
    pub api: Api,
    /// `[operator] listen`
    pub operator: SocketAddr,
    /// `[federation]`
    pub federation: Federation,
    /// `[[peers]]`
    pub peers: Vec<Peer>,
    /// `[keys] path`
    pub keys: PathBuf,
    /// `[keys]` of provider `pkcs11`: the token that wraps what lies there.
    pub token: Option<Token>,
    /// `[[witnesses]]`
    pub witnesses: Vec<Witness>,
    /// `[vault]`
    pub vault: Vault,
    /// `[limits]`
    pub limits: Limits,
    /// `[retention] sessions`
    pub retention: Span,
    /// `[telemetry]`
    pub telemetry: Telemetry,
}

impl Settings {
    /// Where the parts of the cell's storage lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout {
            data: self.cell.data_dir.clone(),
            vault: self.vault.path.clone(),
            mirror: self.vault.mirror.clone(),
            keys: self.keys.clone(),
            token: self.token.clone(),
        }
    }

    /// The operators' token: `data_dir/operator.token`.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        token_file(&self.cell.data_dir)
    }
}

/// The operators' token of the cell in `data_dir`.
#[must_use]
pub fn token_file(data_dir: &Path) -> PathBuf {
    data_dir.join("operator.token")
}

/// Who and where the cell is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// As in its certificate.
    pub id: CellId,
    /// Where the data lies.
    pub region: String,
    /// Legal zone of the region, upper case.
    pub zone: String,
    /// One process at a time.
    pub data_dir: PathBuf,
    /// The only organisation whose agents may be level 5.
    pub operator_org: Option<OrgName>,
    /// DNS resolver of `org verify --dns`; absent: the system's.
    pub dns_resolver: Option<SocketAddr>,
}

/// The agents' listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Where it listens; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Base of `htu`, without a trailing slash; absent: the bound address.
    pub public_url: Option<String>,
    /// TLS ends in front of the cell.
    pub behind_proxy: bool,
    /// Whether proofs need a nonce.
    pub dpop_nonce: bool,
    /// Exact origins that browsers may call from.
    pub cors_origins: Vec<String>,
    /// TLS ends here.
    pub tls: Option<Tls>,
}

/// Certificate chain and key of the agents' listener, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The link to other cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Federation {
    /// UDP address of QUIC.
    pub listen: SocketAddr,
    /// The cell's TLS identity.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Issuer of `cert`.
    pub ca: PathBuf,
}

impl Federation {
    /// Whether the certificate's files are there; without them a cell runs alone.
    #[must_use]
    pub fn is_provided(&self) -> bool {
        [&self.cert, &self.key, &self.ca].iter().all(|path| path.exists())
    }
}

/// A peer of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// As in its certificate.
    pub cell: CellId,
    /// Host or IP address, and UDP port.
    pub address: String,
    /// As in its hello.
    pub region: String,
    /// As in its hello.
    pub zone: String,
    /// How its certificate is known.
    pub anchor: Anchor,
    /// Highest score enforced for its agents.
    pub trust_cap: f64,
    /// Most it may owe us, by currency.
    pub exposure: BTreeMap<String, String>,
}

/// An outside witness of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Its submission prefix; `add-checkpoint` is below it.
    pub url: String,
    /// Its verifier key.
    pub key: VerifierKey,
}

/// A peer's trust anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// PEM file of the CA that issues its certificates.
    Ca(PathBuf),
    /// base64url SHA-256 of its certificate's `SubjectPublicKeyInfo`.
    Spki(String),
}

/// The slots of the scope secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vault {
    /// The file.
    pub path: PathBuf,
    /// Its second live copy.
    pub mirror: Option<PathBuf>,
    /// Longest life of an epoch key.
    pub epoch: Span,
    /// Whether the medium is judged, or taken for untrusted from the start.
    pub media: MediaPolicy,
}

/// Times and rates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Default of `answerWithin`.
    pub invitation_timeout: Span,
    /// Silence that confirms a claim.
    pub review_window: Span,
    /// After a deadline.
    pub grace: Span,
    /// After CLOSED.
    pub dispute_window: Span,
    /// How long a message waits for its host before it is answered 202.
    pub placement_timeout: Span,
    /// How long a search waits for peers.
    pub search_timeout: Span,
    /// 0: no limit.
    pub messages_per_second_per_agent: u32,
    /// USD per unit, by currency.
    pub fx: BTreeMap<String, String>,
}

/// Logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// Least severe level that is logged.
    pub log: Level,
    /// Whether `/metrics` is on the agents' listener too.
    pub metrics_public: bool,
}

/// A log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
}
