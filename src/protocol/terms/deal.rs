//! The terms of the deal: offers, pledges, fulfilments, delegations, the closing word.
//!
//! Source: docs/spec/protocol.md section 3 ("`terms` by performative"), docs/spec/details.md section 4.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crypto::digest::Digest;
use crate::protocol::commitment::Kind;
use crate::protocol::ids::{BadName, CommitmentId, ParticipantId};
use crate::protocol::members::Members;
use crate::protocol::money::{BadMoney, Currency, Money, check_quantity};
use crate::protocol::outcome::Outcome;
use crate::protocol::refusal::Refusal;
use crate::protocol::time::Timestamp;

/// What a PROPOSE or COUNTER offers, as far as the cell reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// The price of the whole.
    pub money: Option<Money>,
    /// The latest deadline of a delivery that carries it out.
    pub deliver_by: Option<Timestamp>,
    /// The last moment at which it may be answered.
    pub valid_until: Option<Timestamp>,
}

impl Offered {
    pub(super) fn read(members: &mut Members<'_>) -> Result<Self, Refusal> {
        let money = money(members)?;
        unit_price(members, money)?;
        quantity(members)?;
        members.text("unit")?;
        members.text("schema")?;
        Ok(Self { money, deliver_by: members.parsed("deliverBy")?, valid_until: members.parsed("validUntil")? })
    }
}

/// `unitPrice` needs `amount`, has the amount's form and currency, and is not read further.
fn unit_price(members: &mut Members<'_>, amount: Option<Money>) -> Result<(), Refusal> {
    let Some(price) = members.text("unitPrice")? else { return Ok(()) };
    let amount = amount.ok_or_else(|| Refusal::invalid(members.at("amount"), "an amount beside unitPrice"))?;
    let read = Money::in_currency(price, amount.currency).map(|_| ());
    read.map_err(|BadName(expected)| Refusal::invalid(members.at("unitPrice"), expected))
}

fn quantity(members: &mut Members<'_>) -> Result<(), Refusal> {
    let Some(quantity) = members.value("quantity") else { return Ok(()) };
    check_quantity(quantity).map_err(|BadName(expected)| Refusal::invalid(members.at("quantity"), expected))
}

/// What a COMMIT promises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pledge {
    /// The commitment's name, drawn by the obligor.
    pub commitment: CommitmentId,
    /// What is promised.
    pub kind: Kind,
    /// To whom.
    pub beneficiary: ParticipantId,
    /// Until when.
    pub deadline: Timestamp,
    /// What it is worth; always there for a payment, never zero.
    pub money: Option<Money>,
    /// Whether the money is to be held.
    pub escrow: Option<bool>,
    /// The commitment whose confirmation releases it.
    pub depends_on: Option<CommitmentId>,
    /// The commitment it is to take the place of.
    pub replaces: Option<CommitmentId>,
}

impl Pledge {
    pub(super) fn read(members: &mut Members<'_>) -> Result<Self, Refusal> {
        let pledge = Self {
            commitment: members.required("commitmentId", "a lower-case UUID v7")?,
            kind: members.required("kind", "action, delivery, payment or information")?,
            beneficiary: members.required("beneficiary", "a participant id")?,
            deadline: members.required("deadline", "a time")?,
            money: money(members)?,
            escrow: members.flag("escrow")?,
            depends_on: members.parsed("dependsOn")?,
            replaces: members.parsed("replaces")?,
        };
        let zero = pledge.money.is_some_and(|money| money.minor == 0);
        if zero || (pledge.kind == Kind::Payment && pledge.money.is_none()) {
            return Err(Refusal::invalid(members.at("amount"), "an amount above zero"));
        }
        Ok(pledge)
    }
}

/// A piece of evidence for a fulfilment: by reference, never by value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What it is, for instance `trackingNumber`.
    pub kind: String,
    /// Where it is.
    pub uri: Option<String>,
    /// The digest of what lies there.
    pub sha256: Option<Digest>,
}

