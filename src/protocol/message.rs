//! A message as its sender signed it: what the envelope hash covers, and the parts with their salts.
//!
//! `wire` builds it from a request; `protocol::envelope` hashes it; `protocol::session` judges it. It knows nothing
//! of transports. Source: docs/spec/protocol.md section 2, docs/spec/details.md section 1.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::{MessageId, ParticipantId, ReferenceId, SessionId, SubjectRef};
use super::json::Json;
use super::performative::Performative;
use crate::crypto::digest::Digest;

/// The record of this chain that the sender says it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its place, from 1.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

/// One salted part, open: its commitment, the salt that opens it, and the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `SHA-256("asp/1.0 part" || 0 || salt || JCS(value))`.
    pub commitment: Digest,
    /// The part salt (not the message's salt).
    pub salt: Digest,
    /// The value.
    pub value: Json,
    /// Whose personal data it is, for parts `personal/<tag>`.
    pub subject: Option<SubjectRef>,
}

/// What the sender signed. `parts` are named `content`, `delegate`, `invitees`, `personal/<tag>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The session it belongs to.
    pub session_id: SessionId,
    /// The sender's idempotency key.
    pub message_id: MessageId,
    /// Who sends it, as this session knows them.
    pub sender: ParticipantId,
    /// What it says.
    pub performative: Performative,
    /// The message or commitment it answers.
    pub reference_id: Option<ReferenceId>,
    /// The history it acted on.
    pub seen: Option<Seen>,
    /// The clear business terms, exactly the members sent (absent and `{}` differ).
    pub terms: Option<Json>,
    /// The erasable parts.
    pub parts: BTreeMap<String, Part>,
}
