//! `POST …/disputes`: the body by which a party opens a dispute. Source: docs/spec/details.md section 6 and S9.

use serde_json::Value;

use super::parts::{Committed, Open};
use super::request::{listed, parsed};
use crate::protocol::dispute::{CLAIM, ClaimKind, EscrowTo, Filing, MAX_ENTRIES, RESOLUTION, check_evidence};
use crate::protocol::ids::{ParticipantId, SessionId};
use crate::protocol::json::Json;
use crate::protocol::members::Members;
use crate::protocol::refusal::Refusal;

/// Most characters of `payeeAmount`: 15 digits, a point and the most minor digits.
const MAX_AMOUNT: usize = 20;

/// A dispute as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// What is filed.
    pub filing: Filing,
    /// Its texts, and the digest of the salt they are committed with.
    pub committed: Committed,
    /// Its own proof, if not the header's.
    pub proof: Option<String>,
}

impl Dispute {
    /// Reads the body; session and sender are those of the call.
    pub fn read(session_id: SessionId, sender: ParticipantId, body: &Value) -> Result<Self, Refusal> {
        let mut members = Members::of("", Some(body))?;
        if members.parsed("sessionId")?.is_some_and(|named: SessionId| named != session_id) {
            return Err(Refusal::invalid("/sessionId", "the session of the path, or nothing"));
        }
        let mut open = Open::default();
        let claim = claim(&mut members, &mut open)?;
        let (escrow, payee_amount) = resolution(&mut members, &mut open)?;
        let dispute_id = members.required("disputeId", "the dispute's id, a lower-case UUID v7")?;
        let commitment_id = members.required("commitmentId", "the commitment in dispute")?;
        let against = members.parsed("against")?;
        let references = listed("references", MAX_ENTRIES, &mut members, parsed)?;
        let evidence = evidence(&mut members)?;
        let committed = open.commit(&mut members)?;
        let proof = members.text("proof")?.map(str::to_owned);
        members.finish()?;
        let filing = Filing {
            session_id,
            dispute_id,
            sender,
            commitment_id,
            against,
            references,
            evidence,
            claim,
            escrow,
            payee_amount,
            parts: committed.commitments(),
        };
        Ok(Self { filing, committed, proof })
    }
}

fn claim<'a>(members: &mut Members<'a>, open: &mut Open<'a>) -> Result<ClaimKind, Refusal> {
    let mut claim = Members::of(members.at(CLAIM), members.value(CLAIM))?;
    let kind = claim.required("kind", "what is claimed")?;
    open.take_text(CLAIM, &mut claim)?;
    claim.finish()?;
    Ok(kind)
}

fn resolution<'a>(members: &mut Members<'a>, open: &mut Open<'a>) -> Result<(EscrowTo, Option<String>), Refusal> {
    let mut resolution = Members::of(members.at(RESOLUTION), members.value(RESOLUTION))?;
    let escrow = resolution.required("escrow", "payer, payee or split")?;
    let amount = resolution.text("payeeAmount")?.map(str::to_owned);
    let at = resolution.at("payeeAmount");
    let expected = match (escrow, &amount) {
        (EscrowTo::Split, Some(amount)) if amount.len() > MAX_AMOUNT => Some("an amount as a decimal string"),
        (EscrowTo::Split, None) => Some("the payee's share of the split"),
        (EscrowTo::Payer | EscrowTo::Payee, Some(_)) => Some("no such member unless escrow is split"),
        (EscrowTo::Split, Some(_)) | (EscrowTo::Payer | EscrowTo::Payee, None) => None,
    };
    if let Some(expected) = expected {
        return Err(Refusal::invalid(at, expected));
    }
    open.take_text(RESOLUTION, &mut resolution)?;
    resolution.finish()?;
    Ok((escrow, amount))
}

/// Checked entry by entry, hashed as sent.
fn evidence(members: &mut Members<'_>) -> Result<Json, Refusal> {
    listed("evidence", MAX_ENTRIES, members, |entry, at| check_evidence(at, entry))?;
    Ok(Json::of(members.value("evidence").unwrap_or(&Value::Null)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn evidence_is_never_a_bare_link() {
        let id = "0198f0a0-0000-7000-8000-000000000001";
        let read = |evidence: Value| {
            let body = json!({"disputeId": id, "commitmentId": id, "references": [], "evidence": evidence,
                "claim": {"kind": "terms"}, "requestedResolution": {"escrow": "payer"}});
            let sender = "00000000-0000-4000-8000-000000000001".parse().unwrap();
            Dispute::read(id.parse().unwrap(), sender, &body).map(|read| read.filing.evidence.value())
        };
        let digest = "ssmu0nVUdBqLZ8dDuriVZm1nqZzgY7PA9eCF__j1X-4";
        for good in [
            json!([]),
            json!([{"type": "photo"}, {"type": "photo", "sha256": digest}]),
            json!([{"type": "photo", "uri": "urn:photo:1", "sha256": digest}]),
        ] {
            assert_eq!(read(good.clone()), Ok(good));
        }
        let refused = read(json!([{"type": "photo"}, {"type": "photo", "uri": "urn:photo:1"}])).unwrap_err();
        assert_eq!(
            (refused.code.name(), refused.pointer.as_deref()),
            ("validation_failed", Some("/evidence/1/sha256"))
        );
    }
}
