//! Trust as it is stored and shown: scores of own agents from recorded facts, signed for peers; peers' scores verified.
//!
//! Nothing is enforced by it yet but `minTrustScore`. Source: docs/spec/protocol.md section 5, docs/spec/details.md 5.

use serde_json::{Value, json};

use super::shared::Shared;
use super::tables::Agent;
use crate::crypto::jws::Kind;
use crate::protocol::ids::{AgentId, CellId};
use crate::protocol::session::Standing;
use crate::protocol::time::{Span, Timestamp};

/// Identity: a key bound by proof of possession (docs/spec/protocol.md section 5 "IV").
const IDENTITY: f64 = 50.0;
/// A key younger than this counts as rotated lately ("SP").
const YOUNG_KEY: Span = Span::days(90);
/// What a young key gives.
const YOUNG_KEY_POINTS: f64 = 40.0;

/// An agent's trust at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Trust {
    /// The eight components.
    pub components: Components,
    /// Λ at that moment, idle time included.
    pub penalty: f64,
    /// T, floored.
    pub score: f64,
    /// The level that follows.
    pub level: u8,
}

/// The trust of an agent of this cell at `now`.
pub fn of(agent: &Agent, now: Timestamp) -> Trust {
    let young = agent.key().is_some_and(|key| now - key.from <= YOUNG_KEY);
    let components =
        Components { iv: IDENTITY, sp: if young { YOUNG_KEY_POINTS } else { 0.0 }, ..Components::default() };
    let penalty = idle_penalty(now - agent.registered_at);
    let score = score(&components, penalty);
    Trust { components, penalty, score, level: level(score) }
}

impl Trust {
    /// `trust` of a profile (docs/spec/details.md S3).
    pub fn shown(&self) -> Value {
        json!({"score": self.score, "level": self.level, "components": self.components.shown(),
            "penalty": round6(self.penalty), "imported": false})
    }
}

/// The signed trust of an own agent: what travels with INVITE and INTRODUCE under class `trust`.
pub fn signed(shared: &Shared, agent: &Agent, now: Timestamp) -> String {
    let trust = of(agent, now);
    let payload = json!({
        "type": Kind::Trust.payload_type(),
        "agentId": agent.id,
        "cell": shared.settings.cell,
        "asOf": now,
        "score": trust.score,
        "level": trust.level,
        "ceiling": ceiling(trust.level).map(|usd| json!({"amount": format!("{usd}.00"), "currency": "USD"})),
        "components": trust.components.shown(),
        "penalty": round6(trust.penalty),
        "imported": false,
        "outcomes": crate::crypto::digest::Digest::of(&[b"[]"]),
    });
    shared.sign(Kind::Trust, &payload)
}

/// What this cell makes of a participant's signed trust; without one the score counts as 0.
pub fn standing(shared: &Shared, home: &CellId, agent: &AgentId, jws: Option<&str>, now: Timestamp) -> Standing {
    let read = || -> Option<(f64, Timestamp)> {
        let payload = shared.verify(home, Kind::Trust, jws?).ok()?;
        let about = payload.get("agentId")?.as_str()? == agent.as_str();
        let as_of = payload.get("asOf")?.as_str()?.parse().ok()?;
        about.then_some((payload.get("score")?.as_f64()?.clamp(0.0, 99.9), as_of))
    };
    let (score, as_of) = read().unwrap_or((0.0, now));
    let cap = if *home == shared.settings.cell { 99.9 } else { shared.settings.trust_cap(home) };
    let effective = score.min(cap);
    let verified_by = shared.settings.cell.clone();
    Standing { score, effective, level: level(effective), as_of, verified_by }
}

fn round6(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// The eight components.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Components {
    pub iv: f64,
    pub sp: f64,
}
impl Components {
    fn shown(&self) -> Value {
        json!({"IV": self.iv, "CF": 0, "CH": 0, "BC": 0, "RQ": 0, "SP": self.sp, "ER": 0, "PE": 0})
    }
}
fn idle_penalty(idle: Span) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "x")]
    let days = idle.0 as f64 / 86_400_000.0;
    0.005 * days.max(0.0)
}
fn score(components: &Components, penalty: f64) -> f64 {
    let t = ((0.2 * components.iv + 0.1 * components.sp) * (-penalty).exp()).clamp(0.0, 99.9);
    (100.0 * t + 1e-6).floor() / 100.0
}
fn level(score: f64) -> u8 {
    [20.0, 50.0, 75.0, 90.0].iter().fold(0, |level, from| if score >= *from { level + 1 } else { level })
}
fn ceiling(level: u8) -> Option<i64> {
    [100, 1_000, 10_000, 100_000, 1_000_000].get(usize::from(level)).copied()
}
