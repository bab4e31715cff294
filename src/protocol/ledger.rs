//! The ledger: double entry in minor units, each posting summing to zero in every currency.
//!
//! | account | holds | never |
//! |---|---|---|
//! | available | what an organisation may spend | below zero |
//! | escrow | what is locked for one commitment | below zero |
//! | clearing | what this cell owes a peer for it (above zero), or is owed by the peer (below) | |
//! | external | the other side of deposits, withdrawals and payments between cells made outside | |
//!
//! A value with its rules; where balances lie, and what a record causes, is its callers' business.
//! Source: docs/spec/protocol.md section 4 ("Ledger"), docs/spec/details.md S16 and S19.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ids::{BadName, CellId, CommitmentId, OrgName};
use super::money::{Currency, Money};
use super::time::Timestamp;
use crate::crypto::digest::Digest;

/// What an account is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Purpose {
    /// To be spent.
    Available,
    /// Locked for this commitment.
    Escrow(CommitmentId),
    /// Owed between this cell and the peer.
    Clearing(CellId),
    /// Outside.
    External,
}

impl Purpose {
    /// `kind` of S19.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Escrow(_) => "escrow",
            Self::Clearing(_) => "clearing",
            Self::External => "external",
        }
    }

    /// Whether its balance may be below zero.
    #[must_use]
    pub const fn may_owe(&self) -> bool {
        match self {
            Self::Available | Self::Escrow(_) => false,
            Self::Clearing(_) | Self::External => true,
        }
    }
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Account {
    /// Whose.
    pub organisation: OrgName,
    /// What for.
    pub purpose: Purpose,
    /// In which currency.
    pub currency: Currency,
}

impl Account {
    /// What `organisation` may spend.
    #[must_use]
    pub const fn available(organisation: OrgName, currency: Currency) -> Self {
        Self { organisation, purpose: Purpose::Available, currency }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "org:{}:{}", self.organisation, self.purpose.kind())?;
        match &self.purpose {
            Purpose::Escrow(commitment) => write!(f, ":{commitment}")?,
            Purpose::Clearing(peer) => write!(f, ":{peer}")?,
            Purpose::Available | Purpose::External => {}
        }
        write!(f, ":{}", self.currency)
    }
}

impl FromStr for Account {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        const FORM: BadName = BadName("an account such as org:acme.example:available:USD");
        let mut fields = text.strip_prefix("org:").ok_or(FORM)?.split(':');
        let organisation = fields.next().ok_or(FORM)?.parse()?;
        let purpose = match fields.next() {
            Some("available") => Purpose::Available,
            Some("escrow") => Purpose::Escrow(fields.next().ok_or(FORM)?.parse()?),
            Some("clearing") => Purpose::Clearing(fields.next().ok_or(FORM)?.parse()?),
            Some("external") => Purpose::External,
            Some(_) | None => return Err(FORM),
        };
        let currency = fields.next().ok_or(FORM)?.parse()?;
        if fields.next().is_some() { Err(FORM) } else { Ok(Self { organisation, purpose, currency }) }
    }
}

/// One side of a posting: what is added to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The account.
    pub account: Account,
    /// In minor units; below zero takes away.
    pub amount: i128,
}

/// A posting as booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// Its name.
    pub id: Uuid,
    /// The hash of the record that caused it; of an operator's act the digest of what was asked.
    pub cause: Digest,
    /// When.
    pub at: Timestamp,
    /// Its sides.
    pub lines: Vec<Line>,
}

impl Posting {
    /// S16.
    #[must_use]
    pub fn view(&self) -> Value {
        let line = |line: &Line| {
            let amount = Money { minor: line.amount, currency: line.account.currency }.amount();
            json!({"account": line.account.to_string(), "amount": amount})
        };
        let lines: Vec<Value> = self.lines.iter().map(line).collect();
        json!({"postingId": self.id, "cause": self.cause, "at": self.at, "lines": lines})
    }
}

/// Why nothing is booked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unbooked {
    /// An account that must not owe would.
    #[error("{account} holds {available}, {needed} are needed")]
    Short {
        /// The account.
        account: Box<Account>,
        /// What it has.
        available: Money,
        /// What it would take.
        needed: Money,
    },
    /// The sides do not sum to zero in this currency.
    #[error("the posting does not sum to zero in {0}")]
    Unbalanced(Currency),
    /// A balance beyond what can be counted.
    #[error("the balance of {0} is beyond what can be counted")]
    Overflow(Account),
}

