//! The registry as agents read it: profiles (S3) and search (S4) in the own cell.

use serde_json::{Value, json};

use super::request::Search;
use super::shared::Shared;
use super::tables::Agent;
use super::view::{Reading, unavailable};
use super::{registry, trust};
use crate::crypto::jws::Kind;
use crate::protocol::ids::AgentId;
use crate::protocol::performative::Performative;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::{Span, Timestamp};
use crate::store::{Fault, View as Rows};

/// How long a search result may be relied on.
const EXPIRES: Span = Span::seconds(3600);

/// One agent's profile.
pub fn profile(shared: &Shared, rows: &impl Rows, id: &AgentId, now: Timestamp) -> Reading<Value> {
    let agent = registry::agent(shared, rows, id).map_err(|fault| unavailable(&fault))?;
    let agent = agent.ok_or_else(|| Refusal::new(Code::NotFound, format!("no agent {id} in this cell")))?;
    shown(shared, rows, &agent, now).map_err(|fault| unavailable(&fault))
}

fn shown(shared: &Shared, rows: &impl Rows, agent: &Agent, now: Timestamp) -> Result<Value, Fault> {
    let key = agent.key();
    let trust = trust::shown(shared, rows, agent, now)?;
    Ok(json!({
        "agentId": agent.id,
        "organisation": agent.id.organisation(),
        "cell": shared.settings.cell,
        "region": agent.region,
        "zone": shared.settings.zone,
        "visibility": if agent.federated { "federated" } else { "cell" },
        "capabilities": agent.capabilities,
        "protocols": agent.protocols,
        "performatives": Performative::THIRTEEN.map(Performative::name),
        "description": agent.description,
        "jwk": key.map(|key| key.jwk.value()),
        "identityLevel": trust::identity(shared, agent).level(),
        "trust": trust,
        "registeredAt": agent.registered_at,
        "keySince": key.map(|key| key.from),
    }))
}

/// Agents of this cell that fit, by score descending, then by id.
pub fn search(shared: &Shared, rows: &impl Rows, wanted: &Search, now: Timestamp) -> Reading<Value> {
    let ids: Vec<AgentId> = {
        let directory = shared.directory.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        directory.values().cloned().collect()
    };
    let mut found: Vec<(f64, Agent)> = Vec::new();
    for id in ids {
        let Some(agent) = registry::agent(shared, rows, &id).map_err(|fault| unavailable(&fault))? else { continue };
        let facts = trust::facts(shared, rows, &agent).map_err(|fault| unavailable(&fault))?;
        let score = facts.score(&agent.id.organisation(), now).value();
        if fits(wanted, &agent, score) {
            found.push((score, agent));
        }
    }
    found.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.id.cmp(&other.id)));
    let skip = match &wanted.cursor {
        None => 0,
        Some(cursor) => {
            let at = found.iter().position(|(_, agent)| agent.id.as_str() == cursor);
            at.ok_or_else(|| Refusal::invalid("/cursor", "a cursor of an earlier answer"))? + 1
        }
    };
    let page: Vec<&(f64, Agent)> = found.iter().skip(skip).take(wanted.limit).collect();
    let more = found.len() > skip + page.len();
    let cursor = page.last().filter(|_| more).map(|(_, agent)| agent.id.clone());
    let carded = page.into_iter().map(|(_, agent)| carded(shared, rows, agent, now));
    let agents: Vec<Value> = carded.collect::<Result<_, _>>().map_err(|fault| unavailable(&fault))?;
    Ok(json!({"agents": agents, "unreachable": [], "cursor": cursor}))
}

fn fits(wanted: &Search, agent: &Agent, score: f64) -> bool {
    wanted.capabilities.iter().all(|capability| agent.capabilities.contains(capability))
        && wanted.region.as_ref().is_none_or(|region| *region == agent.region)
        && wanted.protocol.as_ref().is_none_or(|protocol| agent.protocols.contains(protocol))
        && wanted.min_trust_score.is_none_or(|least| score >= least)
}

/// A search result: the profile, signed, with its end.
fn carded(shared: &Shared, rows: &impl Rows, agent: &Agent, now: Timestamp) -> Result<Value, Fault> {
    let mut result = shown(shared, rows, agent, now)?;
    let expires = now + EXPIRES;
    let mut payload = result.clone();
    if let (Value::Object(payload), Value::Object(result)) = (&mut payload, &mut result) {
        payload.insert("type".into(), json!(Kind::Card.payload_type()));
        payload.insert("expiresAt".into(), json!(expires));
        result.insert("expiresAt".into(), json!(expires));
    }
    let card = shared.sign(Kind::Card, &payload);
    if let Value::Object(result) = &mut result {
        result.insert("card".into(), json!(card));
    }
    Ok(result)
}
