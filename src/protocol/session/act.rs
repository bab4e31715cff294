//! An act: a message as the session reads it, its terms typed and its required members there.
//!
//! Parse, don't validate: `judge` and `apply` take nothing else. Source: docs/spec/protocol.md section 2,
//! docs/spec/details.md section 1 ("`referenceId`").

use serde_json::Value;

use super::party::Home;
use crate::protocol::ids::{MessageId, ParticipantId, ReferenceId};
use crate::protocol::json::Json;
use crate::protocol::message::{Message, Part, Seen};
use crate::protocol::performative::Performative;
use crate::protocol::record::Record;
use crate::protocol::refusal::Refusal;
use crate::protocol::terms::{Pledge, Stake, Terms};

/// One message of an agent, as the session reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// The message.
    pub message_id: MessageId,
    /// Who sends it.
    pub sender: ParticipantId,
    /// What it answers or affects.
    pub reference: Option<ReferenceId>,
    /// The history it acted on.
    pub seen: Option<Seen>,
    /// What it says.
    pub terms: Terms,
    /// The first part that is not encrypted by the agents themselves, of those this cell can read.
    pub clear_part: Option<String>,
    /// Where the newcomer of a DELEGATE is at home, once the engine has looked it up.
    pub newcomer: Option<Home>,
    /// With a COMMIT whose money is held: the payer's cell's receipt, JWS of kind `hold`.
    pub hold: Option<String>,
}

impl Act {
    /// Reads a message whose parts are here.
    pub fn of(message: &Message) -> Result<Self, Refusal> {
        let named = message.parts.contains_key("delegate");
        if named != (message.performative == Performative::Delegate) {
            let expected = if named { "no such member" } else { "the newcomer's agent id" };
            return Err(Refusal::invalid("/delegate", expected));
        }
        let mut act = Self::read(&Said {
            message_id: message.message_id,
            sender: message.sender,
            performative: message.performative,
            reference: message.reference_id,
            seen: message.seen,
            terms: message.terms.as_ref(),
        })?;
        act.note_parts(&message.parts);
        Ok(act)
    }

    /// Reads what a participant's record says, whoever keeps its parts.
    pub fn of_record(record: &Record, sender: ParticipantId) -> Result<Self, Refusal> {
        Self::read(&Said {
            message_id: record.message_id,
            sender,
            performative: record.performative,
            reference: record.reference_id,
            seen: record.seen,
            terms: record.terms.as_ref(),
        })
    }

    fn read(said: &Said<'_>) -> Result<Self, Refusal> {
        let value = said.terms.map(Json::value);
        let terms = Terms::parse(said.performative, value.as_ref())?;
        require_members(said.performative, said.reference.is_some(), said.seen.is_some())?;
        Ok(Self {
            message_id: said.message_id,
            sender: said.sender,
            reference: said.reference,
            seen: said.seen,
            terms,
            clear_part: None,
            newcomer: None,
            hold: None,
        })
    }

    /// Notes which of the parts that this cell can read is not encrypted by the agents themselves.
    pub fn note_parts<'a>(&mut self, parts: impl IntoIterator<Item = (&'a String, &'a Part)>) {
        self.clear_part = parts.into_iter().find(|(name, part)| is_clear(name, part)).map(|(name, _)| name.clone());
    }

    /// The performative.
    #[must_use]
    pub const fn performative(&self) -> Performative {
        self.terms.performative()
    }

    /// What a COMMIT promises.
    #[must_use]
    pub const fn pledge(&self) -> Option<&Pledge> {
        match self.terms.body.stake() {
            Stake::Pledge(pledge) => Some(pledge),
            Stake::Offer(_) | Stake::Bound(_) | Stake::Nothing => None,
        }
    }
}

/// What messages and records have in common.
struct Said<'a> {
    message_id: MessageId,
    sender: ParticipantId,
    performative: Performative,
    reference: Option<ReferenceId>,
    seen: Option<Seen>,
    terms: Option<&'a Json>,
}

/// Refuses a message without a `referenceId` or `seen` that its performative must have, or with one it must not.
pub fn require_members(performative: Performative, reference: bool, seen: bool) -> Result<(), Refusal> {
    require(Reference::of(performative), reference)?;
    if performative.needs_seen() && !seen {
        return Err(Refusal::invalid("/seen", "the sequence and hash of a record this message answers to"));
    }
    Ok(())
}

/// Whether a performative has a `referenceId`.
enum Reference {
    Required,
    Optional,
    Forbidden,
}

impl Reference {
    const fn of(performative: Performative) -> Self {
        match performative {
            Performative::Counter
            | Performative::Accept
            | Performative::Reject
            | Performative::Withdraw
            | Performative::Introduce
            | Performative::Decline => Self::Required,
            Performative::Propose
            | Performative::Query
            | Performative::Inform
            | Performative::Clarify
            | Performative::Commit
            | Performative::Fulfill
            | Performative::Delegate
            | Performative::Escalate => Self::Optional,
            Performative::Close | Performative::Invite | Performative::Rate | Performative::System => Self::Forbidden,
        }
    }
}

fn require(reference: Reference, there: bool) -> Result<(), Refusal> {
    let expected = match (reference, there) {
        (Reference::Required, false) => "the message or commitment that this one answers",
        (Reference::Forbidden, true) => "no such member",
        (Reference::Required, true) | (Reference::Optional, _) | (Reference::Forbidden, false) => return Ok(()),
    };
    Err(Refusal::invalid("/referenceId", expected))
}

/// Whether a part that end-to-end sessions want encrypted is not (docs/spec/details.md section 3 "`endToEnd`").
fn is_clear(name: &str, part: &Part) -> bool {
    (name == "content" || name.starts_with("personal/")) && !is_jwe(&part.value.value())
}

/// `{"jwe": <compact, five segments>}` and nothing else.
fn is_jwe(value: &Value) -> bool {
    let segment = |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
    let compact = |text: &str| text.split('.').count() == 5 && text.split('.').all(segment);
    let Some(members) = value.as_object() else { return false };
    members.len() == 1 && members.get("jwe").and_then(Value::as_str).is_some_and(compact)
}
