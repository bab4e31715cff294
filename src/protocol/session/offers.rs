//! The offers of a session: one open for each author, those accepted, and a bounded memory of the dead.
//!
//! Only its author supersedes an offer; the first ACCEPT binds. Source: docs/spec/protocol.md section 3,
//! docs/spec/details.md section 4.

use serde::{Deserialize, Serialize};

use crate::protocol::ids::{MessageId, ParticipantId};
use crate::protocol::money::Money;
use crate::protocol::terms::Offered;
use crate::protocol::time::Timestamp;

/// How many offers that lead nowhere any more are still shown; older ones are forgotten, and naming one is refused
/// like naming any message that is no open offer.
pub const REMEMBERED: usize = 256;

/// How an offer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OfferStatus {
    /// May be answered, until it expires.
    Open,
    /// Its author made a newer one.
    Superseded,
    /// Binding between author and accepter.
    Accepted,
    /// Another party rejected it, for all.
    Rejected,
    /// Its author took it back.
    Withdrawn,
}

impl OfferStatus {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Superseded => "superseded",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// One offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its PROPOSE or COUNTER.
    pub message: MessageId,
    /// Who made it.
    pub author: ParticipantId,
    /// How it stands.
    pub status: OfferStatus,
    /// Who accepted it.
    pub accepter: Option<ParticipantId>,
    /// The price.
    pub money: Option<Money>,
    /// The latest deadline of a delivery that carries it out.
    pub deliver_by: Option<Timestamp>,
    /// The last moment at which it may be answered.
    pub valid_until: Option<Timestamp>,
}

impl Offer {
    /// Whether its time has passed; being open it stays so on record.
    #[must_use]
    pub fn has_expired(&self, at: Timestamp) -> bool {
        self.status == OfferStatus::Open && self.valid_until.is_some_and(|until| at > until)
    }

    /// The status as shown at a moment.
    #[must_use]
    pub fn shown(&self, at: Timestamp) -> &'static str {
        if self.has_expired(at) { "expired" } else { self.status.name() }
    }
}

/// All offers of a session, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers(Vec<Offer>);

impl Offers {
    /// All that are remembered.
    #[must_use]
    pub fn all(&self) -> &[Offer] {
        &self.0
    }

    /// The offer made by this message.
    #[must_use]
    pub fn get(&self, message: MessageId) -> Option<&Offer> {
        self.0.iter().find(|offer| offer.message == message)
    }

    /// Those accepted.
    pub fn accepted(&self) -> impl Iterator<Item = &Offer> {
        self.0.iter().filter(|offer| offer.status == OfferStatus::Accepted)
    }

    /// Adds an offer; the open ones of the same author, as `same` tells, are superseded and returned.
    pub fn add(
        &mut self,
        message: MessageId,
        author: ParticipantId,
        offered: &Offered,
        same: impl Fn(ParticipantId) -> bool,
    ) -> Vec<MessageId> {
        let mut superseded = Vec::new();
        for offer in self.0.iter_mut().filter(|offer| offer.status == OfferStatus::Open && same(offer.author)) {
            offer.status = OfferStatus::Superseded;
            superseded.push(offer.message);
        }
        self.0.push(Offer {
            message,
            author,
            status: OfferStatus::Open,
            accepter: None,
            money: offered.money,
            deliver_by: offered.deliver_by,
            valid_until: offered.valid_until,
        });
        self.forget();
        superseded
    }

    /// Sets how an offer stands.
    pub fn mark(&mut self, message: MessageId, status: OfferStatus, accepter: Option<ParticipantId>) {
        if let Some(offer) = self.0.iter_mut().find(|offer| offer.message == message) {
            offer.status = status;
            offer.accepter = accepter;
        }
        self.forget();
    }

    /// Drops the oldest dead offers beyond [`REMEMBERED`].
    fn forget(&mut self) {
        let dead = |offer: &Offer| match offer.status {
            OfferStatus::Superseded | OfferStatus::Rejected | OfferStatus::Withdrawn => true,
            OfferStatus::Open | OfferStatus::Accepted => false,
        };
        let mut beyond = self.0.iter().filter(|offer| dead(offer)).count().saturating_sub(REMEMBERED);
        self.0.retain(|offer| {
            let drop = beyond > 0 && dead(offer);
            beyond -= usize::from(drop);
            !drop
        });
    }
}
