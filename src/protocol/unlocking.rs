//! How operators end an escrow that its session does not end: the words of the two companies' cells, and the decision of
//! the one that holds the money.
//!
//! Values and limits alone: who may say it and when, and what it moves, is the engine's. The session goes on as its host
//! orders it; what a record says of an escrow that has ended here moves nothing any more.
//! Source: docs/spec/details.md section 4 ("An escrow that its session does not end").

use serde::{Deserialize, Serialize};

use super::escrow::HeldState;
use super::ids::{CellId, CommitmentId, SessionId};
use super::money::Money;
use super::refusal::Refusal;
use super::request::MAX_REASON;
use super::statement::Statement;
use super::time::{Span, Timestamp};
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;

/// The payer's cell may refund alone so long after its word, where the payee's cell has said nothing.
pub const UNANSWERED: Span = Span::days(90);
/// The same where the payee's cell has said something else.
pub const OBJECTED: Span = Span::days(365);

/// What a word, or the decision, rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Basis {
    /// An operator said so.
    Operator,
    /// A decision: both companies' operators said the same.
    Agreement,
    /// A decision: a refund, after [`UNANSWERED`] or [`OBJECTED`].
    Deadline,
    /// The escrow ended by the session before: the payer's cell tells how.
    Session,
}

/// A cell's word on how an escrow shall end, or how it ended: JWS of kind `escrow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unlocking {
    /// The cell that signs: the payer's or the payee's.
    pub cell: CellId,
    /// The session.
    pub session_id: SessionId,
    /// The payment.
    pub commitment_id: CommitmentId,
    /// SHA-256 of the hold receipt.
    pub hold: Digest,
    /// What the payee gets; the rest goes back.
    pub payee_amount: Money,
    /// What it rests on.
    pub by: Basis,
    /// Whether it is the decision of the cell that holds the money, after which nothing moves.
    pub decides: bool,
    /// Why, in the operator's words; at most 1,000 characters, empty in a decision.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Statement for Unlocking {
    const KIND: Kind = Kind::Escrow;
}

impl Unlocking {
    /// Refuses what no word can say of this hold: another one's, more than is there, a reason too long or none.
    ///
    /// # Errors
    /// `validation_failed` at the member at fault.
    pub fn check(&self, hold: Digest, locked: Money) -> Result<(), Refusal> {
        if self.hold != hold {
            return Err(Refusal::invalid("/hold", "the digest of this escrow's hold receipt"));
        }
        let Money { minor, currency } = self.payee_amount;
        if currency != locked.currency || !(0..=locked.minor).contains(&minor) {
            return Err(Refusal::invalid("/payeeAmount", format!("nothing to {locked}")));
        }
        let length = self.reason.chars().count();
        if length > MAX_REASON || (self.reason.trim().is_empty() && !self.decides) {
            return Err(Refusal::invalid("/reason", format!("why, in at most {MAX_REASON} characters")));
        }
        Ok(())
    }

    /// From when on the payer's cell may refund by this word alone. `lost_at`: when the escrow might have been resolved
    /// without a frozen session; `answer`: the newest word of the payee's cell.
    #[must_use]
    pub fn refund_from(&self, lost_at: Timestamp, answer: Option<&Self>) -> Timestamp {
        let wait =
            if answer.is_some_and(|answer| answer.payee_amount != self.payee_amount) { OBJECTED } else { UNANSWERED };
        self.at.max(lost_at) + wait
    }
}

/// How an escrow ended without its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlocked {
    /// What the payee got.
    pub payee_amount: Money,
    /// What it rests on.
    pub by: Basis,
    /// When.
    pub at: Timestamp,
}

impl Unlocked {
    /// The word of S18 for it.
    #[must_use]
    pub const fn state(&self) -> HeldState {
        if self.payee_amount.minor > 0 { HeldState::Released } else { HeldState::Refunded }
    }
}
