//! The participants of a session: who they are, where they are at home, and for whom they act.
//!
//! Knows participant ids only; which agent one is lies in erasable parts, kept by the engine.
//! Source: docs/spec/protocol.md sections 1 and 3, docs/spec/details.md section 3 ("DELEGATE `scope`").

use serde::{Deserialize, Serialize};

use crate::protocol::ids::{CellId, MessageId, OrgName, ParticipantId};
use crate::protocol::terms::Scope;
use crate::protocol::time::Timestamp;

/// How somebody came into the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Sent the INVITE.
    Inviter,
    /// Named in it.
    Invitee,
    /// Named in a DELEGATE.
    Delegate,
}

impl Role {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inviter => "inviter",
            Self::Invitee => "invitee",
            Self::Delegate => "delegate",
        }
    }
}

/// What a participant may do, as the table asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seat {
    /// The inviter.
    Inviter,
    /// An invitee who has not answered.
    Invited,
    /// An invitee who has.
    Invitee,
    /// A delegate who has not answered.
    Called,
    /// A delegate who has.
    Delegate,
    /// A delegator whose place was taken: only reads.
    Replaced,
    /// Nobody here, or no longer.
    Stranger,
}

impl Seat {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Inviter, Self::Invited, Self::Invitee, Self::Called, Self::Delegate, Self::Replaced, Self::Stranger];
}

/// Where an agent is at home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Its cell.
    pub cell: CellId,
    /// Its organisation.
    pub organisation: OrgName,
}

/// A participant's trust as this cell enforces it; each cell has its own word, so it is no part of the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The score its home cell published.
    pub score: f64,
    /// The score that `verified_by` enforces.
    pub effective: f64,
    /// The level that follows.
    pub level: u8,
    /// When the score was computed.
    pub as_of: Timestamp,
    /// The cell that verified it.
    pub verified_by: CellId,
}

/// What brought a delegate in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calling {
    /// The DELEGATE, which its answer references.
    pub message: MessageId,
    /// The delegator.
    pub by: ParticipantId,
    /// Beside or instead of the delegator.
    pub scope: Scope,
    /// Until when it may answer.
    pub answer_by: Timestamp,
    /// Whether earlier records are to be shown if all others agree.
    pub history: bool,
    /// Who has agreed to that.
    pub agreed: Vec<ParticipantId>,
}

/// One participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Participant {
    /// The only name of the agent in records.
    pub id: ParticipantId,
    /// Cell and organisation.
    pub home: Home,
    /// How it came in.
    pub role: Role,
    /// Whether it has answered yes (the inviter has from the start).
    pub joined: bool,
    /// Whether it declined or never answered: it is a stranger from then on.
    pub dropped: bool,
    /// Who took its place.
    pub replaced_by: Option<ParticipantId>,
    /// Whose place it took.
    pub replaces: Option<ParticipantId>,
    /// The first record it may read; 1 but for a delegate without history.
    pub reads_from: u64,
    /// What brought a delegate in.
    pub calling: Option<Calling>,
    /// Its trust, once known here.
    pub standing: Option<Standing>,
}

impl Participant {
    /// What it may do.
    #[must_use]
    pub const fn seat(&self) -> Seat {
        if self.dropped {
            return Seat::Stranger;
        }
        if self.replaced_by.is_some() {
            return Seat::Replaced;
        }
        match (self.role, self.joined) {
            (Role::Inviter, _) => Seat::Inviter,
            (Role::Invitee, false) => Seat::Invited,
            (Role::Invitee, true) => Seat::Invitee,
            (Role::Delegate, false) => Seat::Called,
            (Role::Delegate, true) => Seat::Delegate,
        }
    }

    /// Whether it may act: joined, and nobody took its place.
    #[must_use]
    pub const fn acts(&self) -> bool {
        self.joined && !self.dropped && self.replaced_by.is_none()
    }
}
