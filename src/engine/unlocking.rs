//! Money that its session does not end: its host told two stories, or never ends it. The operators of the payer's and
//! of the payee's cell say how, and the cell that holds the money acts when both say the same.
//!
//! The session's own state is left alone: it follows from its records only. What the operators decided is noted beside it
//! (`Kept::unlocked`), and a record that comes after all moves nothing: it stays as evidence, with an alarm where it says
//! otherwise. No cell acts by its own timer. Source: docs/spec/details.md section 4.

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::inbound::Stated;
use super::live::Live;
use super::shared::Shared;
use super::stop::Step;
use super::tables::{DUES, ESCROWS, Kept};
use crate::crypto::digest::Digest;
use crate::protocol::dispute::EscrowTo;
use crate::protocol::escrow::{Hold, Move};
use crate::protocol::ids::{CellId, CommitmentId, SessionId};
use crate::protocol::money::Money;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::session::{MAX_COMMITMENTS, Session};
use crate::protocol::statement::Statement as _;
use crate::protocol::time::Timestamp;
use crate::protocol::unlocking::{Basis, Unlocked, Unlocking};
use crate::store::{Fault, Order, Table, View as Rows};
use crate::wire::frame::{Placed, Said};

/// Words on how an escrow shall end, and the decision, in the order in which they came: JWS of kind `escrow`.
pub(super) const UNLOCKING: Table<(SessionId, CommitmentId, u64), String> = Table::new("unlocking");
/// Receipts of a host over records that came to a frozen session after operators had ended an escrow of it.
pub(super) const LATE: Table<(SessionId, u64), String> = Table::new("late");

/// The most words of one cell on an escrow.
const MAX_WORDS: usize = 32;
/// The most late receipts of a session.
const MAX_LATE: usize = 64;

/// An escrow with what decides about it.
pub(super) struct Locked {
    hold: Hold,
    digest: Digest,
    /// The payee's cell.
    payee: CellId,
    /// From when on it may be resolved though the session is not frozen.
    lost_at: Timestamp,
}

/// The escrow of a commitment, by the chain or, where its COMMIT has no place yet, by what this cell locked for it.
fn locked(rows: &impl Rows, session: &Session, id: CommitmentId) -> Result<Option<Locked>, Fault> {
    let receipt = match session.commitment(id) {
        Some(made) => made.held.as_ref().map(|held| held.receipt.clone()),
        None => rows.get(&ESCROWS, &(session.id, id))?.map(|escrow| escrow.receipt),
    };
    let Some((hold, digest)) =
        receipt.and_then(|jws| Some((Hold::unproven(&jws).ok()?, Digest::of(&[jws.as_bytes()]))))
    else {
        return Ok(None);
    };
    let payee = session.participants.iter().find(|party| party.home.organisation == hold.payee);
    let lost_at = session.escrow_lost_at(id).unwrap_or(hold.at + session.windows.dispute);
    Ok(payee.map(|payee| Locked { payee: payee.home.cell.clone(), lost_at, hold, digest }))
}

/// All that was said of an escrow; each was verified when it came.
fn words(rows: &impl Rows, session: SessionId, id: CommitmentId) -> Result<Vec<(Unlocking, String)>, Fault> {
    let kept = rows.under(&UNLOCKING, &(session, id), Order::Forward, usize::MAX)?;
    Ok(kept.into_iter().filter_map(|(_, jws)| Some((Unlocking::unproven(&jws).ok()?, jws))).collect())
}

/// All that was said of a session's escrows, for its transcript.
pub(super) fn said_of(rows: &impl Rows, session: SessionId) -> Result<Vec<String>, Fault> {
    let kept = rows.under(&UNLOCKING, &(session,), Order::Forward, usize::MAX)?;
    Ok(kept.into_iter().map(|(_, jws)| jws).collect())
}

/// The newest word of a cell that is no decision.
fn newest<'a>(words: &'a [(Unlocking, String)], cell: &CellId) -> Option<&'a (Unlocking, String)> {
    words.iter().rev().find(|(word, _)| word.cell == *cell && !word.decides)
}

/// The decision of the cell that holds the money, if it is here.
fn decided_by<'a>(words: &'a [(Unlocking, String)], payer: &CellId) -> Option<&'a (Unlocking, String)> {
    words.iter().rev().find(|(word, _)| word.cell == *payer && word.decides)
}

