//! PE: what other agents say, weighed so that a ring of strangers gains little.
//!
//! Source: docs/spec/protocol.md section 5, docs/spec/details.md section 5 ("PE").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::score::Score;
use crate::crypto::digest::Digest;
use crate::protocol::ids::{AgentId, OrgName};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::Span;

/// How long after a session its parties may endorse each other, the edge included.
const WITHIN: Span = Span::days(180);
/// How many organisations count.
const COUNTED: usize = 50;
/// Below it an endorser counts nothing.
const LEAST_SCORE: u16 = 3_000;

/// One agent's endorsement of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsement {
    /// Who endorses: a keyed hash, so that the weight stays when the name is erased.
    pub by: Digest,
    /// Its organisation.
    pub organisation: OrgName,
    /// Its published score at that moment.
    pub score: Score,
    /// 1 to 5.
    pub rating: u8,
}

impl Endorsement {
    /// Whether its endorser's score was high enough to count at all.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.score.hundredths() >= LEAST_SCORE
    }

    /// What it would add for an agent of another organisation.
    #[must_use]
    pub fn weight(&self) -> f64 {
        points(self, false)
    }
}

/// Whether `by` may endorse `of`: not itself, and within 180 days of a CLOSED session of the two.
pub fn admit(by: &AgentId, of: &AgentId, since_closed: Option<Span>) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::new(Code::PolicyViolation, why));
    if by == of {
        return refuse("no agent endorses itself");
    }
    match since_closed {
        Some(span) if span <= WITHIN => Ok(()),
        Some(_) => refuse("the last session of the two closed more than 180 days ago"),
        None => refuse("the two have closed no session with each other"),
    }
}

/// PE of an agent of `organisation`: per endorsing organisation its best, of these the 50 largest, at most 100.
/// A later endorsement of the same agent replaces its earlier one.
#[must_use]
pub fn peer_endorsement(organisation: &OrgName, endorsements: &[Endorsement]) -> f64 {
    let latest: BTreeMap<Digest, &Endorsement> = endorsements.iter().map(|given| (given.by, given)).collect();
    let mut best: BTreeMap<OrgName, f64> = BTreeMap::new();
    for endorsement in latest.values() {
        let points = points(endorsement, endorsement.organisation == *organisation);
        let held = best.entry(endorsement.organisation.clone()).or_default();
        *held = held.max(points);
    }
    let mut points: Vec<f64> = best.into_values().collect();
    points.sort_by(|one, other| other.total_cmp(one));
    points.iter().take(COUNTED).fold(0.0, |sum, points| sum + points).min(100.0)
}

/// `d·(r/5)·s²/90`.
fn points(endorsement: &Endorsement, one_organisation: bool) -> f64 {
    if !endorsement.counts() {
        return 0.0;
    }
    let discount = if one_organisation { 0.5 } else { 1.0 };
    let score = endorsement.score.value();
    discount * (f64::from(endorsement.rating) / 5.0) * score * score / 90.0
}
