//! Booking: what a record means for the trust of a session's parties, in the commit that files the record.
//!
//! Every cell that has a copy books for every party whose name it knows, its own agents and others alike: for its own
//! that is their score, for others its own estimate of them. Source: docs/spec/details.md section 5.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::live::Live;
use super::operation::Assigned;
use super::outcomes;
use super::registry;
use super::stop::Step;
use super::tables::{BOOKED, Booked, COUNTED, INVITED, Kept, REPUTATIONS, Reputation, Tag};
use super::view::View;
use crate::crypto::digest::Digest;
use crate::protocol::commitment::{Commitment, Kind, Status};
use crate::protocol::ids::{AgentId, ParticipantId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Changes, Session, State};
use crate::protocol::time::Timestamp;
use crate::protocol::trust::{self, Closed, Decision, Fact, Facts, Identity, evidence};
use crate::store::{Fault, Order, View as _};

/// The last records of a closed session, read for response times.
const MOST_RECORDS: u64 = 10_000;
/// The response times of a session that are booked, the last ones: no more count.
const MOST_TIMES: usize = 50;

/// The parties of a session as facts are booked on them: by their names in keys, which stay when a session's share is
/// erased, so that what comes late still counts.
pub(super) type Parties = BTreeMap<ParticipantId, Tag>;

/// Whom a fact is about, and where it comes from.
pub(super) struct About<'a> {
    pub agent: Tag,
    pub session: Option<&'a Session>,
    pub participant: Option<ParticipantId>,
    /// When it came about: by the record's own time, wherever it is booked.
    pub at: Timestamp,
}

impl Engine {
    /// Books what a record brought about.
    pub(super) fn book_changes(&mut self, batch: &mut Batch<'_>, live: &mut Live, changes: &Changes) -> Step<()> {
        let ended = changes.to.is_final() && live.kept.counted.is_none();
        if changes.commitments.is_empty() && !ended {
            return Ok(());
        }
        let parties = self.parties(batch, &live.kept)?;
        let mut concerned = self.book_decisions(batch, live, &parties)?;
        if ended {
            concerned = live.kept.session.participants.iter().map(|participant| participant.id).collect();
            live.kept.counted = Some(0.0);
            match live.kept.session.state {
                State::Closed => self.book_end(batch, live, &parties)?,
                State::Failed => self.uncount_opening(batch, live, &parties),
                State::Invited
                | State::Introduced
                | State::Conversing
                | State::Agreeing
                | State::Executing
                | State::Escalated => {}
            }
        }
        self.refresh_trust(batch, live, &concerned)
    }

    /// Commitments decided, or decided otherwise than before, since they were looked at last; whose they are.
    pub(super) fn book_decisions(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        parties: &Parties,
    ) -> Step<Vec<ParticipantId>> {
        let session = live.kept.session.clone();
        let mut concerned = Vec::new();
        for commitment in session.commitments.iter().filter(|commitment| commitment.sequence >= live.kept.begins) {
            let before = live.kept.decided.get(&commitment.id).copied();
            let now = decision(&session, commitment);
            if before == now {
                continue;
            }
            concerned.push(commitment.obligor);
            if let Some(&agent) = parties.get(&commitment.obligor) {
                let about = About {
                    agent,
                    session: Some(&session),
                    participant: Some(commitment.obligor),
                    at: session.head.timestamp,
                };
                for fact in before.map(Fact::Reversed).into_iter().chain(now.map(Fact::Decided)) {
                    self.learn(batch, &about, fact)?;
                }
            }
            match now {
                Some(now) => live.kept.decided.insert(commitment.id, now),
                None => live.kept.decided.remove(&commitment.id),
            };
        }
        Ok(concerned)
    }

    /// A session reached CLOSED: its outcome is signed, and counts for all who took part.
    fn book_end(&mut self, batch: &mut Batch<'_>, live: &mut Live, parties: &Parties) -> Step<()> {
        let session = live.kept.session.clone();
        let success = success(&live.kept);
        live.kept.counted = Some(success);
        let joined = |id: &ParticipantId| session.participant(*id).is_some_and(|p| p.joined);
        let present: Vec<Tag> = parties.iter().filter(|(id, _)| joined(id)).map(|(_, agent)| *agent).collect();
        self.meet_each_other(batch, &session, &present)?;
        let mut answers = self.response_times(batch, &session)?;
        for participant in session.participants.iter().filter(|p| p.joined && !p.dropped) {
            let Some(&agent) = parties.get(&participant.id) else { continue };
            let about =
                About { agent, session: Some(&session), participant: Some(participant.id), at: session.head.timestamp };
            if let Some(seconds) = answers.remove(&participant.id) {
                self.learn(batch, &about, Fact::Answered(seconds))?;
            }
            let rated = session.ratings.iter().filter(|rating| rating.of == participant.id);
            for rating in rated.filter(|rating| crosses(&session, rating.by, rating.of)) {
                self.learn(batch, &about, Fact::Rated(rating.rating))?;
            }
            let whole = if session.is_internal() { 0.5 } else { 1.0 };
            let idle = participant.home.cell == self.shared.settings.cell;
            let closed = Closed { success, whole, idle, end_to_end: session.constraints.end_to_end };
            self.learn(batch, &about, Fact::Closed(closed))?;
        }
        self.state_outcome(batch, live, parties)
    }

