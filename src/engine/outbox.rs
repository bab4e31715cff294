//! What waits for a peer: queued in the commit that caused it, numbered, built into frames when it is sent.
//!
//! A row names what to send and holds nothing of it, so an erasure reaches what is still queued, and consent is
//! checked again at the moment of sending. Refused for good goes to the dead letters; unreachable is retried for ever.
//! Source: docs/spec/federation.md sections 2 and 3.

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::stop::Step;
use super::tables::{ACKED, DEAD, Dead, Dispatch, GIVEN, OUTBOX, What};
use crate::protocol::ids::{CellId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::About;

/// Rows looked at in one step of a scan.
const STEP: usize = 512;
/// Rows counted at most.
const COUNTED: usize = 8192;

impl Engine {
    /// Queues a dispatch for `peer`.
    pub(super) fn queue(&mut self, batch: &mut Batch<'_>, peer: &CellId, what: What) -> Result<(), Fault> {
        let next = self.next_number(batch, peer)?;
        self.next.outbox.insert(peer.clone(), next + 1);
        batch.put(&OUTBOX, &(peer.clone(), next), &Dispatch { what, queued_at: batch.now })?;
        batch.effects.peers.insert(peer.clone());
        Ok(())
    }

    /// The next free number. No number is given twice in the life of a store, whatever became of the frame that had
    /// it: the peer may have taken that, and would take another under its number for the same.
    pub(super) fn next_number(&self, batch: &Batch<'_>, peer: &CellId) -> Result<u64, Fault> {
        if let Some(next) = self.next.outbox.get(peer) {
            return Ok(*next);
        }
        Ok(given(&batch.txn, peer)?.max(self.acked_upto(peer)) + 1)
    }

    /// Takes a dispatch out of the outbox that was not acknowledged; its number stays given.
    fn take_from_outbox(&mut self, batch: &mut Batch<'_>, peer: &CellId, number: u64) -> Result<(), Fault> {
        if self.next_number(batch, peer)? == number.saturating_add(1) {
            self.next.outbox.insert(peer.clone(), number.saturating_add(1));
            batch.put(&GIVEN, peer, &number)?;
        }
        batch.remove(&OUTBOX, &(peer.clone(), number));
        Ok(())
    }

    /// A dispatch whose purpose is served.
    pub(super) fn served(&mut self, batch: &mut Batch<'_>, peer: &CellId, number: u64) -> Result<(), Fault> {
        self.take_from_outbox(batch, peer, number)
    }

    pub(super) fn acked_upto(&self, peer: &CellId) -> u64 {
        self.next.acked.get(peer).copied().unwrap_or_default()
    }

    /// How many frames wait for `peer` to take them, as far as anybody cares: more than 8192 are not counted.
    pub(super) fn backlog(&self, batch: &Batch<'_>, peer: &CellId) -> Result<usize, Fault> {
        let from = self.acked_upto(peer).saturating_add(1);
        let rows = batch.txn.range(&OUTBOX, (peer.clone(), from)..(peer.clone(), u64::MAX), Order::Forward, COUNTED)?;
        Ok(rows.len())
    }

    /// Drops what the peer has durable.
    pub(super) fn acked(&mut self, batch: &mut Batch<'_>, peer: &CellId, upto: u64) -> Result<(), Fault> {
        if upto <= self.acked_upto(peer) {
            return Ok(());
        }
        if upto >= self.next_number(batch, peer)? {
            batch.effects.alarms.push(format!("peer {peer} acknowledges frame {upto}, which this cell never sent"));
            return Ok(());
        }
        loop {
            let rows = batch.txn.range(
                &OUTBOX,
                (peer.clone(), 0)..(peer.clone(), upto.saturating_add(1)),
                Order::Forward,
                STEP,
            )?;
            for (key, _) in &rows {
                batch.remove(&OUTBOX, key);
            }
            if rows.len() < STEP {
                break;
            }
        }
        // Remembered so that numbers never start again, even when the outbox is empty at a restart.
        self.next.acked.insert(peer.clone(), upto);
        batch.put(&ACKED, peer, &upto)?;
        Ok(())
    }

    /// Moves a dispatch to the dead letters.
    pub(super) fn bury(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        number: u64,
        refusal: Refusal,
    ) -> Result<(), Fault> {
        let key = (peer.clone(), number);
        let Some(dispatch) = batch.txn.get(&OUTBOX, &key)? else { return Ok(()) };
        self.take_from_outbox(batch, peer, number)?;
        self.dead_letter(batch, peer, dispatch, refusal)
    }

    /// Files a dead letter; its sender, if it waits for a place, is told.
    pub(super) fn dead_letter(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        dispatch: Dispatch,
        refusal: Refusal,
    ) -> Result<(), Fault> {
        if let What::Submit { session, message } = &dispatch.what {
            self.settle_pending(batch, *session, *message, Err(refusal.clone()), "dead")?;
        }
        if let What::Beside { session, id } = &dispatch.what {
            self.give_up(batch, *session, *id, &refusal, "dead")?;
        }
        let dead = Dead { peer: peer.clone(), dispatch, refusal, at: batch.now };
        batch.put(&DEAD, &self.next.dead, &dead)?;
        self.next.dead += 1;
        Ok(())
    }

    /// `dlq replay`: queues dead letters again.
    pub(super) fn replay_dead(&mut self, batch: &mut Batch<'_>, number: Option<u64>) -> Step<Value> {
        let mut replayed = 0;
        for (number, dead) in self.dead(batch, number)? {
            // One that cannot be sent yet, for lack of money say, stays a dead letter.
            if let What::Submit { session, message } = &dead.dispatch.what {
                self.revive_pending(batch, *session, *message)?;
            }
            if let What::Beside { session, id } = &dead.dispatch.what {
                self.revive_note(batch, *session, *id)?;
            }
            batch.remove(&DEAD, &number);
            self.queue(batch, &dead.peer, dead.dispatch.what)?;
            replayed += 1;
        }
        Ok(json!({"replayed": replayed}))
    }

    /// `dlq purge`: drops dead letters for good.
    pub(super) fn purge_dead(&mut self, batch: &mut Batch<'_>, number: Option<u64>) -> Step<Value> {
        let mut purged = 0;
        for (number, _) in self.dead(batch, number)? {
            batch.remove(&DEAD, &number);
            purged += 1;
        }
        Ok(json!({"purged": purged}))
    }

    fn dead(&self, batch: &Batch<'_>, number: Option<u64>) -> Step<Vec<(u64, Dead)>> {
        let Some(number) = number else { return Ok(batch.txn.range(&DEAD, .., Order::Forward, usize::MAX)?) };
        match batch.txn.get(&DEAD, &number)? {
            Some(dead) => Ok(vec![(number, dead)]),
            None => Err(Refusal::new(Code::NotFound, format!("no dead letter {number}; see `dlq list`")).into()),
        }
    }
}

/// The last number given to a frame for `peer`.
pub(super) fn given(rows: &impl Rows, peer: &CellId) -> Result<u64, Fault> {
    let waiting = rows.last_under(&OUTBOX, &(peer.clone(),))?.map_or(0, |((_, number), _)| number);
    let gone = rows.get(&GIVEN, peer)?.unwrap_or_default();
    let acked = rows.get(&ACKED, peer)?.unwrap_or_default();
    Ok(waiting.max(gone).max(acked))
}

impl What {
    /// The session whose data it carries; `None` for what needs no consent.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Submit { session, .. }
            | Self::Beside { session, .. }
            | Self::Record { session, .. }
            | Self::Receipt { session, .. }
            | Self::Assent { session, .. }
            | Self::Statement { about: About::Session(session), .. } => Some(*session),
            Self::Statement { about: About::Cells, .. }
            | Self::Refused { .. }
            | Self::Want { .. }
            | Self::Organisations
            | Self::Consent { .. }
            | Self::Erase(_)
            | Self::Erased { .. }
            | Self::Statement { about: About::Agents { .. }, .. } => None,
        }
    }

    /// The word for it in `dlq list`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Submit { .. } => "submit",
            Self::Beside { .. } => "beside",
            Self::Record { .. } => "record",
            Self::Refused { .. } => "refused",
            Self::Receipt { .. } => "receipt",
            Self::Want { .. } => "want",
            Self::Assent { .. } => "assent",
            Self::Organisations => "organisations",
            Self::Consent { .. } => "consent",
            Self::Erase(_) => "erase",
            Self::Erased { .. } => "erased",
            Self::Statement { said, .. } => said.kind().name(),
        }
    }
}

/// `dlq list`.
pub(super) fn dead_list(rows: &impl Rows, peer: Option<&CellId>) -> Result<Value, Fault> {
    let mut letters = Vec::new();
    for (number, dead) in rows.range(&DEAD, .., Order::Forward, usize::MAX)? {
        if peer.is_none_or(|peer| *peer == dead.peer) {
            letters.push(json!({
                "number": number, "peer": dead.peer, "kind": dead.dispatch.what.name(),
                "sessionId": dead.dispatch.what.session(), "queuedAt": dead.dispatch.queued_at, "at": dead.at,
                "problem": dead.refusal.problem(),
            }));
        }
    }
    Ok(json!({"letters": letters}))
}
