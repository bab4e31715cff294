//! What the writer and every reader share: settings, keys, the store, and the small facts that all checks need.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use super::reminding::Reminding;
use super::tables::{Org, Peer};
use crate::crypto::digest::Digest;
use crate::crypto::ed25519::NoteKey;
use crate::crypto::es256::SigningKey;
use crate::crypto::jwk::PublicKey;
use crate::crypto::jws::{self, Kind};
use crate::crypto::secret::Secret;
use crate::protocol::consent::negotiation::Negotiation;
use crate::protocol::ids::{AgentId, CellId, ConsentId, OrgName};
use crate::protocol::money::{Currency, Money};
use crate::protocol::performative::Performative;
use crate::protocol::rate::Rates;
use crate::protocol::receipt::Receipt;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::statement::Statement as _;
use crate::protocol::time::{Span, Timestamp};
use crate::store::Reader;
use crate::vault::{EpochKeys, Tag, TagKey, Vault};

/// The highest score enforced for a peer's agents unless the configuration says otherwise.
const TRUST_CAP: f64 = 74.9;

/// What the configuration says of this cell.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cell.
    pub cell: CellId,
    /// Where the data lies.
    pub region: String,
    /// The legal zone of the region.
    pub zone: String,
    /// Base of `htu`.
    pub public_url: String,
    /// Default of `answerWithin`.
    pub invitation_timeout: Span,
    /// Silence that confirms a claim.
    pub review_window: Span,
    /// After a deadline.
    pub grace: Span,
    /// After CLOSED.
    pub dispute_window: Span,
    /// How long a session is kept after its end.
    pub retention: Span,
    /// How long a message waits for its host before it is answered 202.
    pub placement_timeout: Span,
    /// Peers of the configuration: region and zone.
    pub peers: BTreeMap<CellId, (String, String)>,
    /// The highest score enforced for each peer's agents; absent: 74.9.
    pub trust_caps: BTreeMap<CellId, f64>,
    /// USD per unit.
    pub fx: Rates,
    /// The most that each peer may owe; where nothing is named, 100,000.00 USD.
    pub exposure: BTreeMap<CellId, BTreeMap<Currency, Money>>,
    /// The only organisation whose agents may be level 5.
    pub operator_org: Option<OrgName>,
}

/// The cell's signing key with the certificate that names the cell.
#[derive(Debug)]
pub struct Signer {
    /// The key.
    pub key: SigningKey,
    /// `jwks` of the discovery document: this key with `x5c`, and the keys before it.
    pub jwks: Value,
}

/// Facts that change with operators' verbs: replaced as a whole, after the commit that changed them.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Organisations at home here.
    pub orgs: BTreeMap<OrgName, Org>,
    /// Consents.
    pub consents: BTreeMap<ConsentId, Negotiation>,
    /// Peers.
    pub peers: BTreeMap<CellId, Peer>,
    /// Revocations that peers have not taken yet; until they have, nothing else is sent to them.
    pub untold: BTreeMap<CellId, BTreeMap<ConsentId, String>>,
    /// What this cell and its peers are telling each other of their consents over the links that are up.
    pub reminding: BTreeMap<CellId, Reminding>,
}

impl Facts {
    /// A peer's public key by `kid`, from its last hello.
    pub fn peer_key(&self, cell: &CellId, kid: &str) -> Option<PublicKey> {
        let jwks: Value = serde_json::from_str(self.peers.get(cell)?.jwks.as_deref()?).ok()?;
        let keys = jwks.get("keys")?.as_array()?;
        let jwk = keys.iter().find(|jwk| jwk.get("kid").and_then(Value::as_str) == Some(kid))?;
        PublicKey::from_jwk(jwk).ok().filter(|key| key.thumbprint().to_string() == kid)
    }

    /// The peer that has a key of that `kid`, and the key.
    pub fn peer_of_key(&self, kid: &str) -> Option<(CellId, PublicKey)> {
        self.peers.keys().find_map(|cell| Some((cell.clone(), self.peer_key(cell, kid)?)))
    }
}

/// The shared half of the engine.
pub struct Shared {
    /// What the configuration says.
    pub settings: Settings,
    /// The database, for readers.
    pub reader: Reader,
    /// Kind of medium the vault lies on, and whether overwriting it is trusted.
    pub media: (String, bool),
    /// The id of this cell's outgoing stream.
    pub stream: [u8; 16],
    /// The scope secrets.
    pub vault: Vault,
    /// The keys of the vault's epochs.
    pub epochs: Box<dyn EpochKeys>,
    /// Keyed tags.
    pub tags: TagKey,
    /// The cell's signing key.
    pub signer: Signer,
    /// Orgs, consents, peers.
    pub facts: ArcSwap<Facts>,
    /// Agents of this cell by the thumbprint of their current key.
    pub directory: RwLock<HashMap<Digest, AgentId>>,
    /// Spent proofs and when each may be forgotten.
    pub spent: Mutex<HashMap<Digest, Timestamp>>,
    /// How far the wall clock is off, in milliseconds, while it is not to be trusted; else 0.
    pub clock_off: AtomicI64,
    /// What seals backups.
    pub backup_key: Secret,
    /// By which outside witnesses know the cell's log.
    pub note_key: NoteKey,
    /// The file of the erasure ledger.
    pub erasures: Option<std::path::PathBuf>,
}

