//! What an agent writes before it is signed: messages and invitations, each with its id and its salt.
//!
//! A draft is sent as often as need be: its id and salt stay, so a repetition is recognised as one. The envelope is
//! computed by `protocol::envelope`, the code that cells check it with. Source: docs/spec/protocol.md section 2.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::crypto::digest::{Digest, base64url};
use crate::crypto::entropy::draw;
use crate::protocol::envelope::Envelope;
use crate::protocol::ids::{AgentId, MessageId, ParticipantId, ReferenceId, SessionId, SubjectRef};
use crate::protocol::json::Json;
use crate::protocol::message::{Message, Part, Seen};
use crate::protocol::part::{CONTENT, DELEGATE, INVITEES, Salt};
use crate::protocol::performative::Performative;
use crate::protocol::time::Span;
use crate::vault::entropy::OsEntropy;

/// One message, not yet signed.
#[derive(Debug, Clone)]
pub struct Draft {
    message_id: MessageId,
    performative: Performative,
    reference_id: Option<ReferenceId>,
    seen: Option<Seen>,
    terms: Option<Value>,
    content: Option<Value>,
    personal: BTreeMap<SubjectRef, Value>,
    delegate: Option<AgentId>,
    salt: [u8; 32],
}

impl Draft {
    /// A message that says no more than its performative, with a new id and a new salt.
    #[must_use]
    pub fn new(performative: Performative) -> Self {
        Self {
            message_id: MessageId(Uuid::now_v7()),
            performative,
            reference_id: None,
            seen: None,
            terms: None,
            content: None,
            personal: BTreeMap::new(),
            delegate: None,
            salt: draw(&mut OsEntropy),
        }
    }

    /// What it answers or affects: a message's id or a commitment's.
    #[must_use]
    pub fn about(mut self, reference: impl Into<ReferenceId>) -> Self {
        self.reference_id = Some(reference.into());
        self
    }

    /// The history it acts on. Where the protocol requires one and none is named, [`super::Agent::send`] names the
    /// head.
    #[must_use]
    pub const fn seen(mut self, seen: Seen) -> Self {
        self.seen = Some(seen);
        self
    }

    /// The business terms.
    #[must_use]
    pub fn terms(mut self, terms: Value) -> Self {
        self.terms = Some(terms);
        self
    }

    /// The content, erasable.
    #[must_use]
    pub fn content(mut self, content: Value) -> Self {
        self.content = Some(content);
        self
    }

    /// Personal data of one subject, erasable by its subject.
    #[must_use]
    pub fn personal(mut self, subject: SubjectRef, value: Value) -> Self {
        self.personal.insert(subject, value);
        self
    }

    /// The newcomer of a DELEGATE.
    #[must_use]
    pub fn delegate(mut self, agent: AgentId) -> Self {
        self.delegate = Some(agent);
        self
    }

    /// The message's id.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.message_id
    }

    /// Whether the protocol requires `seen` and there is none yet.
    pub(super) const fn lacks_seen(&self) -> bool {
        self.performative.needs_seen() && self.seen.is_none()
    }

    /// E, the envelope hash, as `sender` signs it in `session`.
    #[must_use]
    pub fn envelope(&self, session: SessionId, sender: ParticipantId) -> Digest {
        let message = Message {
            session_id: session,
            message_id: self.message_id,
            sender,
            performative: self.performative,
            reference_id: self.reference_id,
            seen: self.seen,
            terms: self.terms.as_ref().map(Json::of),
            parts: self.parts(),
        };
        Envelope::of(&message).hash()
    }

    fn parts(&self) -> BTreeMap<String, Part> {
        let salt = Salt::of(self.salt);
        let content = self.content.as_ref().map(|value| (CONTENT.to_owned(), salt.part(CONTENT, Json::of(value))));
        let newcomer = self.delegate.as_ref().map(|agent| json!(agent));
        let newcomer = newcomer.map(|agent| (DELEGATE.to_owned(), salt.part(DELEGATE, Json::of(&agent))));
        let personal = self.personal.iter();
        let personal = personal.map(|(subject, value)| salt.personal_part(subject.clone(), Json::of(value)));
        content.into_iter().chain(newcomer).chain(personal).collect()
    }

    /// The request's body, without `proof`.
    #[must_use]
    pub fn body(&self) -> Value {
        let salted = self.content.is_some() || self.delegate.is_some() || !self.personal.is_empty();
        let personal: Map<String, Value> =
            self.personal.iter().map(|(subject, value)| (subject.to_string(), value.clone())).collect();
        object([
            ("messageId", Some(json!(self.message_id))),
            ("performative", Some(json!(self.performative))),
            ("referenceId", self.reference_id.map(|id| json!(id))),
            ("seen", self.seen.map(|seen| json!(seen))),
            ("terms", self.terms.clone()),
            ("content", self.content.clone()),
            ("personal", (!personal.is_empty()).then_some(Value::Object(personal))),
            ("delegate", self.delegate.as_ref().map(|agent| json!(agent))),
            ("salt", salted.then(|| json!(base64url(&self.salt)))),
        ])
    }
}