/// What the payee got of an escrow that has ended here, by whatever.
fn ended(rows: &impl Rows, kept: &Kept, id: CommitmentId) -> Result<Option<Money>, Fault> {
    if let Some(unlocked) = kept.unlocked.get(&id) {
        return Ok(Some(unlocked.payee_amount));
    }
    let key = (kept.session.id, id);
    if let Some(escrow) = rows.get(&ESCROWS, &key)? {
        return Ok(escrow.paid);
    }
    Ok(rows.get(&DUES, &key)?.and_then(|due| due.decided).map(|(money, _)| money))
}

fn no_escrow(id: CommitmentId) -> Refusal {
    let detail = format!("no money is held for commitment {id} of that session; see `escrow list`");
    Refusal::new(Code::NotFound, detail).at("/commitment")
}

impl Engine {
    /// `escrow resolve`: the word of this cell's operator.
    pub(super) fn escrow_resolve(
        &mut self,
        batch: &mut Batch<'_>,
        (session, id): (SessionId, CommitmentId),
        to: EscrowTo,
        payee_amount: Option<&str>,
        reason: &str,
    ) -> Step<Value> {
        let mut live = self.take_out(batch, session)?;
        let step = self.operator_says(batch, &mut live, id, (to, payee_amount), reason);
        let shown = step.and_then(|()| Ok(view(&self.shared, &batch.txn, &live.kept, id)?.unwrap_or_default()));
        live.changed |= shown.is_ok();
        self.put_back(batch, live);
        shown
    }

    fn operator_says(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        id: CommitmentId,
        (to, payee_amount): (EscrowTo, Option<&str>),
        reason: &str,
    ) -> Step<()> {
        let own = self.shared.settings.cell.clone();
        let session = live.kept.session.id;
        let escrow = locked(&batch.txn, &live.kept.session, id)?.ok_or_else(|| no_escrow(id))?;
        let (payer, payee) = (escrow.hold.cell.clone(), escrow.payee.clone());
        if own != payer && own != payee {
            let detail = format!("the operators of the payer's and the payee's cell decide: {payer}, {payee}");
            return Err(Refusal::new(Code::EscalationRequired, detail).into());
        }
        if let Some(paid) = ended(&batch.txn, &live.kept, id)? {
            let detail = format!("the escrow has ended, the payee got {paid}; that is final");
            return Err(Refusal::new(Code::StateViolation, detail).into());
        }
        if self.shared.clock_off().is_some() {
            let detail = "this cell's clock was set: no escrow is resolved until it is right again";
            return Err(Refusal::new(Code::PolicyViolation, detail).into());
        }
        let said = words(&batch.txn, session, id)?;
        let asked = said.iter().any(|(word, _)| word.cell != own);
        if live.kept.frozen.is_none() && !asked && batch.now < escrow.lost_at {
            let from = escrow.lost_at;
            let detail =
                format!("the session is not frozen, and its host may end the escrow: to be resolved from {from} on");
            return Err(Refusal::new(Code::StateViolation, detail).with("from", json!(from)).into());
        }
        let word = Unlocking {
            cell: own.clone(),
            session_id: session,
            commitment_id: id,
            hold: escrow.digest,
            payee_amount: share(to, payee_amount, escrow.hold.money)?,
            by: Basis::Operator,
            decides: false,
            reason: reason.to_owned(),
            at: batch.now,
        };
        word.check(escrow.digest, escrow.hold.money)?;
        // The same said again is the same word: its time goes on, and it is told again.
        let before = newest(&said, &own).filter(|(before, _)| before.payee_amount == word.payee_amount);
        let jws = before.map_or_else(|| word.sign(&self.shared.signer.key), |(_, jws)| jws.clone());
        if before.is_none() {
            keep_word(batch, &word, &jws)?;
        }
        self.audit(batch, "operator", "operator", &session.to_string(), jws.as_bytes())?;
        let other = if own == payer { &payee } else { &payer };
        if *other != own {
            self.state_to(batch, live, other, Said::Escrow, jws)?;
        }
        if own == payer {
            return self.weigh_words(batch, live, id, &escrow, true);
        }
        self.follow_kept(batch, live, id)
    }

