//! A session as a value: who takes part, where it stands, what may follow.
//!
//! [`Session::invite`] opens one, [`Session::judge`] says whether a message may be the next record,
//! [`Session::apply`] moves on by one record, [`Session::due`] tells what time alone has brought about. Whoever
//! replays the same records holds the same session. It knows no agents, keys, parts, clocks or money moved: those are
//! its callers'. Everything in it is bounded, because it is stored anew with each record.
//!
//! Order of `judge`: docs/spec/details.md section 1 "Order and retries", from the state to the trust score; what
//! comes before (shape, proof, idempotency) and after (ceilings, quotas, consent, escrow) is the engine's.
//! Source: docs/spec/protocol.md section 3, docs/spec/details.md sections 2 to 4.

mod act;
mod apply;
mod deadlines;
mod disputes;
mod held;
mod judge;
mod offers;
mod open;
mod party;
mod pledges;
mod rating;
mod references;
mod settle;
mod state;
mod system;
pub mod table;
mod view;

use serde::{Deserialize, Serialize};

pub use act::{Act, require_members};
pub use apply::{Changes, Event};
pub use disputes::{Dispute, Fine, MAX_DISPUTES, Penalty};
pub use judge::{Facts, History};
pub use offers::{Offer, OfferStatus, Offers};
pub use open::{Opening, Seated};
pub use party::{Calling, Home, Participant, Role, Seat, Standing};
pub use rating::Rating;
pub use state::State;
pub use view::Reader;

use super::commitment::Commitment;
use super::constraints::Constraints;
use super::ids::{CellId, CommitmentId, MessageId, ParticipantId, ReferenceId, SessionId};
use super::outcome::Outcome;
use super::time::{Span, Timestamp};
use crate::crypto::digest::Digest;

/// The most participants a session ever has, those who declined included.
pub const MAX_PARTICIPANTS: usize = 64;
/// The most commitments a session ever has.
pub const MAX_COMMITMENTS: usize = 1_000;
/// The most offers that stand accepted in a session.
pub const MAX_ACCEPTED: usize = 1_000;

/// The last record of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its place, from 1.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
    /// The host's clock.
    pub timestamp: Timestamp,
}

/// How long things may take; those of the host at INVITE (docs/spec/details.md section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// To answer an invitation or a DELEGATE.
    pub answer_within: Span,
    /// Silence that confirms a claim.
    pub review: Span,
    /// After a deadline; after the last commitment became final.
    pub grace: Span,
    /// To open a dispute after CLOSED.
    pub dispute: Span,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// The cell that orders it.
    pub host: CellId,
    /// 1 until it moves to another host.
    pub epoch: u64,
    /// What it is for.
    pub purpose: String,
    /// The constraints in force.
    pub constraints: Constraints,
    /// Its windows.
    pub windows: Windows,
    /// The inviter first, then the invitees as named, then delegates as they came.
    pub participants: Vec<Participant>,
    /// Where it stands.
    pub state: State,
    /// The state that ESCALATED returns to.
    pub saved: Option<State>,
    /// Whether the consent that carries it is gone: a host has recorded that, a member only knows it.
    pub suspended: bool,
    /// Its offers.
    pub offers: Offers,
    /// Its commitments, in the order of their COMMITs.
    pub commitments: Vec<Commitment>,
    /// Its last record.
    pub head: Head,
    /// LLM tokens that all participants said they spent.
    pub tokens: u64,
    /// When record 1 was written.
    pub opened_at: Timestamp,
    /// Until when invitees may answer.
    pub answer_by: Timestamp,
    /// When it became CLOSED or FAILED.
    pub closed_at: Option<Timestamp>,
    /// The derived outcome of a CLOSED session.
    pub outcome: Option<Outcome>,
    /// Ratings given, those of a CLOSE included.
    pub ratings: Vec<Rating>,
    /// Disputes opened, in their order.
    pub disputes: Vec<Dispute>,
    /// The INVITE.
    invite: MessageId,
    /// The message that set the constraints in force, which answers reference.
    in_force: MessageId,
    /// What each invitee last asked the constraints to be: the digest of their text.
    asked: Vec<(ParticipantId, Digest)>,
    /// When it last left ESCALATED.
    resumed_at: Option<Timestamp>,
    /// Since when every commitment has been final, in EXECUTING.
    final_since: Option<Timestamp>,
}

impl Session {
    /// When `maxDuration` ends.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.opened_at + self.constraints.max_duration
    }

    /// The participant of that id.
    #[must_use]
    pub fn participant(&self, id: ParticipantId) -> Option<&Participant> {
        self.participants.iter().find(|participant| participant.id == id)
    }

    /// What somebody may do here.
    #[must_use]
    pub fn seat(&self, id: ParticipantId) -> Seat {
        self.participant(id).map_or(Seat::Stranger, Participant::seat)
    }

    /// The message that an answer of this participant must reference; none if no answer is expected of it.
    #[must_use]
    pub fn asks(&self, id: ParticipantId) -> Option<MessageId> {
        match self.seat(id) {
            Seat::Invited if self.state == State::Invited => Some(self.in_force),
            Seat::Called if !self.state.is_final() => self.participant(id)?.calling.as_ref().map(|call| call.message),
            Seat::Inviter
            | Seat::Invited
            | Seat::Invitee
            | Seat::Called
            | Seat::Delegate
            | Seat::Replaced
            | Seat::Stranger => None,
        }
    }

    /// The commitment of that name.
    #[must_use]
    pub fn commitment(&self, id: CommitmentId) -> Option<&Commitment> {
        self.commitments.iter().find(|commitment| commitment.id == id)
    }

    /// The INVITE's message.
    #[must_use]
    pub const fn invite_message(&self) -> MessageId {
        self.invite
    }

    /// Whom this DELEGATE called.
    #[must_use]
    pub fn called_by(&self, message: MessageId) -> Option<ParticipantId> {
        let called = |p: &&Participant| p.calling.as_ref().is_some_and(|calling| calling.message == message);
        self.participants.iter().find(called).map(|participant| participant.id)
    }

    /// For whom somebody acts: itself, or whoever's place it took.
    #[must_use]
    pub fn principal(&self, id: ParticipantId) -> ParticipantId {
        let mut principal = id;
        for _ in 0..MAX_PARTICIPANTS {
            match self.participant(principal).and_then(|participant| participant.replaces) {
                Some(replaced) => principal = replaced,
                None => break,
            }
        }
        principal
    }

    /// Whether the two act for the same.
    fn same_party(&self, one: ParticipantId, other: ParticipantId) -> bool {
        self.principal(one) == self.principal(other)
    }

    /// The commitment that a reference names, by its own name or its COMMIT's.
    fn referenced(&self, reference: ReferenceId) -> Option<&Commitment> {
        self.commitments.iter().find(|commitment| commitment.message.0 == reference.0 || commitment.id.0 == reference.0)
    }
}
