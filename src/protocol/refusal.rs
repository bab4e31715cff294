//! Refusals: what a caller gets when a message, request or frame may not be.
//!
//! A refusal is expected, is caused by what was sent, and changes nothing; the table below is the one place where a
//! code gets its HTTP status. Source: docs/spec/protocol.md section 8, docs/spec/details.md S1.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::json::Json;

macro_rules! codes {
    ($($variant:ident $name:literal $status:literal $retry:literal $title:literal;)*) => {
        /// The error codes of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "each is explained by its title in the table below")]
        pub enum Code { $($variant,)* }

        impl Code {
            /// Every code, in the order of docs/spec/protocol.md section 8.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// The code as it stands on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// The HTTP status it is answered with, unless the refusal overrides it (400, 405, 406, 415).
            #[must_use]
            pub const fn status(self) -> u16 { match self { $(Self::$variant => $status,)* } }
            /// Whether the same request may succeed later.
            #[must_use]
            pub const fn retryable(self) -> bool { match self { $(Self::$variant => $retry,)* } }
            /// A short human-readable summary, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Self::$variant => $title,)* } }
        }
    };
}

codes! {
    InsufficientTrustScore "insufficient_trust_score" 403 false "Trust score too low";
    Unauthorized "unauthorized" 401 false "Caller is not known or may not do this";
    SchemaUnsupported "schema_unsupported" 422 false "Schema is not supported";
    BudgetExceeded "budget_exceeded" 403 false "Token budget exceeded";
    CapacityUnavailable "capacity_unavailable" 503 true "Cell is at capacity";
    PolicyViolation "policy_violation" 403 false "Against an operator's policy";
    Timeout "timeout" 408 true "Nothing was done in time";
    Duplicate "duplicate" 409 false "Already taken";
    EscalationRequired "escalation_required" 403 false "An operator must act";
    Unspecified "unspecified" 500 false "Fault of the cell";
    VersionUnsupported "version_unsupported" 422 false "Version is not supported";
    StateViolation "state_violation" 409 false "Not allowed in this state";
    SequenceConflict "sequence_conflict" 409 true "History has moved on";
    HashMismatch "hash_mismatch" 422 false "Proof covers another message";
    ProofInvalid "proof_invalid" 401 false "Proof is not valid";
    ProofReplayed "proof_replayed" 401 false "Proof was used before";
    UseDpopNonce "use_dpop_nonce" 401 true "A nonce is required";
    ConstraintViolation "constraint_violation" 403 false "Against the session's constraints";
    CeilingExceeded "ceiling_exceeded" 403 false "Above a transaction ceiling";
    SessionQuotaExceeded "session_quota_exceeded" 429 true "Session quota is used up";
    EscrowRequired "escrow_required" 403 false "Escrow is required";
    EscrowUnfunded "escrow_unfunded" 402 false "Not enough money for the escrow";
    ConsentMissing "consent_missing" 403 false "No consent covers this";
    ConsentRevoked "consent_revoked" 403 false "The consent was revoked";
    ResidencyViolation "residency_violation" 403 false "Against the residency policy";
    PeerUnreachable "peer_unreachable" 503 true "Peer cell cannot be reached";
    OutcomeUnknown "outcome_unknown" 503 true "Outcome is not known";
    ContentErased "content_erased" 410 false "Content was erased";
    NotFound "not_found" 404 false "Not found";
    ValidationFailed "validation_failed" 422 false "Request is not valid";
    PayloadTooLarge "payload_too_large" 413 false "Payload is too large";
    RateLimited "rate_limited" 429 true "Too many requests";
    StorageUnavailable "storage_unavailable" 503 true "Storage is not available";
}

impl Code {
    /// Reads a code from its wire name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

/// An expected failure: stable code, what was wrong, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What was wrong and what would be right, for a human; never holds personal data or secrets.
    pub detail: String,
    /// JSON Pointer to the member at fault.
    pub pointer: Option<String>,
    /// Overrides the code's HTTP status (400 for bytes that do not parse, 405, 406, 415).
    pub status: Option<u16>,
    /// The extra members of this occurrence (docs/spec/details.md S1), a JSON object.
    pub extra: Option<Json>,
}

impl Refusal {
    /// A refusal with its explanation.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), pointer: None, status: None, extra: None }
    }

    /// `validation_failed` at `pointer`, naming what is expected there.
    #[must_use]
    pub fn invalid(pointer: impl Into<String>, expected: impl Into<String>) -> Self {
        let (pointer, expected) = (pointer.into(), expected.into());
        let place = if pointer.is_empty() { "the request" } else { &pointer };
        let refusal = Self::new(Code::ValidationFailed, format!("{place}: expected {expected}"));
        refusal.at(pointer).with("expected", json!(expected))
    }

    /// `proof_invalid` with its reason of S1.
    #[must_use]
    pub fn proof(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Code::ProofInvalid, detail).with("reason", json!(reason))
    }

    /// Names the member at fault.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// Overrides the HTTP status.
    #[must_use]
    pub const fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds an extra member.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        let mut extra = self.extras();
        extra.insert(name.to_owned(), value);
        self.extra = Some(Json::of(&Value::Object(extra)));
        self
    }

    /// The extra members.
    #[must_use]
    pub fn extras(&self) -> Map<String, Value> {
        match self.extra.as_ref().map(Json::value) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        }
    }

    /// The HTTP status it is answered with.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.status.unwrap_or(self.code.status())
    }

    /// The problem document (RFC 9457), without `instance`.
    #[must_use]
    pub fn problem(&self) -> Value {
        let mut members = self.extras();
        members.insert("type".into(), json!(format!("urn:asp:error:{}", self.code.name())));
        members.insert("title".into(), json!(self.code.title()));
        members.insert("status".into(), json!(self.http_status()));
        members.insert("code".into(), json!(self.code.name()));
        members.insert("retryable".into(), json!(self.code.retryable()));
        members.insert("detail".into(), json!(self.detail));
        if let Some(pointer) = &self.pointer {
            members.insert("pointer".into(), json!(pointer));
        }
        Value::Object(members)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)
    }
}

impl std::error::Error for Refusal {}
