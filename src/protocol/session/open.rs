//! The opening of a session by its INVITE.
//!
//! Source: docs/spec/details.md sections 1 ("INVITE") and 3.

use super::{Act, Head, Home, MAX_PARTICIPANTS, Offers, Participant, Role, Session, Standing, State, Windows};
use crate::protocol::constraints::Constraints;
use crate::protocol::ids::{CellId, ParticipantId, SessionId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::terms::Body;

/// Who is to take part, with what the host knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seated {
    /// Its name in this session.
    pub id: ParticipantId,
    /// Where it is at home.
    pub home: Home,
    /// Its trust as enforced here, if known here.
    pub standing: Option<Standing>,
}

/// What an INVITE is placed with.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    /// The session.
    pub id: SessionId,
    /// The inviter's cell.
    pub host: CellId,
    /// The inviter, then the invitees in the order of the INVITE.
    pub participants: Vec<Seated>,
    /// The host's windows, `answerWithin` as asked for.
    pub windows: Windows,
    /// Record 1.
    pub head: Head,
}

impl Session {
    /// Opens a session: `validation_failed` for an impossible company, `insufficient_trust_score` for a participant
    /// whose score is known and below `minTrustScore`.
    pub fn invite(act: &Act, opening: Opening) -> Result<Self, Refusal> {
        let Body::Invite { purpose, constraints } = &act.terms.body else {
            return Err(Refusal::invalid("/performative", "INVITE"));
        };
        check_company(act, &opening.participants)?;
        for seated in &opening.participants {
            trusted(constraints, seated.id, seated.standing.as_ref().map(|standing| standing.effective))?;
        }
        let Opening { id, host, participants, windows, head } = opening;
        Ok(Self {
            id,
            host,
            epoch: 1,
            purpose: purpose.clone(),
            constraints: constraints.as_ref().clone(),
            windows,
            participants: participants.into_iter().map(|seated| participant(seated, act.sender)).collect(),
            state: State::Invited,
            saved: None,
            suspended: false,
            offers: Offers::default(),
            commitments: Vec::new(),
            head,
            tokens: 0,
            opened_at: head.timestamp,
            answer_by: head.timestamp + windows.answer_within,
            closed_at: None,
            outcome: None,
            ratings: Vec::new(),
            disputes: Vec::new(),
            invite: act.message_id,
            in_force: act.message_id,
            asked: Vec::new(),
            resumed_at: None,
            final_since: None,
        })
    }
}

fn check_company(act: &Act, participants: &[Seated]) -> Result<(), Refusal> {
    let first_is_sender = participants.first().is_some_and(|first| first.id == act.sender);
    let distinct = |index: usize, seated: &Seated| !participants.iter().take(index).any(|other| other.id == seated.id);
    let all_distinct = participants.iter().enumerate().all(|(index, seated)| distinct(index, seated));
    if !first_is_sender || !all_distinct {
        return Err(Refusal::invalid("/participantId", "a participant id that nobody else in the session has"));
    }
    if !(2..=MAX_PARTICIPANTS).contains(&participants.len()) {
        return Err(Refusal::invalid("/invitees", format!("1 to {} agents", MAX_PARTICIPANTS - 1)));
    }
    Ok(())
}

fn participant(seated: Seated, inviter: ParticipantId) -> Participant {
    let is_inviter = seated.id == inviter;
    Participant {
        id: seated.id,
        home: seated.home,
        role: if is_inviter { Role::Inviter } else { Role::Invitee },
        joined: is_inviter,
        dropped: false,
        replaced_by: None,
        replaces: None,
        reads_from: 1,
        calling: None,
        standing: seated.standing,
    }
}

/// Whether a score, where it is known, is enough for the session.
pub(super) fn trusted(constraints: &Constraints, whose: ParticipantId, score: Option<f64>) -> Result<(), Refusal> {
    let required = constraints.min_trust_score;
    match score {
        Some(score) if score < required => {
            let detail = format!("a trust score of {score:.2} is below the session's minTrustScore of {required}");
            let refusal = Refusal::new(Code::InsufficientTrustScore, detail);
            Err(refusal
                .with("score", score.into())
                .with("required", required.into())
                .with("whose", whose.to_string().into()))
        }
        Some(_) | None => Ok(()),
    }
}
