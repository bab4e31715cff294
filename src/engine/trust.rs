//! Trust as it is computed, signed and enforced: scores of own agents from booked facts, limits of all by their levels.
//!
//! Enforced by the host alone, for levels may look different from another cell. Source: docs/spec/protocol.md section
//! 5, docs/spec/details.md sections 4 and 5.

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::live::Live;
use super::registry;
use super::request::Caller;
use super::shared::Shared;
use super::stop::Step;
use super::tables::{Agent, INVITED, REPUTATIONS, Tag};
use super::verified;
use super::view::{Reading, View, unavailable};
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;
use crate::protocol::ceiling::{self, Bounded};
use crate::protocol::ids::{AgentId, ParticipantId, SessionId};
use crate::protocol::money::Money;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Act, Session};
use crate::protocol::terms::Stake;
use crate::protocol::time::{Span, Timestamp};
use crate::protocol::trust::{Facts, Identity, history};
use crate::store::{Fault, Order, View as Rows};

/// The window of the quota.
const QUOTA_WINDOW: Span = Span::days(1);
/// Sessions counted at most: more than any quota.
const MOST_OPENED: usize = 10_000;
/// How many of those that left the window are forgotten with each that is opened.
const FORGOTTEN: usize = 8;

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

/// What is signed of an own agent.
pub fn payload(shared: &Shared, rows: &impl Rows, agent: &Agent, now: Timestamp) -> Result<Value, Fault> {
    let facts = facts(shared, rows, agent)?;
    let level = facts.level(&agent.id.organisation(), now);
    let outcomes = rows.get(&REPUTATIONS, &shared.agent_tag(&agent.id))?.map(|known| known.outcomes);
    let mut payload = json!({
        "type": Kind::Trust.payload_type(),
        "agentId": agent.id,
        "cell": shared.settings.cell,
        "asOf": now,
        "ceiling": level.ceiling_view(),
        "outcomes": outcomes.unwrap_or_else(|| Digest::of(&[b"[]"])),
    });
    if let (Some(payload), Value::Object(shown)) = (payload.as_object_mut(), facts.view(&agent.id.organisation(), now))
    {
        payload.extend(shown);
    }
    Ok(payload)
}

/// An agent's history as this cell saw it, signed for the operator of another (S20). Of a peer's agent it is what came
/// about in the sessions they shared, with no idle time in Λ.
pub fn attested(shared: &Shared, rows: &impl Rows, id: &AgentId, now: Timestamp) -> Result<Reading<Value>, Fault> {
    let (facts, lambda) = match registry::agent(shared, rows, id)? {
        Some(agent) => {
            let facts = facts(shared, rows, &agent)?;
            (facts.clone(), facts.penalty.at(now))
        }
        None => match rows.get(&REPUTATIONS, &shared.agent_tag(id))? {
            Some(seen) => (seen.facts.clone(), seen.facts.penalty.booked),
            None => return Ok(Err(verified::unknown(id))),
        },
    };
    let mut history = history::written(&facts, id, lambda);
    let attestation = shared.sign(Kind::History, &history);
    if let Value::Object(members) = &mut history {
        members.remove("type");
        members.insert("attestation".to_owned(), attestation.into());
    }
    Ok(Ok(history))
}

impl<R: Rows> View<'_, R> {
    /// `GET /v1/asp/trust/{agentId}`: the signed members beside their signature.
    pub fn trust(&self, caller: &Caller, id: &AgentId, now: Timestamp) -> Reading<Value> {
        let (shared, rows) = (self.shared, self.rows);
        let payload = match registry::agent(shared, rows, id).map_err(|fault| unavailable(&fault))? {
            Some(agent) => payload(shared, rows, &agent, now).map_err(|fault| unavailable(&fault))?,
            None => verified::foreign(shared, rows, &caller.agent.organisation(), id, now)?
                .ok_or_else(|| verified::unknown(id))?,
        };
        let signature = shared.sign(Kind::Trust, &payload);
        let Value::Object(mut members) = payload else { return Ok(Value::Null) };
        members.remove("type");
        members.insert("signature".into(), json!(signature));
        Ok(Value::Object(members))
    }
}

impl Engine {
    /// Ceilings of an offer or a commitment, asked by the host.
    pub(super) fn check_ceiling(&self, batch: &Batch<'_>, live: &Live, act: &Act) -> Step<()> {
        let session = &live.kept.session;
        let (money, others, parties): (Option<Money>, Vec<Money>, Vec<ParticipantId>) = match act.terms.body.stake() {
            Stake::Offer(offered) => {
                (offered.money, Vec::new(), session.participants.iter().filter(|p| p.joined).map(|p| p.id).collect())
            }
            Stake::Pledge(pledge) => (pledge.money, session.paid_beside(pledge), vec![act.sender, pledge.beneficiary]),
            // The inviter's own words put constraints in force: within its ceiling, as at INVITE.
            Stake::Bound(constraints) if session.participants.first().is_some_and(|p| p.id == act.sender) => {
                (constraints.max_transaction_value, Vec::new(), vec![act.sender])
            }
            Stake::Bound(_) | Stake::Nothing => return Ok(()),
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
        let from = (tag, since.0.cast_unsigned() + 1, SessionId(uuid::Uuid::nil()));
        let to = (tag, u64::MAX, SessionId(uuid::Uuid::max()));
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

    /// Counts a session in its inviter's quota; what has left the window is forgotten, a few at a time.
    pub(super) fn count_opening(&self, batch: &mut Batch<'_>, inviter: Tag, session: &Session) -> Step<()> {
        let since = (batch.now.0 - QUOTA_WINDOW.0).max(0).cast_unsigned();
        let nil = SessionId(uuid::Uuid::nil());
        for (key, ()) in
            batch.txn.range(&INVITED, (inviter, 0, nil)..(inviter, since, nil), Order::Forward, FORGOTTEN)?
        {
            batch.remove(&INVITED, &key);
        }
        batch.put(&INVITED, &(inviter, session.opened_at.0.cast_unsigned(), session.id), &())?;
        Ok(())
    }
}
