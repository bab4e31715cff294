//! Trust as this cell verified it: what a session's participants are held to, what agents are shown of another cell's
//! agent, and what they are told when it changes.
//!
//! An own agent's trust is what its facts say now; another's is the least that its home's signed word and this cell's
//! own sight of it allow. Source: docs/spec/details.md section 5 ("A peer enforces"), S7 (`trust`), S8b.

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::live::Live;
use super::registry;
use super::shared::Shared;
use super::stop::Step;
use super::tables::{KNOWN, REPUTATIONS, SEATS, SeatRow, Sitter};
use super::trust::facts;
use super::view::{Reading, View, unavailable};
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;
use crate::protocol::ids::{AgentId, CellId, OrgName, ParticipantId, SessionId};
use crate::protocol::performative::Performative;
use crate::protocol::record::Record;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Participant, Session, Standing};
use crate::protocol::time::Timestamp;
use crate::protocol::trust::{Estimate, Facts, HomeWord, Identity, Level, Score, enforced};
use crate::store::{Fault, View as Rows};

/// What the signed trust of another cell's agent says.
struct Word {
    home: HomeWord,
    as_of: Timestamp,
    identity: Option<Identity>,
    payload: Value,
}

impl Word {
    fn read(shared: &Shared, home: &CellId, agent: &AgentId, jws: &str) -> Option<Self> {
        let payload = shared.verify(home, Kind::Trust, jws).ok()?;
        if payload.get("agentId")?.as_str()? != agent.as_str() {
            return None;
        }
        let as_of = payload.get("asOf")?.as_str()?.parse().ok()?;
        let score = Score::floored(payload.get("score")?.as_f64()?);
        let penalty = payload.get("penalty")?.as_f64()?.max(0.0);
        let level = payload.pointer("/components/IV").and_then(Value::as_f64);
        let known = [20_u8, 50, 75, 100].into_iter().find(|known| level == Some(f64::from(*known)));
        let identity = known.and_then(Identity::of_level);
        Some(Self { home: HomeWord { score, penalty }, as_of, identity, payload })
    }
}

/// What this cell makes of a participant; one of another cell without signed trust counts as 0.
pub fn standing(
    shared: &Shared,
    rows: &impl Rows,
    home: &CellId,
    agent: &AgentId,
    jws: Option<&str>,
    now: Timestamp,
) -> Result<Standing, Fault> {
    let held_to = |score: Score, effective: Score, level: Level, as_of: Timestamp| Standing {
        score: score.value(),
        effective: effective.value(),
        level: level.number(),
        as_of,
        verified_by: shared.settings.cell.clone(),
    };
    if *home == shared.settings.cell {
        let Some(known) = registry::agent(shared, rows, agent)? else {
            return Ok(held_to(Score::default(), Score::default(), Level::Probation, now));
        };
        let facts = facts(shared, rows, &known)?;
        let (score, level) = (facts.score(&agent.organisation(), now), facts.level(&agent.organisation(), now));
        return Ok(held_to(score, score, level, now));
    }
    let Some(word) = jws.and_then(|jws| Word::read(shared, home, agent, jws)) else {
        return Ok(held_to(Score::default(), Score::default(), Level::Probation, now));
    };
    let (effective, _) = least(shared, rows, home, agent, &word, now)?;
    Ok(held_to(word.home.score, effective, Level::of(effective), word.as_of))
}