/// An invitation, not yet signed.
#[derive(Debug, Clone)]
pub struct Invitation {
    session_id: SessionId,
    message_id: MessageId,
    participant: ParticipantId,
    invitees: Vec<AgentId>,
    purpose: String,
    constraints: Option<Value>,
    answer_within: Option<Span>,
    salt: [u8; 32],
}

impl Invitation {
    /// An invitation to `invitees` for `purpose`, with new ids and a new salt.
    pub fn new(invitees: impl IntoIterator<Item = AgentId>, purpose: &str) -> Self {
        Self {
            session_id: SessionId(Uuid::now_v7()),
            message_id: MessageId(Uuid::now_v7()),
            participant: ParticipantId(Uuid::new_v4()),
            invitees: invitees.into_iter().collect(),
            purpose: purpose.to_owned(),
            constraints: None,
            answer_within: None,
            salt: draw(&mut OsEntropy),
        }
    }

    /// The session's constraints.
    #[must_use]
    pub fn constraints(mut self, constraints: Value) -> Self {
        self.constraints = Some(constraints);
        self
    }

    /// How long the invitees have.
    #[must_use]
    pub const fn answer_within(mut self, span: Span) -> Self {
        self.answer_within = Some(span);
        self
    }

    /// The session it opens.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session_id
    }

    /// The INVITE's id.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        self.message_id
    }

    /// The inviter's name in the session.
    pub(super) const fn participant(&self) -> ParticipantId {
        self.participant
    }

    /// E, the envelope hash.
    #[must_use]
    pub fn envelope(&self) -> Digest {
        let terms = object([("purpose", Some(json!(self.purpose))), ("constraints", self.constraints.clone())]);
        let part = Salt::of(self.salt).part(INVITEES, Json::of(&json!(self.invitees)));
        let message = Message {
            session_id: self.session_id,
            message_id: self.message_id,
            sender: self.participant,
            performative: Performative::Invite,
            reference_id: None,
            seen: None,
            terms: Some(Json::of(&terms)),
            parts: BTreeMap::from([(INVITEES.to_owned(), part)]),
        };
        Envelope::of(&message).hash()
    }

    /// The request's body, without `proof`.
    #[must_use]
    pub fn body(&self) -> Value {
        object([
            ("sessionId", Some(json!(self.session_id))),
            ("messageId", Some(json!(self.message_id))),
            ("participantId", Some(json!(self.participant))),
            ("invitees", Some(json!(self.invitees))),
            ("purpose", Some(json!(self.purpose))),
            ("constraints", self.constraints.clone()),
            ("answerWithin", self.answer_within.map(|span| json!(span))),
            ("salt", Some(json!(base64url(&self.salt)))),
        ])
    }
}

/// An invitee's answer: what it references and who sends it, the session says.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) message_id: MessageId,
    pub(super) accept: bool,
    pub(super) code: Option<String>,
}

impl Reply {
    /// Yes or no, with a new id.
    #[must_use]
    pub fn new(accept: bool) -> Self {
        Self { message_id: MessageId(Uuid::now_v7()), accept, code: None }
    }

    /// E, the envelope hash, as `sender` signs its answer to `asked` in `session`.
    #[must_use]
    pub fn envelope(&self, session: SessionId, sender: ParticipantId, asked: ReferenceId) -> Digest {
        let terms = self.code.as_ref().map(|code| Json::of(&json!({"code": code})));
        let performative = if self.accept { Performative::Introduce } else { Performative::Decline };
        let message = Message {
            session_id: session,
            message_id: self.message_id,
            sender,
            performative,
            reference_id: Some(asked),
            seen: None,
            terms,
            parts: BTreeMap::new(),
        };
        Envelope::of(&message).hash()
    }

    /// The request's body.
    #[must_use]
    pub fn body(&self) -> Value {
        object([
            ("messageId", Some(json!(self.message_id))),
            ("accept", Some(json!(self.accept))),
            ("code", self.code.as_ref().map(|code| json!(code))),
        ])
    }
}

/// The members that are there.
fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect())
}
