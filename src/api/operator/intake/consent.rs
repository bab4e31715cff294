//! `consent`: what two organisations agree on.

use super::{field, optional, spoken};
use crate::api::operator::contract::{
    ConsentAcceptRequest, ConsentCounterRequest, ConsentListRequest, ConsentOfferRequest, ConsentReceiptRequest,
    ConsentRevokeRequest, ConsentShowRequest, ConsentSignRequest, ConsentTerms as AskedTerms,
};
use crate::engine::Operation;
use crate::engine::operation::ConsentTerms;
use crate::protocol::refusal::Refusal;

/// Data classes of docs/spec/federation.md section 2, sorted.
const CLASSES: [&str; 6] = ["card", "content", "dispute", "metadata", "personal", "trust"];

impl TryFrom<AskedTerms> for ConsentTerms {
    type Error = Refusal;
    fn try_from(asked: AskedTerms) -> Result<Self, Refusal> {
        if !asked.outward && !asked.inward {
            return Err(Refusal::invalid("/terms/outward", "at least one direction"));
        }
        if asked.purposes.is_empty() {
            return Err(Refusal::invalid("/terms/purposes", "at least one purpose; * for all"));
        }
        Ok(Self {
            peer_org: field("/terms/peerOrg", &asked.peer_org)?,
            classes: classes(asked.classes)?,
            purposes: sorted(asked.purposes),
            outward: asked.outward,
            inward: asked.inward,
            agents: Some(sorted(asked.agents)).filter(|agents| !agents.is_empty()),
            basis: asked.basis,
            retention: optional("/terms/retention", asked.retention.as_deref())?,
            not_before: optional("/terms/notBefore", asked.not_before.as_deref())?,
            not_after: field("/terms/notAfter", &asked.not_after)?,
        })
    }
}

fn classes(asked: Vec<String>) -> Result<Vec<String>, Refusal> {
    let known = asked.iter().all(|class| CLASSES.contains(&class.as_str()));
    if asked.is_empty() || !known {
        return Err(Refusal::invalid("/terms/classes", format!("some of {}", CLASSES.join(", "))));
    }
    Ok(sorted(asked))
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

/// The terms of an offer or a counter-offer.
fn terms(asked: Option<AskedTerms>) -> Result<ConsentTerms, Refusal> {
    asked.ok_or_else(|| Refusal::invalid("/terms", "the terms of the consent"))?.try_into()
}

impl TryFrom<ConsentOfferRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: ConsentOfferRequest) -> Result<Self, Refusal> {
        Ok(Self::ConsentOffer { org: field("/org", &request.org)?, terms: terms(request.terms)? })
    }
}

impl TryFrom<ConsentCounterRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: ConsentCounterRequest) -> Result<Self, Refusal> {
        Ok(Self::ConsentCounter {
            consent: field("/consent", &request.consent)?,
            org: field("/org", &request.org)?,
            terms: terms(request.terms)?,
        })
    }
}

impl TryFrom<ConsentAcceptRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: ConsentAcceptRequest) -> Result<Self, Refusal> {
        Ok(Self::ConsentAccept { consent: field("/consent", &request.consent)?, org: field("/org", &request.org)? })
    }
}

impl TryFrom<ConsentSignRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: ConsentSignRequest) -> Result<Self, Refusal> {
        Ok(Self::ConsentSign {
            consent: field("/consent", &request.consent)?,
            org: field("/org", &request.org)?,
            signature: spoken("/signature", request.signature, "a compact JWS with detached payload")?,
        })
    }
}

impl TryFrom<ConsentRevokeRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: ConsentRevokeRequest) -> Result<Self, Refusal> {
        Ok(Self::ConsentRevoke {
            consent: field("/consent", &request.consent)?,
            org: field("/org", &request.org)?,
            reason: request.reason,
        })
    }
}

impl TryFrom<ConsentListRequest> for Operation {
    type Error = Refusal;
    fn try_from(ConsentListRequest {}: ConsentListRequest) -> Result<Self, Refusal> {
        Ok(Self::ConsentList)
    }
}

impl TryFrom<ConsentReceiptRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: ConsentReceiptRequest) -> Result<Self, Refusal> {
        Ok(Self::ConsentReceipt { consent: field("/consent", &request.consent)? })
    }
}

impl TryFrom<ConsentShowRequest> for Operation {
    type Error = Refusal;
    fn try_from(request: ConsentShowRequest) -> Result<Self, Refusal> {
        Ok(Self::ConsentShow { consent: field("/consent", &request.consent)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> AskedTerms {
        AskedTerms {
            peer_org: "beta.example".to_owned(),
            classes: ["metadata", "content", "metadata"].map(str::to_owned).to_vec(),
            purposes: vec!["*".to_owned()],
            outward: true,
            inward: true,
            not_after: "2027-03-13T00:00:00Z".to_owned(),
            ..AskedTerms::default()
        }
    }

    fn refused(change: impl FnOnce(&mut AskedTerms)) -> Option<String> {
        let mut asked = asked();
        change(&mut asked);
        ConsentTerms::try_from(asked).unwrap_err().pointer
    }

    #[test]
    fn classes_are_sorted_and_said_once() {
        let terms = ConsentTerms::try_from(asked()).unwrap();
        assert_eq!(terms.classes, ["content", "metadata"]);
        assert_eq!(terms.agents, None);
    }

    #[test]
    fn a_refusal_points_at_the_field() {
        assert_eq!(refused(|asked| asked.classes.push("gossip".to_owned())).as_deref(), Some("/terms/classes"));
        assert_eq!(refused(|asked| asked.classes.clear()).as_deref(), Some("/terms/classes"));
        assert_eq!(refused(|asked| asked.purposes.clear()).as_deref(), Some("/terms/purposes"));
        assert_eq!(refused(|asked| asked.not_after = "tomorrow".to_owned()).as_deref(), Some("/terms/notAfter"));
        assert_eq!(refused(|asked| asked.retention = Some("P1Y".to_owned())).as_deref(), Some("/terms/retention"));
        assert_eq!(refused(|asked| (asked.outward, asked.inward) = (false, false)).as_deref(), Some("/terms/outward"));
    }
}
