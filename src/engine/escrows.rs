//! Escrow where the money lies: locked with the COMMIT, moved when the session says that the escrow has ended.
//!
//! The payer's cell alone has the money; what it signs (`hold`) is all that others see of it. Nothing here decides
//! when an escrow ends: that is in the session's changes, the same in every cell.
//! Source: docs/spec/details.md section 4.

use super::core::{Batch, Engine};
use super::live::Live;
use super::stop::Step;
use super::tables::{ESCROWS, Escrow};
use crate::crypto::digest::Digest;
use crate::protocol::escrow::Move;
use crate::protocol::ledger::{self, Payee};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Act, Changes, Session};
use crate::protocol::statement::Statement as _;
use crate::protocol::time::Timestamp;
use crate::store::View as _;

impl Engine {
    /// Locks the money of an own agent's COMMIT, if it is to be escrowed, and signs for it: `escrow_required`,
    /// `validation_failed` or `escrow_unfunded`, and nothing is locked. `cause` is the record.
    pub(super) fn lock(
        &mut self,
        batch: &mut Batch<'_>,
        session: &Session,
        act: &mut Act,
        at: Timestamp,
        cause: Digest,
    ) -> Step<()> {
        let Some(hold) = session.hold_of(act, at) else { return Ok(()) };
        let Some(pledge) = act.pledge().filter(|pledge| pledge.escrow == Some(true)) else { return Ok(()) };
        session.check_escrow(act.sender, pledge)?;
        let key = (hold.session_id, hold.commitment_id);
        if batch.txn.get(&ESCROWS, &key)?.is_some_and(|escrow| escrow.paid.is_none()) {
            let detail = "money is held for a commitment of that id, by a COMMIT that has no place yet";
            return Err(Refusal::new(Code::Duplicate, detail).at("/terms/commitmentId").into());
        }
        self.book(batch, ledger::hold(&hold.payer, hold.commitment_id, hold.money), cause)?;
        let receipt = hold.sign(&self.shared.signer.key);
        batch.put(&ESCROWS, &key, &Escrow { hold, receipt: receipt.clone(), paid: None })?;
        act.hold = Some(receipt);
        Ok(())
    }

    /// Moves the money of every escrow that ended with this record.
    pub(super) fn move_money(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        changes: &Changes,
        cause: Digest,
    ) -> Step<()> {
        for end in &changes.moves {
            self.move_one(batch, live, *end, cause)?;
        }
        Ok(())
    }

    fn move_one(&mut self, batch: &mut Batch<'_>, live: &Live, end: Move, cause: Digest) -> Step<()> {
        let own = &self.shared.settings.cell;
        let session = &live.kept.session;
        let held = session.commitment(end.commitment).and_then(|commitment| commitment.held.as_ref());
        if held.is_none_or(|held| held.cell != *own) {
            return Ok(());
        }
        let key = (session.id, end.commitment);
        let open = batch.txn.get(&ESCROWS, &key)?.filter(|escrow| escrow.paid.is_none());
        let Some(mut escrow) = open else {
            let missing = format!("no money is held for commitment {} of session {}", end.commitment, session.id);
            batch.effects.alarms.push(missing);
            return Ok(());
        };
        let hold = &escrow.hold;
        let payee = Payee::Here(&hold.payee);
        let lines = ledger::end(&hold.payer, end.commitment, hold.money, end.payee_amount, payee);
        self.book(batch, lines, cause)?;
        escrow.paid = Some(end.payee_amount);
        batch.put(&ESCROWS, &key, &escrow)?;
        Ok(())
    }
}
