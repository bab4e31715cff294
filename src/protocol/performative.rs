//! The performatives: the thirteen an agent may send in a session, and the signed messages around them.
//!
//! Source: docs/spec/protocol.md sections 2 and 3.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{BadName, SessionId};

/// What a record says. The thirteen come first; the rest open a session, answer it, rate it, or are the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the names are the field's own words, defined in docs/spec/protocol.md section 3")]
pub enum Performative {
    Propose,
    Accept,
    Reject,
    Counter,
    Commit,
    Fulfill,
    Inform,
    Query,
    Clarify,
    Delegate,
    Escalate,
    Withdraw,
    Close,
    Invite,
    Introduce,
    Decline,
    Rate,
    System,
}

impl Performative {
    /// The thirteen, in the order the discovery document lists them.
    pub const THIRTEEN: [Self; 13] = [
        Self::Propose,
        Self::Accept,
        Self::Reject,
        Self::Counter,
        Self::Commit,
        Self::Fulfill,
        Self::Inform,
        Self::Query,
        Self::Clarify,
        Self::Delegate,
        Self::Escalate,
        Self::Withdraw,
        Self::Close,
    ];

    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Propose => "PROPOSE",
            Self::Accept => "ACCEPT",
            Self::Reject => "REJECT",
            Self::Counter => "COUNTER",
            Self::Commit => "COMMIT",
            Self::Fulfill => "FULFILL",
            Self::Inform => "INFORM",
            Self::Query => "QUERY",
            Self::Clarify => "CLARIFY",
            Self::Delegate => "DELEGATE",
            Self::Escalate => "ESCALATE",
            Self::Withdraw => "WITHDRAW",
            Self::Close => "CLOSE",
            Self::Invite => "INVITE",
            Self::Introduce => "INTRODUCE",
            Self::Decline => "DECLINE",
            Self::Rate => "RATE",
            Self::System => "SYSTEM",
        }
    }

    /// The path of the call, at its sender's own cell, that it is sent by and its proof names
    /// (docs/spec/details.md section 1).
    #[must_use]
    pub fn path(self, session: SessionId) -> String {
        let sessions = "/v1/asp/sessions";
        match self {
            Self::Invite => sessions.to_owned(),
            Self::Introduce | Self::Decline => format!("{sessions}/{session}/answer"),
            Self::Rate => format!("{sessions}/{session}/ratings"),
            Self::Propose
            | Self::Accept
            | Self::Reject
            | Self::Counter
            | Self::Commit
            | Self::Fulfill
            | Self::Inform
            | Self::Query
            | Self::Clarify
            | Self::Delegate
            | Self::Escalate
            | Self::Withdraw
            | Self::Close
            | Self::System => format!("{sessions}/{session}/messages"),
        }
    }

    /// Whether `seen` is required (docs/spec/protocol.md section 2).
    #[must_use]
    pub const fn needs_seen(self) -> bool {
        matches!(self, Self::Accept | Self::Commit | Self::Fulfill | Self::Close)
    }

    /// Whether `allowedPerformatives` can never exclude it (docs/spec/protocol.md section 3).
    #[must_use]
    pub const fn never_excluded(self) -> bool {
        matches!(self, Self::Close | Self::Escalate | Self::Withdraw | Self::Reject)
    }
}

impl FromStr for Performative {
    type Err = BadName;
    /// Reads one of the thirteen; the others are never sent by name.
    fn from_str(text: &str) -> Result<Self, BadName> {
        let found = Self::THIRTEEN.into_iter().find(|p| p.name() == text);
        found.ok_or(BadName("one of the thirteen performatives"))
    }
}

impl fmt::Display for Performative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
