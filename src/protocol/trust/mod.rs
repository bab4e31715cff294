//! Trust: the score of an agent, computed from recorded facts, never stored decayed.
//!
//! `T = Base · e^(−Λ)`: eight components make the base, breaches and idle time the penalty Λ. Doubles throughout, summed
//! in the formula's order; the score is floored to two decimals before anything is decided, shown, signed or compared.
//! Knows no agents but by id, no clock, no ledger. Source: docs/spec/protocol.md section 5, docs/spec/details.md
//! section 5; figures: `tests/vectors/trust.json`.

mod components;
mod endorsement;
pub mod evidence;
mod fact;
mod facts;
pub mod history;
mod level;
mod peer;
mod penalty;
mod score;
mod told;

pub use components::{
    Components, Identity, behavioural_consistency, commitment_fulfilment, completed_history, economic_reliability,
    review_quality, security_posture,
};
pub use endorsement::{Endorsement, admit, peer_endorsement};
pub use fact::{Closed, Decision, Fact, Imported};
pub use facts::{Counts, Facts};
pub use level::{EscrowDuty, Level};
pub use peer::{Estimate, HomeWord, OWN_ESTIMATE_FROM, enforced};
pub use penalty::{Penalty, credit, weight};
pub use score::Score;
