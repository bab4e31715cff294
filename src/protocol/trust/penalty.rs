//! The penalty Λ: breaches add to it, success and time take and give.
//!
//! What is kept is what was booked and since when nothing was completed; idle time is added at read time and booked
//! when the next session closes. Source: docs/spec/details.md section 5.

use serde::{Deserialize, Serialize};

use crate::protocol::outcome::Outcome;
use crate::protocol::time::Timestamp;

const IDLE_PER_DAY: f64 = 0.005;
const PER_SEVERITY: f64 = 0.5;
const CREDIT: f64 = 0.005;

/// Λ as it is booked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Penalty {
    /// Booked, without the idle time since.
    pub booked: f64,
    /// The last session that reached CLOSED, else the registration.
    pub since: Timestamp,
}

impl Penalty {
    /// Nothing booked.
    #[must_use]
    pub const fn none(since: Timestamp) -> Self {
        Self { booked: 0.0, since }
    }

    /// Λ at a moment, idle time included; books nothing.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> f64 {
        self.booked + IDLE_PER_DAY * days(self.since, now)
    }

    /// A session reached CLOSED: `Λ = max(0, Λ + 0.005·days − credit)`.
    pub fn close(&mut self, at: Timestamp, credit: f64) {
        self.booked = (self.at(at) - credit).max(0.0);
        self.since = at;
    }

    /// A session closed, as another cell than the agent's own sees it: the credit alone, for it knows of no idle time.
    pub fn take_off(&mut self, at: Timestamp, credit: f64) {
        self.booked = (self.booked - credit).max(0.0);
        self.since = at;
    }

    /// A session's credit is found to be larger by so much, or smaller.
    pub fn recount(&mut self, change: f64) {
        self.booked = (self.booked - change).max(0.0);
    }

    /// A breach booked before is reversed.
    pub fn reverse(&mut self, severity: u8) {
        self.booked = (self.booked - PER_SEVERITY * f64::from(severity)).max(0.0);
    }

    /// A breach of a severity; books nothing of the idle time.
    pub fn breach(&mut self, severity: u8) {
        self.booked += PER_SEVERITY * f64::from(severity);
    }
}

/// What a closed session counts in `n`: derived success without a breach, half inside one organisation.
#[must_use]
pub fn weight(outcome: Outcome, breach: bool, one_organisation: bool) -> f64 {
    match outcome {
        Outcome::Success if !breach => {
            if one_organisation {
                0.5
            } else {
                1.0
            }
        }
        Outcome::Success
        | Outcome::PartialSuccess
        | Outcome::Failure
        | Outcome::Timeout
        | Outcome::Escalation
        | Outcome::Cancellation => 0.0,
    }
}

/// What a session of that weight takes off Λ.
#[must_use]
pub fn credit(weight: f64) -> f64 {
    CREDIT * weight
}

/// Days of 86,400,000 ms, fractional, never negative.
#[allow(clippy::cast_precision_loss, reason = "milliseconds of a lifetime stay far below 2^53")]
fn days(from: Timestamp, to: Timestamp) -> f64 {
    ((to - from).0.max(0) as f64) / 86_400_000.0
}
