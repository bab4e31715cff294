//! Where this cell stands with its peers: each says what it ordered and what it credited, and signs it; the difference
//! shows what is on its way or lost. Payments between cells are made outside and booked by their operators.
//!
//! Source: docs/spec/protocol.md section 4 ("Net positions are reported; real settlement is outside").

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::booking;
use super::core::{Batch, Engine};
use super::orders;
use super::shared::Shared;
use super::stop::Step;
use super::tables::{ACCOUNTS, DUES, NETTINGS, POSITIONS, POSTINGS, Position, What};
use super::view::unavailable;
use crate::protocol::ids::{CellId, OrgName};
use crate::protocol::ledger::{self, Account, Purpose};
use crate::protocol::money::{Currency, Money};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::settlement::{Counted, Netted, Netting};
use crate::protocol::statement::Statement as _;
use crate::protocol::time::Timestamp;
use crate::store::{Fault, Order, View as Rows};
use crate::wire::frame::{About, Said};

/// How long `ledger reconcile` waits for the peers before it shows what there is.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);

impl Engine {
    /// `ledger reconcile`: tells every peer this cell ever dealt with where it stands, and asks for the same.
    pub(super) fn ask_nettings(&mut self, batch: &mut Batch<'_>) -> Step<Value> {
        let peers = positions(&batch.txn)?;
        for peer in peers.keys() {
            self.tell_netting(batch, peer, Some(true))?;
        }
        self.audit(batch, "operator", "operator", "ledger", b"reconcile")?;
        Ok(json!({"asked": peers.keys().collect::<Vec<_>>()}))
    }

    /// The same to one peer, if the two ever dealt: what was lost on its way shows in what each misses.
    pub(super) fn compare_with(&mut self, batch: &mut Batch<'_>, peer: &CellId) -> Step<()> {
        let any = !batch.txn.under(&POSITIONS, &(peer.clone(),), Order::Forward, 1)?.is_empty();
        if any { self.tell_netting(batch, peer, Some(true)) } else { Ok(()) }
    }

    /// `asks`: a question; `Some(false)` its answer, `None` what that showed to be missing.
    fn tell_netting(&mut self, batch: &mut Batch<'_>, peer: &CellId, asks: Option<bool>) -> Step<()> {
        let said = batch.txn.get(&NETTINGS, peer)?.and_then(|(jws, _)| Netting::unproven(&jws).ok());
        let mut positions = positions(&batch.txn)?.remove(peer).unwrap_or_default();
        for row in said.iter().flat_map(|said| &said.positions) {
            positions.entry(row.currency).or_default();
        }
        let mut netted = Vec::new();
        for (currency, row) in positions {
            let theirs = said.as_ref().and_then(|said| said.positions.iter().find(|row| row.currency == currency));
            let last = theirs.map_or(0, |theirs| theirs.issued.number);
            netted.push(Netted {
                currency,
                issued: Counted::of(row.issued, currency),
                credited: Counted::of(row.credited, currency),
                missing: orders::missing(&batch.txn, peer, currency, row.taken, last)?,
            });
        }
        let netting = Netting {
            cell: self.shared.settings.cell.clone(),
            to: peer.clone(),
            asks: asks == Some(true),
            answers: asks == Some(false),
            positions: netted,
            at: batch.now,
        };
        let jws = netting.sign(&self.shared.signer.key);
        self.queue(batch, peer, What::Statement { said: Said::Netting, about: About::Cells, jws })?;
        Ok(())
    }

    /// A peer's word of where it stands, kept; answered once if it asks, and what it misses is sent again.
    pub(super) fn take_netting(&mut self, batch: &mut Batch<'_>, peer: &CellId, jws: String) -> Step<()> {
        let netting = Netting::unproven(&jws).map_err(|why| Refusal::invalid("/statement", why.to_string()))?;
        if netting.cell != *peer || netting.to != self.shared.settings.cell {
            return Err(Refusal::new(Code::Unauthorized, format!("a netting statement of {}", netting.cell)).into());
        }
        batch.put(&NETTINGS, peer, &(jws, batch.now))?;
        self.order_again(batch, peer, &netting.positions)?;
        if netting.asks {
            return self.tell_netting(batch, peer, Some(false));
        }
        if netting.answers && self.misses(batch, peer, &netting)? {
            return self.tell_netting(batch, peer, None);
        }
        Ok(())
    }

