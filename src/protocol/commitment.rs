//! A commitment and its life: pending, accepted, claimed, settled, and the ways it ends otherwise.
//!
//! A value with its own moves; who may make them, and when, is `session`'s business. Knows nothing of money moved.
//! Source: docs/spec/protocol.md section 4, docs/spec/details.md section 4.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::escrow::{Held, HeldState};
use super::ids::{BadName, CommitmentId, DisputeId, MessageId, ParticipantId};
use super::money::Money;
use super::terms::Pledge;
use super::time::{Span, Timestamp};
use crate::crypto::digest::Digest;

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words of docs/spec/protocol.md section 3")]
pub enum Kind {
    Action,
    Delivery,
    Payment,
    Information,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Action, Self::Delivery, Self::Payment, Self::Information];

    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Delivery => "delivery",
            Self::Payment => "payment",
            Self::Information => "information",
        }
    }
}

impl FromStr for Kind {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let expected = BadName("action, delivery, payment or information");
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(expected)
    }
}

/// Where a commitment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Made; the beneficiary has not accepted it.
    Pending,
    /// Binding.
    Accepted,
    /// Binding, and its money is held.
    Escrowed,
    /// Its obligor says that it is fulfilled.
    Claimed,
    /// Confirmed; passes to settled in the same step.
    Fulfilled,
    /// Done.
    Settled,
    /// The fulfilment was rejected.
    Contested,
    /// The beneficiary refused it.
    Rejected,
    /// Taken back before acceptance, replaced, refunded, or ended with its session.
    Withdrawn,
    /// Deadline and grace passed without a claim, or found so in a dispute.
    Breached,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Accepted,
        Self::Escrowed,
        Self::Claimed,
        Self::Fulfilled,
        Self::Settled,
        Self::Contested,
        Self::Rejected,
        Self::Withdrawn,
        Self::Breached,
    ];

    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Escrowed => "escrowed",
            Self::Claimed => "claimed",
            Self::Fulfilled => "fulfilled",
            Self::Settled => "settled",
            Self::Contested => "contested",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Breached => "breached",
        }
    }

    /// Whether nothing follows (docs/spec/details.md section 4 "Final").
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Settled | Self::Rejected | Self::Withdrawn | Self::Breached => true,
            Self::Pending | Self::Accepted | Self::Escrowed | Self::Claimed | Self::Fulfilled | Self::Contested => {
                false
            }
        }
    }

    /// Whether it was taken out of the reckoning: neither kept nor broken.
    #[must_use]
    pub const fn left_out(self) -> bool {
        match self {
            Self::Rejected | Self::Withdrawn => true,
            Self::Pending
            | Self::Accepted
            | Self::Escrowed
            | Self::Claimed
            | Self::Fulfilled
            | Self::Settled
            | Self::Contested
            | Self::Breached => false,
        }
    }

    /// Whether it is made or binding, and nobody has claimed its fulfilment.
    #[must_use]
    pub const fn is_unclaimed(self) -> bool {
        match self {
            Self::Pending | Self::Accepted | Self::Escrowed => true,
            Self::Claimed
            | Self::Fulfilled
            | Self::Settled
            | Self::Contested
            | Self::Rejected
            | Self::Withdrawn
            | Self::Breached => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A FULFILL: the claim that the beneficiary confirms or contests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The FULFILL's message.
    pub message: MessageId,
    /// When it was recorded.
    pub at: Timestamp,
    /// Whether the beneficiary turned it down.
    pub rejected: bool,
}

/// The first REJECT of a fulfilment, whose dispute decides on this commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The dispute, named like the REJECT.
    pub dispute: DisputeId,
    /// Who sent it.
    pub by: ParticipantId,
}

/// A breach as it is booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// 1 late but inside grace, 2 deadline missed, higher ones by a dispute (docs/spec/protocol.md section 5).
    pub severity: u8,
    /// When it was recorded.
    pub at: Timestamp,
}

