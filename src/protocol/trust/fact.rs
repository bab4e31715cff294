//! One thing that happened to an agent and counts in its score: booked once, never changed.
//!
//! A fact names sessions, commitments and digests at most, no person and no agent, so that it survives every erasure.
//! Source: docs/spec/protocol.md section 5 ("Store facts, never the decayed figure").

use serde::{Deserialize, Serialize};

use super::components::Identity;
use super::endorsement::Endorsement;
use super::facts::Counts;
use crate::protocol::ids::CellId;

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fact {
    /// A session reached CLOSED.
    Closed(Closed),
    /// What a closed session counts among successes was found to be more, or less, by so much.
    Recounted(f64),
    /// A commitment of it as obligor was decided.
    Decided(Decision),
    /// A decision counted before is reversed by a dispute.
    Reversed(Decision),
    /// Somebody rated it, 1 to 5.
    Rated(u8),
    /// How long it took to answer in a session, in seconds.
    Answered(Vec<f64>),
    /// Somebody endorsed it.
    Endorsed(Endorsement),
    /// The operator imported its history; an earlier import no longer counts.
    Imported(Box<Imported>),
    /// The operator assigned level 5, or took it back.
    Infrastructure(bool),
    /// A dispute about another's commitment was resolved against it, with this severity.
    Fined(u8),
}

/// A closed session as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// What it counts among successes: 0, or [`Self::whole`].
    pub success: f64,
    /// What it counts among closed sessions: 1, or 0.5 within one organisation.
    pub whole: f64,
    /// Whether idle time before it counts: for the booking cell's own agents, of whose other sessions it knows.
    pub idle: bool,
    /// Whether its contents were encrypted end to end.
    pub end_to_end: bool,
}

/// How a commitment ended for its obligor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Whether it was a payment.
    pub payment: bool,
    /// Whether it was settled, late or not.
    pub settled: bool,
    /// The severity booked with it, if any.
    pub severity: Option<u8>,
}

/// History that an operator vouches for (docs/spec/details.md S20).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// What it counts.
    pub counts: Counts,
    /// Λ at its end.
    pub lambda: f64,
    /// When its last session closed, in milliseconds since 1970.
    pub last_completed: Option<i64>,
    /// The peer that signed it; without one it is the operator's word.
    pub attested_by: Option<CellId>,
}

impl Identity {
    /// The identity of that level (docs/spec/protocol.md section 5 "IV").
    #[must_use]
    pub const fn of_level(level: u8) -> Option<Self> {
        match level {
            20 => Some(Self::ApiKey),
            50 => Some(Self::BoundKey),
            75 => Some(Self::Domain),
            100 => Some(Self::Scim),
            _ => None,
        }
    }
}
