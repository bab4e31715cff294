//! What an erasure is about: its sessions, the records and secrets in them, and what of it is in no session.
//!
//! Source: docs/spec/federation.md section 4, docs/spec/details.md section 10.

use std::collections::{BTreeMap, BTreeSet};

use super::core::{Batch, Engine};
use super::erasure::{Erasure, SAT, Target};
use super::operation::ErasureScope;
use super::rescoping::Victims;
use super::scopes;
use super::stop::Step;
use super::tables::{
    self, AGENTS, AGENTS_OF, BESIDE, Copies, EN_ROUTE, FEED, KEYS, KEYS_OF, PENDING, PartRow, Pending, SESSIONS_OF,
    SUBJECTS,
};
use super::view::View;
use crate::crypto::digest::Digest;
use crate::protocol::ids::{MessageId, OrgName, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::store::{Fault, Order as Sorted, View as _};
use crate::vault::Tag;
use crate::wire::frame::{PartFrame, Placed};

/// Messages that wait for their place with parts of what is erased, by session.
pub(super) type Waiting = BTreeMap<SessionId, Vec<(MessageId, Vec<String>)>>;

/// What an erasure concerns.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Secrets that more than one session may need.
    pub secrets: BTreeSet<Tag>,
    /// What it concerns of each session.
    pub sessions: BTreeMap<SessionId, Share>,
    /// Rows that lead from a data subject to its parts.
    pub listed: BTreeSet<(Tag, SessionId, u64)>,
    /// Whether it concerns more than sessions.
    pub beside: bool,
}

/// What an erasure concerns of one session.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// The records; `None`: all of them.
    pub sequences: Option<BTreeSet<u64>>,
    /// Secrets that only this session needs.
    pub secrets: Vec<Tag>,
    /// Parts that have no secret of their own.
    pub victims: Victims,
}

/// Adds all sessions that an agent sits or sat in.
pub(super) fn sat_in(batch: &Batch<'_>, agent: Tag, plan: &mut Plan) -> Result<(), Fault> {
    for ((_, session), _) in batch.txn.under(&SAT, &(agent,), Sorted::Forward, usize::MAX)? {
        plan.sessions.entry(session).or_default();
    }
    Ok(())
}

/// Adds all parts that a data subject's secret protects.
fn listed_under(batch: &Batch<'_>, subject: Tag, plan: &mut Plan) -> Result<(), Fault> {
    let some = || Share { sequences: Some(BTreeSet::new()), ..Share::default() };
    for (key, _) in batch.txn.under(&SUBJECTS, &(subject,), Sorted::Forward, usize::MAX)? {
        if let Some(sequences) = &mut plan.sessions.entry(key.1).or_insert_with(some).sequences {
            sequences.insert(key.2);
        }
        plan.listed.insert(key);
    }
    Ok(())
}

/// A message as far as this cell has it.
#[derive(Debug)]
pub(super) struct Found {
    /// Its place, once it has one in the chain.
    pub sequence: Option<u64>,
    /// The sender's organisation.
    pub owner: Option<OrgName>,
    /// Its parts, and the empty name for its box.
    pub names: BTreeSet<String>,
    /// The parts of which a copy is there.
    pub sealed: BTreeSet<String>,
}

impl Engine {
    /// What is kept of a scope.
    pub(super) fn target(&self, scope: &ErasureScope) -> Target {
        match scope {
            ErasureScope::Session(session) => Target::Session(*session),
            ErasureScope::Message(session, message, part) => Target::Message(*session, *message, part.clone()),
            ErasureScope::Subject(_) => Target::Subject,
            ErasureScope::Agent(agent) => Target::Agent(self.shared.agent_tag(agent)),
            ErasureScope::Organisation => Target::Organisation,
        }
    }

