//! The envelope: what a message's proof covers, and E, its hash.
//!
//! Members stand as they were sent; absent ones are left out, `parts` is always there. `proof` and `salt` are no part
//! of it. Source: docs/spec/protocol.md section 2 "Envelope hash".

use std::collections::BTreeMap;

use serde::Serialize;

use super::beside::Rated;
use super::ids::{CellId, MessageId, ReferenceId, SessionId};
use super::json::Json;
use super::message::{Message, Part, Seen};
use super::performative::Performative;
use super::record::{Record, Sender};
use crate::crypto::digest::Digest;
use crate::crypto::json::canonical;

/// An envelope's RFC 8785 text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope(String);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    r#type: &'static str,
    session_id: SessionId,
    message_id: MessageId,
    sender: Sender,
    performative: Performative,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference_id: Option<ReferenceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<Seen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<&'a Json>,
    parts: BTreeMap<&'a str, Digest>,
}

const TYPE: &str = "asp/1.0 envelope";

impl Envelope {
    /// The envelope of an agent's message.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        Self(canonical(&Members {
            r#type: TYPE,
            session_id: message.session_id,
            message_id: message.message_id,
            sender: Sender::Participant(message.sender),
            performative: message.performative,
            reference_id: message.reference_id,
            seen: message.seen,
            terms: message.terms.as_ref(),
            parts: commitments(&message.parts),
        }))
    }

    /// The envelope that a record's proof covers, by its commitments alone.
    #[must_use]
    pub fn of_record(record: &Record) -> Self {
        Self(canonical(&Members {
            r#type: TYPE,
            session_id: record.session_id,
            message_id: record.message_id,
            sender: record.sender.clone(),
            performative: record.performative,
            reference_id: record.reference_id,
            seen: record.seen,
            terms: record.terms.as_ref(),
            parts: record.parts.iter().map(|(name, commitment)| (name.as_str(), *commitment)).collect(),
        }))
    }

    /// The envelope of a system record, which its host cell draws and sends.
    #[must_use]
    pub fn of_system(session_id: SessionId, message_id: MessageId, host: &CellId, terms: &Json) -> Self {
        Self(canonical(&Members {
            r#type: TYPE,
            session_id,
            message_id,
            sender: Sender::Cell(host.clone()),
            performative: Performative::System,
            reference_id: None,
            seen: None,
            terms: Some(terms),
            parts: BTreeMap::new(),
        }))
    }

    /// The envelope of a rating, which has no record, by its commitments.
    #[must_use]
    pub fn of_rating(rated: &Rated) -> Self {
        Self(canonical(&Members {
            r#type: TYPE,
            session_id: rated.session_id,
            message_id: rated.message_id,
            sender: Sender::Participant(rated.sender),
            performative: Performative::Rate,
            reference_id: None,
            seen: None,
            terms: rated.terms.as_ref(),
            parts: rated.parts.iter().map(|(name, commitment)| (name.as_str(), *commitment)).collect(),
        }))
    }

    /// The canonical text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// E.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of(&[self.0.as_bytes()])
    }
}

fn commitments(parts: &BTreeMap<String, Part>) -> BTreeMap<&str, Digest> {
    parts.iter().map(|(name, part)| (name.as_str(), part.commitment)).collect()
}
