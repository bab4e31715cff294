//! Verdicts on disputes: what a cell derives from the chain alone, and what it signs.
//!
//! Host and members derive the same from the same chain at the same point; what the chain does not tell is left to
//! the operators. Source: docs/spec/details.md section 6 and S9, docs/spec/protocol.md sections 5 (severities) and 6.

use serde::{Deserialize, Serialize};

use super::commitment::{Commitment, Kind, Status};
use super::dispute::{ClaimKind, EscrowTo};
use super::ids::{CellId, DisputeId, SessionId};
use super::statement::Statement;
use super::time::Timestamp;
use crate::crypto::jws;

/// What becomes of a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ruling {
    /// The claim holds.
    Resolved,
    /// It does not.
    Dismissed,
    /// The operators must say.
    Escalated,
}

impl Ruling {
    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Dismissed => "dismissed",
            Self::Escalated => "escalated",
        }
    }
}

impl std::str::FromStr for Ruling {
    type Err = super::ids::BadName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Resolved, Self::Dismissed, Self::Escalated];
        let expected = super::ids::BadName("resolved, dismissed or escalated");
        all.into_iter().find(|ruling| ruling.name() == text).ok_or(expected)
    }
}

/// A verdict: two cells agree when theirs are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What becomes of the dispute.
    pub ruling: Ruling,
    /// The penalty, where the claim holds.
    pub severity: Option<u8>,
    /// Where the escrow goes, where the claim holds.
    pub escrow: Option<EscrowTo>,
    /// The payee's share of a split.
    pub payee_amount: Option<String>,
}

/// Lowest and highest severity.
pub const SEVERITIES: std::ops::RangeInclusive<u8> = 1..=10;

impl Verdict {
    /// The claim does not hold.
    pub const DISMISSED: Self = Self { ruling: Ruling::Dismissed, severity: None, escrow: None, payee_amount: None };
    /// The chain does not tell.
    pub const ESCALATED: Self = Self { ruling: Ruling::Escalated, severity: None, escrow: None, payee_amount: None };

    const fn resolved(severity: u8, escrow: EscrowTo) -> Self {
        Self { ruling: Ruling::Resolved, severity: Some(severity), escrow: Some(escrow), payee_amount: None }
    }
}

/// What a claim is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What is claimed.
    pub claim: ClaimKind,
    /// The commitment in dispute, as the chain has it.
    pub commitment: &'a Commitment,
    /// The last moment at which FULFILL was, or is, accepted.
    pub fulfil_until: Timestamp,
    /// Whether the money of the commitment is, or was, held in escrow.
    pub escrowed: bool,
    /// When the dispute was opened.
    pub at: Timestamp,
}

/// What the chain says of the claim.
#[must_use]
pub fn derive(case: &Case<'_>) -> Verdict {
    match case.claim {
        ClaimKind::NonDelivery => missing(case, false, Verdict::resolved(3, EscrowTo::Payer)),
        ClaimKind::NonPayment => missing(case, true, Verdict::resolved(4, EscrowTo::Payee)),
        ClaimKind::Late => late(case),
        ClaimKind::Amount => amount(case),
        ClaimKind::Terms | ClaimKind::Evidence | ClaimKind::Other => Verdict::ESCALATED,
    }
}

/// Whether the chain shows that nothing came where something was due.
fn missing(case: &Case<'_>, payment: bool, holds: Verdict) -> Verdict {
    let commitment = case.commitment;
    if (commitment.kind == Kind::Payment) != payment {
        return Verdict::ESCALATED;
    }
    match commitment.status {
        // Confirmed by the other party, or never binding.
        Status::Settled | Status::Fulfilled | Status::Pending | Status::Rejected | Status::Withdrawn => {
            Verdict::DISMISSED
        }
        // One says it came, the other that it did not.
        Status::Claimed | Status::Contested => Verdict::ESCALATED,
        Status::Accepted | Status::Breached if commitment.claim.is_some() => Verdict::ESCALATED,
        Status::Breached => holds,
        Status::Accepted if case.at > case.fulfil_until => holds,
        // Nothing is missing before deadline and grace have passed; escrowed money is there.
        Status::Accepted | Status::Escrowed => Verdict::DISMISSED,
    }
}

