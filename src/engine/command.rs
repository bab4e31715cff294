//! What the writer is asked to do, and what it answers: each command is decided and written in the order taken.

use serde_json::Value;

use super::inbound::Checked;
use super::operation::Operation;
use super::request::{Endorsing, Invitation, Noting, Registration, Submission};
use crate::protocol::ids::{AgentId, CellId, SessionId};
use crate::protocol::refusal::Refusal;
use crate::protocol::time::Timestamp;

/// One command.
#[derive(Debug)]
pub enum Command {
    /// Register an agent, or rotate its key.
    Register(Box<Registration>),
    /// Open a session.
    Invite(Box<Invitation>),
    /// Place a message, or queue it for its host.
    Submit(Box<Submission>),
    /// Take what an agent signed beside the chain, or queue it for the session's host.
    Beside(Box<Noting>),
    /// Take an agent's endorsement of another.
    Endorse(Box<Endorsing>),
    /// An operator's verb.
    Operate(Box<Operation>),
    /// Frames from a peer, already checked, in their order.
    Inbound(CellId, [u8; 16], Vec<(u64, Checked)>),
    /// What a peer put before its outbox, already checked.
    Urgent(CellId, Checked),
    /// A peer has taken what was put before its outbox under this key.
    UrgentTaken(CellId, [u8; 16]),
    /// A peer has everything up to this number.
    Acked(CellId, u64),
    /// A dispatch that may not be sent any more.
    Dead(CellId, u64, Refusal),
    /// A dispatch whose purpose is served.
    Spent(CellId, u64),
    /// A dispatch, and those behind it, that would not go as their entries in the export ledger say.
    Stale(CellId, u64),
    /// A link is up: what the peer says of itself.
    LinkUp(CellId, PeerSaid),
    /// A peer has this many frames, which contradicts what is known here: on from there if the operator agreed.
    Forward(CellId, u64, Refusal),
    /// An entry of the erasure ledger that the database does not know of.
    EraseAgain(Box<super::forgotten::Erased>),
    /// How an erasure stands whose intent is durable: it was carried on with before this is decided.
    EraseNow(uuid::Uuid),
    /// An epoch of the vault has ended, or may have: what it sealed is certified, some at a time.
    EpochEnded,
    /// What a witness, by its verifier key, has signed of the audit log: how much, the note, when.
    Witnessed(String, (u64, String, Timestamp)),
    /// Time has passed.
    Tick,
}

/// What a peer says of itself in its hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSaid {
    /// Its keys, a JWK set as JSON text.
    pub jwks: String,
    /// Base of its agents' `htu`.
    pub public_url: String,
}

/// What came of a command.
#[derive(Debug)]
pub enum Outcome {
    /// An agent's first registration or not.
    Registered(Result<(bool, AgentId), Refusal>),
    /// A message or invitation.
    Message(Result<Taken, Refusal>),
    /// An operator's verb, or an endorsement.
    Operated(Result<Value, Refusal>),
    /// The last number taken from the peer.
    Inbound(u64),
    /// Nothing to say.
    Done,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It has its place.
    Placed {
        /// The session.
        session: SessionId,
        /// Its sequence.
        sequence: u64,
        /// Whether it already had it.
        replayed: bool,
    },
    /// It waits for its host.
    Queued,
}
