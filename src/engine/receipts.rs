//! Receipts between cells: each says what it holds, the host keeps count, two that differ freeze the session.
//!
//! Source: docs/spec/protocol.md section 2 "Receipt", docs/spec/federation.md section 3.

use serde_json::json;

use super::admitting::class_from;
use super::core::{Batch, Engine};
use super::live::Live;
use super::newcomers::begins_in;
use super::stop::Step;
use super::tables::{RECEIPTS, What};
use super::view::View;
use crate::protocol::class::DataClass;
use crate::protocol::ids::{CellId, SessionId};
use crate::protocol::receipt::Receipt;
use crate::protocol::refusal::{Code, Refusal};
use crate::store::{Fault, View as _};

/// Records queued again at one request.
const AGAIN: u64 = 1024;
/// Who has not taken so many frames gets no records again.
const BACKLOG: usize = 4096;

impl Engine {
    pub(super) fn take_receipt(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        receipt: &Receipt,
        jws: String,
    ) -> Step<()> {
        let mut live = self.take_out(batch, receipt.session_id)?;
        let step = self.file_receipt(batch, peer, &mut live, receipt, jws);
        self.put_changed(batch, live);
        step
    }

    fn file_receipt(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        live: &mut Live,
        receipt: &Receipt,
        jws: String,
    ) -> Step<()> {
        let own = self.shared.settings.cell.clone();
        let hosted = live.kept.session.host == own;
        let of_member = live.cells(&own).contains(&receipt.cell) && receipt.cell == *peer;
        let by_host = live.kept.session.host == *peer;
        if !(of_member || by_host) {
            return Err(Refusal::new(Code::Unauthorized, "a receipt of a cell that is not in the session").into());
        }
        let names = self.names(batch, receipt.session_id)?;
        let here = (&self.shared.settings, &*self.facts);
        class_from(here, &live.kept.session, &names, peer, DataClass::Metadata, batch.now)?;
        let view = View { shared: &self.shared, rows: &batch.txn };
        let Some((_, held)) = view.logged(receipt.session_id, receipt.sequence)? else {
            return if hosted {
                self.freeze(batch, live, "a member signed a record that the host never placed")
            } else {
                self.vouched(batch, live, receipt, &jws)
            };
        };
        let place = (receipt.session_id, receipt.sequence, receipt.cell.clone());
        if held.hash == receipt.hash && batch.txn.get(&RECEIPTS, &place)?.is_some() {
            // Signed anew it says nothing new: told once, however often it comes.
            return Ok(());
        }
        batch.put(&RECEIPTS, &place, &jws)?;
        if held.hash != receipt.hash {
            return self.freeze(batch, live, "two cells signed different hashes for one record");
        }
        if hosted {
            let known = live.kept.replicas.entry(receipt.cell.clone()).or_default();
            *known = receipt.sequence.max(*known);
            for cell in live.cells(&own).into_iter().filter(|cell| *cell != receipt.cell) {
                self.queue(batch, &cell, What::Receipt { session: receipt.session_id, receipt: jws.clone() })?;
            }
        }
        let body = json!({"cell": receipt.cell, "receipt": jws});
        self.tell_after(batch, live, receipt.session_id, receipt.sequence, false, "receipt", body)
    }

    /// A member missed something: its records are queued again.
    pub(super) fn take_want(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        session: SessionId,
        after: u64,
    ) -> Step<()> {
        let live = self.take_out(batch, session)?;
        let member = live.cells(&self.shared.settings.cell).contains(peer);
        let head = live.kept.session.head.sequence;
        // What was before a cell came in stays away from it, however it asks.
        let after = after.max(begins_in(&live.kept.session, peer).saturating_sub(1));
        // Before the records that follow from them.
        let told = if member { self.tell_verdicts_again(batch, &live, peer) } else { Ok(()) };
        self.put_back(batch, live);
        told?;
        if !member {
            return Err(Refusal::new(Code::NotFound, "no such session of this peer").into());
        }
        if self.backlog(batch, peer)? > BACKLOG {
            // It has not taken what it asked for before; it asks again at its next gap.
            return Ok(());
        }
        for sequence in after.saturating_add(1)..=head.min(after.saturating_add(AGAIN)) {
            self.queue(batch, peer, What::Record { session, sequence })?;
        }
        Ok(())
    }

    /// One receipt a session for all that came in this batch: over its newest record, so over all before it.
    pub(super) fn send_receipts(&mut self, batch: &mut Batch<'_>) -> Result<(), Fault> {
        for session in std::mem::take(&mut self.receipts_due) {
            let Some(live) = self.live.get(&session) else { continue };
            let (host, sequence) = (live.kept.session.host.clone(), live.kept.session.head.sequence);
            let view = View { shared: &self.shared, rows: &batch.txn };
            if let Some((_, row)) = view.logged(session, sequence)? {
                self.queue(batch, &host, What::Receipt { session, receipt: row.receipt })?;
            }
        }
        Ok(())
    }
}