/// Whether the FULFILL came after the deadline.
fn late(case: &Case<'_>) -> Verdict {
    let commitment = case.commitment;
    if case.escrowed || commitment.status.left_out() || commitment.status == Status::Pending {
        return Verdict::DISMISSED;
    }
    match commitment.claim {
        Some(claim) if claim.at > commitment.deadline => Verdict::resolved(1, EscrowTo::Payee),
        None if commitment.status == Status::Breached || case.at > case.fulfil_until => {
            Verdict::resolved(2, EscrowTo::Payer)
        }
        Some(_) | None => Verdict::DISMISSED,
    }
}

/// Whether another amount was paid: an escrow pays what was committed, of other payments the chain does not tell.
fn amount(case: &Case<'_>) -> Verdict {
    let commitment = case.commitment;
    if commitment.kind == Kind::Payment && (case.escrowed || commitment.status.left_out()) {
        return Verdict::DISMISSED;
    }
    Verdict::ESCALATED
}

/// By whom, or by what, a verdict was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ground {
    /// The chain tells.
    Chain,
    /// An operator said so.
    Operator,
    /// `dispute_window` after its opening nobody had decided it.
    Time,
    /// A decision: both cells gave the same.
    Agreement,
}

/// A verdict as a cell signs it, or the host's decision by it: JWS of kind `verdict`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Given {
    /// The cell that signs.
    pub cell: CellId,
    /// The session.
    pub session_id: SessionId,
    /// The dispute.
    pub dispute_id: DisputeId,
    /// What becomes of it.
    pub outcome: Ruling,
    /// The penalty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// Where the escrow goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<EscrowTo>,
    /// The payee's share of a split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payee_amount: Option<String>,
    /// By whom or what.
    pub by: Ground,
    /// Whether it is the host's decision, after which nothing follows.
    pub decides: bool,
    /// When.
    pub at: Timestamp,
}

impl Statement for Given {
    const KIND: jws::Kind = jws::Kind::Verdict;
}

impl Given {
    /// What it says.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let Self { outcome, severity, escrow, .. } = *self;
        Verdict { ruling: outcome, severity, escrow, payee_amount: self.payee_amount.clone() }
    }
}

