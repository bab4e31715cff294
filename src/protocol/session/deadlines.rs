//! What time alone brings about: which system event falls due next, and when.
//!
//! Nothing but the end of a dispute falls due in ESCALATED: breaches and closings wait for its end; those of a
//! commitment in dispute wait for that. A message that comes at the very moment of
//! a deadline is in time if it is placed before the event. Source: docs/spec/details.md sections 2, 3 and 4.

use super::{Role, Session, State};
use crate::protocol::commitment::{Commitment, Status};
use crate::protocol::outcome::Outcome;
use crate::protocol::terms::{Expiry, SystemEvent};
use crate::protocol::time::Timestamp;

type Timer = (Timestamp, SystemEvent);

impl Session {
    /// The earliest moment at which a system event falls due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers().map(|(at, _)| at).min()
    }

    /// At a member: when the host is so late with what fell due first that it may have been lost on its way.
    #[must_use]
    pub fn silent_at(&self) -> Option<Timestamp> {
        self.next_deadline().map(|at| at + self.windows.grace)
    }

    /// The event that has fallen due first; apply it and ask again.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<SystemEvent> {
        let due = self.timers().filter(|(at, _)| *at <= now).min_by_key(|(at, _)| *at);
        due.map(|(_, event)| event)
    }

    /// The last moment at which FULFILL of a commitment is accepted.
    #[must_use]
    pub fn fulfil_until(&self, commitment: &Commitment) -> Timestamp {
        commitment.fulfil_until(self.windows.grace, self.resumed_at)
    }

    /// When silence confirms the standing claim on a commitment.
    #[must_use]
    pub fn review_until(&self, commitment: &Commitment) -> Option<Timestamp> {
        commitment.review_until(self.windows.review, self.windows.grace, self.resumed_at)
    }

    /// Everything that time may bring about from here, in a fixed order.
    pub(super) fn timers(&self) -> impl Iterator<Item = Timer> {
        let frozen = self.shown_state() == State::Escalated || self.state.is_final();
        let commitments = self.commitments.iter().filter_map(|commitment| self.commitment_timer(commitment));
        let all = self.whole_session().into_iter().chain(self.calls()).chain(commitments);
        all.filter(move |_| !frozen).chain(self.dispute_timers())
    }

    fn whole_session(&self) -> Option<Timer> {
        match self.state {
            State::Invited => Some((self.answer_by, SystemEvent::InvitationExpired(Expiry::Silence(self.invite)))),
            State::Introduced | State::Conversing | State::Agreeing => {
                Some((self.expires_at(), SystemEvent::DurationElapsed { invite: self.invite }))
            }
            State::Executing => {
                let since = self.final_since.max(self.final_since.and(self.resumed_at))?;
                let outcome = Outcome::of_silence(&self.commitments);
                Some((since + self.windows.grace, SystemEvent::GraceElapsed { outcome }))
            }
            State::Escalated | State::Closed | State::Failed => None,
        }
    }

    /// Delegates who were called and have not answered.
    fn calls(&self) -> impl Iterator<Item = Timer> {
        let waiting = self.participants.iter().filter(|p| p.role == Role::Delegate && !p.joined && !p.dropped);
        let calls = waiting.filter_map(|participant| participant.calling.as_ref());
        calls.map(|call| (call.answer_by, SystemEvent::InvitationExpired(Expiry::Silence(call.message))))
    }

    fn commitment_timer(&self, commitment: &Commitment) -> Option<Timer> {
        if self.open_dispute_about(commitment.id).is_some() || Self::is_frozen(commitment) {
            return None;
        }
        match commitment.status {
            Status::Pending | Status::Accepted => {
                let event = SystemEvent::DeadlineMissed { commitment: commitment.id, commit: commitment.message };
                Some((self.fulfil_until(commitment), event))
            }
            Status::Claimed => {
                let fulfilment = commitment.claim?.message;
                let event = SystemEvent::ReviewElapsed { commitment: commitment.id, fulfilment };
                Some((self.review_until(commitment)?, event))
            }
            // An escrowed payment ends with what it depends on, a contested one with its dispute.
            Status::Escrowed
            | Status::Contested
            | Status::Fulfilled
            | Status::Settled
            | Status::Rejected
            | Status::Withdrawn
            | Status::Breached => None,
        }
    }
}
