//! A record as a transcript shows it (S5), read back into what was hashed.
//!
//! R and the envelope are rebuilt from the members exactly as they are shown, and only then read as types: a text that
//! means the same but is written otherwise was never signed. Source: docs/spec/details.md section 2, S5.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::text;
use crate::crypto::digest::Digest;
use crate::crypto::json::canonical;
use crate::protocol::ids::{CellId, MessageId, ReferenceId, SessionId};
use crate::protocol::json::Json;
use crate::protocol::message::Seen;
use crate::protocol::part;
use crate::protocol::performative::Performative;
use crate::protocol::record::{Record, Sender};
use crate::protocol::time::Timestamp;

/// Members of R beside `type` and `parts`.
const HASHED: [&str; 12] = [
    "sessionId",
    "host",
    "epoch",
    "sequence",
    "timestamp",
    "sender",
    "performative",
    "referenceId",
    "seen",
    "terms",
    "messageId",
    "proofHash",
];

/// Members of the envelope beside `type` and `parts`.
const ENVELOPED: [&str; 7] = ["sessionId", "messageId", "sender", "performative", "referenceId", "seen", "terms"];

/// One record with its place in the file.
#[derive(Debug)]
pub(super) struct Shown<'f> {
    /// As it stands in the file.
    pub(super) value: &'f Value,
    /// Its place in the chain.
    pub(super) sequence: u64,
    /// What was hashed, or why it cannot be told.
    pub(super) read: Result<Read<'f>, String>,
}

/// A record that could be read.
#[derive(Debug)]
pub(super) struct Read<'f> {
    /// Its meaning.
    pub(super) record: Record,
    /// R.
    pub(super) text: String,
    /// E.
    pub(super) envelope: Digest,
    /// Its parts as shown.
    pub(super) parts: &'f Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    session_id: SessionId,
    host: CellId,
    epoch: u64,
    sequence: u64,
    timestamp: Timestamp,
    sender: String,
    performative: Performative,
    reference_id: Option<ReferenceId>,
    seen: Option<Seen>,
    message_id: MessageId,
    proof_hash: Digest,
}

impl<'f> Shown<'f> {
    /// Reads one entry of `records`; `None` if it does not even say where it stands.
    pub(super) fn of(value: &'f Value) -> Option<Self> {
        let sequence = value.get("sequence")?.as_u64().filter(|sequence| *sequence > 0)?;
        Some(Self { value, sequence, read: read(value) })
    }

    /// The hash it shows, as text: the next record must show the same.
    pub(super) fn hash(&self) -> Option<&'f str> {
        text(self.value, "hash")
    }

    /// The hash of the record before it, as it shows it.
    pub(super) fn previous(&self) -> Option<&'f str> {
        text(self.value, "previousHash")
    }
}

fn read(value: &Value) -> Result<Read<'_>, String> {
    let parts = value.get("parts").and_then(Value::as_object).ok_or("`parts` is no object")?;
    let commitments = commitments(parts)?;
    if text(value, "type") != Some("asp/1.0 record") {
        return Err("expected type \"asp/1.0 record\"".to_owned());
    }
    if value.get("terms").is_some_and(|terms| !terms.is_object()) {
        return Err("`terms` is no object".to_owned());
    }
    let hashed = with_parts(value, "asp/1.0 record", &HASHED, &commitments);
    let record = record(value, commitments.clone())?;
    if record.canonical() != hashed {
        return Err("a member of R is missing, null or not in its written form".to_owned());
    }
    let envelope = with_parts(value, "asp/1.0 envelope", &ENVELOPED, &commitments);
    Ok(Read { record, text: hashed, envelope: Digest::of(&[envelope.as_bytes()]), parts })
}

fn record(value: &Value, parts: BTreeMap<String, Digest>) -> Result<Record, String> {
    let members = Members::deserialize(value).map_err(|error| error.to_string())?;
    let named = |bad: crate::protocol::ids::BadName| format!("sender: {bad}");
    if members.performative == Performative::Rate {
        return Err("a rating stands beside the chain, not in it".to_owned());
    }
    let sender = if members.performative == Performative::System {
        Sender::Cell(members.sender.parse().map_err(named)?)
    } else {
        Sender::Participant(members.sender.parse().map_err(named)?)
    };
    Ok(Record {
        session_id: members.session_id,
        host: members.host,
        epoch: members.epoch,
        sequence: members.sequence,
        timestamp: members.timestamp,
        sender,
        performative: members.performative,
        reference_id: members.reference_id,
        seen: members.seen,
        terms: value.get("terms").map(Json::of),
        message_id: members.message_id,
        parts,
        proof_hash: members.proof_hash,
    })
}

fn commitments(parts: &Map<String, Value>) -> Result<BTreeMap<String, Digest>, String> {
    let commitment = |(name, shown): (&String, &Value)| {
        let commitment = text(shown, "commitment").and_then(Digest::parse).filter(|_| part::is_name(name));
        commitment.map(|commitment| (name.clone(), commitment)).ok_or_else(|| format!("part {name:?}: no commitment"))
    };
    parts.iter().map(commitment).collect()
}

/// The canonical text of `type`, the shown ones of `names`, and the commitments.
fn with_parts(value: &Value, r#type: &str, names: &[&str], commitments: &BTreeMap<String, Digest>) -> String {
    let shown = names.iter().filter_map(|name| Some(((*name).to_owned(), value.get(*name)?.clone())));
    let mut members: Map<String, Value> = shown.collect();
    members.insert("type".to_owned(), r#type.into());
    members.insert("parts".to_owned(), json!(commitments));
    canonical(&members)
}
