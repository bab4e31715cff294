//! Escrow in a session: which money is held with a COMMIT, and the one end that each escrow has.
//!
//! An escrow ends with what it depends on: settled releases it, any other end refunds it, a dispute freezes it until it
//! is decided. Every end is a [`Move`], given once, in the changes of the record that brought it about. Where the
//! money lies, and what it takes to lock it, is the ledger's business. Source: docs/spec/details.md section 4.

use super::apply::Changes;
use super::references::{Aim, Aimed};
use super::{Act, MAX_COMMITMENTS, Session};
use crate::protocol::commitment::{Commitment, Kind, Status};
use crate::protocol::escrow::{Held, HeldState, Hold, Move};
use crate::protocol::ids::{CommitmentId, MessageId};
use crate::protocol::money::Money;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::statement::Statement as _;
use crate::protocol::time::Timestamp;

impl Session {
    /// The hold that the money of this COMMIT wants: a payment from one organisation to another.
    #[must_use]
    pub fn hold_of(&self, act: &Act, at: Timestamp) -> Option<Hold> {
        let pledge = act.pledge().filter(|pledge| pledge.kind == Kind::Payment)?;
        let payer = &self.participant(act.sender)?.home;
        let payee = &self.participant(pledge.beneficiary)?.home;
        (payer.organisation != payee.organisation).then_some(Hold {
            cell: payer.cell.clone(),
            session_id: self.id,
            commitment_id: pledge.commitment,
            message_id: act.message_id,
            payer: payer.organisation.clone(),
            payee: payee.organisation.clone(),
            money: pledge.money?,
            at,
        })
    }

    /// The hold that came with this COMMIT.
    #[must_use]
    pub fn hold_with(&self, commit: MessageId) -> Option<String> {
        let made = self.commitments.iter().find(|commitment| commitment.message == commit)?;
        made.held.as_ref().map(|held| held.receipt.clone())
    }

    /// Whether the hold beside an act is the one it wants, and is there where the COMMIT itself says so. The shape of
    /// the COMMIT was judged; whose signature it is must have been checked.
    pub fn check_hold(&self, act: &Act) -> Result<(), Refusal> {
        let said = act.pledge().is_some_and(|pledge| pledge.escrow == Some(true));
        let Some(receipt) = &act.hold else {
            let detail = "the COMMIT says escrow, and its sender's cell sent no hold receipt";
            let missing = Refusal::new(Code::EscrowRequired, detail).at("/terms/escrow");
            return if said { Err(missing) } else { Ok(()) };
        };
        let bad = |expected: &str| Refusal::invalid("/hold", expected);
        let hold = Hold::unproven(receipt).map_err(|why| bad(&format!("a JWS of kind hold: {why}")))?;
        match self.hold_of(act, hold.at) {
            Some(wanted) if wanted == hold => Ok(()),
            Some(_) => Err(bad("the hold of this very payment, by its sender's cell")),
            None => Err(bad("no hold: this is no payment from one organisation to another")),
        }
    }

    /// The money of a COMMIT with its hold, as the commitment keeps it.
    pub(super) fn held_by(&self, act: &Act) -> Option<Held> {
        let receipt = act.hold.clone()?;
        let cell = self.participant(act.sender)?.home.cell.clone();
        Some(Held { state: HeldState::Held, cell, receipt })
    }

    /// Whether the chain of what a commitment depends on leads to the one it replaces: such an escrow would never end.
    pub(super) fn circles(&self, depends: Option<CommitmentId>, replaces: Option<CommitmentId>) -> bool {
        let Some(replaced) = replaces else { return false };
        let mut next = depends;
        for _ in 0..MAX_COMMITMENTS {
            match next {
                Some(id) if id == replaced => return true,
                Some(id) => next = self.commitment(id).and_then(|commitment| commitment.depends_on),
                None => break,
            }
        }
        false
    }

    /// FULFILL of an escrowed payment: has no deadline, but no payer takes out of a dispute what it froze.
    pub(super) fn aim_payment(&self, act: &Act, payment: &Commitment) -> Aimed {
        if Self::is_frozen(payment) && self.claim_paid_with(payment).is_none() {
            let rule = "a dispute has frozen this payment until it is decided";
            return Err(self.violation(act.sender, "/terms/commitmentId", rule));
        }
        Ok(Aim::Due(payment.id))
    }

    /// The standing claim that the payer's FULFILL confirms.
    fn claim_paid_with(&self, payment: &Commitment) -> Option<CommitmentId> {
        let claimed = self.commitment(payment.depends_on?)?;
        claimed.standing_claim()?;
        self.same_party(claimed.beneficiary, payment.obligor).then_some(claimed.id)
    }

    /// FULFILL: claims; of an escrowed payment it confirms the claim it depends on, or releases early.
    pub(super) fn fulfil(&mut self, id: CommitmentId, by: MessageId, at: Timestamp, changes: &mut Changes) {
        let escrowed = self.commitment(id).filter(|commitment| commitment.status == Status::Escrowed);
        let Some(payment) = escrowed else { return self.change(id, changes, |commitment| commitment.claim(by, at)) };
        match self.claim_paid_with(payment) {
            Some(claimed) => self.confirm(claimed, at, changes),
            None => self.change(id, changes, |payment| payment.status = Status::Settled),
        }
    }

