//! Whether a message may be the next record: state, constraints, references, `seen`, trust, in that order.
//!
//! Changes nothing. Source: docs/spec/details.md section 1 "Order and retries": the first failure is the answer.

use serde_json::{Value, json};

use super::open::trusted;
use super::{Act, Seat, Session, State, table};
use crate::crypto::digest::Digest;
use crate::protocol::commitment::{Commitment, Kind, Status};
use crate::protocol::ids::{MessageId, ParticipantId, ReferenceId};
use crate::protocol::money::Money;
use crate::protocol::performative::Performative;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::terms::{Body, Pledge, Stake};
use crate::protocol::time::Timestamp;

/// What the log says of earlier records.
pub trait History {
    /// The hash of the record at a place.
    fn hash_at(&self, sequence: u64) -> Option<Digest>;
    /// The place of a message.
    fn sequence_of(&self, message: MessageId) -> Option<u64>;
    /// The first record it has: 1, but in a cell that came in by a DELEGATE. What lies before is unknown, and whoever
    /// has it has judged it.
    fn begins(&self) -> u64 {
        1
    }
}

/// What a judgement needs to know beside the session and the message.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The chain so far.
    pub history: &'a dyn History,
    /// The sender's trust score as this cell enforces it, if known; binds answers alone.
    pub score: Option<f64>,
}

impl Session {
    /// Whether this may be the next record at that moment. What falls due by time alone is applied before.
    pub fn judge(&self, act: &Act, at: Timestamp, facts: &Facts<'_>) -> Result<(), Refusal> {
        self.check_state(act)?;
        self.check_constraints(act, at)?;
        self.check_earlier(act, facts.history)?;
        self.aim(act, at)?;
        self.check_seen(act, facts.history)?;
        if act.performative() == Performative::Introduce {
            trusted(&self.constraints, act.sender, facts.score)?;
        }
        Ok(())
    }

    /// What this participant may send now, as `state_violation` lists it.
    #[must_use]
    pub fn allowed(&self, sender: ParticipantId) -> Vec<Performative> {
        let seat = self.seat(sender);
        let answers = [Performative::Introduce, Performative::Decline];
        let all = Performative::THIRTEEN.into_iter().chain(answers);
        all.filter(|performative| {
            !table::moves(self.shown_state(), *performative, seat).is_empty()
                && self.constraints.allow(*performative)
                && (*performative != Performative::Close || self.unclosable().is_none())
        })
        .collect()
    }

    /// The state as everybody sees it: a session whose consent is gone is ESCALATED.
    #[must_use]
    pub const fn shown_state(&self) -> State {
        if self.suspended && !self.state.is_final() { State::Escalated } else { self.state }
    }

    /// `state_violation` that names the rule and lists what may be sent.
    pub(super) fn violation(&self, sender: ParticipantId, pointer: &str, rule: impl Into<String>) -> Refusal {
        let allowed: Vec<_> = self.allowed(sender).into_iter().map(Performative::name).collect();
        let refusal = Refusal::new(Code::StateViolation, rule).at(pointer);
        refusal.with("state", json!(self.shown_state().name())).with("allowed", json!(allowed))
    }

    fn check_state(&self, act: &Act) -> Result<(), Refusal> {
        let (state, performative, seat) = (self.shown_state(), act.performative(), self.seat(act.sender));
        if seat == Seat::Stranger {
            return Err(Refusal::new(Code::NotFound, "no such session"));
        }
        let refuse = |rule: String| Err(self.violation(act.sender, "/performative", rule));
        if table::moves(state, performative, seat).is_empty() {
            return refuse(format!("{performative} is not allowed in {state}; {}", hint(state, performative, seat)));
        }
        if performative == Performative::Counter && matches!(act.terms.body, Body::Ask(..)) != (state == State::Invited)
        {
            let rule = "a COUNTER carries terms.constraints in INVITED, an offer in all other states";
            return Err(self.violation(act.sender, "/terms", rule));
        }
        match self.unclosable() {
            Some(rule) if performative == Performative::Close => refuse(rule.to_owned()),
            Some(_) | None => Ok(()),
        }
    }

