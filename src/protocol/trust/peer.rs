//! What a peer enforces of another cell's word about its agents.
//!
//! Facts are primary: the least of the home's base under the larger of both penalties, the own estimate once it stands
//! on enough, and the configured cap. Source: docs/spec/details.md section 5 ("A peer enforces").

use super::score::Score;

/// From how many decided commitments seen the own estimate counts.
pub const OWN_ESTIMATE_FROM: u64 = 20;

/// What the signed trust profile of the home cell says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HomeWord {
    /// Its score.
    pub score: Score,
    /// Its Λ, idle time included.
    pub penalty: f64,
}

impl HomeWord {
    /// The base behind it: score · e^Λ.
    #[must_use]
    pub fn base(&self) -> f64 {
        self.score.value() * self.penalty.exp()
    }
}

/// What the peer has seen for itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// Λ from the sessions it has seen, without idle time.
    pub penalty: f64,
    /// Its own score of the agent.
    pub score: Option<Score>,
    /// How many decided commitments of the agent it has seen.
    pub decided: u64,
}

/// The score that is enforced; the level follows from it alone, since level 5 never crosses a border.
#[must_use]
pub fn enforced(home: &HomeWord, seen: &Estimate, cap: f64) -> Score {
    // Score · e^Λ · e^(−Λ) is the score again, but not in doubles.
    let under_penalty = home.score.value() * (home.penalty - home.penalty.max(seen.penalty)).exp();
    let own = seen.score.filter(|_| seen.decided >= OWN_ESTIMATE_FROM).map_or(f64::INFINITY, Score::value);
    Score::floored(under_penalty.min(own).min(cap))
}
