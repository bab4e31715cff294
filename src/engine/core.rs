//! The writer's value: takes a batch of commands at one moment, decides each, writes all in one commit.
//!
//! Time and entropy are given to it, so the same code runs under a simulation. A refused command leaves nothing; a
//! fault leaves the engine unusable, since what became durable is not known (docs/spec/federation.md section 6, 7).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::command::{Command, Outcome};
use super::effects::Effects;
use super::live::Live;
use super::shared::{Common, Facts};
use super::stop::{Step, Stop};
use super::tables::{self, Tag};
use crate::crypto::digest::Digest;
use crate::crypto::entropy::{self, Entropy};
use crate::protocol::ids::{AgentId, CellId, MessageId, SessionId};
use crate::protocol::refusal::Refusal;
use crate::protocol::time::{Span, Timestamp};
use crate::store::{Fault, Key, Order, Store, Table, View as _, Write};

/// A spent proof is remembered until this long after its `iat` (docs/spec/details.md section 1).
pub const REMEMBER_PROOF: Span = Span::seconds(150);
/// Sessions kept in memory; more are read again from the store.
const LIVE_SESSIONS: usize = 4096;
/// Spent proofs are forgotten this often.
const FORGET_EVERY: Span = Span::seconds(10);
/// Spent proofs forgotten in one commit, at most.
const FORGET_AT_ONCE: usize = 4096;

/// The next free number of each growing table.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub log: u64,
    pub dead: u64,
    pub exports: u64,
    pub imports: u64,
    pub audit: u64,
    pub postings: u64,
    /// The vault's last write that the database knows of.
    pub written: u64,
    pub outbox: HashMap<CellId, u64>,
    pub acked: HashMap<CellId, u64>,
    pub feed: HashMap<Tag, u64>,
}

/// The engine.
pub struct Engine {
    pub(super) shared: Common,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) live: HashMap<SessionId, Live>,
    pub(super) next: Counters,
    pub(super) due: BTreeSet<(Timestamp, SessionId)>,
    pub(super) facts: Arc<Facts>,
    /// Agents registered or rotated in this batch: old thumbprint, new thumbprint.
    pub(super) directory_changes: Vec<DirectoryChange>,
    /// Sessions whose newest record is to be receipted to their host in this batch.
    pub(super) receipts_due: BTreeSet<SessionId>,
    /// What was erased, in a file beside the database; none in a simulation.
    pub(super) erasures: Option<crate::store::erasures::Erasures>,
    /// When spent proofs were last forgotten.
    pub(super) forgot_at: Timestamp,
    /// Erasures that may go on.
    pub(super) ripe: BTreeSet<Uuid>,
    /// Erasures that wait for the end of a session's holds.
    pub(super) waiting: BTreeMap<SessionId, BTreeSet<Uuid>>,
    /// How many peers owe an answer to an erasure.
    pub(super) owed: BTreeMap<Uuid, usize>,
    /// Whether more has been kept as long as agreed than one tick erases.
    pub(super) more_due: bool,
    /// What peers' orders may still cost.
    pub(super) ordered: super::ordering::Ordered,
    /// When what holds keep was last looked at for those that time has ended.
    pub(super) looked_at: Timestamp,
    /// Whether erasures were carried out again after a restore.
    pub(super) replayed: bool,
    /// What peers have said today.
    pub(super) spoken: super::stated::Spoken,
}

/// A key that ends and a key that begins to name an agent.
pub(super) type DirectoryChange = (Option<Digest>, Option<(Digest, AgentId)>);

/// One commit in the making.
pub(super) struct Batch<'s> {
    pub txn: Write<'s>,
    pub now: Timestamp,
    pub effects: Effects,
    pub dirty: BTreeSet<SessionId>,
    pub facts_changed: bool,
    pub wrote: bool,
    /// What this commit erases, for the ledger.
    pub erases: Vec<super::forgotten::Erased>,
}

