//! What agents ask of the engine, after `api` has checked shape and proof, and what they are answered.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::crypto::digest::Digest;
use crate::protocol::ids::{AgentId, MessageId, ParticipantId, SessionId};
use crate::protocol::message::Part;
use crate::protocol::proof::{Signed, Vouched};
use crate::protocol::refusal::Refusal;
use crate::protocol::time::{Span, Timestamp};

/// The agent whose current key made a request's proof; only [`super::Handle::caller`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub agent: AgentId,
    /// RFC 7638 SHA-256 thumbprint of its current key.
    pub thumbprint: Digest,
}

/// One proof's mark in the replay space: remembered until 150 s after `iat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// SHA-256 of thumbprint and `jti`.
    pub key: Digest,
    /// The proof's `iat`.
    pub issued_at: Timestamp,
}

/// A message on its way to its place; E was checked against `asp_hash`.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Who sends it.
    pub caller: Caller,
    /// The message with its proof.
    pub signed: Signed,
    /// What its proof spends.
    pub spent: Spent,
    /// SHA-256 of the message's salt, if it has parts: never reused in a session.
    pub salt: Option<Digest>,
}

/// Something beside the chain on its way to its standing; its hash was checked against `asp_hash`.
#[derive(Debug, Clone)]
pub struct Noting {
    /// Who says it.
    pub caller: Caller,
    /// What is said, with its proof.
    pub vouched: Vouched,
    /// Its parts, open.
    pub parts: BTreeMap<String, Part>,
    /// What its proof spends.
    pub spent: Spent,
    /// SHA-256 of its salt, if it has parts.
    pub salt: Option<Digest>,
}

/// An invitation: the message INVITE and what its body says beside it.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// The INVITE; its part `invitees` names the agents.
    pub submission: Submission,
    /// Who is invited, in the order sent.
    pub invitees: Vec<AgentId>,
    /// How long the invitees have; absent: the cell's `invitation_timeout`.
    pub answer_within: Option<Span>,
}

/// An agent's word for another.
#[derive(Debug, Clone)]
pub struct Endorsing {
    /// Who endorses.
    pub caller: Caller,
    /// Whom.
    pub of: AgentId,
    /// 1 to 5.
    pub rating: u8,
    /// What the request's proof spends.
    pub spent: Spent,
}

/// An agent's registration, proven by the key in `jwk`.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The agent.
    pub agent: AgentId,
    /// Its public key as a JWK, checked.
    pub jwk: Value,
    /// RFC 7638 thumbprint of `jwk`.
    pub thumbprint: Digest,
    /// The enrolment key from `Authorization: Bearer`.
    pub enrolment_key: String,
    /// What the proof spends.
    pub spent: Spent,
    /// Capabilities, checked against details.md section 7.
    pub capabilities: Vec<String>,
    /// Protocols; has `asp/1.0`.
    pub protocols: Vec<String>,
    /// Absent: the cell's region.
    pub region: Option<String>,
    /// At most 1,000 characters.
    pub description: Option<String>,
    /// `true`: `federated`, else `cell`.
    pub federated: bool,
}

/// A search of the registry.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// All of these, exactly.
    pub capabilities: Vec<String>,
    /// Only agents of this region.
    pub region: Option<String>,
    /// Only agents that speak this protocol.
    pub protocol: Option<String>,
    /// Only agents with at least this score.
    pub min_trust_score: Option<f64>,
    /// 1 to 500.
    pub limit: usize,
    /// From an earlier answer.
    pub cursor: Option<String>,
}

/// The answer to one message (docs/spec/details.md S6).
#[derive(Debug, Clone)]
pub enum Answer {
    /// 201: the record with its place; `body` is S6 (INVITE: S8b with `record` and `receipt`).
    Placed {
        /// The answer's body.
        body: Value,
        /// Whether this repeats the first answer to the same message.
        replayed: bool,
    },
    /// 202: durable here, the host has not answered in time.
    Queued {
        /// The message.
        message_id: MessageId,
    },
    /// Refused; nothing is recorded.
    Refused(Refusal),
    /// Behind a refused one of the same array.
    NotAttempted,
}

/// One of the three channels of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Records.
    Data,
    /// State changes and other events.
    Control,
    /// Trust and delivery metadata.
    Meta,
}

/// One thing on a stream, in order.
#[derive(Debug, Clone)]
pub struct StreamItem {
    /// Its channel.
    pub channel: Channel,
    /// The session it belongs to.
    pub session_id: SessionId,
    /// The record's sequence on `data`; the record it comes after on the others.
    pub sequence: u64,
    /// On the agent's stream: the cursor to resume after it.
    pub cursor: u64,
    /// The JSON of the event (S7).
    pub body: Value,
}

/// Where a session's stream stands: all of record `sequence` and the first `events` events after it were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The last record sent.
    pub sequence: u64,
    /// How many of the events after that record were sent.
    pub events: usize,
}

/// A piece of a stream and where it ends.
#[derive(Debug, Clone)]
pub struct StreamPage {
    /// What comes next, in order; empty when the reader is up to date.
    pub items: Vec<StreamItem>,
    /// Where the next page starts.
    pub next: Position,
    /// Whether nothing will ever follow (the final record and its events were sent).
    pub ended: bool,
}

/// A participant's seat in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The session.
    pub session_id: SessionId,
    /// The caller's name in it.
    pub participant: ParticipantId,
}
