//! What an erasure is about, without a name, and what of it is not a record: an agent's own rows, messages that wait.
//!
//! Source: docs/spec/federation.md section 4, docs/spec/details.md section 10.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::core::{Batch, Engine};
use super::operation::ErasureScope;
use super::scopes;
use super::stop::Step;
use super::tables::{self, AGENTS, Copies, FEED, KEYS, OPENED, PENDING, Pending, SUBJECTS};
use crate::crypto::digest::Digest;
use crate::protocol::ids::{MessageId, SessionId};
use crate::store::{Fault, Order as Sorted, View as _};
use crate::vault::Tag;
use crate::wire::frame::{PartFrame, Placed};

/// What is to be erased, as it is kept until that is done: the database forgets nothing, so it is told no names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// An organisation's share of a session.
    Session(SessionId),
    /// A data subject: the request's tag says which.
    Subject,
    /// An agent, by its tag in keys.
    Agent(Tag),
}

/// Messages that wait for their place with parts of what is erased, by session.
pub(super) type Waiting = BTreeMap<SessionId, Vec<(MessageId, Vec<String>)>>;

impl Engine {
    /// What is kept of a scope; none for those that cannot be erased yet.
    pub(super) fn target(&self, scope: &ErasureScope) -> Option<Target> {
        match scope {
            ErasureScope::Session(session) => Some(Target::Session(*session)),
            ErasureScope::Subject(_) => Some(Target::Subject),
            ErasureScope::Agent(agent) => Some(Target::Agent(self.shared.agent_tag(agent))),
            ErasureScope::Message(..) | ErasureScope::Organisation => None,
        }
    }

    /// The messages of own agents that wait for their place with parts under `tag`. They have no sequence by which an
    /// order could name them; what their host has of them it knows by their ids.
    pub(super) fn waiting_under(&self, batch: &Batch<'_>, tag: Tag) -> Result<Waiting, Fault> {
        let mut waiting = Waiting::new();
        for ((session, message), pending) in batch.txn.range(&PENDING, .., Sorted::Forward, usize::MAX)? {
            let under = |copies: &Copies| copies.iter().any(|copy| copy.scopes.contains(&tag));
            let parts = pending.parts.iter().filter(|(_, copies)| under(copies));
            let names: Vec<String> = parts.map(|(name, _)| name.clone()).collect();
            if !names.is_empty() {
                waiting.entry(session).or_default().push((message, names));
            }
        }
        Ok(waiting)
    }

    /// Where parts of a subject stood is forgotten with them.
    pub(super) fn forget_places(&self, batch: &mut Batch<'_>, tags: &[Tag]) -> Result<(), Fault> {
        for tag in tags {
            for (key, _) in batch.txn.under(&SUBJECTS, &(*tag,), Sorted::Forward, usize::MAX)? {
                batch.remove(&SUBJECTS, &key);
            }
        }
        Ok(())
    }

    /// An agent's profile, keys and stream, and what leads from its name to its seats.
    pub(super) fn forget_agent(&mut self, batch: &mut Batch<'_>, tag: Tag) -> Step<()> {
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
        for (key, of) in batch.txn.range(&KEYS, .., Sorted::Forward, usize::MAX)? {
            if of == tag {
                batch.remove(&KEYS, &key);
            }
        }
        for (_, session) in batch.txn.under(&OPENED, &(tag,), Sorted::Forward, usize::MAX)? {
            self.unseat(batch, tag, session)?;
            if let Some(live) = self.live.get_mut(&session) {
                live.locals.retain(|(_, local)| *local != tag);
            }
        }
        self.next.feed.remove(&tag);
        let known = self.shared.directory.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let own = known.iter().filter(|(_, agent)| self.shared.agent_tag(agent) == tag);
        let current: Vec<Digest> = own.map(|(key, _)| *key).collect();
        drop(known);
        self.directory_changes.extend(current.into_iter().map(|key| (Some(key), None)));
        batch.effects.agents.insert(tag);
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

/// Drops from a message that waits every copy that needed one of `tags`; whether it had one.
pub(super) fn scrub_waiting(pending: &mut Pending, tags: &[Tag]) -> bool {
    let mut changed = scopes::drop_all(&mut pending.profile, tags);
    for copies in pending.parts.values_mut().chain([&mut pending.boxed]) {
        changed |= scopes::drop_under(copies, tags);
    }
    changed
}
