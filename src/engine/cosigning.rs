//! Each peer signs this cell's checkpoints, and this cell theirs, if they continue what it signed before: so no log can
//! be told differently to two of them, nor be made shorter, without notes that prove it.
//!
//! Handed over at each link and while it stands as the logs grow, one offer under way to a peer at a time. No consent is
//! needed: a checkpoint tells how long a log is. Source: docs/spec/federation.md sections 2 and 5.

use serde_json::{Value, json};

use super::audit::{self, Log};
use super::core::{Batch, Engine};
use super::stop::Step;
use super::tables::What;
use crate::protocol::checkpoint::{Checkpoint, Note, origin, signer};
use crate::protocol::cosigning::{Checkpoints, Known, Offered, Seen, seen};
use crate::protocol::ids::CellId;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::statement::Statement as _;
use crate::protocol::time::{Span, Timestamp};
use crate::store::{Fault, Order, Table, View as Rows};
use crate::wire::frame::{About, Said};

/// The newest note of a peer's log that this cell has signed.
const SIGNED: Table<(CellId, u8), String> = Table::new("checkpoints_signed");
/// The newest of this cell's logs that a peer has signed: what it remembers, and the note if it came with it.
const COSIGNED: Table<(u8, CellId), (u64, String)> = Table::new("checkpoints_cosigned");
/// When a peer was last handed checkpoints that it has not answered.
const OFFERED: Table<CellId, Timestamp> = Table::new("checkpoints_offered");
/// Two notes of a peer that tell different histories.
const CONFLICTS: Table<(CellId, u64), (String, String)> = Table::new("checkpoints_conflicting");
/// Conflicts kept of a peer.
const MAX_CONFLICTS: usize = 16;
/// An offer without an answer does not stand in the way of the next for longer.
const PATIENCE: Span = Span::seconds(3600);
/// A peer for which more frames than this wait is not answered.
const MAX_WAITING: usize = 1024;
/// The logs that are signed.
const LOGS: [Log; 3] = [Log::Audit, Log::Exports, Log::Imports];

impl Engine {
    /// Hands every peer ever met what has grown since it last signed.
    pub(super) fn offer_checkpoints(&mut self, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let met = self.facts.peers.iter().filter(|(_, peer)| peer.jwks.is_some());
        for peer in met.map(|(cell, _)| cell.clone()).collect::<Vec<_>>() {
            self.offer_checkpoints_to(batch, &peer)?;
        }
        Ok(())
    }

    fn offer_checkpoints_to(&mut self, batch: &mut Batch<'_>, peer: &CellId) -> Result<(), Fault> {
        if batch.txn.get(&OFFERED, peer)?.is_some_and(|at| batch.now - at < PATIENCE) {
            return Ok(());
        }
        let mut offered = Vec::new();
        for log in LOGS {
            let from = batch.txn.get(&COSIGNED, &(log.number(), peer.clone()))?.map_or(0, |(size, _)| size);
            let (note, size) = audit::checkpoint(&self.shared, &batch.txn, log)?;
            if size > from {
                let consistency = audit::tree(&batch.txn, log, size).consistency(from)?.unwrap_or_default();
                offered.push(Offered { note: note.to_text(), from, consistency });
            }
        }
        if offered.is_empty() {
            return Ok(());
        }
        batch.put(&OFFERED, peer, &batch.now.clone())?;
        self.tell_checkpoints(batch, peer, |said| said.offered = offered)
    }

    fn tell_checkpoints(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        fill: impl FnOnce(&mut Checkpoints),
    ) -> Result<(), Fault> {
        let cell = self.shared.settings.cell.clone();
        let (offered, cosigned, known) = (Vec::new(), Vec::new(), Vec::new());
        let mut said = Checkpoints { cell, to: peer.clone(), offered, cosigned, known, at: batch.now };
        fill(&mut said);
        let jws = said.sign(&self.shared.signer.key);
        self.queue(batch, peer, What::Statement { said: Said::Checkpoints, about: About::Cells, jws })
    }

    /// A peer's checkpoints, to be signed; or this cell's own, signed by the peer.
    pub(super) fn take_checkpoints(&mut self, batch: &mut Batch<'_>, peer: &CellId, jws: &str) -> Step<()> {
        let said = Checkpoints::unproven(jws).map_err(|why| Refusal::invalid("/statement", why.to_string()))?;
        if said.cell != *peer || said.to != self.shared.settings.cell {
            return Err(Refusal::new(Code::Unauthorized, format!("checkpoints of {}", said.cell)).into());
        }
        let most = LOGS.len();
        if said.offered.len() > most || said.cosigned.len() > most || said.known.len() > most {
            return Err(Refusal::invalid("/statement", format!("at most {most} checkpoints, one a log")).into());
        }
        if said.offered.is_empty() {
            batch.remove(&OFFERED, peer);
            for note in &said.cosigned {
                self.keep_cosigned(batch, peer, note)?;
            }
            for Known { origin: named, size } in &said.known {
                self.remembered_elsewhere(batch, peer, named, *size)?;
            }
            return Ok(());
        }
        if self.backlog(batch, peer)? >= MAX_WAITING {
            return Ok(());
        }
        let (mut cosigned, mut known) = (Vec::new(), Vec::new());
        for offered in &said.offered {
            self.sign_checkpoint(batch, peer, offered, &mut cosigned, &mut known)?;
        }
        self.tell_checkpoints(batch, peer, |said| (said.cosigned, said.known) = (cosigned, known))?;
        Ok(())
    }

