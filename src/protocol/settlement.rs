//! What cells sign to each other about money: orders to credit what an escrow released, and where they stand.
//!
//! An order is numbered densely for each peer and currency, so that a lost one shows. Statements alone; who books
//! what, and when, is the engine's. Source: docs/spec/protocol.md section 4 ("Ledger").

use serde::{Deserialize, Serialize};

use super::ids::{CellId, CommitmentId, OrgName, SessionId};
use super::money::{Currency, Money};
use super::statement::Statement;
use super::time::Timestamp;
use crate::crypto::jws::Kind;

/// The payer's cell owes what an escrow released: JWS of kind `settlement`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settlement {
    /// The payer's cell.
    pub cell: CellId,
    /// The payee's cell.
    pub to: CellId,
    /// From 1, without gaps, for each receiver and currency.
    pub number: u64,
    /// The session.
    pub session_id: SessionId,
    /// The payment.
    pub commitment_id: CommitmentId,
    /// Whose money it was.
    pub payer: OrgName,
    /// Whose it is.
    pub payee: OrgName,
    /// How much of it.
    pub money: Money,
    /// When it was released.
    pub at: Timestamp,
}

impl Statement for Settlement {
    const KIND: Kind = Kind::Settlement;
}

/// Orders so far: how many, and what they sum to in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many.
    pub number: u64,
    /// Their sum.
    pub minor: i128,
}

impl Tally {
    /// With one order more.
    #[must_use]
    pub const fn with(self, minor: i128) -> Self {
        Self { number: self.number.saturating_add(1), minor: self.minor.saturating_add(minor) }
    }
}

/// How a cell stands with a peer in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Netted {
    /// The currency.
    pub currency: Currency,
    /// Orders it has given the peer.
    pub issued: Counted,
    /// Orders of the peer that it has credited.
    pub credited: Counted,
    /// Numbers of orders that the peer says it gave and this cell does not have: the lowest ones.
    pub missing: Vec<u64>,
}

/// [`Tally`] as it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counted {
    /// How many.
    pub number: u64,
    /// Their sum.
    pub sum: Money,
}

impl Counted {
    /// A tally in this currency.
    #[must_use]
    pub const fn of(tally: Tally, currency: Currency) -> Self {
        Self { number: tally.number, sum: Money { minor: tally.minor, currency } }
    }
}

/// Where a cell stands with a peer: JWS of kind `netting`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Netting {
    /// Who says so.
    pub cell: CellId,
    /// To whom.
    pub to: CellId,
    /// Whether the peer is to answer with its own.
    pub asks: bool,
    /// Whether this is such an answer; what it shows to be missing is then named by return.
    pub answers: bool,
    /// In each currency in which the two ever dealt.
    pub positions: Vec<Netted>,
    /// When.
    pub at: Timestamp,
}

impl Statement for Netting {
    const KIND: Kind = Kind::Netting;
}
