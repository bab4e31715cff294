//! What a message names: an open offer, a commitment, a claim, an invitation, and whether it may be named by this
//! sender at this moment.
//!
//! [`Session::aim`] is asked twice, to judge and to apply, so that both mean the same thing.
//! Source: docs/spec/details.md section 1 ("`referenceId`") and section 4.

use super::judge::message;
use super::{Act, History, MAX_ACCEPTED, MAX_PARTICIPANTS, OfferStatus, Participant, Session, State};
use crate::crypto::digest::Digest;
use crate::protocol::commitment::{Commitment, Status};
use crate::protocol::ids::{CommitmentId, MessageId, ParticipantId, ReferenceId};

use crate::protocol::performative::Performative;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::terms::{Body, Delegation, Scope};
use crate::protocol::time::Timestamp;

/// What a message acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aim {
    /// Nothing of the session's state.
    Nothing,
    /// An open offer.
    Offer(MessageId),
    /// A pending commitment.
    Pending(CommitmentId),
    /// The claim on a commitment, to be answered.
    Claim(CommitmentId),
    /// A commitment, to be fulfilled.
    Due(CommitmentId),
    /// A new commitment: the accepted offer it names or finds, and whether it carries it out.
    Made { offer: Option<MessageId>, matches: bool },
    /// A newcomer's access to earlier records.
    History(ParticipantId),
    /// The invitation as a whole.
    Invitation,
    /// Other constraints, asked for by an invitee.
    Asked,
    /// Other constraints, consented to by the inviter.
    Agreed,
}

pub(super) type Aimed = Result<Aim, Refusal>;

impl Session {
    /// What `act` acts on, or why it may not.
    pub(super) fn aim(&self, act: &Act, at: Timestamp) -> Aimed {
        match &act.terms.body {
            Body::Delegate(delegation) => self.aim_delegation(act, delegation),
            Body::Counter(_) => self.aim_counter(act, at),
            Body::Ask(_, asked) => self.aim_ask(act, asked),
            Body::Accept => self.aim_accept(act, at),
            Body::Reject(_) => self.aim_reject(act, at),
            Body::Commit(pledge) => self.aim_commit(act, pledge, at),
            Body::Fulfill(fulfilment) => self.aim_fulfil(act, fulfilment, at),
            Body::Withdraw(_) => self.aim_withdraw(act, at),
            Body::Introduce | Body::Decline(_) => self.aim_answer(act, at),
            Body::Propose(_)
            | Body::Query(_)
            | Body::Inform(_)
            | Body::Clarify(_)
            | Body::Escalate(_)
            | Body::Close(_)
            | Body::Invite { .. }
            | Body::Rate { .. }
            | Body::System(_) => Ok(Aim::Nothing),
        }
    }

    pub(super) fn wrong(&self, act: &Act, rule: impl Into<String>) -> Refusal {
        self.violation(act.sender, "/referenceId", rule)
    }

    /// Whether a reference that acts on nothing names an earlier message, or a commitment where that may be.
    pub(super) fn check_earlier(&self, act: &Act, history: &dyn History) -> Result<(), Refusal> {
        let commitments = match act.performative() {
            Performative::Propose | Performative::Query | Performative::Inform | Performative::Clarify => false,
            Performative::Delegate | Performative::Escalate => true,
            Performative::Accept
            | Performative::Reject
            | Performative::Counter
            | Performative::Commit
            | Performative::Fulfill
            | Performative::Withdraw
            | Performative::Close
            | Performative::Invite
            | Performative::Introduce
            | Performative::Decline
            | Performative::Rate
            | Performative::System => return Ok(()),
        };
        let Some(reference) = act.reference else { return Ok(()) };
        let named = commitments && self.referenced(reference).is_some();
        if named || history.begins() > 1 || history.sequence_of(message(reference)).is_some() {
            return Ok(());
        }
        Err(self.wrong(act, format!("no earlier message of this session is {reference}")))
    }

    /// The open offer of that message.
    fn open_offer(&self, act: &Act, reference: ReferenceId, at: Timestamp) -> Option<Result<ParticipantId, Refusal>> {
        let offer = self.offers.get(message(reference))?;
        Some(match offer.status {
            OfferStatus::Open if !offer.has_expired(at) => Ok(offer.author),
            OfferStatus::Open
            | OfferStatus::Superseded
            | OfferStatus::Accepted
            | OfferStatus::Rejected
            | OfferStatus::Withdrawn => {
                Err(self.wrong(act, format!("the offer {reference} is {}, no longer open", offer.shown(at))))
            }
        })
    }

    fn aim_counter(&self, act: &Act, at: Timestamp) -> Aimed {
        let unknown = || self.wrong(act, "COUNTER names an open offer");
        let reference = act.reference.ok_or_else(unknown)?;
        self.open_offer(act, reference, at).ok_or_else(unknown)?.map(|_| Aim::Nothing)
    }

