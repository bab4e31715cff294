//! A stage for session tests: participants with short names, messages with counted ids, a clock that is moved by hand.
//!
//! Plays the host: what falls due is applied before each message is judged, and what is judged well is applied.

#![allow(dead_code, reason = "each test uses its own part of this module")]

use std::collections::BTreeMap;

use asp_cell::crypto::digest::Digest;
use asp_cell::crypto::es256::SigningKey;
use asp_cell::protocol::ids::{CommitmentId, MessageId, ParticipantId, ReferenceId};
use asp_cell::protocol::json::Json;
use asp_cell::protocol::message::{Message, Part, Seen};
use asp_cell::protocol::performative::Performative;
use asp_cell::protocol::refusal::Refusal;
use asp_cell::protocol::session::{
    Act, Changes, Event, Facts, Head, History, Home, Opening, Seated, Session, State, Windows,
};
use asp_cell::protocol::statement::Statement as _;
use asp_cell::protocol::terms::{Body, SystemEvent};
use asp_cell::protocol::time::{Span, Timestamp};
use serde_json::{Value, json};

/// A session on its host, with all that was recorded.
#[derive(Clone)]
pub struct Scene {
    pub session: Session,
    pub now: Timestamp,
    pub records: Vec<(Event, Head)>,
    pub changes: Vec<Changes>,
    pub score: Option<f64>,
    log: Log,
    next: u64,
}

#[derive(Clone, Default)]
struct Log {
    hashes: BTreeMap<u64, Digest>,
    places: BTreeMap<MessageId, u64>,
}

impl History for Log {
    fn hash_at(&self, sequence: u64) -> Option<Digest> {
        self.hashes.get(&sequence).copied()
    }
    fn sequence_of(&self, message: MessageId) -> Option<u64> {
        self.places.get(&message).copied()
    }
}

/// A participant by number: 0 is the inviter, 1… the invitees, 20… delegates.
pub fn party(number: u64) -> ParticipantId {
    format!("00000000-0000-4000-8000-{number:012x}").parse().expect("a UUID v4")
}

/// A message by number.
pub fn message_id(number: u64) -> MessageId {
    format!("019ce66c-0000-7000-8000-{number:012x}").parse().expect("a UUID v7")
}

/// A commitment by number.
pub fn commitment_id(number: u64) -> CommitmentId {
    format!("019ce66c-1111-7000-8000-{number:012x}").parse().expect("a UUID v7")
}

pub fn reference(id: MessageId) -> ReferenceId {
    id.into()
}

pub fn commitment_reference(number: u64) -> ReferenceId {
    ReferenceId(commitment_id(number).0)
}

pub fn hours(hours: i64) -> Span {
    Span::seconds(hours * 3600)
}

fn hash(sequence: u64) -> Digest {
    Digest::of(&[&sequence.to_be_bytes()])
}

/// Everybody is at home in an organisation of their own, even parties in one cell, odd ones in another.
pub fn home(number: u64) -> Home {
    let cell = if number.is_multiple_of(2) { "eu-west-1" } else { "us-east-1" };
    Home {
        cell: cell.parse().expect("a cell"),
        organisation: format!("org{number}.example").parse().expect("an organisation"),
    }
}

pub const START: Timestamp = Timestamp(1_773_392_400_000);

impl Scene {
    /// An invitation of so many invitees, not answered.
    pub fn invited(invitees: u64, constraints: Value) -> Self {
        Self::invite(invitees, constraints, None).expect("a good INVITE")
    }

    pub fn invite(invitees: u64, constraints: Value, score: Option<f64>) -> Result<Self, Refusal> {
        let message =
            message(1, 0, Performative::Invite, None, Some(json!({"purpose": "test", "constraints": constraints})));
        let head = Head { sequence: 1, hash: hash(1), timestamp: START };
        let act = Act::of(&message)?;
        let standing = |score: f64| asp_cell::protocol::session::Standing {
            score,
            effective: score,
            level: 1,
            as_of: START,
            verified_by: home(0).cell,
        };
        let seat = |n: u64| Seated { id: party(n), home: home(n), standing: score.filter(|_| n == 0).map(standing) };
        let windows =
            Windows { answer_within: Span::seconds(30), review: hours(72), grace: hours(24), dispute: Span::days(30) };
        let opening = Opening {
            id: "019ce66c-2222-7000-8000-000000000000".parse().expect("a UUID v7"),
            host: home(0).cell,
            participants: (0..=invitees).map(seat).collect(),
            windows,
            head,
        };
        let session = Session::invite(&act, opening)?;
        let mut log = Log::default();
        log.hashes.insert(1, hash(1));
        log.places.insert(message.message_id, 1);
        Ok(Self { session, now: START, records: vec![], changes: vec![], score: None, log, next: 2 })
    }

    /// Two parties, introduced.
    pub fn introduced(constraints: Value) -> Self {
        let mut scene = Self::invited(1, constraints);
        scene.tell(1, Performative::Introduce, Some(reference(message_id(1))), None);
        scene
    }

    /// Two parties, one message in.
    pub fn conversing(constraints: Value) -> Self {
        let mut scene = Self::introduced(constraints);
        scene.tell(0, Performative::Query, None, None);
        scene
    }

    /// The host's way with a message: what is due first, then judge, then apply.
    pub fn send(
        &mut self,
        sender: u64,
        performative: Performative,
        reference: Option<ReferenceId>,
        terms: Option<Value>,
    ) -> Result<MessageId, Refusal> {
        self.catch_up();
        let message = self.draft(sender, performative, reference, terms);
        self.place(&message)
    }

