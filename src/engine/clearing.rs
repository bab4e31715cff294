//! Money between cells: an order for what an escrow released, credited once, and no more owed than the operator allows.
//!
//! The payee's cell credits an order when its own copy of the session has come to the same end; an order that comes
//! before that, or while the payer's cell owes too much, waits. Both rows stay, so that a second order for the same
//! escrow, or of the same number, is known. Source: docs/spec/details.md section 4 ("`exposure`").

use std::collections::BTreeMap;

use serde_json::json;

use super::core::{Batch, Engine};
use super::live::Live;
use super::orders;
use super::shared::Settings;
use super::stop::Step;
use super::tables::{DUES, Dispatch, Due, Escrow, ISSUED, NUMBERS, ORDERS, POSITIONS, Position, What};
use crate::crypto::digest::Digest;
use crate::protocol::escrow::Move;
use crate::protocol::ids::{CellId, CommitmentId, SessionId};
use crate::protocol::ledger;
use crate::protocol::money::{Currency, Money};
use crate::protocol::rate::Usd;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{Act, MAX_COMMITMENTS};
use crate::protocol::settlement::Settlement;
use crate::protocol::statement::Statement as _;
use crate::store::{Order, View as _};
use crate::wire::frame::{About, Said};

/// What a peer may owe where the configuration says nothing.
const EXPOSURE: Money = Money { minor: 10_000_000, currency: Currency::USD };

impl Settings {
    /// Whether a peer may owe so much, in each currency; the limit that is too low, if not. A currency that is not named
    /// counts by its worth in USD with what is owed in USD, and so do all of them together.
    fn may_owe(&self, peer: &CellId, owed: &BTreeMap<Currency, i128>) -> Result<(), Money> {
        let named = self.exposure.get(peer);
        let of = |currency| named.and_then(|limits| limits.get(&currency)).copied();
        let limit = of(Currency::USD).unwrap_or(EXPOSURE);
        let mut together = Some(Usd::default());
        for (&currency, &minor) in owed.iter().filter(|(_, minor)| **minor > 0) {
            match of(currency).filter(|_| currency != Currency::USD) {
                Some(limit) if minor > limit.minor => return Err(limit),
                Some(_) => {}
                None => together = together.zip(self.fx.usd(&Money { minor, currency })).map(|(sum, more)| sum + more),
            }
        }
        let within = together.zip(self.fx.usd(&limit)).is_some_and(|(owed, limit)| owed <= limit);
        if within { Ok(()) } else { Err(limit) }
    }
}

impl Position {
    /// What the peer owes this cell once what this cell owes it is set off; below zero where this cell owes more.
    pub const fn owed(&self) -> i128 {
        let theirs = self.credited.minor.saturating_sub(self.received);
        theirs.saturating_sub(self.issued.minor.saturating_sub(self.paid))
    }
}

impl Engine {
    pub(super) fn position(&self, batch: &Batch<'_>, peer: &CellId, currency: Currency) -> Step<Position> {
        Ok(batch.txn.get(&POSITIONS, &(peer.clone(), currency.code().to_owned()))?.unwrap_or_default())
    }

    pub(super) fn put_position(
        &self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        currency: Currency,
        position: &Position,
    ) -> Step<()> {
        Ok(batch.put(&POSITIONS, &(peer.clone(), currency.code().to_owned()), position)?)
    }

    /// What a peer would owe with so much more, in each currency, and in that of the money; `promised`: also what its
    /// escrows may still bring.
    fn would_owe(
        &self,
        batch: &Batch<'_>,
        peer: &CellId,
        more: Money,
        promised: bool,
    ) -> Step<(BTreeMap<Currency, i128>, Money)> {
        let mut owed = BTreeMap::new();
        for ((_, code), position) in batch.txn.under(&POSITIONS, &(peer.clone(),), Order::Forward, usize::MAX)? {
            if let Ok(currency) = code.parse::<Currency>() {
                let to_come = if promised { position.promised } else { 0 };
                owed.insert(currency, position.owed().saturating_add(to_come));
            }
        }
        let sum = owed.entry(more.currency).or_default();
        *sum = sum.saturating_add(more.minor);
        let would_be = Money { minor: *sum, currency: more.currency };
        Ok((owed, would_be))
    }

