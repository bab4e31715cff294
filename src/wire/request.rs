//! The other bodies agents send: invitation, answer, rating, registration.
//!
//! Shapes only; who may send them is the engine's to judge. Source: docs/spec/details.md section 1 "What is signed",
//! sections 3 and 7.

use serde_json::Value;

use super::message::moved;
use super::parts::{Committed, Open};
use crate::crypto::jwk::PublicKey;
use crate::protocol::ids::{AgentId, BadName, Capability, CellId, MessageId, ParticipantId, ReferenceId, SessionId};
use crate::protocol::json::Json;
use crate::protocol::members::Members;
use crate::protocol::message::Message;
use crate::protocol::part::{CONTENT, INVITEES};
use crate::protocol::performative::Performative;
use crate::protocol::refusal::Refusal;
use crate::protocol::terms::Terms;
use crate::protocol::time::Span;

/// Most agents that one INVITE names: every one is a participant that the session's state holds.
pub const MAX_INVITEES: usize = 64;
/// The longest `answerWithin`.
pub const LONGEST_ANSWER: Span = Span::days(7);
/// Most capabilities of an agent.
pub const MAX_CAPABILITIES: usize = 64;
/// Most protocols of an agent, each at most this long.
const MAX_PROTOCOLS: usize = 64;
/// Most characters of a description.
pub const MAX_DESCRIPTION: usize = 1_000;
/// The protocol that every agent speaks.
pub const PROTOCOL: &str = "asp/1.0";

/// `POST /v1/asp/trust/{agentId}/endorsements`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endorsement {
    /// 1 to 5.
    pub rating: u8,
}

impl Endorsement {
    /// Reads the body.
    pub fn read(body: &Value) -> Result<Self, Refusal> {
        const EXPECTED: &str = "an integer from 1 to 5";
        let mut members = Members::of("", Some(body))?;
        let rating = members.integer("rating", EXPECTED)?;
        members.finish()?;
        let rating = rating.and_then(|rating| u8::try_from(rating).ok()).filter(|rating| (1..=5).contains(rating));
        rating.map(|rating| Self { rating }).ok_or_else(|| Refusal::invalid("/rating", EXPECTED))
    }
}

/// `POST /v1/asp/sessions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The INVITE; its sender is the participant id that the inviter drew.
    pub message: Message,
    /// Who is invited, in the order sent.
    pub invitees: Vec<AgentId>,
    /// How long they have; absent: the cell's default.
    pub answer_within: Option<Span>,
    /// SHA-256 of the salt.
    pub salt: Option<crate::crypto::digest::Digest>,
    /// Its own proof, if not the header's.
    pub proof: Option<String>,
}

impl Invite {
    /// Reads the body.
    pub fn read(body: &Value) -> Result<Self, Refusal> {
        let mut members = Members::of("", Some(body))?;
        let session_id: SessionId = members.required("sessionId", "the session's id, a lower-case UUID v7")?;
        let message_id = members.required("messageId", "the message's id, a lower-case UUID v7")?;
        let sender = members.required("participantId", "the inviter's name in the session, a lower-case UUID v4")?;
        let invitees = invitees(&mut members)?;
        let terms = terms(Performative::Invite, &["purpose", "constraints"], &mut members)?;
        let answer_within = answer_within(&mut members)?;
        let mut open = Open::default();
        open.take(INVITEES, &mut members)?;
        let Committed { parts, salt } = open.commit(&mut members)?;
        let proof = members.text("proof")?.map(str::to_owned);
        members.finish()?;
        let performative = Performative::Invite;
        let message =
            Message { session_id, message_id, sender, performative, reference_id: None, seen: None, terms, parts };
        Ok(Self { message, invitees, answer_within, salt, proof })
    }
}