    /// What its parties' cells said of a closed session has changed: it counts as it says now, and is signed anew.
    pub(super) fn restate_outcome(&mut self, batch: &mut Batch<'_>, live: &mut Live) -> Step<()> {
        let Some(before) = live.kept.counted.filter(|_| live.kept.session.state == State::Closed) else {
            return Ok(());
        };
        let parties = self.parties(batch, &live.kept)?;
        let now = success(&live.kept);
        if (now - before).abs() > f64::EPSILON {
            live.kept.counted = Some(now);
            let session = live.kept.session.clone();
            for participant in session.participants.iter().filter(|p| p.joined && !p.dropped) {
                let Some(&agent) = parties.get(&participant.id) else { continue };
                let (session, participant) = (Some(&session), Some(participant.id));
                let about = About { agent, session, participant, at: live.kept.session.head.timestamp };
                self.learn(batch, &about, Fact::Recounted(now - before))?;
            }
        }
        self.state_outcome(batch, live, &parties)
    }

    /// A rating given after the end.
    pub(super) fn book_rating(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        rating: crate::protocol::session::Rating,
    ) -> Step<()> {
        let session = &live.kept.session;
        if crosses(session, rating.by, rating.of) {
            let parties = self.parties(batch, &live.kept)?;
            if let Some(&agent) = parties.get(&rating.of) {
                let about =
                    About { agent, session: Some(session), participant: Some(rating.of), at: session.head.timestamp };
                self.learn(batch, &about, Fact::Rated(rating.rating))?;
            }
        }
        self.restate_outcome(batch, live)?;
        self.refresh_trust(batch, live, &[rating.of])
    }

    /// Those on whom this cell books: in a session that it came into by a DELEGATE its own alone, since what the others
    /// did before that it has not seen.
    pub(super) fn parties(&self, batch: &Batch<'_>, kept: &Kept) -> Result<Parties, Fault> {
        let seats = View { shared: &self.shared, rows: &batch.txn }.seats(kept.session.id)?;
        let booked = seats.into_iter().filter(|(_, row)| kept.begins == 1 || row.cell == self.shared.settings.cell);
        Ok(booked.filter_map(|(participant, row)| Some((participant, row.agent?))).collect())
    }

    /// Books one fact and folds it into the agent's reputation; where it stands among the agent's facts.
    pub(super) fn learn(&mut self, batch: &mut Batch<'_>, about: &About<'_>, fact: Fact) -> Step<u64> {
        let tag = about.agent;
        let mut reputation = if let Some(reputation) = batch.txn.get(&REPUTATIONS, &tag)? {
            reputation
        } else {
            let known = registry::agent_of(&self.shared, &batch.txn, tag)?;
            let since = known.map_or(batch.now, |agent| agent.registered_at);
            Reputation {
                facts: Facts::registered(Identity::BoundKey, since),
                outcomes: Digest::of(&[b"[]"]),
                booked: 0,
            }
        };
        reputation.facts.book(&fact, about.at);
        let (session, participant) = (about.session.map(|session| session.id), about.participant);
        let row = Booked { at: about.at, session, participant, fact };
        let place = reputation.booked;
        batch.put(&BOOKED, &(tag, place), &row)?;
        reputation.booked += 1;
        batch.put(&REPUTATIONS, &tag, &reputation)?;
        Ok(place)
    }

    /// From another's record to one's next, in seconds, by participant.
    fn response_times(&self, batch: &Batch<'_>, session: &Session) -> Result<BTreeMap<ParticipantId, Vec<f64>>, Fault> {
        let view = View { shared: &self.shared, rows: &batch.txn };
        let mut times: BTreeMap<ParticipantId, Vec<f64>> = BTreeMap::new();
        // The newest record of anybody but the one named by the key, since that one's own last record.
        let mut waiting: BTreeMap<ParticipantId, Timestamp> = BTreeMap::new();
        let from = session.head.sequence.saturating_sub(MOST_RECORDS);
        for row in view.logged_after(session.id, from, usize::MAX)? {
            let Some(sender) = row.record.sender.participant() else { continue };
            if let Some(since) = waiting.remove(&sender) {
                times.entry(sender).or_default().push(seconds(since, row.record.timestamp));
            }
            for other in session.participants.iter().filter(|p| p.id != sender) {
                waiting.insert(other.id, row.record.timestamp);
            }
        }
        for times in times.values_mut() {
            times.drain(..times.len().saturating_sub(MOST_TIMES));
        }
        Ok(times)
    }