    /// The host, at home with the payee, takes no COMMIT that could make the payer's cell owe too much.
    pub(super) fn check_exposure(&self, batch: &Batch<'_>, live: &Live, act: &Act) -> Step<()> {
        let own = &self.shared.settings.cell;
        let session = &live.kept.session;
        let Some(hold) = act.hold.as_ref().and_then(|_| session.hold_of(act, batch.now)) else { return Ok(()) };
        let payee = act.pledge().and_then(|pledge| session.participant(pledge.beneficiary));
        if hold.cell == *own || payee.is_none_or(|payee| payee.home.cell != *own) {
            return Ok(());
        }
        let (owed, would_be) = self.would_owe(batch, &hold.cell, hold.money, true)?;
        self.shared.settings.may_owe(&hold.cell, &owed).map_err(|limit| {
            let detail = format!("cell {} would come to owe {would_be}; it may owe {limit}", hold.cell);
            let refusal = Refusal::new(Code::CeilingExceeded, detail).at("/terms/amount").with("whose", json!("cell"));
            refusal.with("ceiling", json!(limit)).with("wouldBe", json!(would_be)).into()
        })
    }

    /// A COMMIT placed with a hold of another cell in favour of an organisation of this one: a credit to come.
    pub(super) fn expect_credit(&mut self, batch: &mut Batch<'_>, live: &Live, id: CommitmentId) -> Step<()> {
        let own = &self.shared.settings.cell;
        let session = &live.kept.session;
        let Some(commitment) = session.commitment(id) else { return Ok(()) };
        let (Some(held), Some(money)) = (&commitment.held, commitment.money) else { return Ok(()) };
        let payee = session.participant(commitment.beneficiary).map(|payee| &payee.home);
        let Some(payee) = payee.filter(|payee| payee.cell == *own && held.cell != *own) else { return Ok(()) };
        let due =
            Due { peer: held.cell.clone(), payee: payee.organisation.clone(), money, decided: None, credited: false };
        let mut position = self.position(batch, &due.peer, money.currency)?;
        position.promised = position.promised.saturating_add(money.minor);
        self.put_position(batch, &due.peer, money.currency, &position)?;
        batch.put(&DUES, &(session.id, id), &due)?;
        Ok(())
    }

    /// The session's end of an escrow that another cell holds, as this cell derived it.
    pub(super) fn decide_credit(
        &mut self,
        batch: &mut Batch<'_>,
        session: SessionId,
        end: Move,
        cause: Digest,
    ) -> Step<()> {
        let key = (session, end.commitment);
        let open = batch.txn.get(&DUES, &key)?.filter(|due| due.decided.is_none());
        let Some(mut due) = open else { return Ok(()) };
        due.decided = Some((end.payee_amount, cause));
        let mut position = self.position(batch, &due.peer, due.money.currency)?;
        let back = due.money.minor.saturating_sub(end.payee_amount.minor);
        position.promised = position.promised.saturating_sub(back);
        self.put_position(batch, &due.peer, due.money.currency, &position)?;
        batch.put(&DUES, &key, &due)?;
        self.try_credit(batch, key)
    }

    /// Orders the payee's cell to credit what an escrow of this cell released.
    pub(super) fn order(
        &mut self,
        batch: &mut Batch<'_>,
        live: &Live,
        escrow: &Escrow,
        to: &CellId,
        money: Money,
    ) -> Step<()> {
        let mut position = self.position(batch, to, money.currency)?;
        position.issued = position.issued.with(money.minor);
        let settlement = Settlement {
            cell: self.shared.settings.cell.clone(),
            to: to.clone(),
            number: position.issued.number,
            session_id: escrow.hold.session_id,
            commitment_id: escrow.hold.commitment_id,
            payer: escrow.hold.payer.clone(),
            payee: escrow.hold.payee.clone(),
            money,
            at: batch.now,
        };
        self.put_position(batch, to, money.currency, &position)?;
        let jws = settlement.sign(&self.shared.signer.key);
        let number = (to.clone(), money.currency.code().to_owned(), settlement.number);
        batch.put(&ISSUED, &number, &jws)?;
        match self.state_to(batch, live, to, Said::Settlement, jws.clone()) {
            Err(super::stop::Stop::Refused(refusal)) => {
                // Nothing may cross now: the peer asks for it once a consent is in force again.
                let what = What::Statement { said: Said::Settlement, about: About::Session(live.kept.session.id), jws };
                let dispatch = Dispatch { what, queued_at: batch.now };
                Ok(self.dead_letter(batch, to, dispatch, *refusal)?)
            }
            step => step,
        }
    }

