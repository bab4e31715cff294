//! What goes wrong in a test: a cell refused, could not be reached, or answered what the contract does not allow.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::protocol::ids::CellId;
use crate::protocol::refusal::Refusal;

/// Why the test kit could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A cell said no.
    #[error("refused: {0}")]
    Refused(Problem),
    /// No answer came, or not all of it: whether the request was carried out is not known.
    #[error("no answer: {0}")]
    Lost(#[from] reqwest::Error),
    /// The answer is not what the contract promises.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// It did not happen in time.
    #[error("still waiting for {0}")]
    Overdue(String),
    /// A cell could not be made, started or asked.
    #[error("cell {cell}: {why}")]
    Cell {
        /// Which one.
        cell: CellId,
        /// What happened.
        why: String,
    },
    /// The topology makes no sense as described.
    #[error("the topology: {0}")]
    Topology(String),
}

impl Failure {
    /// The refusal, if it was one.
    #[must_use]
    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Lost(_) | Self::Unexpected(_) | Self::Overdue(_) | Self::Cell { .. } | Self::Topology(_) => None,
        }
    }

    /// The refusal's code; empty if it was none.
    #[must_use]
    pub fn code(&self) -> &str {
        self.problem().map_or("", Problem::code)
    }

    /// Whether the same request may succeed when it is made again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.is_retryable(),
            Self::Lost(_) => true,
            Self::Unexpected(_) | Self::Overdue(_) | Self::Cell { .. } | Self::Topology(_) => false,
        }
    }

    pub(super) fn cell(cell: &CellId, why: impl fmt::Display) -> Self {
        Self::Cell { cell: cell.clone(), why: why.to_string() }
    }

    pub(super) fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::Topology(format!("{}: {error}", path.display()))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Problem(refusal.problem()))
    }
}

/// A problem document (RFC 9457; docs/spec/details.md S1).
#[derive(Debug, Clone, PartialEq)]
pub struct Problem(pub Value);

impl Problem {
    /// Its code.
    #[must_use]
    pub fn code(&self) -> &str {
        self.text("code")
    }

    /// What was wrong and what would be right.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.text("detail")
    }

    /// Its HTTP status.
    #[must_use]
    pub fn status(&self) -> u64 {
        self.0.get("status").and_then(Value::as_u64).unwrap_or(0)
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.get("retryable").and_then(Value::as_bool).unwrap_or(false)
    }

    fn text(&self, member: &str) -> &str {
        self.0.get(member).and_then(Value::as_str).unwrap_or_default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.detail())
    }
}
