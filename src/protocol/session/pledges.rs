//! COMMIT and FULFILL: whether a commitment may be made, what it carries out, and whether it may be claimed.
//!
//! Source: docs/spec/details.md section 4.

use serde_json::json;

use super::judge::message;
use super::references::{Aim, Aimed};
use super::{Act, MAX_COMMITMENTS, Session};
use crate::protocol::commitment::{Commitment, Kind, Status};
use crate::protocol::escrow;
use crate::protocol::ids::{MessageId, ParticipantId, ReferenceId};
use crate::protocol::matching::{self, Candidate};
use crate::protocol::money::Money;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::terms::{Fulfilment, Pledge};
use crate::protocol::time::Timestamp;

impl Session {
    pub(super) fn aim_commit(&self, act: &Act, pledge: &Pledge, at: Timestamp) -> Aimed {
        self.check_new(pledge)?;
        self.check_beneficiary(act, pledge)?;
        if pledge.deadline < at {
            return Err(Refusal::invalid("/terms/deadline", format!("a time not before {at}")));
        }
        self.check_dependence(act, pledge)?;
        self.check_replaced(act, pledge)?;
        let offer = match act.reference {
            None => matching::only(self.offers.accepted()),
            Some(reference) => {
                let named = self.offers.accepted().find(|offer| offer.message == message(reference));
                Some(
                    named
                        .ok_or_else(|| self.wrong(act, format!("no accepted offer of this session is {reference}")))?,
                )
            }
        };
        let matches = offer.is_some_and(|offer| {
            let payments = self.payments_on(offer.message);
            let candidate = Candidate { offer, payments: &payments };
            // No offer says what is to be taken back for it: that takes its beneficiary's own word.
            pledge.replaces.is_none() && matching::carries_out(&candidate, pledge, act.sender, |id| self.principal(id))
        });
        Ok(Aim::Made {
            offer: offer.filter(|_| matches || act.reference.is_some()).map(|offer| offer.message),
            matches,
        })
    }

    /// The binding payments on an offer.
    fn payments_on(&self, offer: MessageId) -> Vec<Money> {
        let binding = |c: &&Commitment| c.kind == Kind::Payment && c.status != Status::Pending && !c.status.left_out();
        let on_it = self.commitments.iter().filter(|commitment| commitment.offer == Some(offer));
        on_it.filter(binding).filter_map(|commitment| commitment.money).collect()
    }

    fn check_new(&self, pledge: &Pledge) -> Result<(), Refusal> {
        if let Some(taken) = self.commitment(pledge.commitment) {
            let first = json!({"sequence": taken.sequence, "hash": taken.hash});
            let refusal = Refusal::new(Code::Duplicate, "this session has a commitment of that id");
            return Err(refusal.at("/terms/commitmentId").with("first", first));
        }
        if self.commitments.len() >= MAX_COMMITMENTS {
            let rule = format!("a session has at most {MAX_COMMITMENTS} commitments");
            return Err(Refusal::new(Code::PolicyViolation, rule));
        }
        Ok(())
    }

    fn check_beneficiary(&self, act: &Act, pledge: &Pledge) -> Result<(), Refusal> {
        let here = self.participant(pledge.beneficiary).is_some_and(|participant| participant.joined);
        if here && !self.same_party(pledge.beneficiary, act.sender) {
            return Ok(());
        }
        Err(Refusal::invalid("/terms/beneficiary", "another participant of this session"))
    }

    fn check_dependence(&self, act: &Act, pledge: &Pledge) -> Result<(), Refusal> {
        let depends = pledge.depends_on.map(|id| self.commitment(id));
        if matches!(depends, Some(None)) {
            return Err(Refusal::invalid("/terms/dependsOn", "a commitment of this session"));
        }
        if self.circles(pledge.depends_on, pledge.replaces) {
            let expected = "a commitment that does not itself depend on the one in `replaces`";
            return Err(Refusal::invalid("/terms/dependsOn", expected));
        }
        if pledge.escrow == Some(true) || act.hold.is_some() { self.check_escrow(act.sender, pledge) } else { Ok(()) }
    }

    /// Whether a COMMIT has what an escrowed payment must have.
    pub fn check_escrow(&self, sender: ParticipantId, pledge: &Pledge) -> Result<(), Refusal> {
        let home = |id| self.participant(id).map(|participant| &participant.home.organisation);
        if home(sender) == home(pledge.beneficiary) {
            return Err(Refusal::invalid("/terms/escrow", "no escrow within one organisation"));
        }
        let depends = pledge.depends_on.and_then(|id| self.commitment(id));
        let depends = depends.map(|on| (self.same_party(on.obligor, pledge.beneficiary), on.status));
        escrow::check_shape(pledge.kind, depends)
    }

    fn check_replaced(&self, act: &Act, pledge: &Pledge) -> Result<(), Refusal> {
        let Some(replaced) = pledge.replaces else { return Ok(()) };
        let refuse = |rule: &str| Err(self.violation(act.sender, "/terms/replaces", rule));
        let Some(old) = self.commitment(replaced) else { return refuse("replaces names a commitment of this session") };
        let pair = |one, other| self.same_party(old.obligor, one) && self.same_party(old.beneficiary, other);
        if !pair(act.sender, pledge.beneficiary) && !pair(pledge.beneficiary, act.sender) {
            return refuse("replaces names a commitment of the same two participants");
        }
        if old.status.is_unclaimed() { Ok(()) } else { refuse("replaces names a commitment that nobody has claimed") }
    }

    pub(super) fn aim_fulfil(&self, act: &Act, fulfilment: &Fulfilment, at: Timestamp) -> Aimed {
        let refuse = |pointer: &str, rule: String| Err(self.violation(act.sender, pointer, rule));
        let Some(commitment) = self.commitment(fulfilment.commitment) else {
            return refuse("/terms/commitmentId", "FULFILL names a commitment that was made in this session".into());
        };
        let names = |reference: ReferenceId| [commitment.message.0, commitment.id.0].contains(&reference.0);
        if act.reference.is_some_and(|reference| !names(reference)) {
            return refuse("/referenceId", format!("FULFILL names its COMMIT, {}", commitment.message));
        }
        if !self.same_party(commitment.obligor, act.sender) {
            return refuse("/terms/commitmentId", "only its obligor fulfils a commitment".into());
        }
        let fulfillable = match commitment.status {
            Status::Accepted | Status::Escrowed => true,
            Status::Contested => commitment.standing_claim().is_none(),
            Status::Pending
            | Status::Claimed
            | Status::Fulfilled
            | Status::Settled
            | Status::Rejected
            | Status::Withdrawn
            | Status::Breached => false,
        };
        if fulfillable && commitment.status == Status::Escrowed {
            return self.aim_payment(act, commitment);
        }
        let until = self.fulfil_until(commitment);
        match (fulfillable, at > until) {
            (true, false) => Ok(Aim::Due(commitment.id)),
            (true, true) => refuse("/performative", format!("deadline and grace ended at {until}")),
            (false, _) => refuse("/terms/commitmentId", format!("the commitment is {}", commitment.status)),
        }
    }
}