    /// A claim is confirmed, which ends a dispute about it.
    pub(super) fn confirm(&mut self, id: CommitmentId, at: Timestamp, changes: &mut Changes) {
        self.change(id, changes, |commitment| commitment.confirm(at));
        self.end_by_acceptance(id, at, changes);
    }

    /// Freezes what is locked by a commitment in dispute or waits for it, and frees what no open dispute holds any more.
    pub(super) fn refreeze(&mut self, changes: &mut Changes) {
        let disputed: Vec<CommitmentId> =
            self.disputes.iter().filter(|dispute| dispute.is_open()).map(|dispute| dispute.commitment).collect();
        for commitment in &mut self.commitments {
            let held_up = disputed.iter().any(|about| *about == commitment.id || commitment.depends_on == Some(*about));
            let to = if held_up { HeldState::Frozen } else { HeldState::Held };
            if let Some(held) = commitment.held.as_mut().filter(|held| held.state.is_open() && held.state != to) {
                held.state = to;
                changes.note(commitment.id);
            }
        }
    }

    /// When an escrow's host has lost it: `dispute_window` after the last moment at which the session itself could have
    /// ended it, whatever the state says. None where no money of the chain is held for the commitment.
    #[must_use]
    pub fn escrow_lost_at(&self, id: CommitmentId) -> Option<Timestamp> {
        let payment = self.commitment(id).filter(|payment| payment.held.is_some())?;
        let condition = payment.depends_on.and_then(|id| self.commitment(id));
        let ends = [Some(payment), condition].into_iter().flatten().flat_map(|commitment| {
            let disputed = self.open_dispute_about(commitment.id).map(|it| it.opened.at + self.windows.dispute);
            [Some(self.fulfil_until(commitment)), self.review_until(commitment), disputed]
        });
        ends.flatten().max().map(|end| end + self.windows.dispute)
    }

    /// The money still locked by a commitment or waiting for it.
    pub(super) fn locked_by(&self, about: CommitmentId) -> impl Iterator<Item = Money> {
        let concerned = self.commitments.iter().filter(move |c| c.id == about || c.depends_on == Some(about));
        concerned.filter_map(|commitment| commitment.locked().map(|(money, _)| money))
    }

    /// Releases what waits for a commitment, but for payments that are in dispute themselves.
    pub(super) fn release_escrows(&mut self, about: CommitmentId, changes: &mut Changes) {
        let waits = |c: &&Commitment| c.depends_on == Some(about) && self.open_dispute_about(c.id).is_none();
        let ids: Vec<_> = self.commitments.iter().filter(waits).map(|commitment| commitment.id).collect();
        for id in ids {
            self.end_escrow(id, |money| money, changes);
        }
    }

    /// Ends the escrows that a commitment holds or that wait for it by decision: the payee gets `amount` of each, at
    /// most what is there. What is paid settles, what is not is withdrawn.
    pub fn decide_escrows(&mut self, about: CommitmentId, amount: impl Fn(Money) -> Money, changes: &mut Changes) {
        let concerned = |c: &&Commitment| (c.id == about || c.depends_on == Some(about)) && c.locked().is_some();
        let ids: Vec<_> = self.commitments.iter().filter(concerned).map(|commitment| commitment.id).collect();
        for id in ids {
            self.end_escrow(id, &amount, changes);
        }
    }

    /// Ends what has come to its end: a payment that is final itself, or whose condition is.
    pub fn end_escrows(&mut self, changes: &mut Changes) {
        while let Some((id, paid)) = self.commitments.iter().find_map(|payment| self.ended(payment)) {
            self.end_escrow(id, |money| if paid { money } else { Money::zero(money.currency) }, changes);
        }
    }

    /// Refunds what its payee gave up by its own word, whatever dispute has frozen it.
    pub(super) fn let_go(&mut self, id: CommitmentId, changes: &mut Changes) {
        self.end_escrow(id, |money| Money::zero(money.currency), changes);
    }

    /// Whether a dispute has frozen the money of a commitment.
    pub(super) fn is_frozen(commitment: &Commitment) -> bool {
        commitment.locked().is_some_and(|(_, state)| state == HeldState::Frozen)
    }

    /// Whether the money of this payment is due to somebody now; whether it is the payee. The condition speaks first:
    /// a payment that the session's end withdrew under a dispute goes where its condition went.
    fn ended(&self, payment: &Commitment) -> Option<(CommitmentId, bool)> {
        payment.locked().filter(|(_, state)| *state == HeldState::Held)?;
        let condition = payment.depends_on.and_then(|id| self.commitment(id)).map(|condition| condition.status);
        let last = [condition, Some(payment.status)].into_iter().flatten().find(|status| status.is_final())?;
        Some((payment.id, last == Status::Settled))
    }

    fn end_escrow(&mut self, id: CommitmentId, amount: impl Fn(Money) -> Money, changes: &mut Changes) {
        let Some(payment) = self.commitments.iter_mut().find(|commitment| commitment.id == id) else { return };
        let (Some((money, _)), Some(held)) = (payment.locked(), payment.held.as_mut()) else { return };
        let minor = amount(money).minor.clamp(0, money.minor);
        let paid = minor > 0;
        held.state = if paid { HeldState::Released } else { HeldState::Refunded };
        if paid && payment.status != Status::Breached {
            payment.status = Status::Settled;
        } else if !payment.status.is_final() {
            payment.status = Status::Withdrawn;
        }
        changes.moves.push(Move { commitment: id, payee_amount: Money { minor, ..money } });
        changes.note(id);
    }
}
