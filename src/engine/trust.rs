//! Trust as it is computed, signed, verified and enforced: scores of own agents from booked facts, peers' by their word.
//!
//! Enforced by the host alone, for levels may look different from another cell. Source: docs/spec/protocol.md section
//! 5, docs/spec/details.md sections 4 and 5.

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::live::Live;
use super::registry;
use super::shared::Shared;
use super::stop::Step;
use super::tables::{Agent, INVITED, REPUTATIONS, SEATS, Sitter, Tag};
use super::view::{Reading, View, unavailable};
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;
use crate::protocol::ceiling::{self, Bounded};
use crate::protocol::ids::{AgentId, CellId, ParticipantId};
use crate::protocol::money::Money;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Act, Participant, Session, Standing};
use crate::protocol::terms::Body;
use crate::protocol::time::{Span, Timestamp};
use crate::protocol::trust::{Estimate, Facts, HomeWord, Identity, Level, Score, enforced};
use crate::store::{Fault, Order, View as Rows};

/// The window of the quota.
const QUOTA_WINDOW: Span = Span::days(1);
/// Sessions counted at most: more than any quota.
const MOST_OPENED: usize = 10_000;

/// What is known of an agent of this cell.
pub fn facts(shared: &Shared, rows: &impl Rows, agent: &Agent) -> Result<Facts, Fault> {
    let known = rows.get(&REPUTATIONS, &shared.agent_tag(&agent.id))?.map(|known| known.facts);
    let mut facts = known.unwrap_or_else(|| Facts::registered(Identity::BoundKey, agent.registered_at));
    facts.identity = identity(shared, agent);
    facts.key_since = agent.key().map_or(agent.registered_at, |key| key.from);
    Ok(facts)
}

/// How well an agent's identity is established: by its key, and by how its organisation's name was verified.
pub fn identity(shared: &Shared, agent: &Agent) -> Identity {
    let facts = shared.facts.load();
    facts.orgs.get(&agent.id.organisation()).and_then(|org| org.verified).unwrap_or(Identity::BoundKey)
}

/// `trust` of the profile of an agent of this cell (docs/spec/details.md S3).
pub fn shown(shared: &Shared, rows: &impl Rows, agent: &Agent, now: Timestamp) -> Result<Value, Fault> {
    Ok(facts(shared, rows, agent)?.view(&agent.id.organisation(), now))
}

/// The signed trust of an own agent: what travels with INVITE and INTRODUCE under class `trust`.
pub fn signed(shared: &Shared, rows: &impl Rows, agent: &Agent, now: Timestamp) -> Result<String, Fault> {
    Ok(shared.sign(Kind::Trust, &payload(shared, rows, agent, now)?))
}

fn payload(shared: &Shared, rows: &impl Rows, agent: &Agent, now: Timestamp) -> Result<Value, Fault> {
    let facts = facts(shared, rows, agent)?;
    let level = facts.level(&agent.id.organisation(), now);
    let outcomes = rows.get(&REPUTATIONS, &shared.agent_tag(&agent.id))?.map(|known| known.outcomes);
    let mut payload = json!({
        "type": Kind::Trust.payload_type(),
        "agentId": agent.id,
        "cell": shared.settings.cell,
        "asOf": now,
        "ceiling": level.ceiling().map(|usd| json!({"amount": format!("{usd}.00"), "currency": "USD"})),
        "outcomes": outcomes.unwrap_or_else(|| Digest::of(&[b"[]"])),
    });
    if let (Some(payload), Value::Object(shown)) = (payload.as_object_mut(), facts.view(&agent.id.organisation(), now))
    {
        payload.extend(shown);
    }
    Ok(payload)
}