impl Shared {
    /// How far the wall clock is off, while nothing may fall due by it.
    pub fn clock_off(&self) -> Option<Span> {
        Some(Span(self.clock_off.load(Ordering::Relaxed))).filter(|off| off.0 != 0)
    }

    /// The agent whose current key has this thumbprint.
    pub fn agent_of(&self, thumbprint: Digest) -> Option<AgentId> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).get(&thumbprint).cloned()
    }

    /// Forgets the proofs whose time has passed.
    pub fn forget_spent(&self, now: Timestamp) {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until >= now);
    }

    /// Spends a proof in memory; `false` if it was spent before.
    pub fn spend(&self, key: Digest, until: Timestamp, now: Timestamp) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        match spent.get(&key) {
            Some(until) if *until >= now => false,
            Some(_) | None => {
                spent.insert(key, until);
                true
            }
        }
    }

    /// The name of an agent in keys.
    pub fn agent_tag(&self, agent: &AgentId) -> Tag {
        self.tags.name("agent", &[agent.as_str().as_bytes()])
    }

    /// The name of an organisation in keys.
    pub fn org_tag(&self, org: &OrgName) -> Tag {
        self.tags.name("organisation", &[org.as_str().as_bytes()])
    }

    /// Whether an organisation is at home here.
    pub fn is_home(&self, org: &OrgName) -> bool {
        self.facts.load().orgs.contains_key(org)
    }

    /// This cell's receipt over a record.
    pub fn receipt(&self, receipt: &Receipt) -> String {
        receipt.sign(&self.signer.key)
    }

    /// Signs a payload as `kind` with the cell's key.
    pub fn sign(&self, kind: Kind, payload: &Value) -> String {
        jws::sign(&self.signer.key, kind, payload)
    }

    /// Verifies what a cell signed: this one by its own keys, a peer by those of its last hello.
    pub fn verify(&self, cell: &CellId, kind: Kind, jws: &str) -> Result<Value, Refusal> {
        let verified = jws::verify(jws, kind, |kid| self.key_of(cell, kid));
        verified.map_err(|why| {
            Refusal::new(Code::ProofInvalid, format!("JWS of kind {} by cell {cell}: {why}", kind.name()))
        })
    }

    /// A cell's public key by `kid`: this one's own, or a peer's from its hellos.
    pub fn key_of(&self, cell: &CellId, kid: &str) -> Option<PublicKey> {
        if *cell == self.settings.cell { self.own_key(kid) } else { self.facts.load().peer_key(cell, kid) }
    }

    fn own_key(&self, kid: &str) -> Option<PublicKey> {
        let keys = self.signer.jwks.get("keys")?.as_array()?;
        let jwk = keys.iter().find(|jwk| jwk.get("kid").and_then(Value::as_str) == Some(kid))?;
        PublicKey::from_jwk(jwk).ok()
    }

    /// The discovery document (docs/spec/details.md S2) without `grpc`.
    pub fn discovery(&self) -> Value {
        let settings = &self.settings;
        json!({
            "version": "1.0",
            "endpoints": {"sessions": "/v1/asp/sessions", "registry": "/v1/asp/registry", "trust": "/v1/asp/trust",
                "events": "/v1/asp/events", "websocket": "/v1/asp/ws"},
            "performatives": Performative::THIRTEEN.map(Performative::name),
            "transports": ["npayload", "http-sse", "websocket"],
            "cell": {"id": settings.cell, "region": settings.region, "zone": settings.zone,
                "publicUrl": settings.public_url, "jwks": self.signer.jwks},
            "limits": {"bodyBytes": 262_144, "messagesPerArray": 100, "depth": 16, "sessionsPerSocket": 100,
                "proofSkewSeconds": 60, "invitationTimeout": settings.invitation_timeout,
                "reviewWindow": settings.review_window, "grace": settings.grace,
                "disputeWindow": settings.dispute_window, "longPollMax": "PT60S", "pageMax": 500},
        })
    }
}

/// Shared, by reference count.
pub type Common = Arc<Shared>;

impl Settings {
    /// The highest score enforced for agents of this peer.
    pub fn trust_cap(&self, facts: &Facts, cell: &CellId) -> f64 {
        let added = || facts.peers.get(cell)?.added.as_ref()?.trust_cap;
        self.trust_caps.get(cell).copied().or_else(added).unwrap_or(TRUST_CAP)
    }
}
