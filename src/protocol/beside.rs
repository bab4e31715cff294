//! What agents sign beside the chain: ratings and disputes.
//!
//! Each is proven like a message and erasable like one, has an id of its own and no place in the chain: the host says
//! after which record it came, which is the same in every cell. Source: docs/spec/details.md sections 1, 3 and 6.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::class::DataClass;
use super::dispute::Filing;
use super::envelope::Envelope;
use super::ids::{MessageId, ParticipantId, SessionId};
use super::json::Json;
use super::message::Message;
use super::performative::Performative;
use super::refusal::Refusal;
use super::session::Act;
use super::time::Timestamp;
use crate::crypto::digest::Digest;

/// One thing signed beside the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Beside {
    /// A RATE.
    Rating(Rated),
    /// A dispute as it was filed.
    Dispute(Box<Filing>),
}

/// A RATE as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rated {
    /// The session.
    pub session_id: SessionId,
    /// Drawn by who rates.
    pub message_id: MessageId,
    /// Who rates.
    pub sender: ParticipantId,
    /// `{rating, of?}`.
    pub terms: Option<Json>,
    /// The commitments of its parts.
    pub parts: BTreeMap<String, Digest>,
}

/// Where something beside the chain stands in the order of its session, by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The sequence of the record it came after.
    pub after: u64,
    /// The host's clock.
    pub at: Timestamp,
}

impl Beside {
    /// The session it is of.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        match self {
            Self::Rating(rated) => rated.session_id,
            Self::Dispute(filing) => filing.session_id,
        }
    }

    /// Its id: unique among the messages of the session.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        match self {
            Self::Rating(rated) => rated.message_id,
            Self::Dispute(filing) => MessageId(filing.dispute_id.0),
        }
    }

    /// Who signed it.
    #[must_use]
    pub const fn sender(&self) -> ParticipantId {
        match self {
            Self::Rating(rated) => rated.sender,
            Self::Dispute(filing) => filing.sender,
        }
    }

    /// The commitments of its parts.
    #[must_use]
    pub const fn parts(&self) -> &BTreeMap<String, Digest> {
        match self {
            Self::Rating(rated) => &rated.parts,
            Self::Dispute(filing) => &filing.parts,
        }
    }

    /// The RFC 8785 text whose hash is the proof's `asp_hash`.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Rating(rated) => Envelope::of_rating(rated).text().to_owned(),
            Self::Dispute(filing) => filing.envelope(),
        }
    }

    /// The hash of [`Beside::text`].
    #[must_use]
    pub fn envelope(&self) -> Digest {
        Digest::of(&[self.text().as_bytes()])
    }

    /// The path that its proof names.
    #[must_use]
    pub fn path(&self) -> String {
        let call = match self {
            Self::Rating(_) => "ratings",
            Self::Dispute(_) => "disputes",
        };
        format!("/v1/asp/sessions/{}/{call}", self.session())
    }

    /// The class that must be covered for it to go anywhere, beside `metadata` (docs/spec/details.md section 8).
    #[must_use]
    pub const fn class(&self) -> Option<DataClass> {
        match self {
            Self::Rating(_) => None,
            Self::Dispute(_) => Some(DataClass::Dispute),
        }
    }
}

impl Rated {
    /// The message RATE, without its part.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        Self {
            session_id: message.session_id,
            message_id: message.message_id,
            sender: message.sender,
            terms: message.terms.clone(),
            parts: message.parts.iter().map(|(name, part)| (name.clone(), part.commitment)).collect(),
        }
    }

    /// The act that the session judges.
    pub fn act(&self) -> Result<Act, Refusal> {
        Act::of(&Message {
            session_id: self.session_id,
            message_id: self.message_id,
            sender: self.sender,
            performative: Performative::Rate,
            reference_id: None,
            seen: None,
            terms: self.terms.clone(),
            parts: BTreeMap::new(),
        })
    }
}
