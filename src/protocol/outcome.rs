//! How a session ended: the closer's word, and what the commitments make of it.
//!
//! The recorded outcome is derived, so that nobody can claim a success that nothing carries. Knows nothing of
//! sessions. Source: docs/spec/protocol.md section 3, docs/spec/details.md section 3 ("The recorded outcome").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::commitment::{Commitment, Status};
use super::ids::BadName;

/// The outcome of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the words of docs/spec/protocol.md section 3")]
pub enum Outcome {
    Success,
    PartialSuccess,
    Failure,
    Timeout,
    Escalation,
    Cancellation,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Success, Self::PartialSuccess, Self::Failure, Self::Timeout, Self::Escalation, Self::Cancellation];

    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::PartialSuccess => "partialSuccess",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
            Self::Escalation => "escalation",
            Self::Cancellation => "cancellation",
        }
    }

    /// What is recorded when somebody closes with this word.
    #[must_use]
    pub fn derived(self, commitments: &[Commitment]) -> Self {
        let tally = Tally::of(commitments);
        if tally.all_settled() {
            return Self::Success;
        }
        match self {
            Self::Success | Self::PartialSuccess if tally.made > 0 && tally.settled == 0 => Self::Failure,
            Self::Success | Self::PartialSuccess => Self::PartialSuccess,
            Self::Failure | Self::Timeout | Self::Escalation | Self::Cancellation => self,
        }
    }

    /// What is recorded when nobody closes: all settled success, some partial, none failure.
    #[must_use]
    pub fn of_silence(commitments: &[Commitment]) -> Self {
        Self::Success.derived(commitments)
    }
}

/// What became of the commitments.
struct Tally {
    made: usize,
    settled: usize,
    /// Neither settled nor left out (rejected, withdrawn).
    unsettled: usize,
}

impl Tally {
    fn of(commitments: &[Commitment]) -> Self {
        let mut tally = Self { made: commitments.len(), settled: 0, unsettled: 0 };
        for commitment in commitments {
            match commitment.status {
                Status::Settled => tally.settled += 1,
                Status::Rejected | Status::Withdrawn => {}
                Status::Pending
                | Status::Accepted
                | Status::Escrowed
                | Status::Claimed
                | Status::Fulfilled
                | Status::Contested
                | Status::Breached => tally.unsettled += 1,
            }
        }
        tally
    }

    const fn all_settled(&self) -> bool {
        self.settled > 0 && self.unsettled == 0
    }
}

impl FromStr for Outcome {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let expected = BadName("success, partialSuccess, failure, timeout, escalation or cancellation");
        Self::ALL.into_iter().find(|outcome| outcome.name() == text).ok_or(expected)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