/// The score that is enforced of another cell's agent, and this cell's own sight of it.
fn least(
    shared: &Shared,
    rows: &impl Rows,
    home: &CellId,
    agent: &AgentId,
    word: &Word,
    now: Timestamp,
) -> Result<(Score, Estimate), Fault> {
    let cap = shared.settings.trust_cap(&shared.facts.load(), home);
    let seen = rows.get(&REPUTATIONS, &shared.agent_tag(agent))?;
    let estimate = seen.map_or_else(Estimate::default, |seen| estimate(seen.facts, agent, word.identity, now));
    Ok((enforced(&word.home, &estimate, cap), estimate))
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

/// `GET /v1/asp/trust/{agentId}` of another cell's agent: what this cell enforces, by the signed trust that the agent
/// last showed in a session with the asker's organisation. Nobody learns here with whom others deal.
pub fn foreign(
    shared: &Shared,
    rows: &impl Rows,
    asker: &OrgName,
    agent: &AgentId,
    now: Timestamp,
) -> Reading<Option<Value>> {
    let read = || -> Result<Option<Value>, Fault> {
        let key = (shared.agent_tag(agent), shared.org_tag(asker));
        let Some((session, participant)) = rows.get(&KNOWN, &key)? else { return Ok(None) };
        let Some(row) = rows.get(&SEATS, &(session, participant))? else { return Ok(None) };
        let sitter = View { shared, rows }.sitter(session, participant, &row, asker)?;
        let Some(jws) = sitter.filter(|sitter| sitter.agent == *agent).and_then(|sitter| sitter.trust) else {
            return Ok(None);
        };
        let Some(word) = Word::read(shared, &row.cell, agent, &jws) else { return Ok(None) };
        let (effective, seen) = least(shared, rows, &row.cell, agent, &word, now)?;
        let level = Level::of(effective);
        let said = |member: &str| word.payload.get(member).cloned().unwrap_or_default();
        let outcomes = rows.get(&REPUTATIONS, &shared.agent_tag(agent))?.map(|seen| seen.outcomes);
        Ok(Some(json!({
            "type": Kind::Trust.payload_type(),
            "agentId": agent,
            "cell": shared.settings.cell,
            "asOf": now,
            "score": effective.value(),
            "level": level.number(),
            "ceiling": level.ceiling_view(),
            "components": said("components"),
            "penalty": (word.home.penalty.max(seen.penalty) * 1e6).round() / 1e6,
            "imported": said("imported"),
            "outcomes": outcomes.unwrap_or_else(|| Digest::of(&[b"[]"])),
            "home": {"cell": row.cell, "score": word.home.score.value(), "penalty": word.home.penalty,
                "asOf": word.as_of, "signature": jws},
        })))
    };
    read().map_err(|fault| unavailable(&fault))
}

/// The same for an agent that this cell does not know.
pub fn unknown(agent: &AgentId) -> Refusal {
    Refusal::new(Code::NotFound, format!("no agent {agent} in this cell, and none that showed its trust to yours"))
}

impl Engine {
    /// What this cell makes of a participant now; `None` where its name was erased.
    fn standing_of(
        &self,
        batch: &Batch<'_>,
        session: &Session,
        participant: &Participant,
    ) -> Result<Option<Standing>, Fault> {
        let Some(row) = batch.txn.get(&SEATS, &(session.id, participant.id))? else { return Ok(None) };
        let Some(sitter) = self.sitter_here(batch, session, participant.id, &row)? else { return Ok(None) };
        standing(&self.shared, &batch.txn, &row.cell, &sitter.agent, sitter.trust.as_deref(), batch.now).map(Some)
    }

    fn sitter_here(
        &self,
        batch: &Batch<'_>,
        session: &Session,
        participant: ParticipantId,
        row: &SeatRow,
    ) -> Result<Option<Sitter>, Fault> {
        let view = View { shared: &self.shared, rows: &batch.txn };
        for holder in super::border::orgs_in(session, &self.shared.settings.cell) {
            if let Some(sitter) = view.sitter(session.id, participant, row, &holder)? {
                return Ok(Some(sitter));
            }
        }
        Ok(None)
    }

    /// The level of a participant as this cell enforces it now.
    pub(super) fn level_of(&self, batch: &Batch<'_>, session: &Session, participant: &Participant) -> Step<Level> {
        let now = self.standing_of(batch, session, participant)?;
        // An erased one keeps what was last verified.
        let level = now.as_ref().or(participant.standing.as_ref()).map_or(0, |standing| standing.level);
        Ok(Level::ALL.into_iter().find(|known| known.number() == level).unwrap_or(Level::Probation))
    }

    /// The score that binds an own agent's answer; another's came with the answer itself.
    pub(super) fn score_of(&self, batch: &Batch<'_>, session: &Session, sender: ParticipantId) -> Step<Option<f64>> {
        let Some(participant) = session.participant(sender) else { return Ok(None) };
        let own = participant.home.cell == self.shared.settings.cell;
        let now = if own { self.standing_of(batch, session, participant)? } else { None };
        Ok(now.as_ref().or(participant.standing.as_ref()).map(|standing| standing.effective))
    }

    /// Remembers where another cell's agent last showed its trust, for each organisation that may read it.
    pub(super) fn note_known(
        &self,
        batch: &mut Batch<'_>,
        session: &Session,
        participant: ParticipantId,
        (cell, sitter): (&CellId, &Sitter),
    ) -> Result<(), Fault> {
        let own = &self.shared.settings.cell;
        if sitter.trust.is_none() || cell == own {
            return Ok(());
        }
        let tag = self.shared.agent_tag(&sitter.agent);
        let place: (SessionId, ParticipantId) = (session.id, participant);
        for holder in super::border::orgs_in(session, own) {
            batch.put(&KNOWN, &(tag, self.shared.org_tag(&holder)), &place)?;
        }
        Ok(())
    }

    /// After an INVITE or an answer: tells the trust that was verified with it.
    pub(super) fn tell_verified(&mut self, batch: &mut Batch<'_>, live: &mut Live, record: &Record) -> Step<()> {
        let first = record.performative == Performative::Invite;
        if !first && record.performative != Performative::Introduce {
            return Ok(());
        }
        let sender = record.sender.participant();
        for index in 0..live.kept.session.participants.len() {
            let Some(participant) = live.kept.session.participants.get(index) else { continue };
            if first && participant.standing.is_some() || Some(participant.id) == sender {
                self.refresh_one(batch, live, index, true)?;
            }
        }
        Ok(())
    }

    /// After facts were booked for these participants: what this cell makes of them is brought up to date, and whoever
    /// reads the session is told what changed.
    pub(super) fn refresh_trust(&mut self, batch: &mut Batch<'_>, live: &mut Live, of: &[ParticipantId]) -> Step<()> {
        for index in 0..live.kept.session.participants.len() {
            if live.kept.session.participants.get(index).is_some_and(|participant| of.contains(&participant.id)) {
                self.refresh_one(batch, live, index, false)?;
            }
        }
        Ok(())
    }

    fn refresh_one(&mut self, batch: &mut Batch<'_>, live: &mut Live, index: usize, always: bool) -> Step<()> {
        let Some(participant) = live.kept.session.participants.get(index) else { return Ok(()) };
        let id = participant.id;
        let Some(now) = self.standing_of(batch, &live.kept.session, participant)? else { return Ok(()) };
        let figures = |standing: &Standing| (standing.score, standing.effective, standing.level);
        if !always && participant.standing.as_ref().map(figures) == Some(figures(&now)) {
            return Ok(());
        }
        let body = json!({"participantId": id, "trust": now.view()});
        if let Some(participant) = live.kept.session.participants.get_mut(index) {
            participant.standing = Some(now);
        }
        live.changed = true;
        self.tell(batch, live, false, "trust", body)
    }
}