    /// Refuses what is not here.
    pub(super) fn concerns(&self, batch: &Batch<'_>, organisation: &OrgName, target: &Target, tag: Tag) -> Step<()> {
        match target {
            Target::Session(session) => self.sits_in(batch, *session, None),
            Target::Message(session, message, part) => {
                self.sits_in(batch, *session, Some(organisation))?;
                let found = self.find_message(batch, *session, *message)?;
                let found = found.ok_or_else(|| {
                    Refusal::new(Code::NotFound, format!("no message {message} in session {session}")).at("/message")
                })?;
                match part {
                    Some(part) if part.is_empty() || !found.names.contains(part) => {
                        let named: Vec<&str> =
                            found.names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
                        let detail = format!("the message has no part {part:?}; it has: {}", named.join(", "));
                        Err(Refusal::new(Code::NotFound, detail).at("/part").into())
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Target::Subject => {
                let listed = !batch.txn.under(&SUBJECTS, &(tag,), Sorted::Forward, 1)?.is_empty();
                if !listed && self.shared.vault.secret(tag)?.is_none() {
                    let before = self.erasures_of(batch, tag)?.into_keys().next_back();
                    let before =
                        before.map_or_else(String::new, |id| format!("; it was erased by `erase status {id}`"));
                    let detail = "nothing of this data subject is kept here under that name for this organisation";
                    return Err(Refusal::new(Code::NotFound, format!("{detail}{before}")).at("/subject").into());
                }
                Ok(())
            }
            Target::Agent(_) | Target::Organisation | Target::Ordered(_) | Target::Parts(..) => Ok(()),
        }
    }

    fn sits_in(&self, batch: &Batch<'_>, session: SessionId, organisation: Option<&OrgName>) -> Step<()> {
        let known = batch.txn.get(&tables::SESSIONS, &session)?;
        let known = known.ok_or_else(|| Refusal::new(Code::NotFound, format!("no session {session} in this cell")))?;
        match organisation {
            Some(org) if !known.session.participants.iter().any(|p| p.home.organisation == *org) => {
                let detail = format!("{org} has no part in session {session}");
                Err(Refusal::new(Code::NotFound, detail).at("/session").into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What an erasure concerns, as the rows are now.
    pub(super) fn plan(&self, batch: &Batch<'_>, erasure: &Erasure) -> Step<Plan> {
        let mut plan = Plan::default();
        let (organisation, tag) = (&erasure.organisation, erasure.tag);
        match &erasure.scope {
            Some(Target::Session(session)) => {
                let share = plan.sessions.entry(*session).or_default();
                share.secrets.push(self.share_tag(batch, *session, organisation)?);
            }
            Some(Target::Message(session, message, part)) => {
                let found = self.find_message(batch, *session, *message)?;
                let names = found.map(|found| found.names).unwrap_or_default();
                let wanted = part.as_ref().map_or(names, |part| BTreeSet::from([part.clone()]));
                plan.sessions.entry(*session).or_default().victims.insert(*message, wanted);
            }
            Some(Target::Parts(session, messages)) => {
                let victims = &mut plan.sessions.entry(*session).or_default().victims;
                for (message, names) in messages {
                    victims.entry(*message).or_default().extend(names.iter().cloned());
                }
            }
            Some(Target::Subject) => {
                plan.secrets.insert(tag);
                listed_under(batch, tag, &mut plan)?;
                for session in self.waiting_under(batch, tag)?.into_keys() {
                    plan.sessions.entry(session).or_default().sequences.get_or_insert_default();
                }
            }
            Some(Target::Agent(agent)) => {
                plan.secrets.insert(tag);
                plan.beside = true;
                sat_in(batch, *agent, &mut plan)?;
            }
            Some(Target::Organisation) => {
                plan.secrets.insert(tag);
                plan.beside = true;
                let org = self.shared.org_tag(organisation);
                for ((_, session), ()) in batch.txn.under(&SESSIONS_OF, &(org,), Sorted::Forward, usize::MAX)? {
                    plan.sessions.entry(session).or_default();
                }
            }
            Some(Target::Ordered(items)) => {
                for (by_part, item) in items {
                    self.plan_item(batch, organisation, (*by_part, item), &mut plan)?;
                }
                let secrets: Vec<Tag> = plan.secrets.iter().chain(&erasure.doomed).copied().collect();
                for secret in secrets {
                    listed_under(batch, secret, &mut plan)?;
                }
            }
            None => {}
        }
        Ok(plan)
    }

    /// The tag of an organisation's secret of a session, as it is now.
    pub(super) fn share_tag(&self, batch: &Batch<'_>, session: SessionId, organisation: &OrgName) -> Step<Tag> {
        let live = self.live.get(&session).map(|live| live.kept.renewed.clone());
        let renewed = match live {
            Some(renewed) => renewed,
            None => batch.txn.get(&tables::SESSIONS, &session)?.map(|kept| kept.renewed).unwrap_or_default(),
        };
        Ok(scopes::share(&self.shared, &renewed, session, organisation))
    }

    /// A message by its id: in the chain, beside it, or waiting for its place.
    pub(super) fn find_message(
        &self,
        batch: &Batch<'_>,
        session: SessionId,
        message: MessageId,
    ) -> Result<Option<Found>, Fault> {
        let named = |parts: Vec<&String>| parts.into_iter().cloned().chain([String::new()]).collect();
        let whole = |parts: &BTreeMap<String, PartRow>| {
            let there = parts.iter().filter(|(_, part)| matches!(part, PartRow::Sealed(copies) if !copies.is_empty()));
            there.map(|(name, _)| name.clone()).collect()
        };
        if let Some(filed) = batch.txn.get(&tables::MESSAGES, &(session, message))? {
            let view = View { shared: &self.shared, rows: &batch.txn };
            let Some((_, row)) = view.logged(session, filed.sequence)? else { return Ok(None) };
            let names = named(row.parts.keys().collect());
            let sealed = whole(&row.parts);
            return Ok(Some(Found { sequence: Some(filed.sequence), owner: row.sender_org, names, sealed }));
        }
        if let Some(row) = batch.txn.get(&PENDING, &(session, message))? {
            let names = named(row.parts.keys().collect());
            let there = row.parts.iter().filter(|(_, copies)| !copies.is_empty());
            let sealed = there.map(|(name, _)| name.clone()).collect();
            return Ok(Some(Found { sequence: None, owner: Some(row.organisation), names, sealed }));
        }
        let noted = batch.txn.get(&BESIDE, &(session, message))?;
        Ok(noted.map(|row| {
            let names = named(row.parts.keys().collect());
            Found { sequence: None, owner: Some(row.organisation), names, sealed: whole(&row.parts) }
        }))
    }

    /// The messages of own agents that wait for their place with parts under a data subject's tag. They have no
    /// sequence by which an order could name them; what their host has of them it knows by their ids.
    pub(super) fn waiting_under(&self, batch: &Batch<'_>, tag: Tag) -> Result<Waiting, Fault> {
        let mut waiting = Waiting::new();
        for ((_, session, message), ()) in batch.txn.under(&EN_ROUTE, &(tag,), Sorted::Forward, usize::MAX)? {
            let Some(pending) = batch.txn.get(&PENDING, &(session, message))? else { continue };
            let under = |copies: &Copies| copies.iter().any(|copy| copy.scopes.contains(&tag));
            let parts = pending.parts.iter().filter(|(_, copies)| under(copies));
            let names: Vec<String> = parts.map(|(name, _)| name.clone()).collect();
            if !names.is_empty() {
                waiting.entry(session).or_default().push((message, names));
            }
        }
        Ok(waiting)
    }

    /// Takes a message out of those that wait for their place.
    pub(super) fn drop_pending(&self, batch: &mut Batch<'_>, key: (SessionId, MessageId), pending: &Pending) {
        batch.remove(&PENDING, &key);
        for tag in pending.parts.values().flatten().flat_map(|copy| &copy.scopes) {
            batch.remove(&EN_ROUTE, &(*tag, key.0, key.1));
        }
    }

    /// What of an erasure is in no session: agents' own rows. They go with the scope's own secret, once: an agent that
    /// is registered again meanwhile is another matter, whatever a hold has kept of the old one.
    pub(super) fn forget_beside(&mut self, batch: &mut Batch<'_>, erasure: &mut Erasure, doomed: &[Tag]) -> Step<()> {
        let first = doomed.contains(&erasure.tag);
        match erasure.scope.clone() {
            Some(Target::Agent(agent)) if first => self.forget_agent(batch, agent, erasure),
            Some(Target::Organisation) if first => {
                let org = self.shared.org_tag(&erasure.organisation);
                for ((_, agent), ()) in batch.txn.under(&AGENTS_OF, &(org,), Sorted::Forward, usize::MAX)? {
                    self.forget_agent(batch, agent, erasure)?;
                    batch.remove(&AGENTS_OF, &(org, agent));
                }
                Ok(())
            }
            Some(Target::Subject) => {
                for (key, ()) in batch.txn.under(&EN_ROUTE, &(erasure.tag,), Sorted::Forward, usize::MAX)? {
                    if !erasure.deferred.contains_key(&key.1) {
                        batch.remove(&EN_ROUTE, &key);
                    }
                }
                Ok(())
            }
            Some(
                Target::Session(_)
                | Target::Message(..)
                | Target::Ordered(_)
                | Target::Agent(_)
                | Target::Organisation
                | Target::Parts(..),
            )
            | None => Ok(()),
        }
    }

    /// An agent's profile, keys and stream, and what leads from its name to its seats; a session under a hold keeps
    /// its seat until the hold ends.
    fn forget_agent(&mut self, batch: &mut Batch<'_>, tag: Tag, erasure: &mut Erasure) -> Step<()> {
        batch.remove(&AGENTS, &tag);
        batch.remove(&tables::REPUTATIONS, &tag);
        for (key, _) in batch.txn.under(&tables::BOOKED, &(tag,), Sorted::Forward, usize::MAX)? {
            batch.remove(&tables::BOOKED, &key);
        }
        for (key, _) in batch.txn.under(&tables::COUNTED, &(tag,), Sorted::Forward, usize::MAX)? {
            batch.remove(&tables::COUNTED, &key);
        }
        for (key, _) in batch.txn.under(&tables::ENDORSED, &(tag,), Sorted::Forward, usize::MAX)? {
            batch.remove(&tables::ENDORSED, &key);
        }
        for ((one, other), _) in batch.txn.under(&tables::MET, &(tag,), Sorted::Forward, usize::MAX)? {
            batch.remove(&tables::MET, &(one, other));
            batch.remove(&tables::MET, &(other, one));
        }
        for (key, _) in batch.txn.under(&FEED, &(tag,), Sorted::Forward, usize::MAX)? {
            batch.remove(&FEED, &key);
        }
        let mut keys: BTreeSet<Digest> = BTreeSet::new();
        for ((_, key), ()) in batch.txn.under(&KEYS_OF, &(tag,), Sorted::Forward, usize::MAX)? {
            batch.remove(&KEYS, &key);
            batch.remove(&KEYS_OF, &(tag, key));
            keys.insert(key);
        }
        for ((_, session), _) in batch.txn.under(&SAT, &(tag,), Sorted::Forward, usize::MAX)? {
            match erasure.deferred.get_mut(&session) {
                Some(deferred) => deferred.seats.push(tag),
                None => self.forget_seat(batch, tag, session)?,
            }
        }
        self.next.feed.remove(&tag);
        self.directory_changes.extend(keys.into_iter().map(|key| (Some(key), None)));
        batch.effects.agents.insert(tag);
        Ok(())
    }

    /// What leads from an agent's name to its seat in a session.
    pub(super) fn forget_seat(&mut self, batch: &mut Batch<'_>, tag: Tag, session: SessionId) -> Result<(), Fault> {
        if let Some(participant) = batch.txn.get(&SAT, &(tag, session))?
            && let Some(seat) = batch.txn.get(&tables::SEATS, &(session, participant))?
        {
            batch.put(&tables::SEATS, &(session, participant), &tables::SeatRow { agent: None, ..seat })?;
        }
        self.unseat(batch, tag, session)?;
        batch.remove(&SAT, &(tag, session));
        if let Some(live) = self.live.get_mut(&session) {
            live.locals.retain(|(_, local)| *local != tag);
        }
        Ok(())
    }

    /// An own message that comes back with its place is not kept beyond what was erased of it while it was away.
    pub(super) fn erased_on_the_way(&self, batch: &Batch<'_>, placed: &mut Placed) -> Result<(), Fault> {
        let key = (placed.record.session_id, placed.record.message_id);
        let Some(waiting) = batch.txn.get(&PENDING, &key)? else { return Ok(()) };
        for (name, part) in &mut placed.parts {
            if waiting.parts.get(name).is_some_and(Vec::is_empty) {
                *part = PartFrame::Erased { commitment: part.commitment(), at: batch.now };
            }
        }
        if waiting.boxed.is_empty() && waiting.refused.is_none() {
            placed.boxed = None;
            placed.profile = None;
        }
        Ok(())
    }
}
