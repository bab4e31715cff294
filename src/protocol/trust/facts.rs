//! The facts a score is computed from, and the score they give at a moment.
//!
//! Folded from [`Fact`]s one by one; bounded; nothing decayed is among them. Source: docs/spec/protocol.md section 5,
//! docs/spec/details.md section 5.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::components::{
    Components, Identity, behavioural_consistency, commitment_fulfilment, completed_history, economic_reliability,
    review_quality, security_posture,
};
use super::endorsement::{Endorsement, peer_endorsement};
use super::fact::{Decision, Fact, Imported};
use super::level::Level;
use super::penalty::{Penalty, credit};
use super::score::Score;
use crate::protocol::ids::OrgName;
use crate::protocol::time::Timestamp;

/// Response times kept.
const RESPONSES: usize = 50;
/// Endorsements kept, one an endorser: of the organisation that has the most, the least goes first.
const ENDORSEMENTS: usize = 1_000;
/// The highest score that imported history gives by itself: level 3.
const IMPORT_MAX: f64 = 89.99;

/// What is counted of an agent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
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
    /// The last response times in seconds.
    pub responses: Vec<f64>,
    /// Endorsements received, one an agent.
    pub endorsements: Vec<Endorsement>,
}

/// What is known of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// How well its identity is established.
    pub identity: Identity,
    /// Since when it has its current key.
    pub key_since: Timestamp,
    /// When it last took part in an end-to-end session.
    pub end_to_end: Option<Timestamp>,
    /// What the cell saw itself.
    pub own: Counts,
    /// What an operator imported.
    pub imported: Option<Box<Imported>>,
    /// Λ as booked.
    pub penalty: Penalty,
    /// Whether the operator assigned level 5.
    pub infrastructure: bool,
}

impl Facts {
    /// An agent that has just registered a DPoP-bound key.
    #[must_use]
    pub fn registered(identity: Identity, at: Timestamp) -> Self {
        Self {
            identity,
            key_since: at,
            end_to_end: None,
            own: Counts::default(),
            imported: None,
            penalty: Penalty::none(at),
            infrastructure: false,
        }
    }

    /// Takes one more fact into account.
    pub fn book(&mut self, fact: &Fact, at: Timestamp) {
        match fact {
            Fact::Closed(closed) => {
                self.own.successes += closed.success;
                self.own.closed += closed.whole;
                if closed.idle {
                    self.penalty.close(at, credit(closed.success));
                } else {
                    self.penalty.take_off(at, credit(closed.success));
                }
                self.end_to_end = if closed.end_to_end { Some(at) } else { self.end_to_end };
            }
            Fact::Recounted(change) => {
                self.own.successes = (self.own.successes + change).max(0.0);
                self.penalty.recount(credit(*change));
            }
            Fact::Decided(decision) => {
                self.own.decide(*decision, |count| count + 1);
                self.penalty.breach(decision.severity.unwrap_or_default());
            }
            Fact::Reversed(decision) => {
                self.own.decide(*decision, |count| count.saturating_sub(1));
                self.penalty.reverse(decision.severity.unwrap_or_default());
            }
            Fact::Rated(rating) => {
                self.own.ratings += 1;
                self.own.rating_sum += u64::from(*rating);
            }
            Fact::Answered(seconds) => {
                self.own.responses.extend(seconds);
                let excess = self.own.responses.len().saturating_sub(RESPONSES);
                self.own.responses.drain(..excess);
            }
            Fact::Endorsed(endorsement) => {
                self.own.endorsements.retain(|given| given.by != endorsement.by);
                if endorsement.counts() {
                    self.own.endorsements.push(endorsement.clone());
                }
                if self.own.endorsements.len() > ENDORSEMENTS {
                    drop_one(&mut self.own.endorsements);
                }
            }
            Fact::Imported(imported) => self.import(imported),
            Fact::Infrastructure(assigned) => self.infrastructure = *assigned,
            Fact::Fined(severity) => self.penalty.breach(*severity),
        }
    }