fn invitees(members: &mut Members<'_>) -> Result<Vec<AgentId>, Refusal> {
    let at = members.at(INVITEES);
    let invitees: Vec<AgentId> = listed(INVITEES, MAX_INVITEES, members, parsed)?;
    let twice = (1..invitees.len()).find(|index| {
        let (before, rest) = invitees.split_at(*index);
        rest.first().is_some_and(|invitee| before.contains(invitee))
    });
    match (invitees.is_empty(), twice) {
        (true, _) => Err(Refusal::invalid(at, "at least one agent id")),
        (false, Some(index)) => Err(Refusal::invalid(format!("{at}/{index}"), "each agent once")),
        (false, None) => Ok(invitees),
    }
}

fn answer_within(members: &mut Members<'_>) -> Result<Option<Span>, Refusal> {
    let span: Option<Span> = members.parsed("answerWithin")?;
    if span.is_some_and(|span| span > LONGEST_ANSWER) {
        return Err(Refusal::invalid(members.at("answerWithin"), "a duration from PT1S to P7D"));
    }
    Ok(span)
}

/// `POST …/answer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The answer's id.
    pub message_id: MessageId,
    /// INTRODUCE if true, else DECLINE.
    pub accept: bool,
    /// `{code}` of a DECLINE, if sent.
    pub terms: Option<Json>,
    /// Its own proof, if not the header's.
    pub proof: Option<String>,
}

impl Answer {
    /// Reads the body.
    pub fn read(body: &Value) -> Result<Self, Refusal> {
        let mut members = Members::of("", Some(body))?;
        let message_id = members.required("messageId", "the message's id, a lower-case UUID v7")?;
        let accept = members.flag("accept")?;
        let accept = accept.ok_or_else(|| Refusal::invalid(members.at("accept"), "true or false"))?;
        let terms = if accept { None } else { terms(Performative::Decline, &["code"], &mut members)? };
        let proof = members.text("proof")?.map(str::to_owned);
        members.finish()?;
        Ok(Self { message_id, accept, terms, proof })
    }

    /// The message INTRODUCE or DECLINE; `asks` is what the session expects the caller's answer to name.
    #[must_use]
    pub fn into_message(self, session_id: SessionId, sender: ParticipantId, asks: ReferenceId) -> Message {
        Message {
            session_id,
            message_id: self.message_id,
            sender,
            performative: if self.accept { Performative::Introduce } else { Performative::Decline },
            reference_id: Some(asks),
            seen: None,
            terms: self.terms,
            parts: std::collections::BTreeMap::new(),
        }
    }
}

/// `POST …/ratings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rating {
    /// The rating's id.
    pub message_id: MessageId,
    /// `{rating, of?}`.
    pub terms: Option<Json>,
    /// The part `content`, if there is one.
    pub committed: Committed,
    /// Its own proof, if not the header's.
    pub proof: Option<String>,
}

impl Rating {
    /// Reads the body.
    pub fn read(body: &Value) -> Result<Self, Refusal> {
        let mut members = Members::of("", Some(body))?;
        let message_id = members.required("messageId", "the message's id, a lower-case UUID v7")?;
        let terms = terms(Performative::Rate, &["rating", "of"], &mut members)?;
        let mut open = Open::default();
        open.take(CONTENT, &mut members)?;
        let committed = open.commit(&mut members)?;
        let proof = members.text("proof")?.map(str::to_owned);
        members.finish()?;
        Ok(Self { message_id, terms, committed, proof })
    }

    /// The message RATE.
    #[must_use]
    pub fn into_message(self, session_id: SessionId, sender: ParticipantId) -> Message {
        Message {
            session_id,
            message_id: self.message_id,
            sender,
            performative: Performative::Rate,
            reference_id: None,
            seen: None,
            terms: self.terms,
            parts: self.committed.parts,
        }
    }
}

/// `POST /v1/asp/registry`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The agent.
    pub agent_id: AgentId,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// What it speaks; `asp/1.0` among them.
    pub protocols: Vec<String>,
    /// Where it is; absent: the cell's region.
    pub region: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// `visibility: "federated"`; otherwise only agents of the cell find it.
    pub federated: bool,
    /// Its public key.
    pub key: PublicKey,
}