    /// What the cell that holds the money decided is here, and this cell can act on it now: its operator has spoken, or
    /// the COMMIT has come that the decision is about.
    pub(super) fn follow_kept(&mut self, batch: &mut Batch<'_>, live: &mut Live, id: CommitmentId) -> Step<()> {
        let session = &live.kept.session;
        let Some(escrow) = locked(&batch.txn, session, id)? else { return Ok(()) };
        let said = words(&batch.txn, session.id, id)?;
        match decided_by(&said, &escrow.hold.cell) {
            Some((decision, jws)) if decision.check(escrow.digest, escrow.hold.money).is_ok() => {
                self.follow(batch, live, &escrow, decision, jws)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A decision about a COMMIT that is not here yet: kept, one of a cell, for when it comes.
    fn keep_early(&self, batch: &mut Batch<'_>, word: &Unlocking, jws: &str) -> Step<()> {
        let id = word.commitment_id;
        let kept = batch.txn.under(&UNLOCKING, &(word.session_id,), Order::Forward, MAX_COMMITMENTS)?;
        let known = decided_by(&words(&batch.txn, word.session_id, id)?, &word.cell).is_some();
        if !word.decides || known || kept.len() >= MAX_COMMITMENTS {
            return Err(no_escrow(id).into());
        }
        keep_word(batch, word, jws)
    }

    /// At the cell that holds the money: it moves when both companies' cells say the same; back to the payer when its
    /// operator types so again after the time that the payee's cell has to answer.
    fn weigh_words(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        id: CommitmentId,
        escrow: &Locked,
        typed: bool,
    ) -> Step<()> {
        let said = words(&batch.txn, live.kept.session.id, id)?;
        let Some((mine, _)) = newest(&said, &escrow.hold.cell) else { return Ok(()) };
        let theirs = newest(&said, &escrow.payee).map(|(word, _)| word);
        let alone = || mine.payee_amount.minor == 0 && batch.now >= mine.refund_from(escrow.lost_at, theirs);
        let by = if theirs.is_some_and(|theirs| theirs.payee_amount == mine.payee_amount) {
            Basis::Agreement
        } else if typed && alone() {
            Basis::Deadline
        } else {
            return Ok(());
        };
        self.unlock_money(batch, live, escrow, mine.payee_amount, by)
    }

    /// The one end of an escrow that operators give it: booked, signed, told to all cells of the session.
    fn unlock_money(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        escrow: &Locked,
        payee_amount: Money,
        by: Basis,
    ) -> Step<()> {
        let key = (live.kept.session.id, escrow.hold.commitment_id);
        let open = batch.txn.get(&ESCROWS, &key)?.filter(|escrow| escrow.paid.is_none());
        let row = open.ok_or_else(|| no_escrow(key.1))?;
        let jws = self.decide_words(batch, escrow, payee_amount, by)?;
        self.pay_out(batch, live, row, &escrow.payee, payee_amount, Digest::of(&[jws.as_bytes()]))?;
        self.audit(batch, "operator", "cell", &key.0.to_string(), jws.as_bytes())?;
        for cell in live.cells(&self.shared.settings.cell) {
            self.state_to(batch, live, &cell, Said::Escrow, jws.clone())?;
        }
        self.note_unlocked(batch, live, key.1, Unlocked { payee_amount, by, at: batch.now })
    }

    fn decide_words(&self, batch: &mut Batch<'_>, escrow: &Locked, payee_amount: Money, by: Basis) -> Step<String> {
        let decision = Unlocking {
            cell: self.shared.settings.cell.clone(),
            session_id: escrow.hold.session_id,
            commitment_id: escrow.hold.commitment_id,
            hold: escrow.digest,
            payee_amount,
            by,
            decides: true,
            reason: String::new(),
            at: batch.now,
        };
        let jws = decision.sign(&self.shared.signer.key);
        keep_word(batch, &decision, &jws)?;
        Ok(jws)
    }

    fn note_unlocked(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        id: CommitmentId,
        unlocked: Unlocked,
    ) -> Step<()> {
        live.kept.unlocked.insert(id, unlocked);
        live.changed = true;
        match live.kept.commitment(id) {
            Some(commitment) => self.tell(batch, live, true, "commitment", json!({"commitment": commitment})),
            None => Ok(()),
        }
    }

    /// A word of the other company's cell, or the decision of the one that holds the money.
    pub(super) fn take_unlocking(&mut self, batch: &mut Batch<'_>, live: &mut Live, stated: &Stated) -> Step<()> {
        let word = Unlocking::unproven(&stated.jws).map_err(|why| Refusal::invalid("/statement", why.to_string()))?;
        let (session, id) = (live.kept.session.id, word.commitment_id);
        let Some(escrow) = locked(&batch.txn, &live.kept.session, id)? else {
            return self.keep_early(batch, &word, &stated.jws);
        };
        word.check(escrow.digest, escrow.hold.money)?;
        let own = self.shared.settings.cell.clone();
        let payer = escrow.hold.cell.clone();
        if word.decides {
            if word.cell != payer {
                let detail = format!("cell {payer} holds the money: {} does not decide of it", word.cell);
                return Err(Refusal::new(Code::Unauthorized, detail).into());
            }
            return self.follow(batch, live, &escrow, &word, &stated.jws);
        }
        let parties = [&payer, &escrow.payee];
        if !parties.contains(&&own) || !parties.contains(&&word.cell) {
            return Err(Refusal::new(Code::Unauthorized, "a word between the payer's and the payee's cell").into());
        }
        let said = words(&batch.txn, session, id)?;
        let before = newest(&said, &word.cell).map(|(before, _)| before);
        if before.is_some_and(|before| before.payee_amount != word.payee_amount && before.at >= word.at) {
            // Late, or told again by whoever has it: its cell has come to another mind since.
            return Err(Refusal::new(Code::Duplicate, "that cell has said a newer word since").into());
        }
        if before.is_none_or(|before| before.payee_amount != word.payee_amount) {
            keep_word(batch, &word, &stated.jws)?;
            let (cell, amount) = (&word.cell, word.payee_amount);
            let told = format!(
                "the operator of {cell} would end the escrow {id} with {amount} for the payee; see `escrow list`"
            );
            batch.effects.alarms.push(told);
        }
        if own != payer {
            return Ok(());
        }
        match ended(&batch.txn, &live.kept, id)? {
            None => self.weigh_words(batch, live, id, &escrow, false),
            Some(paid) => {
                // Its cell has not heard how the escrow ended: by operators, or by the session before.
                let decided = decided_by(&said, &payer).map(|(_, jws)| jws.clone());
                let jws = match decided {
                    Some(jws) => jws,
                    None => self.decide_words(batch, &escrow, paid, Basis::Session)?,
                };
                self.state_to(batch, live, &word.cell, Said::Escrow, jws)
            }
        }
    }

    /// What the cell that holds the money did with it. It cannot be undone from here: what does not follow from this
    /// cell's word, or from time, is an alarm, and nothing is credited that its operator has not said as well.
    fn follow(
        &mut self,
        batch: &mut Batch<'_>,
        live: &mut Live,
        escrow: &Locked,
        decision: &Unlocking,
        jws: &str,
    ) -> Step<()> {
        let (key, amount) = ((decision.session_id, decision.commitment_id), decision.payee_amount);
        let id = key.1;
        let said = words(&batch.txn, key.0, id)?;
        if !said.iter().any(|(_, known)| known == jws) {
            if decided_by(&said, &decision.cell).is_some() {
                let told = format!("cell {} told two ends of the escrow {id}; the first stands", decision.cell);
                batch.effects.alarms.push(told);
                return Ok(());
            }
            keep_word(batch, decision, jws)?;
            self.audit(batch, "operator", decision.cell.as_str(), &key.0.to_string(), jws.as_bytes())?;
        }
        if let Some(known) = ended(&batch.txn, &live.kept, id)? {
            if known != amount {
                let told = format!(
                    "cell {} says {amount} of the escrow {id} for the payee, here it is {known}",
                    decision.cell
                );
                batch.effects.alarms.push(told);
            }
            return Ok(());
        }
        if self.shared.settings.cell == escrow.payee {
            let mine = newest(&said, &escrow.payee).map(|(word, _)| word);
            let agreed = mine.is_some_and(|mine| mine.payee_amount == amount);
            let asked = newest(&said, &decision.cell).map(|(word, _)| word);
            let in_time = asked.is_some_and(|asked| decision.at >= asked.refund_from(asked.at, mine));
            let follows = agreed || (decision.by == Basis::Deadline && in_time);
            if !follows {
                let told = format!(
                    "cell {} ended the escrow {id} with {amount} for the payee, without this cell's word",
                    decision.cell
                );
                batch.effects.alarms.push(told);
            }
            if !agreed && amount.minor > 0 {
                return Ok(());
            }
            let end = Move { commitment: id, payee_amount: amount };
            self.decide_credit(batch, key.0, end, Digest::of(&[jws.as_bytes()]))?;
        }
        let unlocked = Unlocked { payee_amount: amount, by: decision.by, at: decision.at };
        self.note_unlocked(batch, live, id, unlocked)
    }

    /// Whether operators have ended an escrow that a record ends now: nothing moves again, and another end than theirs
    /// is an alarm. The record stays in the chain, as evidence of what its host ordered.
    pub(super) fn ended_before(&mut self, batch: &mut Batch<'_>, live: &Live, end: Move, cause: Digest) -> Step<bool> {
        let Some(unlocked) = live.kept.unlocked.get(&end.commitment) else { return Ok(false) };
        if unlocked.payee_amount != end.payee_amount {
            let session = live.kept.session.id;
            let told = format!(
                "the host of session {session} ends the escrow {} with {} for the payee after the operators ended it with \
                 {}: no money moves again",
                end.commitment, end.payee_amount, unlocked.payee_amount
            );
            self.audit(batch, "operator", "cell", &session.to_string(), cause.to_string().as_bytes())?;
            batch.effects.alarms.push(told);
        }
        Ok(true)
    }

    /// A record for a frozen session of which operators have ended an escrow: its host's receipt is kept.
    pub(super) fn keep_late(&mut self, batch: &mut Batch<'_>, live: &Live, placed: &Placed) -> Result<(), Fault> {
        let (session, sequence) = (live.kept.session.id, placed.record.sequence);
        let kept = batch.txn.under(&LATE, &(session,), Order::Forward, MAX_LATE)?;
        let known = kept.iter().any(|((_, at), _)| *at == sequence);
        let host = &live.kept.session.host;
        let signed = crate::protocol::receipt::Receipt::verify(&placed.receipt, |said, kid| {
            let it = said.cell == *host && said.session_id == session && said.sequence == sequence;
            if it { self.shared.key_of(host, kid) } else { None }
        });
        if live.kept.unlocked.is_empty() || known || kept.len() >= MAX_LATE || signed.is_err() {
            return Ok(());
        }
        batch.put(&LATE, &(session, sequence), &placed.receipt)?;
        self.audit(batch, "operator", host.as_str(), &session.to_string(), placed.receipt.as_bytes())
    }

    /// A commitment whose escrow operators have ended locks no money again.
    pub(super) fn locks_once(&self, batch: &Batch<'_>, session: SessionId, id: CommitmentId) -> Step<()> {
        if decided_by(&words(&batch.txn, session, id)?, &self.shared.settings.cell).is_some() {
            let detail = "operators have ended the escrow of a commitment of that id; make another";
            return Err(Refusal::new(Code::Duplicate, detail).at("/terms/commitmentId").into());
        }
        Ok(())
    }
}

/// The payee's share.
fn share(to: EscrowTo, payee_amount: Option<&str>, locked: Money) -> Result<Money, Refusal> {
    match (to, payee_amount) {
        (EscrowTo::Payer, None) => Ok(Money::zero(locked.currency)),
        (EscrowTo::Payee, None) => Ok(locked),
        (EscrowTo::Split, Some(amount)) => {
            let read =
                Money::in_currency(amount, locked.currency).map_err(|bad| Refusal::invalid("/payeeAmount", bad.0))?;
            let part = read.minor > 0 && read.minor < locked.minor;
            let expected = format!("more than nothing and less than {locked}");
            if part { Ok(read) } else { Err(Refusal::invalid("/payeeAmount", expected)) }
        }
        (EscrowTo::Split, None) => Err(Refusal::invalid("/payeeAmount", "the payee's share of the split")),
        (EscrowTo::Payer | EscrowTo::Payee, Some(_)) => {
            Err(Refusal::invalid("/payeeAmount", "no such member unless escrow is split"))
        }
    }
}

/// Keeps a word; there is always room for the decision.
fn keep_word(batch: &mut Batch<'_>, word: &Unlocking, jws: &str) -> Step<()> {
    let under = (word.session_id, word.commitment_id);
    let kept = batch.txn.under(&UNLOCKING, &under, Order::Forward, usize::MAX)?;
    let of_cell = words(&batch.txn, under.0, under.1)?.iter().filter(|(said, _)| said.cell == word.cell).count();
    if of_cell >= MAX_WORDS && !word.decides {
        let rule = format!("an escrow takes at most {MAX_WORDS} words of a cell");
        return Err(Refusal::new(Code::PolicyViolation, rule).into());
    }
    let number = kept.last().map_or(0, |((_, _, number), _)| *number) + 1;
    batch.put(&UNLOCKING, &(under.0, under.1, number), &jws.to_owned())?;
    Ok(())
}

/// An escrow as `escrow list` and `escrow show` show it.
fn view(shared: &Shared, rows: &impl Rows, kept: &Kept, id: CommitmentId) -> Result<Option<Value>, Fault> {
    let session = &kept.session;
    let Some(escrow) = locked(rows, session, id)? else { return Ok(None) };
    let said = words(rows, session.id, id)?;
    let paid = ended(rows, kept, id)?;
    let state = match paid {
        Some(paid) if paid.minor > 0 => "released",
        Some(_) => "refunded",
        None => session.commitment(id).and_then(|made| made.held.as_ref()).map_or("held", |held| held.state.name()),
    };
    let own = &shared.settings.cell;
    let theirs = newest(&said, &escrow.payee).map(|(word, _)| word);
    let mine = newest(&said, &escrow.hold.cell).map(|(word, _)| word).filter(|_| paid.is_none());
    let alone = mine.filter(|word| word.payee_amount.minor == 0).map(|word| word.refund_from(escrow.lost_at, theirs));
    let frozen = kept.frozen.is_some() || said.iter().any(|(word, _)| word.cell != *own);
    let from = if frozen { None } else { Some(escrow.lost_at) };
    let shown = |(word, jws): &(Unlocking, String)| {
        json!({"cell": word.cell, "payeeAmount": word.payee_amount.amount(), "by": word.by, "decides": word.decides,
            "reason": word.reason, "at": word.at, "signature": jws})
    };
    let late = rows.under(&LATE, &(session.id,), Order::Forward, MAX_LATE)?;
    let Hold { payer, payee, money, .. } = &escrow.hold;
    Ok(Some(json!({
        "sessionId": session.id,
        "commitmentId": id,
        "cell": escrow.hold.cell,
        "payeeCell": escrow.payee,
        "payer": payer,
        "payee": payee,
        "amount": money.amount(),
        "currency": money.currency,
        "state": state,
        "payeeAmount": paid.map(|paid| paid.amount()),
        "since": escrow.hold.at,
        "frozen": kept.frozen,
        "resolvableFrom": from,
        "refundFrom": alone,
        "words": said.iter().map(shown).collect::<Vec<_>>(),
        "late": late.into_iter().map(|(_, receipt)| receipt).collect::<Vec<_>>(),
    })))
}

/// `escrow list`: money that this cell holds, and what another one holds for an organisation here, not ended yet.
pub(super) fn list(shared: &Shared, rows: &impl Rows) -> Result<Value, Fault> {
    let mut open = Vec::new();
    for (key, escrow) in rows.range(&ESCROWS, .., Order::Forward, usize::MAX)? {
        open.extend(escrow.paid.is_none().then_some(key));
    }
    for (key, due) in rows.range(&DUES, .., Order::Forward, usize::MAX)? {
        open.extend(due.decided.is_none().then_some(key));
    }
    let mut escrows = Vec::new();
    for (session, id) in open {
        if let Some(kept) = rows.get(&super::tables::SESSIONS, &session)? {
            escrows.extend(view(shared, rows, &kept, id)?);
        }
    }
    Ok(json!({"escrows": escrows}))
}

/// `escrow show`.
pub(super) fn show(
    shared: &Shared,
    rows: &impl Rows,
    (session, id): (SessionId, CommitmentId),
) -> Result<Result<Value, Refusal>, Fault> {
    let kept = rows.get(&super::tables::SESSIONS, &session)?;
    let shown = kept.map(|kept| view(shared, rows, &kept, id)).transpose()?.flatten();
    Ok(shown.ok_or_else(|| no_escrow(id)))
}
