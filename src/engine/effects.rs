//! What a commit sets in motion, once it is durable: answers, wake-ups, links.

use std::collections::BTreeSet;

use super::tables::Tag;
use crate::protocol::ids::{CellId, MessageId, SessionId};
use crate::protocol::refusal::Refusal;

/// What to do after the commit; nothing here happens if the commit fails.
#[derive(Debug, Default)]
pub struct Effects {
    /// Sessions whose streams grew.
    pub sessions: BTreeSet<SessionId>,
    /// Agents whose streams grew or whose key changed.
    pub agents: BTreeSet<Tag>,
    /// Peers with something new in their outbox.
    pub peers: BTreeSet<CellId>,
    /// Queued messages that got their place or their refusal.
    pub settled: Vec<Settled>,
    /// The set of peers changed.
    pub peers_changed: bool,
    /// A peer's link is to be tried at once, or closed.
    pub retry: BTreeSet<CellId>,
    /// Peers whose link is to be closed before anybody is answered: what is on its way there may not go any more.
    pub cut: BTreeSet<CellId>,
    /// Erasures that went on, or that a peer answered.
    pub erasures: BTreeSet<uuid::Uuid>,
    /// Things an operator should know.
    pub alarms: Vec<String>,
}

impl Effects {
    /// Adds those of a later commit.
    pub fn add(&mut self, later: Self) {
        self.sessions.extend(later.sessions);
        self.agents.extend(later.agents);
        self.peers.extend(later.peers);
        self.settled.extend(later.settled);
        self.peers_changed |= later.peers_changed;
        self.retry.extend(later.retry);
        self.cut.extend(later.cut);
        self.erasures.extend(later.erasures);
        self.alarms.extend(later.alarms);
    }
}

/// The end of a queued message.
#[derive(Debug)]
pub struct Settled {
    /// The session.
    pub session: SessionId,
    /// The message.
    pub message: MessageId,
    /// Its sequence, or why it was refused.
    pub outcome: Result<u64, Refusal>,
}
