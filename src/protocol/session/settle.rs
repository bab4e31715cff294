//! What each act does to offers, commitments, participants and the state.
//!
//! Source: docs/spec/protocol.md sections 3 and 4, docs/spec/details.md sections 3 and 4.

use super::apply::Changes;
use super::references::Aim;
use super::{Act, Calling, Head, OfferStatus, Participant, Role, Session, State};
use crate::protocol::beside::Standing;
use crate::protocol::commitment::{Commitment, Status};
use crate::protocol::constraints::Constraints;
use crate::protocol::ids::{CommitmentId, MessageId, ParticipantId};
use crate::protocol::outcome::Outcome;
use crate::protocol::terms::{Delegation, Offered, Pledge, Scope};
use crate::protocol::time::Timestamp;

impl Session {
    pub(super) fn offer(&mut self, act: &Act, offered: &Offered, changes: &mut Changes) {
        let party = self.principal(act.sender);
        let of_party: Vec<_> =
            self.offers.all().iter().map(|offer| offer.author).filter(|id| self.principal(*id) == party).collect();
        changes.offers = self.offers.add(act.message_id, act.sender, offered, |author| of_party.contains(&author));
        changes.offers.push(act.message_id);
        self.converse();
    }

    /// The first word opens the conversation.
    pub(super) const fn converse(&mut self) {
        if matches!(self.state, State::Introduced) {
            self.state = State::Conversing;
        }
    }

    pub(super) fn accept(&mut self, aim: Aim, sender: ParticipantId, at: Timestamp, changes: &mut Changes) {
        match aim {
            Aim::Offer(offer) => self.mark(offer, OfferStatus::Accepted, Some(sender), changes),
            Aim::Pending(id) => self.bind(id, changes),
            Aim::Claim(id) => self.confirm(id, at, changes),
            Aim::History(newcomer) => self.agree_to_history(newcomer, sender, changes),
            Aim::Nothing | Aim::Due(_) | Aim::Made { .. } | Aim::Invitation | Aim::Asked | Aim::Agreed => {}
        }
    }

    pub(super) fn reject(&mut self, act: &Act, aim: Aim, head: Head, changes: &mut Changes) {
        match aim {
            Aim::Offer(offer) => self.mark(offer, OfferStatus::Rejected, None, changes),
            Aim::Pending(id) => {
                self.change(id, changes, |commitment| commitment.status = Status::Rejected);
                self.let_go(id, changes);
            }
            Aim::Claim(id) => {
                self.change(id, changes, |commitment| commitment.contest(act.message_id, act.sender));
                let opened = Standing { after: head.sequence, at: head.timestamp };
                self.dispute_rejection(id, opened, changes);
            }
            Aim::Nothing
            | Aim::Due(_)
            | Aim::Made { .. }
            | Aim::History(_)
            | Aim::Invitation
            | Aim::Asked
            | Aim::Agreed => {}
        }
    }

    pub(super) fn withdraw(&mut self, aim: Aim, at: Timestamp, changes: &mut Changes) {
        match aim {
            Aim::Offer(offer) => self.mark(offer, OfferStatus::Withdrawn, None, changes),
            Aim::Pending(id) => self.change(id, changes, |commitment| commitment.status = Status::Withdrawn),
            Aim::Invitation => self.fail(at),
            Aim::Nothing
            | Aim::Claim(_)
            | Aim::Due(_)
            | Aim::Made { .. }
            | Aim::History(_)
            | Aim::Asked
            | Aim::Agreed => {}
        }
    }

    /// A COMMIT: binding at once where it carries out an accepted offer, else pending.
    pub(super) fn commit(&mut self, act: &Act, pledge: &Pledge, aim: Aim, head: Head, changes: &mut Changes) {
        let Aim::Made { offer, matches } = aim else { return };
        let mut commitment = Commitment::made(pledge, act.sender, act.message_id, head.sequence, head.hash);
        commitment.offer = offer;
        commitment.held = self.held_by(act);
        self.commitments.push(commitment);
        if matches {
            self.bind(pledge.commitment, changes);
        } else {
            changes.commitments.push(pledge.commitment);
        }
    }

    /// A commitment becomes binding, and takes the place of the one it replaces: what depended on that depends on it.
    fn bind(&mut self, id: CommitmentId, changes: &mut Changes) {
        self.change(id, changes, |commitment| {
            commitment.status = if commitment.held.is_some() { Status::Escrowed } else { Status::Accepted };
        });
        let replaced = self.commitment(id).and_then(|commitment| commitment.replaces);
        let Some(replaced) = replaced else { return };
        self.change(replaced, changes, |commitment| commitment.status = Status::Withdrawn);
        self.let_go(replaced, changes);
        for dependent in self.commitments.iter_mut().filter(|c| c.depends_on == Some(replaced) && c.id != id) {
            dependent.depends_on = Some(id);
            changes.note(dependent.id);
        }
    }

    /// Changes one commitment and notes it.
    pub(super) fn change(&mut self, id: CommitmentId, changes: &mut Changes, change: impl FnOnce(&mut Commitment)) {
        if let Some(commitment) = self.commitments.iter_mut().find(|commitment| commitment.id == id) {
            change(commitment);
            changes.note(id);
        }
    }

    fn mark(&mut self, offer: MessageId, status: OfferStatus, by: Option<ParticipantId>, changes: &mut Changes) {
        self.offers.mark(offer, status, by);
        changes.offers.push(offer);
    }

