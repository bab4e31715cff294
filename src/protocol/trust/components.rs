//! The eight components of the base, each 0 to 100; one without data is 0.
//!
//! Source: docs/spec/protocol.md section 5, docs/spec/details.md section 5.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::protocol::time::Span;

/// How well an agent's identity is established.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Identity {
    /// An api key.
    ApiKey,
    /// A DPoP-bound key.
    BoundKey,
    /// And its organisation's domain is verified.
    Domain,
    /// And its enterprise vouches for it by SCIM.
    Scim,
}

impl Identity {
    /// IV, which is also `identityLevel`.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Self::ApiKey => 20,
            Self::BoundKey => 50,
            Self::Domain => 75,
            Self::Scim => 100,
        }
    }
}

/// The components of a base.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[allow(missing_docs, reason = "named and explained in docs/spec/protocol.md section 5")]
pub struct Components {
    pub iv: f64,
    pub cf: f64,
    pub ch: f64,
    pub bc: f64,
    pub rq: f64,
    pub sp: f64,
    pub er: f64,
    pub pe: f64,
}

impl Components {
    /// Names and weights, in the formula's order.
    pub const WEIGHTS: [(&'static str, f64); 8] = [
        ("IV", 0.20),
        ("CF", 0.20),
        ("CH", 0.15),
        ("BC", 0.10),
        ("RQ", 0.10),
        ("SP", 0.10),
        ("ER", 0.10),
        ("PE", 0.05),
    ];

    /// The values, in the formula's order.
    #[must_use]
    pub const fn values(&self) -> [f64; 8] {
        [self.iv, self.cf, self.ch, self.bc, self.rq, self.sp, self.er, self.pe]
    }

    /// The weighted sum.
    #[must_use]
    pub fn base(&self) -> f64 {
        Self::WEIGHTS.iter().zip(self.values()).fold(0.0, |sum, ((_, weight), value)| sum + weight * value)
    }

    /// With two decimals, as answers show them.
    #[must_use]
    pub fn view(&self) -> Value {
        let member =
            |((name, _), value): (&(&str, f64), f64)| ((*name).to_owned(), json!((value * 100.0).round() / 100.0));
        Value::Object(Self::WEIGHTS.iter().zip(self.values()).map(member).collect())
    }
}

/// CF: of the commitments decided as obligor, those settled; late counts as settled.
#[must_use]
pub fn commitment_fulfilment(settled: u64, breached: u64) -> f64 {
    share(as_double(settled), as_double(settled.saturating_add(breached)))
}

/// CH: `n` successful sessions, those inside one organisation half.
#[must_use]
pub fn completed_history(n: f64) -> f64 {
    (15.0 * (1.0 + n).ln()).min(100.0)
}

/// BC: how even the last 50 response times are, in seconds.
#[must_use]
pub fn behavioural_consistency(seconds: &[f64]) -> f64 {
    let last = seconds.split_at(seconds.len().saturating_sub(50)).1;
    if last.is_empty() {
        return 0.0;
    }
    let count = as_double(last.len() as u64);
    let mean = last.iter().sum::<f64>() / count;
    if mean == 0.0 {
        return 100.0;
    }
    let variance = last.iter().map(|second| (second - mean).powi(2)).sum::<f64>() / count;
    100.0 * (1.0 - variance.sqrt() / mean).max(0.0)
}

/// RQ: the mean of rating share and success rate, of those with data.
#[must_use]
pub fn review_quality(ratings: u64, rating_sum: u64, successes: f64, closed: f64) -> f64 {
    let rated = share(as_double(rating_sum), 5.0 * as_double(ratings));
    let success = share(successes, closed);
    match (ratings > 0, closed > 0.0) {
        (true, true) => f64::midpoint(rated, success),
        (true, false) => rated,
        (false, true) => success,
        (false, false) => 0.0,
    }
}

/// SP: a young key, end-to-end encryption in use, an identity of at least a verified domain.
#[must_use]
pub fn security_posture(key_age: Span, end_to_end_ago: Option<Span>, identity: Identity) -> f64 {
    const WINDOW: Span = Span::days(90);
    let young = if key_age < WINDOW { 40.0 } else { 0.0 };
    let used = if end_to_end_ago.is_some_and(|ago| ago <= WINDOW) { 30.0 } else { 0.0 };
    let established = if identity >= Identity::Domain { 30.0 } else { 0.0 };
    young + used + established
}

/// ER: of the payments decided as payer, those settled in time.
#[must_use]
pub fn economic_reliability(in_time: u64, decided: u64) -> f64 {
    share(as_double(in_time), as_double(decided))
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

#[allow(clippy::cast_precision_loss, reason = "counts of an agent's life stay far below 2^53")]
const fn as_double(count: u64) -> f64 {
    count as f64
}
