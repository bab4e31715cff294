//! The books: balances and postings in the commit of what caused them; deposits and withdrawals by operators.
//!
//! Keys are tags, so no organisation is named in one. Rules of double entry: `protocol::ledger`.
//! Source: docs/spec/protocol.md section 4 ("Ledger"), docs/spec/details.md S16 and S19.

use serde_json::{Value, json};

use super::core::{Batch, Engine};
use super::shared::Shared;
use super::stop::{Step, Stop, bug};
use super::tables::{ACCOUNTS, Balance, POSTINGS, REFERENCES, Tag};
use crate::crypto::digest::Digest;
use crate::protocol::ids::OrgName;
use crate::protocol::ledger::{self, Account, Line, Posting, Unbooked};
use crate::protocol::money::{BadMoney, Money};
use crate::protocol::refusal::{Code, Refusal};
use crate::store::{Fault, Order, View as Rows};

/// How many postings `ledger show` lists, the newest.
const SHOWN: usize = 100;
/// Bytes of a reference, at most.
const MAX_REFERENCE: usize = 256;

/// What an operator wants booked.
pub(super) struct Asked<'a> {
    /// Whose money.
    pub org: &'a OrgName,
    /// All that makes it this booking and no other.
    pub act: Value,
    /// What the outside knows it by.
    pub reference: Option<&'a str>,
}

impl Asked<'_> {
    fn digest(&self) -> Digest {
        Digest::of(&[self.act.to_string().as_bytes()])
    }
}

impl Shared {
    /// The key of an account: its organisation's tag, then its own.
    pub(super) fn account_key(&self, account: &Account) -> (Tag, Tag) {
        (self.org_tag(&account.organisation), self.tags.name("account", &[account.to_string().as_bytes()]))
    }
}

impl Engine {
    /// Books a posting, as a whole or not at all: `escrow_unfunded` where money is short.
    pub(super) fn book(&mut self, batch: &mut Batch<'_>, lines: Vec<Line>, cause: Digest) -> Step<()> {
        let mut before = std::collections::BTreeMap::new();
        for line in &lines {
            let row = batch.txn.get(&ACCOUNTS, &self.shared.account_key(&line.account))?;
            before.insert(line.account.clone(), row.map_or(0, |row| row.minor));
        }
        let after = ledger::book(&lines, |account| before.get(account).copied().unwrap_or_default());
        for (account, minor) in after.map_err(unbooked)? {
            let key = self.shared.account_key(&account);
            batch.put(&ACCOUNTS, &key, &Balance { account, minor })?;
        }
        let posting = Posting { id: self.uuid7(batch.now), cause, at: batch.now, lines };
        batch.put(&POSTINGS, &self.next.postings, &posting)?;
        self.next.postings += 1;
        Ok(())
    }

    /// `ledger deposit`, or `ledger withdraw`: the operator's word that money came in or went out.
    pub(super) fn ledger_transfer(
        &mut self,
        batch: &mut Batch<'_>,
        org: &OrgName,
        (amount, currency): (&str, &str),
        reference: Option<&str>,
        inward: bool,
    ) -> Step<Value> {
        self.home_org(org)?;
        let money = money(amount, currency)?;
        let (verb, lines) =
            if inward { ("deposit", ledger::deposit(org, money)) } else { ("withdraw", ledger::withdraw(org, money)) };
        let asked = Asked { org, act: json!({"act": verb, "organisation": org, "money": money}), reference };
        if !self.booked_before(batch, &asked)? {
            self.book_asked(batch, &asked, lines)?;
        }
        Ok(shown(&self.shared, &batch.txn, Some(org))?)
    }

    /// Whether this was booked before under its reference; the same reference for anything else is `duplicate`.
    pub(super) fn booked_before(&self, batch: &Batch<'_>, asked: &Asked<'_>) -> Step<bool> {
        let Some(reference) = asked.reference else { return Ok(false) };
        if !(1..=MAX_REFERENCE).contains(&reference.len()) || reference.chars().any(char::is_control) {
            let expected = format!("1 to {MAX_REFERENCE} bytes of text without control characters");
            return Err(Refusal::invalid("/reference", expected).into());
        }
        match batch.txn.get(&REFERENCES, &self.reference_key(asked.org, reference))? {
            Some(known) if known == asked.digest() => Ok(true),
            Some(_) => {
                let detail =
                    format!("{reference} is the reference of another booking of {}; give a new one", asked.org);
                Err(Refusal::new(Code::Duplicate, detail).at("/reference").into())
            }
            None => Ok(false),
        }
    }

