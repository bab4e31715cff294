//! History that an operator imports for an agent: S20 read into counts, and written by the cell that saw it.
//!
//! Source: docs/spec/details.md section 5 ("`trust assign A --facts FILE`") and S20.

use serde::Deserialize;
use serde_json::{Value, json};

use super::endorsement::Endorsement;
use super::fact::Imported;
use super::facts::{Counts, Facts};
use super::score::Score;
use crate::crypto::digest::Digest;
use crate::crypto::json::canonical;
use crate::crypto::jwk::PublicKey;
use crate::crypto::jws::{Claim, Kind};
use crate::protocol::ids::{AgentId, CellId, OrgName};
use crate::protocol::refusal::Refusal;
use crate::protocol::time::Timestamp;

/// The most of anything that is counted: sums of such counts stay far below 2^64.
const MOST: u64 = 1_000_000_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    agent_id: AgentId,
    #[serde(default)]
    successes: f64,
    #[serde(default)]
    closed: f64,
    #[serde(default)]
    commitments: Commitments,
    #[serde(default)]
    payments: Payments,
    #[serde(default)]
    ratings: Ratings,
    #[serde(default)]
    response_times: Times,
    #[serde(default)]
    endorsements: Vec<Given>,
    #[serde(default)]
    lambda: f64,
    last_completed: Option<Timestamp>,
    #[serde(default)]
    attestation: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Commitments {
    settled: u64,
    breached: u64,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Payments {
    decided: u64,
    in_time: u64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ratings {
    count: u64,
    sum: u64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Times {
    count: u8,
    mean: f64,
    deviation: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    agent_id: AgentId,
    organisation: OrgName,
    rating: u8,
    score: f64,
}

/// What a cell saw of an agent itself, in the shape of S20 and with the `type` of what is signed. Λ is whole, so that
/// no penalty stays behind; endorsers are not named, for the cell keeps no names of them.
#[must_use]
pub fn written(facts: &Facts, agent: &AgentId, lambda: f64) -> Value {
    let own = &facts.own;
    let count = own.responses.len();
    let share = 1.0 / f64::from(u32::try_from(count).unwrap_or(u32::MAX).max(1));
    let mean = own.responses.iter().sum::<f64>() * share;
    let variance = own.responses.iter().map(|seconds| (seconds - mean).powi(2)).sum::<f64>() * share;
    let completed = (own.closed > 0.0).then_some(facts.penalty.since);
    json!({
        "type": Kind::History.payload_type(),
        "agentId": agent,
        "successes": own.successes,
        "closed": own.closed,
        "commitments": {"settled": own.settled, "breached": own.breached},
        "payments": {"decided": own.payments_decided, "inTime": own.payments_in_time},
        "ratings": {"count": own.ratings, "sum": own.rating_sum},
        "responseTimes": {"count": count, "mean": mean, "deviation": variance.sqrt()},
        "endorsements": [],
        "lambda": lambda,
        "lastCompleted": completed,
    })
}

/// The peer that signed the rest of the file, if it says that one did.
fn attested(
    mut rest: Value,
    attestation: Option<&str>,
    peer: impl Fn(&str) -> Option<(CellId, PublicKey)>,
) -> Result<Option<CellId>, Refusal> {
    let Some(jws) = attestation else { return Ok(None) };
    let wrong = |why: &str| Refusal::invalid("/facts/attestation", format!("a peer's JWS over the rest: {why}"));
    let claim = Claim::read(jws, Kind::History).map_err(|why| wrong(&why.to_string()))?;
    if let Value::Object(members) = &mut rest {
        members.remove("attestation");
        members.insert("type".to_owned(), Kind::History.payload_type().into());
    }
    if canonical(&rest) != canonical(claim.unproven()) {
        return Err(wrong("it was signed over other members or values"));
    }
    let (cell, key) = peer(claim.kid()).ok_or_else(|| wrong("its kid names no key of a peer; see `peer list`"))?;
    claim.verify(&key).map_err(|why| wrong(&why.to_string()))?;
    Ok(Some(cell))
}

/// Reads the facts of an agent; `tag` names endorsers without naming them, `peer` finds a peer's key by its `kid`.
pub fn read(
    text: &str,
    agent: &AgentId,
    tag: impl Fn(&AgentId) -> Digest,
    peer: impl Fn(&str) -> Option<(CellId, PublicKey)>,
) -> Result<Imported, Refusal> {
    let value: Value = serde_json::from_str(text).map_err(|error| Refusal::invalid("/facts", error.to_string()))?;
    let rest = value.clone();
    let file: File = serde_json::from_value(value)
        .map_err(|error| Refusal::invalid("/facts", format!("the members of docs/spec/details.md S20: {error}")))?;
    if file.agent_id != *agent {
        return Err(Refusal::invalid("/facts/agentId", agent.as_str()));
    }
    let attested_by = attested(rest, file.attestation.as_deref(), peer)?;
    let right = [
        (file.successes >= 0.0 && file.successes <= file.closed, "/facts/successes", "from 0 to closed"),
        (file.closed.is_finite() && file.closed <= 1e9, "/facts/closed", "a number of sessions"),
        (file.commitments.settled <= MOST, "/facts/commitments/settled", "at most 1,000,000,000"),
        (file.commitments.breached <= MOST, "/facts/commitments/breached", "at most 1,000,000,000"),
        (file.payments.decided <= MOST, "/facts/payments/decided", "at most 1,000,000,000"),
        (file.ratings.count <= MOST, "/facts/ratings/count", "at most 1,000,000,000"),
        (file.payments.in_time <= file.payments.decided, "/facts/payments/inTime", "at most decided"),
        (
            (file.ratings.count..=file.ratings.count.saturating_mul(5)).contains(&file.ratings.sum),
            "/facts/ratings/sum",
            "from count to five times count",
        ),
        (file.response_times.count <= 50, "/facts/responseTimes/count", "at most 50"),
        (file.response_times.mean >= 0.0, "/facts/responseTimes/mean", "seconds, not below 0"),
        (file.response_times.deviation >= 0.0, "/facts/responseTimes/deviation", "seconds, not below 0"),
        ((0.0..=1e6).contains(&file.lambda), "/facts/lambda", "a penalty, not below 0"),
    ];
    if let Some((_, pointer, expected)) = right.into_iter().find(|(right, ..)| !right) {
        return Err(Refusal::invalid(pointer, expected));
    }
    let endorsements = file.endorsements.iter().enumerate().map(|(place, given)| given.read(place, &tag));
    Ok(Imported {
        counts: Counts {
            successes: file.successes,
            closed: file.closed,
            settled: file.commitments.settled,
            breached: file.commitments.breached,
            payments_in_time: file.payments.in_time,
            payments_decided: file.payments.decided,
            ratings: file.ratings.count,
            rating_sum: file.ratings.sum,
            responses: file.response_times.values(),
            endorsements: endorsements.collect::<Result<_, _>>()?,
        },
        lambda: file.lambda,
        last_completed: file.last_completed.map(|at| at.0),
        attested_by,
    })
}

impl Given {
    fn read(&self, place: usize, tag: impl Fn(&AgentId) -> Digest) -> Result<Endorsement, Refusal> {
        let at = |member: &str| format!("/facts/endorsements/{place}/{member}");
        if self.agent_id.organisation() != self.organisation {
            return Err(Refusal::invalid(at("organisation"), "the organisation of agentId"));
        }
        if !(1..=5).contains(&self.rating) {
            return Err(Refusal::invalid(at("rating"), "an integer from 1 to 5"));
        }
        if !(0.0..=99.9).contains(&self.score) {
            return Err(Refusal::invalid(at("score"), "a score from 0 to 99.9"));
        }
        let by = tag(&self.agent_id);
        Ok(Endorsement {
            by,
            organisation: self.organisation.clone(),
            score: Score::floored(self.score),
            rating: self.rating,
        })
    }
}

impl Times {
    /// As many values as were counted, with exactly that mean and population deviation.
    fn values(&self) -> Vec<f64> {
        let count = usize::from(self.count);
        let pairs = count / 2;
        let odd = count % 2 == 1;
        if pairs == 0 {
            return vec![self.mean; count];
        }
        let spread = if odd {
            self.deviation * (f64::from(self.count) / f64::from(self.count - 1)).sqrt()
        } else {
            self.deviation
        };
        let mut values: Vec<f64> = (0..pairs).flat_map(|_| [self.mean - spread, self.mean + spread]).collect();
        values.extend(odd.then_some(self.mean));
        values
    }
}