/// What an operator's verdict is where the claim holds and nothing else is said.
#[must_use]
pub const fn usual_severity(claim: ClaimKind) -> u8 {
    match claim {
        ClaimKind::Late => 1,
        ClaimKind::Other | ClaimKind::Amount => 2,
        ClaimKind::NonDelivery => 3,
        ClaimKind::NonPayment => 4,
        ClaimKind::Terms => 6,
        ClaimKind::Evidence => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::Digest;
    use crate::protocol::commitment::{Breach, Claim};
    use crate::protocol::terms::Pledge;

    const DEADLINE: Timestamp = Timestamp(1_773_392_400_000);
    const GRACE: i64 = 3_600_000;

    fn at(minutes: i64) -> Timestamp {
        Timestamp(DEADLINE.0 + minutes * 60_000)
    }

    fn commitment(kind: Kind, status: Status, claimed: Option<i64>) -> Commitment {
        let id = "019ce66c-1111-7000-8000-000000000001";
        let party = |n: u8| format!("00000000-0000-4000-8000-00000000000{n}").parse().unwrap();
        let pledge = Pledge {
            commitment: id.parse().unwrap(),
            kind,
            beneficiary: party(1),
            deadline: DEADLINE,
            money: None,
            escrow: None,
            depends_on: None,
            replaces: None,
        };
        let message = id.parse().unwrap();
        let mut made = Commitment::made(&pledge, party(0), message, 3, Digest::default());
        made.status = status;
        made.claim = claimed.map(|minutes| Claim { message, at: at(minutes), rejected: false });
        made.breach = (status == Status::Breached).then_some(Breach { severity: 2, at: at(61) });
        made
    }

    fn ruled(claim: ClaimKind, commitment: &Commitment, opened: i64) -> (Ruling, Option<u8>, Option<EscrowTo>) {
        let fulfil_until = Timestamp(DEADLINE.0 + GRACE);
        let escrowed = commitment.status == Status::Escrowed;
        let verdict = derive(&Case { claim, commitment, fulfil_until, escrowed, at: at(opened) });
        (verdict.ruling, verdict.severity, verdict.escrow)
    }

    #[test]
    fn what_is_missing_after_its_grace_is_found_and_before_it_is_not() {
        use {ClaimKind as C, Kind as K, Ruling as R, Status as S};
        let nothing = (R::Dismissed, None, None);
        let open = (R::Escalated, None, None);
        let refund = (R::Resolved, Some(3), Some(EscrowTo::Payer));
        let default = (R::Resolved, Some(4), Some(EscrowTo::Payee));
        for (claim, kind, status, claimed, opened, expected) in [
            (C::NonDelivery, K::Delivery, S::Accepted, None, -1, nothing),
            (C::NonDelivery, K::Delivery, S::Accepted, None, 30, nothing),
            (C::NonDelivery, K::Delivery, S::Accepted, None, 60, nothing),
            (C::NonDelivery, K::Delivery, S::Accepted, None, 61, refund),
            (C::NonDelivery, K::Delivery, S::Breached, None, 99, refund),
            (C::NonDelivery, K::Action, S::Breached, None, 99, refund),
            (C::NonDelivery, K::Delivery, S::Claimed, Some(1), 2, open),
            (C::NonDelivery, K::Delivery, S::Contested, Some(1), 2, open),
            (C::NonDelivery, K::Delivery, S::Settled, Some(1), 2, nothing),
            (C::NonDelivery, K::Delivery, S::Withdrawn, None, 2, nothing),
            (C::NonDelivery, K::Payment, S::Breached, None, 99, open),
            (C::NonPayment, K::Payment, S::Breached, None, 99, default),
            (C::NonPayment, K::Payment, S::Escrowed, None, 99, nothing),
            (C::NonPayment, K::Payment, S::Claimed, Some(1), 99, open),
            (C::NonPayment, K::Payment, S::Settled, Some(1), 99, nothing),
            (C::NonPayment, K::Delivery, S::Breached, None, 99, open),
        ] {
            let made = commitment(kind, status, claimed);
            assert_eq!(ruled(claim, &made, opened), expected, "{claim:?} {kind:?} {status} {claimed:?} {opened}");
        }
    }

    #[test]
    fn lateness_is_read_from_the_claim_and_judgement_is_left_to_operators() {
        use {ClaimKind as C, Kind as K, Ruling as R, Status as S};
        let late = (R::Resolved, Some(1), Some(EscrowTo::Payee));
        for (status, claimed, opened, expected) in [
            (S::Claimed, Some(30), 31, late),
            (S::Settled, Some(30), 31, late),
            (S::Contested, Some(30), 31, late),
            (S::Settled, Some(0), 31, (R::Dismissed, None, None)),
            (S::Accepted, None, 30, (R::Dismissed, None, None)),
            (S::Accepted, None, 61, (R::Resolved, Some(2), Some(EscrowTo::Payer))),
            (S::Breached, None, 61, (R::Resolved, Some(2), Some(EscrowTo::Payer))),
            (S::Rejected, None, 61, (R::Dismissed, None, None)),
        ] {
            assert_eq!(ruled(C::Late, &commitment(K::Delivery, status, claimed), opened), expected, "{status}");
        }
        for claim in [C::Terms, C::Evidence, C::Other] {
            assert_eq!(ruled(claim, &commitment(K::Delivery, S::Settled, Some(1)), 2).0, R::Escalated);
        }
        assert_eq!(ruled(C::Amount, &commitment(K::Payment, S::Claimed, Some(1)), 2).0, R::Escalated);
        assert_eq!(ruled(C::Amount, &commitment(K::Payment, S::Escrowed, None), 2).0, R::Dismissed);
    }
}