/// The balances after `lines`, by account, from those that `balance` tells; all or nothing.
pub fn book(lines: &[Line], mut balance: impl FnMut(&Account) -> i128) -> Result<BTreeMap<Account, i128>, Unbooked> {
    let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
    let mut changes: BTreeMap<&Account, i128> = BTreeMap::new();
    for Line { account, amount } in lines {
        let overflow = || Unbooked::Overflow(account.clone());
        let sum = sums.entry(account.currency).or_default();
        *sum = sum.checked_add(*amount).ok_or_else(overflow)?;
        let change = changes.entry(account).or_default();
        *change = change.checked_add(*amount).ok_or_else(overflow)?;
    }
    if let Some((currency, _)) = sums.iter().find(|(_, sum)| **sum != 0) {
        return Err(Unbooked::Unbalanced(*currency));
    }
    let mut after = BTreeMap::new();
    for (account, change) in changes {
        let before = balance(account);
        let now = before.checked_add(change).ok_or_else(|| Unbooked::Overflow(account.clone()))?;
        if now < 0 && change < 0 && !account.purpose.may_owe() {
            let money = |minor| Money { minor, currency: account.currency };
            let needed = money(change.saturating_neg());
            return Err(Unbooked::Short { account: Box::new(account.clone()), available: money(before), needed });
        }
        after.insert(account.clone(), now);
    }
    Ok(after)
}

/// Money from one account of an organisation to another.
fn within(organisation: &OrgName, from: Purpose, to: Purpose, money: Money) -> Vec<Line> {
    let line = |purpose, amount| Line {
        account: Account { organisation: organisation.clone(), purpose, currency: money.currency },
        amount,
    };
    vec![line(from, money.minor.saturating_neg()), line(to, money.minor)]
}

/// Money comes in from outside.
#[must_use]
pub fn deposit(organisation: &OrgName, money: Money) -> Vec<Line> {
    within(organisation, Purpose::External, Purpose::Available, money)
}

/// Money goes out.
#[must_use]
pub fn withdraw(organisation: &OrgName, money: Money) -> Vec<Line> {
    within(organisation, Purpose::Available, Purpose::External, money)
}

/// Money is locked for a commitment.
#[must_use]
pub fn hold(payer: &OrgName, commitment: CommitmentId, money: Money) -> Vec<Line> {
    within(payer, Purpose::Available, Purpose::Escrow(commitment), money)
}

