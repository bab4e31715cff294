//! Ratings: what participants think of each other once the session is CLOSED, beside the chain.
//!
//! Source: docs/spec/details.md section 3 ("`POST …/ratings`").

use serde::{Deserialize, Serialize};

use super::{Act, Participant, Session, State};
use crate::protocol::ids::ParticipantId;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::terms::Body;
use crate::protocol::time::{Span, Timestamp};

/// How long after CLOSED ratings are taken.
const WINDOW: Span = Span::days(7);

/// One participant's rating of another; a CLOSE rates all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rating {
    /// Who rates.
    pub by: ParticipantId,
    /// Whom.
    pub of: ParticipantId,
    /// 1 to 5.
    pub rating: u8,
}

impl Session {
    /// The rating that a RATE gives, if it may: once for each counterpart, until seven days after CLOSED.
    pub fn judge_rating(&self, act: &Act, at: Timestamp) -> Result<Rating, Refusal> {
        let Body::Rate { rating, of } = act.terms.body else {
            return Err(Refusal::invalid("/performative", "RATE"));
        };
        if !self.participant(act.sender).is_some_and(took_part) {
            return Err(Refusal::new(Code::NotFound, "no such session"));
        }
        let ended = self.closed_at.filter(|_| self.state == State::Closed);
        match ended.map(|ended| ended + WINDOW) {
            Some(until) if at <= until => {}
            Some(until) => {
                return Err(self.violation(act.sender, "/performative", format!("ratings ended at {until}")));
            }
            None => return Err(self.violation(act.sender, "/performative", "ratings are taken once CLOSED")),
        }
        let of = self.rated(act.sender, of)?;
        if self.ratings.iter().any(|given| given.by == act.sender && given.of == of) {
            return Err(Refusal::new(Code::Duplicate, "you have rated this participant already"));
        }
        Ok(Rating { by: act.sender, of, rating })
    }

    /// Keeps a rating that was judged.
    pub fn rate(&mut self, rating: Rating) {
        self.ratings.push(rating);
    }

    /// The rating in a CLOSE counts for all others.
    pub(super) fn rate_all(&mut self, by: ParticipantId, rating: u8) {
        let others = self.participants.iter().filter(|other| took_part(other) && other.id != by);
        self.ratings.extend(others.map(|other| Rating { by, of: other.id, rating }));
    }

    /// Whom a rating is of: needs no saying between two.
    fn rated(&self, by: ParticipantId, of: Option<ParticipantId>) -> Result<ParticipantId, Refusal> {
        let mut others = self.participants.iter().filter(|other| took_part(other) && other.id != by);
        let found = match of {
            Some(of) => others.find(|other| other.id == of),
            None => others.next().filter(|_| others.next().is_none()),
        };
        let expected = "the participant id of another who took part; may be left out between two";
        found.map(|other| other.id).ok_or_else(|| Refusal::invalid("/of", expected))
    }
}

/// Whether somebody ever joined; one whose place was taken did.
pub(super) const fn took_part(participant: &Participant) -> bool {
    participant.joined && !participant.dropped
}
