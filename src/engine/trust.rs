//! Trust as it is stored and shown: scores of own agents from recorded facts, signed for peers; peers' scores verified.
//!
//! Nothing is enforced by it yet but `minTrustScore`. Source: docs/spec/protocol.md section 5, docs/spec/details.md 5.

use serde_json::{Value, json};

use super::shared::Shared;
use super::tables::Agent;
use crate::crypto::jws::Kind;
use crate::protocol::ids::{AgentId, CellId};
use crate::protocol::session::Standing;
use crate::protocol::time::Timestamp;
use crate::protocol::trust::{Estimate, Facts, HomeWord, Identity, Level, Score, enforced};

/// What is known of an agent of this cell: its key, bound by proof of possession, and its registration.
fn facts(agent: &Agent) -> Facts {
    let mut facts = Facts::registered(Identity::BoundKey, agent.registered_at);
    facts.key_since = agent.key().map_or(agent.registered_at, |key| key.from);
    facts
}

/// The score of an agent of this cell at `now`.
pub fn score(agent: &Agent, now: Timestamp) -> Score {
    facts(agent).score(&agent.id.organisation(), now)
}

/// `trust` of the profile of an agent of this cell (docs/spec/details.md S3).
pub fn shown(agent: &Agent, now: Timestamp) -> Value {
    facts(agent).view(&agent.id.organisation(), now)
}

/// The signed trust of an own agent: what travels with INVITE and INTRODUCE under class `trust`.
pub fn signed(shared: &Shared, agent: &Agent, now: Timestamp) -> String {
    let level = facts(agent).level(&agent.id.organisation(), now);
    let mut payload = json!({
        "type": Kind::Trust.payload_type(),
        "agentId": agent.id,
        "cell": shared.settings.cell,
        "asOf": now,
        "ceiling": level.ceiling().map(|usd| json!({"amount": format!("{usd}.00"), "currency": "USD"})),
        "outcomes": crate::crypto::digest::Digest::of(&[b"[]"]),
    });
    if let (Some(payload), Value::Object(shown)) = (payload.as_object_mut(), shown(agent, now)) {
        payload.extend(shown);
    }
    shared.sign(Kind::Trust, &payload)
}

/// What this cell makes of a participant's signed trust; without one the score counts as 0.
pub fn standing(shared: &Shared, home: &CellId, agent: &AgentId, jws: Option<&str>, now: Timestamp) -> Standing {
    let read = || -> Option<(HomeWord, Timestamp)> {
        let payload = shared.verify(home, Kind::Trust, jws?).ok()?;
        let about = payload.get("agentId")?.as_str()? == agent.as_str();
        let as_of = payload.get("asOf")?.as_str()?.parse().ok()?;
        let score = Score::floored(payload.get("score")?.as_f64()?);
        let penalty = payload.get("penalty")?.as_f64()?.max(0.0);
        about.then_some((HomeWord { score, penalty }, as_of))
    };
    let (word, as_of) = read().unwrap_or((HomeWord { score: Score::default(), penalty: 0.0 }, now));
    let cap = if *home == shared.settings.cell { Score::MAX.value() } else { shared.settings.trust_cap(home) };
    let effective = enforced(&word, &Estimate::default(), cap);
    Standing {
        score: word.score.value(),
        effective: effective.value(),
        level: Level::of(effective).number(),
        as_of,
        verified_by: shared.settings.cell.clone(),
    }
}
