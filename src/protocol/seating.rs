//! The host's word on how a session stood before the DELEGATE that calls somebody of a cell with no part in it yet.
//!
//! That cell has no earlier record and cannot derive the state: it takes the host's, which signs for it, and so can
//! be held to it. Source: docs/spec/details.md section 3 ("otherwise the newcomer's chain starts there").

use serde::{Deserialize, Serialize};

use super::ids::{CellId, MessageId, ParticipantId, SessionId};
use super::statement::Statement;
use super::time::Timestamp;
use crate::crypto::digest::Digest;
use crate::crypto::jws::Kind;

/// How a session stood: JWS of kind `seating`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seating {
    /// The host.
    pub cell: CellId,
    /// The newcomer's cell.
    pub to: CellId,
    /// The session.
    pub session_id: SessionId,
    /// The DELEGATE.
    pub message_id: MessageId,
    /// Whom it calls.
    pub delegate: ParticipantId,
    /// The place of the record before it.
    pub sequence: u64,
    /// That record's hash.
    pub hash: Digest,
    /// SHA-256 of the state as it was sent.
    pub state: Digest,
    /// When.
    pub at: Timestamp,
}

impl Statement for Seating {
    const KIND: Kind = Kind::Seating;
}
