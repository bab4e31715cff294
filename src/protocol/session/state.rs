//! The states of a session and the phases users know them by.
//!
//! Source: docs/spec/protocol.md section 3, docs/spec/details.md section 3 ("Phases").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::protocol::ids::BadName;

/// Where a session stands; the last two are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words of docs/spec/protocol.md section 3")]
pub enum State {
    Invited,
    Introduced,
    Conversing,
    Agreeing,
    Executing,
    Escalated,
    Closed,
    Failed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Invited,
        Self::Introduced,
        Self::Conversing,
        Self::Agreeing,
        Self::Executing,
        Self::Escalated,
        Self::Closed,
        Self::Failed,
    ];

    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invited => "INVITED",
            Self::Introduced => "INTRODUCED",
            Self::Conversing => "CONVERSING",
            Self::Agreeing => "AGREEING",
            Self::Executing => "EXECUTING",
            Self::Escalated => "ESCALATED",
            Self::Closed => "CLOSED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Closed | Self::Failed => true,
            Self::Invited
            | Self::Introduced
            | Self::Conversing
            | Self::Agreeing
            | Self::Executing
            | Self::Escalated => false,
        }
    }

    /// Whether `maxDuration` bounds it: after INVITED and before EXECUTING.
    #[must_use]
    pub const fn is_timed(self) -> bool {
        match self {
            Self::Introduced | Self::Conversing | Self::Agreeing => true,
            Self::Invited | Self::Executing | Self::Escalated | Self::Closed | Self::Failed => false,
        }
    }

    /// The phase; ESCALATED shows that of the state it returns to.
    #[must_use]
    pub fn phase(self, saved: Option<Self>) -> &'static str {
        match self {
            Self::Invited => "invite",
            Self::Introduced => "introduce",
            Self::Conversing => "converse",
            Self::Agreeing => "agree",
            Self::Executing => "execute",
            Self::Escalated => saved.filter(|saved| *saved != self).map_or("converse", |saved| saved.phase(None)),
            Self::Closed => "learn",
            Self::Failed => "close",
        }
    }
}

impl FromStr for State {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let expected = BadName("a state such as CONVERSING");
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or(expected)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