impl Engine {
    /// Decides `commands` at `now` and makes their consequences durable in one commit; outcomes in their order.
    ///
    /// # Errors
    /// A fault of the store or vault: nothing may be acknowledged, and the engine must not be used again.
    pub fn commit(
        &mut self,
        store: &mut Store,
        now: Timestamp,
        commands: Vec<Command>,
    ) -> Result<(Vec<Outcome>, Effects), Fault> {
        let mut effects = self.erase_ripe(store, now)?;
        let mut batch = Batch::new(store.write()?, now);
        let ledgers = (self.next.exports, self.next.imports);
        let mut outcomes = Vec::with_capacity(commands.len());
        for command in commands {
            outcomes.push(self.decide(&mut batch, command)?);
        }
        self.audit_ledgers(&mut batch, ledgers)?;
        effects.add(self.finish(batch)?);
        Ok((outcomes, effects))
    }

    fn decide(&mut self, batch: &mut Batch<'_>, command: Command) -> Result<Outcome, Fault> {
        Ok(match command {
            Command::Register(registration) => Outcome::Registered(refusable(self.register(batch, *registration))?),
            Command::Invite(invitation) => Outcome::Message(refusable(self.invite(batch, *invitation))?),
            Command::Submit(submission) => Outcome::Message(refusable(self.submit(batch, *submission))?),
            Command::Beside(noting) => Outcome::Message(refusable(self.beside(batch, *noting))?),
            Command::Endorse(endorsing) => Outcome::Operated(refusable(self.endorse(batch, *endorsing))?),
            Command::Operate(operation) => Outcome::Operated(refusable(self.operate(batch, *operation))?),
            Command::Inbound(peer, stream, frames) => Outcome::Inbound(self.take(batch, &peer, stream, frames)?),
            Command::Urgent(peer, checked) => {
                self.take_one(batch, &peer, checked)?;
                Outcome::Done
            }
            Command::UrgentTaken(peer, key) => {
                self.told(batch, &peer, key);
                Outcome::Done
            }
            Command::Acked(peer, upto) => {
                self.acked(batch, &peer, upto)?;
                Outcome::Done
            }
            Command::Dead(peer, number, refusal) => {
                self.bury(batch, &peer, number, refusal)?;
                Outcome::Done
            }
            Command::Spent(peer, number) => {
                self.served(batch, &peer, number)?;
                Outcome::Done
            }
            Command::Stale(peer, number) => {
                self.recross(batch, &peer, number)?;
                Outcome::Done
            }
            Command::LinkUp(peer, said) => {
                self.link_up(batch, peer, said)?;
                Outcome::Done
            }
            Command::Forward(peer, has, refusal) => {
                Outcome::Operated(refusable(self.forward(batch, &peer, has, refusal))?)
            }
            Command::EraseAgain(erased) => {
                self.erase_again(batch, *erased)?;
                Outcome::Done
            }
            Command::EraseNow(request) => Outcome::Operated(refusable(self.erasure_now(batch, request))?),
            Command::EpochEnded => Outcome::Operated(refusable(self.epoch_ended(batch))?),
            Command::Witnessed(witness, row) => Outcome::Operated(Ok(self.keep_witnessed(batch, &witness, &row)?)),
            Command::Tick => {
                self.tick(batch)?;
                Outcome::Done
            }
        })
    }

    pub(super) fn finish(&mut self, mut batch: Batch) -> Result<Effects, Fault> {
        for id in std::mem::take(&mut batch.dirty) {
            self.keep(&mut batch, id)?;
            self.look_again(id);
        }
        if !batch.wrote {
            self.publish_facts(batch.facts_changed);
            return Ok(batch.effects);
        }
        self.enter_erasures(&mut batch)?;
        self.note_written(&mut batch)?;
        self.shared.vault.sync()?;
        batch.txn.commit()?;
        self.publish_facts(batch.facts_changed);
        self.publish_directory();
        if self.live.len() > LIVE_SESSIONS {
            self.live.clear();
        }
        Ok(batch.effects)
    }