    fn sign_checkpoint(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        offered: &Offered,
        cosigned: &mut Vec<String>,
        known: &mut Vec<Known>,
    ) -> Step<()> {
        let named = |note: &Note| LOGS.into_iter().find(|log| origin(peer, log.name()) == note.checkpoint.origin);
        let read = Note::read(&offered.note).and_then(|note| named(&note).map(|log| (note, log)));
        let Some((mut note, log)) = read.filter(|(note, _)| self.is_signed(note, peer)) else {
            return Err(Refusal::invalid("/statement/offered", "notes of the peer's own logs, signed by it").into());
        };
        let key = (peer.clone(), log.number());
        let before = batch.txn.get(&SIGNED, &key)?;
        let remembered: Option<Checkpoint> = before.as_deref().and_then(Note::read).map(|note| note.checkpoint);
        match seen(remembered.as_ref(), offered, &note) {
            Seen::Continues => {
                note.sign(&signer(&self.shared.settings.cell), &self.shared.signer.key);
                batch.put(&SIGNED, &key, &note.to_text())?;
                cosigned.push(note.to_text());
            }
            Seen::Elsewhere => {
                let size = remembered.map_or(0, |checkpoint| checkpoint.size);
                known.push(Known { origin: note.checkpoint.origin, size });
            }
            Seen::Conflicts => self.conflict(batch, peer, before.unwrap_or_default(), offered.note.clone())?,
        }
        Ok(())
    }

    /// Keeps both notes and raises the alarm; a peer repeating itself is told of once.
    fn conflict(&mut self, batch: &mut Batch<'_>, peer: &CellId, before: String, now: String) -> Result<(), Fault> {
        let kept = batch.txn.under(&CONFLICTS, &(peer.clone(),), Order::Forward, MAX_CONFLICTS)?;
        let body = |note: &str| note.split("\n\n").next().map(str::to_owned);
        if kept.len() == MAX_CONFLICTS || kept.iter().any(|(_, (_, other))| body(other) == body(&now)) {
            return Ok(());
        }
        let what = format!("{before}\n{now}");
        batch.effects.alarms.push(format!("{peer} shows a log that does not continue what it has shown before"));
        batch.put(&CONFLICTS, &(peer.clone(), kept.len() as u64), &(before, now))?;
        self.audit(batch, "checkpoint", peer.as_str(), "conflict", what.as_bytes())
    }

    fn is_signed(&self, note: &Note, cell: &CellId) -> bool {
        let entry = super::transcript::cell_shown(&self.shared, &self.facts, cell);
        let keys = entry.pointer("/jwks/keys").and_then(Value::as_array).cloned().unwrap_or_default();
        let keys = keys.iter().filter_map(|jwk| crate::crypto::jwk::PublicKey::from_jwk(jwk).ok());
        keys.into_iter().any(|key| note.signed_by(&signer(cell), &key))
    }

    /// A note of this cell's own that came back: what it says must be so, and the peer's signature under it.
    fn keep_cosigned(&self, batch: &mut Batch<'_>, peer: &CellId, text: &str) -> Step<()> {
        let own = &self.shared.settings.cell;
        let wrong = || Refusal::invalid("/statement/cosigned", "this cell's own checkpoints, signed by both");
        let note = Note::read(text).ok_or_else(wrong)?;
        let log = LOGS.into_iter().find(|log| origin(own, log.name()) == note.checkpoint.origin).ok_or_else(wrong)?;
        let (_, size) = audit::checkpoint(&self.shared, &batch.txn, log)?;
        let Checkpoint { size: signed, root, .. } = note.checkpoint;
        let right = signed <= size && audit::tree(&batch.txn, log, signed).root()? == root;
        if !right || !self.is_signed(&note, own) || !self.is_signed(&note, peer) {
            return Err(wrong().into());
        }
        batch.put(&COSIGNED, &(log.number(), peer.clone()), &(signed, text.to_owned()))?;
        Ok(())
    }

    /// The peer remembers another size than the proof began at: the next offer begins there.
    fn remembered_elsewhere(&self, batch: &mut Batch<'_>, peer: &CellId, named: &str, size: u64) -> Step<()> {
        let own = &self.shared.settings.cell;
        let Some(log) = LOGS.into_iter().find(|log| origin(own, log.name()) == named) else { return Ok(()) };
        let (_, now) = audit::checkpoint(&self.shared, &batch.txn, log)?;
        if size > now {
            let told = format!("{peer} remembers {size} entries of {named}, which has {now}: was this cell set back?");
            batch.effects.alarms.push(told);
            return Ok(());
        }
        let note = batch.txn.get(&COSIGNED, &(log.number(), peer.clone()))?.map_or_else(String::new, |(_, note)| note);
        batch.put(&COSIGNED, &(log.number(), peer.clone()), &(size, note))?;
        Ok(())
    }
}

/// The notes of a log that peers have signed, the newest of each.
pub(super) fn cosigned(rows: &impl Rows, log: Log) -> Result<Vec<(CellId, String)>, Fault> {
    let rows = rows.under(&COSIGNED, &(log.number(),), Order::Forward, usize::MAX)?;
    Ok(rows.into_iter().map(|((_, cell), (_, note))| (cell, note)).filter(|(_, note)| !note.is_empty()).collect())
}

/// Peers that have told two histories, each with both notes.
pub(super) fn conflicts(rows: &impl Rows) -> Result<Vec<Value>, Fault> {
    let rows = rows.range(&CONFLICTS, .., Order::Forward, usize::MAX)?;
    Ok(rows.into_iter().map(|((cell, _), (before, now))| json!({"cell": cell, "notes": [before, now]})).collect())
}