    /// Books what an operator asked for, and remembers its reference.
    pub(super) fn book_asked(&mut self, batch: &mut Batch<'_>, asked: &Asked<'_>, lines: Vec<Line>) -> Step<()> {
        let text = json!({"asked": asked.act, "reference": asked.reference, "at": batch.now}).to_string();
        let booked = self.book(batch, lines, Digest::of(&[text.as_bytes()]));
        booked.map_err(|stop| match stop {
            Stop::Refused(refusal) => Stop::from(refusal.at("/amount")),
            Stop::Fault(fault) => Stop::Fault(fault),
        })?;
        if let Some(reference) = asked.reference {
            batch.put(&REFERENCES, &self.reference_key(asked.org, reference), &asked.digest())?;
        }
        self.audit(batch, "operator", "operator", asked.org.as_str(), text.as_bytes())?;
        Ok(())
    }

    fn reference_key(&self, org: &OrgName, reference: &str) -> (Tag, Tag) {
        (self.shared.org_tag(org), self.shared.tags.name("reference", &[reference.as_bytes()]))
    }

    /// An organisation of this cell.
    pub(super) fn home_org(&self, org: &OrgName) -> Step<()> {
        if self.facts.orgs.contains_key(org) { Ok(()) } else { Err(no_org(org).into()) }
    }
}

/// An amount above zero as an operator writes it.
pub(super) fn money(amount: &str, currency: &str) -> Result<Money, Refusal> {
    let read = Money::parse(amount, currency);
    let money = read.map_err(|BadMoney { member, expected }| Refusal::invalid(format!("/{member}"), expected.0))?;
    if money.minor > 0 { Ok(money) } else { Err(Refusal::invalid("/amount", "an amount above zero")) }
}

fn unbooked(why: Unbooked) -> Stop {
    match why {
        Unbooked::Short { account, available, needed } => {
            let detail = format!("{account} holds {available}, {needed} are needed");
            let refusal = Refusal::new(Code::EscrowUnfunded, detail).at("/terms/amount");
            refusal.with("available", json!(available)).with("needed", json!(needed)).into()
        }
        Unbooked::Overflow(account) => {
            Refusal::new(Code::PolicyViolation, format!("the balance of {account} is beyond what can be counted"))
                .into()
        }
        Unbooked::Unbalanced(currency) => bug(format!("a posting that does not sum to zero in {currency}")).into(),
    }
}

/// All accounts, or an organisation's, that this cell keeps.
pub(super) fn accounts(shared: &Shared, rows: &impl Rows, org: Option<&OrgName>) -> Result<Vec<Balance>, Fault> {
    let all = match org {
        Some(org) => rows.under(&ACCOUNTS, &(shared.org_tag(org),), Order::Forward, usize::MAX)?,
        None => rows.range(&ACCOUNTS, .., Order::Forward, usize::MAX)?,
    };
    let mut balances: Vec<Balance> = all.into_iter().map(|(_, row)| row).collect();
    balances.sort_by(|one, other| one.account.cmp(&other.account));
    Ok(balances)
}

/// `ledger show`: S19, with the newest postings (S16). An escrow that has ended is no account any more.
pub(super) fn shown(shared: &Shared, rows: &impl Rows, org: Option<&OrgName>) -> Result<Value, Fault> {
    let balances = accounts(shared, rows, org)?;
    let kept = balances.iter().filter(|row| row.minor != 0 || row.account.purpose.kind() != "escrow");
    let mut view = ledger::view(kept.map(|row| (&row.account, row.minor)));
    let mut postings = Vec::new();
    for (_, posting) in rows.range(&POSTINGS, .., Order::Backward, SHOWN)? {
        if org.is_none_or(|org| posting.lines.iter().any(|line| line.account.organisation == *org)) {
            postings.push(posting.view());
        }
    }
    if let Some(view) = view.as_object_mut() {
        view.insert("postings".into(), postings.into());
    }
    Ok(view)
}

/// `ledger show` for an operator: all accounts, or those of an organisation at home here.
pub(super) fn show(shared: &Shared, rows: &impl Rows, org: Option<&OrgName>) -> Result<Result<Value, Refusal>, Fault> {
    match org.filter(|org| !shared.is_home(org)) {
        Some(org) => Ok(Err(no_org(org))),
        None => shown(shared, rows, org).map(Ok),
    }
}

fn no_org(org: &OrgName) -> Refusal {
    Refusal::new(Code::NotFound, format!("no organisation {org} in this cell; see `org list`"))
}
