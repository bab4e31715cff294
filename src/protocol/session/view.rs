//! A session and its commitments as agents and operators read them: shapes S8b and S18.
//!
//! Who a participant is comes from the reader's cell, since agent ids can be erased; here are only participant ids.
//! Source: docs/spec/details.md section 18.

use serde_json::{Map, Value, json};

use super::{Dispute, Participant, Session, Standing};
use crate::crypto::jws::Kind;
use crate::protocol::commitment::Commitment;
use crate::protocol::escrow::Held;
use crate::protocol::ids::{AgentId, CellId, ParticipantId};
use crate::protocol::time::Timestamp;

/// For whom a view is made.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The caller, if it is a participant.
    pub you: Option<ParticipantId>,
    /// The moment, by which open offers may have expired.
    pub now: Timestamp,
    /// Which agent a participant is; `None` once that was erased.
    pub agent: &'a dyn Fn(ParticipantId) -> Option<AgentId>,
}

impl Session {
    /// S8b.
    #[must_use]
    pub fn view(&self, reader: &Reader<'_>) -> Value {
        let shown = self.participants.iter().filter(|participant| !participant.dropped);
        json!({
            "sessionId": self.id,
            "state": self.shown_state().name(),
            "phase": self.shown_state().phase(Some(self.saved.unwrap_or(self.state))),
            "purpose": self.purpose,
            "host": self.host,
            "epoch": self.epoch,
            "suspended": self.suspended,
            "openedAt": self.opened_at,
            "expiresAt": self.expires_at(),
            "answerBy": self.answer_by,
            "closedAt": self.closed_at,
            "outcome": self.outcome,
            "windows": {
                "answerWithin": self.windows.answer_within,
                "reviewWindow": self.windows.review,
                "grace": self.windows.grace,
                "disputeWindow": self.windows.dispute,
            },
            "constraints": self.constraints.view(),
            "participants": shown.map(|participant| participant_view(participant, reader)).collect::<Vec<_>>(),
            "head": {"sequence": self.head.sequence, "hash": self.head.hash},
            "commitments": self.commitments.iter().map(|c| self.commitment_view(c)).collect::<Vec<_>>(),
            "offers": self.offers_view(reader.now),
            "disputes": self.disputes.iter().map(|dispute| dispute.id).collect::<Vec<_>>(),
            "you": reader.you,
            "asks": reader.you.and_then(|you| self.asks(you)),
        })
    }

    /// S17 of a session that ended, as `cell` states it.
    #[must_use]
    pub fn outcome_view(&self, cell: &CellId) -> Value {
        let commitment = |c: &Commitment| {
            let severity = c.breach.map(|breach| breach.severity);
            json!({"commitmentId": c.id, "kind": c.kind.name(), "obligor": c.obligor, "beneficiary": c.beneficiary,
                "status": c.status.name(), "late": severity == Some(1), "severity": severity})
        };
        let party =
            |p: &Participant| json!({"participantId": p.id, "organisation": p.home.organisation, "cell": p.home.cell});
        let rating = |r: &super::Rating| json!({"of": r.of, "by": r.by, "rating": r.rating});
        let fine =
            |f: super::Fine| json!({"disputeId": f.dispute, "of": f.of, "by": f.by, "severity": f.breach.severity});
        json!({
            "type": Kind::Outcome.payload_type(),
            "sessionId": self.id,
            "head": self.head.hash,
            "closedAt": self.closed_at,
            "endToEnd": self.constraints.end_to_end,
            "outcome": self.outcome,
            "weight": if self.is_internal() { 0.5 } else { 1.0 },
            "parties": self.participants.iter().filter(|p| p.joined).map(party).collect::<Vec<_>>(),
            "commitments": self.commitments.iter().map(commitment).collect::<Vec<_>>(),
            "ratings": self.ratings.iter().map(rating).collect::<Vec<_>>(),
            "fines": self.fines().into_iter().map(fine).collect::<Vec<_>>(),
            "cell": cell,
        })
    }