    /// The inviter consented to other constraints: answers given are void, and the time to answer starts anew.
    pub(super) fn put_in_force(&mut self, by: MessageId, to: &Constraints, at: Timestamp, changes: &mut Changes) {
        self.constraints = to.clone();
        self.in_force = by;
        self.asked.clear();
        self.answer_by = at + self.windows.answer_within;
        for invitee in self.participants.iter_mut().filter(|participant| participant.role == Role::Invitee) {
            invitee.joined = false;
            changes.participants.push(invitee.id);
        }
    }

    /// An invitation is accepted: INTRODUCED when it was the last; a delegate takes its seat at once.
    pub(super) fn introduce(&mut self, sender: ParticipantId, changes: &mut Changes) {
        let Some(participant) = self.participants.iter_mut().find(|participant| participant.id == sender) else {
            return;
        };
        participant.joined = true;
        changes.participants.push(sender);
        let replaced = participant.calling.as_ref().filter(|call| call.scope == Scope::Replace).map(|call| call.by);
        participant.replaces = replaced;
        if let Some(delegator) = self.participants.iter_mut().find(|participant| Some(participant.id) == replaced) {
            delegator.replaced_by = Some(sender);
            changes.participants.push(delegator.id);
        }
        let all = self.participants.iter().all(|participant| participant.joined);
        if self.state == State::Invited && all {
            self.state = State::Introduced;
        }
    }

    /// One decline ends an invitation; a delegate's is only its own.
    pub(super) fn decline(&mut self, sender: ParticipantId, at: Timestamp, changes: &mut Changes) {
        if self.state == State::Invited {
            self.fail(at);
        } else {
            self.drop_delegate(sender, changes);
        }
    }

    pub(super) fn drop_delegate(&mut self, delegate: ParticipantId, changes: &mut Changes) {
        if let Some(participant) = self.participants.iter_mut().find(|participant| participant.id == delegate) {
            participant.dropped = true;
            changes.participants.push(delegate);
        }
    }

    /// DELEGATE calls a newcomer, whose chain starts here unless all others agree to show it more.
    pub(super) fn call(&mut self, act: &Act, delegation: &Delegation, head: Head, changes: &mut Changes) {
        let Some(home) = act.newcomer.clone() else { return };
        let calling = Calling {
            message: act.message_id,
            by: act.sender,
            scope: delegation.scope,
            answer_by: head.timestamp + self.windows.answer_within,
            history: delegation.history,
            agreed: Vec::new(),
        };
        self.participants.push(Participant {
            id: delegation.delegate,
            home,
            role: Role::Delegate,
            joined: false,
            dropped: false,
            replaced_by: None,
            replaces: None,
            reads_from: head.sequence,
            calling: Some(calling),
            standing: None,
        });
        changes.participants.push(delegation.delegate);
    }

    /// Earlier records are shown once all who act here, but for delegator and newcomer, have agreed.
    fn agree_to_history(&mut self, newcomer: ParticipantId, sender: ParticipantId, changes: &mut Changes) {
        let acting: Vec<_> = self.participants.iter().filter(|other| other.acts()).map(|other| other.id).collect();
        let Some(participant) = self.participants.iter_mut().find(|participant| participant.id == newcomer) else {
            return;
        };
        let Some(calling) = &mut participant.calling else { return };
        calling.agreed.push(sender);
        let concerned = |id: &&ParticipantId| **id != calling.by && **id != newcomer;
        if acting.iter().filter(concerned).all(|id| calling.agreed.contains(id)) {
            participant.reads_from = 1;
            changes.participants.push(newcomer);
        }
    }

    pub(super) const fn escalate(&mut self) {
        if !matches!(self.state, State::Escalated) {
            self.saved = Some(self.state);
            self.state = State::Escalated;
        }
    }

    /// Ends with somebody's word: what is not final is withdrawn, then the outcome is derived.
    pub(super) fn close(&mut self, word: Outcome, at: Timestamp, changes: &mut Changes) {
        for commitment in self.commitments.iter_mut().filter(|commitment| !commitment.status.is_final()) {
            commitment.status = Status::Withdrawn;
            changes.note(commitment.id);
        }
        self.outcome = Some(word.derived(&self.commitments));
        self.state = State::Closed;
        self.saved = None;
        self.closed_at = Some(at);
    }

    pub(super) const fn fail(&mut self, at: Timestamp) {
        self.state = State::Failed;
        self.saved = None;
        self.closed_at = Some(at);
    }

    /// Where the commitments put the session: AGREEING while one is pending before anything is executed, EXECUTING
    /// once one is binding and none pending, CONVERSING when none is left.
    pub(super) fn settle(&mut self, at: Timestamp) {
        if matches!(self.state, State::Conversing | State::Agreeing) {
            let pending = self.commitments.iter().any(|commitment| commitment.status == Status::Pending);
            let standing = self.commitments.iter().any(|commitment| !commitment.status.left_out());
            self.state = match (pending, standing) {
                (true, _) => State::Agreeing,
                (false, true) => State::Executing,
                (false, false) => State::Conversing,
            };
        }
        let all_final = self.commitments.iter().all(|commitment| commitment.status.is_final());
        self.final_since = if all_final { self.final_since.or(Some(at)) } else { None };
    }
}
