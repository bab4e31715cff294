//! The transition table: what each seat may send in each state, and where it may lead.
//!
//! The one place where that is decided; conditions on what a message names are in `references`. A new state or
//! performative does not compile until it has its row here. `tests/transition_table.rs` prints it as a reviewed file.
//! Source: docs/spec/protocol.md section 3, docs/spec/details.md sections 2 and 3.

use super::party::Seat;
use super::state::State;
use crate::protocol::performative::Performative;
use crate::protocol::terms::{Expiry, SystemEvent};

/// The states that an act may lead to; none: it is refused.
type Moves = &'static [State];

const REFUSED: Moves = &[];

/// Where a message may lead.
#[must_use]
pub const fn moves(state: State, performative: Performative, seat: Seat) -> Moves {
    match state {
        State::Invited => invited(performative, seat),
        State::Introduced => in_course(state, introduced(performative), performative, seat),
        State::Conversing => in_course(state, conversing(performative), performative, seat),
        State::Agreeing => in_course(state, agreeing(performative), performative, seat),
        State::Executing => in_course(state, executing(performative), performative, seat),
        State::Escalated => in_course(state, escalated(performative), performative, seat),
        State::Closed | State::Failed => REFUSED,
    }
}

/// Invitees answer or ask for other constraints; the inviter consents to them or withdraws.
const fn invited(performative: Performative, seat: Seat) -> Moves {
    match performative {
        Performative::Introduce if matches!(seat, Seat::Invited) => &[State::Invited, State::Introduced],
        Performative::Decline if matches!(seat, Seat::Invited) => &[State::Failed],
        Performative::Counter if matches!(seat, Seat::Inviter | Seat::Invited | Seat::Invitee) => &[State::Invited],
        Performative::Withdraw if matches!(seat, Seat::Inviter) => &[State::Failed],
        Performative::Introduce
        | Performative::Decline
        | Performative::Counter
        | Performative::Withdraw
        | Performative::Propose
        | Performative::Accept
        | Performative::Reject
        | Performative::Commit
        | Performative::Fulfill
        | Performative::Inform
        | Performative::Query
        | Performative::Clarify
        | Performative::Delegate
        | Performative::Escalate
        | Performative::Close
        | Performative::Invite
        | Performative::Rate
        | Performative::System => REFUSED,
    }
}

/// After INVITED all who have joined may the same; a delegate who was called may answer, and the session goes on
/// meanwhile; whoever was replaced only reads.
const fn in_course(state: State, joined: Moves, performative: Performative, seat: Seat) -> Moves {
    match seat {
        Seat::Inviter | Seat::Invitee | Seat::Delegate => joined,
        Seat::Called if matches!(performative, Performative::Introduce | Performative::Decline) => waiting(state),
        Seat::Called | Seat::Invited | Seat::Replaced | Seat::Stranger => REFUSED,
    }
}

/// A delegate's answer moves nothing.
const fn waiting(state: State) -> Moves {
    match state {
        State::Conversing => &[State::Conversing],
        State::Agreeing => &[State::Agreeing],
        State::Executing => &[State::Executing],
        State::Invited | State::Introduced | State::Escalated | State::Closed | State::Failed => REFUSED,
    }
}

const fn introduced(performative: Performative) -> Moves {
    match performative {
        Performative::Propose | Performative::Query | Performative::Inform | Performative::Clarify => {
            &[State::Conversing]
        }
        Performative::Escalate => &[State::Escalated],
        Performative::Close => &[State::Closed],
        Performative::Accept
        | Performative::Reject
        | Performative::Counter
        | Performative::Commit
        | Performative::Fulfill
        | Performative::Delegate
        | Performative::Withdraw
        | Performative::Introduce
        | Performative::Decline
        | Performative::Invite
        | Performative::Rate
        | Performative::System => REFUSED,
    }
}

const fn conversing(performative: Performative) -> Moves {
    match performative {
        Performative::Propose
        | Performative::Counter
        | Performative::Accept
        | Performative::Reject
        | Performative::Query
        | Performative::Inform
        | Performative::Clarify
        | Performative::Delegate
        | Performative::Withdraw => &[State::Conversing],
        Performative::Commit => &[State::Executing, State::Agreeing],
        Performative::Escalate => &[State::Escalated],
        Performative::Close => &[State::Closed],
        Performative::Fulfill
        | Performative::Introduce
        | Performative::Decline
        | Performative::Invite
        | Performative::Rate
        | Performative::System => REFUSED,
    }
}