    /// A message as [`Scene::send`] would send it, seen up to the head where that is needed.
    pub fn draft(
        &mut self,
        sender: u64,
        performative: Performative,
        reference: Option<ReferenceId>,
        terms: Option<Value>,
    ) -> Message {
        let mut message = message(self.next, sender, performative, reference, terms);
        self.next += 1;
        if performative.needs_seen() {
            let head = self.session.head;
            message.seen = Some(Seen { sequence: head.sequence, hash: head.hash });
        }
        if performative == Performative::Delegate {
            message.parts.insert("delegate".into(), part(json!("agent://org20.example/helper")));
        }
        message
    }

    pub fn place(&mut self, message: &Message) -> Result<MessageId, Refusal> {
        let mut act = Act::of(message)?;
        if let Body::Delegate(call) = &act.terms.body {
            act.newcomer = Some(home((call.delegate.0.as_u128() & 0xffff) as u64));
        }
        let escrow = message.terms.as_ref().is_some_and(|terms| terms.value()["escrow"] == json!(true));
        if escrow {
            act.hold = self.session.hold_of(&act, self.now).map(|hold| hold.sign(holder()));
        }
        let facts = Facts { history: &self.log, score: self.score };
        self.session.judge(&act, self.now, &facts)?;
        self.session.check_hold(&act)?;
        self.record(Event::Act(Box::new(act)), message.message_id);
        Ok(message.message_id)
    }

    /// Sends what must be accepted.
    pub fn tell(
        &mut self,
        sender: u64,
        performative: Performative,
        reference: Option<ReferenceId>,
        terms: Option<Value>,
    ) -> MessageId {
        self.send(sender, performative, reference, terms).unwrap_or_else(|refusal| panic!("{performative}: {refusal}"))
    }

    /// Sends what must be refused.
    pub fn refused(
        &mut self,
        sender: u64,
        performative: Performative,
        reference: Option<ReferenceId>,
        terms: Option<Value>,
    ) -> Refusal {
        let before = self.session.clone();
        match self.send(sender, performative, reference, terms) {
            Ok(_) => panic!("{performative} was accepted in {}", before.state),
            Err(refusal) => refusal,
        }
    }

    /// Lets time pass, and applies what falls due; the names of the events.
    pub fn pass(&mut self, span: Span) -> Vec<&'static str> {
        self.now = self.now + span;
        self.catch_up()
    }

    /// What still falls due after the end stands beside the chain, and is no record.
    fn catch_up(&mut self) -> Vec<&'static str> {
        let mut names = Vec::new();
        while let Some(event) = self.session.due(self.now).filter(|_| !self.session.state.is_final()) {
            names.push(event.name());
            self.host(event).expect("what is due can be derived");
        }
        names
    }

    /// A system record of the host.
    pub fn host(&mut self, event: SystemEvent) -> Result<(), Refusal> {
        self.session.derivable(&event, self.now)?;
        let id = message_id(self.next);
        self.next += 1;
        self.record(Event::System(event), id);
        Ok(())
    }

    fn record(&mut self, event: Event, id: MessageId) {
        let sequence = self.session.head.sequence + 1;
        let head = Head { sequence, hash: hash(sequence), timestamp: self.now };
        self.log.hashes.insert(sequence, head.hash);
        self.log.places.insert(id, sequence);
        let changes = self.session.apply(&event, head);
        self.records.push((event, head));
        self.changes.push(changes);
    }

    pub fn history(&self) -> &dyn History {
        &self.log
    }

    pub fn state(&self) -> State {
        self.session.state
    }

    /// Where a commitment stands.
    pub fn status(&self, number: u64) -> &'static str {
        self.session.commitment(commitment_id(number)).expect("a commitment").status.name()
    }

    /// PROPOSE, answered by ACCEPT: the offer.
    pub fn deal(&mut self, author: u64, accepter: u64, terms: Value) -> MessageId {
        let offer = self.tell(author, Performative::Propose, None, Some(terms));
        self.tell(accepter, Performative::Accept, Some(reference(offer)), None);
        offer
    }
}

/// The key of every cell here.
fn holder() -> &'static SigningKey {
    static KEY: std::sync::OnceLock<SigningKey> = std::sync::OnceLock::new();
    KEY.get_or_init(|| SigningKey::from_scalar(&[7; 32]).expect("a scalar"))
}

/// The terms of a COMMIT whose money is held until another commitment is confirmed.
pub fn escrowed(number: u64, beneficiary: u64, amount: &str, depends_on: u64) -> Value {
    let mut terms = payment(number, beneficiary, amount);
    terms["escrow"] = json!(true);
    terms["dependsOn"] = json!(commitment_id(depends_on));
    terms
}

/// The terms of a COMMIT that is due a day after the start.
pub fn pledge(number: u64, kind: &str, beneficiary: u64) -> Value {
    json!({
        "commitmentId": commitment_id(number),
        "kind": kind,
        "beneficiary": party(beneficiary),
        "deadline": START + hours(24),
    })
}

/// The same with an amount in USD.
pub fn payment(number: u64, beneficiary: u64, amount: &str) -> Value {
    let mut terms = pledge(number, "payment", beneficiary);
    terms["amount"] = json!(amount);
    terms["currency"] = json!("USD");
    terms
}

pub fn part(value: Value) -> Part {
    Part { commitment: Digest::default(), salt: Digest::default(), value: Json::of(&value), subject: None }
}

fn message(
    number: u64,
    sender: u64,
    performative: Performative,
    reference: Option<ReferenceId>,
    terms: Option<Value>,
) -> Message {
    Message {
        session_id: "019ce66c-2222-7000-8000-000000000000".parse().expect("a UUID v7"),
        message_id: message_id(number),
        sender: party(sender),
        performative,
        reference_id: reference,
        seen: None,
        terms: terms.as_ref().map(Json::of),
        parts: BTreeMap::new(),
    }
}