/// `GET /v1/asp/trust/{agentId}` of an agent of this cell: the signed members beside their signature.
pub fn answer(shared: &Shared, rows: &impl Rows, id: &AgentId, now: Timestamp) -> Reading<Value> {
    let agent = registry::agent(shared, rows, id).map_err(|fault| unavailable(&fault))?;
    let agent = agent.ok_or_else(|| Refusal::new(Code::NotFound, format!("no agent {id} in this cell")))?;
    let payload = payload(shared, rows, &agent, now).map_err(|fault| unavailable(&fault))?;
    let signature = shared.sign(Kind::Trust, &payload);
    let Value::Object(mut members) = payload else { return Ok(Value::Null) };
    members.remove("type");
    members.insert("signature".into(), json!(signature));
    Ok(Value::Object(members))
}

/// What this cell makes of a participant's signed trust; without one the score counts as 0.
pub fn standing(
    shared: &Shared,
    rows: &impl Rows,
    home: &CellId,
    agent: &AgentId,
    jws: Option<&str>,
    now: Timestamp,
) -> Result<Standing, Fault> {
    let read = || -> Option<(HomeWord, Timestamp, Option<Identity>)> {
        let payload = shared.verify(home, Kind::Trust, jws?).ok()?;
        let about = payload.get("agentId")?.as_str()? == agent.as_str();
        let as_of = payload.get("asOf")?.as_str()?.parse().ok()?;
        let score = Score::floored(payload.get("score")?.as_f64()?);
        let penalty = payload.get("penalty")?.as_f64()?.max(0.0);
        let level = payload.pointer("/components/IV").and_then(Value::as_f64);
        let identity = [20_u8, 50, 75, 100].into_iter().find(|known| level == Some(f64::from(*known)));
        about.then_some((HomeWord { score, penalty }, as_of, identity.and_then(Identity::of_level)))
    };
    let unknown = (HomeWord { score: Score::default(), penalty: 0.0 }, now, None);
    let (word, as_of, identity) = read().unwrap_or(unknown);
    let own = *home == shared.settings.cell;
    let cap = if own { Score::MAX.value() } else { shared.settings.trust_cap(&shared.facts.load(), home) };
    let seen = if own { None } else { rows.get(&REPUTATIONS, &shared.agent_tag(agent))? };
    let estimate = seen.map_or_else(Estimate::default, |seen| estimate(seen.facts, agent, identity, now));
    let effective = enforced(&word, &estimate, cap);
    Ok(Standing {
        score: word.score.value(),
        effective: effective.value(),
        level: Level::of(effective).number(),
        as_of,
        verified_by: shared.settings.cell.clone(),
    })
}

/// What this cell has seen of another cell's agent; its identity is its home's word.
fn estimate(mut facts: Facts, agent: &AgentId, identity: Option<Identity>, now: Timestamp) -> Estimate {
    facts.identity = identity.unwrap_or(facts.identity);
    Estimate {
        penalty: facts.penalty.booked,
        score: Some(facts.estimate(&agent.organisation(), now)),
        decided: facts.own.settled + facts.own.breached,
    }
}

impl Engine {
    /// The level of a participant as this cell enforces it now.
    pub(super) fn level_of(&self, batch: &Batch<'_>, session: &Session, participant: &Participant) -> Step<Level> {
        let shown = participant.standing.as_ref().map_or(0.0, |standing| standing.effective);
        let Some(row) = batch.txn.get(&SEATS, &(session.id, participant.id))? else {
            return Ok(Level::of(Score::floored(shown)));
        };
        let view = View { shared: &self.shared, rows: &batch.txn };
        let mut sitter: Option<Sitter> = None;
        for holder in super::border::orgs_in(session, &self.shared.settings.cell) {
            sitter = sitter.or(view.sitter(session.id, participant.id, &row, &holder)?);
        }
        let Some(sitter) = sitter else { return Ok(Level::of(Score::floored(shown))) };
        if let Some(agent) = registry::agent(&self.shared, &batch.txn, &sitter.agent)? {
            let facts = facts(&self.shared, &batch.txn, &agent)?;
            return Ok(facts.level(&agent.id.organisation(), batch.now));
        }
        let jws = sitter.trust.as_deref();
        let now = standing(&self.shared, &batch.txn, &row.cell, &sitter.agent, jws, batch.now)?;
        Ok(Level::of(Score::floored(now.effective)))
    }