/// CLOSE only with nothing accepted; ACCEPT, REJECT and WITHDRAW leave it with the last pending
/// commitment.
const fn agreeing(performative: Performative) -> Moves {
    match performative {
        Performative::Accept => &[State::Agreeing, State::Executing],
        // What is pending stays so, whatever is added.
        Performative::Commit => &[State::Agreeing],
        Performative::Reject | Performative::Withdraw => &[State::Agreeing, State::Conversing, State::Executing],
        Performative::Counter | Performative::Query | Performative::Inform | Performative::Clarify => {
            &[State::Agreeing]
        }
        Performative::Escalate => &[State::Escalated],
        Performative::Close => &[State::Closed],
        Performative::Propose
        | Performative::Fulfill
        | Performative::Delegate
        | Performative::Introduce
        | Performative::Decline
        | Performative::Invite
        | Performative::Rate
        | Performative::System => REFUSED,
    }
}

/// CLOSE only when every commitment is final.
const fn executing(performative: Performative) -> Moves {
    match performative {
        Performative::Propose
        | Performative::Counter
        | Performative::Accept
        | Performative::Reject
        | Performative::Commit
        | Performative::Fulfill
        | Performative::Query
        | Performative::Inform
        | Performative::Clarify
        | Performative::Delegate
        | Performative::Withdraw => &[State::Executing],
        Performative::Escalate => &[State::Escalated],
        Performative::Close => &[State::Closed],
        Performative::Introduce
        | Performative::Decline
        | Performative::Invite
        | Performative::Rate
        | Performative::System => REFUSED,
    }
}

const fn escalated(performative: Performative) -> Moves {
    match performative {
        Performative::Inform | Performative::Query => &[State::Escalated],
        Performative::Propose
        | Performative::Accept
        | Performative::Reject
        | Performative::Counter
        | Performative::Commit
        | Performative::Fulfill
        | Performative::Clarify
        | Performative::Delegate
        | Performative::Escalate
        | Performative::Withdraw
        | Performative::Close
        | Performative::Introduce
        | Performative::Decline
        | Performative::Invite
        | Performative::Rate
        | Performative::System => REFUSED,
    }
}

/// Where a system event may lead; nothing falls due in ESCALATED, where an operator decides.
#[must_use]
pub const fn system_moves(state: State, event: &SystemEvent) -> Moves {
    match event {
        SystemEvent::InvitationExpired(Expiry::Silence(_)) => expired(state),
        SystemEvent::InvitationExpired(Expiry::Refused(_)) => only(state, State::Invited, &[State::Failed]),
        SystemEvent::DeadlineMissed { .. } => match state {
            State::Agreeing => &[State::Agreeing, State::Conversing, State::Executing],
            State::Executing => &[State::Executing],
            State::Invited
            | State::Introduced
            | State::Conversing
            | State::Escalated
            | State::Closed
            | State::Failed => REFUSED,
        },
        SystemEvent::ReviewElapsed { .. } => only(state, State::Executing, &[State::Executing]),
        SystemEvent::GraceElapsed { .. } => only(state, State::Executing, &[State::Closed]),
        SystemEvent::DurationElapsed { .. } if state.is_timed() => &[State::Closed],
        SystemEvent::ConsentRevoked { .. } if !state.is_final() => &[State::Escalated],
        SystemEvent::OperatorResolved { outcome: Some(_) } => only(state, State::Escalated, &[State::Closed]),
        SystemEvent::OperatorResolved { outcome: None } => only(
            state,
            State::Escalated,
            &[State::Invited, State::Introduced, State::Conversing, State::Agreeing, State::Executing],
        ),
        SystemEvent::DisputeDecided { .. } => match state {
            State::Executing => &[State::Executing],
            State::Escalated => &[State::Escalated],
            State::Invited
            | State::Introduced
            | State::Conversing
            | State::Agreeing
            | State::Closed
            | State::Failed => REFUSED,
        },
        // A move of the host comes with its own document, of which no session knows any yet.
        SystemEvent::DurationElapsed { .. } | SystemEvent::ConsentRevoked { .. } | SystemEvent::HostMoved { .. } => {
            REFUSED
        }
    }
}

/// The invitation fails; a delegate's is dropped and moves nothing.
const fn expired(state: State) -> Moves {
    match state {
        State::Invited => &[State::Failed],
        State::Conversing | State::Agreeing | State::Executing => waiting(state),
        State::Introduced | State::Escalated | State::Closed | State::Failed => REFUSED,
    }
}

const fn only(state: State, wanted: State, moves: Moves) -> Moves {
    if state as u8 == wanted as u8 { moves } else { REFUSED }
}