impl Evidence {
    /// Reads one entry, which stands at `at`.
    pub fn parse(at: &str, value: &Value) -> Result<Self, Refusal> {
        let mut members = Members::of(at, Some(value))?;
        let kind = members.text("type")?.filter(|kind| !kind.is_empty()).map(str::to_owned);
        let kind = kind.ok_or_else(|| Refusal::invalid(members.at("type"), "what kind of evidence it is"))?;
        let uri = members.text("uri")?.map(str::to_owned);
        let sha256 = match members.text("sha256")?.map(Digest::parse) {
            Some(None) => return Err(Refusal::invalid(members.at("sha256"), "32 bytes as base64url without padding")),
            Some(digest) => digest,
            None => None,
        };
        members.finish()?;
        Ok(Self { kind, uri, sha256 })
    }
}

/// What a FULFILL claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fulfilment {
    /// The commitment fulfilled.
    pub commitment: CommitmentId,
    /// What shows it.
    pub evidence: Vec<Evidence>,
}

impl Fulfilment {
    pub(super) fn read(members: &mut Members<'_>) -> Result<Self, Refusal> {
        let commitment = members.required("commitmentId", "the commitment that is fulfilled")?;
        let at = members.at("evidence");
        let entries = members.list("evidence")?.unwrap_or_default();
        let read = entries.iter().enumerate().map(|(index, entry)| Evidence::parse(&format!("{at}/{index}"), entry));
        Ok(Self { commitment, evidence: read.collect::<Result<_, _>>()? })
    }
}

/// Whether a delegate joins its delegator or takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Both act, each for itself.
    Assist,
    /// From INTRODUCE on the delegator only reads, and the newcomer acts on what is the delegator's.
    Replace,
}

impl FromStr for Scope {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        match text {
            "assist" => Ok(Self::Assist),
            "replace" => Ok(Self::Replace),
            _ => Err(BadName("assist or replace")),
        }
    }
}

/// What a DELEGATE says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delegation {
    /// The newcomer's participant id, drawn by the sender.
    pub delegate: ParticipantId,
    /// Beside or instead of the sender.
    pub scope: Scope,
    /// Whether the newcomer is to see earlier records, if all others agree.
    pub history: bool,
}

impl Delegation {
    pub(super) fn read(members: &mut Members<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            delegate: members.required("delegate", "a participant id for the newcomer, a lower-case UUID v4")?,
            scope: members.required("scope", "assist or replace")?,
            history: members.flag("history")?.unwrap_or(false),
        })
    }
}

/// What a CLOSE says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// The closer's word; the recorded outcome is derived.
    pub outcome: Outcome,
    /// The closer's rating of all others, 1 to 5.
    pub rating: Option<u8>,
}

impl Close {
    pub(super) fn read(members: &mut Members<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            outcome: members
                .required("outcome", "success, partialSuccess, failure, timeout, escalation or cancellation")?,
            rating: rating(members)?,
        })
    }
}

const RATING: &str = "an integer from 1 to 5";

/// A rating.
fn rating(members: &mut Members<'_>) -> Result<Option<u8>, Refusal> {
    let Some(given) = members.integer("rating", RATING)? else { return Ok(None) };
    let rating = u8::try_from(given).ok().filter(|rating| (1..=5).contains(rating));
    rating.map(Some).ok_or_else(|| Refusal::invalid(members.at("rating"), RATING))
}

/// A rating where it must be there.
pub(super) fn required_rating(members: &mut Members<'_>) -> Result<u8, Refusal> {
    rating(members)?.ok_or_else(|| Refusal::invalid(members.at("rating"), RATING))
}

/// `amount` with its `currency`, which may stand alone.
pub(in crate::protocol) fn money(members: &mut Members<'_>) -> Result<Option<Money>, Refusal> {
    let currency = members.text("currency")?;
    let Some(amount) = members.text("amount")? else {
        return match currency.map(str::parse::<Currency>) {
            Some(Err(BadName(expected))) => Err(Refusal::invalid(members.at("currency"), expected)),
            Some(Ok(_)) | None => Ok(None),
        };
    };
    let currency = currency.ok_or_else(|| Refusal::invalid(members.at("currency"), "the currency of the amount"))?;
    let read = Money::parse(amount, currency);
    read.map(Some).map_err(|BadMoney { member, expected }| Refusal::invalid(members.at(member), expected.0))
}
