//! Escrow where the money lies: locked with the COMMIT, moved when the session says that the escrow has ended.
//!
//! The payer's cell alone has the money; what it signs (`hold`) is all that others see of it. Nothing here decides
//! when an escrow ends: that is in the session's changes, the same in every cell.
//! Source: docs/spec/details.md section 4.

use super::core::{Batch, Engine};
use super::live::Live;
use super::stop::{Step, Stop, bug, fault_of};
use super::tables::{ESCROWS, Escrow, Pending};
use crate::crypto::digest::Digest;
use crate::protocol::escrow::{self, Hold, Move};
use crate::protocol::ids::{CellId, ParticipantId};
use crate::protocol::ledger::{self, Payee};
use crate::protocol::money::Money;
use crate::protocol::record::Record;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Act, Changes, Session};
use crate::protocol::statement::Statement as _;
use crate::protocol::terms::Pledge;
use crate::protocol::time::Timestamp;
use crate::protocol::trust::Level;
use crate::store::{Fault, View as _};

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
        let Some(pledge) = act.pledge() else { return Ok(()) };
        if !self.duty(batch, session, act.sender, pledge)? {
            return Ok(());
        }
        session.check_escrow(act.sender, pledge)?;
        self.lock_hold(batch, hold, act, cause)
    }

    /// The same where another cell is the host: it judges, this cell answers for the money alone.
    pub(super) fn lock_ahead(
        &mut self,
        batch: &mut Batch<'_>,
        session: &Session,
        act: &mut Act,
        cause: Digest,
    ) -> Step<()> {
        let Some(hold) = session.hold_of(act, batch.now) else { return Ok(()) };
        let Some(pledge) = act.pledge().filter(|pledge| pledge.depends_on.is_some()) else { return Ok(()) };
        match self.duty(batch, session, act.sender, pledge) {
            Ok(true) => self.lock_hold(batch, hold, act, cause),
            Ok(false) | Err(Stop::Refused(_)) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    fn lock_hold(&mut self, batch: &mut Batch<'_>, hold: Hold, act: &mut Act, cause: Digest) -> Step<()> {
        let key = (hold.session_id, hold.commitment_id);
        self.locks_once(batch, key.0, key.1)?;
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

    /// The host takes a COMMIT of another cell's agent with its hold, or demands one by the levels as it sees them.
    pub(super) fn demand_hold(&self, batch: &Batch<'_>, live: &Live, act: &Act, at: Timestamp) -> Step<()> {
        let session = &live.kept.session;
        if let (None, Some(pledge), Some(hold)) = (&act.hold, act.pledge(), session.hold_of(act, at))
            && self.duty(batch, session, act.sender, pledge)?
        {
            session.check_escrow(act.sender, pledge)?;
            let detail = format!("at these levels the payment must be escrowed, and cell {} sent no hold", hold.cell);
            return Err(Refusal::new(Code::EscrowRequired, detail).at("/terms/escrow").into());
        }
        Ok(session.check_hold(act)?)
    }

    /// A member takes a COMMIT that the host placed with the hold it came with; its own is known here.
    pub(super) fn recognise_hold(&self, batch: &Batch<'_>, live: &Live, act: &Act) -> Step<()> {
        let session = &live.kept.session;
        session.check_hold(act)?;
        let sender = session.participant(act.sender).filter(|sender| sender.home.cell == self.shared.settings.cell);
        let (Some(pledge), Some(_)) = (act.pledge(), sender) else { return Ok(()) };
        let row = batch.txn.get(&ESCROWS, &(session.id, pledge.commitment))?;
        // What operators ended while its COMMIT had no place, its host may have placed without knowing: no money moves again.
        let ended = live.kept.unlocked.contains_key(&pledge.commitment);
        let locked = row.filter(|it| (it.paid.is_none() || ended) && it.hold.message_id == act.message_id);
        if locked.map(|escrow| escrow.receipt) == act.hold {
            return Ok(());
        }
        Err(Refusal::invalid("/hold", "what this cell has locked for the COMMIT, which it knows").into())
    }

    /// A COMMIT that is not placed leaves no money locked.
    pub(super) fn unlock(&mut self, batch: &mut Batch<'_>, pending: &Pending) -> Result<(), Fault> {
        let Some(hold) = pending.hold.as_ref().and_then(|receipt| Hold::unproven(receipt).ok()) else { return Ok(()) };
        let key = (hold.session_id, hold.commitment_id);
        let open = batch.txn.get(&ESCROWS, &key)?.filter(|it| it.paid.is_none() && it.hold == hold);
        let Some(mut escrow) = open else { return Ok(()) };
        let nothing = Money::zero(hold.money.currency);
        let lines = ledger::end(&hold.payer, hold.commitment_id, hold.money, nothing, Payee::Here(&hold.payee));
        fault_of(self.book(batch, lines, pending.envelope))?;
        escrow.paid = Some(nothing);
        batch.put(&ESCROWS, &key, &escrow)
    }

    /// A COMMIT that is sent after all locks its money again, under the same hold.
    pub(super) fn relock(&mut self, batch: &mut Batch<'_>, pending: &Pending) -> Step<()> {
        let Some(receipt) = &pending.hold else { return Ok(()) };
        let hold = Hold::unproven(receipt).map_err(|why| bug(format!("a stored hold: {why}")))?;
        self.locks_once(batch, hold.session_id, hold.commitment_id)?;
        self.book(batch, ledger::hold(&hold.payer, hold.commitment_id, hold.money), pending.envelope)?;
        let key = (hold.session_id, hold.commitment_id);
        batch.put(&ESCROWS, &key, &Escrow { hold, receipt: receipt.clone(), paid: None })?;
        Ok(())
    }

    /// What a record does to money: a credit to come, and the end of escrows.
    pub(super) fn move_money(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        changes: &Changes,
        record: &Record,
        cause: Digest,
    ) -> Step<()> {
        let mut commitments = live.kept.session.commitments.iter();
        if let Some(id) = commitments.find(|made| made.message == record.message_id).map(|made| made.id) {
            self.expect_credit(batch, live, id)?;
            self.follow_kept(batch, live, id)?;
        }
        self.end_moves(batch, live, changes, cause)
    }

    /// The end of escrows, by a record or by a decision beside the chain.
    pub(super) fn end_moves(
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
        if self.ended_before(batch, live, end, cause)? {
            return Ok(());
        }
        let own = self.shared.settings.cell.clone();
        let session = &live.kept.session;
        let Some(commitment) = session.commitment(end.commitment) else { return Ok(()) };
        if commitment.held.as_ref().is_none_or(|held| held.cell != own) {
            return self.decide_credit(batch, session.id, end, cause);
        }
        let payee = session.participant(commitment.beneficiary).map_or(&own, |payee| &payee.home.cell).clone();
        let open = batch.txn.get(&ESCROWS, &(session.id, end.commitment))?.filter(|escrow| escrow.paid.is_none());
        let Some(escrow) = open else {
            let missing = format!("no money is held for commitment {} of session {}", end.commitment, session.id);
            batch.effects.alarms.push(missing);
            return Ok(());
        };
        self.pay_out(batch, live, escrow, &payee, end.payee_amount, cause)
    }

    /// Ends an escrow of this cell: the payee, at home in `to`, gets `amount`, and the rest goes back.
    pub(super) fn pay_out(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        mut escrow: Escrow,
        to: &CellId,
        amount: Money,
        cause: Digest,
    ) -> Step<()> {
        let here = *to == self.shared.settings.cell;
        let hold = &escrow.hold;
        let key = (hold.session_id, hold.commitment_id);
        let payee = if here { Payee::Here(&hold.payee) } else { Payee::Across(to) };
        let lines = ledger::end(&hold.payer, hold.commitment_id, hold.money, amount, payee);
        self.book(batch, lines, cause)?;
        if !here && amount.minor > 0 {
            self.order(batch, live, &escrow, to, amount)?;
        }
        escrow.paid = Some(amount);
        batch.put(&ESCROWS, &key, &escrow)?;
        Ok(())
    }

    /// Whether a payment of this sender is to be escrowed, by the lower level of the two as this cell enforces it now:
    /// the same levels that bound the amount.
    fn duty(&self, batch: &Batch<'_>, session: &Session, sender: ParticipantId, pledge: &Pledge) -> Step<bool> {
        let level = |id| match session.participant(id) {
            Some(participant) => self.level_of(batch, session, participant),
            None => Ok(Level::Probation),
        };
        let levels = [level(sender)?.number(), level(pledge.beneficiary)?.number()];
        Ok(escrow::duty(levels, session.constraints.escrow, pledge.escrow)?)
    }
}
