//! System events: whether one can be derived from the chain, and what it does.
//!
//! Members refuse a system record that they cannot derive. Source: docs/spec/details.md section 2.

use serde_json::json;

use super::apply::Changes;
use super::{Role, Session, State, table};
use crate::protocol::ids::MessageId;
use crate::protocol::outcome::Outcome;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::terms::{Expiry, SystemEvent};
use crate::protocol::time::Timestamp;

impl Session {
    /// Whether the host may record this event at that moment. That a consent was revoked, a peer refused the
    /// invitation, or an operator decided, is the host's word; what time brings about must have come about.
    pub fn derivable(&self, event: &SystemEvent, at: Timestamp) -> Result<(), Refusal> {
        if table::system_moves(self.state, event).is_empty() {
            return Err(self.underivable(event, &format!("nothing of the kind happens in {}", self.state)));
        }
        match event {
            SystemEvent::ConsentRevoked { .. }
            | SystemEvent::OperatorResolved { .. }
            | SystemEvent::InvitationExpired(Expiry::Refused(_)) => Ok(()),
            SystemEvent::DisputeDecided { dispute, commitment } if self.decidable(*dispute, *commitment, at) => Ok(()),
            SystemEvent::InvitationExpired(Expiry::Silence(_))
            | SystemEvent::DeadlineMissed { .. }
            | SystemEvent::ReviewElapsed { .. }
            | SystemEvent::DurationElapsed { .. }
            | SystemEvent::GraceElapsed { .. }
            | SystemEvent::DisputeDecided { .. }
            | SystemEvent::HostMoved { .. } => match self.timers().find(|(_, timer)| timer == event) {
                Some((due, _)) if due <= at => Ok(()),
                Some((due, _)) => Err(self.underivable(event, &format!("it falls due at {due}, not before"))),
                None => Err(self.underivable(event, "the chain does not say so")),
            },
        }
    }

    fn underivable(&self, event: &SystemEvent, why: &str) -> Refusal {
        let refusal = Refusal::new(Code::StateViolation, format!("{} cannot be derived: {why}", event.name()));
        refusal.at("/terms/event").with("state", json!(self.state.name())).with("allowed", json!([]))
    }

    /// Applies a system event.
    pub(super) fn happen(&mut self, event: &SystemEvent, at: Timestamp, changes: &mut Changes) {
        match event {
            SystemEvent::InvitationExpired(Expiry::Silence(message)) if *message != self.invite => {
                self.expire_call(*message, changes);
            }
            SystemEvent::InvitationExpired(_) => self.fail(at),
            SystemEvent::DeadlineMissed { commitment, .. } => self.change(*commitment, changes, |c| c.miss(at)),
            SystemEvent::ReviewElapsed { commitment, .. } => self.confirm(*commitment, at, changes),
            SystemEvent::DurationElapsed { .. } => {
                self.close(Outcome::Timeout, at, changes);
            }
            SystemEvent::GraceElapsed { outcome } | SystemEvent::OperatorResolved { outcome: Some(outcome) } => {
                self.close(*outcome, at, changes);
            }
            SystemEvent::OperatorResolved { outcome: None } => self.resume(at),
            SystemEvent::ConsentRevoked { .. } => self.escalate(),
            SystemEvent::DisputeDecided { dispute, .. } => self.decide(*dispute, at, changes),
            SystemEvent::HostMoved { .. } => {}
        }
    }

    fn expire_call(&mut self, message: MessageId, changes: &mut Changes) {
        let called = |call: &super::Calling| call.message == message;
        let waits = self.participants.iter().find(|p| !p.joined && p.calling.as_ref().is_some_and(called));
        if let Some(delegate) = waits.map(|participant| participant.id) {
            self.drop_delegate(delegate, changes);
        }
    }

    /// Back to the saved state. Whoever still had to answer gets the whole time again; `fulfil_until` and
    /// `review_until` grant `grace` from here.
    fn resume(&mut self, at: Timestamp) {
        self.state = self.saved.take().unwrap_or(State::Conversing);
        self.resumed_at = Some(at);
        let answer_by = at + self.windows.answer_within;
        if self.state == State::Invited {
            self.answer_by = answer_by;
        }
        let waiting = self.participants.iter_mut().filter(|p| p.role == Role::Delegate && !p.joined && !p.dropped);
        for calling in waiting.filter_map(|participant| participant.calling.as_mut()) {
            calling.answer_by = answer_by;
        }
    }
}
