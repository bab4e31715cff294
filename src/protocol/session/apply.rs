//! Moving on by one record.
//!
//! Deterministic: host and members that apply the same records hold the same session. It does not judge; a record
//! that acts on nothing known changes the head alone. Source: docs/spec/protocol.md sections 3 and 4.

use super::references::Aim;
use super::{Act, Head, Session, State};
use crate::protocol::escrow::Move;
use crate::protocol::ids::{CommitmentId, DisputeId, MessageId, ParticipantId};
use crate::protocol::json::Json;
use crate::protocol::performative::Performative;
use crate::protocol::record::{Record, Sender};
use crate::protocol::refusal::Refusal;
use crate::protocol::terms::{Body, SystemEvent};

/// What a record says to the session.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A message of an agent.
    Act(Box<Act>),
    /// A system event of the host.
    System(SystemEvent),
}

impl Event {
    /// Reads a record, own or from the host; a DELEGATE still wants its `newcomer`.
    pub fn of(record: &Record) -> Result<Self, Refusal> {
        match (record.performative, &record.sender) {
            (Performative::System, Sender::Cell(_)) => {
                SystemEvent::parse(record.terms.as_ref().map(Json::value).as_ref()).map(Self::System)
            }
            (_, Sender::Participant(sender)) if record.performative != Performative::System => {
                Act::of_record(record, *sender).map(|act| Self::Act(Box::new(act)))
            }
            (_, Sender::Participant(_) | Sender::Cell(_)) => {
                Err(Refusal::invalid("/sender", "a participant, or the host cell in a SYSTEM record"))
            }
        }
    }
}

/// What a record changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Commitments made or moved.
    pub commitments: Vec<CommitmentId>,
    /// Offers made or moved.
    pub offers: Vec<MessageId>,
    /// Participants who came, joined, were replaced or dropped.
    pub participants: Vec<ParticipantId>,
    /// Escrows that ended, each once.
    pub moves: Vec<Move>,
    /// Disputes opened or decided.
    pub disputes: Vec<DisputeId>,
}

impl Changes {
    /// None, in this state.
    #[must_use]
    pub const fn none(state: State) -> Self {
        Self {
            from: state,
            to: state,
            commitments: Vec::new(),
            offers: Vec::new(),
            participants: Vec::new(),
            moves: Vec::new(),
            disputes: Vec::new(),
        }
    }

    /// Notes a commitment, once.
    pub(super) fn note(&mut self, id: CommitmentId) {
        if !self.commitments.contains(&id) {
            self.commitments.push(id);
        }
    }

    /// Whether the session ended with this record.
    #[must_use]
    pub const fn ended(&self) -> bool {
        self.to.is_final()
    }
}

impl Session {
    /// Moves on by one record, whose place is `head`.
    pub fn apply(&mut self, event: &Event, head: Head) -> Changes {
        let mut changes = Changes::none(self.shown_state());
        match event {
            Event::Act(act) => self.act(act, head, &mut changes),
            Event::System(event) => self.happen(event, head.timestamp, &mut changes),
        }
        self.head = head;
        self.refreeze(&mut changes);
        self.end_escrows(&mut changes);
        self.settle(head.timestamp);
        changes.to = self.shown_state();
        changes
    }

    /// Changes of none, for what happens beside the chain.
    pub(super) fn nothing_changed(&self) -> Changes {
        Changes::none(self.shown_state())
    }

    fn act(&mut self, act: &Act, head: Head, changes: &mut Changes) {
        let at = head.timestamp;
        let aim = self.aim(act, at).unwrap_or(Aim::Nothing);
        self.tokens = self.tokens.saturating_add(act.terms.tokens);
        match &act.terms.body {
            Body::Propose(offered) | Body::Counter(offered) => self.offer(act, offered, changes),
            Body::Query(_) | Body::Inform(_) | Body::Clarify(_) => self.converse(),
            Body::Ask(constraints, _) if aim == Aim::Agreed => {
                self.put_in_force(act.message_id, constraints, at, changes);
            }
            Body::Ask(_, asked) => {
                self.asked.retain(|(by, _)| *by != act.sender);
                self.asked.push((act.sender, *asked));
            }
            Body::Accept => self.accept(aim, act.sender, at, changes),
            Body::Reject(_) => self.reject(act, aim, head, changes),
            Body::Commit(pledge) => self.commit(act, pledge, aim, head, changes),
            Body::Fulfill(_) => {
                if let Aim::Due(id) = aim {
                    self.fulfil(id, act.message_id, at, changes);
                }
            }
            Body::Withdraw(_) => self.withdraw(aim, at, changes),
            Body::Delegate(delegation) => self.call(act, delegation, head, changes),
            Body::Escalate(_) => self.escalate(),
            Body::Close(close) => {
                self.close(close.outcome, at, changes);
                if let Some(rating) = close.rating {
                    self.rate_all(act.sender, rating);
                }
            }
            Body::Introduce => self.introduce(act.sender, changes),
            Body::Decline(_) => self.decline(act.sender, at, changes),
            Body::Invite { .. } | Body::Rate { .. } | Body::System(_) => {}
        }
    }
}
