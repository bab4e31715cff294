//! A member's operator asks the host's to resolve a session that stands still.
//!
//! A statement alone; who keeps it, and until when, is the engine's. Source: docs/spec/details.md section 3
//! ("ESCALATED: the host's operator resolves, a member's can only `--request`").

use serde::{Deserialize, Serialize};

use super::ids::{CellId, SessionId};
use super::refusal::Refusal;
use super::statement::Statement;
use super::time::Timestamp;
use crate::crypto::jws::Kind;

/// The longest reason, in characters.
pub const MAX_REASON: usize = 1_000;

/// What an operator asks for: JWS of kind `request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The member whose operator asks.
    pub cell: CellId,
    /// The host.
    pub to: CellId,
    /// The session.
    pub session_id: SessionId,
    /// Why, in the operator's words; at most [`MAX_REASON`] characters.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Statement for Request {
    const KIND: Kind = Kind::Request;
}

impl Request {
    /// Refuses a reason that says nothing or too much.
    ///
    /// # Errors
    /// `validation_failed` at `/reason`.
    pub fn check(&self) -> Result<(), Refusal> {
        if !self.reason.trim().is_empty() && self.reason.chars().count() <= MAX_REASON {
            return Ok(());
        }
        Err(Refusal::invalid("/reason", format!("why, in at most {MAX_REASON} characters")))
    }
}
