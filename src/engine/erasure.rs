//! What is kept of a request for erasure and of an operator's hold: rows that name nobody who can be erased.
//!
//! Source: docs/spec/federation.md section 4, docs/spec/details.md section 10 and S12.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::crypto::digest::Digest;
use crate::protocol::ids::{CellId, MessageId, OrgName, ParticipantId, SessionId};
use crate::protocol::time::Timestamp;
use crate::store::Table;
use crate::vault::Tag;
use crate::wire::frame::Item;

/// Requests for erasure that are not at their end: work to be done, or an answer to come.
pub const UNFINISHED: Table<[u8; 16], ()> = Table::new("unfinished");
/// Requests by the data subjects whose parts they concern, under their tags, and the sessions these were listed in; the
/// nil id with a subject's own request, wherever it finds something.
pub const OF_SUBJECT: Table<(Tag, [u8; 16], SessionId), ()> = Table::new("erased_of");
/// Requests by the sessions they were carried out in.
pub const IN_SESSION: Table<(SessionId, [u8; 16]), ()> = Table::new("erased_in");
/// Operators' holds in force.
pub const HOLDS: Table<[u8; 16], Hold> = Table::new("holds");
/// The same by session.
pub const HELD: Table<(SessionId, [u8; 16]), ()> = Table::new("held");

/// The sessions an agent sits or sat in, wherever it is at home, and as whom: all that its secret may reach.
pub const SAT: Table<(Tag, SessionId), ParticipantId> = Table::new("sat");

/// An operator's hold on a session: nothing of it is erased while it is in force.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hold {
    /// The session.
    pub session: SessionId,
    /// Why, in the operator's words.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// What is to be erased, as it is kept until that is done: the database forgets nothing, so it is told no names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// An organisation's share of a session.
    Session(SessionId),
    /// A message of a session with all that can be erased of it, or one of its parts.
    Message(SessionId, MessageId, Option<String>),
    /// A data subject: the request's tag says which.
    Subject,
    /// An agent, by its tag in keys.
    Agent(Tag),
    /// All that the organisation has here.
    Organisation,
    /// What a peer's orders name, and whether part by part.
    Ordered(Vec<(bool, Item)>),
    /// Parts of messages of a session, kept as long as agreed.
    Parts(SessionId, Vec<(MessageId, Vec<String>)>),
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It waits for `erase approve`.
    Approval,
    /// It is to be carried out, as soon as no hold is in its way.
    Intent,
    /// What outlives it is sealed under other secrets; the old ones are to be destroyed.
    Moved,
    /// It is carried out, but for what a hold defers.
    Done,
}

/// What a hold keeps of a session for the time being.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// The secrets to be destroyed when it ends.
    pub secrets: Vec<Tag>,
    /// `operator`, `dispute`, `escrow`.
    pub held_by: Vec<String>,
    /// The forgotten agents whose way to it ends then.
    pub seats: Vec<Tag>,
}

/// What an erasure found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Parts of which a copy is gone.
    pub parts: u64,
    /// Boxes of which a copy is gone.
    pub boxes: u64,
    /// SHA-256 of each destroyed slot as it reads now.
    pub slots: BTreeSet<Digest>,
    /// The chain's head in each session concerned.
    pub heads: BTreeMap<SessionId, Digest>,
}

impl Done {
    /// Whether there was nothing to erase. A slot that was destroyed before still tells of it.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.parts == 0 && self.boxes == 0
    }
}

/// What a peer said to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing yet.
    Overdue,
    /// That it is done: JWS of kind `erasure`.
    Certified(String),
    /// That it is not, and why: JWS of kind `erasure`.
    Refused(String),
}

/// A request for erasure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Erasure {
    /// Whose data.
    pub organisation: OrgName,
    /// What; `None` once nothing of it is left to do.
    pub scope: Option<Target>,
    /// The word for it in the certificate.
    pub kind: String,
    /// The peer that ordered it.
    pub ordered: Option<CellId>,
    /// The orders it came by, as digests: one that comes again is answered again.
    pub orders: BTreeSet<Digest>,
    /// The keyed tag of the scope.
    pub tag: Tag,
    /// The legal ground given.
    pub ground: String,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// How far it is.
    pub stage: Stage,
    /// Sessions it is carried out in now.
    pub sessions: BTreeSet<SessionId>,
    /// Secrets to be destroyed now.
    pub doomed: Vec<Tag>,
    /// Sessions under a hold.
    pub deferred: BTreeMap<SessionId, Deferred>,
    /// What was done.
    pub done: Done,
    /// This cell's certificate once done: JWS of kind `erasure`.
    pub certificate: Option<String>,
    /// This cell's refusal of a peer's order that is wholly under a hold: JWS of kind `erasure`.
    pub refusal: Option<String>,
    /// Cells that must erase too, each with its answer.
    pub recipients: BTreeMap<CellId, Answer>,
}

impl Erasure {
    /// The grounds on which anything of it is held back: each word once, in the order of the contract.
    #[must_use]
    pub fn held_by(&self) -> Vec<&'static str> {
        let held = |word: &&str| self.deferred.values().any(|deferred| deferred.held_by.iter().any(|by| by == word));
        super::holds::GROUNDS.into_iter().filter(held).collect()
    }

    /// Whether it is wholly held back: nothing of it was done.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.stage == Stage::Intent && !self.deferred.is_empty()
    }

    /// Whether nothing of it is to be done or waited for.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.stage == Stage::Done && self.deferred.is_empty() && self.overdue() == 0
    }

    /// How many peers owe an answer.
    #[must_use]
    pub fn overdue(&self) -> usize {
        self.recipients.values().filter(|answer| **answer == Answer::Overdue).count()
    }
}