    /// A declined, expired or withdrawn invitation does not count against the quota.
    fn uncount_opening(&self, batch: &mut Batch<'_>, live: &Live, parties: &Parties) {
        let session = &live.kept.session;
        if let Some(agent) = session.participants.first().and_then(|inviter| parties.get(&inviter.id)) {
            let key = (*agent, session.opened_at.0.cast_unsigned(), session.id);
            batch.remove(&INVITED, &key);
        }
    }

    /// `trust assign`: level 5, or imported history, by the operator's word.
    pub(super) fn trust_assign(
        &mut self,
        batch: &mut Batch<'_>,
        agent: &AgentId,
        assigned: &Assigned,
        reason: &str,
    ) -> Step<Value> {
        let unknown = || Refusal::new(Code::NotFound, format!("no agent {agent} in this cell"));
        let known = registry::agent(&self.shared, &batch.txn, agent)?.ok_or_else(unknown)?;
        let fact = match assigned {
            Assigned::Infrastructure(on) => {
                if *on && self.shared.settings.operator_org.as_ref() != Some(&agent.organisation()) {
                    let detail = "level 5 is for agents of the cell's own operator alone; [cell] operator_org names it";
                    return Err(Refusal::new(Code::PolicyViolation, detail).at("/level").into());
                }
                Fact::Infrastructure(*on)
            }
            Assigned::History(text) => {
                let tag = |agent: &AgentId| Digest(self.shared.agent_tag(agent).0);
                let peer = |kid: &str| self.facts.peer_of_key(kid);
                Fact::Imported(Box::new(trust::history::read(text, agent, tag, peer)?))
            }
        };
        let tag = self.shared.agent_tag(agent);
        self.audit(batch, "operator", "operator", &tag.to_string(), format!("trust assign: {reason}").as_bytes())?;
        self.learn(batch, &About { agent: tag, session: None, participant: None, at: batch.now }, fact)?;
        let shown = super::trust::shown(&self.shared, &batch.txn, &known, batch.now)?;
        Ok(json!({"agentId": agent, "trust": shown}))
    }

    /// Signs the session's outcome as it stands, tells the other cells, and counts it in the trust of its parties.
    fn state_outcome(&mut self, batch: &mut Batch<'_>, live: &Live, parties: &Parties) -> Step<()> {
        let session = witnessed(&live.kept);
        let payload = session.outcome_view(&self.shared.settings.cell);
        let digest = evidence::outcome_digest(&payload);
        outcomes::state(self, batch, live, &payload)?;
        for participant in session.participants.iter().filter(|p| p.joined && !p.dropped) {
            let Some(&tag) = parties.get(&participant.id) else { continue };
            batch.put(&COUNTED, &(tag, session.id), &digest)?;
            let Some(mut reputation) = batch.txn.get(&REPUTATIONS, &tag)? else { continue };
            let counted = batch.txn.under(&COUNTED, &(tag,), Order::Forward, usize::MAX)?;
            reputation.outcomes = evidence::outcomes_digest(counted.into_iter().map(|(_, digest)| digest));
            batch.put(&REPUTATIONS, &tag, &reputation)?;
        }
        Ok(())
    }
}

/// The session with the commitments that this cell saw made: of those before it came in it has the host's word alone,
/// and gives none of its own.
fn witnessed(kept: &Kept) -> Session {
    let mut session = kept.session.clone();
    if kept.begins > 1 {
        session.commitments.retain(|commitment| commitment.sequence >= kept.begins);
        session.outcome = session.outcome.map(|outcome| outcome.derived(&session.commitments));
    }
    session
}

/// What a closed session counts among successes now, by what this cell signs of it.
fn success(kept: &Kept) -> f64 {
    let session = witnessed(kept);
    let breach = session.commitments.iter().any(|commitment| commitment.breach.is_some());
    session.outcome.map_or(0.0, |outcome| trust::weight(outcome, breach, session.is_internal()))
}

/// Whether two are of different organisations: within one, commitments and ratings count in no component.
pub(super) fn crosses(session: &Session, one: ParticipantId, other: ParticipantId) -> bool {
    let home = |id| session.participant(id).map(|participant| &participant.home.organisation);
    home(one) != home(other)
}

/// How a commitment counts for its obligor, once it is decided.
fn decision(session: &Session, commitment: &Commitment) -> Option<Decision> {
    let settled = match commitment.status {
        Status::Settled => true,
        Status::Breached => false,
        Status::Pending
        | Status::Accepted
        | Status::Escrowed
        | Status::Claimed
        | Status::Fulfilled
        | Status::Contested
        | Status::Rejected
        | Status::Withdrawn => return None,
    };
    let payment = commitment.kind == Kind::Payment;
    let severity = commitment.breach.map(|breach| breach.severity);
    crosses(session, commitment.obligor, commitment.beneficiary).then_some(Decision { payment, settled, severity })
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a session stay far below 2^53")]
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to - from).0.max(0) as f64 / 1000.0
}