    /// Whether all who took part are of one organisation.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        let mut organisations = self.participants.iter().filter(|p| p.joined).map(|p| &p.home.organisation);
        let first = organisations.next();
        organisations.all(|organisation| Some(organisation) == first)
    }

    fn offers_view(&self, now: Timestamp) -> Vec<Value> {
        let view = |offer: &super::Offer| json!({"messageId": offer.message, "author": offer.author, "status": offer.shown(now)});
        self.offers.all().iter().map(view).collect()
    }

    /// S18. `escrow` is null where no money was ever held.
    #[must_use]
    pub fn commitment_view(&self, commitment: &Commitment) -> Value {
        let mut view = Map::new();
        let mut put = |name: &str, value: Value| view.insert(name.to_owned(), value);
        put("commitmentId", json!(commitment.id));
        put("kind", json!(commitment.kind.name()));
        put("obligor", json!(commitment.obligor));
        put("beneficiary", json!(commitment.beneficiary));
        put("deadline", json!(commitment.deadline));
        if let Some(money) = commitment.money {
            put("amount", json!(money.amount()));
            put("currency", json!(money.currency));
        }
        put("status", json!(commitment.status.name()));
        let escrow = |held: &Held| json!({"state": held.state.name(), "cell": held.cell, "holdReceipt": held.receipt});
        put("escrow", commitment.held.as_ref().map_or(Value::Null, escrow));
        put("dependsOn", json!(commitment.depends_on));
        put("replaces", json!(commitment.replaces));
        put("messageId", json!(commitment.message));
        put("claimedAt", json!(commitment.claim.map(|claim| claim.at)));
        put("reviewUntil", json!(self.review_until(commitment)));
        put("breach", commitment.breach.map_or(Value::Null, |b| json!({"severity": b.severity, "at": b.at})));
        Value::Object(view)
    }
}

impl Session {
    /// S9 without what stays with its filing: references, evidence, texts, verdicts.
    #[must_use]
    pub fn dispute_view(&self, dispute: &Dispute) -> Value {
        let mut resolution = json!({"escrow": dispute.escrow});
        if let (Value::Object(members), Some(amount)) = (&mut resolution, &dispute.payee_amount) {
            members.insert("payeeAmount".into(), json!(amount));
        }
        let ended = dispute.ended.as_ref();
        json!({
            "disputeId": dispute.id,
            "sessionId": self.id,
            "commitmentId": dispute.commitment,
            "openedBy": dispute.by,
            "openedAt": dispute.opened.at,
            "after": dispute.opened.after,
            "status": dispute.status(),
            "claim": {"kind": dispute.claim},
            "against": dispute.against,
            "requestedResolution": resolution,
            "severity": ended.and_then(|(verdict, _)| verdict.severity),
            "escrow": ended.and_then(|(verdict, _)| verdict.escrow),
            "payeeAmount": ended.and_then(|(verdict, _)| verdict.payee_amount.clone()),
            "decidedAt": ended.map(|(_, at)| *at),
            "decideBy": dispute.is_open().then(|| dispute.opened.at + self.windows.dispute),
        })
    }
}

fn participant_view(participant: &Participant, reader: &Reader<'_>) -> Value {
    let mut view = json!({
        "participantId": participant.id,
        "role": participant.role.name(),
        "cell": participant.home.cell,
        "joined": participant.joined,
        "trust": participant.standing.as_ref().map(Standing::view),
    });
    let (name, value) = match (reader.agent)(participant.id) {
        Some(agent) => ("agentId", json!(agent)),
        None => ("status", json!("erased")),
    };
    if let Some(members) = view.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    view
}

impl Standing {
    /// `trust` of a participant (S8b) and of the event of that name (S7).
    #[must_use]
    pub fn view(&self) -> Value {
        json!({
            "score": self.score,
            "effective": self.effective,
            "level": self.level,
            "asOf": self.as_of,
            "verifiedBy": self.verified_by,
        })
    }
}
