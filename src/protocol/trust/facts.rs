//! The facts a score is computed from, and the score they give at a moment.
//!
//! Facts only grow and are bounded; nothing decayed is among them. Source: docs/spec/protocol.md section 5.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::components::{
    Components, Identity, behavioural_consistency, commitment_fulfilment, completed_history, economic_reliability,
    review_quality, security_posture,
};
use super::endorsement::{Endorsement, peer_endorsement};
use super::level::Level;
use super::penalty::Penalty;
use super::score::Score;
use crate::protocol::ids::OrgName;
use crate::protocol::time::Timestamp;

/// What is known of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// How well its identity is established.
    pub identity: Identity,
    /// Since when it has its current key.
    pub key_since: Timestamp,
    /// When it last took part in an end-to-end session.
    pub end_to_end: Option<Timestamp>,
    /// Successful sessions, half inside one organisation.
    pub successes: f64,
    /// Closed sessions, weighted alike.
    pub closed: f64,
    /// Commitments settled as obligor.
    pub settled: u64,
    /// Commitments breached as obligor.
    pub breached: u64,
    /// Payments settled in time as payer.
    pub payments_in_time: u64,
    /// Payments decided as payer.
    pub payments_decided: u64,
    /// Ratings received.
    pub ratings: u64,
    /// Their sum.
    pub rating_sum: u64,
    /// Its last response times in seconds, at most 50.
    pub responses: Vec<f64>,
    /// Endorsements received, one an agent.
    pub endorsements: Vec<Endorsement>,
    /// Λ as booked.
    pub penalty: Penalty,
    /// Whether history was imported by an operator.
    pub imported: bool,
    /// Whether the operator assigned level 5.
    pub infrastructure: bool,
}

impl Facts {
    /// An agent that has just registered a DPoP-bound key.
    #[must_use]
    pub const fn registered(identity: Identity, at: Timestamp) -> Self {
        Self {
            identity,
            key_since: at,
            end_to_end: None,
            successes: 0.0,
            closed: 0.0,
            settled: 0,
            breached: 0,
            payments_in_time: 0,
            payments_decided: 0,
            ratings: 0,
            rating_sum: 0,
            responses: Vec::new(),
            endorsements: Vec::new(),
            penalty: Penalty::none(at),
            imported: false,
            infrastructure: false,
        }
    }

    /// The components at a moment, for an agent of `organisation`.
    #[must_use]
    pub fn components(&self, organisation: &OrgName, now: Timestamp) -> Components {
        let used = self.end_to_end.map(|at| now - at);
        Components {
            iv: f64::from(self.identity.level()),
            cf: commitment_fulfilment(self.settled, self.breached),
            ch: completed_history(self.successes),
            bc: behavioural_consistency(&self.responses),
            rq: review_quality(self.ratings, self.rating_sum, self.successes, self.closed),
            sp: security_posture(now - self.key_since, used, self.identity),
            er: economic_reliability(self.payments_in_time, self.payments_decided),
            pe: peer_endorsement(organisation, &self.endorsements),
        }
    }

    /// The score at a moment.
    #[must_use]
    pub fn score(&self, organisation: &OrgName, now: Timestamp) -> Score {
        Score::of(self.components(organisation, now).base(), self.penalty.at(now))
    }

    /// The level at a moment.
    #[must_use]
    pub fn level(&self, organisation: &OrgName, now: Timestamp) -> Level {
        if self.infrastructure { Level::Infrastructure } else { Level::of(self.score(organisation, now)) }
    }

    /// `trust` of a profile (S3): penalty with six decimals, components with two.
    #[must_use]
    pub fn view(&self, organisation: &OrgName, now: Timestamp) -> Value {
        json!({
            "score": self.score(organisation, now).value(),
            "level": self.level(organisation, now).number(),
            "components": self.components(organisation, now).view(),
            "penalty": (self.penalty.at(now) * 1e6).round() / 1e6,
            "imported": self.imported,
        })
    }
}