    /// Whether an order that the peer says it gave is not here.
    fn misses(&self, batch: &Batch<'_>, peer: &CellId, said: &Netting) -> Step<bool> {
        for row in &said.positions {
            if self.position(batch, peer, row.currency)?.taken < row.issued.number {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `ledger settle`: what the two cells owed each other for an organisation was paid outside, in part or whole.
    pub(super) fn ledger_settle(
        &mut self,
        batch: &mut Batch<'_>,
        peer: &CellId,
        org: &OrgName,
        (amount, currency): (&str, &str),
        reference: Option<&str>,
    ) -> Step<Value> {
        self.home_org(org)?;
        let money = booking::money(amount, currency)?;
        let act = json!({"act": "settle", "organisation": org, "peer": peer, "money": money});
        let asked = booking::Asked { org, act, reference };
        if self.booked_before(batch, &asked)? {
            return Ok(booking::shown(&self.shared, &batch.txn, Some(org))?);
        }
        let account =
            Account { organisation: org.clone(), purpose: Purpose::Clearing(peer.clone()), currency: money.currency };
        let row = batch.txn.get(&ACCOUNTS, &self.shared.account_key(&account))?;
        // What is owed to a peer that was removed is settled like any other.
        if row.is_none() {
            self.known_peer(peer)?;
        }
        let owed = row.map_or(0, |row| row.minor);
        if money.minor > owed.saturating_abs() {
            let there = Money { minor: owed, currency: money.currency };
            let detail = format!("{account} stands at {there}: no more than that can be settled");
            return Err(Refusal::new(Code::PolicyViolation, detail).at("/amount").into());
        }
        let mut position = self.position(batch, peer, money.currency)?;
        let moved = if owed > 0 {
            position.paid = position.paid.saturating_add(money.minor);
            money
        } else {
            position.received = position.received.saturating_add(money.minor);
            Money { minor: money.minor.saturating_neg(), ..money }
        };
        self.book_asked(batch, &asked, ledger::settle(org, peer, moved))?;
        self.put_position(batch, peer, money.currency, &position)?;
        self.credit_what_waits(batch, peer)?;
        Ok(booking::shown(&self.shared, &batch.txn, Some(org))?)
    }

    /// What a peer owed too much for may be credited now.
    fn credit_what_waits(&mut self, batch: &mut Batch<'_>, peer: &CellId) -> Step<()> {
        for (key, due) in batch.txn.range(&DUES, .., Order::Forward, usize::MAX)? {
            if due.peer == *peer && due.decided.is_some() && !due.credited {
                self.try_credit(batch, key)?;
            }
        }
        Ok(())
    }
}

/// The books held against the postings and against what the peers say.
struct Reconciled {
    /// S19 with `peers` and `unexplained`.
    view: Value,
    heard: Vec<Option<Timestamp>>,
}

impl Reconciled {
    /// Whether every peer has spoken since.
    fn heard_since(&self, asked: Timestamp) -> bool {
        self.heard.iter().all(|heard| heard.is_some_and(|at| at >= asked))
    }
}

/// The books, with what the peers say of theirs as far as it comes in time.
pub(super) async fn awaited(shared: &Shared, asked: Timestamp) -> Result<Value, Refusal> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let rows = shared.reader.snapshot().map_err(|fault| unavailable(&fault))?;
        let reconciled = reconciled(shared, &rows).map_err(|fault| unavailable(&fault))?;
        if reconciled.heard_since(asked) || tokio::time::Instant::now() >= end {
            return Ok(reconciled.view);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// `ledger reconcile`: S19; for each peer and currency both cells' counts and what differs; accounts whose balance
/// their postings do not add up to.
fn reconciled(shared: &Shared, rows: &impl Rows) -> Result<Reconciled, Fault> {
    let mut peers = Vec::new();
    let mut heard = Vec::new();
    for (peer, positions) in positions(rows)? {
        let said = rows.get(&NETTINGS, &peer)?;
        heard.push(said.as_ref().map(|(_, at)| *at));
        let theirs = said.as_ref().and_then(|(jws, _)| Netting::unproven(jws).ok());
        for (currency, position) in positions {
            peers.push(compared(&peer, currency, &position, theirs.as_ref(), said.as_ref()));
        }
    }
    let mut view = booking::shown(shared, rows, None)?;
    if let Some(members) = view.as_object_mut() {
        members.remove("postings");
        members.insert("peers".into(), peers.into());
        members.insert("unexplained".into(), unexplained(shared, rows)?.into());
    }
    Ok(Reconciled { view, heard })
}

/// One currency with one peer; `theirs` is absent until the peer has spoken.
fn compared(
    peer: &CellId,
    currency: Currency,
    ours: &Position,
    theirs: Option<&Netting>,
    said: Option<&(String, Timestamp)>,
) -> Value {
    let money = |minor| Money { minor, currency }.amount();
    let tally = |counted: Counted| json!({"number": counted.number, "sum": counted.sum.amount()});
    let nothing = Counted { number: 0, sum: Money::zero(currency) };
    let (issued, credited) = (Counted::of(ours.issued, currency), Counted::of(ours.credited, currency));
    let they = theirs.map(|netting| {
        let row = netting.positions.iter().find(|row| row.currency == currency);
        row.map_or((nothing, nothing), |row| (row.issued, row.credited))
    });
    let outward = they.map(|(_, credited)| issued.sum.minor.saturating_sub(credited.sum.minor));
    let inward = they.map(|(issued, _)| issued.sum.minor.saturating_sub(credited.sum.minor));
    json!({
        "cell": peer,
        "currency": currency,
        "issued": tally(issued),
        "credited": tally(credited),
        "paid": money(ours.paid),
        "received": money(ours.received),
        "promised": money(ours.promised),
        "net": money(ours.owed()),
        "theirs": they.map(|(issued, credited)| json!({"issued": tally(issued), "credited": tally(credited)})),
        "difference": {"outward": outward.map(money), "inward": inward.map(money)},
        "agreed": outward == Some(0) && inward == Some(0),
        "statement": said.map(|(jws, _)| jws),
        "heardAt": said.map(|(_, at)| at),
    })
}

/// Accounts whose balance is not the sum of their postings.
fn unexplained(shared: &Shared, rows: &impl Rows) -> Result<Vec<String>, Fault> {
    let mut sums: BTreeMap<Account, i128> = BTreeMap::new();
    for (_, posting) in rows.range(&POSTINGS, .., Order::Forward, usize::MAX)? {
        for line in posting.lines {
            let sum = sums.entry(line.account).or_default();
            *sum = sum.saturating_add(line.amount);
        }
    }
    for balance in booking::accounts(shared, rows, None)? {
        let sum = sums.entry(balance.account).or_default();
        *sum = sum.saturating_sub(balance.minor);
    }
    Ok(sums.into_iter().filter(|(_, sum)| *sum != 0).map(|(account, _)| account.to_string()).collect())
}

/// All positions, by peer and currency.
fn positions(rows: &impl Rows) -> Result<BTreeMap<CellId, BTreeMap<Currency, Position>>, Fault> {
    let mut peers: BTreeMap<CellId, BTreeMap<Currency, Position>> = BTreeMap::new();
    for ((peer, currency), position) in rows.range(&POSITIONS, .., Order::Forward, usize::MAX)? {
        if let Ok(currency) = currency.parse() {
            peers.entry(peer).or_default().insert(currency, position);
        }
    }
    Ok(peers)
}
