//! The score: two decimals, floored, compared exactly.
//!
//! Source: docs/spec/details.md section 5, first entry.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A score from 0.00 to 99.90, in hundredths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Score(u16);

impl Score {
    /// The highest.
    pub const MAX: Self = Self(9_990);

    /// T = Base · e^(−Λ), clamped to [0, 99.9].
    #[must_use]
    pub fn unfloored(base: f64, penalty: f64) -> f64 {
        (base * (-penalty).exp()).clamp(0.0, 99.9)
    }

    /// The score of a base under a penalty.
    #[must_use]
    pub fn of(base: f64, penalty: f64) -> Self {
        Self::floored(Self::unfloored(base, penalty))
    }

    /// `floor(100·T + 10⁻⁶)/100`: what a double falls short of by less than 10⁻⁸ counts as reached.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 9,990 by the clamp")]
    pub fn floored(t: f64) -> Self {
        Self((100.0 * t.clamp(0.0, 99.9) + 1e-6).floor() as u16)
    }

    /// In hundredths.
    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// As a number with two decimals.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl fmt::Debug for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
