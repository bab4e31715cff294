//! What a peer enforces of another cell's word about its agents.
//!
//! Facts are primary: the least of the home's base under the larger of both penalties, the own estimate once it stands
//! on enough, and the configured cap. Source: docs/spec/details.md section 5 ("A peer enforces").

use super::score::Score;

/// From how many decided commitments seen the own estimate counts.
pub const OWN_ESTIMATE_FROM: u64 = 20;

/// The components sum to no more.
const MOST_BASE: f64 = 100.0;

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
    let penalty = home.penalty.max(seen.penalty);
    // No base is above 100: a home that invents both a penalty and a score hides nothing of what was seen here.
    let under_penalty = (home.score.value() * (home.penalty - penalty).exp()).min(MOST_BASE * (-penalty).exp());
    let own = seen.score.filter(|_| seen.decided >= OWN_ESTIMATE_FROM).map_or(f64::INFINITY, Score::value);
    Score::floored(under_penalty.min(own).min(cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    // 74.9 under Λ = 3 would be a base of 1,504.
    #[test]
    fn a_home_that_invents_a_penalty_hides_none_that_was_seen() {
        let seen = Estimate { penalty: 3.0, score: None, decided: 1 };
        let word = |score, penalty| HomeWord { score: Score::floored(score), penalty };
        assert_eq!(enforced(&word(74.9, 0.0), &seen, 74.9), Score::floored(3.72));
        assert_eq!(enforced(&word(74.9, 3.0), &seen, 74.9), Score::floored(4.97), "no more than a base of 100 gives");
        assert_eq!(enforced(&word(74.9, 9.0), &seen, 74.9), Score::floored(0.01));
        assert_eq!(enforced(&word(4.97, 3.0), &seen, 74.9), Score::floored(4.97), "an honest one keeps its own");
    }
}
