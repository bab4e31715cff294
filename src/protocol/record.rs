//! A record: a message at its place in a session's chain, as every cell keeps it.
//!
//! It names participants and commitments only; what can be erased lies beside it. [`Record::canonical`] is R, the
//! text that is hashed. Source: docs/spec/protocol.md section 2 "Record".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::ids::{CellId, MessageId, ParticipantId, ReferenceId, SessionId};
use super::json::Json;
use super::message::{Message, Seen};
use super::performative::Performative;
use super::time::Timestamp;
use crate::crypto::digest::Digest;
use crate::crypto::json::canonical;

/// Who a record is from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub enum Sender {
    /// An agent, by its name in this session.
    Participant(ParticipantId),
    /// The host cell, in a system record.
    Cell(CellId),
}

impl Sender {
    /// The agent, if it is one.
    #[must_use]
    pub const fn participant(&self) -> Option<ParticipantId> {
        match self {
            Self::Participant(id) => Some(*id),
            Self::Cell(_) => None,
        }
    }
}

impl Serialize for Sender {
    /// The bare name in text formats; in binary ones what derived `Deserialize` reads back.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self, serializer.is_human_readable()) {
            (Self::Participant(id), true) => id.serialize(serializer),
            (Self::Cell(id), true) => id.serialize(serializer),
            (Self::Participant(id), false) => serializer.serialize_newtype_variant("Sender", 0, "Participant", id),
            (Self::Cell(id), false) => serializer.serialize_newtype_variant("Sender", 1, "Cell", id),
        }
    }
}

/// One record. Serialises for storage and peers (postcard); its JSON is [`Record::canonical`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The session.
    pub session_id: SessionId,
    /// The cell that ordered it.
    pub host: CellId,
    /// 1 until the session moved to another host.
    pub epoch: u64,
    /// Its place, from 1.
    pub sequence: u64,
    /// The host's clock; never before the record in front.
    pub timestamp: Timestamp,
    /// Who it is from.
    pub sender: Sender,
    /// What it says.
    pub performative: Performative,
    /// The message or commitment it answers.
    pub reference_id: Option<ReferenceId>,
    /// The history its sender acted on.
    pub seen: Option<Seen>,
    /// The business terms, as sent.
    pub terms: Option<Json>,
    /// The sender's id for it.
    pub message_id: MessageId,
    /// The commitments of its parts, by name.
    pub parts: BTreeMap<String, Digest>,
    /// SHA-256 of its proof's compact JWS.
    pub proof_hash: Digest,
}

/// A place in a chain that the host gives to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host cell.
    pub host: CellId,
    /// The host's epoch.
    pub epoch: u64,
    /// From 1.
    pub sequence: u64,
    /// The host's clock.
    pub timestamp: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    r#type: &'static str,
    session_id: SessionId,
    host: &'a CellId,
    epoch: u64,
    sequence: u64,
    timestamp: Timestamp,
    sender: &'a Sender,
    performative: Performative,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_id: Option<ReferenceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Seen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<&'a Json>,
    message_id: MessageId,
    parts: &'a BTreeMap<String, Digest>,
    proof_hash: Digest,
}

impl Record {
    /// The record of an agent's message at `place`; `proof` is its compact JWS.
    #[must_use]
    pub fn of(message: &Message, proof: &str, place: Place) -> Self {
        Self {
            session_id: message.session_id,
            host: place.host,
            epoch: place.epoch,
            sequence: place.sequence,
            timestamp: place.timestamp,
            sender: Sender::Participant(message.sender),
            performative: message.performative,
            reference_id: message.reference_id,
            seen: message.seen,
            terms: message.terms.clone(),
            message_id: message.message_id,
            parts: message.parts.iter().map(|(name, part)| (name.clone(), part.commitment)).collect(),
            proof_hash: proof_hash(proof),
        }
    }

    /// The system record of `terms` at `place`; `proof` is the host's JWS of kind `system`.
    #[must_use]
    pub fn of_system(session_id: SessionId, message_id: MessageId, terms: Json, proof: &str, place: Place) -> Self {
        Self {
            session_id,
            sender: Sender::Cell(place.host.clone()),
            host: place.host,
            epoch: place.epoch,
            sequence: place.sequence,
            timestamp: place.timestamp,
            performative: Performative::System,
            reference_id: None,
            seen: None,
            terms: Some(terms),
            message_id,
            parts: BTreeMap::new(),
            proof_hash: proof_hash(proof),
        }
    }

    /// R: the RFC 8785 text that is hashed into the chain.
    #[must_use]
    pub fn canonical(&self) -> String {
        canonical(&Members {
            r#type: "asp/1.0 record",
            session_id: self.session_id,
            host: &self.host,
            epoch: self.epoch,
            sequence: self.sequence,
            timestamp: self.timestamp,
            sender: &self.sender,
            performative: self.performative,
            reference_id: self.reference_id,
            seen: self.seen,
            terms: self.terms.as_ref(),
            message_id: self.message_id,
            parts: &self.parts,
            proof_hash: self.proof_hash,
        })
    }
}

/// SHA-256 of a proof's compact JWS.
#[must_use]
pub fn proof_hash(proof: &str) -> Digest {
    Digest::of(&[proof.as_bytes()])
}