    /// Readers see the facts as they are now.
    fn publish_facts(&self, changed: bool) {
        if changed {
            self.shared.facts.store(Arc::clone(&self.facts));
        }
    }

    fn publish_directory(&mut self) {
        if self.directory_changes.is_empty() {
            return;
        }
        let mut directory = self.shared.directory.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (old, new) in self.directory_changes.drain(..) {
            if let Some(old) = old {
                directory.remove(&old);
            }
            if let Some((thumbprint, agent)) = new {
                directory.insert(thumbprint, agent);
            }
        }
    }

    /// The earliest moment at which [`Command::Tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let now = (!self.ripe.is_empty() || self.more_due).then_some(Timestamp(0));
        now.or_else(|| self.due.first().map(|(at, _)| *at))
    }

    /// Whether something is to be done that no deadline names.
    #[must_use]
    pub fn wants_tick(&self, now: Timestamp) -> bool {
        now - self.forgot_at >= FORGET_EVERY
    }

    /// A fresh UUID v7 of this moment.
    pub(super) fn uuid7(&mut self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.0).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &entropy::draw(&mut *self.entropy)).into_uuid()
    }

    /// A fresh message id of this moment.
    pub(super) fn message_id(&mut self, now: Timestamp) -> MessageId {
        MessageId(self.uuid7(now))
    }

    /// A fresh UUID v4.
    pub(super) fn uuid4(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(entropy::draw(&mut *self.entropy)).into_uuid()
    }

    /// Spends a proof durably; `false` if it was spent before.
    pub(super) fn spend(&self, batch: &mut Batch<'_>, spent: super::request::Spent) -> Result<bool, Fault> {
        let until = spent.issued_at + REMEMBER_PROOF;
        if !self.shared.spend(spent.key, until, batch.now) {
            return Ok(false);
        }
        batch.put(&tables::SPENT, &(until.0.cast_unsigned(), spent.key), &())?;
        Ok(true)
    }

    /// Forgets proofs whose time has passed.
    pub(super) fn forget_proofs(&mut self, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if batch.now - self.forgot_at < FORGET_EVERY {
            return Ok(());
        }
        self.forgot_at = batch.now;
        self.look_again_everywhere();
        self.shared.forget_spent(batch.now);
        let end = (batch.now.0.cast_unsigned(), Digest::default());
        for (key, ()) in batch.txn.range(&tables::SPENT, ..end, Order::Forward, FORGET_AT_ONCE)? {
            batch.remove(&tables::SPENT, &key);
        }
        Ok(())
    }

    /// Changes the facts for this batch; readers see them after the commit.
    pub(super) fn change_facts(&mut self, batch: &mut Batch<'_>, change: impl FnOnce(&mut Facts)) {
        change(Arc::make_mut(&mut self.facts));
        batch.facts_changed = true;
    }
}

impl<'s> Batch<'s> {
    /// Nothing yet.
    pub fn new(txn: Write<'s>, now: Timestamp) -> Self {
        let (effects, dirty) = (Effects::default(), BTreeSet::new());
        Self { txn, now, effects, dirty, facts_changed: false, wrote: false, erases: Vec::new() }
    }
}

impl Batch<'_> {
    /// Puts a row and remembers that there is something to commit.
    pub fn put<K: Key, V: Serialize + DeserializeOwned>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), Fault> {
        self.wrote = true;
        self.txn.put(table, key, value)
    }

    /// Removes a row.
    pub fn remove<K: Key, V: Serialize + DeserializeOwned>(&mut self, table: &Table<K, V>, key: &K) {
        self.wrote = true;
        self.txn.remove(table, key);
    }
}

/// Splits a step's end: a refusal is an answer, a fault stops the engine.
fn refusable<T>(step: Step<T>) -> Result<Result<T, Refusal>, Fault> {
    match step {
        Ok(value) => Ok(Ok(value)),
        Err(Stop::Refused(refusal)) => Ok(Err(*refusal)),
        Err(Stop::Fault(fault)) => Err(fault),
    }
}