impl Registration {
    /// Reads the body.
    pub fn read(body: &Value) -> Result<Self, Refusal> {
        let mut members = Members::of("", Some(body))?;
        let read = Self {
            agent_id: members.required("agentId", "agent://{organisation}/{name}, lower case")?,
            capabilities: capabilities(&mut members)?,
            protocols: protocols(&mut members)?,
            region: members.parsed::<CellId>("region")?.map(|region| region.to_string()),
            description: description(&mut members)?,
            federated: federated(&mut members)?,
            key: key(&mut members)?,
        };
        members.finish()?;
        Ok(read)
    }
}

fn capabilities(members: &mut Members<'_>) -> Result<Vec<Capability>, Refusal> {
    listed("capabilities", MAX_CAPABILITIES, members, parsed)
}

fn protocols(members: &mut Members<'_>) -> Result<Vec<String>, Refusal> {
    let at = members.at("protocols");
    let items = members.list("protocols")?.unwrap_or_default();
    let short = |name: &&str| (1..=MAX_PROTOCOLS).contains(&name.chars().count());
    let names: Option<Vec<String>> = items.iter().map(|item| item.as_str().filter(short).map(str::to_owned)).collect();
    let names = names.filter(|names| names.len() <= MAX_PROTOCOLS && names.iter().any(|name| name == PROTOCOL));
    names.ok_or_else(|| Refusal::invalid(at, format!("a list of protocols with {PROTOCOL} among them")))
}

fn description(members: &mut Members<'_>) -> Result<Option<String>, Refusal> {
    let text = members.text("description")?;
    if text.is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
        let expected = format!("at most {MAX_DESCRIPTION} characters");
        return Err(Refusal::invalid(members.at("description"), expected));
    }
    Ok(text.map(str::to_owned))
}

fn federated(members: &mut Members<'_>) -> Result<bool, Refusal> {
    match members.text("visibility")? {
        None | Some("cell") => Ok(false),
        Some("federated") => Ok(true),
        Some(_) => Err(Refusal::invalid(members.at("visibility"), "cell or federated")),
    }
}

fn key(members: &mut Members<'_>) -> Result<PublicKey, Refusal> {
    let at = members.at("jwk");
    let jwk = members.value("jwk").ok_or_else(|| Refusal::invalid(&at, "the agent's public key, a JWK"))?;
    PublicKey::from_jwk(jwk).map_err(|bad| Refusal::invalid(&at, bad.to_string()))
}

/// An agent id that must be the member `name`.
pub(super) fn required_agent(name: &'static str, members: &mut Members<'_>) -> Result<AgentId, Refusal> {
    members.required(name, "agent://{organisation}/{name}, lower case")
}

/// A list that must be there, of at most `most` entries, each read at its own place.
pub(super) fn listed<T>(
    name: &'static str,
    most: usize,
    members: &mut Members<'_>,
    read: impl Fn(&Value, &str) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let at = members.at(name);
    let items = members.list(name)?.filter(|items| items.len() <= most);
    let items = items.ok_or_else(|| Refusal::invalid(&at, format!("an array of at most {most}")))?;
    items.iter().enumerate().map(|(index, item)| read(item, &format!("{at}/{index}"))).collect()
}

/// A string that is a name.
pub(super) fn parsed<T: std::str::FromStr<Err = BadName>>(value: &Value, at: &str) -> Result<T, Refusal> {
    let text = value.as_str().ok_or_else(|| Refusal::invalid(at, "a string"))?;
    text.parse().map_err(|BadName(expected)| Refusal::invalid(at, expected))
}

/// The terms that a body spells out in members of its own; none of them sent: no terms.
fn terms(
    performative: Performative,
    names: &[&'static str],
    members: &mut Members<'_>,
) -> Result<Option<Json>, Refusal> {
    let sent = names.iter().filter_map(|name| Some(((*name).to_owned(), members.value(name)?.clone())));
    let terms = Value::Object(sent.collect());
    Terms::parse(performative, Some(&terms)).map_err(|refusal| moved(refusal, "/terms", ""))?;
    let none = terms.as_object().is_some_and(serde_json::Map::is_empty);
    Ok(if none { None } else { Some(Json::of(&terms)) })
}