    /// Ceilings of an offer or a commitment, asked by the host.
    pub(super) fn check_ceiling(&self, batch: &Batch<'_>, live: &Live, act: &Act) -> Step<()> {
        let session = &live.kept.session;
        let (money, others, parties): (Option<Money>, Vec<Money>, Vec<ParticipantId>) = match &act.terms.body {
            Body::Propose(offered) | Body::Counter(offered) => {
                (offered.money, Vec::new(), session.participants.iter().filter(|p| p.joined).map(|p| p.id).collect())
            }
            Body::Commit(pledge) => (pledge.money, session.paid_beside(pledge), vec![act.sender, pledge.beneficiary]),
            // The inviter's own words put constraints in force: within its ceiling, as at INVITE.
            Body::Ask(constraints, _) if session.participants.first().is_some_and(|p| p.id == act.sender) => {
                (constraints.max_transaction_value, Vec::new(), vec![act.sender])
            }
            Body::Ask(..)
            | Body::Accept
            | Body::Reject(_)
            | Body::Fulfill(_)
            | Body::Inform(_)
            | Body::Query(_)
            | Body::Clarify(_)
            | Body::Delegate(_)
            | Body::Escalate(_)
            | Body::Withdraw(_)
            | Body::Close(_)
            | Body::Invite { .. }
            | Body::Introduce
            | Body::Decline(_)
            | Body::Rate { .. }
            | Body::System(_) => return Ok(()),
        };
        let Some(money) = money else { return Ok(()) };
        let mut bounded = Vec::new();
        for id in parties {
            let Some(participant) = session.participant(id) else { continue };
            bounded.push(Bounded { whose: id.to_string(), level: self.level_of(batch, session, participant)? });
        }
        Ok(ceiling::check(&bounded, money, &others, &self.shared.settings.fx)?)
    }

    /// What an agent's level lets it open: `maxTransactionValue` within its ceiling, sessions a day within its quota.
    pub(super) fn check_opening(&self, batch: &Batch<'_>, agent: &Agent, session: &Session) -> Step<()> {
        let level = facts(&self.shared, &batch.txn, agent)?.level(&agent.id.organisation(), batch.now);
        if let Some(most) = session.constraints.max_transaction_value {
            let whose = session.participants.first().map(|inviter| inviter.id.to_string()).unwrap_or_default();
            let refused = ceiling::check(&[Bounded { whose, level }], most, &[], &self.shared.settings.fx);
            refused.map_err(|refusal| refusal.at("/constraints/maxTransactionValue"))?;
        }
        let Some(limit) = level.sessions_a_day() else { return Ok(()) };
        let tag = self.shared.agent_tag(&agent.id);
        let since = Timestamp((batch.now.0 - QUOTA_WINDOW.0).max(0));
        let from = (tag, since.0.cast_unsigned() + 1, crate::protocol::ids::SessionId(uuid::Uuid::nil()));
        let to = (tag, u64::MAX, crate::protocol::ids::SessionId(uuid::Uuid::max()));
        let opened = batch.txn.range(&INVITED, from..to, Order::Forward, MOST_OPENED)?;
        // The next may be opened once so many have left the window that one is free.
        let first = opened.len().checked_sub(limit as usize).and_then(|over| opened.get(over));
        let Some(((_, first, _), ())) = first else { return Ok(()) };
        let reset = Timestamp(first.cast_signed()) + QUOTA_WINDOW;
        let detail = format!(
            "level {} opens {limit} sessions in 24 h, and {} were opened; the next may be at {reset}",
            level.number(),
            opened.len()
        );
        let refusal = Refusal::new(Code::SessionQuotaExceeded, detail).with("limit", json!(limit));
        Err(refusal.with("used", json!(opened.len())).with("resetAt", json!(reset)).into())
    }

    /// Counts a session in its inviter's quota.
    pub(super) fn count_opening(&self, batch: &mut Batch<'_>, inviter: Tag, session: &Session) -> Step<()> {
        batch.put(&INVITED, &(inviter, session.opened_at.0.cast_unsigned(), session.id), &())?;
        Ok(())
    }
}
