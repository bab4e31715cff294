//! Which payments are escrowed, what an escrowed payment must look like, and the receipt of the cell that holds it.
//!
//! Rules and values alone: when money moves is `session`'s business, where it lies the ledger's.
//! Source: docs/spec/details.md section 4 ("`escrow:true`"), docs/spec/protocol.md section 5 (levels).

use serde::{Deserialize, Serialize};

use super::commitment::{Kind, Status};
use super::constraints::EscrowRule;
use super::ids::{CellId, CommitmentId, MessageId, OrgName, SessionId};
use super::money::Money;
use super::refusal::{Code, Refusal};
use super::statement::Statement;
use super::time::Timestamp;
use crate::crypto::jws;

/// The payer's cell's word that it holds the money of a COMMIT: JWS of kind `hold`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    /// The payer's cell.
    pub cell: CellId,
    /// The session.
    pub session_id: SessionId,
    /// The payment.
    pub commitment_id: CommitmentId,
    /// Its COMMIT.
    pub message_id: MessageId,
    /// Whose money.
    pub payer: OrgName,
    /// Who gets it on release.
    pub payee: OrgName,
    /// How much.
    pub money: Money,
    /// Since when.
    pub at: Timestamp,
}

impl Statement for Hold {
    const KIND: jws::Kind = jws::Kind::Hold;
}

/// How the money of a commitment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldState {
    /// Locked.
    Held,
    /// Locked, and a dispute decides.
    Frozen,
    /// Paid to the payee, as a whole or in part.
    Released,
    /// Back with the payer.
    Refunded,
}

impl HeldState {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Frozen => "frozen",
            Self::Released => "released",
            Self::Refunded => "refunded",
        }
    }

    /// Whether the money is still locked.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Held | Self::Frozen)
    }
}

/// The money of a commitment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How it stands.
    pub state: HeldState,
    /// The cell that holds it.
    pub cell: CellId,
    /// Its hold receipt.
    pub receipt: String,
}

/// The one end of an escrow: what the payee gets; the rest goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The payment.
    pub commitment: CommitmentId,
    /// Nothing: a refund; everything: a release.
    pub payee_amount: Money,
}

/// Whether a payment of a COMMIT with this `escrow` member is escrowed; the lower of the two parties' levels rules.
pub fn duty(levels: [u8; 2], invite: Option<EscrowRule>, member: Option<bool>) -> Result<bool, Refusal> {
    let [one, other] = levels;
    let level = one.min(other);
    let optional = invite == Some(EscrowRule::Optional);
    match (member, invite) {
        (Some(true), _) => Ok(true),
        (None, Some(EscrowRule::Required)) if level >= 2 => Err(required("the INVITE said required")),
        (None, _) => Ok(level <= 1),
        (Some(false), Some(EscrowRule::Required)) => Err(required("the INVITE said required")),
        (Some(false), _) if level == 0 => Err(required("a party is at level 0")),
        (Some(false), _) if level == 1 && !optional => {
            Err(required("a party is at level 1, and the INVITE did not opt out"))
        }
        (Some(false), _) => Ok(false),
    }
}

fn required(why: &str) -> Refusal {
    let detail = format!("this payment must be escrowed: {why}; send escrow true with dependsOn");
    Refusal::new(Code::EscrowRequired, detail).at("/terms/escrow")
}

/// Checks a COMMIT with `escrow:true`: a payment that depends on a commitment of its beneficiary, pending or accepted.
/// `depends` is the one that `dependsOn` names: whether it is the beneficiary's, and where it stands.
pub fn check_shape(kind: Kind, depends: Option<(bool, Status)>) -> Result<(), Refusal> {
    if kind != Kind::Payment {
        return Err(Refusal::invalid("/terms/escrow", "escrow for payments only"));
    }
    match depends {
        Some((true, Status::Pending | Status::Accepted)) => Ok(()),
        Some(_) | None => {
            Err(Refusal::invalid("/terms/dependsOn", "a commitment of the beneficiary, pending or accepted"))
        }
    }
}