    fn aim_ask(&self, act: &Act, asked: &Digest) -> Aimed {
        if act.reference.map(message) != Some(self.invite) {
            return Err(self.wrong(act, format!("COUNTER in INVITED names the INVITE, {}", self.invite)));
        }
        if self.participants.first().is_none_or(|inviter| inviter.id != act.sender) {
            return Ok(Aim::Asked);
        }
        if self.asked.iter().any(|(_, earlier)| earlier == asked) {
            return Ok(Aim::Agreed);
        }
        let rule = "the inviter's COUNTER repeats exactly the constraints that an invitee asked for";
        Err(self.violation(act.sender, "/terms/constraints", rule))
    }

    fn aim_accept(&self, act: &Act, at: Timestamp) -> Aimed {
        let unknown =
            || self.wrong(act, "ACCEPT names an open offer, a pending COMMIT, a FULFILL or a DELEGATE with history");
        let reference = act.reference.ok_or_else(unknown)?;
        let offer =
            self.open_offer(act, reference, at).map(|author| self.others_offer(act, reference, author?, "ACCEPT"));
        let found = [
            offer.map(|aim| self.room_for_accepted(act, aim?)),
            self.pending(act, reference).map(|aim| self.still_replaces(act, aim?)),
            self.claimed(act, reference),
            self.history_asked(act, reference),
        ];
        first_good(found).unwrap_or_else(|| Err(unknown()))
    }

    fn aim_reject(&self, act: &Act, at: Timestamp) -> Aimed {
        let unknown = || self.wrong(act, "REJECT names an open offer, a pending COMMIT or a FULFILL");
        let reference = act.reference.ok_or_else(unknown)?;
        let offer =
            self.open_offer(act, reference, at).map(|author| self.others_offer(act, reference, author?, "REJECT"));
        let claim = self.claimed(act, reference).map(|aim| self.in_review(act, aim?, at));
        first_good([offer, self.pending(act, reference), claim]).unwrap_or_else(|| Err(unknown()))
    }

    fn others_offer(&self, act: &Act, reference: ReferenceId, author: ParticipantId, verb: &str) -> Aimed {
        if self.same_party(author, act.sender) {
            return Err(
                self.wrong(act, format!("{verb} names an offer of another party; take back your own by WITHDRAW"))
            );
        }
        Ok(Aim::Offer(message(reference)))
    }

    fn room_for_accepted(&self, act: &Act, aim: Aim) -> Aimed {
        if self.offers.accepted().count() < MAX_ACCEPTED {
            return Ok(aim);
        }
        Err(self.wrong(act, format!("a session holds at most {MAX_ACCEPTED} accepted offers")))
    }

    /// A pending commitment in favour of the sender.
    fn pending(&self, act: &Act, reference: ReferenceId) -> Option<Aimed> {
        let commitment = self.referenced(reference)?;
        Some(if commitment.status != Status::Pending {
            Err(self.wrong(act, format!("the commitment {} is {}, not pending", commitment.id, commitment.status)))
        } else if self.same_party(commitment.beneficiary, act.sender) {
            Ok(Aim::Pending(commitment.id))
        } else {
            Err(self.wrong(act, "only its beneficiary answers a commitment"))
        })
    }

    /// What a pending commitment is to take the place of may have been claimed or ended meanwhile.
    fn still_replaces(&self, act: &Act, aim: Aim) -> Aimed {
        let Aim::Pending(id) = aim else { return Ok(aim) };
        let replaced = self.commitment(id).and_then(|commitment| commitment.replaces);
        let gone = replaced.and_then(|id| self.commitment(id)).is_some_and(|old| !old.status.is_unclaimed());
        let circles =
            self.commitment(id).is_some_and(|commitment| self.circles(commitment.depends_on, commitment.replaces));
        match (gone, circles) {
            (true, _) => Err(self.wrong(act, "the commitment it replaces is claimed or final by now")),
            (false, true) => Err(self.wrong(act, "what it depends on depends by now on the commitment it replaces")),
            (false, false) => Ok(aim),
        }
    }

    /// A claim in favour of the sender.
    fn claimed(&self, act: &Act, reference: ReferenceId) -> Option<Aimed> {
        let names = |c: &&Commitment| c.claim.is_some_and(|claim| claim.message == message(reference));
        let commitment = self.commitments.iter().find(names)?;
        Some(if commitment.standing_claim().is_none() {
            Err(self.wrong(
                act,
                format!("that FULFILL no longer waits for an answer: the commitment is {}", commitment.status),
            ))
        } else if self.same_party(commitment.beneficiary, act.sender) {
            Ok(Aim::Claim(commitment.id))
        } else {
            Err(self.wrong(act, "only its beneficiary answers a fulfilment"))
        })
    }

