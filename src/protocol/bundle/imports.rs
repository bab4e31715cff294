//! A cell's word of what it has imported from another, for a session or for an organisation's day.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::leaf::Day;
use crate::crypto::digest::Digest;
use crate::crypto::json::canonical;
use crate::crypto::jws::Kind;
use crate::protocol::ids::{CellId, OrgName, SessionId};
use crate::protocol::statement::Statement;
use crate::protocol::time::Timestamp;

/// Most entries in a bundle, and in a statement.
pub const MAX_LISTED: usize = 10_000;

/// What a bundle is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Selection {
    /// All that left of one session.
    Session {
        /// The session.
        session: SessionId,
    },
    /// All that left of an organisation's data on one day.
    Day {
        /// Whose data.
        organisation: OrgName,
        /// The day, in UTC.
        day: Day,
    },
}

impl Selection {
    /// Its members.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Session { session } => json!({"session": session}),
            Self::Day { organisation, day } => json!({"organisation": organisation, "day": day}),
        }
    }

    /// The one that a document names.
    #[must_use]
    pub fn of(document: &Value) -> Option<Self> {
        let member = |name: &str| document.get(name).and_then(Value::as_str);
        match (member("session"), member("organisation"), member("day")) {
            (Some(session), None, None) => Some(Self::Session { session: session.parse().ok()? }),
            (None, Some(organisation), Some(day)) => {
                Some(Self::Day { organisation: organisation.parse().ok()?, day: day.parse().ok()? })
            }
            _ => None,
        }
    }

    /// SHA-256 of its RFC 8785 text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&[canonical(&self.to_json()).as_bytes()])
    }
}

/// What a cell has imported from another: JWS of kind `imports`. It speaks of what came from its reader alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Imports {
    /// Who says so.
    pub cell: CellId,
    /// To whom, and from whom it came.
    pub to: CellId,
    /// Whether it is the question: then what follows `selection` is empty.
    pub asks: bool,
    /// Of what.
    pub selection: Selection,
    /// How many entries its import ledger has of it.
    pub count: u64,
    /// What they sum to in bytes.
    pub bytes: u64,
    /// The envelope hash of each, sorted; at most [`MAX_LISTED`].
    pub envelopes: Vec<Digest>,
    /// The signed checkpoint of its import ledger (C2SP signed note).
    pub checkpoint: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Statement for Imports {
    const KIND: Kind = Kind::Imports;
}
