//! Statements: what a cell signs about its own facts, each a type of its own with one form on the wire.
//!
//! A statement that verifies is exactly what its type writes: no member missing, none added, none of another form.
//! Who may sign it is the caller's knowledge, asked for by key id. Source: docs/spec/details.md section 2.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::{AgentId, MessageId, SessionId};
use super::time::Timestamp;
use crate::crypto::digest::Digest;
use crate::crypto::es256::SigningKey;
use crate::crypto::jwk::PublicKey;
use crate::crypto::jws::{self, Claim, Kind, Why};

/// Something that is signed as one kind of JWS.
pub trait Statement: Serialize + DeserializeOwned {
    /// Its kind.
    const KIND: Kind;

    /// The payload, `type` included.
    fn payload(&self) -> Value {
        let mut payload = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(members) = &mut payload {
            members.insert("type".to_owned(), Self::KIND.payload_type().into());
        }
        payload
    }

    /// Signs it.
    fn sign(&self, key: &SigningKey) -> String {
        jws::sign(key, Self::KIND, &self.payload())
    }

    /// Reads a signed one whose signature somebody else checks.
    fn unproven(jws: &str) -> Result<Self, Why> {
        Self::read(&Claim::read(jws, Self::KIND)?)
    }

    /// What a claim says: exactly what this type writes.
    fn read(claim: &Claim) -> Result<Self, Why> {
        let mut members = claim.unproven().clone();
        if let Value::Object(members) = &mut members {
            members.remove("type");
        }
        let statement: Self = serde_json::from_value(members).map_err(|_| Why::Members)?;
        if &statement.payload() == claim.unproven() { Ok(statement) } else { Err(Why::Members) }
    }

    /// Verifies a signed one; `key_of` gives the key of that id if it belongs to whom the statement names.
    fn verify(jws: &str, key_of: impl FnOnce(&Self, &str) -> Option<PublicKey>) -> Result<Self, Why> {
        let claim = Claim::read(jws, Self::KIND)?;
        let statement = Self::read(&claim)?;
        let key = key_of(&statement, claim.kid()).ok_or(Why::Kid)?;
        claim.verify(&key).map(|_| statement)
    }
}

/// The proof of a system record: its host's word for E.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SystemProof {
    /// The session.
    pub session_id: SessionId,
    /// The record's id, drawn by the host.
    pub message_id: MessageId,
    /// E.
    pub hash: Digest,
}

impl Statement for SystemProof {
    const KIND: Kind = Kind::System;
}

/// A home cell's word whose a key is, and when (docs/spec/details.md S13 `statement`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyStatement {
    /// The agent.
    pub agent_id: AgentId,
    /// RFC 7638 thumbprint of its key.
    pub jkt: Digest,
    /// Its from this moment.
    pub from: Timestamp,
    /// And before this one, if it was rotated out.
    pub until: Option<Timestamp>,
}

impl Statement for KeyStatement {
    const KIND: Kind = Kind::Key;
}

impl KeyStatement {
    /// Whether the key was the agent's at `moment`.
    #[must_use]
    pub fn covers(&self, moment: Timestamp) -> bool {
        self.from <= moment && self.until.is_none_or(|until| moment < until)
    }
}
