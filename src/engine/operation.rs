//! What operators ask of a running cell: one variant a verb of the command line, answered with the shape that
//! docs/spec/details.md S21 names for it.

use serde::{Deserialize, Serialize};

use crate::protocol::bundle::Selection;
use crate::protocol::dispute::EscrowTo;
use crate::protocol::ids::{
    AgentId, CellId, CommitmentId, ConsentId, DisputeId, MessageId, OrgName, SessionId, SubjectRef,
};
use crate::protocol::time::{Span, Timestamp};
use crate::protocol::verdict::Ruling;

/// The terms of a consent that `consent offer` and `consent counter` name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentTerms {
    /// The other organisation.
    pub peer_org: OrgName,
    /// Data classes, sorted and known.
    pub classes: Vec<String>,
    /// Globs.
    pub purposes: Vec<String>,
    /// Whether data may flow from `org` to `peer_org`.
    pub outward: bool,
    /// Whether data may flow from `peer_org` to `org`.
    pub inward: bool,
    /// Globs over agent ids; absent: all.
    pub agents: Option<Vec<String>>,
    /// The transfer basis, for another zone.
    pub basis: Option<String>,
    /// Longest keeping of what was received.
    pub retention: Option<Span>,
    /// Absent: now.
    pub not_before: Option<Timestamp>,
    /// End, exclusive.
    pub not_after: Timestamp,
}

/// How an operator ends an escalation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// Back to the saved state.
    Resume,
    /// CLOSED with this outcome.
    Close(String),
    /// Ask the host's operator (from a member cell).
    Request,
}

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErasureScope {
    /// An organisation's share of one session.
    Session(SessionId),
    /// One message, or one of its parts.
    Message(SessionId, MessageId, Option<String>),
    /// A data subject, by the organisation's own name for it.
    Subject(SubjectRef),
    /// An agent.
    Agent(AgentId),
    /// The whole organisation (needs an approval).
    Organisation,
}

/// Which trust anchor pins a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Anchor {
    /// PEM text of the CA that issues its certificates.
    Ca(String),
    /// base64url SHA-256 of its certificate's `SubjectPublicKeyInfo`.
    Spki(String),
}

/// Whether `text` is `HOST:PORT` of a peer: a name or an address (IPv6 in brackets), and a UDP port other than 0.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let plain = !bare.is_empty() && !bare.contains(['/', '@', ' ']) && (bare == host) != bare.contains(':');
        plain && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

/// What an operator gives an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assigned {
    /// Level 5, or its end.
    Infrastructure(bool),
    /// History: JSON text in the shape of docs/spec/details.md S20.
    History(String),
}

/// How an organisation's name was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verified {
    /// By the TXT records found at `_asp.<org>`.
    Dns(Vec<String>),
    /// By an enterprise's SCIM, as the operator attests: issuer and digest of the evidence.
    Scim(String, crate::crypto::digest::Digest),
}

/// One verb.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each variant is the command of docs/spec/details.md S21 with the same name")]
pub enum Operation {
    OrgAdd {
        org: OrgName,
    },
    OrgList,
    OrgKeyShow {
        org: OrgName,
    },
    OrgKeyRotate {
        org: OrgName,
    },
    /// `jwk` JSON or PEM text of the organisation's own public consent key; the private half stays with it.
    OrgKeyPublic {
        org: OrgName,
        key: String,
    },
    OrgPolicyShow {
        org: OrgName,
    },
    OrgPolicyAllow {
        org: OrgName,
        zone: String,
        basis: String,
    },
    OrgPolicyDeny {
        org: OrgName,
        zone: String,
    },
    PeerAdd {
        cell: CellId,
        address: String,
        region: String,
        zone: String,
        anchor: Anchor,
        trust_cap: Option<f64>,
    },
    PeerRemove {
        cell: CellId,
    },
    PeerRetry {
        cell: CellId,
    },
    /// `reason` goes into the audit log.
    PeerForward {
        cell: CellId,
        reason: String,
    },
    PeerList,
    ConsentOffer {
        org: OrgName,
        terms: ConsentTerms,
    },
    ConsentCounter {
        consent: ConsentId,
        org: OrgName,
        terms: ConsentTerms,
    },
    ConsentAccept {
        consent: ConsentId,
        org: OrgName,
    },
    /// `signature`: a detached JWS made off line over the document.
    ConsentSign {
        consent: ConsentId,
        org: OrgName,
        signature: String,
    },
    ConsentRevoke {
        consent: ConsentId,
        org: OrgName,
        reason: Option<String>,
    },
    ConsentList,
    ConsentShow {
        consent: ConsentId,
    },
    SessionList,
    SessionShow {
        session: SessionId,
    },
    SessionExport {
        session: SessionId,
    },
    SessionSeal {
        session: SessionId,
    },
    SessionResolve {
        session: SessionId,
        resolution: Resolution,
        reason: String,
    },
    Erase {
        org: OrgName,
        scope: ErasureScope,
        ground: String,
    },
    EraseStatus {
        request: Option<uuid::Uuid>,
    },
    /// Waits until the request's certificate is sealed.
    EraseAwait {
        request: uuid::Uuid,
    },
    KeysRotateEpoch,
    EraseApprove {
        request: uuid::Uuid,
    },
    HoldAdd {
        session: SessionId,
        reason: String,
    },
    HoldRelease {
        hold: uuid::Uuid,
    },
    HoldList,
    DlqList {
        peer: Option<CellId>,
    },
    DlqReplay {
        number: Option<u64>,
    },
    DlqPurge {
        number: Option<u64>,
    },
    TrustShow {
        agent: AgentId,
    },
    TrustAttest {
        agent: AgentId,
    },
    TrustAssign {
        agent: AgentId,
        assigned: Assigned,
        reason: String,
    },
    OrgVerify {
        org: OrgName,
        how: Verified,
    },
    SubjectExport {
        org: OrgName,
        subject: SubjectRef,
    },
    SubjectWhere {
        org: OrgName,
        subject: SubjectRef,
    },
    ConsentReceipt {
        consent: ConsentId,
    },
    ResidencyProve {
        selection: Selection,
    },
    AuditVerify,
    AuditProve {
        index: u64,
    },
    AuditExport,
    /// Writes a backup to a file of the cell's machine that is not there yet.
    Backup {
        file: std::path::PathBuf,
        config: String,
    },
    DisputeList,
    DisputeShow {
        dispute: DisputeId,
    },
    DisputePack {
        dispute: DisputeId,
    },
    DisputeResolve {
        dispute: DisputeId,
        outcome: Ruling,
        severity: Option<u64>,
        escrow: Option<EscrowTo>,
        payee_amount: Option<String>,
        reason: String,
    },
    EscrowList,
    EscrowShow {
        session: SessionId,
        commitment: CommitmentId,
    },
    EscrowResolve {
        session: SessionId,
        commitment: CommitmentId,
        escrow: EscrowTo,
        payee_amount: Option<String>,
        reason: String,
    },
    LedgerDeposit {
        org: OrgName,
        amount: String,
        currency: String,
        reference: Option<String>,
    },
    LedgerWithdraw {
        org: OrgName,
        amount: String,
        currency: String,
        reference: Option<String>,
    },
    LedgerShow {
        org: Option<OrgName>,
    },
    LedgerSettle {
        peer: CellId,
        org: OrgName,
        amount: String,
        currency: String,
        reference: Option<String>,
    },
    LedgerReconcile,
}
