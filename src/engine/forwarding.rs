//! `peer forward`: how two cells go on after one of them was restored from a backup older than what the other knows.
//!
//! The link between them is refused (`restore_behind`) until the operators of both say that it may go on, each in its
//! own cell, within [`AGREED_FOR`]. Then, in one commit before the first frame: this cell's numbers go on after the
//! last that the peer has, what still waits is numbered anew, and every open session whose host is the cell that fell
//! behind is frozen in both: the host may give a place a second time that the peer has seen filled. What is hosted by
//! the other cell is whole there and is asked for; what was agreed and revoked since comes back as at every link
//! (`reminding`). Signatures that the peers' logs have broken stay as they are.
//! Source: docs/spec/federation.md section 4 (Backups), docs/decisions.md "Backup and restore".

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::live::cells_of;
use super::stop::Step;
use super::tables::{ACKED, GIVEN, OUTBOX, SESSIONS, What};
use crate::protocol::ids::{CellId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::time::{Span, Timestamp};
use crate::store::{Fault, Order, Table, View as _};

/// Until when the operator agrees to go on with a peer from whatever either of them has lost.
pub const AGREED: Table<CellId, Timestamp> = Table::new("agreed");

/// How long an operator's word waits for the other's: long enough to telephone, too short to cover a later restore.
pub const AGREED_FOR: Span = Span::seconds(3600);

/// Rows and sessions looked at in one step.
const STEP: usize = 512;

/// Who lost what the other still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// This cell: the peer has frames that it does not know of.
    Here,
    /// The peer: it lacks frames that it had confirmed.
    There,
}

impl Engine {
    /// `peer forward`: this operator's word, which holds for [`AGREED_FOR`] and once.
    pub(super) fn peer_forward(&mut self, batch: &mut Batch<'_>, peer: &CellId, reason: &str) -> Step<Value> {
        self.known_peer(peer)?;
        let until = batch.now + AGREED_FOR;
        self.audit(batch, "peer", "operator", peer.as_str(), format!("forward: {reason}").as_bytes())?;
        batch.put(&AGREED, peer, &until)?;
        batch.effects.retry.insert(peer.clone());
        Ok(json!({"cell": peer, "until": until}))
    }

    /// The peer has this cell's frames up to `has`, and that contradicts what this cell knows: goes on from there if
    /// the operator agreed, else refuses with `refusal`.
    pub(super) fn forward(&mut self, batch: &mut Batch<'_>, peer: &CellId, has: u64, refusal: Refusal) -> Step<Value> {
        if batch.txn.get(&AGREED, peer)?.is_none_or(|until| until <= batch.now) {
            return Err(refusal.into());
        }
        // A number that leaves no room for the next can only be made up.
        if has > u64::MAX / 2 {
            return Err(Refusal::new(Code::PolicyViolation, format!("{peer} says that it has frame {has}")).into());
        }
        let behind = if has < self.acked_upto(peer) { Behind::There } else { Behind::Here };
        let frozen = self.freeze_behind(batch, peer, behind)?;
        let again = self.number_anew(batch, peer, has)?;
        batch.remove(&AGREED, peer);
        let who = match behind {
            Behind::Here => &self.shared.settings.cell,
            Behind::There => peer,
        };
        let told = format!(
            "goes on with {peer} after frame {has}: {who} was restored from an older backup; {} open sessions that it \
             hosts are frozen, {again} frames that wait are numbered anew",
            frozen.len()
        );
        self.audit(batch, "peer", "cell", peer.as_str(), told.as_bytes())?;
        batch.effects.alarms.push(told);
        Ok(json!({"frozen": frozen, "again": again}))
    }

    /// The next number is one that neither cell has seen, and what waits under a number that the peer has passed is
    /// queued once more: what it has already it knows by itself.
    fn number_anew(&mut self, batch: &mut Batch<'_>, peer: &CellId, has: u64) -> Result<usize, Fault> {
        let last = self.next_number(batch, peer)?.saturating_sub(1).max(has);
        let mut waiting: Vec<What> = Vec::new();
        loop {
            let passed = (peer.clone(), 0)..(peer.clone(), has.saturating_add(1));
            let rows = batch.txn.range(&OUTBOX, passed, Order::Forward, STEP)?;
            for (key, _) in &rows {
                batch.remove(&OUTBOX, key);
            }
            let full = rows.len() == STEP;
            waiting.extend(rows.into_iter().map(|(_, dispatch)| dispatch.what));
            if !full {
                break;
            }
        }
        batch.put(&GIVEN, peer, &last)?;
        batch.put(&ACKED, peer, &has)?;
        self.next.acked.insert(peer.clone(), has);
        self.next.outbox.insert(peer.clone(), last.saturating_add(1));
        let again = waiting.len();
        for what in waiting {
            self.queue(batch, peer, what)?;
        }
        Ok(again)
    }

    /// Freezes every open session of both cells whose host fell behind.
    fn freeze_behind(&mut self, batch: &mut Batch<'_>, peer: &CellId, behind: Behind) -> Step<Vec<SessionId>> {
        let own = self.shared.settings.cell.clone();
        let (host, with) = match behind {
            Behind::Here => (&own, peer),
            Behind::There => (peer, &own),
        };
        let why = format!("restore_behind: its host {host} was restored from a backup older than what {with} has");
        let mut frozen = Vec::new();
        let mut after = None;
        loop {
            let from =
                (after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded), std::ops::Bound::Unbounded);
            let rows = batch.txn.range(&SESSIONS, from, Order::Forward, STEP)?;
            let Some((last, _)) = rows.last() else { return Ok(frozen) };
            after = Some(*last);
            for (id, kept) in &rows {
                let session = &kept.session;
                if session.host != *host || session.state.is_final() || !cells_of(session, &own).contains(peer) {
                    continue;
                }
                let mut live = self.take_out(batch, *id)?;
                let step = self.freeze(batch, &mut live, &why);
                self.put_changed(batch, live);
                step?;
                frozen.push(*id);
            }
        }
    }
}