/// A commitment of one participant to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// Its name.
    pub id: CommitmentId,
    /// What is promised.
    pub kind: Kind,
    /// Who promised: the sender of the COMMIT.
    pub obligor: ParticipantId,
    /// To whom.
    pub beneficiary: ParticipantId,
    /// Until when.
    pub deadline: Timestamp,
    /// What it is worth.
    pub money: Option<Money>,
    /// `escrow` as the COMMIT had it.
    pub escrow: Option<bool>,
    /// The commitment whose confirmation releases it.
    pub depends_on: Option<CommitmentId>,
    /// The commitment it takes the place of once accepted.
    pub replaces: Option<CommitmentId>,
    /// The accepted offer it carries out, as named or found.
    pub offer: Option<MessageId>,
    /// Its COMMIT.
    pub message: MessageId,
    /// The COMMIT's place.
    pub sequence: u64,
    /// The COMMIT's hash.
    pub hash: Digest,
    /// Where it stands.
    pub status: Status,
    /// The last FULFILL.
    pub claim: Option<Claim>,
    /// The first REJECT of a FULFILL.
    pub rejection: Option<Rejection>,
    /// The breach, if one was booked.
    pub breach: Option<Breach>,
    /// Its money, if it was held.
    pub held: Option<Held>,
}

impl Commitment {
    /// A commitment as its COMMIT makes it, pending.
    #[must_use]
    pub fn made(pledge: &Pledge, obligor: ParticipantId, message: MessageId, sequence: u64, hash: Digest) -> Self {
        Self {
            id: pledge.commitment,
            kind: pledge.kind,
            obligor,
            beneficiary: pledge.beneficiary,
            deadline: pledge.deadline,
            money: pledge.money,
            escrow: pledge.escrow,
            depends_on: pledge.depends_on,
            replaces: pledge.replaces,
            offer: None,
            message,
            sequence,
            hash,
            status: Status::Pending,
            claim: None,
            rejection: None,
            breach: None,
            held: None,
        }
    }

    /// The money that is still locked.
    #[must_use]
    pub fn locked(&self) -> Option<(Money, HeldState)> {
        self.money.zip(self.held.as_ref().map(|held| held.state).filter(|state| state.is_open()))
    }

    /// FULFILL: the first claims; one after a rejection waits for ACCEPT and leaves it contested.
    pub fn claim(&mut self, message: MessageId, at: Timestamp) {
        self.claim = Some(Claim { message, at, rejected: false });
        if self.status != Status::Contested {
            self.status = Status::Claimed;
        }
    }

    /// REJECT of the claim.
    pub fn contest(&mut self, reject: MessageId, by: ParticipantId) {
        self.status = Status::Contested;
        self.rejection.get_or_insert(Rejection { dispute: DisputeId(reject.0), by });
        if let Some(claim) = &mut self.claim {
            claim.rejected = true;
        }
    }

    /// The claim that waits for an answer.
    #[must_use]
    pub fn standing_claim(&self) -> Option<Claim> {
        let open = matches!(self.status, Status::Claimed | Status::Contested);
        self.claim.filter(|claim| open && !claim.rejected)
    }

    /// The claim is confirmed: through fulfilled to settled at once; one sent after the deadline books severity 1.
    pub fn confirm(&mut self, at: Timestamp) {
        self.status = Status::Settled;
        if self.claim.is_some_and(|claim| claim.at > self.deadline) {
            self.breach = Some(Breach { severity: 1, at });
        }
    }

    /// Deadline and grace have passed without a claim: severity 2; what was never accepted is withdrawn.
    pub fn miss(&mut self, at: Timestamp) {
        if self.status == Status::Pending {
            self.status = Status::Withdrawn;
        } else {
            self.status = Status::Breached;
            self.breach = Some(Breach { severity: 2, at });
        }
    }

    /// The last moment at which FULFILL is accepted; `resumed` is when the session last left ESCALATED.
    #[must_use]
    pub fn fulfil_until(&self, grace: Span, resumed: Option<Timestamp>) -> Timestamp {
        later_of(self.deadline + grace, resumed.map(|at| at + grace))
    }

    /// When silence confirms a standing claim, and the last moment at which it may be rejected.
    #[must_use]
    pub fn review_until(&self, window: Span, grace: Span, resumed: Option<Timestamp>) -> Option<Timestamp> {
        let claim = self.claim.filter(|_| self.status == Status::Claimed)?;
        Some(later_of(claim.at + window, resumed.map(|at| at + grace)))
    }
}

fn later_of(moment: Timestamp, other: Option<Timestamp>) -> Timestamp {
    other.map_or(moment, |other| moment.max(other))
}
