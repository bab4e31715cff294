//! The levels and what each lets an agent do.
//!
//! Source: docs/spec/protocol.md section 5, the table.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::score::Score;

/// A level of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names of docs/spec/protocol.md section 5")]
pub enum Level {
    Probation,
    Verified,
    Established,
    Trusted,
    Premium,
    /// Assigned by the operator to the cell's own agents; never reached, never seen across a border.
    Infrastructure,
}

/// What a level says of escrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscrowDuty {
    /// Always.
    Required,
    /// On unless both opt out.
    Recommended,
    /// As the parties like.
    Optional,
    /// Not asked for.
    NotRequired,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Probation, Self::Verified, Self::Established, Self::Trusted, Self::Premium, Self::Infrastructure];

    /// The level of a score.
    #[must_use]
    pub fn of(score: Score) -> Self {
        let reached = |level: &Self| level.from().is_some_and(|from| score.hundredths() >= u16::from(from) * 100);
        Self::ALL.into_iter().rev().find(reached).unwrap_or(Self::Probation)
    }

    /// The least score; none for the assigned one.
    #[must_use]
    pub const fn from(self) -> Option<u8> {
        match self {
            Self::Probation => Some(0),
            Self::Verified => Some(20),
            Self::Established => Some(50),
            Self::Trusted => Some(75),
            Self::Premium => Some(90),
            Self::Infrastructure => None,
        }
    }

    /// 0 to 5.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Probation => 0,
            Self::Verified => 1,
            Self::Established => 2,
            Self::Trusted => 3,
            Self::Premium => 4,
            Self::Infrastructure => 5,
        }
    }

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Probation => "Probation",
            Self::Verified => "Verified",
            Self::Established => "Established",
            Self::Trusted => "Trusted",
            Self::Premium => "Premium",
            Self::Infrastructure => "Infrastructure",
        }
    }

    /// The most that an amount, and all payments of a session together, may be worth, in USD; none: unlimited.
    #[must_use]
    pub const fn ceiling(self) -> Option<i64> {
        match self {
            Self::Probation => Some(100),
            Self::Verified => Some(1_000),
            Self::Established => Some(10_000),
            Self::Trusted => Some(100_000),
            Self::Premium => Some(1_000_000),
            Self::Infrastructure => None,
        }
    }

    /// The same as answers show it: a money object, null where it is unlimited.
    #[must_use]
    pub fn ceiling_view(self) -> Value {
        json!(self.ceiling().map(|usd| json!({"amount": format!("{usd}.00"), "currency": "USD"})))
    }

    /// How many sessions may be opened in a rolling 24 h; none: unlimited.
    #[must_use]
    pub const fn sessions_a_day(self) -> Option<u32> {
        match self {
            Self::Probation => Some(3),
            Self::Verified => Some(50),
            Self::Established => Some(500),
            Self::Trusted => Some(5_000),
            Self::Premium | Self::Infrastructure => None,
        }
    }

    /// What it says of escrow.
    #[must_use]
    pub const fn escrow(self) -> EscrowDuty {
        match self {
            Self::Probation => EscrowDuty::Required,
            Self::Verified => EscrowDuty::Recommended,
            Self::Established | Self::Trusted | Self::Premium => EscrowDuty::Optional,
            Self::Infrastructure => EscrowDuty::NotRequired,
        }
    }
}