    fn in_review(&self, act: &Act, aim: Aim, at: Timestamp) -> Aimed {
        let Aim::Claim(id) = aim else { return Ok(aim) };
        match self.commitment(id).and_then(|commitment| self.review_until(commitment)) {
            Some(until) if at > until => {
                Err(self
                    .wrong(act, format!("the review window ended at {until}; silence has confirmed the fulfilment")))
            }
            Some(_) | None => Ok(aim),
        }
    }

    fn history_asked(&self, act: &Act, reference: ReferenceId) -> Option<Aimed> {
        let called = |p: &&Participant| p.calling.as_ref().is_some_and(|call| call.message == message(reference));
        let newcomer = self.participants.iter().find(called)?;
        let calling = newcomer.calling.as_ref()?;
        let concerned = act.sender != calling.by && act.sender != newcomer.id && !newcomer.dropped;
        Some(if !calling.history || !concerned {
            Err(self.wrong(act, "ACCEPT of a DELEGATE is for the others, where terms.history asks for it"))
        } else if calling.agreed.contains(&act.sender) {
            Err(self.wrong(act, "you have agreed to that already"))
        } else {
            Ok(Aim::History(newcomer.id))
        })
    }

    fn aim_withdraw(&self, act: &Act, at: Timestamp) -> Aimed {
        let unknown =
            || self.wrong(act, "WITHDRAW names your own open offer or pending COMMIT, in INVITED your INVITE");
        let reference = act.reference.ok_or_else(unknown)?;
        if self.state == State::Invited {
            return if message(reference) == self.invite { Ok(Aim::Invitation) } else { Err(unknown()) };
        }
        let offer = self.open_offer(act, reference, at).map(|author| {
            if self.same_party(author?, act.sender) { Ok(Aim::Offer(message(reference))) } else { Err(unknown()) }
        });
        first_good([offer, self.own_pending(act, reference)]).unwrap_or_else(|| Err(unknown()))
    }

    fn own_pending(&self, act: &Act, reference: ReferenceId) -> Option<Aimed> {
        let commitment = self.referenced(reference)?;
        Some(if !self.same_party(commitment.obligor, act.sender) {
            Err(self.wrong(act, "WITHDRAW names your own commitment"))
        } else if Self::is_frozen(commitment) {
            Err(self.wrong(act, "a dispute has frozen the money of this payment until it is decided"))
        } else if commitment.status == Status::Pending {
            Ok(Aim::Pending(commitment.id))
        } else {
            Err(self
                .wrong(act, format!("the commitment {} is {}, no longer pending", commitment.id, commitment.status)))
        })
    }

    fn aim_answer(&self, act: &Act, at: Timestamp) -> Aimed {
        let asked = self.asks(act.sender);
        if asked.is_none() || act.reference.map(message) != asked {
            let what = asked.map_or_else(|| "nothing".to_owned(), |asked| asked.to_string());
            return Err(self.wrong(act, format!("an answer names the message that asks for it: {what}")));
        }
        let calling = self.participant(act.sender).and_then(|participant| participant.calling.as_ref());
        let until = calling.map_or(self.answer_by, |calling| calling.answer_by);
        if at > until {
            return Err(self.violation(act.sender, "/performative", format!("the time to answer ended at {until}")));
        }
        Ok(Aim::Nothing)
    }

    fn aim_delegation(&self, act: &Act, delegation: &Delegation) -> Aimed {
        if self.participant(delegation.delegate).is_some() {
            return Err(Refusal::invalid("/terms/delegate", "a participant id that is new in this session"));
        }
        if self.participants.len() >= MAX_PARTICIPANTS {
            let rule = format!("a session has at most {MAX_PARTICIPANTS} participants");
            return Err(Refusal::new(Code::PolicyViolation, rule).at("/terms/delegate"));
        }
        let replacing = |p: &Participant| {
            let waits = !p.joined && !p.dropped;
            waits && p.calling.as_ref().is_some_and(|call| call.by == act.sender && call.scope == Scope::Replace)
        };
        if delegation.scope == Scope::Replace && self.participants.iter().any(replacing) {
            return Err(self.violation(
                act.sender,
                "/terms/scope",
                "somebody was called to replace you and has not answered",
            ));
        }
        match act.newcomer {
            Some(_) => Ok(Aim::Nothing),
            None => Err(Refusal::new(Code::NotFound, "no such agent").at("/delegate")),
        }
    }
}

/// A reference may name several things, since ids of messages and commitments may be equal: the first that may be
/// acted on counts, else the first refusal.
fn first_good<const N: usize>(found: [Option<Aimed>; N]) -> Option<Aimed> {
    let mut first = None;
    for aimed in found.into_iter().flatten() {
        if aimed.is_ok() {
            return Some(aimed);
        }
        first.get_or_insert(aimed);
    }
    first
}