    /// A peer's order: kept under its escrow and its number, credited once the session here says the same.
    pub(super) fn take_order_of(&mut self, batch: &mut Batch<'_>, live: &Live, peer: &CellId, jws: &str) -> Step<()> {
        let order = Settlement::unproven(jws).map_err(|why| Refusal::invalid("/statement", why.to_string()))?;
        if order.cell != *peer || order.to != self.shared.settings.cell {
            let detail = format!("an order of cell {} to {} from {peer}", order.cell, order.to);
            return Err(Refusal::new(Code::Unauthorized, detail).into());
        }
        let key = (order.session_id, order.commitment_id);
        let known = batch.txn.get(&ORDERS, &key)?;
        let known = match live.kept.session.commitment(order.commitment_id) {
            Some(made) if made.held.as_ref().is_none_or(|held| held.cell != *peer) => {
                let detail = format!("an order of {peer} for commitment {}, for which it holds nothing", key.1);
                return Err(Refusal::new(Code::Unauthorized, detail).into());
            }
            // What came before the commitment was known here may be from a cell that has nothing to do with it.
            Some(_) => known.filter(|known| known.cell == *peer),
            None => {
                let room =
                    batch.txn.under(&ORDERS, &(key.0,), Order::Forward, MAX_COMMITMENTS)?.len() < MAX_COMMITMENTS;
                if !room {
                    let rule = format!("a session takes at most {MAX_COMMITMENTS} orders before their commitments");
                    return Err(Refusal::new(Code::PolicyViolation, rule).into());
                }
                known
            }
        };
        let number = (peer.clone(), order.money.currency.code().to_owned(), order.number);
        match (known, batch.txn.get(&NUMBERS, &number)?) {
            (None, None) => {
                batch.put(&NUMBERS, &number, &key)?;
                batch.put(&ORDERS, &key, &order)?;
                let mut position = self.position(batch, peer, order.money.currency)?;
                position.taken = orders::taken(&batch.txn, peer, order.money.currency, &position)?;
                self.put_position(batch, peer, order.money.currency, &position)?;
                self.try_credit(batch, key)
            }
            (Some(known), _) if known.number == order.number && known.money == order.money => Ok(()),
            (Some(_), _) | (None, Some(_)) => {
                let told = format!("peer {peer} gave two orders for one escrow or under one number, {}", order.number);
                batch.effects.alarms.push(told);
                Ok(())
            }
        }
    }

    /// Credits a payment whose order and decision are both here, agree, and do not make the peer owe too much.
    pub(super) fn try_credit(&mut self, batch: &mut Batch<'_>, key: (SessionId, CommitmentId)) -> Step<()> {
        let (Some(mut due), Some(order)) = (batch.txn.get(&DUES, &key)?, batch.txn.get(&ORDERS, &key)?) else {
            return Ok(());
        };
        let Some((money, cause)) = due.decided.filter(|_| !due.credited) else { return Ok(()) };
        let (peer, id) = (due.peer.clone(), key.1);
        if order.cell != peer || order.money != money || order.payee != due.payee {
            let told = format!("peer {peer} ordered {} for commitment {id}, the session says {money}", order.money);
            batch.effects.alarms.push(told);
            return Ok(());
        }
        let mut position = self.position(batch, &peer, money.currency)?;
        let (owed, would_be) = self.would_owe(batch, &peer, money, false)?;
        if let Err(limit) = self.shared.settings.may_owe(&peer, &owed) {
            let told = format!("peer {peer} would owe {would_be}, it may owe {limit}: the credit for {id} waits");
            batch.effects.alarms.push(told);
            return Ok(());
        }
        self.book(batch, ledger::credit(&due.payee, &peer, money), cause)?;
        position.credited = position.credited.with(money.minor);
        position.promised = position.promised.saturating_sub(money.minor);
        self.put_position(batch, &peer, money.currency, &position)?;
        due.credited = true;
        batch.put(&DUES, &key, &due)?;
        Ok(())
    }
}