/// Who is paid from an escrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payee<'a> {
    /// An organisation of this cell.
    Here(&'a OrgName),
    /// One of this peer's.
    Across(&'a CellId),
}

/// An escrow ends: the payee gets `paid` of what is locked, the rest goes back. `paid` is at most `locked`.
#[must_use]
pub fn end(payer: &OrgName, commitment: CommitmentId, locked: Money, paid: Money, payee: Payee<'_>) -> Vec<Line> {
    let minor = paid.minor.clamp(0, locked.minor);
    let account = |organisation: &OrgName, purpose| Account {
        organisation: organisation.clone(),
        purpose,
        currency: locked.currency,
    };
    let to = match payee {
        Payee::Here(payee) => account(payee, Purpose::Available),
        Payee::Across(peer) => account(payer, Purpose::Clearing(peer.clone())),
    };
    let sides = [
        (account(payer, Purpose::Escrow(commitment)), locked.minor.saturating_neg()),
        (to, minor),
        (account(payer, Purpose::Available), locked.minor.saturating_sub(minor)),
    ];
    let lines = sides.into_iter().map(|(account, amount)| Line { account, amount });
    lines.filter(|line| line.amount != 0).collect()
}

/// A peer's payment is credited to an organisation of this cell: the peer owes it.
#[must_use]
pub fn credit(payee: &OrgName, peer: &CellId, money: Money) -> Vec<Line> {
    within(payee, Purpose::Clearing(peer.clone()), Purpose::Available, money)
}

/// What this cell owed a peer for an organisation was paid outside; below zero: what it was owed came in.
#[must_use]
pub fn settle(organisation: &OrgName, peer: &CellId, money: Money) -> Vec<Line> {
    within(organisation, Purpose::Clearing(peer.clone()), Purpose::External, money)
}

/// The balances of all accounts: S19.
#[must_use]
pub fn view<'a>(balances: impl IntoIterator<Item = (&'a Account, i128)>) -> Value {
    let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
    let mut accounts = Vec::new();
    for (account, balance) in balances {
        let sum = sums.entry(account.currency).or_default();
        *sum = sum.saturating_add(balance);
        accounts.push(json!({
            "account": account.to_string(),
            "organisation": account.organisation,
            "kind": account.purpose.kind(),
            "currency": account.currency,
            "balance": Money { minor: balance, currency: account.currency }.amount(),
        }));
    }
    let sums: serde_json::Map<String, Value> = sums
        .into_iter()
        .map(|(currency, minor)| (currency.code().to_owned(), json!(Money { minor, currency }.amount())))
        .collect();
    json!({"accounts": accounts, "sums": sums})
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn org(name: &str) -> OrgName {
        name.parse().unwrap()
    }

    fn usd(minor: i128) -> Money {
        Money { minor, currency: Currency::USD }
    }

    #[test]
    fn accounts_read_back_as_written() {
        let texts = [
            "org:acme.example:available:USD",
            "org:acme.example:escrow:0198f0a0-0000-7000-8000-000000000001:JPY",
            "org:beta.example:clearing:us-east-1:EUR",
            "org:beta.example:external:KWD",
        ];
        for text in texts {
            assert_eq!(text.parse::<Account>().unwrap().to_string(), text);
        }
        for text in ["", "org:acme.example:available", "acme.example:available:USD", "org:acme.example:loan:USD"] {
            assert!(text.parse::<Account>().is_err(), "{text}");
        }
        assert!("org:acme.example:available:USD:more".parse::<Account>().is_err());
    }

    #[test]
    fn what_is_short_says_what_is_there_and_what_is_needed() {
        let acme = org("acme.example");
        let lines = withdraw(&acme, usd(1_001));
        let refused = book(&lines, |account| if account.purpose.may_owe() { -1_000 } else { 1_000 });
        let account = Box::new(Account::available(acme.clone(), Currency::USD));
        assert_eq!(refused, Err(Unbooked::Short { account, available: usd(1_000), needed: usd(1_001) }));
        let full = book(&deposit(&acme, usd(1)), |_| i128::MAX);
        assert!(matches!(full, Err(Unbooked::Overflow(_))));
        let mut odd = deposit(&acme, usd(5));
        odd[0].amount = -4;
        assert_eq!(book(&odd, |_| 0), Err(Unbooked::Unbalanced(Currency::USD)));
    }

    #[test]
    fn a_part_of_an_escrow_leaves_the_rest_with_its_payer() {
        let (acme, beta) = (org("acme.example"), org("beta.example"));
        let id: CommitmentId = "0198f0a0-0000-7000-8000-000000000001".parse().unwrap();
        let lines = end(&acme, id, usd(1_800), usd(900), Payee::Here(&beta));
        let after = book(&lines, |account| if matches!(account.purpose, Purpose::Escrow(_)) { 1_800 } else { 0 });
        assert_eq!(after.unwrap().into_values().collect::<Vec<_>>(), [900, 0, 900]);
        assert_eq!(end(&acme, id, usd(1_800), usd(0), Payee::Here(&beta)).len(), 2);
        assert_eq!(end(&acme, id, usd(1_800), usd(9_999), Payee::Here(&beta)).len(), 2, "no more than is there");
    }

    proptest! {
        // Whatever is booked in whatever order: nothing is made or lost, and nothing that must not owe does.
        #[test]
        fn sums_stay_zero_and_balances_above_it(acts in proptest::collection::vec((0_u8..6, 0_u8..2, 0_u64..4, 1_i128..500), 0..200)) {
            let orgs = [org("acme.example"), org("beta.example")];
            let peer: CellId = "us-east-1".parse().unwrap();
            let mut balances: BTreeMap<Account, i128> = BTreeMap::new();
            let mut locked: BTreeMap<(u8, u64), Money> = BTreeMap::new();
            for (act, who, which, minor) in acts {
                let (own, other) = (&orgs[usize::from(who)], &orgs[usize::from(1 - who)]);
                let id = CommitmentId(uuid::Builder::from_unix_timestamp_millis(which, &[who; 10]).into_uuid());
                let held = locked.get(&(who, which)).copied();
                let lines = match (act, held) {
                    (0, _) => deposit(own, usd(minor)),
                    (1, _) => withdraw(own, usd(minor)),
                    (2, None) => hold(own, id, usd(minor)),
                    (3, Some(money)) => end(own, id, money, usd(minor), Payee::Here(other)),
                    (4, Some(money)) => end(own, id, money, usd(minor), Payee::Across(&peer)),
                    (5, _) => credit(own, &peer, usd(minor)),
                    _ => continue,
                };
                let Ok(after) = book(&lines, |account| balances.get(account).copied().unwrap_or_default()) else { continue };
                balances.extend(after);
                match act {
                    2 => { locked.insert((who, which), usd(minor)); }
                    3 | 4 => { locked.remove(&(who, which)); }
                    _ => {}
                }
                prop_assert_eq!(balances.values().sum::<i128>(), 0);
                prop_assert!(balances.iter().all(|(account, balance)| *balance >= 0 || account.purpose.may_owe()));
            }
        }
    }
}