    fn import(&mut self, imported: &Imported) {
        let before = self.imported.take().map_or(0.0, |before| before.lambda);
        self.penalty.booked = (self.penalty.booked - before).max(0.0) + imported.lambda;
        if self.own.closed == 0.0
            && let Some(last) = imported.last_completed
        {
            self.penalty.since = Timestamp(last);
        }
        self.imported = Some(Box::new(imported.clone()));
    }

    fn counted(&self) -> Counts {
        match &self.imported {
            Some(imported) => imported.counts.with(&self.own),
            None => self.own.clone(),
        }
    }

    /// The components at a moment, for an agent of `organisation`.
    #[must_use]
    pub fn components(&self, organisation: &OrgName, now: Timestamp) -> Components {
        self.of(&self.counted(), organisation, now)
    }

    fn of(&self, counts: &Counts, organisation: &OrgName, now: Timestamp) -> Components {
        let used = self.end_to_end.map(|at| now - at);
        Components {
            iv: f64::from(self.identity.level()),
            cf: commitment_fulfilment(counts.settled, counts.breached),
            ch: completed_history(counts.successes),
            bc: behavioural_consistency(&counts.responses),
            rq: review_quality(counts.ratings, counts.rating_sum, counts.successes, counts.closed),
            sp: security_posture(now - self.key_since, used, self.identity),
            er: economic_reliability(counts.payments_in_time, counts.payments_decided),
            pe: peer_endorsement(organisation, &counts.endorsements),
        }
    }

    /// The score at a moment. Imported history alone gives at most 89.99.
    #[must_use]
    pub fn score(&self, organisation: &OrgName, now: Timestamp) -> Score {
        self.scored(organisation, now, self.penalty.at(now))
    }

    /// The score without idle time: what a peer makes of the sessions it has seen.
    #[must_use]
    pub fn estimate(&self, organisation: &OrgName, now: Timestamp) -> Score {
        self.scored(organisation, now, self.penalty.booked)
    }

    fn scored(&self, organisation: &OrgName, now: Timestamp, penalty: f64) -> Score {
        let score = Score::of(self.components(organisation, now).base(), penalty);
        if self.imported.is_none() {
            return score;
        }
        let own = Score::of(self.of(&self.own, organisation, now).base(), penalty);
        score.min(own.max(Score::floored(IMPORT_MAX)))
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
            "imported": self.imported.is_some(),
        })
    }
}

/// Drops one endorsement such that no organisation's many crowd out another's few.
fn drop_one(endorsements: &mut Vec<Endorsement>) {
    let mut counts: BTreeMap<&OrgName, usize> = BTreeMap::new();
    for given in endorsements.iter() {
        *counts.entry(&given.organisation).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(organisation, _)| organisation.clone());
    let of_most = endorsements.iter().enumerate().filter(|(_, given)| Some(&given.organisation) == most.as_ref());
    let least = of_most.min_by(|(_, one), (_, other)| one.weight().total_cmp(&other.weight()));
    if let Some(index) = least.map(|(index, _)| index) {
        endorsements.remove(index);
    }
}

impl Counts {
    fn decide(&mut self, decision: Decision, change: impl Fn(u64) -> u64) {
        let count = if decision.settled { &mut self.settled } else { &mut self.breached };
        *count = change(*count);
        if decision.payment {
            self.payments_decided = change(self.payments_decided);
            if decision.settled && decision.severity.is_none() {
                self.payments_in_time = change(self.payments_in_time);
            }
        }
    }

    /// These and later ones together.
    fn with(&self, later: &Self) -> Self {
        let responses: Vec<f64> = self.responses.iter().chain(&later.responses).copied().collect();
        Self {
            successes: self.successes + later.successes,
            closed: self.closed + later.closed,
            settled: self.settled + later.settled,
            breached: self.breached + later.breached,
            payments_in_time: self.payments_in_time + later.payments_in_time,
            payments_decided: self.payments_decided + later.payments_decided,
            ratings: self.ratings + later.ratings,
            rating_sum: self.rating_sum + later.rating_sum,
            responses,
            endorsements: self.endorsements.iter().chain(&later.endorsements).cloned().collect(),
        }
    }
}
