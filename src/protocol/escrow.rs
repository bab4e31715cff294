//! Which payments are escrowed, and what an escrowed payment must look like.
//!
//! Rules alone: who holds the money, and when it moves, is not decided here. Source: docs/spec/details.md section 4
//! ("`escrow:true`"), docs/spec/protocol.md section 5 (levels).

use super::commitment::{Kind, Status};
use super::constraints::EscrowRule;
use super::refusal::{Code, Refusal};

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
