//! Messages as agents send them: `POST …/messages`, one or an array, and the same over WebSocket and gRPC.
//!
//! A [`Draft`] has everything but its sender, whose name only the session knows. Shapes only: whether the message may
//! be sent now is the session's to judge. Source: docs/spec/protocol.md section 2, docs/spec/details.md section 1.

use serde_json::Value;

use super::parts::{Committed, Open};
use crate::protocol::ids::{MessageId, ParticipantId, ReferenceId, SessionId};
use crate::protocol::json::Json;
use crate::protocol::members::Members;
use crate::protocol::message::{Message, Seen};
use crate::protocol::part::{CONTENT, DELEGATE};
use crate::protocol::performative::Performative;
use crate::protocol::refusal::Refusal;
use crate::protocol::session::require_members;
use crate::protocol::terms::Terms;

/// Most messages in one array (docs/spec/details.md section 11).
pub const MAX_MESSAGES: usize = 100;

/// A well-formed message whose sender is not yet known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The sender's idempotency key.
    pub message_id: MessageId,
    /// One of the thirteen.
    pub performative: Performative,
    /// What it answers.
    pub reference_id: Option<ReferenceId>,
    /// The history it acted on.
    pub seen: Option<Seen>,
    /// The business terms, exactly as sent; their shape is that of the performative.
    pub terms: Option<Json>,
    /// The erasable parts.
    pub committed: Committed,
    /// Its own proof; without it the request's header must be its proof.
    pub proof: Option<String>,
}

/// The messages of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// One message.
    One(Box<Draft>),
    /// An array of 1 to [`MAX_MESSAGES`].
    Many(Vec<Draft>),
}

impl Batch {
    /// Reads a body that `json::read_batch` or `msgpack::read_batch` has taken.
    pub fn read(body: &Value) -> Result<Self, Refusal> {
        let Value::Array(items) = body else { return Draft::read("", body).map(|draft| Self::One(Box::new(draft))) };
        if items.is_empty() || items.len() > MAX_MESSAGES {
            return Err(Refusal::invalid("", format!("a message, or an array of 1 to {MAX_MESSAGES}")));
        }
        let drafts = items.iter().enumerate().map(|(index, item)| Draft::read(&format!("/{index}"), item));
        drafts.collect::<Result<_, _>>().map(Self::Many)
    }
}

impl Draft {
    /// Reads the message at `at` of its request.
    pub fn read(at: &str, value: &Value) -> Result<Self, Refusal> {
        let mut members = Members::of(at, Some(value))?;
        let message_id = members.required("messageId", "the message's id, a lower-case UUID v7")?;
        let performative = members.required("performative", "one of the thirteen performatives")?;
        let reference_id = members.parsed("referenceId")?;
        let seen = seen(&mut members)?;
        let terms = members.value("terms");
        Terms::parse(performative, terms).map_err(|refusal| moved(refusal, "", at))?;
        require_members(performative, reference_id.is_some(), seen.is_some())
            .map_err(|refusal| moved(refusal, "", at))?;
        let committed = parts(performative, &mut members)?;
        let proof = members.text("proof")?.map(str::to_owned);
        members.finish()?;
        let terms = terms.map(Json::of);
        Ok(Self { message_id, performative, reference_id, seen, terms, committed, proof })
    }

    /// The message, once the session has told who sends it.
    #[must_use]
    pub fn into_message(self, session_id: SessionId, sender: ParticipantId) -> Message {
        Message {
            session_id,
            message_id: self.message_id,
            sender,
            performative: self.performative,
            reference_id: self.reference_id,
            seen: self.seen,
            terms: self.terms,
            parts: self.committed.parts,
        }
    }
}

fn seen(members: &mut Members<'_>) -> Result<Option<Seen>, Refusal> {
    let at = members.at("seen");
    let Some(value) = members.value("seen") else { return Ok(None) };
    let mut seen = Members::of(&at, Some(value))?;
    let sequence = seen.integer("sequence", SEQUENCE)?.filter(|sequence| *sequence > 0);
    let sequence = sequence.ok_or_else(|| Refusal::invalid(seen.at("sequence"), SEQUENCE))?;
    let hash = seen.text("hash")?.and_then(crate::crypto::digest::Digest::parse);
    let hash = hash.ok_or_else(|| Refusal::invalid(seen.at("hash"), "the record's hash, 32 bytes as base64url"))?;
    seen.finish()?;
    Ok(Some(Seen { sequence, hash }))
}

const SEQUENCE: &str = "the sequence of a record of this session, an integer from 1";

fn parts(performative: Performative, members: &mut Members<'_>) -> Result<Committed, Refusal> {
    let mut open = Open::default();
    open.take(CONTENT, members)?;
    open.take_personal(members)?;
    if performative == Performative::Delegate {
        super::request::required_agent(DELEGATE, members)?;
        open.take(DELEGATE, members)?;
    }
    open.commit(members)
}

/// A refusal whose pointer began at `from`, pointing from `to` instead.
pub(super) fn moved(refusal: Refusal, from: &str, to: &str) -> Refusal {
    let Some(place) = refusal.pointer.as_deref().and_then(|pointer| pointer.strip_prefix(from)) else { return refusal };
    let expected = refusal.extras().get("expected").and_then(Value::as_str).unwrap_or_default().to_owned();
    Refusal::invalid(format!("{to}{place}"), expected)
}