    /// Why the session cannot be closed now, by the commitments.
    fn unclosable(&self) -> Option<&'static str> {
        let open = |pending: bool| {
            self.commitments.iter().any(|c| !c.status.is_final() && (pending || c.status != Status::Pending))
        };
        match self.state {
            State::Executing if open(true) => Some("CLOSE in EXECUTING only when every commitment is final"),
            State::Agreeing if open(false) => Some("CLOSE in AGREEING only while no commitment is binding"),
            State::Invited
            | State::Introduced
            | State::Conversing
            | State::Agreeing
            | State::Executing
            | State::Escalated
            | State::Closed
            | State::Failed => None,
        }
    }

    fn check_constraints(&self, act: &Act, at: Timestamp) -> Result<(), Refusal> {
        if !self.constraints.allow(act.performative()) {
            let detail = format!("allowedPerformatives of this session does not name {}", act.performative());
            return Err(against("allowedPerformatives", detail).at("/performative"));
        }
        self.check_budget(act)?;
        if self.state.is_timed() && at > self.expires_at() {
            let detail = format!("maxDuration ended at {}, before anything was being executed", self.expires_at());
            return Err(against("maxDuration", detail));
        }
        self.check_encryption(act)?;
        self.check_value(act)
    }

    /// `endToEnd`: the sender's own cell asks this too, before a clear part leaves it.
    pub fn check_encryption(&self, act: &Act) -> Result<(), Refusal> {
        if let Some(part) = act.clear_part.as_ref().filter(|_| self.constraints.end_to_end) {
            let detail =
                "an endToEnd session takes content and personal values as {\"jwe\": compact, five segments} only";
            let member = part.split('/').next().unwrap_or_default();
            return Err(against("endToEnd", detail).at(format!("/{member}")));
        }
        Ok(())
    }

    fn check_budget(&self, act: &Act) -> Result<(), Refusal> {
        let Some(budget) = self.constraints.token_budget else { return Ok(()) };
        if self.tokens.saturating_add(act.terms.tokens) <= budget {
            return Ok(());
        }
        let detail =
            format!("{} tokens on top of {} exceed the tokenBudget of {budget}", act.terms.tokens, self.tokens);
        let refusal = Refusal::new(Code::BudgetExceeded, detail).at("/terms/tokens");
        Err(refusal.with("budget", json!(budget)).with("used", json!(self.tokens)))
    }

    /// `maxTransactionValue` bounds each offer and commitment, and all payments together.
    fn check_value(&self, act: &Act) -> Result<(), Refusal> {
        let (money, others) = match act.terms.body.stake() {
            Stake::Offer(offered) => (offered.money, Vec::new()),
            Stake::Pledge(pledge) => (pledge.money, self.paid_beside(pledge)),
            Stake::Bound(_) | Stake::Nothing => return Ok(()),
        };
        match (money, self.constraints.max_transaction_value) {
            (Some(money), Some(most)) if !self.constraints.admit(money, &others) => {
                let detail =
                    format!("{money}, with the payments made before, is not within maxTransactionValue, {most}");
                Err(against("maxTransactionValue", detail).at("/terms/amount"))
            }
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    /// The payments that count together with a pledge: for a payment all others not withdrawn or rejected, but for
    /// one that it takes the place of.
    #[must_use]
    pub fn paid_beside(&self, pledge: &Pledge) -> Vec<Money> {
        let counts = |c: &&Commitment| c.kind == Kind::Payment && !c.status.left_out() && pledge.replaces != Some(c.id);
        let payments = self.commitments.iter().filter(|_| pledge.kind == Kind::Payment).filter(counts);
        payments.filter_map(|commitment| commitment.money).collect()
    }

    /// `seen` names a record of this chain, not before the referenced one.
    fn check_seen(&self, act: &Act, history: &dyn History) -> Result<(), Refusal> {
        let Some(seen) = act.seen else { return Ok(()) };
        let least = self.referenced_sequence(act, history).unwrap_or(1);
        let hash = history.hash_at(seen.sequence);
        let unknown = hash.is_none() && (1..history.begins()).contains(&seen.sequence);
        if seen.sequence >= least && (unknown || hash == Some(seen.hash)) {
            return Ok(());
        }
        let detail = format!(
            "seen must be a record of this chain from {least} to {} with its hash; yours at {} is not",
            self.head.sequence, seen.sequence
        );
        let head = json!({"sequence": self.head.sequence, "hash": self.head.hash});
        Err(Refusal::new(Code::SequenceConflict, detail).at("/seen").with("head", head))
    }

    /// Where the message that is answered stands; for FULFILL its COMMIT.
    fn referenced_sequence(&self, act: &Act, history: &dyn History) -> Option<u64> {
        if let Body::Fulfill(fulfilment) = &act.terms.body {
            return self.commitment(fulfilment.commitment).map(|commitment| commitment.sequence);
        }
        let reference = act.reference?;
        let commitment = self.referenced(reference).map(|commitment| commitment.sequence);
        history.sequence_of(message(reference)).or(commitment)
    }
}

/// The message that a reference may name.
pub(super) const fn message(reference: ReferenceId) -> MessageId {
    MessageId(reference.0)
}

fn against(constraint: &str, detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::ConstraintViolation, detail).with("constraint", Value::from(constraint))
}

/// What would be right instead.
fn hint(state: State, performative: Performative, seat: Seat) -> &'static str {
    match seat {
        Seat::Replaced => return "a delegate took your place, you only read",
        Seat::Called => return "answer the DELEGATE first",
        Seat::Invited if state == State::Invited => return "answer the invitation first",
        Seat::Inviter | Seat::Invited | Seat::Invitee | Seat::Delegate | Seat::Stranger => {}
    }
    match state {
        State::Invited => "wait until all invitees have answered",
        State::Introduced => "begin with PROPOSE, QUERY, INFORM or CLARIFY",
        State::Conversing if performative == Performative::Fulfill => "commit first",
        State::Agreeing => "a commitment is pending; ACCEPT, REJECT or WITHDRAW it first",
        State::Conversing | State::Executing => "no answer to an invitation is expected of you",
        State::Escalated => "an operator has to act first",
        State::Closed | State::Failed => "the session has ended",
    }
}
